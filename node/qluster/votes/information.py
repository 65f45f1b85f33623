"""What nodes tell each other about votes.

Must not know what follows from it. The numbers of the flags are corosync's own.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from enum import IntEnum, IntFlag, StrEnum
from typing import NamedTuple

import msgspec

from qluster.votes.options import EXPECTED_MAX, NODE_MAX, VOTES_MAX

DEVICE_NAME_MAX = 254
"""Bytes of a device's name, as corosync limits it."""
SEQ_MAX = 2**64 - 1
FLAGS_MAX = 0xFFFF_FFFF


class Ring(NamedTuple):
    """One membership: the node that represents it, and a number that grows on each of its members."""

    node: int
    seq: int

    def __str__(self) -> str:
        return f"{self.node:x}.{self.seq:x}"


NO_RING = Ring(0, 0)


class State(IntEnum):
    """What is known of a node."""

    MEMBER = 1
    DEAD = 2
    LEAVING = 3


class Flag(IntFlag):
    """What a node says of itself."""

    QUORATE = 1
    LEAVING = 2
    WAITS_FOR_ALL = 4
    FIRST = 8
    """It has been alone since its start."""
    DEVICE_REGISTERED = 16
    DEVICE_ALIVE = 32
    DEVICE_CASTS = 64
    MASTER_WINS = 128


DEVICE_FLAGS = Flag.DEVICE_REGISTERED | Flag.DEVICE_ALIVE | Flag.DEVICE_CASTS | Flag.MASTER_WINS


class NodeInformation(msgspec.Struct, frozen=True, array_like=True):
    """One node about itself, in one membership."""

    ring: Ring
    node: int
    votes: int
    expected: int
    flags: int
    device_votes: int = 0
    device_name: str = ""
    ready: bool = True
    """It does not wait for its device to say something about this membership."""
    asking: bool = False
    """It has not heard of every member yet, or not that each is ready."""

    def fault(self) -> str:
        """What no node can say, "" when there is nothing."""
        fault = _fault_of_ring(self.ring)
        if fault:
            return fault
        limits = (("node", self.node, 1, NODE_MAX), ("votes", self.votes, 0, VOTES_MAX),
                  ("expected votes", self.expected, 0, EXPECTED_MAX), ("flags", self.flags, 0, FLAGS_MAX),
                  ("device votes", self.device_votes, 0, EXPECTED_MAX))
        for what, value, low, high in limits:
            if not low <= value <= high:
                return f"{what} {value}, not {low} to {high}"
        if len(self.device_name.encode(errors="surrogatepass")) > DEVICE_NAME_MAX:
            return f"a device's name longer than {DEVICE_NAME_MAX} bytes"
        return ""


class Kind(StrEnum):
    """What an operator changes on all members."""

    EXPECTED = "expected-votes"
    VOTES = "node-votes"
    CANCEL_WAITING = "cancel-wait-for-all"


class Change(msgspec.Struct, frozen=True, array_like=True):
    """An operator's change, from the node where it was asked for to all members."""

    ring: Ring
    kind: Kind
    node: int = 0
    """Whose votes change."""
    value: int = 0

    def fault(self) -> str:
        """What nobody can ask for, "" when there is nothing."""
        low, high = {Kind.VOTES: (0, VOTES_MAX), Kind.EXPECTED: (1, EXPECTED_MAX)}.get(self.kind, (0, 0))
        if not 0 <= self.node <= NODE_MAX or not low <= self.value <= high:
            return f"{self.kind} {self.value} for node {self.node}, not {low} to {high}"
        return _fault_of_ring(self.ring)


Message = NodeInformation | Change


def _fault_of_ring(ring: Ring) -> str:
    if 0 <= ring.node <= NODE_MAX and 0 <= ring.seq <= SEQ_MAX:
        return ""
    return f"ring {ring.node}.{ring.seq}, not a node's number and one of 64 bits"
