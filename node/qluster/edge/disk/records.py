"""The bytes of the log: segment header, groups, records; bytes in, values out.

It must not open files. A *group* is what one flush made durable:

    segment header, group, group, ...
    group:  header (magic, count, sequence, length, crc32 of body, crc32 of header), body
    body:   records, each with kind, length, term, index and payload

A group is written only after the one before it has been flushed. So a group that cannot be
read is a torn tail when nothing readable follows it, and damage when something does.
Behind the last group a segment may have room that was set aside for it: zeros to its end.

The checksum of a group's header begins with the node, the segment and the place in it: a copy
of old bytes anywhere else, in a payload for instance, is never taken for a group.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from zlib import crc32

import msgspec

VERSION = 1
SEGMENT_MAGIC = b"QLUSTLOG"
GROUP_MAGIC = b"QGRP"

_SEGMENT = Struct("<8sIIQQI")  # magic, version, zero, uid, number, crc32
_GROUP = Struct("<4sIQIII")  # magic, count, sequence, length, crc32 of body, crc32 of header
_RECORD = Struct("<B3xIQQ")  # kind, length, term, index
_PLACE = Struct("<QQQ")  # uid, segment, offset

SEGMENT_HEADER_SIZE = _SEGMENT.size
GROUP_HEADER_SIZE = _GROUP.size
RECORD_HEADER_SIZE = _RECORD.size

VOTE = 1
SNAPSHOT = 2
RESET = 3
ENTRY_KINDS = {"noop": 16, "members": 17, "command": 18}
ENTRY_NAMES = {number: name for name, number in ENTRY_KINDS.items()}


class Record(msgspec.Struct, frozen=True, gc=False):
    """One fact of the log. Many are made: this form is made in a fifth of a dataclass's time.

    For a vote ``index`` is the node voted for, 0 for nobody. For a snapshot (or a reset, which
    also drops the log before it) ``payload`` is the name of its file.
    """

    kind: int
    term: int
    index: int
    payload: bytes = b""

    @property
    def size(self) -> int:
        return RECORD_HEADER_SIZE + len(self.payload)


class GroupHeader(msgspec.Struct, frozen=True, gc=False):
    """What stands in front of a group."""

    count: int
    sequence: int
    length: int
    body_crc32: int


def segment_header(uid: int, number: int) -> bytes:
    """The first bytes of a segment."""
    head = _SEGMENT.pack(SEGMENT_MAGIC, VERSION, 0, uid, number, 0)[:-4]
    return head + crc32(head).to_bytes(4, "little")


def check_segment_header(header: bytes, uid: int, number: int) -> str | None:
    """What is wrong with a segment's first bytes; None when nothing is."""
    if len(header) < SEGMENT_HEADER_SIZE:
        return f"the segment's header has {len(header)} of {SEGMENT_HEADER_SIZE} bytes"
    magic, version, _, its_uid, its_number, checksum = _SEGMENT.unpack(header[:SEGMENT_HEADER_SIZE])
    if magic != SEGMENT_MAGIC or checksum != crc32(header[: SEGMENT_HEADER_SIZE - 4]):
        return "the segment's header is not readable"
    if version != VERSION:
        return f"the segment has format {version}, this program knows {VERSION}"
    if its_uid != uid:
        return f"the segment belongs to node {its_uid:016x}, not to {uid:016x}"
    if its_number != number:
        return f"the segment has number {its_number} inside and {number} in its name"
    return None


def group(records: Iterable[Record], uid: int, segment: int, offset: int, sequence: int) -> bytes:
    """The bytes of a group that will stand at ``offset`` of ``segment``."""
    pack = _RECORD.pack
    parts: list[bytes] = []
    for record in records:
        payload = record.payload
        parts += (pack(record.kind, len(payload), record.term, record.index), payload)
    body = b"".join(parts)
    head = _GROUP.pack(GROUP_MAGIC, len(parts) // 2, sequence, len(body), crc32(body), 0)[:-4]
    return head + _header_crc32(head, uid, segment, offset).to_bytes(4, "little") + body


def _header_crc32(head: bytes, uid: int, segment: int, offset: int) -> int:
    return crc32(head, crc32(_PLACE.pack(uid, segment, offset)))


def group_header(data: bytes, uid: int, segment: int, offset: int) -> GroupHeader | None:
    """The header of the group at ``offset``; None where none can be read."""
    if len(data) - offset < GROUP_HEADER_SIZE:
        return None
    magic, count, sequence, length, body_crc32, checksum = _GROUP.unpack_from(data, offset)
    if magic != GROUP_MAGIC:
        return None
    head = data[offset : offset + GROUP_HEADER_SIZE - 4]
    if checksum != _header_crc32(head, uid, segment, offset):
        return None
    return GroupHeader(count, sequence, length, body_crc32)


def group_body(data: bytes, offset: int, header: GroupHeader) -> list[Record] | None:
    """The records of the group at ``offset``; None when its body is not what was written."""
    begin = offset + GROUP_HEADER_SIZE
    body = data[begin : begin + header.length]
    if len(body) != header.length or crc32(body) != header.body_crc32:
        return None
    records: list[Record] = []
    place = 0
    while place < len(body):
        if len(body) - place < RECORD_HEADER_SIZE:
            return None
        kind, length, term, index = _RECORD.unpack_from(body, place)
        place += RECORD_HEADER_SIZE
        records.append(Record(kind, term, index, body[place : place + length]))
        place += length
    return records if place == len(body) and len(records) == header.count else None


def next_group(data: bytes, uid: int, segment: int, offset: int) -> int | None:
    """Where the first readable group header after ``offset`` stands; None when there is none."""
    place = data.find(GROUP_MAGIC, offset + 1)
    while place >= 0:
        if group_header(data, uid, segment, place) is not None:
            return place
        place = data.find(GROUP_MAGIC, place + 1)
    return None


def unwritten(data: bytes, offset: int) -> bool:
    """Whether nothing was ever written from here on: room that was set aside reads as zeros."""
    return data.count(0, offset) == len(data) - offset


SECTOR_SIZE = 512
"""What a disk writes whole or not at all."""


def torn(data: bytes, offset: int, header: GroupHeader | None) -> bool:
    """Whether an unreadable last group looks as a crash leaves it.

    A write that a crash cut short ends early, or lacks whole sectors, and sectors that were
    never written read as zeros. A group that is all there and still wrong has been damaged
    later: it was acknowledged, and cutting it off would forget that.
    """
    end = offset + GROUP_HEADER_SIZE + (header.length if header else 0)
    if end > len(data):
        return True
    place = offset
    while place < end:
        stop = min(end, (place // SECTOR_SIZE + 1) * SECTOR_SIZE)
        if not any(data[place:stop]):
            return True
        place = stop
    return False
