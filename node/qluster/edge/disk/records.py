"""The bytes of the log: segment header, groups, records; bytes in, values out.

It must not open files. A *group* is what one flush made durable:

    segment header, group, group, ...
    group:  header (magic, count, sequence, length, crc32 of body, mask, crc32 of header, mark), body
    body:   records, each with kind, length, term, index and payload

A group is written only after the one before it has been flushed. So a group that cannot be
read is a torn tail when nothing readable follows it, and damage when something does.
Behind the last group a segment may have room that was set aside for it: zeros to its end.

The checksum of a group's header begins with the node, the segment and the place in it: a copy
of old bytes anywhere else, in a payload for instance, is never taken for a group.

A sector that a crash kept from being written reads as zeros, so none is written that is zeros, nor one that a
single flipped bit could make so: where a body has such a sector, it is written under a *mask*, four bytes that are
added without carry over and over. What touches an end of the header is never empty: there stand magic and mark.

Format 1, which is read and never written, has neither mask nor mark: there a harmed last group with a sector of
zeros passes for a torn tail.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from zlib import crc32

import msgspec

VERSION = 2
SEGMENT_MAGIC = b"QLUSTLOG"
GROUP_MAGIC = b"QGR2"
_MARK = b"\xa5"
"""Ends the header of a group, for that it does not end in zeros."""
_GROUP_MAGIC_1 = b"QGRP"
_GROUP_MAGICS = GROUP_MAGIC[:3]
"""With this begins every group."""

_SEGMENT = Struct("<8sIIQQI")  # magic, version, zero, uid, number, crc32
_GROUP = Struct("<4sIQIIIIc")  # magic, count, sequence, length, crc32 of body, mask, crc32 of header, mark
_GROUP_1 = Struct("<4sIQIII")  # magic, count, sequence, length, crc32 of body, crc32 of header
_RECORD = Struct("<B3xIQQ")  # kind, length, term, index
_PLACE = Struct("<QQQ")  # uid, segment, offset
_CHECKSUM_SIZE = 4
_MASK_SIZE = 4

SECTOR_SIZE = 512
"""What a disk writes whole or not at all."""
_SILENCE = bytes(SECTOR_SIZE // 2)
"""A sector with one byte of something has as many zeros in a row."""
SEGMENT_HEADER_SIZE = _SEGMENT.size
GROUP_HEADER_SIZE = _GROUP.size
_GROUP_CHECKED = GROUP_HEADER_SIZE - _CHECKSUM_SIZE - len(_MARK)
_GROUP_CHECKED_1 = _GROUP_1.size - _CHECKSUM_SIZE
"""So many bytes of a header does its checksum cover."""
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
    mask: int
    size: int
    """Of the header itself."""


def segment_header(uid: int, number: int) -> bytes:
    """The first bytes of a segment."""
    head = _SEGMENT.pack(SEGMENT_MAGIC, VERSION, 0, uid, number, 0)[:-_CHECKSUM_SIZE]
    return head + crc32(head).to_bytes(_CHECKSUM_SIZE, "little")


def segment_version(data: bytes) -> int:
    """The format that a segment's header names; 0 where it cannot be read."""
    if len(data) < SEGMENT_HEADER_SIZE:
        return 0
    magic, version, _, _, _, checksum = _SEGMENT.unpack_from(data)
    sound = magic == SEGMENT_MAGIC and checksum == crc32(data[: SEGMENT_HEADER_SIZE - _CHECKSUM_SIZE])
    return int(version) if sound else 0


def check_segment_header(header: bytes, uid: int, number: int) -> str | None:
    """What is wrong with a segment's first bytes; None when nothing is."""
    if len(header) < SEGMENT_HEADER_SIZE:
        return f"the segment's header has {len(header)} of {SEGMENT_HEADER_SIZE} bytes"
    if not 0 < segment_version(header) <= VERSION:
        return "the segment's header is not readable"
    _, _, _, its_uid, its_number, _ = _SEGMENT.unpack_from(header)
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
    count, place = len(parts) // 2, crc32(_PLACE.pack(uid, segment, offset))
    mask, body = _without_faint_sectors(b"".join(parts), offset + GROUP_HEADER_SIZE, place)
    head = _GROUP.pack(GROUP_MAGIC, count, sequence, len(body), crc32(body), mask, 0, _MARK)[:_GROUP_CHECKED]
    return head + crc32(head, place).to_bytes(_CHECKSUM_SIZE, "little") + _MARK + body


def _without_faint_sectors(body: bytes, offset: int, seed: int) -> tuple[int, bytes]:
    """A mask, mostly 0, and the body under it.

    The masks depend on the place: whoever writes values cannot know which sectors would come out empty. At most a
    few of all masks leave a given sector empty (of a byte alone in the last one, every thirtieth), so one is found.
    """
    mask, masked = 0, body
    while _has_faint_sector(masked, offset):
        seed = crc32(_MARK, seed)
        mask, masked = seed, _under_mask(body, seed)
    return mask, masked


def _has_faint_sector(body: bytes, offset: int) -> bool:
    """Whether a sector's share of it has fewer than two bits that are set. The mark stands just before it."""
    size = len(body)
    place, last = -offset % SECTOR_SIZE, size - (offset + size) % SECTOR_SIZE
    if place < last and _SILENCE in body:
        for begin in range(place, last, SECTOR_SIZE):
            if _is_faint(body[begin : begin + SECTOR_SIZE]):
                return True
    return place <= last < size and _is_faint(body[last:])


def _is_faint(share: bytes) -> bool:
    something = share.strip(b"\0")
    return len(something) < 2 and int.from_bytes(something, "little").bit_count() < 2


def _under_mask(body: bytes, mask: int) -> bytes:
    """Once puts the mask on, twice takes it off."""
    size = len(body)
    cover = mask.to_bytes(_MASK_SIZE, "little") * (size // _MASK_SIZE + 1)
    return (int.from_bytes(body, "little") ^ int.from_bytes(cover[:size], "little")).to_bytes(size, "little")


def _header_crc32(head: bytes, uid: int, segment: int, offset: int) -> int:
    return crc32(head, crc32(_PLACE.pack(uid, segment, offset)))


def group_header(data: bytes, uid: int, segment: int, offset: int) -> GroupHeader | None:
    """The header of the group at ``offset``, in any format; None where none can be read."""
    old = data.startswith(_GROUP_MAGIC_1, offset)
    layout, checked = (_GROUP_1, _GROUP_CHECKED_1) if old else (_GROUP, _GROUP_CHECKED)
    if len(data) - offset < layout.size:
        return None
    mask = 0
    if old:
        magic, count, sequence, length, body_crc32, checksum = layout.unpack_from(data, offset)
    else:
        magic, count, sequence, length, body_crc32, mask, checksum, mark = layout.unpack_from(data, offset)
        if magic != GROUP_MAGIC or mark != _MARK:
            return None
    if checksum != _header_crc32(data[offset : offset + checked], uid, segment, offset):
        return None
    return GroupHeader(count, sequence, length, body_crc32, mask, layout.size)


def group_body(data: bytes, offset: int, header: GroupHeader) -> list[Record] | None:
    """The records of the group at ``offset``; None when its body is not what was written."""
    begin = offset + header.size
    body = data[begin : begin + header.length]
    if len(body) != header.length or crc32(body) != header.body_crc32:
        return None
    if header.mask:
        body = _under_mask(body, header.mask)
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
    place = data.find(_GROUP_MAGICS, offset + 1)
    while place >= 0:
        if group_header(data, uid, segment, place) is not None:
            return place
        place = data.find(_GROUP_MAGICS, place + 1)
    return None


def unwritten(data: bytes, offset: int) -> bool:
    """Whether nothing was ever written from here on: room that was set aside reads as zeros."""
    return data.count(0, offset) == len(data) - offset


def torn(data: bytes, offset: int, header: GroupHeader | None) -> bool:
    """Whether an unreadable last group of the segment ``data`` looks as a crash leaves it.

    A write that a crash cut short ends early, or lacks whole sectors, and sectors that were
    never written read as zeros. A group that is all there and still wrong has been damaged
    later: it was acknowledged, and cutting it off would forget that.
    """
    if header is not None:
        end = offset + header.size + header.length
    else:
        end = offset + (_GROUP_1 if segment_version(data) == 1 else _GROUP).size
    if end > len(data):
        return True
    place = offset
    while place < end:
        stop = min(end, (place // SECTOR_SIZE + 1) * SECTOR_SIZE)
        if not any(data[place:stop]):
            return True
        place = stop
    return False
