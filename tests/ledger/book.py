"""The ledger: a file outside of the cluster with every acknowledged commit, and what can be concluded from it.

A record is a row of commits that one connection was told of at once: rows ``first`` to ``first + count - 1``, by
which host, on which timeline, when the batch was sent and when the acknowledgement was read. The first field of the
file is the number of its records; whoever has the file mapped sees a record as soon as it is counted.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import mmap
import os
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

HEAD = struct.Struct("<QQ")
"""Records, commits."""
RECORD = struct.Struct("<QIIHxxxxxxdd")
RECORDS_MAX = 4_000_000
"""For a round of ten minutes; the file has holes where nothing was written."""
WRITER_BITS = 40
"""Rows of one connection are numbered one after the other; its number stands above."""


class Noted(NamedTuple):
    """Some commits that were acknowledged."""

    first: int
    count: int
    timeline: int
    host: int
    sent: float
    at: float


class Book:
    """The file, for the one process that writes and for those who read."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        size = HEAD.size + RECORDS_MAX * RECORD.size
        if create:
            with open(path, "xb") as file:
                os.truncate(file.fileno(), size)
        with open(path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), size)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()

    @property
    def records(self) -> int:
        """How many there are."""
        return int(HEAD.unpack_from(self._map)[0])

    @property
    def commits(self) -> int:
        """How many commits were acknowledged."""
        return int(HEAD.unpack_from(self._map)[1])

    def note(self, noted: Noted) -> None:
        """Append a record; the file is the system's from then on, whatever becomes of the writer."""
        with self._lock:
            records, commits = HEAD.unpack_from(self._map)
            if records >= RECORDS_MAX:
                raise RuntimeError(f"the ledger is full with {records} records: play shorter rounds")
            RECORD.pack_into(self._map, HEAD.size + records * RECORD.size, *noted)
            HEAD.pack_into(self._map, 0, records + 1, commits + noted.count)

    def read(self, begin: int = 0, end: int | None = None) -> Iterator[Noted]:
        """The records from one place on, in the order in which they were written."""
        end = self.records if end is None else end
        data = self._map[HEAD.size + begin * RECORD.size : HEAD.size + end * RECORD.size]
        return map(Noted._make, RECORD.iter_unpack(data))


# --- what can be concluded ---------------------------------------------------------------------


def joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges (first, behind the last) in order, neighbours put together."""
    found: list[tuple[int, int]] = []
    for first, behind in sorted(ranges):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], behind))
        else:
            found.append((first, behind))
    return found


def without(ranges: Sequence[tuple[int, int]], taken: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """What of the first is not in the second; both are in order."""
    found, place = [], 0
    for first, behind in ranges:
        while place < len(taken) and taken[place][1] <= first:
            place += 1
        here, start = place, first
        while here < len(taken) and taken[here][0] < behind:
            if taken[here][0] > start:
                found.append((start, taken[here][0]))
            start = max(start, taken[here][1])
            here += 1
        if start < behind:
            found.append((start, behind))
    return found


def size(ranges: Iterable[tuple[int, int]]) -> int:
    """How many rows."""
    return sum(behind - first for first, behind in ranges)


def acknowledged(records: Iterable[Noted]) -> list[tuple[int, int]]:
    """The rows of these records."""
    return joined((one.first, one.first + one.count) for one in records)


@dataclass(frozen=True)
class Stint:
    """A server on its timeline: from the first to the last acknowledgement."""

    host: int
    timeline: int
    first: float
    last: float
    sent: float
    """When the last of its rows that were acknowledged was sent."""


def stints(records: Iterable[Noted]) -> list[Stint]:
    """All of them, by their first acknowledgement."""
    found: dict[tuple[int, int], list[float]] = {}
    for one in records:
        times = found.setdefault((one.host, one.timeline), [one.at, one.at, one.sent])
        times[0], times[1], times[2] = min(times[0], one.at), max(times[1], one.at), max(times[2], one.sent)
    made = [Stint(host, timeline, *times) for (host, timeline), times in found.items()]
    return sorted(made, key=lambda stint: stint.first)


def overlaps(found: Sequence[Stint]) -> list[tuple[Stint, Stint]]:
    """Two servers that both acknowledged: the former one a row that was *sent* after the newer one's first word.

    What was sent before and read after tells nothing: it may have lain in a buffer of the client.
    Where two hosts have the same timeline, each went its own way from an older one: none is the newer.
    """
    wrong = []
    for one in found:
        for other in found:
            if one.host == other.host or one.timeline > other.timeline:
                continue
            if one.sent > other.first and (one.timeline < other.timeline or one.first < other.first):
                wrong.append((one, other))
    return wrong


def changes(found: Sequence[Stint]) -> int:
    """How often another server, or the same on a new timeline, went on."""
    return max(0, len(found) - 1)


def longest_pause(times: Iterable[float], begin: float, end: float) -> float:
    """The longest time without an acknowledgement between two moments."""
    inside = sorted(time for time in times if begin <= time <= end)
    return max(later - earlier for earlier, later in pairwise([begin, *inside, end]))
