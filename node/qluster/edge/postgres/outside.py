"""Follow, copy, rewind to an installation outside: finds its primary, then does what is done with one of the cluster.

It must not know why something outside is followed.

All addresses are asked at once. A primary goes before a standby, and of two primaries the one with the newer timeline:
an installation that has failed over may have left its former primary running. Another database than the one that is
followed, one of another version, and addresses that are not of one installation are refused (I17).
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

import asyncpg

from qluster.config.addresses import place_text
from qluster.database.orders import Clone, CloneOutside, Follow, FollowOutside, Rewind, RewindOutside, Terms
from qluster.edge.postgres.copying import clone, rewind
from qluster.edge.postgres.failure import PostgresFailed
from qluster.edge.postgres.following import follow
from qluster.edge.postgres.remotes import check_system_id, upstream_session
from qluster.edge.postgres.site import Site
from qluster.events import Address

log = logging.getLogger(__name__)

WHO = """
SELECT pg_is_in_recovery() AS in_recovery, system_identifier AS system_id,
       current_setting('server_version_num')::int / 10000 AS major,
       (SELECT timeline_id FROM pg_control_checkpoint()) AS timeline,
       CASE WHEN NOT pg_is_in_recovery() THEN substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END AS writes
  FROM pg_control_system()
"""


@dataclass(frozen=True, slots=True)
class Found:
    """A database outside that answered."""

    address: Address
    primary: bool
    system_id: int
    timeline: int


async def follow_outside(site: Site, order: FollowOutside) -> None:
    """Point the standby here at the best of those outside."""
    found = await choose(site, order.terms, (await site.control()).system_id)
    await follow(site, Follow(found.address, order.terms))
    log.info("outside-followed address=%s primary=%s timeline=%d",
             place_text(*found.address), found.primary, found.timeline)  # fmt: skip


async def rewind_outside(site: Site, order: RewindOutside) -> int:
    """Take back what those outside do not have."""
    found = await choose(site, order.terms, order.system_id)
    try:
        return await rewind(site, Rewind(found.address, order.system_id, order.terms))
    except PostgresFailed as failure:
        if isinstance(failure.__cause__, asyncpg.InsufficientPrivilegeError):
            # That does not pass by itself: a copy asks for less.
            raise PostgresFailed(str(failure)) from failure
        raise


async def clone_outside(site: Site, order: CloneOutside) -> int:
    """Copy the best of those outside; the answer is its system id."""
    found = await choose(site, order.terms, order.system_id)
    await clone(site, Clone(found.address, order.system_id, order.terms))
    return found.system_id


async def choose(site: Site, terms: Terms, system_id: int | None) -> Found:
    """The database outside to follow; raises :class:`PostgresFailed` when none is good, with what each of them said."""
    assert terms.outside is not None, "ordered only where there is something to follow"
    site.configure_secrets()
    addresses = terms.outside.addresses
    answers = await asyncio.gather(*(_ask(site, address, terms, system_id) for address in addresses))
    found = [answer for answer in answers if isinstance(answer, Found)]
    failures = [answer for answer in answers if isinstance(answer, PostgresFailed)]
    if not found:
        said = "; ".join(str(failure) for failure in failures)
        raise PostgresFailed(f"cluster.standby-of: {said}", passing=True)
    if len({one.system_id for one in found}) > 1:
        several = ", ".join(f"{place_text(*one.address)} has {one.system_id}" for one in found)
        raise PostgresFailed(f"cluster.standby-of names databases of several installations: system id {several}. "
                             "Name those of one", passing=True)  # fmt: skip
    return max(found, key=lambda one: (one.primary, one.timeline, one.address))


async def _ask(site: Site, address: Address, terms: Terms, system_id: int | None) -> Found | PostgresFailed:
    """Who answers there, or why it is not to be followed."""
    try:
        async with upstream_session(site, address, terms) as connection:
            row = await connection.row(WHO)
            check_system_id(connection, row, system_id)
            mine = await site.programs.major()
            if row["major"] != mine:
                raise PostgresFailed(
                    f"the database at {connection.where} is of version {row['major']}, the programs here are of "
                    f"{mine}: only the same version can follow it"
                )
            timeline = int(row["writes"], 16) if row["writes"] else row["timeline"]
            return Found(address, not row["in_recovery"], row["system_id"], timeline)
    except PostgresFailed as failure:
        return failure
