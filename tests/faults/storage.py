"""Decides what a disk still holds after its power was cut: files and names, what was flushed and what was not.

It must not know FUSE, nor who asks; ``disk_process.py`` gives it a mount point.

The promises are the weakest that a file system may make. A file's bytes are durable after a flush of that file, a
name after a flush of its directory; whatever was not flushed survives by sectors, as chance will have it. A failed
flush forgets: what was written before it is never made durable by a later one, as it is with Linux.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

SECTOR = 512
"""What a disk writes whole or not at all."""


@dataclass(eq=False)
class File:
    """Bytes as they are read, and as they would be after the power was cut."""

    mode: int
    content: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    """Since the last flush: bytes written at a place, or None for a new length."""

    def write(self, data: bytes, offset: int) -> None:
        """Write somewhere; a hole before it reads as zeros."""
        _put(self.content, offset, data)
        self.pending.append((offset, data))

    def resize(self, length: int) -> None:
        """Cut or extend."""
        _resize(self.content, length)
        self.pending.append((length, None))

    def flush(self) -> None:
        """Everything written until now is durable."""
        for place, data in self.pending:
            if data is None:
                _resize(self.durable, place)
            else:
                _put(self.durable, place, data)
        self.pending.clear()

    def forget(self) -> None:
        """A flush failed: what was written stays readable until the power goes, and is never durable."""
        self.pending.clear()

    def cut(self, random: Random | None) -> None:
        """The power was cut: without a generator nothing that was not flushed is there, else some of it."""
        if random is not None:
            for place, data in self.pending:
                if random.random() < 0.5:
                    continue
                if data is None:
                    _resize(self.durable, place)
                else:
                    _put_some(self.durable, place, data, random)
        self.pending.clear()
        self.content = bytearray(self.durable)

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return len(self.content)


@dataclass(eq=False)
class Directory:
    """Names as they are seen, and as they would be after the power was cut."""

    mode: int
    names: dict[str, File | Directory] = field(default_factory=dict)
    durable: dict[str, File | Directory] = field(default_factory=dict)
    pending: list[tuple[str, File | Directory | None]] = field(default_factory=list)

    def put(self, name: str, what: File | Directory) -> None:
        """Give something a name."""
        self.names[name] = what
        self.pending.append((name, what))

    def take(self, name: str) -> None:
        """Take a name away."""
        del self.names[name]
        self.pending.append((name, None))

    def flush(self) -> None:
        """The names are durable as they are."""
        self.durable = dict(self.names)
        self.pending.clear()

    def forget(self) -> None:
        """A flush failed."""
        self.pending.clear()

    def cut(self, random: Random | None) -> None:
        """Names changed since the flush: the first few are there, in the order of the changes."""
        if random is not None and self.pending:
            for name, what in self.pending[: random.randrange(len(self.pending) + 1)]:
                if what is None:
                    self.durable.pop(name, None)
                else:
                    self.durable[name] = what
        self.pending.clear()
        self.names = dict(self.durable)
        for what in self.names.values():
            what.cut(random)

    @property
    def size(self) -> int:
        """Bytes that everything in it takes."""
        return sum(what.size for what in self.names.values())


class Missing(Exception):
    """There is nothing of this name."""


class Storage:
    """A tree of directories and files."""

    def __init__(self) -> None:
        self.root = Directory(0o700)

    def find(self, path: str) -> File | Directory:
        """What a path names. Raises Missing."""
        found: File | Directory = self.root
        for word in _words(path):
            if not isinstance(found, Directory) or word not in found.names:
                raise Missing(path)
            found = found.names[word]
        return found

    def parent(self, path: str) -> tuple[Directory, str]:
        """The directory of a path, and the name in it. Raises Missing."""
        *before, name = _words(path)
        found = self.find("/".join(before))
        if not isinstance(found, Directory):
            raise Missing(path)
        return found, name

    def rename(self, old: str, new: str) -> None:
        """Another name, in the place of whatever had it."""
        (source, before), (target, after) = self.parent(old), self.parent(new)
        what = source.names[before]
        target.put(after, what)
        if (source, before) != (target, after):
            source.take(before)
        if source is target:
            # One step: after a power cut it is there whole or not at all.
            source.pending[-2:] = [(after, what), (before, None)]

    def cut(self, random: Random | None) -> None:
        """The power was cut."""
        self.root.cut(random)

    @property
    def size(self) -> int:
        """Bytes in use."""
        return self.root.size


def _words(path: str) -> list[str]:
    return [word for word in path.split("/") if word]


def _resize(buffer: bytearray, length: int) -> None:
    if length < len(buffer):
        del buffer[length:]
    else:
        buffer.extend(bytes(length - len(buffer)))


def _put(buffer: bytearray, offset: int, data: bytes) -> None:
    if offset > len(buffer):
        buffer.extend(bytes(offset - len(buffer)))
    buffer[offset : offset + len(data)] = data


def _put_some(buffer: bytearray, offset: int, data: bytes, random: Random) -> None:
    """Some of the sectors that a write touched."""
    for first, last in _sectors(offset, len(data)):
        if random.random() < 0.5:
            _put(buffer, first, data[first - offset : last - offset])


def _sectors(offset: int, length: int) -> Iterator[tuple[int, int]]:
    place, end = offset, offset + length
    while place < end:
        stop = min(end, (place // SECTOR + 1) * SECTOR)
        yield place, stop
        place = stop
