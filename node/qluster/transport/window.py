"""Decides whether a number was seen before, with a fixed amount of memory.

It must not know what is numbered: datagrams of a sender (replay), or its messages (handed over twice).
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Final

WINDOW_SIZE: Final = 1024
"""Numbers below the highest that can still be told apart: more than a socket buffer of 1 MiB holds full
datagrams, so nothing that was only reordered falls out."""

_MASK: Final = (1 << WINDOW_SIZE) - 1


class Window:
    """The highest number seen, and which of the 1024 up to it were seen."""

    __slots__ = ("_seen", "highest")

    def __init__(self) -> None:
        self.highest = 0
        self._seen = 0

    def fresh(self, number: int) -> bool:
        """Not seen yet, and not so old that it cannot be known. Changes nothing."""
        age = self.highest - number
        if age < 0:
            return True
        return age < WINDOW_SIZE and not self._seen >> age & 1

    def mark(self, number: int) -> None:
        """It was seen. Only for a number that is fresh."""
        assert number > 0, "numbers begin at 1"
        age = self.highest - number
        if age == -1:
            self._seen = (self._seen << 1 | 1) & _MASK
        elif age >= 0:
            assert age < WINDOW_SIZE, "a number behind the window cannot be marked"
            self._seen |= 1 << age
            return
        else:
            self._seen = (self._seen << -age | 1) & _MASK if -age < WINDOW_SIZE else 1
        self.highest = number
