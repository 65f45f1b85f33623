"""A save that met a full disk is tried again: what it had done already must not stand in its own way."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from qluster.edge.disk import Disk, DiskFull, files, identity, log
from qluster.edge.disk.snapshots import BACKGROUND_SIZE
from qluster.events import Entry, Identity, Saved, SaveEntries, SaveIdentity, SaveSnapshot, SaveVote, Snapshot


def entries(first: int, count: int, term: int = 1) -> SaveEntries:
    return SaveEntries(tuple(Entry(index, term, "command", b"value") for index in range(first, first + count)))


def snapshot(index: int, size: int = 10, *, reset: bool = False) -> SaveSnapshot:
    return SaveSnapshot(Snapshot(index, 1, b"members", b"s" * size), reset)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(str(tmp_path / "state"))
    made.load()
    yield made
    made.close()


def read_back(disk: Disk) -> Saved:
    disk.close()
    return disk.load()


def failing(times: int, real: Callable[..., Any], before: Callable[[], object] = lambda: None) -> Callable[..., Any]:
    """Meets a full disk so many times."""
    left = [times]

    def call(*args: Any) -> Any:
        before()
        if left[0]:
            left[0] -= 1
            raise DiskFull("/state", 10)
        return real(*args)

    return call


def test_large_snapshot_of_entries_that_found_no_space_is_not_named_before_them(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written beside the log, and may be there first."""

    def snapshot_is_written() -> None:
        if disk._background._running is not None:
            disk._background._running[2].result(10)

    monkeypatch.setattr(log, "write_at", failing(1, log.write_at, snapshot_is_written))
    disk.save([entries(1, 5), snapshot(4, 2 * BACKGROUND_SIZE)])
    disk.save([entries(6, 1)])
    saved = read_back(disk)
    assert saved.snapshot is not None and saved.snapshot.index == 4
    assert [one.index for one in saved.entries] == [5, 6]


def test_identity_that_found_no_space_is_tried_again_with_all_that_came_after_it(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = disk._node.number if disk._node else 0
    saves = [SaveIdentity(Identity(who, 1000, 3)), SaveVote(5, None)]
    monkeypatch.setattr(identity, "write", failing(4, identity.write))
    with pytest.raises(DiskFull):
        disk.save(saves)
    saves += [entries(1, 3), snapshot(2), SaveVote(6, None), entries(3, 2, term=6), SaveVote(7, 1)]
    for _ in range(2):
        with pytest.raises(DiskFull):
            disk.save(saves)
    disk.save([*saves, snapshot(9, reset=True), entries(10, 1, term=7)])
    disk.save([SaveVote(8, None)])
    saved = read_back(disk)
    assert saved.identity is not None and (saved.term, saved.vote) == (8, None)
    assert [(one.index, one.term) for one in saved.entries] == [(10, 7)]


@pytest.mark.parametrize("what", ["segment", "snapshot"])
def test_no_room_for_a_new_file_is_a_full_disk_and_not_a_broken_one(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Some file systems need space for the file itself."""
    disk._reserve.release()
    disk.save([entries(1, 3)])
    real, full = os.open, [True]

    def no_room(path: str, flags: int, *args: Any, **more: Any) -> int:
        if flags & os.O_CREAT and full[0]:
            raise OSError(errno.ENOSPC, "No space left on device", path)
        return real(path, flags, *args, **more)

    monkeypatch.setattr(files.os, "open", no_room)
    if what == "segment":
        monkeypatch.setattr(disk._log, "_segment_size", 1)
    with pytest.raises(DiskFull):
        disk.save([entries(4, 1)] if what == "segment" else [snapshot(9, reset=True)])
    full[0] = False
    disk.save([entries(4, 1)])
    assert [one.index for one in read_back(disk).entries] == [1, 2, 3, 4]
