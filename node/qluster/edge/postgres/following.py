"""Follow, detach, adjust: what changes on a running standby by a reload.

It must not know who decided on the upstream.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
import logging

from qluster.database.orders import Adjust, Detach, Follow, Terms
from qluster.database.settings import upstream_of
from qluster.database.wal import Course, compare
from qluster.database.ways import way_to
from qluster.edge.postgres.failure import PostgresFailed
from qluster.edge.postgres.looking import STATE, position_in, receiver_of, timeline_in
from qluster.edge.postgres.reaching import own_end
from qluster.edge.postgres.remotes import await_primary, check_replica, read_course, upstream_session
from qluster.edge.postgres.site import Site
from qluster.edge.postgres.slotting import claim_slot
from qluster.events import Address

log = logging.getLogger(__name__)

STREAM_WAIT = 2.0
"""Seconds in which a standby that can follow does stream; the order must not hold up a failover longer."""
DETACH_LIMIT = 30.0
"""Seconds to end the receiver (35 ms measured) and to read the WAL that lies here."""
RELOAD_LIMIT = 2.0
"""Seconds for a reload to reach the session (a few milliseconds); a busy server is looked at again."""
PAUSE = 0.01
"""Seconds between two questions while a change takes effect."""


async def adjust(site: Site, order: Adjust) -> None:
    """New terms for the running server."""
    if order.reign:
        state = await site.session.row(STATE)
        if state["in_recovery"]:
            raise PostgresFailed("the server is in recovery: it serves no reign")
        site.note_reign(state["system_id"], order.reign)
    before = site.terms
    for name in site.directory.altered():
        log.warning("database-altered setting=%s hint=taken back, the daemon decides it", name)
        await site.session.rows(f"ALTER SYSTEM RESET {name}")
    await site.configure(order.terms, _address(site.upstream))
    if before is not None and before.version == order.terms.version:
        site.server.reload()
    else:
        await _reload_seen(site)
    if order.reign:
        await _obeyed(site, order.terms.synchronous)


async def _obeyed(site: Site, names: str) -> None:
    """Wait until the server waits for these: what it was told is only written down as long as it has not read it."""
    try:
        async with asyncio.timeout(RELOAD_LIMIT):
            while await names_in_force(site) != names:
                await asyncio.sleep(PAUSE)
    except TimeoutError:
        why = await _illegible(site)
        raise PostgresFailed(f"the server does not take up what it is told: {why}", passing=True) from None


async def names_in_force(site: Site) -> str:
    """The standby names that the server's processes have read."""
    return str((await site.session.row("SELECT current_setting('synchronous_standby_names') AS names"))["names"])


async def _illegible(site: Site) -> str:
    """What keeps the server from reading its configuration: with one line that is none, all of it stays as it was."""
    rows = await site.session.rows(
        "SELECT sourcefile, sourceline, error FROM pg_file_settings WHERE error IS NOT NULL AND name IS NULL LIMIT 1"
    )
    said = [f"correct {row['sourcefile']} line {row['sourceline']}: {row['error']}" for row in rows]
    return said[0] if said else f"it has not read it within {RELOAD_LIMIT:g} seconds, see its log"


async def _reload_seen(site: Site) -> None:
    """Reload, and wait until the session has read it too: only then does it know what waits for a restart."""
    question = "SELECT pg_conf_load_time() AS at"
    before = await site.session.row(question)
    site.server.reload()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(RELOAD_LIMIT):
            while (await site.session.row(question))["at"] == before["at"]:
                await asyncio.sleep(PAUSE)


def _address(text: str | None) -> Address | None:
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    return host, int(port)


async def detach(site: Site, order: Detach) -> None:
    """Cut the upstream off; done when no receiver is left and the end of the WAL here is known."""
    await site.configure(order.terms, None)
    site.server.reload()
    try:
        async with asyncio.timeout(DETACH_LIMIT):
            while not await _detached(site):
                await asyncio.sleep(PAUSE)
    except TimeoutError:
        raise PostgresFailed(
            f"the standby was not detached within {DETACH_LIMIT:g} seconds: "
            "it still receives, or still reads the WAL that lies here"
        ) from None


async def _detached(site: Site) -> bool:
    if site.server.pid is None:
        raise PostgresFailed("the server ended while it was being detached")
    if site.server.status != "ready":
        return False
    try:
        state = await site.session.row(STATE)
    except PostgresFailed:
        return False  # too busy to answer; the limit is the caller's
    if not state["in_recovery"]:
        raise PostgresFailed("the server is a primary: it cannot be detached")
    if state["paused"] and receiver_of(site, state) != "none":
        # Only replay ends the receiver. It may go on: this standby's word counts for nothing meanwhile.
        raise PostgresFailed("the standby cannot be detached while its replay is paused", passing=True)
    if state["conninfo"]:
        await _reset_altered(site)
        return False
    if state["paused"]:
        return True  # nothing more comes; where its WAL ends is not known before it is read
    final = receiver_of(site, state) == "none" and position_in(state)[1]
    site.position_final = site.position_final or final
    return receiver_of(site, state) == "none" and site.position_final


async def _reset_altered(site: Site) -> None:
    """The reload takes a moment; an ALTER SYSTEM that is stronger than our file is taken back."""
    rows = await site.session.rows(
        "SELECT 1 FROM pg_file_settings WHERE name = 'primary_conninfo' AND sourcefile LIKE '%.auto.conf'"
    )
    if rows:
        log.warning("database-altered setting=primary_conninfo hint=taken back, the log decides it")
        await site.session.rows("ALTER SYSTEM RESET primary_conninfo")
        site.server.reload()


async def follow(site: Site, order: Follow) -> None:
    """Compare histories, then repoint by a reload and see that it streams."""
    course = await compare_with(site, order.upstream, order.terms)
    source = order.via or order.upstream
    if order.via is not None:
        async with upstream_session(site, order.via, order.terms) as connection:
            await check_replica(connection, (await site.control()).system_id, course)
            site.slotless = not await claim_slot(connection, way_to(site.database, order.via, order.terms).slot)
    await point(site, source, order.terms)
    if not await streams_within(site, STREAM_WAIT):
        raise PostgresFailed(f"the standby does not stream from {source[0]}:{source[1]} yet", passing=True)


async def point(site: Site, upstream: Address, terms: Terms) -> None:
    """Write the upstream down and have it read."""
    site.position_final = False
    await site.configure(terms, upstream)
    site.server.reload()


async def streams_within(site: Site, limit: float) -> bool:
    """Whether the standby begins to stream in time, from the upstream that is written down."""
    try:
        async with asyncio.timeout(limit):
            while site.server.pid is not None and not await _streams(site):
                await asyncio.sleep(PAUSE)
    except TimeoutError:
        return False
    return site.server.pid is not None


async def _streams(site: Site) -> bool:
    try:
        state = await site.session.row(STATE)
    except PostgresFailed:
        return False
    # Before the session has read the configuration it knows the upstream of before, from which it may well stream.
    return upstream_of(state["conninfo"]) == site.upstream and receiver_of(site, state) == "streaming"


async def compare_with(site: Site, upstream: Address, terms: Terms) -> Course:
    """Where the upstream is; raises when this directory cannot follow it.

    Sets ``site.standing``, and has the upstream keep WAL for this node from now on.
    """
    timeline, position = await _own_end(site)
    async with upstream_session(site, upstream, terms) as connection:
        await await_primary(connection, (await site.control()).system_id, terms)
        course = await read_course(connection)
        site.standing = compare(timeline, position, course)
        if site.standing == "fits":
            site.slotless = not await claim_slot(connection, way_to(site.database, upstream, terms).slot)
            return course
    problem = (
        "has WAL that the upstream does not have"
        if site.standing == "diverged"
        else "needs WAL that the upstream has removed"
    )
    raise PostgresFailed(
        f"this database (timeline {timeline}, position {position}) {problem} "
        f"(timeline {course.timeline}, position {course.position}, oldest {course.oldest})",
        passing=True,
    )


async def _own_end(site: Site) -> tuple[int, int]:
    """Where the WAL here ends, at least."""
    if site.server.status == "ready":
        state = await site.session.row(STATE)
        position, _ = position_in(state)
        if position is not None:
            return timeline_in(site, state), position
    return await own_end(site)
