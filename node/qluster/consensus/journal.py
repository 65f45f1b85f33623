"""Decides what the log in memory keeps, replaces and cuts.

Must not know who leads, what is committed elsewhere, or how a log is stored.

The journal begins after ``base``: the last entry it no longer holds, of which the term is still
known so that an append can be checked against it. With a snapshot ``base <= snapshot index``:
a tail is kept behind the snapshot for followers that are a little late.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from qluster.consensus.settings import (
    BATCH_ENTRIES_MAX,
    ENTRY_OVERHEAD_BYTES,
    FETCHED_BYTES_MAX,
    TAIL_BYTES_MAX,
    TAIL_ENTRIES_MAX,
)
from qluster.events import Entry


class JournalDamaged(ValueError):
    """What was saved is no log: the node must set it aside and join anew."""


class Journal:
    """Entries after ``base_index``, contiguous, with terms that never decrease."""

    def __init__(self, base_index: int = 0, base_term: int = 0, entries: Sequence[Entry] = ()) -> None:
        self.base_index = base_index
        self.base_term = base_term
        self._entries: list[Entry] = []
        self._sizes = array("q", (0,))
        """Running total of sizes; one longer than the entries. An array: a list would take five times the memory."""
        if entries:
            self.append(entries)

    @property
    def last_index(self) -> int:
        """Index of the newest entry, or of the base."""
        return self.base_index + len(self._entries)

    @property
    def last_term(self) -> int:
        """Term of the newest entry, or of the base."""
        return self._entries[-1].term if self._entries else self.base_term

    def term_at(self, index: int) -> int | None:
        """Term of the entry at this index; None where the journal does not reach."""
        if index == self.base_index:
            return self.base_term
        if self.base_index < index <= self.last_index:
            return self._entries[index - self.base_index - 1].term
        return None

    def between(self, after: int, last: int) -> list[Entry]:
        """The entries after one index up to another; both must be within the journal."""
        assert self.base_index <= after <= last <= self.last_index, (self.base_index, after, last)
        return self._entries[after - self.base_index : last - self.base_index]

    def size_between(self, after: int, last: int) -> int:
        """Bytes of those entries as they travel; what lies before the journal counts nothing."""
        begin, end = max(after - self.base_index, 0), max(last - self.base_index, 0)
        return self._sizes[end] - self._sizes[begin]

    def batch(self, after: int, last: int, size_max: int) -> list[Entry]:
        """Entries after an index that fit into one message: at least one where there is one."""
        begin = after - self.base_index
        end = min(last - self.base_index, begin + BATCH_ENTRIES_MAX)
        room = self._sizes[begin] + size_max + ENTRY_OVERHEAD_BYTES
        fitting = bisect_right(self._sizes, room, begin, end + 1) - 1
        return self._entries[begin : max(fitting, min(begin + 1, end))]

    def first_index_of(self, term: int) -> int:
        """The first index in the journal whose term is at least this."""
        return self.base_index + 1 + bisect_left(self._entries, term, key=lambda entry: entry.term)

    def last_index_of(self, term: int) -> int | None:
        """The last index with exactly this term; None when there is none."""
        place = bisect_right(self._entries, term, key=lambda entry: entry.term)
        if place and self._entries[place - 1].term == term:
            return self.base_index + place
        return self.base_index if term == self.base_term else None

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries that follow the last one."""
        index, term = self.last_index, self.last_term
        for entry in entries:
            index += 1
            if entry.index != index or entry.term < term:
                raise JournalDamaged(
                    f"entry {entry.index} of term {entry.term} cannot follow entry {index - 1} of term {term}"
                )
            term = entry.term
            self._entries.append(entry)
            self._sizes.append(self._sizes[-1] + len(entry.payload) + ENTRY_OVERHEAD_BYTES)

    def merge(self, entries: Sequence[Entry], floor: int) -> list[Entry]:
        """Take over a leader's entries; those that are new here are returned.

        Cut is only what differs in term (S6), and nothing up to ``floor``, the commit index.
        """
        for place, entry in enumerate(entries):
            if entry.index <= self.base_index:
                # Of what lies before the base nothing is known but that it is committed.
                fits = entry.index < self.base_index or entry.term == self.base_term
                assert fits, f"a leader replaces the committed entry {entry.index}"
                continue
            known = self.term_at(entry.index)
            if known == entry.term:
                continue
            if known is not None:
                assert entry.index > floor, f"a leader replaces the committed entry {entry.index}"
                self.cut_from(entry.index)
            self.append(entries[place:])
            return list(entries[place:])
        return []

    def cut_from(self, index: int) -> None:
        """Drop the entry at this index and all after it."""
        assert index > self.base_index, f"entry {index} is not in the journal"
        del self._entries[index - self.base_index - 1 :]
        del self._sizes[index - self.base_index :]

    def forget_up_to(self, index: int, wanted: int | None = None) -> None:
        """A snapshot covers this index: keep only a tail behind it, and what somebody wants after ``wanted``."""
        assert index <= self.last_index, f"entry {index} was never here"
        keep_from = self._kept_from(index, max(self.base_index, index - TAIL_ENTRIES_MAX), TAIL_BYTES_MAX)
        if wanted is not None and wanted < keep_from:
            keep_from = min(keep_from, self._kept_from(index, max(self.base_index, wanted), FETCHED_BYTES_MAX))
        self._rebase(keep_from)

    def _kept_from(self, index: int, keep_from: int, bytes_max: int) -> int:
        while keep_from < index and self.size_between(keep_from, index) > bytes_max:
            keep_from += max(1, (index - keep_from) // 8)
        return min(keep_from, index)

    def restart_at(self, index: int, term: int) -> None:
        """Drop everything: a snapshot took the place of the log."""
        self.base_index, self.base_term = index, term
        self._entries.clear()
        self._sizes = array("q", (0,))

    def _rebase(self, index: int) -> None:
        term = self.term_at(index)
        assert term is not None, f"entry {index} is not in the journal"
        count = index - self.base_index
        del self._entries[:count]
        gone = self._sizes[count]
        self._sizes = array("q", [size - gone for size in self._sizes[count:]])
        self.base_index, self.base_term = index, term


def opened(snapshot_index: int, snapshot_term: int, entries: Sequence[Entry]) -> Journal:
    """The journal from what was saved. Raises :class:`JournalDamaged`.

    A crash may have left entries that the snapshot covers (dropped here), or a whole log that the
    snapshot was to replace (its entry at the snapshot's index then has another term: dropped too).
    """
    first = entries[0].index if entries else snapshot_index + 1
    if first > snapshot_index + 1:
        raise JournalDamaged(f"entries {snapshot_index + 1} to {first - 1} are missing")
    whole = Journal(first - 1, 0, entries)
    if whole.last_index <= snapshot_index:
        return Journal(snapshot_index, snapshot_term)
    if snapshot_index >= first and whole.term_at(snapshot_index) != snapshot_term:
        return Journal(snapshot_index, snapshot_term)
    return Journal(snapshot_index, snapshot_term, whole.between(snapshot_index, whole.last_index))
