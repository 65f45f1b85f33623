"""Snapshots as files: written whole before the log names them, checked when they are read.

It must not know which snapshot is the one in force; the log says so.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from struct import Struct
from zlib import crc32

from qluster.events import Snapshot

from .files import replace_file
from .trouble import LogDamaged

_MAGIC = b"QLUSTSNP"
_VERSION = 1
_HEADER = Struct("<8sIIQQQQI")  # magic, version, zero, term, index, members size, state size, crc32 of all

BACKGROUND_SIZE = 256 * 1024
"""A larger state is written beside the saves of the log: writing it takes longer than a vote may wait."""


def file_name(snapshot: Snapshot, number: int) -> str:
    """A name that no other snapshot has: ``number`` is the sequence of the save."""
    return f"{snapshot.index:016d}-{number:016d}.snapshot"


def write(directory: str, name: str, snapshot: Snapshot) -> None:
    """Write a snapshot durably."""
    head = _HEADER.pack(_MAGIC, _VERSION, 0, snapshot.term, snapshot.index, len(snapshot.members),
                        len(snapshot.state), 0)[:-4]
    checksum = crc32(snapshot.state, crc32(snapshot.members, crc32(head)))
    replace_file(os.path.join(directory, name),
                 [head + checksum.to_bytes(4, "little"), snapshot.members, snapshot.state])


def read(directory: str, name: str) -> Snapshot:
    """Read a snapshot that the log names. Raises LogDamaged when it is not what was written."""
    path = os.path.join(directory, name)
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        raise LogDamaged(path, 0, "the log names this snapshot, but it is missing") from None
    if len(data) < _HEADER.size:
        raise LogDamaged(path, 0, f"the snapshot has {len(data)} bytes, less than its header")
    magic, version, _, term, index, members_size, state_size, checksum = _HEADER.unpack_from(data)
    if magic != _MAGIC or version != _VERSION:
        raise LogDamaged(path, 0, "the snapshot's header is not readable")
    if len(data) != _HEADER.size + members_size + state_size:
        wanted = _HEADER.size + members_size + state_size
        raise LogDamaged(path, len(data), f"the snapshot has {len(data)} bytes instead of {wanted}")
    if crc32(data[_HEADER.size :], crc32(data[: _HEADER.size - 4])) != checksum:
        raise LogDamaged(path, _HEADER.size, "the snapshot's checksum is wrong")
    state_at = _HEADER.size + members_size
    return Snapshot(index, term, data[_HEADER.size : state_at], data[state_at:])


def remove_others(directory: str, names: set[str]) -> None:
    """Remove every snapshot but these."""
    for other in os.listdir(directory):
        if other not in names and other.endswith(".snapshot"):
            os.unlink(os.path.join(directory, other))


class Background:
    """Writes large snapshots, one at a time, while the log goes on without them."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._thread = ThreadPoolExecutor(1, "snapshot")
        self._running: tuple[Snapshot, str, Future[None]] | None = None
        self._waiting: tuple[Snapshot, str] | None = None

    def write(self, snapshot: Snapshot, name: str) -> None:
        """Begin with this one, or when the one under way is written; one that still waits gives way to it."""
        self._waiting = snapshot, name
        self._begin()

    def _begin(self) -> None:
        if self._running is None and self._waiting is not None:
            (snapshot, name), self._waiting = self._waiting, None
            self._running = snapshot, name, self._thread.submit(write, self._directory, name, snapshot)

    def written(self, wait: bool = False) -> tuple[Snapshot, str] | None:
        """One that is written and was not given out before. Raises what went wrong with it."""
        if self._running is None or not (wait or self._running[2].done()):
            return None
        (snapshot, name, outcome), self._running = self._running, None
        self._begin()
        outcome.result()
        return snapshot, name

    def names(self) -> set[str]:
        """Files that are not to be removed: the log will name them soon."""
        return {self._running[1]} if self._running else set()

    def close(self) -> None:
        """Wait for what is under way, and begin nothing more."""
        self._waiting = None
        self._thread.shutdown(wait=True)
