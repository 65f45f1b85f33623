"""How far a copy has come.

It must not know how it is made.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import logging

from qluster.database.orders import Terms
from qluster.edge.postgres.failure import PostgresFailed
from qluster.edge.postgres.remotes import upstream_session
from qluster.edge.postgres.site import Site
from qluster.events import Address

log = logging.getLogger(__name__)

PROGRESS_INTERVAL = 1.0
"""Seconds between two questions how far the copy is."""

PROGRESS = """
SELECT p.backup_streamed AS copied, p.backup_total AS size
  FROM pg_stat_progress_basebackup p JOIN pg_stat_activity a USING (pid)
 WHERE a.application_name = $1 ORDER BY a.backend_start DESC LIMIT 1
"""


async def watch_copy(site: Site, source: Address, terms: Terms, name: str) -> None:
    """Note how far the copy is, for as long as this is not cancelled; nothing depends on it."""
    while True:
        try:
            async with upstream_session(site, source, terms) as connection:
                while True:
                    row = await connection.row(PROGRESS, name)
                    if row is not None:
                        site.copying = (row["copied"], row["size"])
                    await asyncio.sleep(PROGRESS_INTERVAL)
        except PostgresFailed as failure:
            log.debug("progress-unknown error=%s", failure)
            await asyncio.sleep(PROGRESS_INTERVAL)
