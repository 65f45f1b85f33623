"""A state that is set aside, and a disk that fails or is full."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from edge.disk_world import entries, reloaded
from qluster.edge.disk import Disk, DiskFailed, DiskFull, LogDamaged, StateRefused, files
from qluster.events import Identity, SaveIdentity


def test_state_set_aside_begins_with_a_new_uid_and_keeps_add_node(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path))
    uid = disk.load().uid
    disk.save([SaveIdentity(Identity(uid, 1, 1)), entries(1, 1)])
    old = disk.set_aside("a later founding was met")
    saved = disk.load()
    disk.save([entries(1, 1)])
    disk.close()
    assert saved.uid != uid and saved.boot == 1 and saved.invited and saved.identity is None
    assert Path(old, "reason").read_text() == "a later founding was met\n"
    assert Path(old, "log").is_dir()


def test_state_set_aside_to_join_founds_nothing(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path))
    disk.load()
    (tmp_path / "add_node").unlink(missing_ok=True)
    disk.set_aside("joins founding 7 as a new node", joins=True)
    assert disk.load().invited
    disk.close()


def test_only_the_newest_states_set_aside_are_kept(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path))
    for _ in range(5):
        disk.load()
        disk.set_aside("test")
    disk.close()
    assert sorted(path.name for path in tmp_path.glob("old.*")) == ["old.3", "old.4", "old.5"]


def test_damaged_state_can_be_set_aside(tmp_path: Path) -> None:
    reloaded(tmp_path)
    (tmp_path / "current/node.json").write_bytes(b"")
    disk = Disk(str(tmp_path))
    with pytest.raises(LogDamaged, match="qluster set-aside"):
        disk.load()
    disk.set_aside("damaged")
    assert disk.load().boot == 1
    disk.close()


def test_nothing_to_set_aside_is_said(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path))
    with pytest.raises(StateRefused, match="holds no state"):
        disk.set_aside("test")
    disk.close()


# --- a disk that fails --------------------------------------------------------


def test_after_a_failure_the_disk_refuses_all_further_use(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path))
    disk.load()
    disk.save([entries(1, 1)])
    assert disk._log is not None
    os.close(disk._log._descriptor)
    with pytest.raises(DiskFailed, match="writing failed"):
        disk.save([entries(2, 1)])
    disk._log._descriptor = -1
    with pytest.raises(DiskFailed):
        disk.save([entries(2, 1)])
    with pytest.raises(DiskFailed):
        disk.load()
    disk.close()
    assert len(reloaded(tmp_path).entries) == 1


def test_failed_flush_is_a_failure_of_the_disk() -> None:
    reader, writer = os.pipe()
    try:
        with pytest.raises(DiskFailed, match="flushing failed"):
            files.flush_data(writer, "a pipe cannot be flushed")
    finally:
        os.close(reader)
        os.close(writer)


FULL_DISK = """
import resource, sys
from qluster.edge.disk import Disk, DiskFull
from qluster.events import Entry, SaveEntries, SaveSnapshot, Snapshot
disk = Disk(sys.argv[1])
disk.load()
disk.save([SaveEntries((Entry(1, 1, "command", b"first"),))])
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
large = b"x" * 9000
for save in (SaveEntries((Entry(2, 1, "command", large),)), SaveSnapshot(Snapshot(1, 1, b"", large), True)):
    try:
        disk.save([save])
    except DiskFull as error:
        print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
disk.save([SaveEntries((Entry(2, 1, "command", b"second"),))])
disk.close()
"""


def test_full_disk_loses_nothing_and_saving_goes_on_when_there_is_space(tmp_path: Path) -> None:
    # In a process of its own, because the limit on a file's size would hold for the whole test run.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], env=environment, timeout=60,
                         capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("no space left for") == 2
    saved = reloaded(tmp_path)
    assert [entry.payload for entry in saved.entries] == [b"first", b"second"]
    assert saved.snapshot is None


def test_full_disk_on_which_nothing_was_written_needs_no_cut() -> None:
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(DiskFull, match="no space left for 1 bytes"):
        files.write_at(full.fileno(), b"x", 0, "/dev/full")


def test_full_disk_that_cannot_be_cut_back_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    written = iter([1])
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda *arguments: next(written, None) or write(*arguments))
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(DiskFailed, match="cutting back failed"):
        files.write_at(full.fileno(), b"xy", 0, "/dev/full")
