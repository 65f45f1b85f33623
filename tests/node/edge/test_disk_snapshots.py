"""The durable log and its snapshots: what may go, what replaces it, and how a large save is divided."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from edge.disk_world import SMALL_SEGMENT, end_of_log, entries, log_files, reloaded
from qluster.edge.disk import Disk
from qluster.events import Save, SaveSnapshot, SaveVote, Snapshot


def test_snapshot_lets_old_segments_go(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path), segment_size=SMALL_SEGMENT)
    disk.load()
    disk.save([SaveVote(7, 3)])
    for index in range(1, 41):
        disk.save([entries(index, 1, term=7, size=100)])
    many = len(log_files(tmp_path))
    for kept in (10, 20, 38):
        disk.save([SaveSnapshot(Snapshot(kept, 7, b"members", b"state"), False)])
    for _ in range(6):
        # A save removes a few at most, so that the next one need not wait long.
        disk.save([SaveVote(7, 3)])
    disk.close()
    assert len(log_files(tmp_path)) < many / 4
    assert len(list((tmp_path / "current/snapshot").iterdir())) == 1
    saved = reloaded(tmp_path)
    assert (saved.term, saved.vote) == (7, 3)
    assert saved.snapshot == Snapshot(38, 7, b"members", b"state")
    assert [entry.index for entry in saved.entries] == [39, 40]


def test_replaced_suffix_does_not_come_back_when_segments_go(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path), segment_size=SMALL_SEGMENT)
    disk.load()
    disk.save([entries(1, 20, size=50)])
    disk.save([entries(21, 5, size=50)])
    disk.save([SaveVote(2, None), entries(15, 3, term=2, size=50)])
    disk.save([SaveSnapshot(Snapshot(16, 2, b"", b""), False)])
    disk.close()
    assert [(entry.index, entry.term) for entry in reloaded(tmp_path).entries] == [(17, 2)]


def test_snapshot_of_the_leader_replaces_the_whole_log(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path))
    disk.load()
    disk.save([entries(1, 9)])
    disk.save([SaveSnapshot(Snapshot(500, 4, b"members", b"state"), True)])
    disk.save([entries(501, 1, term=4)])
    disk.close()
    saved = reloaded(tmp_path)
    assert saved.snapshot is not None and saved.snapshot.index == 500
    assert [entry.index for entry in saved.entries] == [501]


def test_snapshot_without_its_record_does_not_count(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path))
    disk.load()
    disk.save([entries(1, 3)])
    stray = tmp_path / "current/snapshot/0000000000000002-0000000000000099.snapshot"
    stray.write_bytes(b"half")
    (tmp_path / "current/snapshot/x.snapshot.tmp").write_bytes(b"half")
    disk.close()
    saved = reloaded(tmp_path)
    assert saved.snapshot is None and len(saved.entries) == 3
    assert list((tmp_path / "current/snapshot").iterdir()) == []


def test_large_save_is_split_into_groups(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path))
    disk.load()
    disk.save([entries(1, 40, size=1_000_000)])
    disk.close()
    assert len(reloaded(tmp_path).entries) == 40


@pytest.mark.parametrize("wrong", [
    pytest.param([SaveVote(1, 1)], id="term goes back"),
    pytest.param([entries(9, 1)], id="gap"),
    pytest.param([entries(2, 1)], id="entry below the snapshot"),
    pytest.param([SaveSnapshot(Snapshot(9, 5, b"", b""), False)], id="snapshot after the log"),
])
def test_contradiction_is_refused_before_it_is_written(tmp_path: Path, wrong: list[Save]) -> None:
    disk = Disk(str(tmp_path))
    disk.load()
    disk.save([SaveVote(5, 1), entries(1, 5), SaveSnapshot(Snapshot(3, 1, b"", b""), False)])
    size = end_of_log(disk)
    with pytest.raises(AssertionError):
        disk.save(wrong)
    assert end_of_log(disk) == size
    disk.close()
    assert log_files(tmp_path)[0].stat().st_size == size
