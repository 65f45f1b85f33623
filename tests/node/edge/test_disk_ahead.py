"""The next segment's file is made beside the saves: a save only takes it over, and no power cut can tell."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from faults.storage import Directory, File, Missing, Storage
from qluster.edge.disk import Disk, ahead, log
from qluster.edge.disk.survey import survey
from qluster.events import Entry, Saved, SaveEntries, SaveVote

STEP = 16 * 1024
SEGMENT_SIZE = 4 * STEP
IN_A_SEGMENT = 13
"""So many of the entries below fill one."""
MEMORY = "/dev/shm"


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "STEP", STEP)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(str(tmp_path), segment_size=SEGMENT_SIZE)
    made.load()
    yield made
    made.close()


def entry(index: int, size: int = 5000) -> SaveEntries:
    return SaveEntries((Entry(index, 1, "command", bytes([1 + index % 255]) * size),))


def settled(disk: Disk) -> None:
    """Wait for the step under way."""
    assert disk._log is not None
    if disk._log._ahead._step is not None:
        disk._log._ahead._step.result(20)


def fill(disk: Disk, first: int, count: int) -> None:
    for index in range(first, first + count):
        disk.save([entry(index)])
        settled(disk)


def log_files(path: Path) -> list[str]:
    return sorted(os.listdir(path / "current/log"))


def indexes(saved: Saved) -> list[int]:
    return [one.index for one in saved.entries]


def reloaded(path: Path) -> Saved:
    disk = Disk(str(path), segment_size=SEGMENT_SIZE)
    try:
        return disk.load()
    finally:
        disk.close()


# --- what is gained --------------------------------------------------------------


def test_save_that_begins_a_segment_takes_the_file_that_is_ready_with_all_its_room(disk: Disk, tmp_path: Path) -> None:
    place = tmp_path / "current/log"
    fill(disk, 1, IN_A_SEGMENT)
    assert log_files(tmp_path) == ["0000000000000001.log", "next.tmp"]
    ready = (place / "next.tmp").stat()
    assert ready.st_size == SEGMENT_SIZE and not any((place / "next.tmp").read_bytes())
    disk.save([entry(IN_A_SEGMENT + 1)])
    taken = (place / "0000000000000002.log").stat()
    assert (taken.st_ino, taken.st_size) == (ready.st_ino, SEGMENT_SIZE)
    assert not (place / "next.tmp").exists()


def test_no_save_sets_room_aside_once_the_first_segment_is_full(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(disk, 1, 15)
    grown = []
    monkeypatch.setattr(log, "set_aside_room", lambda descriptor, begin, size: grown.append(size) or begin)
    fill(disk, 16, 8)
    assert disk._log is not None and disk._log._number == 2
    assert grown == []


def test_segment_that_is_not_ready_goes_on_in_the_room_that_it_has(disk: Disk, tmp_path: Path) -> None:
    fill(disk, 1, 1)
    fill(disk, 2, 3)
    assert disk._log is not None
    disk._log._ahead.due = 2**63
    fill(disk, 5, 25)
    disk.close()
    assert indexes(reloaded(tmp_path)) == list(range(1, 30))


def test_clean_end_and_a_start_leave_no_file_of_a_segment_that_was_not_begun(disk: Disk, tmp_path: Path) -> None:
    fill(disk, 1, 10)
    left = tmp_path / "current/log/next.tmp"
    assert left.exists()
    found = survey(str(tmp_path))
    assert not found.damage and not found.notes and [number for number, _ in found.segments] == [1]
    disk.close()
    assert not left.exists()
    left.write_bytes(b"what another start had made")
    fill_again = Disk(str(tmp_path), segment_size=SEGMENT_SIZE)
    assert indexes(fill_again.load()) == list(range(1, 11))
    assert not left.exists()
    fill(fill_again, 11, 10)
    fill_again.close()
    assert indexes(reloaded(tmp_path)) == list(range(1, 21))


# --- what goes wrong with it ------------------------------------------------------


def failing(name: str, error: int, left: list[int]) -> Callable[..., Any]:
    """A system call that fails for the file of the next segment as often as ``left`` says."""
    real = getattr(os, name)

    def call(first: Any, *more: Any, **named: Any) -> Any:
        what = os.readlink(f"/proc/self/fd/{first}") if isinstance(first, int) else str(first)
        if left[0] and what.endswith("next.tmp"):
            left[0] -= 1
            raise OSError(error, os.strerror(error), what)
        return real(first, *more, **named)

    return call


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("names", ["open", "posix_fallocate", "pwrite pwritev", "fdatasync"])
def test_what_fails_beside_the_saves_is_no_trouble_of_theirs(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: str, error: int
) -> None:
    left = [1]
    for name in names.split():
        monkeypatch.setattr(os, name, failing(name, error, left))
    fill(disk, 1, 40)
    assert not disk.short and left == [0]
    disk.close()
    assert indexes(reloaded(tmp_path)) == list(range(1, 41))


def test_file_whose_flush_failed_is_never_taken(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later flush of it would succeed, and nobody knew what it holds."""
    fill(disk, 1, 5)
    ready = (tmp_path / "current/log/next.tmp").stat().st_ino
    kept = os.open(tmp_path / "current/log/next.tmp", os.O_RDONLY)
    monkeypatch.setattr(os, "fdatasync", failing("fdatasync", errno.EIO, [1]))
    fill(disk, 6, 10)
    taken = (tmp_path / "current/log/0000000000000002.log").stat().st_ino
    os.close(kept)
    assert taken != ready and not (tmp_path / "current/log/next.tmp").exists()


def test_segment_that_cannot_be_named_for_lack_of_space_is_a_full_disk(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(disk, 1, IN_A_SEGMENT)
    monkeypatch.setattr(os, "rename", failing("rename", errno.ENOSPC, [1]))
    disk.save([entry(IN_A_SEGMENT + 1)])
    assert disk.short, "the reserve went for it"
    disk.close()
    assert indexes(reloaded(tmp_path)) == list(range(1, IN_A_SEGMENT + 2))


def test_disk_without_room_to_spare_gets_no_file_ahead(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "SPARE", 1 << 62)
    fill(disk, 1, IN_A_SEGMENT)
    assert log_files(tmp_path) == ["0000000000000001.log"]
    fill(disk, IN_A_SEGMENT + 1, 10)
    assert not disk.short
    disk.close()
    assert indexes(reloaded(tmp_path)) == list(range(1, IN_A_SEGMENT + 11))


FULL_DISK = """
import os, sys
from pathlib import Path
from qluster.edge.disk import Disk
from qluster.events import Entry, SaveEntries, SaveVote
root = Path(sys.argv[1])
disk = Disk(str(root / "state"), segment_size=8 << 20)
disk.load()
index = 0
def write():
    global index
    index += 1
    disk.save([SaveEntries((Entry(index, 1, "command", bytes([index % 251 + 1]) * 50_000),))])
    step = disk._log._ahead._step
    step and step.result()
while index < 80:
    write()
ahead = root / "state/current/log/next.tmp"
print("ahead", 2 << 20 < ahead.stat().st_size < 5 << 20)
filler = os.open(root / "filler", os.O_RDWR | os.O_CREAT)
left = os.statvfs(root)
os.posix_fallocate(filler, 0, left.f_bavail * left.f_frsize)
while ahead.exists():
    write()
print("given back", disk.short)
while not disk.short:
    write()
print("full", ahead.exists())
disk.save([SaveVote(7, 2)])
print("relieved", disk.relieve())
os.ftruncate(filler, 0)
print("space", disk.relieve(), disk.short)
while not ahead.exists():
    write()
disk.close()
saved = Disk(str(root / "state")).load()
print("found", saved.term, len(saved.entries) == index)
"""


def test_full_disk_takes_back_what_was_made_ahead_before_the_reserve(tmp_path: Path) -> None:
    script = 'mount -t tmpfs -o size=48m tmpfs "$0" && exec "$1" -c "$2" "$0"'
    ran = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script, str(tmp_path), sys.executable, FULL_DISK],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, timeout=60, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if "unshare failed" in ran.stderr or "mount:" in ran.stderr:
        pytest.skip(f"no mount namespace here: {ran.stderr.strip()}")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [
        "ahead True", "given back False", "full False", "relieved False", "space True False", "found 7 True"]


# --- power cuts -------------------------------------------------------------------


class Mirror:
    """What a disk would hold of a directory: each call that changes it is told to a model of a disk as well.

    ``seam`` is called before each of these calls, in the thread that makes it.
    """

    CALLS = ("open", "close", "pwrite", "pwritev", "ftruncate", "posix_fallocate", "fdatasync", "fsync", "rename",
             "unlink")

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, seam: Callable[[str], None]) -> None:
        self.root = str(root)
        self.storage = Storage()
        self._seam = seam
        self._open: dict[int, File | Directory] = {}
        self._real = {name: getattr(os, name) for name in self.CALLS}
        self._copy_in(root, self.storage.root)
        for name in self.CALLS:
            monkeypatch.setattr(os, name, getattr(self, name))

    def _copy_in(self, place: Path, directory: Directory) -> None:
        for path in place.iterdir():
            made: File | Directory = Directory(0o700) if path.is_dir() else File(0o600)
            directory.put(path.name, made)
            if isinstance(made, Directory):
                self._copy_in(path, made)
            else:
                made.write(path.read_bytes(), 0)
                made.flush()
        directory.flush()

    def _within(self, path: Any) -> str | None:
        text = os.fspath(path) if not isinstance(path, int) else ""
        return text[len(self.root) :] if text.startswith(self.root) else None

    def open(self, path: Any, flags: int, *more: Any, **named: Any) -> int:
        inside = self._within(path)
        if inside is not None and flags & os.O_CREAT:
            self._seam(f"open {inside}")
        descriptor = int(self._real["open"](path, flags, *more, **named))
        if inside is not None:
            try:
                found = self.storage.find(inside)
            except Missing:
                found = File(0o600)
                directory, name = self.storage.parent(inside)
                directory.put(name, found)
            if flags & os.O_TRUNC and isinstance(found, File):
                found.resize(0)
            self._open[descriptor] = found
        return descriptor

    def close(self, descriptor: int) -> None:
        self._open.pop(descriptor, None)
        self._real["close"](descriptor)

    def _file(self, descriptor: int, what: str) -> File | None:
        found = self._open.get(descriptor)
        if found is not None:
            self._seam(what)
        return found if isinstance(found, File) else None

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        file = self._file(descriptor, "write")
        if file is not None:
            file.write(bytes(data), offset)
        return int(self._real["pwrite"](descriptor, data, offset))

    def pwritev(self, descriptor: int, parts: list[bytes], offset: int) -> int:
        return self.pwrite(descriptor, b"".join(parts), offset)

    def ftruncate(self, descriptor: int, length: int) -> None:
        file = self._file(descriptor, "truncate")
        if file is not None:
            file.resize(length)
        self._real["ftruncate"](descriptor, length)

    def posix_fallocate(self, descriptor: int, offset: int, size: int) -> None:
        file = self._file(descriptor, "allocate")
        if file is not None:
            file.resize(max(offset + size, file.size))
        self._real["posix_fallocate"](descriptor, offset, size)

    def fdatasync(self, descriptor: int) -> None:
        file = self._file(descriptor, "flush")
        if file is not None:
            file.flush()
        self._real["fdatasync"](descriptor)

    def fsync(self, descriptor: int) -> None:
        self._file(descriptor, "flush")
        found = self._open.get(descriptor)
        if found is not None:
            found.flush()
        self._real["fsync"](descriptor)

    def rename(self, old: Any, new: Any) -> None:
        source, target = self._within(old), self._within(new)
        if source is not None and target is not None:
            self._seam(f"rename {target}")
            self.storage.rename(source, target)
        self._real["rename"](old, new)

    def unlink(self, path: Any, *more: Any, **named: Any) -> None:
        inside = self._within(path)
        if inside is not None:
            self._seam(f"unlink {inside}")
            directory, name = self.storage.parent(inside)
            directory.take(name)
        self._real["unlink"](path, *more, **named)


def put_out(directory: Directory, place: Path) -> None:
    """Make files of what a disk holds."""
    place.mkdir()
    for name, what in directory.names.items():
        if isinstance(what, Directory):
            put_out(what, place / name)
        else:
            (place / name).write_bytes(what.content)


@pytest.mark.parametrize("seed", range(3))
def test_power_cut_at_any_call_loses_nothing_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Of the saves and of the thread beside them; also with a torn last write, and names that were not flushed."""
    state = tmp_path / "state"
    reloaded(state)
    random, cuts, calls = Random(seed), [], []
    acknowledged = 0

    def seam(what: str) -> None:
        calls.append(what)
        disk_now = deepcopy(mirror.storage)
        disk_now.cut(random if random.random() < 0.8 else None)
        disk_now.root.names.pop("reserve", None)  # four megabytes, hundreds of times
        disk_now.root.durable.clear()
        cuts.append((acknowledged, disk_now))

    mirror = Mirror(state, monkeypatch, seam)
    disk = Disk(str(state), segment_size=SEGMENT_SIZE)
    disk.load()
    for index in range(1, 34):
        disk.save([entry(index), SaveVote(index, 1)])
        acknowledged = index
        settled(disk)
    disk.close()
    monkeypatch.undo()
    assert sum(call.startswith("rename /current/log/00") for call in calls) == 2, "two segments were made ahead"
    assert len(cuts) > 100
    for number, (known, held) in enumerate(cuts):
        with TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as memory:
            put_out(held.root, Path(memory, "state"))
            saved = reloaded(Path(memory, "state"))
        assert indexes(saved)[:known] == list(range(1, known + 1)) and len(saved.entries) <= known + 1, calls[number]
        assert saved.term >= known
