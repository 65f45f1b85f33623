"""Which of many moments comes next.

Must not know what happens then.

Most are moved many times before they pass. So a moment that moves away costs nothing until its former time, and only
one that moves closer is sorted in anew.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

K = TypeVar("K", bound=tuple[int, ...])

SLACK = 64
"""Outdated places that are kept before all are sorted anew."""


class Deadlines(Generic[K]):
    """One moment for each key."""

    def __init__(self) -> None:
        self._at: dict[K, float] = {}
        self._sorted: list[tuple[float, K]] = []
        self._place: dict[K, float] = {}

    def set(self, key: K, at: float) -> None:
        """The moment of this key is this one now."""
        self._at[key] = at
        if at < self._place.get(key, float("inf")):
            self._sort_in(key, at)

    def clear(self, key: K) -> None:
        """This key has none any more."""
        self._at.pop(key, None)

    def next(self) -> float | None:
        """The earliest moment."""
        self._settle()
        return self._sorted[0][0] if self._sorted else None

    def none_before(self, at: float) -> bool:
        """Whether none comes before this one, told without sorting; False where it may."""
        return not self._sorted or self._sorted[0][0] >= at

    def pop(self, now: float) -> K | None:
        """The key whose moment passed first; it has none then. Call until there is none left."""
        self._settle()
        if not self._sorted or self._sorted[0][0] > now:
            return None
        _, key = heappop(self._sorted)
        del self._at[key]
        self._place.pop(key, None)
        return key

    def _settle(self) -> None:
        """Until what is sorted first is true."""
        while self._sorted and self._at.get(self._sorted[0][1]) != self._sorted[0][0]:
            at, key = heappop(self._sorted)
            if self._place.get(key) != at:
                continue
            del self._place[key]
            if key in self._at:
                self._sort_in(key, self._at[key])

    def _sort_in(self, key: K, at: float) -> None:
        self._place[key] = at
        heappush(self._sorted, (at, key))
        if len(self._sorted) > 2 * len(self._at) + SLACK:
            self._place = dict(self._at)
            self._sorted = [(moment, one) for one, moment in self._at.items()]
            heapify(self._sorted)
