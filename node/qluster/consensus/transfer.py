"""Decides how leadership is handed to a chosen node: its log first, then the word to take over.

Must not know why it is handed over.

With the word (``TimeoutNow``) the lease ends, for the whole term: the word may arrive late, and who
gets it is elected whatever the others promised. When nothing comes of it the leader steps down and
stands again in a newer term, where an old word counts nothing.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import inf

RESENDS = 5
"""The word is a datagram: it is sent so often before the transfer counts as failed."""


class Step(StrEnum):
    """What a transfer needs next."""

    WAIT = "wait"
    TELL = "tell"
    ABORT = "abort"
    STEP_DOWN = "step-down"


@dataclass(slots=True)
class Transfer:
    """One hand-over."""

    target: int
    limit: float
    """Seconds for each of its two stages."""
    deadline: float
    told_at: float = -inf

    @property
    def told(self) -> bool:
        """Whether the target was told to take over."""
        return self.told_at > -inf

    @property
    def wake_at(self) -> float:
        """When :meth:`next_step` is needed at the latest."""
        return min(self.deadline, self.told_at + self.limit / RESENDS) if self.told else self.deadline

    def next_step(self, caught_up: bool, now: float) -> Step:
        """What is to be done now."""
        if now >= self.deadline:
            return Step.STEP_DOWN if self.told else Step.ABORT
        if not self.told:
            return Step.TELL if caught_up else Step.WAIT
        return Step.TELL if now >= self.told_at + self.limit / RESENDS else Step.WAIT

    def tell(self, now: float) -> None:
        """The target is being told."""
        if not self.told:
            self.deadline = now + self.limit
        self.told_at = now
