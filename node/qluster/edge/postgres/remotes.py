"""What the servers of other nodes say of themselves: which database they have, which way they came, how far they are.

It must not know what is done with that.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from qluster.database.orders import Terms
from qluster.database.wal import Course, history_name, history_of, last_segments, position_of
from qluster.database.ways import way_to
from qluster.edge.postgres.failure import PostgresFailed
from qluster.edge.postgres.session import Remote, remote
from qluster.edge.postgres.site import Site, secret
from qluster.events import Address

COURSE = """
SELECT pg_is_in_recovery() AS in_recovery,
       system_identifier AS system_id,
       CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_current_wal_flush_lsn()::text END AS flushed,
       CASE WHEN pg_is_in_recovery() THEN NULL
            ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END AS timeline
  FROM pg_control_system()
"""

# A timeline that is new to the control file is seen in the names of the WAL files.
STANDBY_COURSE = """
SELECT greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::text AS flushed,
       greatest((SELECT max(substr(name, 1, 8)) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'),
                lpad(upper(to_hex((SELECT timeline_id FROM pg_control_checkpoint()))), 8, '0')) AS timeline
"""

OLDEST = """
SELECT min(substr(name, 9)) AS segment, pg_size_bytes(current_setting('wal_segment_size')) AS segment_size
  FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'
"""

THERE = "SELECT array_agg(name) AS names FROM pg_ls_waldir() WHERE name = ANY($1::text[])"

REPLICA = """
SELECT pg_is_in_recovery() AS in_recovery, system_identifier AS system_id,
       coalesce((SELECT max(received_tli) FROM pg_stat_wal_receiver WHERE status = 'streaming'), 0) AS timeline,
       pg_last_wal_replay_lsn()::text AS replayed
  FROM pg_control_system()
"""

PROMOTION_WAIT = 2.0
"""Seconds that a promotion may take while somebody waits to follow: 0.05 on a quiet host. Whoever fails here tries
again only after a pause, and the first transactions may wait for just this standby."""
PAUSE = 0.01
"""Seconds between two questions meanwhile."""
LAG_MOST = 256 << 20
"""Bytes that a replica may be behind when it is copied or followed: it was nearer when it was chosen."""


def upstream_session(site: Site, upstream: Address, terms: Terms) -> Any:
    """A connection to the upstream: as superuser to one of the cluster's own."""
    way = way_to(site.database, upstream, terms)
    # The name of who streams is not used for questions: outside, too, it may be looked for.
    name = f"{way.name}-asks" if way.outside else "qluster"
    return remote(upstream, way.user, secret(way.password_file), name=name, ca_file=way.ca_file)


async def await_primary(connection: Remote, system_id: int | None, terms: Terms) -> None:
    """See that it is the cluster's primary; one that is just being promoted is given the moment that it takes.

    While an installation outside is followed there is none: whoever leads is in recovery as well.
    """
    if terms.outside is not None:
        return await check_same_database(connection, system_id, terms)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PROMOTION_WAIT):
            while (await connection.row(COURSE))["in_recovery"]:
                await asyncio.sleep(PAUSE)
    await check_same_database(connection, system_id, terms)


async def check_same_database(connection: Remote, system_id: int | None, terms: Terms) -> None:
    """Invariant I17: another database is never followed, nor copied over this one."""
    row = await connection.row(COURSE)
    check_system_id(connection, row, system_id)
    if row["in_recovery"] and terms.outside is None:
        raise PostgresFailed(f"the database at {connection.where} is not the primary yet", passing=True)


def check_system_id(connection: Remote, row: Any, system_id: int | None) -> None:
    """Refuse another database."""
    if system_id is not None and row["system_id"] != system_id:
        raise PostgresFailed(
            f"the database at {connection.where} has system id {row['system_id']}, this cluster's has {system_id}"
        )


async def read_course(connection: Remote) -> Course:
    """Where a server is, by which way it came there, and how far back its WAL reaches."""
    row = await connection.row(COURSE)
    recovering = row["in_recovery"]
    if recovering:
        row = await connection.row(STANDBY_COURSE)
        if row["flushed"] is None:
            raise PostgresFailed(f"the standby at {connection.where} has replayed nothing yet", passing=True)
    timeline = int(row["timeline"], 16)
    history = ""
    if timeline > 1:
        name = f"pg_wal/{history_name(timeline)}"
        history = bytes((await connection.row("SELECT pg_read_binary_file($1) AS text", name))["text"]).decode(
            "utf-8", "replace"
        )
    oldest = await connection.row(OLDEST)
    number = int(oldest["segment"][:8], 16) * (1 << 32) + int(oldest["segment"][8:], 16) * oldest["segment_size"]
    try:
        forks = history_of(history)
        sources = last_segments(timeline, forks, oldest["segment_size"])
        there = (await connection.row(THERE, list(sources.values())))["names"] or ()
        cut = frozenset(older for older, name in sources.items() if name not in there)
        return Course(timeline, position_of(row["flushed"]), forks, number, cut, recovering)
    except ValueError as error:
        raise PostgresFailed(f"the database at {connection.where}: {error}") from None


async def check_replica(connection: Remote, system_id: int | None, course: Course) -> None:
    """Refuse one that is no replica, goes another way than the primary, or is far behind it."""
    row = await connection.row(REPLICA)
    check_system_id(connection, row, system_id)
    if not row["in_recovery"] or row["timeline"] != course.timeline or row["replayed"] is None:
        raise PostgresFailed(
            f"the database at {connection.where} does not stream timeline {course.timeline}: it is left alone",
            passing=True,
        )
    behind = course.position - position_of(row["replayed"])
    if behind > LAG_MOST:
        raise PostgresFailed(
            f"the replica at {connection.where} is {behind} bytes behind the primary: it is left alone", passing=True
        )
