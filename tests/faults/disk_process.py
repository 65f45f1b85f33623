"""A disk in user space that fails, lies, stalls, fills up, or forgets when its power is cut.

A program of its own: mount point and path of a socket for commands. Each command is one line of JSON, each answer
too. Everything is kept in memory.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import json
import os
import socketserver
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from faults.storage import Directory, File, Missing, Storage

try:
    import mfusepy
except OSError as error:  # the C library below it is missing
    sys.exit(f"no FUSE: {error}")

BLOCK = 4096
SPACE = 1 << 30
"""Bytes of a disk that is not made small."""


class Faults:
    """What is wrong with the disk now."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.write = ""
        """Name of the error that writing gives."""
        self.flush = ""
        """Name of the error that flushing gives, or "lies" for a flush that does nothing."""
        self.stall = 0.0
        """Seconds that a flush takes longer."""
        self.rot = 0
        """Thousandths of the reads with one bit flipped."""
        self.space = SPACE
        self.counts = dict.fromkeys(("writes", "flushes", "failed", "lied", "stalled", "rotten", "full", "cuts"), 0)

    def set(self, changes: dict[str, Any]) -> None:
        """Change some; whoever waits in a stalled flush looks again."""
        with self.changed:
            for name, value in changes.items():
                setattr(self, name, value)
            self.changed.notify_all()

    def wait(self) -> None:
        """The time that a flush takes."""
        began = time.monotonic()
        with self.changed:
            if self.stall:
                self.counts["stalled"] += 1
            self.changed.wait_for(lambda: time.monotonic() >= began + self.stall, timeout=self.stall)

    def fail(self, name: str) -> None:
        """Raise what is set, if anything is."""
        if name:
            self.counts["failed"] += 1
            raise mfusepy.FuseOSError(getattr(errno, name))


class FaultyFileSystem(mfusepy.Operations):  # type: ignore[misc]
    """Answers the kernel from a ``Storage``."""

    use_ns = True

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.storage = Storage()
        self.lock = threading.RLock()
        self._open: dict[int, File] = {}
        self._next = 0
        self._random = Random()

    # --- finding -------------------------------------------------------------------

    def _find(self, path: str) -> File | Directory:
        try:
            return self.storage.find(path)
        except Missing:
            raise mfusepy.FuseOSError(errno.ENOENT) from None

    def _file(self, path: str, handle: int | None) -> File:
        found = self._open.get(handle or 0) or self._find(path)
        if not isinstance(found, File):
            raise mfusepy.FuseOSError(errno.EISDIR)
        return found

    def _parent(self, path: str) -> tuple[Directory, str]:
        try:
            return self.storage.parent(path)
        except Missing:
            raise mfusepy.FuseOSError(errno.ENOENT) from None

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        with self.lock:
            found = self._open.get(fh or 0) or self._find(path)
            kind = stat.S_IFDIR if isinstance(found, Directory) else stat.S_IFREG
            size = BLOCK if isinstance(found, Directory) else found.size
            return {
                "st_mode": kind | found.mode, "st_nlink": 1, "st_size": size, "st_blocks": -(-size // 512),
                "st_uid": os.getuid(), "st_gid": os.getgid(), "st_mtime": 0, "st_atime": 0, "st_ctime": 0,
            }  # fmt: skip

    def readdir(self, path: str, fh: int) -> list[str]:
        with self.lock:
            found = self._find(path)
            assert isinstance(found, Directory)
            return [".", "..", *found.names]

    def statfs(self, path: str) -> dict[str, int]:
        with self.lock:
            free = max(0, self.faults.space - self.storage.size) // BLOCK
        return {"f_bsize": BLOCK, "f_frsize": BLOCK, "f_blocks": self.faults.space // BLOCK, "f_bfree": free,
                "f_bavail": free, "f_namemax": 255}  # fmt: skip

    # --- names ---------------------------------------------------------------------

    def _make_name(self, path: str, what: File | Directory) -> None:
        self.faults.fail(self.faults.write)
        self._need(BLOCK)
        directory, name = self._parent(path)
        if name in directory.names:
            raise mfusepy.FuseOSError(errno.EEXIST)
        directory.put(name, what)

    def mkdir(self, path: str, mode: int) -> int:
        with self.lock:
            self._make_name(path, Directory(stat.S_IMODE(mode)))
        return 0

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        with self.lock:
            made = File(stat.S_IMODE(mode))
            self._make_name(path, made)
            return self._opened(made)

    def _opened(self, file: File) -> int:
        self._next += 1
        self._open[self._next] = file
        return self._next

    def open(self, path: str, flags: int) -> int:
        with self.lock:
            return self._opened(self._file(path, None))

    def release(self, path: str, fh: int) -> int:
        with self.lock:
            self._open.pop(fh, None)
        return 0

    def rename(self, old: str, new: str) -> int:
        with self.lock:
            if self.faults.write != "ENOSPC":
                self.faults.fail(self.faults.write)
            self._find(old)
            self._parent(new)
            self.storage.rename(old, new)
        return 0

    def unlink(self, path: str) -> int:
        with self.lock:
            self._find(path)
            directory, name = self._parent(path)
            directory.take(name)
        return 0

    def rmdir(self, path: str) -> int:
        with self.lock:
            found = self._find(path)
            if isinstance(found, Directory) and found.names:
                raise mfusepy.FuseOSError(errno.ENOTEMPTY)
        return self.unlink(path)

    def chmod(self, path: str, mode: int) -> int:
        with self.lock:
            self._find(path).mode = stat.S_IMODE(mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        return 0

    def utimens(self, path: str, times: Any = None) -> int:
        return 0

    # --- bytes ---------------------------------------------------------------------

    def _need(self, more: int) -> None:
        if more > 0 and self.storage.size + more > self.faults.space:
            self.faults.counts["full"] += 1
            raise mfusepy.FuseOSError(errno.ENOSPC)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        with self.lock:
            found = bytes(self._file(path, fh).content[offset : offset + size])
            if found and self._random.randrange(1000) < self.faults.rot:
                self.faults.counts["rotten"] += 1
                place = self._random.randrange(len(found))
                flipped = found[place] ^ 1 << self._random.randrange(8)
                found = found[:place] + bytes([flipped]) + found[place + 1 :]
            return found

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        with self.lock:
            self.faults.counts["writes"] += 1
            self.faults.fail(self.faults.write)
            file = self._file(path, fh)
            self._need(offset + len(data) - file.size)
            file.write(data, offset)
        return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        with self.lock:
            file = self._file(path, fh)
            # What gives space back succeeds on a full disk.
            if length > file.size or self.faults.write != "ENOSPC":
                self.faults.fail(self.faults.write)
            self._need(length - file.size)
            file.resize(length)
        return 0

    def fallocate(self, path: str, mode: int, offset: int, size: int, fh: int) -> int:
        if mode not in (0, 1):  # 1: keep the size
            raise mfusepy.FuseOSError(errno.EOPNOTSUPP)
        with self.lock:
            self.faults.fail(self.faults.write)
            file = self._file(path, fh)
            self._need(offset + size - file.size)
            if mode == 0 and offset + size > file.size:
                file.resize(offset + size)
        return 0

    # --- flushing --------------------------------------------------------------------

    def _flush(self, find: Callable[[], File | Directory]) -> int:
        self.faults.counts["flushes"] += 1
        self.faults.wait()
        with self.lock:
            what = find()
            if self.faults.flush == "lies":
                self.faults.counts["lied"] += 1
            elif self.faults.flush:
                what.forget()
                self.faults.fail(self.faults.flush)
            else:
                what.flush()
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        return self._flush(lambda: self._file(path, fh))

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        return self._flush(lambda: self._find(path))

    def cut(self, seed: int | None) -> None:
        """The power was cut. Whoever had files open is gone, the caller sees to that."""
        with self.lock:
            self.faults.counts["cuts"] += 1
            self._open.clear()
            self.storage.cut(None if seed is None else Random(seed))

    def empty(self) -> None:
        """A new disk in the place of this one."""
        with self.lock:
            self._open.clear()
            self.storage = Storage()


class Commands(socketserver.StreamRequestHandler):
    """Lines of JSON from the tests."""

    system: FaultyFileSystem

    def handle(self) -> None:
        """Until the other side closes."""
        for line in self.rfile:
            question = json.loads(line)
            if "cut" in question:
                self.system.cut(question.pop("cut"))
            if question.pop("empty", False):
                self.system.empty()
            self.system.faults.set(question)
            self.wfile.write(json.dumps(self.system.faults.counts).encode() + b"\n")


def main(mount: str, commands: str) -> None:
    """Serve until it is unmounted."""
    system = FaultyFileSystem(Faults())
    Commands.system = system
    server = socketserver.ThreadingUnixStreamServer(commands, Commands)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    mfusepy.FUSE(
        system, mount, foreground=True, attr_timeout=0, entry_timeout=0, negative_timeout=0, hard_remove=True,
        fsname="qluster-faults",
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
