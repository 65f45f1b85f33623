"""A WAL as a list of records with a running digest, so that two can be compared without reading them.

Must not know who writes. A record is (timeline, value); a position is a count of records.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

Record = tuple[int, int]


class Wal:
    """What a database has on its disk."""

    __slots__ = ("_digests", "records")

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._digests = [0]

    def __len__(self) -> int:
        return len(self.records)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Wal) and self._digests[-1] == other._digests[-1]

    __hash__ = None  # type: ignore[assignment]

    def append(self, record: Record) -> None:
        """Write and flush one record."""
        self.records.append(record)
        self._digests.append(hash((self._digests[-1], record)))

    def digest(self, position: int) -> int | None:
        """Of what lies before a position; None where the WAL is shorter."""
        return self._digests[position] if position < len(self._digests) else None

    def copy(self) -> Wal:
        """Another disk with the same."""
        other = Wal()
        other.records, other._digests = list(self.records), list(self._digests)
        return other

    def begins(self, other: Wal) -> bool:
        """What is here is a beginning of what is there."""
        here = len(self.records)
        return here < len(other._digests) and other._digests[here] == self._digests[here]

    def extend_from(self, other: Wal) -> None:
        """Receive what the other has beyond this one's end."""
        here = len(self.records)
        self.records += other.records[here:]
        self._digests += other._digests[here + 1 :]

    def common(self, other: Wal) -> int:
        """Position up to which both are equal."""
        low, high = 0, min(len(self.records), len(other.records))
        while low < high:
            middle = (low + high + 1) // 2
            if self._digests[middle] == other._digests[middle]:
                low = middle
            else:
                high = middle - 1
        return low
