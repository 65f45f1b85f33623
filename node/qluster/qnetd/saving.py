"""Decides whether what a memory keeps is saved at once, or by a thread beside the loop.

It must not know what is saved. One save is under way at a time; what gathers meanwhile is the next one.

A thread's way there and back takes a quarter of a millisecond on a busy host. A disk with a write cache that survives a
power cut flushes in less, so there the loop saves by itself; everywhere else, and for a while after each stall, the
thread does, and who has no memory is at least not cut off from the daemon's own timers.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from math import inf
from typing import Final

from qluster.edge.clock import monotonic
from qluster.qnet.memories import Key
from qluster.qnet.memory import Kept

QUICK_SECONDS: Final = 0.001
"""A save that usually takes less is done by the loop."""
STALL_SECONDS: Final = 0.02
"""A save that takes longer than this is a stall."""
STALL_PAUSE: Final = 10.0
"""So long after a stall the thread saves."""
WEIGHT: Final = 1 / 16
"""Of the newest save in the average."""

Save = Callable[[Mapping[Key, Kept]], None]


class Saver:
    """``saved`` hears that what the thread saved is durable; ``failed`` why something is not, and then nothing is saved
    any more."""

    def __init__(self, save: Save, saved: Callable[[], None], failed: Callable[[BaseException], None]) -> None:
        self._save, self._saved, self._failed = save, saved, failed
        self._thread = ThreadPoolExecutor(1, "disk")
        self._under_way: asyncio.Future[float] | None = None
        self._usual = inf
        self._stalled_at = -inf
        self._over = False

    def save(self, changes: Mapping[Key, Kept]) -> bool:
        """Save these; True when they are durable now, else ``saved`` or ``failed`` will be called."""
        assert self._under_way is None, "one save at a time"
        if self._over:
            return False
        if self._usual < QUICK_SECONDS and monotonic() > self._stalled_at + STALL_PAUSE:
            try:
                self._learn(_timed(self._save, changes))
            except Exception as fault:  # noqa: BLE001 - as from the thread: it ends the daemon
                self._fail(fault)
                return False
            return True
        self._under_way = asyncio.get_running_loop().run_in_executor(self._thread, _timed, self._save, changes)
        self._under_way.add_done_callback(self._ended)
        return False

    @property
    def busy(self) -> bool:
        """Whether a save is under way."""
        return self._under_way is not None

    def close(self) -> None:
        """Wait for what is under way; nobody hears of it any more."""
        self._over = True
        self._thread.shutdown(wait=True)

    def _ended(self, saving: asyncio.Future[float]) -> None:
        self._under_way = None
        if saving.cancelled() or self._over:
            return
        if (fault := saving.exception()) is not None:
            self._fail(fault)
            return
        self._learn(saving.result())
        self._saved()

    def _fail(self, fault: BaseException) -> None:
        self._over = True
        self._failed(fault)

    def _learn(self, seconds: float) -> None:
        self._usual = seconds if self._usual == inf else self._usual + (seconds - self._usual) * WEIGHT
        if seconds > STALL_SECONDS:
            self._stalled_at = monotonic()


def _timed(save: Save, changes: Mapping[Key, Kept]) -> float:
    began = monotonic()
    save(changes)
    return monotonic() - began
