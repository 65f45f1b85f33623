"""Last man standing for exactly two nodes: together both go on, apart the one with the better checks or the tie.

Must not know connections, messages or time. As with ``lms`` two partitions can have the vote for a short time.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Sequence

from qluster.qnet.lms import Answer
from qluster.qnet.names import Heuristics, Vote
from qluster.qnet.tlv import RingId, TieBreaker
from qluster.qnet.view import WEIGHT, View, preferred

NODES = 2


def configured_rightly(nodes: frozenset[int]) -> bool:
    """Whether this algorithm can serve a cluster of these nodes."""
    return len(nodes) == NODES


def decide(
    me: View,
    ring: RingId,
    members: frozenset[int],
    heuristics: Heuristics,
    views: Sequence[View],
    tie_breaker: TieBreaker,
) -> Answer:
    """The answer to a new membership of ``me``; ``me`` still is what the client said before."""
    assert me in views, f"node {me.node_id} is not connected"
    others = [view for view in views if view is not me]
    if me.last is None and any(other.last is Vote.ACK and other.ring != ring for other in others):
        return Answer(Vote.NACK, remembered=False)
    if len(members) == NODES or not others:
        return Answer(Vote.ACK)
    mine, theirs = WEIGHT[heuristics], max(WEIGHT[other.heuristics] for other in others)
    if mine != theirs:
        return Answer(Vote.ACK if mine > theirs else Vote.NACK)
    nominated = preferred(tie_breaker, frozenset(view.node_id for view in views))
    return Answer(Vote.ACK if me.node_id == nominated else Vote.NACK)


def asked(me: View) -> Vote:
    """The answer to a client that asks without news."""
    return Vote.ASK_LATER if me.last is None else me.last
