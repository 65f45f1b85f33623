"""What an algorithm sees of one client.

Must not know connections, messages or time.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import msgspec

from qluster.qnet.names import Heuristics, TieBreakerMode, Vote
from qluster.qnet.tlv import RingId, TieBreaker


class View(msgspec.Struct, frozen=True):
    """One connected client, as it is when a decision is made: what its last message says is in it already.

    Lists are sets of node ids: a node that is named twice is one node. ``configured`` and ``members`` are empty
    until their list has come. ``last`` is what an algorithm that remembers its answers last answered this client.
    """

    node_id: int
    ring: RingId
    configured: frozenset[int] = frozenset()
    members: frozenset[int] = frozenset()
    heuristics: Heuristics = Heuristics.UNDEFINED
    kap: bool = False
    last: Vote | None = None


WEIGHT = {Heuristics.FAIL: -1, Heuristics.UNDEFINED: 0, Heuristics.PASS: 1}
"""What a node's own checks add to the score of its partition; also their order, worst first."""


def preferred(tie_breaker: TieBreaker, nodes: frozenset[int]) -> int:
    """The node whose half wins a tie, lowest and highest looked for among ``nodes``."""
    assert nodes, "a tie among nobody"
    match tie_breaker.mode:
        case TieBreakerMode.LOWEST:
            return min(nodes)
        case TieBreakerMode.HIGHEST:
            return max(nodes)
        case TieBreakerMode.NODE_ID:
            return tie_breaker.node_id
