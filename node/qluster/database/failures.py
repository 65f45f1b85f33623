"""How often orders failed, when the next attempt may be, and when to stop trying.

It must not know what the orders do. Failures whose cause lies elsewhere and passes
(an upstream that does not answer) delay the next attempt and never use it up.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from qluster.database.orders import (
    Clone,
    CloneOutside,
    Detach,
    Follow,
    FollowOutside,
    KeepSlots,
    Order,
    Promote,
    Restart,
    Rewind,
    RewindOutside,
    StartStandby,
    StopFast,
    StopImmediate,
)

DELAY_FIRST = 0.5
"""Seconds after the first failure: a server that just restarts is back by then."""
PASSING_DELAY_FIRST = 0.05
"""The same where the cause is elsewhere: an upstream that is just being promoted serves a tenth of a second later,
and with synchronous replication its clients wait until somebody follows."""
DELAY_MOST = 30.0
"""Longest pause: an operator who repaired the cause does not wait longer than this."""
ATTEMPTS_MOST = 6
"""Attempts at one kind of order, about a minute with the pauses, before people must look."""
REWIND_ATTEMPTS = 2
"""A rewind that failed twice will fail again: the copy is next."""
START_ATTEMPTS = 3
"""A standby that does not start three times is damaged, or its settings are: it is copied once."""
ENDLESS: frozenset[type] = frozenset(
    {StopFast, StopImmediate, Detach, Promote, Follow, FollowOutside, Restart, KeepSlots}
)
"""Never given up: a server that should stop must stop, and the others lose nothing by another attempt."""
ASIDE: frozenset[type] = frozenset({KeepSlots})
"""What concerns other nodes: the database here is none the worse when it fails."""
TO_STREAM: frozenset[type] = frozenset({Follow, FollowOutside, StartStandby, Restart, Rewind, RewindOutside})
"""What a standby is told so that it streams: when it does, it came to that, by whichever of them."""


@dataclass(slots=True)
class _Count:
    lasting: int = 0
    all: int = 0
    again_at: float = -inf
    sentence: str = ""


@dataclass(slots=True)
class Failures:
    """Counts by kind of order, since the last success or since something else was wanted."""

    copied: bool = False
    """A copy was made since: another one would be no better."""
    rewound: bool = False
    """A rewind was made since: a directory that is diverged nevertheless needs a copy."""
    _counts: dict[type, _Count] = field(default_factory=dict)

    def failed(self, order: Order, sentence: str, now: float, *, passing: bool = False) -> None:
        """Note a failure. ``passing``: its cause is not on this host."""
        count = self._counts.setdefault(type(order), _Count())
        count.lasting += not passing
        count.all += 1
        first = PASSING_DELAY_FIRST if passing else DELAY_FIRST
        count.again_at = now + min(first * 2 ** min(count.all - 1, 10), DELAY_MOST)
        count.sentence = sentence

    def succeeded(self, order: Order) -> None:
        """Forget the failures of this kind of order; a copy also ends the story of the rewinds."""
        self._counts.pop(type(order), None)
        if isinstance(order, (Clone, CloneOutside)):
            for kind in (Rewind, RewindOutside):
                self._counts.pop(kind, None)
            self.copied, self.rewound = True, False
        if isinstance(order, (Rewind, RewindOutside)):
            self.rewound = True

    def streams(self) -> None:
        """The standby streams from whom it should: what had failed on the way there stands no more.

        A look that found WAL of another way is followed by a rewind and a start, and by no second order to follow.
        """
        for kind in TO_STREAM:
            self._counts.pop(kind, None)

    def forget(self) -> None:
        """Something else is wanted now, or an operator asks for another attempt."""
        self._counts.clear()
        self.copied = self.rewound = False

    def count(self, kind: type) -> int:
        """Failures of this kind that will not pass by themselves."""
        found = self._counts.get(kind)
        return found.lasting if found else 0

    def attempts(self, kind: type) -> int:
        """Failures of this kind, whatever their cause."""
        found = self._counts.get(kind)
        return found.all if found else 0

    def used_up(self, kind: type) -> bool:
        """Whether this kind of order is given up until people act."""
        return kind not in ENDLESS and self.count(kind) >= ATTEMPTS_MOST

    def again_at(self, kind: type) -> float:
        """When the next attempt may be; -inf when at once."""
        found = self._counts.get(kind)
        return found.again_at if found else -inf

    @property
    def sentence(self) -> str:
        """The last failure that still stands, "" when there is none."""
        standing = [count for kind, count in self._counts.items() if count.sentence and kind not in ASIDE]
        return max(standing, key=lambda count: count.again_at).sentence if standing else ""

    def sentence_of(self, kind: type) -> str:
        """The last failure of this kind of order, "" when it stands no more."""
        found = self._counts.get(kind)
        return found.sentence if found else ""

    @property
    def next_at(self) -> float:
        """Earliest time at which an order that waits may be tried again; inf when none waits."""
        return min((count.again_at for count in self._counts.values()), default=inf)
