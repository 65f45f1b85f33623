"""What the disk knows of runs: enough to say, after any crash, which were begun and how they ended.

It must not know why. Each run has a directory ``runs/TASK-FENCE``:

| file | what | on disk |
|---|---|---|
| ``run`` | the order | before the program is begun |
| ``began`` | when, and as which process, of which boot | whenever: with the host the program goes too |
| ``stdout``, ``stderr`` | what it said | whenever |
| ``room`` | as many bytes as the end takes: on a full disk it can be written all the same | with ``run`` |
| ``ended`` | how it ended | before it is told |
| ``forgotten`` | the cluster knows | whenever |
| ``work`` | where it worked, unless ``tasks.work-dir`` is elsewhere (``works.py``) | |
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path

import msgspec
from msgspec import Struct

from qluster.edge.runner.flushing import sync
from qluster.tasks.bodies import Verdict
from qluster.tasks.runner import Own, RunEnded, StartRun

ROOM = 8192
"""Bytes that the end of a run takes at most: half a kilobyte of words, and their packing."""
COUNT_MAX = 10_000
"""Runs that are kept: with small output, directories cost more than what is in them."""
FREE_MIN = 64 << 20
"""Bytes that must be free for something new to begin: what the daemon writes beside it must have room."""

_encoder = msgspec.msgpack.Encoder()
_orders = msgspec.msgpack.Decoder(StartRun)
_ends = msgspec.msgpack.Decoder(RunEnded)
_owners = msgspec.msgpack.Decoder(tuple[int, ...])


class Began(Struct, frozen=True, array_like=True):
    """When a program was begun, and as what."""

    at: float
    pid: int
    ticks: int
    boot: str


_begans = msgspec.msgpack.Decoder(Began)


class Record:
    """One run on disk. Whatever is called here may take long, and raises OSError."""

    def __init__(self, runs: str, task: int, fence: int) -> None:
        self.path = Path(runs, f"{task}-{fence}")
        self.fence = fence

    def create(self, order: StartRun) -> tuple[Path, ...]:
        """Write the order; what must be flushed before its program may begin."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("stdout", "stderr"):
            (self.path / name).touch(mode=0o600)
        room = os.open(self.path / "room", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(room, 0, ROOM)
        finally:
            os.close(room)
        _write(self.path / "run", _encoder.encode(order))
        # A torn file is none: its program was never begun.
        return self.path / "run", self.path, self.path.parent

    def began(self, began: Began) -> None:
        """Keep what it began as."""
        _write(self.path / "began", _encoder.encode(began))

    def ended(self, ended: RunEnded) -> tuple[Path, ...]:
        """Write how it ended; what must be flushed before it may be told."""
        room = self.path / "room"
        data = _encoder.encode(ended)
        descriptor = os.open(room, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            written = os.pwrite(descriptor, data, 0)
            if written < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.ftruncate(descriptor, len(data))
        finally:
            os.close(descriptor)
        os.rename(room, self.path / "ended")
        return self.path / "ended", self.path

    def forget(self) -> None:
        """The cluster knows its end; what it said stays."""
        with contextlib.suppress(FileNotFoundError):
            (self.path / "forgotten").touch(mode=0o600)

    def remove(self) -> None:
        """All of it goes."""
        shutil.rmtree(self.path, ignore_errors=True)

    # --- reading -------------------------------------------------------------------------

    def order(self) -> StartRun | None:
        """The order; None where there is none that can be read: then it was never begun."""
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            return _orders.decode((self.path / "run").read_bytes())
        return None

    def birth(self) -> Began | None:
        """What it began as."""
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            return _begans.decode((self.path / "began").read_bytes())
        return None

    def end(self) -> RunEnded | None:
        """How it ended."""
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            return _ends.decode((self.path / "ended").read_bytes())
        return None

    @property
    def forgotten(self) -> bool:
        """The cluster knows its end."""
        return (self.path / "forgotten").exists()

    def size(self) -> int:
        """Bytes that it takes."""
        total = 0
        for directory, _, names in os.walk(self.path):
            for name in names:
                with contextlib.suppress(OSError):
                    total += os.lstat(os.path.join(directory, name)).st_blocks * 512
        return total

    def vanished(self, reason: str, at: float) -> RunEnded:
        """The end of a run that nobody saw end."""
        birth = self.birth()
        began_at = birth.at if birth is not None else (self.path / "run").stat().st_mtime
        task, _, fence = self.path.name.partition("-")
        return RunEnded(int(task), int(fence), Verdict.VANISHED, at, reason, began_at=began_at)


def records(runs: str) -> list[Record]:
    """All that are there, the oldest first."""
    found = []
    for name in os.listdir(runs):
        task, _, fence = name.partition("-")
        if task.isdecimal() and fence.isdecimal():
            found.append((int(fence), int(task), Record(runs, int(task), int(fence))))
    return [record for _, _, record in sorted(found, key=lambda each: each[:2])]


def owner(directory: str) -> Own:
    """Whose runs are kept here; of (0, 0), nobody, where that was never said."""
    with contextlib.suppress(OSError, msgspec.MsgspecError, ValueError):
        founding, node, *void = _owners.decode((Path(directory) / "owner").read_bytes())
        return Own((founding, node), void[0] if void else 0)  # older versions wrote two numbers
    return Own((0, 0))


def hand_over(directory: str, runs: str, to: Own) -> None:
    """All that is kept goes, but for what is over and the new owner knows as well; then the directory is this node's,
    durably. Raises OSError."""
    known = to.inherits(owner(directory).owner)
    for kept in records(runs):
        if kept.fence <= known and kept.end() is not None:
            kept.forget()
        else:
            kept.remove()
    sync(Path(runs))
    path = Path(directory)
    _write(path / "owner.new", _encoder.encode((*to.owner, to.void)))
    sync(path / "owner.new")
    os.rename(path / "owner.new", path / "owner")
    sync(path)


def prune(runs: str, size_max: int, known: dict[str, int] | None = None) -> int:
    """Remove the oldest of those that are over and forgotten, until all take no more than this, and are no more than
    :data:`COUNT_MAX`; how many went. ``known`` is kept by the caller: sizes that do not change any more."""
    known = {} if known is None else known
    kept = records(runs)
    sizes = [(record, known.get(record.path.name) or record.size()) for record in kept]
    total, gone = sum(size for _, size in sizes), 0
    for record, size in sizes:
        if total <= size_max and len(kept) - gone <= COUNT_MAX:
            break
        if record.forgotten:
            record.remove()
            known.pop(record.path.name, None)
            total, gone = total - size, gone + 1
    known.update(
        (record.path.name, size) for record, size in sizes if record.path.name not in known and record.forgotten
    )
    return gone


def lack(runs: str) -> str:
    """Why nothing new may begin: no room; "" when there is."""
    try:
        space = os.statvfs(runs)
    except OSError as error:
        return f"the directory of tasks {runs}: {error.strerror}"
    free = space.f_bavail * space.f_frsize
    if free < FREE_MIN:
        return (f"the directory of tasks {runs} has {free >> 20} MiB free, {FREE_MIN >> 20} are needed: free some on "
                f"its file system")  # fmt: skip
    return ""


def fault_of(error: OSError, runs: str) -> str:
    """What an error means for all runs."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the directory of tasks {runs} is full: free some on its file system"
    return f"the directory of tasks {runs} cannot be written: {error.strerror or error}"


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        # A full disk takes a part and says nothing: what stands there torn is no order, and must not be begun by.
        if os.write(descriptor, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(descriptor)
