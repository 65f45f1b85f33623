"""Groups are saved in their order, beside the loop where the disk is slow; a full disk is tried again."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
from qluster.edge import saving
from qluster.edge.disk import DiskFailed, DiskFull
from qluster.edge.saving import Saver
from qluster.events import Save, SaveVote


class Scripted:
    """A disk that does what the test says, and what a saver said of it."""

    def __init__(self) -> None:
        self.saved: list[Save] = []
        self.faults: list[Exception] = []
        self.gate = threading.Event()
        self.gate.set()
        self.ended: list[int] = []
        self.failed: list[BaseException] = []
        self.saver = Saver(self.save, self.ended.append, self.failed.append)

    def save(self, saves: Sequence[Save]) -> None:
        assert self.gate.wait(10)
        if self.faults:
            raise self.faults.pop(0)
        self.saved += saves

    async def until(self, number: int) -> None:
        for _ in range(1000):
            if number in self.ended or self.failed:
                return
            await asyncio.sleep(0.005)
        raise AssertionError(f"save {number} never ended")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "FULL_RETRY", 0.01)


async def test_what_gathers_behind_a_slow_save_becomes_one_group() -> None:
    disk = Scripted()
    disk.gate.clear()
    for number in (1, 2, 3):
        assert not disk.saver.save([SaveVote(number, 1)], number)
    disk.gate.set()
    await disk.until(3)
    assert disk.ended == [1, 3] and disk.saved == [SaveVote(number, 1) for number in (1, 2, 3)]
    await disk.saver.close()


async def test_full_disk_is_tried_again_in_the_same_order_and_said_meanwhile() -> None:
    disk = Scripted()
    disk.faults = [DiskFull("/state", 100), DiskFull("/state", 100)]
    disk.saver.save([SaveVote(1, 1)], 1)
    await asyncio.sleep(0)
    disk.saver.save([SaveVote(2, 1)], 2)
    while not disk.saver.trouble:
        await asyncio.sleep(0.001)
    assert disk.ended == [] and "no space left for 100 bytes" in disk.saver.trouble
    await disk.until(2)
    assert disk.saved == [SaveVote(1, 1), SaveVote(2, 1)] and disk.saver.trouble == "" and not disk.failed
    await disk.saver.close()


async def test_failed_flush_is_told_and_nothing_ends() -> None:
    disk = Scripted()
    disk.faults = [DiskFailed("/state", "flushing failed")]
    disk.saver.save([SaveVote(1, 1)], 1)
    await disk.until(1)
    assert [type(fault) for fault in disk.failed] == [DiskFailed] and not disk.ended
    await disk.saver.close()


async def test_other_work_of_the_disk_never_meets_a_save() -> None:
    disk, done = Scripted(), []
    disk.gate.clear()
    disk.saver.save([SaveVote(1, 1)], 1)
    assert not disk.saver.between(lambda: done.append("while saving"))
    disk.gate.set()
    await disk.until(1)
    disk.gate.clear()

    def work() -> None:
        assert disk.gate.wait(10)
        done.append(len(disk.saved))

    assert disk.saver.between(work)
    assert not disk.saver.save([SaveVote(2, 1)], 2), "it waits for the work"
    disk.gate.set()
    await disk.until(2)
    assert done == [1] and len(disk.saved) == 2
    await disk.saver.close()
    assert not disk.saver.between(lambda: done.append("closed"))
