"""A new content takes the place of the old one, as a whole, whatever happens in between.

It must not know where the new content came from.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import logging

import msgspec

from qluster.edge.postgres.directory import control_file
from qluster.edge.postgres.record import Record
from qluster.edge.postgres.site import Site
from qluster.edge.process import finished

log = logging.getLogger(__name__)


async def take_place(site: Site, record: Record) -> None:
    """Swap the finished staging folder in; ``record`` is what holds of the new content.

    Not to be cancelled between its steps: what is begun is finished, in a thread, and waited for. The next
    order would empty the staging folder under its hands.
    """
    await finished(asyncio.to_thread(_swap, site, record))


async def finish_interrupted(site: Site) -> None:
    """At the daemon's start: finish a swap, remove what an interrupted copy left."""
    record = site.record
    if record.phase in ("swap-out", "swap-in"):
        log.warning("database-swap-resumed phase=%s directory=%s", record.phase, site.directory.path)
        await take_place(site, record)
    directory = site.directory
    if directory.aside.exists() and control_file(directory.path) is None:
        return  # the note of the swap is lost: people must look, and nothing may be removed
    await asyncio.to_thread(directory.discard_staging)
    await asyncio.to_thread(directory.clear_aside)


def _swap(site: Site, record: Record) -> None:
    if record.phase != "swap-in":
        site.remember(msgspec.structs.replace(record, phase="swap-out"))
        site.directory.move_aside()
        site.remember(msgspec.structs.replace(record, phase="swap-in"))
    site.directory.move_in()
    site.remember(msgspec.structs.replace(record, phase=""))
    kept = site.directory.clear_aside()
    if kept:
        log.warning("database-kept directory=%s hint=what this node had before; remove it when not needed", kept)
