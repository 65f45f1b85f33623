"""The log's segments: append with one flush, read back, cut a torn tail, drop what is not needed.

It must not know what a save is; records come from ``store.py``.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator

from . import records as bytes_of
from .ahead import Ahead
from .files import NO_SPACE, flush_data, flush_directory, set_aside_room, settle, write_at
from .records import RECORD_HEADER_SIZE, SEGMENT_HEADER_SIZE, VERSION, Record
from .replay import Contradiction, Replay
from .trouble import DiskFailed, DiskFull, LogDamaged, StateRefused

logger = logging.getLogger(__name__)

SEGMENT_SIZE = 16 * 1024 * 1024
"""Where a segment ends: large enough that making a new one is rare, small enough to be read at once."""
ROOM_SIZE = 1024 * 1024
"""Room that a segment gets ahead of what is written: seldom enough to cost nothing, little enough for any disk."""
DROPS_MAX = 2
"""Segments removed after one save: each takes a flush of the directory, and the next save waits."""
GROUP_SIZE_MAX = 32 * 1024 * 1024
"""A larger save becomes several groups, each flushed by itself, so that a reader needs little memory."""


def _file_name(number: int) -> str:
    return f"{number:016d}.log"


class Log:
    """The segments in one directory, written by one thread at a time."""

    def __init__(self, directory: str, uid: int, segment_size: int = SEGMENT_SIZE) -> None:
        self._directory = directory
        self._uid = uid
        self._segment_size = segment_size
        self._number = 0
        self._version = VERSION
        """Format of the newest segment."""
        self.end = 0
        """Where the next group will stand in the newest segment."""
        self._room_end = 0
        self._ahead = Ahead(directory, segment_size)
        self._file = ""
        self._descriptor = -1
        self.sequence = 0
        """Number of the last group."""
        self.replay = Replay()
        self._looks_only = False
        self.notes: list[str] = []
        """What reading found that a crash had left unfinished."""
        self.segments: list[tuple[int, int]] = []
        """Number and end of each segment that was read."""

    def create(self) -> None:
        """Begin a log in an empty directory."""
        self._open_segment(1)

    # --- reading back ---------------------------------------------------------

    def load(self) -> None:
        """Read all segments into ``replay``, cut what a crash left unfinished, and open the last one.

        Raises LogDamaged.
        """
        numbers = self._numbers()
        if numbers:
            settle(self._path(numbers[-1]))
            flush_directory(self._directory)
        self._read(numbers)
        self._file = self._path(self._number)
        self._descriptor = os.open(self._file, os.O_RDWR | os.O_CLOEXEC)
        self._room_end = max(os.fstat(self._descriptor).st_size, self.end)

    def look(self) -> None:
        """Read all segments into ``replay`` and change nothing; what a start would do stands in ``notes``.

        Raises LogDamaged.
        """
        self._looks_only = True
        self._read(self._numbers())

    def _read(self, numbers: list[int]) -> None:
        if not numbers:
            raise LogDamaged(self._directory, 0, "the log has no segment")
        for number in numbers:
            last = number == numbers[-1]
            if number != numbers[0] + numbers.index(number):
                path = self._path(number - 1)
                raise LogDamaged(path, 0, "a segment is missing between others")
            end = self._load_segment(number, last, alone=len(numbers) == 1)
            if end is not None:
                self._number, self.end = number, end
                self.segments.append((number, end))

    def _numbers(self) -> list[int]:
        names = (re.fullmatch(r"([0-9]{16})\.log", name) for name in os.listdir(self._directory))
        return sorted(int(name.group(1)) for name in names if name)

    def _path(self, number: int) -> str:
        return os.path.join(self._directory, _file_name(number))

    def _load_segment(self, number: int, last: bool, alone: bool) -> int | None:
        """Apply a segment and return where it ends; None when it was never finished and is gone."""
        path = self._path(number)
        with open(path, "rb") as file:
            data = file.read()
        version = bytes_of.segment_version(data)
        if version > VERSION:
            raise StateRefused(f"{path}: has format {version}, this program knows {VERSION}. Install the "
                               f"version that wrote it, or a newer one.")
        problem = bytes_of.check_segment_header(data, self._uid, number)
        if last and not alone and self._never_begun(data, number):
            # A crash while the segment was begun: nothing in it was ever acknowledged, and without
            # its first group the older segments could never go.
            self._note(f"log-segment-removed file={path} bytes={len(data)} reason=unfinished")
            if not self._looks_only:
                os.unlink(path)
                flush_directory(self._directory)
            return None
        if problem is not None:
            raise LogDamaged(path, 0, problem)
        self.replay.begin_segment(number)
        self._version = version
        end = SEGMENT_HEADER_SIZE
        for end, records in self._groups(path, data, number):
            self._apply(records, number, path, end)
        if not bytes_of.unwritten(data, end):
            self._cut(path, data, end, number, last)
        return end

    def _never_begun(self, data: bytes, number: int) -> bool:
        """Whether a crash cut off the segment's header or its first group."""
        first = SEGMENT_HEADER_SIZE
        header = bytes_of.group_header(data, self._uid, number, first)
        sound = bytes_of.check_segment_header(data, self._uid, number) is None
        if sound and header is not None and bytes_of.group_body(data, first, header) is not None:
            return False
        if bytes_of.next_group(data, self._uid, number, first) is not None:
            return False
        return bytes_of.torn(data, 0, None) or bytes_of.torn(data, first, header)

    def _groups(self, path: str, data: bytes, number: int) -> Iterator[tuple[int, list[Record]]]:
        """The readable groups from the start, each with the place where it ends."""
        place = SEGMENT_HEADER_SIZE
        while (header := bytes_of.group_header(data, self._uid, number, place)) is not None:
            records = bytes_of.group_body(data, place, header)
            if records is None:
                return
            if self.sequence and header.sequence != self.sequence + 1:
                raise LogDamaged(path, place, f"group {header.sequence} follows group {self.sequence}")
            self.sequence = header.sequence
            place += header.size + header.length
            yield place, records

    def _apply(self, records: list[Record], number: int, path: str, end: int) -> None:
        try:
            for record in records:
                self.replay.apply(record, number)
        except Contradiction as error:
            raise LogDamaged(path, end, str(error)) from None

    def _cut(self, path: str, data: bytes, end: int, number: int, last: bool) -> None:
        """Cut a torn tail off; refuse when it is not one."""
        follower = bytes_of.next_group(data, self._uid, number, end)
        if follower is not None:
            raise LogDamaged(path, end, f"unreadable, while byte {follower} begins a readable group")
        if not last:
            raise LogDamaged(path, end, "unreadable, while later segments follow")
        header = bytes_of.group_header(data, self._uid, number, end)
        if not bytes_of.torn(data, end, header):
            raise LogDamaged(path, end, "the last group is complete, but its checksum is wrong")
        self._note(f"log-tail-cut file={path} offset={end} bytes={len(data) - end} reason=torn")
        if not self._looks_only:
            self._truncate(path, end)

    def _note(self, line: str) -> None:
        self.notes.append(line)
        if not self._looks_only:
            logger.warning("%s", line)

    def _truncate(self, path: str, end: int) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.ftruncate(descriptor, end)
            os.fsync(descriptor)
        except OSError as error:
            raise DiskFailed(path, f"cutting the torn tail failed ({error.strerror})") from error
        finally:
            os.close(descriptor)

    # --- writing --------------------------------------------------------------

    def append(self, records: list[Record]) -> None:
        """Make records durable, with one flush for each group."""
        self.replay.check(records)
        for group in _groups_of(records):
            # An older version refuses a segment of this one, and would take a group of this one for damage.
            if self.end >= self._segment_size or self._version != VERSION:
                self._open_segment(self._number + 1)
            self._write(group)
            self.replay.follow(group, self._number)

    def _write(self, records: list[Record]) -> None:
        path = self._file
        data = bytes_of.group(records, self._uid, self._number, self.end, self.sequence + 1)
        end = self.end + len(data)
        if end > self._room_end:
            room = end - self._room_end + min(ROOM_SIZE, max(self._segment_size - end, 0))
            self._room_end = set_aside_room(self._descriptor, self._room_end, room)
        try:
            write_at(self._descriptor, data, self.end, path)
        except DiskFull:
            self._room_end = self.end
            raise
        flush_data(self._descriptor, path)
        self.end = end
        self._room_end = max(self._room_end, end)
        self.sequence += 1
        if end >= self._ahead.due:
            self._ahead.go_on()

    def _open_segment(self, number: int) -> None:
        """Begin a new segment with what makes the older ones dispensable."""
        path = self._path(number)
        data = bytes_of.segment_header(self._uid, number)
        data += bytes_of.group(self.replay.checkpoint(), self._uid, number, len(data), self.sequence + 1)
        taken = self._ahead.take()
        made = self._ahead.path if taken else path
        descriptor, room = taken or (self._create(path, len(data)), 0)
        try:
            write_at(descriptor, data, 0, made)
            flush_data(descriptor, made)
            if taken:
                self._rename(made, path)
        except DiskFull:
            os.close(descriptor)
            os.unlink(made)
            raise
        flush_directory(self._directory)
        self._close_segment()
        self._descriptor, self._number, self._file, self._version = descriptor, number, path, VERSION
        self.end = len(data)
        self._room_end = max(room, self.end)
        self.sequence += 1
        self.replay.begin_segment(number)

    def _create(self, path: str, size: int) -> int:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise DiskFull(path, size) from error
            raise DiskFailed(path, f"cannot be created ({error.strerror})") from error

    def _rename(self, made: str, path: str) -> None:
        """Give a segment its name: with its beginning in it, so that nobody finds one that was never begun."""
        try:
            os.rename(made, path)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise DiskFull(path, 0) from error
            raise DiskFailed(path, f"cannot be named ({error.strerror})") from error

    def give_back(self) -> bool:
        """Give back the space that is held for the next segment; True when there was some."""
        return self._ahead.drop()

    def drop_unneeded(self) -> bool:
        """Remove the oldest segments that the snapshot has made dispensable; True when more of them are left."""
        unneeded = self.replay.unneeded()
        for number in unneeded[:DROPS_MAX]:
            os.unlink(self._path(number))
            # One at a time: were an older one to come back, the gap would look like damage.
            flush_directory(self._directory)
            self.replay.forget_segment(number)
        return len(unneeded) > DROPS_MAX

    def close(self) -> None:
        """Close the log; what was made ahead is made anew after the next start."""
        self._ahead.close()
        self._close_segment()

    def _close_segment(self) -> None:
        """Without the room that it does not need."""
        if self._descriptor < 0:
            return
        if self._room_end > self.end:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self.end)
        os.close(self._descriptor)
        self._descriptor = -1


def _groups_of(records: list[Record]) -> Iterator[list[Record]]:
    if sum([len(record.payload) for record in records]) + len(records) * RECORD_HEADER_SIZE <= GROUP_SIZE_MAX:
        yield records
        return
    group: list[Record] = []
    size = 0
    for record in records:
        if group and size + record.size > GROUP_SIZE_MAX:
            yield group
            group, size = [], 0
        group.append(record)
        size += record.size
    if group:
        yield group
