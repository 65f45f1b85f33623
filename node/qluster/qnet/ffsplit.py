"""Fifty-fifty split: which one partition may have the vote, and in what order its clients are told.

Must not know connections, messages or time.

A majority needs no help. When a cluster of an even number of nodes falls into equal halves, one half gets the vote.
Four rules keep two halves from having it at once, and everything that builds on this algorithm rests on them:

1. nothing is decided while connected clients disagree about configuration, ring or members (:func:`stable`);
2. one partition is selected (:func:`select`), everybody outside of it is refused;
3. acknowledgements leave only when everybody who was refused has confirmed that (:class:`Poll`);
4. what a client said before it was gone counts for nothing: it has no view.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

import msgspec

from qluster.qnet.names import Heuristics, Vote
from qluster.qnet.tlv import RingId, TieBreaker
from qluster.qnet.view import WEIGHT, View, preferred


def together(views: Sequence[View]) -> frozenset[int] | None:
    """The members of the only partition, where all agree on everything and it is more than half: as nearly always.

    It is :func:`stable`, :func:`select` selects it, and by :func:`announce` everybody is acknowledged at once.
    """
    first = views[0]
    members, said = first.members, (first.ring, first.members, first.configured)
    if 2 * len(members) <= len(first.configured) or not first.configured:
        return None
    for view in views:
        if view.node_id not in members or (view.ring, view.members, view.configured) != said:
            return None
    return members


def stable(views: Sequence[View]) -> bool:
    """Whether all have the same configuration, and all of one partition the same ring and members.

    A client that has not yet said its configuration will, and that decides.
    """
    configured = views[0].configured
    if not configured or any(view.configured != configured for view in views):
        return False
    ring, members = views[0].ring, views[0].members
    if any([view.node_id in members and (view.ring != ring or view.members != members) for view in views]):
        return False  # the first one and somebody beside it, as nearly always while a membership changes
    connected = frozenset(view.node_id for view in views)
    agreed: defaultdict[tuple[RingId, frozenset[int]], set[int]] = defaultdict(set)
    for view in views:
        agreed[view.ring, view.members].add(view.node_id)
    return all(connected & members <= nodes for (_, members), nodes in agreed.items())


def select(
    views: Sequence[View], tie_breaker: TieBreaker, last_selected: frozenset[int] = frozenset()
) -> frozenset[int] | None:
    """The members of the partition that may have the vote. None: nobody may.

    ``last_selected`` was selected before, for who keeps the active partition. Views go by ascending node id, which
    decides where the preferred node is in neither half.
    """
    assert all(one.node_id < other.node_id for one, other in pairwise(views)), "views in order"
    keep_active = all(view.kap for view in views)
    heuristics = {view.node_id: view.heuristics for view in views}
    best: View | None = None
    for view in views:
        if _is_better(view, best, heuristics, tie_breaker, last_selected if keep_active else frozenset()):
            best = view
    return best.members if best else None


def _is_better(
    view: View, best: View | None, heuristics: Mapping[int, Heuristics], tie_breaker: TieBreaker, active: frozenset[int]
) -> bool:
    half, odd = divmod(len(view.configured), 2)
    if odd or len(view.members) != half:
        return len(view.members) > half
    mine, theirs = _strength(view, heuristics), _strength(best, heuristics)
    if mine != theirs:
        return mine > theirs
    if best and (view.node_id in active) != (best.node_id in active):
        return view.node_id in active
    return preferred(tie_breaker, view.configured) in view.members


def _strength(view: View | None, heuristics: Mapping[int, Heuristics]) -> tuple[int, int]:
    """The score of a partition, and how many of it are connected; nobody's is 0."""
    connected = [heuristics[node] for node in view.members if node in heuristics] if view else []
    return sum(1 + WEIGHT[result] for result in connected), len(connected)


class Poll(msgspec.Struct, frozen=True):
    """Telling a decision: who still has to confirm a refusal, and who waits for an acknowledgement until then."""

    refused: frozenset[int] = frozenset()
    waiting: frozenset[int] = frozenset()

    def confirm(self, node_id: int) -> tuple[Poll, tuple[int, ...]]:
        """This node knows the newest vote that was sent to it. Second: who is to be acknowledged now, in order."""
        if node_id not in self.refused:
            return self, ()
        refused = self.refused - {node_id}
        if refused:
            return Poll(refused, self.waiting), ()
        return NO_POLL, tuple(sorted(self.waiting))


NO_POLL = Poll()


def announce(nodes: Sequence[int], selected: frozenset[int] | None) -> tuple[Poll, tuple[tuple[int, Vote], ...]]:
    """How a decision is told to the connected nodes: what is sent at once, and what waits for confirmations."""
    if selected is not None and selected.issuperset(nodes):
        return NO_POLL, tuple([(node, Vote.ACK) for node in nodes])
    outside = tuple((node, Vote.NACK) for node in nodes if selected is None or node not in selected)
    refused = frozenset(node for node, _ in outside)
    inside = tuple(node for node in nodes if node not in refused)
    return Poll(refused, frozenset(inside)), outside
