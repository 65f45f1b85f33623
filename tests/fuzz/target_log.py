"""The disk's files, with anything in them under good checksums and bad ones: something, or damage that is told."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import atexit
import os
import tempfile
from pathlib import Path
from zlib import crc32

from fuzz.source import Source
from qluster.edge.disk import identity, snapshots
from qluster.edge.disk.log import Log
from qluster.edge.disk.records import Record, group, segment_header
from qluster.edge.disk.replay import Contradiction
from qluster.edge.disk.trouble import LogDamaged, StateRefused

UID = 7
MEMORY = "/dev/shm"
_directory = tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None)
atexit.register(_directory.cleanup)
PLACE = Path(_directory.name)
KINDS = (16, 17, 18, 1, 2, 3, 0, 99)
NUMBERS = (0, 1, 2, 3, 4, 5, 6, 2**63, 2**64 - 1)


def run(content: bytes) -> None:
    """The first byte says which file."""
    source = Source(content)
    source.one_of((_log, _log, _log, _identity, _snapshot))(source)


def _log(source: Source) -> None:
    for path in PLACE.glob("*.log"):
        path.unlink()
    sequence = 0
    for number in range(1, 2 + source.byte() % 3):
        segment = bytearray(segment_header(UID, number))
        for _ in range(source.byte() % 5):
            sequence += source.one_of((1, 1, 1, 1, 2))
            segment += group(_records(source), UID, number, len(segment), sequence)
        _harm(source, segment)
        (PLACE / f"{number:016d}.log").write_bytes(segment)
    log = Log(str(PLACE), UID)
    try:
        log.look()
        entries = log.replay.take_entries()
    except (LogDamaged, Contradiction):
        return
    first = log.replay.snapshot.index + 1 if log.replay.snapshot else 1
    assert [entry.index for entry in entries] == list(range(first, first + len(entries)))


def _records(source: Source) -> list[Record]:
    return [
        Record(source.one_of(KINDS), source.one_of(NUMBERS), source.one_of(NUMBERS), source.take(source.byte() % 40))
        for _ in range(source.byte() % 4)
    ]


def _harm(source: Source, segment: bytearray) -> None:
    match source.byte() % 8:
        case 0:
            del segment[source.number(2) % len(segment) :]
        case 1:
            segment[source.number(2) % len(segment)] ^= source.byte()
        case 2:
            segment += source.take(source.byte())
        case 3:
            segment += bytes(source.byte() * 8)


def _identity(source: Source) -> None:
    body = source.rest()
    text = b'{"node":%s,"crc32":%d}\n' % (body, crc32(body))
    (PLACE / "node.json").write_bytes(text)
    try:
        found = identity.read(str(PLACE))
    except (LogDamaged, StateRefused):
        return
    assert found.number >= 0
    assert found.identity is None or found.identity.uid == found.number


def _snapshot(source: Source) -> None:
    text = source.rest()
    (PLACE / "one.snapshot").write_bytes(text)
    try:
        found = snapshots.read(str(PLACE), "one.snapshot")
    except LogDamaged:
        return
    assert len(found.members) + len(found.state) < len(text)
