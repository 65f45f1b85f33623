"""What there is to see of the votes, at one moment on one node.

Must not decide anything.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from qluster.votes.information import Flag, Ring, State


class Why(StrEnum):
    """By what a node is quorate, or not."""

    VOTES = "votes"
    TIE_BREAKER = "tie-breaker"
    MASTER_WINS = "master-wins"
    TOO_FEW = "too-few-votes"
    WAITING = "waiting-for-all"

    @property
    def quorate(self) -> bool:
        """Whether this is a reason to go on."""
        return self in (Why.VOTES, Why.TIE_BREAKER, Why.MASTER_WINS)


@dataclass(frozen=True, slots=True)
class QuorumChanged:
    """Quorum was gained or lost."""

    quorate: bool
    why: Why
    reason: str
    """A sentence with the figures."""
    ring: Ring
    at: float


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node, as the node that is asked knows it."""

    node: int
    votes: int
    expected: int
    state: State
    flags: Flag
    member: bool
    """Of the current membership."""

    @property
    def device(self) -> str:
        """The column Qdevice: NR, or whether it is alive, casts its vote, and lets a master win."""
        if not self.flags & Flag.DEVICE_REGISTERED:
            return "NR"
        parts = ((Flag.DEVICE_ALIVE, "A"), (Flag.DEVICE_CASTS, "V"), (Flag.MASTER_WINS, "MW"))
        return ",".join(word if self.flags & flag else f"N{word}" for flag, word in parts)


@dataclass(frozen=True, slots=True)
class View:
    """The votes as one node sees them."""

    node: int
    ring: Ring
    nodes: tuple[NodeView, ...]
    """All that were ever heard, by number."""
    quorate: bool
    """As it was said to everybody: while a change of the membership is being worked out, what was true before."""
    settled: bool
    """Whether everything is known of the current membership."""
    why: Why
    reason: str
    expected: int
    highest_expected: int
    total: int
    quorum: int
    flags: tuple[str, ...]
    """Words of the line Flags, in their order."""
    device_name: str
    device_votes: int
    device_casts: bool

    @property
    def members(self) -> tuple[NodeView, ...]:
        """The nodes of the current membership."""
        return tuple(node for node in self.nodes if node.member)
