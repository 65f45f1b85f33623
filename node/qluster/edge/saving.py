"""Decides when what waits is saved: at once, or by a thread of its own beside the loop.

It must not know what is saved, nor who waits for it.

A save takes as long as the disk's flush. Where that is less than handing the work to a thread and hearing of its
end (on a disk with a write cache that survives a power cut: some 30 to 100 microseconds), the loop saves by itself.
Everywhere else, and for a while after each stall, a thread saves, one group at a time: all that has gathered
meanwhile becomes the next group, with one flush.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import inf
from typing import Final

from qluster.edge.clock import monotonic
from qluster.edge.disk import DiskFull
from qluster.events import Save, SaveEntries

log = logging.getLogger(__name__)

QUICK_SECONDS: Final = 0.001
"""A save that usually takes less is done by the loop. The thread's way there and back takes a quarter of that on a
core of its own; what it costs the caches, and the two more rounds of the loop, are about the rest."""
STALL_SECONDS: Final = 0.02
"""A save that takes longer than this is a stall: heartbeats and clients must not wait behind the next one."""
STALL_PAUSE: Final = 10.0
"""So long after a stall the thread saves."""
WEIGHT: Final = 1 / 16
"""Of the newest save in the average."""
QUICK_ENTRIES: Final = 64
"""A larger group goes to the thread: writing it takes time as well."""
FULL_RETRY: Final = 1.0
"""Seconds until saving is tried again on a full disk."""

Ended = Callable[[int], None]
Failed = Callable[[BaseException], None]


class Saver:
    """Saves groups in their order. ``ended`` gets the number of the last save that is durable."""

    def __init__(self, save: Callable[[Sequence[Save]], None], ended: Ended, failed: Failed) -> None:
        self._save = save
        self._ended = ended
        self._failed = failed
        self._writer = ThreadPoolExecutor(1, "disk")
        self._waiting: list[Save] = []
        self._number = 0
        self._under_way: asyncio.Future[float] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._usual = inf
        self._stalled_at = -inf
        self._closed = False
        self.trouble = ""
        """Why nothing is saved at the moment, "" when all is well."""

    def save(self, saves: Sequence[Save], number: int) -> bool:
        """Save these; True when they are durable now, else ``ended`` will be called. Raises what the disk raises."""
        if self._idle and self._usual < QUICK_SECONDS and _small(saves):
            now = monotonic()
            if now > self._stalled_at + STALL_PAUSE:
                try:
                    self._save(saves)
                except DiskFull as full:
                    self._wait_for_room(list(saves), number, full)
                    return False
                self._learn(monotonic() - now)
                return True
        self._waiting += saves
        self._number = number
        self._begin()
        return False

    def between(self, work: Callable[[], object]) -> bool:
        """Have the thread do something else of the disk while nothing is saved; False when something is."""
        if not self._idle or self._closed:
            return False
        self._under_way = asyncio.get_running_loop().run_in_executor(self._writer, _timed, work)
        self._under_way.add_done_callback(self._work_ended)
        return True

    def _work_ended(self, done: asyncio.Future[float]) -> None:
        self._under_way = None
        fault = None if done.cancelled() else done.exception()
        if fault is not None:
            self._failed(fault)
        else:
            self._begin()

    async def drain(self) -> None:
        """Wait until nothing is under way; what still waits is not saved."""
        self._drop_waiting()
        if self._under_way is not None:
            with contextlib.suppress(Exception):
                await asyncio.shield(self._under_way)
            # It may have met a full disk: what would be tried again belongs to a state that may be gone by then.
            self._drop_waiting()
        self._number = 0
        self.trouble = ""

    def _drop_waiting(self) -> None:
        self._waiting = []
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    async def close(self) -> None:
        """Wait for what is under way and stop. Twice is as good as once."""
        self._closed = True
        await self.drain()
        self._writer.shutdown(wait=True)

    @property
    def _idle(self) -> bool:
        return self._under_way is None and not self._waiting and self._retry is None

    def _begin(self) -> None:
        if self._under_way is not None or self._retry is not None or not self._waiting or self._closed:
            return
        group, self._waiting = self._waiting, []
        number = self._number
        self._under_way = asyncio.get_running_loop().run_in_executor(self._writer, _timed, lambda: self._save(group))
        self._under_way.add_done_callback(lambda done: self._group_ended(done, group, number))

    def _group_ended(self, done: asyncio.Future[float], group: list[Save], number: int) -> None:
        self._under_way = None
        fault = None if done.cancelled() else done.exception()
        if isinstance(fault, DiskFull):
            self._wait_for_room(group, number, fault)
        elif fault is not None:
            self._failed(fault)
        elif not self._closed:
            self._learn(done.result())
            self.trouble = ""
            self._ended(number)
            self._begin()

    def _learn(self, seconds: float) -> None:
        self._usual = seconds if self._usual == inf else self._usual + (seconds - self._usual) * WEIGHT
        if seconds > STALL_SECONDS:
            self._stalled_at = monotonic()

    def _wait_for_room(self, group: list[Save], number: int, full: DiskFull) -> None:
        """Nothing was acknowledged: the same group is tried again, and all that gathers waits behind it."""
        if not self.trouble:
            log.error("disk-full %s", full)
        self.trouble = str(full)
        self._waiting = group + self._waiting
        self._number = max(number, self._number)
        self._retry = asyncio.get_running_loop().call_later(FULL_RETRY, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self._begin()


def _timed(work: Callable[[], object]) -> float:
    began = monotonic()
    work()
    return monotonic() - began


def _small(saves: Sequence[Save]) -> bool:
    """A few entries: nothing that is large, and no vote, which is rare."""
    return all(isinstance(save, SaveEntries) and len(save.entries) <= QUICK_ENTRIES for save in saves)
