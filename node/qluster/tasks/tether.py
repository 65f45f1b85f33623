"""Decides whether what is tied to a lease may go on.

Must not read a clock: ``now`` is a time of the clock that stands still while the host sleeps, ``slept`` how long the
host has slept since it was booted. A host that slept does not see its lease pass: that it slept ends the lease.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from math import inf

SLEEP_LIMIT = 0.05
"""Seconds by which two clocks that are read one after the other may seem to go apart on a full host."""


class Tether:
    """The lease as one process knows it. ``length``: from the asking of a lease to its end."""

    def __init__(self, length: float, slept: float) -> None:
        self.until = -inf
        self._length = length
        self._slept = slept
        self._void = -inf

    def take(self, until: float, now: float, slept: float) -> None:
        """A lease came. One that was asked for before the host slept holds no longer, whenever it ends."""
        self._mind(now, slept)
        if until >= self._void:
            self.until = max(self.until, until)

    def passed(self, now: float, slept: float) -> bool:
        """Whether nothing that is tied may go on."""
        self._mind(now, slept)
        return now >= self.until

    def _mind(self, now: float, slept: float) -> None:
        if slept - self._slept > SLEEP_LIMIT:
            self.until, self._void, self._slept = -inf, now + self._length, slept
