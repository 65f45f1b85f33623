"""Keep replication slots: those of the other nodes on the server here, and this node's own at its upstream.

It must not know for whom a slot is kept, nor why.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import logging

import asyncpg

from qluster.database.orders import KeepSlots
from qluster.database.wal import position_text
from qluster.edge.postgres.session import Remote, sentence
from qluster.edge.postgres.site import Site

log = logging.getLogger(__name__)

FREE_WAIT = 2.0
"""Seconds for the end of a session that held the slot: it was told to go, and has nothing to finish."""
PAUSE = 0.02
"""Seconds between two looks meanwhile."""

DROP = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1 AND NOT active"
MAKE = """
SELECT pg_create_physical_replication_slot($1, $2)
 WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)
"""
ADVANCE = """
SELECT pg_replication_slot_advance(slot_name, $2::text::pg_lsn) FROM pg_replication_slots
 WHERE slot_name = $1 AND NOT active AND restart_lsn < $2::text::pg_lsn
"""
FREE = """
SELECT active_pid AS pid, pg_terminate_backend(active_pid) AS told
  FROM pg_replication_slots WHERE slot_name = $1 AND active_pid IS NOT NULL
"""
USELESS = """
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
 WHERE slot_name = $1 AND NOT active AND (restart_lsn IS NULL OR wal_status = 'lost')
"""


async def keep_slots(site: Site, order: KeepSlots) -> None:
    """Bring the slots here in order."""
    for name in order.drop:
        await site.session.rows(DROP, name)
        log.info("slot-dropped name=%s", name)
    for name in (*order.make, *order.make_open):
        await site.session.rows(MAKE, name, name in order.make)
        log.info("slot-made name=%s keeps-wal=%s", name, name in order.make)
    for name, position in order.advance:
        await site.session.rows(ADVANCE, name, position_text(position))


async def claim_slot(connection: Remote, name: str) -> bool:
    """Have the upstream keep WAL for this node from now on, if it did not before; False when it cannot.

    Nothing streams from here now: a session that still holds the slot is one whose other end is gone.
    """
    if not name:
        return False
    try:
        await _free(connection, name)
        await connection.row(USELESS, name)
        await connection.row(MAKE, name, True)
    except asyncpg.DuplicateObjectError:
        return True  # the upstream has made it at the same moment
    except asyncpg.PostgresConnectionError:
        raise
    except asyncpg.PostgresError as error:
        # Without a slot it streams as well, as long as its upstream has the WAL for other reasons.
        log.warning("slot-refused upstream=%s name=%s error=%s", connection.where, name, sentence(error))
        return False
    return True


async def _free(connection: Remote, name: str) -> None:
    try:
        async with asyncio.timeout(FREE_WAIT):
            while (held := await connection.row(FREE, name)) is not None:
                log.info("slot-freed upstream=%s name=%s pid=%s", connection.where, name, held["pid"])
                await asyncio.sleep(PAUSE)
    except TimeoutError:
        log.warning("slot-held upstream=%s name=%s waited=%.0f", connection.where, name, FREE_WAIT)
