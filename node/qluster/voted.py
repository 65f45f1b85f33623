"""What there is to see of the votes that a node counts by votequorum's rules, as plain values.

Must not know how they are counted. It belongs to ``status.py`` and is apart from it for its length only.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from msgspec import Struct


class RingStatus(Struct, frozen=True, kw_only=True):
    """A membership: its lowest node, a number that grows, and both as they are written."""

    node: int
    seq: int
    text: str


class DeviceFlagsStatus(Struct, frozen=True, kw_only=True):
    """What a node says of its quorum device."""

    text: str
    """As in the column Qdevice: NR, or three parts such as A,V,NMW."""
    registered: bool
    alive: bool
    cast: bool
    master_wins: bool


class VoterStatus(Struct, frozen=True, kw_only=True):
    """One node, as the node that is asked knows it."""

    node: int
    name: str
    local: bool
    member: bool
    """Of the ring."""
    state: str
    """member, dead or leaving."""
    votes: int
    expected_votes: int
    device: DeviceFlagsStatus


class DeviceVoteStatus(Struct, frozen=True, kw_only=True):
    """The quorum device."""

    name: str
    votes: int
    cast: bool


class QuorumChangeStatus(Struct, frozen=True, kw_only=True):
    """Quorum was gained or lost."""

    quorate: bool
    why: str
    reason: str
    ring: str
    at: float
    """Seconds since 1970, by the clock of the node that is asked."""


class VotesStatus(Struct, frozen=True, kw_only=True):
    """The votes by votequorum's rules. They forbid, and elect nobody."""

    counted: bool
    """Whether votes are counted here now."""
    reason: str
    """Why they are not; else what stands for or against quorum, with the figures."""
    veto: str = ""
    """Why this node must not stand in an election; empty when it may."""
    node: int | None = None
    ring: RingStatus | None = None
    quorate: bool = False
    settled: bool = False
    """Whether everything is known of this ring; until then ``quorate`` is what was true before."""
    why: str = ""
    """votes, tie-breaker, master-wins, too-few-votes or waiting-for-all."""
    expected_votes: int = 0
    highest_expected: int = 0
    total_votes: int = 0
    quorum: int = 0
    flags: list[str] = []
    nodes: list[VoterStatus] = []
    device: DeviceVoteStatus | None = None
    changes: list[QuorumChangeStatus] = []
    """The last times that quorum was gained or lost here since the start, oldest first."""
