"""Whether the arbiter's vote may count for this node, by D6, and if not, why.

Must not know what it would be counted for, nor change anything.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from qluster.qdevice.episode import Episode
from qluster.qdevice.voting import Said
from qluster.qnet.names import DecisionAlgorithm, Vote
from qluster.qnet.tlv import RingId

WAYS = {
    DecisionAlgorithm.TEST: "",
    DecisionAlgorithm.FFSPLIT: "episode",
    DecisionAlgorithm.TWO_NODE_LMS: "formula",
    DecisionAlgorithm.LMS: "formula",
}
"""By which of the ways of D6 a vote of each algorithm may count: only ffsplit refuses everybody else first."""

_UNDECIDED = {
    Vote.ASK_LATER: "it still lacks lists of nodes",
    Vote.WAIT_FOR_REPLY: "it waits for the other nodes to say the same of this membership",
}


def why_not(
    algorithm: DecisionAlgorithm, connection: str, ring: RingId | None, said: Said | None, episode: Episode
) -> str:
    """Why the vote does not count, "" when it may. ``connection``: why there is none, "" when it stands."""
    way = WAYS[algorithm]
    if not way:
        return "the algorithm test says yes to everybody: its vote never counts"
    if ring is None:
        return "this node has not found together with the others yet: there is no membership to vote for"
    if connection:
        return f"there is no connection to the arbiter: {connection}"
    if said is None or said.ring != ring:
        return f"the arbiter has not said anything of the membership {ring} yet"
    if said.vote in _UNDECIDED:
        return f"the arbiter has not decided about the membership {ring}: {_UNDECIDED[said.vote]}"
    if said.vote is not Vote.ACK:
        return f"the arbiter refuses the membership {ring}: other nodes may have its vote"
    return episode.reason if way == "episode" else ""
