"""How long to wait before the next attempt to connect.

Must not know why the last one failed, but for whether that can pass by itself.

It never ends: a node without its arbiter must come back by itself at any hour. It is random, so that the nodes of
many clusters do not come back to a restarted arbiter in the same moment, and bounded, so that nobody waits for long.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from random import Random

FIRST = 0.5
"""Seconds at most before the first attempt after a connection that was of use."""
LASTING_MAX = 60.0
"""Seconds at most while only an operator can help: often enough to see that he did."""


class Backoff:
    """Counts attempts that came to nothing."""

    def __init__(self, random: Random, most: float) -> None:
        """``most``: seconds at most where the fault can pass by itself."""
        self._random = random
        self._most = most
        self.failures = 0
        """Since the last connection that was of use."""

    def succeeded(self) -> None:
        """A connection was of use."""
        self.failures = 0

    def next(self, lasting: bool) -> float:
        """Seconds until the next attempt, after one that failed. ``lasting``: it will fail again as it is."""
        first, most = (self._most, max(LASTING_MAX, self._most)) if lasting else (min(FIRST, self._most), self._most)
        ceiling = min(most, first * 2.0 ** min(self.failures, 16))
        self.failures += 1
        return self._random.uniform(ceiling / 2, ceiling)
