"""The state directory on real files: room ahead of the log, a full disk, large snapshots, bounded size."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from qluster.edge.disk import Disk, LogDamaged
from qluster.edge.disk.snapshots import BACKGROUND_SIZE
from qluster.events import Entry, Identity, Saved, SaveEntries, SaveIdentity, SaveSnapshot, SaveVote, Snapshot

PATIENCE = 20.0
SECTOR = 512


def entries(first: int, count: int, payload: bytes = b"value") -> SaveEntries:
    return SaveEntries(tuple(Entry(index, 1, "command", payload) for index in range(first, first + count)))


def large(index: int) -> SaveSnapshot:
    return SaveSnapshot(Snapshot(index, 1, b"members", b"s" * (2 * BACKGROUND_SIZE)), reset=False)


def reloaded(path: Path) -> Saved:
    disk = Disk(str(path))
    try:
        return disk.load()
    finally:
        disk.close()


def killed(path: Path, copy: Path) -> Path:
    """What is there if the process dies now: files as they are, no clean end."""
    shutil.copytree(path, copy)
    return copy


def newest_segment(path: Path) -> Path:
    return max((path / "current/log").iterdir())


def size_of(path: Path) -> int:
    return sum(file.stat().st_size for file in (path / "current").rglob("*") if file.is_file())


# --- room ahead of the log ------------------------------------------------------


def test_room_ahead_of_the_log_is_no_damage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    disk = Disk(str(tmp_path / "a"))
    disk.load()
    disk.save([entries(1, 3)])
    copy = killed(tmp_path / "a", tmp_path / "b")
    assert newest_segment(copy).stat().st_size > 1024 * 1024
    disk.close()
    assert newest_segment(tmp_path / "a").stat().st_size < 1024
    caplog.set_level(logging.WARNING)
    assert len(reloaded(copy).entries) == 3
    assert not caplog.records


def test_log_goes_on_in_the_room_that_a_killed_process_left(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path / "a"))
    disk.load()
    disk.save([entries(1, 3)])
    copy = killed(tmp_path / "a", tmp_path / "b")
    disk.close()
    again = Disk(str(copy))
    again.load()
    size = newest_segment(copy).stat().st_size
    again.save([entries(4, 3)])
    assert newest_segment(copy).stat().st_size == size
    again.close()
    assert [entry.index for entry in reloaded(copy).entries] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("lost", [0, 1, 2, 3])
def test_sector_that_was_not_written_is_a_torn_tail(
    tmp_path: Path, lost: int, caplog: pytest.LogCaptureFixture
) -> None:
    disk = Disk(str(tmp_path / "a"))
    disk.load()
    disk.save([entries(1, 1, b"x" * 4 * SECTOR)])
    assert disk._log is not None
    begin = disk._log.end
    disk.save([entries(2, 1, b"y" * 4 * SECTOR)])
    copy = killed(tmp_path / "a", tmp_path / "b")
    disk.close()
    segment = newest_segment(copy)
    content = bytearray(segment.read_bytes())
    first = max(begin, (begin // SECTOR + lost) * SECTOR)
    last = (first // SECTOR + 1) * SECTOR
    content[first:last] = bytes(last - first)
    segment.write_bytes(content)
    caplog.set_level(logging.WARNING)
    assert [entry.index for entry in reloaded(copy).entries] == [1]
    assert f"log-tail-cut file={segment} offset={begin}" in caplog.text


def test_changed_byte_in_front_of_the_room_is_damage(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path / "a"))
    disk.load()
    disk.save([entries(1, 1, b"x" * 100)])
    copy = killed(tmp_path / "a", tmp_path / "b")
    assert disk._log is not None
    place = disk._log.end - 50
    disk.close()
    segment = newest_segment(copy)
    content = bytearray(segment.read_bytes())
    content[place] ^= 1
    segment.write_bytes(content)
    with pytest.raises(LogDamaged, match="complete, but its checksum is wrong"):
        reloaded(copy)


def test_start_flushes_what_a_killed_process_had_only_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read back and acknowledged; the power may fail before anything else is saved."""
    copy = killed_after_a_save(tmp_path)
    data, whole = noted(monkeypatch, "fdatasync"), noted(monkeypatch, "fsync")
    again = Disk(str(copy))
    again.load()
    assert {str(newest_segment(copy)), str(copy / "current/log"), str(copy / "current"), str(copy)} <= {*data, *whole}
    again.close()


def test_start_reads_the_disk_and_not_what_memory_holds_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a flush that failed memory shows what the disk does not have, as if all were well."""
    copy = killed_after_a_save(tmp_path)
    forgotten, read = noted(monkeypatch, "posix_fadvise"), noted(monkeypatch, "fdatasync")
    again = Disk(str(copy))
    again.load()
    again.close()
    assert str(newest_segment(copy)) in forgotten
    assert read[str(newest_segment(copy))] < forgotten[str(newest_segment(copy))]


def killed_after_a_save(tmp_path: Path) -> Path:
    disk = Disk(str(tmp_path / "a"))
    disk.save([SaveIdentity(Identity(disk.load().uid, 1, 1)), entries(1, 3)])
    copy = killed(tmp_path / "a", tmp_path / "b")
    disk.close()
    return copy


def noted(monkeypatch: pytest.MonkeyPatch, name: str) -> dict[str, float]:
    """When this system call was first made for which file."""
    call, files = getattr(os, name), {}

    def noting(descriptor: int, *more: int) -> None:
        call(descriptor, *more)
        files.setdefault(os.readlink(f"/proc/self/fd/{descriptor}"), time.monotonic())

    monkeypatch.setattr(os, name, noting)
    return files


# --- a full disk -----------------------------------------------------------------

FULL_DISK = """
import os, sys
from pathlib import Path
from qluster.edge.disk import Disk
from qluster.events import Entry, SaveEntries, SaveSnapshot, SaveVote, Snapshot
root = Path(sys.argv[1])
disk = Disk(str(root / "state"), segment_size=1 << 20)
disk.load()
assert not disk.short, "there is space for the reserve"
(root / "filler").write_bytes(bytes(5 << 20))
index = 0
while not disk.short:
    index += 1
    disk.save([SaveEntries((Entry(index, 1, "command", bytes([index % 251 + 1]) * 50_000),))])
print("entries", index)
for term in range(1, 301):
    disk.save([SaveVote(term, 2)])
disk.save([SaveSnapshot(Snapshot(index - 1, 1, b"members", b"s" * (8 << 20)), False)])
for term in range(301, 601):
    disk.save([SaveVote(term, 2)])
print("relieved", disk.relieve(), disk.short)
disk.close()
disk = Disk(str(root / "state"), segment_size=1 << 20)
print("again", disk.load().term, disk.short)
os.unlink(root / "filler")
print("space", disk.relieve(), disk.short)
disk.save([SaveEntries((Entry(index + 1, 1, "command", b"y" * 60_000),))])
disk.close()
saved = Disk(str(root / "state")).load()
print("found", saved.term, saved.vote, [len(entry.payload) for entry in saved.entries] == [50_000] * index + [60_000])
"""


def on_small_disk(tmp_path: Path, program: str, size: str) -> str:
    """Run a program with a file system of its own, which goes with its process."""
    script = f'mount -t tmpfs -o size={size} tmpfs "$0" && exec "$1" -c "$2" "$0"'
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script, str(tmp_path), sys.executable, program],
        env=environment, timeout=60, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "unshare failed" in ran.stderr or "mount:" in ran.stderr:
        pytest.skip(f"no mount namespace here: {ran.stderr.strip()}")
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_full_disk_still_saves_votes_and_goes_on_when_there_is_space(tmp_path: Path) -> None:
    lines = on_small_disk(tmp_path, FULL_DISK, "12m").splitlines()
    assert lines[1:] == ["relieved False True", "again 600 True", "space True False", "found 600 2 True"]
    assert int(lines[0].split()[1]) > 10


SNAPSHOT_WITHOUT_ROOM = """
import os, sys
from pathlib import Path
from qluster.edge.disk import Disk
from qluster.events import Entry, SaveEntries, SaveSnapshot, SaveVote, Snapshot
root = Path(sys.argv[1])
disk = Disk(str(root / "state"), segment_size=1 << 20)
disk.load()
disk.save([SaveVote(1, 1), SaveEntries((Entry(1, 1, "command", b"x"), Entry(2, 1, "command", b"y")))])
(root / "filler").write_bytes(bytes(6 << 20))
disk.save([SaveSnapshot(Snapshot(1, 1, b"members", b"s" * 250_000), False)])
print("small", disk.short)
(root / "more").write_bytes(bytes(os.statvfs(root).f_bavail * os.statvfs(root).f_frsize - 100_000))
disk.save([SaveSnapshot(Snapshot(2, 1, b"members", b"s" * 250_000), False)])
print("large", disk.short, disk.relieve(), disk.short)
os.unlink(root / "filler")
print("space", disk.relieve(), disk.short)
disk.close()
saved = Disk(str(root / "state")).load()
print("found", saved.snapshot.index, [entry.index for entry in saved.entries])
"""


def test_snapshot_without_room_is_put_off_and_the_node_stays_short_until_there_is_some(tmp_path: Path) -> None:
    lines = on_small_disk(tmp_path, SNAPSHOT_WITHOUT_ROOM, "16m").splitlines()
    assert lines == ["small False", "large True False True", "space True False", "found 1 [2]"]


# --- large snapshots ---------------------------------------------------------------


def saved_until_named(disk: Disk, index: int) -> None:
    assert disk._log is not None
    deadline = time.monotonic() + PATIENCE
    while disk._log.replay.snapshot is None or disk._log.replay.snapshot.index < index:
        assert time.monotonic() < deadline, "the snapshot was never named"
        disk.save([SaveVote(1, 1)])


def test_large_snapshot_counts_when_a_later_save_names_it(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path / "a"))
    disk.load()
    disk.save([entries(1, 10), large(7)])
    while not list((tmp_path / "a/current/snapshot").glob("*.snapshot")):
        time.sleep(0.001)
    copy = killed(tmp_path / "a", tmp_path / "b")
    saved_until_named(disk, 7)
    disk.close()
    before, after = reloaded(copy), reloaded(tmp_path / "a")
    assert before.snapshot is None and len(before.entries) == 10
    assert after.snapshot == large(7).snapshot and [entry.index for entry in after.entries] == [8, 9, 10]


def test_clean_end_keeps_the_large_snapshot_under_way(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path))
    disk.load()
    disk.save([entries(1, 10), large(7)])
    disk.close()
    assert reloaded(tmp_path).snapshot == large(7).snapshot
    assert len(list((tmp_path / "current/snapshot").iterdir())) == 1


def test_newest_of_many_large_snapshots_is_kept_alone(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path))
    disk.load()
    disk.save([entries(1, 10)])
    for index in range(1, 10):
        disk.save([large(index)])
    saved_until_named(disk, 9)
    disk.close()
    saved = reloaded(tmp_path)
    assert saved.snapshot == large(9).snapshot and [entry.index for entry in saved.entries] == [10]
    assert len(list((tmp_path / "current/snapshot").iterdir())) == 1


def test_snapshot_of_the_leader_wins_over_a_large_one_under_way(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path))
    disk.load()
    disk.save([entries(1, 10), large(7)])
    disk.save([SaveSnapshot(Snapshot(50, 1, b"members", b"leader's"), reset=True)])
    disk.save([entries(51, 2)])
    disk.close()
    saved = reloaded(tmp_path)
    assert saved.snapshot is not None and saved.snapshot.state == b"leader's"
    assert [entry.index for entry in saved.entries] == [51, 52]


def test_state_set_aside_takes_no_snapshot_into_the_next(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path))
    disk.load()
    disk.save([entries(1, 10), large(7)])
    disk.set_aside("test")
    disk.load()
    disk.save([SaveVote(1, 1), entries(1, 9)])
    disk.close()
    saved = reloaded(tmp_path)
    assert saved.snapshot is None and len(saved.entries) == 9


# --- bounded -----------------------------------------------------------------------


def test_disk_stays_bounded_over_200000_entries_with_snapshots_now_and_then(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path), segment_size=4 << 20)
    disk.load()
    most, payload = 0, b"p" * 200
    for first in range(1, 200_001, 500):
        disk.save([entries(first, 500, payload)])
        if first % 4_000 == 1 and first > 1:
            disk.save([SaveSnapshot(Snapshot(first - 1, 1, b"members", b"state"), reset=False)])
            most = max(most, size_of(tmp_path))
    disk.close()
    # Four segments: one is being written, its predecessor reaches behind the snapshot, two wait for their removal.
    assert most < 4 * (5 << 20), f"{most} bytes"
    saved = reloaded(tmp_path)
    assert saved.entries[-1].index == 200_000 and saved.snapshot is not None
    assert len(saved.entries) == 200_000 - saved.snapshot.index
