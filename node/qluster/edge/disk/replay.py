"""What the records of a log amount to, and which segments of it are still needed.

It must not open files; the records come in order, with the number of their segment.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Sequence

from qluster.events import Entry

from .records import ENTRY_NAMES, RESET, SNAPSHOT, VOTE, Record


class Contradiction(Exception):
    """The records cannot all be true; the message says which."""


class Replay:
    """The state of a log after the records applied so far."""

    def __init__(self) -> None:
        self.term = 0
        self.vote: int | None = None
        self.snapshot: Record | None = None
        """The record that names the snapshot in force."""
        self._entries: dict[int, Entry] | None = {}
        self._last = 0
        self._tops: dict[int, int] = {}
        """For each segment the highest index in it that has not been replaced; 0 for none."""

    @property
    def last_index(self) -> int:
        """The index of the last entry, or of the snapshot where there is none after it."""
        return self._last

    def check(self, records: Sequence[Record]) -> None:
        """Assert that these records can follow: a log that contradicts itself must not be written."""
        term, last, kept = self.term, self._last, self.snapshot.index if self.snapshot else 0
        for record in records:
            if record.index == last + 1 and record.kind in ENTRY_NAMES:
                last += 1
            elif record.kind == VOTE:
                assert record.term >= term, f"the term would go back from {term} to {record.term}"
                term = record.term
            elif record.kind == RESET:
                last = kept = record.index
            elif record.kind == SNAPSHOT:
                assert kept <= record.index <= last, f"snapshot {record.index} outside of {kept} to {last}"
                kept = record.index
            else:
                assert kept < record.index <= last + 1, f"entry {record.index} after {kept} to {last}"
                last = record.index

    def begin_segment(self, number: int) -> None:
        """The records that follow are in this segment."""
        self._tops[number] = 0

    def follow(self, records: Sequence[Record], segment: int) -> None:
        """Take records that were written just now. Entries in a row, which most are, are only counted."""
        last = self._last
        for record in records:
            if record.index == last + 1 and record.kind in ENTRY_NAMES and self._entries is None:
                self._last = self._tops[segment] = last = record.index
            else:
                self.apply(record, segment)
                last = self._last

    def apply(self, record: Record, segment: int) -> None:
        """Take the next record. Raises Contradiction."""
        if record.kind == VOTE:
            if record.term < self.term:
                raise Contradiction(f"the term goes back from {self.term} to {record.term}")
            self.term, self.vote = record.term, record.index or None
        elif record.kind == SNAPSHOT:
            self._keep_snapshot(record)
        elif record.kind == RESET:
            self._replace_from(0)
            self._last = record.index
            self.snapshot = record
        elif record.kind in ENTRY_NAMES:
            self._append(record, segment)
        else:
            raise Contradiction(f"record of unknown kind {record.kind}")

    def _keep_snapshot(self, record: Record) -> None:
        if self.snapshot and record.index < self.snapshot.index:
            raise Contradiction(f"the snapshot goes back from {self.snapshot.index} to {record.index}")
        if self._entries is not None and self.snapshot != record:
            for index in [index for index in self._entries if index <= record.index]:
                del self._entries[index]
        self.snapshot = record
        self._last = max(self._last, record.index)

    def _append(self, record: Record, segment: int) -> None:
        if record.index <= self._last:
            self._replace_from(record.index)
        if self._entries is not None:
            kind = ENTRY_NAMES[record.kind]
            self._entries[record.index] = Entry(record.index, record.term, kind, record.payload)
        self._last = record.index
        self._tops[segment] = record.index

    def _replace_from(self, first: int) -> None:
        keep = max(first - 1, 0)
        entries = self._entries
        # They are in order: what is replaced is at the end.
        while entries and next(reversed(entries)) >= first:
            entries.popitem()
        for segment, top in self._tops.items():
            self._tops[segment] = min(top, keep)

    def take_entries(self) -> list[Entry]:
        """The entries after the snapshot, in order, once; they are not kept here afterwards.

        Raises Contradiction where one is missing.
        """
        assert self._entries is not None, "the entries were taken before"
        first = self.snapshot.index + 1 if self.snapshot else 1
        entries = []
        for index in range(first, self._last + 1):
            entry = self._entries.get(index)
            if entry is None:
                raise Contradiction(f"entry {index} is missing (the log goes from {first} to {self._last})")
            entries.append(entry)
        self._entries = None
        return entries

    def unneeded(self) -> list[int]:
        """The oldest segments of which nothing is in force any more, never the newest segment."""
        bound = self.snapshot.index if self.snapshot else 0
        numbers = sorted(self._tops)
        droppable: list[int] = []
        for number in numbers[:-1]:
            if self._tops[number] > bound:
                break
            droppable.append(number)
        return droppable

    def forget_segment(self, number: int) -> None:
        """This segment has been removed."""
        del self._tops[number]

    def checkpoint(self) -> list[Record]:
        """What a new segment begins with, so that the older ones may go."""
        records = [Record(VOTE, self.term, self.vote or 0)]
        if self.snapshot:
            snapshot = self.snapshot
            records.append(Record(SNAPSHOT, snapshot.term, snapshot.index, snapshot.payload))
        return records
