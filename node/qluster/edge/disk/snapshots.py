"""Snapshots as files: written whole before the log names them, checked when they are read.

It must not know which snapshot is the one in force; the log says so.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from struct import Struct
from zlib import crc32

from qluster.events import Snapshot

from .files import replace_file
from .trouble import LogDamaged

_MAGIC = b"QLUSTSNP"
_VERSION = 1
_HEADER = Struct("<8sIIQQQQI")  # magic, version, zero, term, index, members size, state size, crc32 of all


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


def remove_others(directory: str, name: str | None) -> None:
    """Remove every snapshot but the one in force."""
    for other in os.listdir(directory):
        if other != name and other.endswith(".snapshot"):
            os.unlink(os.path.join(directory, other))
