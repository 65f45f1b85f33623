"""Last man standing: whoever still reaches the arbiter goes on; of several partitions the best one.

Must not know connections, messages or time.

Each client is answered by itself when it asks, and no refusal is confirmed before another partition is acknowledged:
for a short time two partitions can have the vote. What builds on this algorithm must know that (decision D6, way 3).
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from qluster.qnet.names import Vote
from qluster.qnet.tlv import RingId, TieBreaker
from qluster.qnet.view import WEIGHT, View, preferred


class Answer(msgspec.Struct, frozen=True):
    """What a client is answered, whether that is remembered as its last answer, and whether to look again soon."""

    vote: Vote
    remembered: bool = True
    again: bool = False


class Partition(msgspec.Struct, frozen=True):
    """The clients on one ring."""

    ring: RingId
    clients: tuple[View, ...]

    @property
    def score(self) -> int:
        """One for each client, one more for each that passed its checks, one less for each that failed."""
        return sum(1 + WEIGHT[view.heuristics] for view in self.clients)


def decide(me: View, ring: RingId, views: Sequence[View], tie_breaker: TieBreaker) -> Answer:
    """The answer to ``me``, who is one of ``views`` and says that it is on ``ring``.

    When a new membership comes, ``me`` still is what the client said before, and only ``ring`` is new.
    """
    assert me in views, f"node {me.node_id} is not connected"
    if any(_disagrees(me, ring, other) for other in views if other is not me):
        return Answer(Vote.WAIT_FOR_REPLY, again=True)
    partitions = _partitions(views)
    if not partitions:
        return Answer(Vote.WAIT_FOR_REPLY, again=True)
    if len(partitions) == 1:
        return Answer(Vote.ACK)
    if me.last is None and any(view.last is Vote.ACK and view.ring != ring for view in views):
        # A newcomer takes the vote from nobody who has it. It stays a newcomer until then.
        return Answer(Vote.NACK, remembered=False)
    winner = _winner(partitions, me, ring, views, tie_breaker)
    return Answer(Vote.ACK if winner == ring else Vote.NACK)


def _disagrees(me: View, ring: RingId, other: View) -> bool:
    """One of both sees the other, and yet they are on different rings: somebody's next message is on its way."""
    return other.ring != ring and (other.node_id in me.members or me.node_id in other.members)


def _partitions(views: Iterable[View]) -> list[Partition]:
    rings: dict[RingId, list[View]] = {}
    for view in views:
        if view.ring.seq:
            rings.setdefault(view.ring, []).append(view)
    return [Partition(ring, tuple(clients)) for ring, clients in rings.items()]


def _winner(
    partitions: list[Partition], me: View, ring: RingId, views: Sequence[View], tie_breaker: TieBreaker
) -> RingId | None:
    for value in (lambda one: one.score, lambda one: len(one.clients)):
        highest = max(value(one) for one in partitions)
        leaders = [one for one in partitions if value(one) == highest]
        if len(leaders) == 1:
            return leaders[0].ring
    beside = [view for view in views if view is me or view.ring == ring]
    if any(view.last is Vote.ACK for view in beside) and all(view.last is None for view in views if view not in beside):
        # Newcomers are refused as long as somebody else has the vote; so that somebody must keep it against their
        # tie-breaker, or nobody has it. The released server takes it away here.
        return ring
    nominated = preferred(tie_breaker, frozenset(view.node_id for view in views))
    if nominated == me.node_id:
        return ring
    return next((view.ring for view in views if view.node_id == nominated), None)
