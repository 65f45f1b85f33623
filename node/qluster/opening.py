"""Decides with what a daemon begins: with what it saved, or as a new node where that cannot be trusted.

It must not know what the node then does with it.

A log that lost something of what was acknowledged must not vote any more (D5). It is put away whole, with the
reason in it, and the node joins under a new identity. As long as the disk has no space at all, not even for
counting the start, the daemon waits: starting again and again would not make any.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from qluster.edge.disk import Disk, DiskFull, LogDamaged
from qluster.events import Saved

log = logging.getLogger("qluster.opening")

FULL_RETRY: Final = 5.0
"""Seconds until a full disk is looked at again."""

NOBODYS: Final = "it has a log and no identity: a founding was cut short, and nobody has heard of what the log says"


async def open_state(disk: Disk, waiting: Callable[[str], None]) -> Saved:
    """What this node saved; ``waiting`` is told while there is no space. Raises DiskTrouble."""
    try:
        saved = await _load(disk, waiting)
    except LogDamaged as damage:
        return await _begin_anew(disk, str(damage), waiting)
    if saved.identity is None and (saved.term or saved.entries or saved.snapshot):
        return await _begin_anew(disk, NOBODYS, waiting)
    return saved


async def _begin_anew(disk: Disk, reason: str, waiting: Callable[[str], None]) -> Saved:
    """The state cannot be trusted: put it away, and begin with an empty one."""
    log.error("state-damaged %s", reason)
    path = disk.set_aside(reason)
    log.warning("joins-anew this node joins as a new one, what it had lies in %s", path)
    return await _load(disk, waiting)


async def _load(disk: Disk, waiting: Callable[[str], None]) -> Saved:
    told = False
    while True:
        try:
            return disk.load()
        except DiskFull as full:
            if not told:
                log.error("waits-for-space %s", full)
            told = True
            waiting(str(full))
            await asyncio.sleep(FULL_RETRY)
