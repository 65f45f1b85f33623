"""When the daemon's memories are saved by the loop itself, and when by a thread."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping

import pytest
from qluster.qnet.memories import Key
from qluster.qnet.memory import Kept
from qluster.qnetd import saving
from qluster.qnetd.saving import QUICK_SECONDS, STALL_PAUSE, STALL_SECONDS, Saver

CHANGES = {(b"qlab", 1): Kept(7)}


class Disk:
    """One whose saves take as long as is said, on a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.seconds = QUICK_SECONDS / 10
        self.fault: Exception | None = None
        self.in_thread: list[bool] = []
        self.told: list[str] = []
        monkeypatch.setattr(saving, "monotonic", lambda: self.now)
        self.saver = Saver(self.save, lambda: self.told.append("saved"), lambda fault: self.told.append(str(fault)))

    def save(self, changes: Mapping[Key, Kept]) -> None:
        assert changes == CHANGES
        self.in_thread.append(threading.current_thread() is not threading.main_thread())
        self.now += self.seconds
        if self.fault is not None:
            raise self.fault

    async def saves(self) -> bool:
        """One save to its end; whether it was durable at once."""
        at_once = self.saver.save(CHANGES)
        while self.saver.busy:
            await asyncio.sleep(0)
        return at_once


async def test_quick_disk_is_waited_for_by_the_loop_once_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    assert [await disk.saves() for _ in range(3)] == [False, True, True]
    assert disk.in_thread == [True, False, False] and disk.told == ["saved"]
    disk.saver.close()


async def test_slow_disk_is_waited_for_by_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    disk.seconds = 2 * QUICK_SECONDS
    assert [await disk.saves() for _ in range(3)] == [False] * 3
    disk.seconds = QUICK_SECONDS / 10
    for _ in range(40):
        await disk.saves()
    assert await disk.saves(), "it has become quick"
    disk.saver.close()


async def test_disk_that_stalled_is_left_to_the_thread_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    for _ in range(200):
        await disk.saves()
    disk.seconds = 1.5 * STALL_SECONDS
    assert await disk.saves()
    disk.seconds = QUICK_SECONDS / 10
    for _ in range(200):
        assert not await disk.saves()
    disk.now += STALL_PAUSE
    assert await disk.saves()
    disk.saver.close()


@pytest.mark.parametrize("known", [0, 3])
async def test_disk_that_failed_is_told_and_saves_nothing_any_more(
    monkeypatch: pytest.MonkeyPatch, known: int
) -> None:
    disk = Disk(monkeypatch)
    for _ in range(known):
        await disk.saves()
    disk.fault = OSError("broken")
    assert not await disk.saves()
    disk.fault = None
    assert not await disk.saves()
    assert disk.told[-1:] == ["broken"] and len(disk.in_thread) == known + 1
    disk.saver.close()
