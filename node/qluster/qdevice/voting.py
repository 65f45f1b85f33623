"""The arbiter's last word on this membership, and what votequorum is told of it, and how often.

Must not know messages or connections. A vote is always one for a ring: for any other it says nothing.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from math import inf

import msgspec

from qluster.qdevice.orders import Poll
from qluster.qnet.names import DecisionAlgorithm, Vote
from qluster.qnet.tlv import RingId


class Said(msgspec.Struct, frozen=True, gc=False):
    """What the arbiter said, for which membership, when."""

    vote: Vote
    ring: RingId
    at: float


class Voting:
    """For one membership after the other."""

    def __init__(self, algorithm: DecisionAlgorithm, interval: float) -> None:
        self.ring: RingId | None = None
        self.said: Said | None = None
        """The last word for the present membership over the present connection. Never NO_CHANGE."""
        self.last: Said | None = None
        """The last yes or no there ever was, for people."""
        self.cast: bool | None = None
        """What votequorum is told; None: nothing."""
        self.wake_at = inf
        self._algorithm = algorithm
        self._interval = interval

    def membership(self, ring: RingId, connected: bool, now: float) -> list[Poll]:
        """A new one: whatever was said was of another. Who has no arbiter withholds the vote."""
        self.ring, self.said = ring, None
        if connected or self.cast is None:
            return self._stop()
        return self._poll(False, now)

    def waiting(self) -> list[Poll]:
        """A connection begins: nothing is known yet."""
        self.said = None
        return self._stop()

    def heard(self, vote: Vote, now: float) -> list[Poll]:
        """The arbiter spoke, of the present membership."""
        assert self.ring is not None, "a vote for no membership"
        if vote is Vote.NO_CHANGE:
            return []
        before, self.said = self.said, Said(vote, self.ring, now)
        if vote not in (Vote.ACK, Vote.NACK):
            return self._stop()
        if before is not None and before.vote is vote:
            # Said anew in each decision: what began with the first time goes on.
            self.said = before
        self.last = self.said
        return self._poll(vote is Vote.ACK, now)

    def lost(self, quorate: bool, wait_for_all: bool, now: float) -> list[Poll]:
        """The connection is over."""
        self.said = None
        if self.cast is None:
            return []
        kept = self._algorithm is DecisionAlgorithm.TWO_NODE_LMS or (
            self._algorithm is DecisionAlgorithm.LMS and wait_for_all and quorate
        )
        return [] if kept else self._poll(False, now)

    def tick(self, now: float) -> list[Poll]:
        """So late it is."""
        if self.cast is None or now < self.wake_at:
            return []
        return self._poll(self.cast, now)

    def _poll(self, cast: bool, now: float) -> list[Poll]:
        assert self.ring is not None, "votequorum is polled for a membership"
        self.cast, self.wake_at = cast, now + self._interval
        return [Poll(self.ring, cast)]

    def _stop(self) -> list[Poll]:
        self.cast, self.wake_at = None, inf
        return []
