"""How far a replica is behind, by what the primary has published of its position.

Must not know how a report travels, nor who may be how far behind.

All of it is from memory, so it is as old as the last report: what the primary has written since then nobody here
knows. The age is therefore part of the answer.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

SAMPLES_MAX = 128
"""Positions remembered, one a report: two minutes at the pace of a calm primary. Who is further behind than the
oldest is so by more seconds than are known."""


@dataclass(frozen=True, slots=True)
class End:
    """Where the WAL of a primary ended at a time, and the reign that its node knew then."""

    reign: int
    timeline: int
    position: int
    at: float


@dataclass(frozen=True, slots=True)
class Behind:
    """How far a replica is behind its primary."""

    size: int
    """Bytes of WAL, as of the last report."""
    seconds: float | None
    """It has all that the primary had so many seconds ago, or more; None: it is behind all that is remembered."""
    known_ago: float
    """Seconds since the last report."""


@dataclass(slots=True)
class Published:
    """The positions that the primary of one reign has published."""

    _reign: tuple[int, int] = (0, 0)
    """Number and node."""
    _samples: deque[tuple[float, int]] = field(default_factory=deque)
    """When it was heard, and the position: both grow."""

    def note(self, reign: int, node: int, position: int, now: float) -> None:
        """The primary said how far its WAL is flushed. What an earlier reign wrote may not be in a later one."""
        if (reign, node) < self._reign:
            return
        if (reign, node) != self._reign:
            self._reign = (reign, node)
            self._samples.clear()
        samples = self._samples
        if len(samples) > 1 and position <= samples[-2][1]:
            samples.pop()  # it writes nothing: the first time and the last at which it stood there say it all
        samples.append((now, position))
        if len(samples) > SAMPLES_MAX:
            samples.popleft()

    def behind(self, reign: int, node: int, position: int | None, now: float) -> Behind | None:
        """How far behind who has replayed up to ``position`` is; None: not known."""
        if (reign, node) != self._reign or position is None:
            return None
        heard_at, newest = self._samples[-1]
        seconds = next((now - at for at, reached in reversed(self._samples) if reached <= position), None)
        return Behind(max(0, newest - position), seconds, now - heard_at)
