"""What a crowd of runs costs the disk, and how an attendant waits: measured in calls, not in seconds."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import resource
import select
import threading
from pathlib import Path

import pytest
from qluster.edge.runner import alarm, flushing, libc
from qluster.edge.runner.record import ROOM, Record
from qluster.tasks.runner import StartRun
from qluster.tasks.spec import Command, Limits


def test_what_waits_while_the_disk_is_busy_is_flushed_in_one_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[Path] = []
    busy, free = threading.Event(), threading.Event()

    def sync(path: Path) -> None:
        flushed.append(path)
        busy.set()
        assert free.wait(10)

    monkeypatch.setattr(flushing, "sync", sync)

    async def crowd() -> None:
        disk = flushing.Flushing()
        first = asyncio.create_task(disk.flush(tmp_path / "0", tmp_path))
        await asyncio.to_thread(busy.wait, 10)
        others = [asyncio.create_task(disk.flush(tmp_path / str(number), tmp_path)) for number in range(1, 9)]
        await asyncio.sleep(0)
        free.set()
        await asyncio.gather(first, *others)

    asyncio.run(crowd())
    assert flushed.count(tmp_path) == 2 and len(flushed) == 11


def test_a_fault_is_told_to_whom_it_concerns(tmp_path: Path) -> None:
    async def both() -> list[object]:
        disk = flushing.Flushing()
        return await asyncio.gather(disk.flush(tmp_path), disk.flush(tmp_path / "none"), return_exceptions=True)

    well, ill = asyncio.run(both())
    assert well is None and isinstance(ill, FileNotFoundError)


def test_the_alarm_can_be_waited_for_and_set_anew() -> None:
    assert not libc.prepare()
    timer = alarm.Alarm()
    assert timer.descriptor >= 0
    timer.set(3600)
    timer.set(0.01)
    assert select.select([timer.descriptor], [], [], 10)[0]
    timer.clear()
    assert not select.select([timer.descriptor], [], [], 0)[0]
    timer.clear()


def test_an_order_of_which_the_disk_takes_a_part_is_not_begun(tmp_path: Path) -> None:
    """A torn order counts as never kept when the runner is started anew: its program must not have begun by then."""
    order = StartRun(7, 9, 1, Command(("/bin/true", "x" * 2 * ROOM)), "", Limits(), 60.0, True)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, before[1]))
    try:
        with pytest.raises(OSError, match="No space left"):
            Record(str(tmp_path), 7, 9).create(order)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert Record(str(tmp_path), 7, 9).order() is None
