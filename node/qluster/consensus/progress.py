"""Decides nothing: what a leader knows of one other node's log and presence.

Must not know messages. ``match`` only grows, and ``next`` stays above it (S9), unless the node proves that it
has lost what it confirmed.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import inf

from qluster.consensus.settings import INFLIGHT_MESSAGES_MAX


@dataclass(frozen=True, slots=True)
class Batch:
    """A repair message under way."""

    prev_index: int
    last_index: int
    size: int


@dataclass(slots=True)
class Progress:
    """One node as its leader sees it."""

    node: int
    match: int = 0
    verified: bool = False
    """Whether it confirmed ``match`` in this term."""
    confirmed_round: int = 0
    """The newest round when ``match`` last grew: who was asked later and refuses has lost what it confirmed."""
    next: int = 1
    """Where a repair goes on."""
    repairing: bool = False
    """Whether it gets entries of its own by unicast, because it missed those sent to all."""
    window: int = 1
    """Repair messages that may be under way: one after a gap, which often is all; more while it goes on."""
    under_way: deque[Batch] = field(default_factory=deque)
    moved_at: float = -inf
    """When it last confirmed something new, or a repair was sent."""
    owes_since: float = -inf
    """Since when it owes an answer, while it does."""
    probed_at: float = -inf
    """When it was last asked alone."""
    offered_at: float = -inf
    """When a snapshot was last offered."""
    offered_index: int = 0
    """The first snapshot offered that it has not confirmed yet; 0 when there is none."""
    answered_at: float = -inf
    """When it last confirmed something."""
    steady_since: float = inf
    """Since when it keeps up without a gap in its answers."""
    steady_answers: int = 0
    silent: tuple[int, ...] = ()
    """Members it does not hear."""

    @property
    def bytes_under_way(self) -> int:
        """Size of the repair messages that are not confirmed."""
        return sum(batch.size for batch in self.under_way)

    def confirm(self, index: int, now: float) -> None:
        """Its log is known to be equal up to this index."""
        if index > self.match or not self.verified:
            self.moved_at = now
        self.match = max(self.match, index)
        if self.match >= self.offered_index:
            self.offered_index = 0
        self.verified = True
        self.next = max(self.next, self.match + 1)
        while self.under_way and self.under_way[0].last_index <= self.match:
            self.under_way.popleft()
            self.window = min(2 * self.window, INFLIGHT_MESSAGES_MAX)

    def forget(self) -> None:
        """Nothing is known of its log any more."""
        self.match, self.verified, self.confirmed_round = 0, False, 0
        self.steady_since, self.steady_answers = inf, 0
        self.end_repair()

    def restart(self, following: int) -> None:
        """Begin a repair at this index."""
        self.next = max(following, self.match + 1)
        self.repairing = True
        self.window = 1
        self.under_way.clear()

    def end_repair(self) -> None:
        """It has all that was sent to all."""
        self.repairing = False
        self.under_way.clear()
