"""Keeps what the arbiter's memories must not lose: one file of batches, each durable before anybody is answered.

It must not know what a memory means. A batch is a length, a checksum and its values; it is written behind the last one
and flushed. What was not whole when the power went was never answered for, and is dropped; one that is damaged with a
whole one behind it was, and the daemon does not start: an arbiter that forgets may vote twice.

The file is longer than what is in it, by zeros that are written before they are needed: so a flush changes neither its
size nor which of its blocks were ever written, and needs no word to the file system's journal, which may be busy.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from zlib import crc32

import msgspec

from qluster.qnet.memories import Key
from qluster.qnet.memory import Kept

NAME, LOCK = "memories", "lock"
MAGIC = b"qluster memories 1\n"
HEAD = struct.Struct(">4sII")
"""Where a batch begins, its length and its checksum."""
BEGIN = b"QMB1"
SIZE_MAX = 4 << 20
"""Bytes of the file before it is written anew with the present values alone."""
ROOM = 256 * 1024
"""Bytes of zeros that are written at a time: for some thousand batches."""

Values = list[tuple[bytes, int, Kept]]


class KeepingFailed(Exception):
    """What is kept cannot be read or written; the text says what, where and what to do."""


class Keeper:
    """The file, for one daemon at a time."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)
        self._path = self._directory / NAME
        self._kept: dict[Key, Kept] = {}
        self._file = self._lock = -1
        self._size = self._room_end = 0
        """Where what is in it ends, and where the file does."""

    def load(self) -> dict[Key, Kept]:
        """Everything that was kept. Raises KeepingFailed."""
        try:
            self._lock = os.open(self._directory / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise KeepingFailed(f"memory-dir: another arbiter uses {self._directory}. Stop it, or name another "
                                f"directory.") from None
        except OSError as error:
            raise self._failed(error) from error
        try:
            content = self._path.read_bytes() if self._path.exists() else MAGIC
            self._kept = self._read(content)
            self._write_anew()
        except OSError as error:
            raise self._failed(error) from error
        return dict(self._kept)

    def save(self, changes: Mapping[Key, Kept]) -> None:
        """Durable when this returns. Raises KeepingFailed; nothing may be answered after that."""
        self._kept = _without_gone({**self._kept, **changes})
        try:
            if self._size > SIZE_MAX:
                self._write_anew()
                return
            batch = _batch(changes)
            if self._size + len(batch) > self._room_end:
                self._room_end = _set_aside_room(self._file, self._size, ROOM)
            _write(self._file, batch, self._size)
            os.fdatasync(self._file)
            self._size += len(batch)
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Let another daemon have it."""
        for descriptor in (self._file, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._lock = -1

    def _write_anew(self) -> None:
        """The present values alone; the file before is there until this one is whole."""
        new = self._path.with_suffix(".new")
        made = os.open(new, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            content = MAGIC + _batch(self._kept)
            _write(made, content, 0)
            room_end = _set_aside_room(made, len(content), ROOM)
            os.fsync(made)
            os.rename(new, self._path)
            self._sync_directory()
        except BaseException:
            os.close(made)
            raise
        if self._file >= 0:
            os.close(self._file)
        self._file, self._size, self._room_end = made, len(content), room_end

    def _sync_directory(self) -> None:
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _read(self, content: bytes) -> dict[Key, Kept]:
        if not content.startswith(MAGIC):
            raise KeepingFailed(f"memory-dir: {self._path} is not what this version keeps. Start the version that "
                                f"wrote it; nothing was changed.")
        found: dict[Key, Kept] = {}
        at = len(MAGIC)
        while (values := _values(content, at)) is not None:
            found.update({(name, founding): kept for name, founding, kept in values})
            at += HEAD.size + HEAD.unpack_from(content, at)[1]
        later = at
        while (later := content.find(BEGIN, later + 1)) > 0 and _values(content, later) is None:
            pass
        if later > 0:
            raise KeepingFailed(f"memory-dir: {self._path} is damaged at byte {at}. An arbiter that forgets may vote "
                                f"twice: bring the file back; or, while no cluster that uses this arbiter's memory "
                                f"runs, move it away.")
        return _without_gone(found)

    def _failed(self, error: OSError) -> KeepingFailed:
        return KeepingFailed(f"memory-dir: {self._directory} cannot be used ({error.strerror}). Let the user of the "
                             f"service write there, and see that there is room.")


def _without_gone(values: Mapping[Key, Kept]) -> dict[Key, Kept]:
    return {key: kept for key, kept in values.items() if kept.uid}


def _batch(values: Mapping[Key, Kept]) -> bytes:
    body = msgspec.msgpack.encode([(name, founding, kept) for (name, founding), kept in values.items()])
    return HEAD.pack(BEGIN, len(body), crc32(body)) + body


def _values(content: bytes, at: int) -> Values | None:
    """The batch that begins here; None where none that is whole does."""
    if len(content) < at + HEAD.size:
        return None
    begin, length, check = HEAD.unpack_from(content, at)
    body = content[at + HEAD.size : at + HEAD.size + length]
    if begin != BEGIN or len(body) < length or crc32(body) != check:
        return None
    try:
        return msgspec.msgpack.decode(body, type=Values)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return None


def _write(file: int, content: bytes, at: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(file, view, at)
        view, at = view[written:], at + written


def _set_aside_room(file: int, begin: int, size: int) -> int:
    """Zeros from ``begin`` on; where the file ends now. Without space for them it ends at ``begin``, and is written as
    far as there is space for."""
    try:
        os.posix_fallocate(file, begin, size)
        _write(file, bytes(size), begin)
        return begin + size
    except OSError:
        os.ftruncate(file, begin)
        return begin
