"""What each message means to each algorithm: the answer, and whom else to tell.

Must not know connections, bytes or time. The decisions themselves are in ``ffsplit``, ``lms`` and ``two_node_lms``.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from qluster.qnet import ffsplit, lms, two_node_lms
from qluster.qnet.client import Client, Cluster, Nodes, ids
from qluster.qnet.names import DecisionAlgorithm, ErrorCode, Heuristics, Vote
from qluster.qnet.tlv import RingId
from qluster.qnet.view import View

# To take a name out of an enumeration is a call, in Python 3.11: those that each vote needs are taken once.
_ACK, _NO_CHANGE, _WAIT = Vote.ACK, Vote.NO_CHANGE, Vote.WAIT_FOR_REPLY


class Tell(msgspec.Struct, frozen=True):
    """A VOTE_INFO to be sent."""

    client: Client
    vote: Vote
    ring: RingId


class Outcome(msgspec.Struct, frozen=True):
    """What follows from a message. With an ``error`` it is refused and nothing of it is kept.

    ``again``: whether to look again soon; None leaves what was planned.
    """

    vote: Vote = Vote.NO_CHANGE
    error: ErrorCode | None = None
    tell: Sequence[Tell] = ()
    again: bool | None = None


class Rules:
    """The answers of an algorithm that never decides; each of those below says what it does otherwise."""

    def config(self, client: Client, nodes: Nodes, initial: bool) -> Outcome:
        """A list of all nodes that should be."""
        return Outcome()

    def membership(self, client: Client, nodes: Nodes, ring: RingId, heuristics: Heuristics) -> Outcome:
        """A new membership."""
        return Outcome()

    def quorum(self, client: Client) -> Outcome:
        """What the client's votequorum says."""
        return Outcome()

    def asked(self, client: Client) -> Outcome:
        """What may I vote?"""
        return Outcome()

    def heuristics(self, client: Client, result: Heuristics) -> Outcome:
        """The client's own checks have another result."""
        return Outcome()

    def confirmed(self, client: Client) -> Sequence[Tell]:
        """The client knows the newest vote that was sent to it."""
        return ()

    def left(self, cluster: Cluster) -> Sequence[Tell]:
        """A client of this cluster is gone; others are left."""
        return ()

    def looked_again(self, client: Client) -> Outcome:
        """The time has come to look again. An answer of yes or no is told."""
        return Outcome(again=False)


class AlwaysYes(Rules):
    """Says yes to everybody. It never counts as a vote for anything that matters."""

    def membership(self, client: Client, nodes: Nodes, ring: RingId, heuristics: Heuristics) -> Outcome:
        return Outcome(Vote.ACK)

    def asked(self, client: Client) -> Outcome:
        return Outcome(Vote.ACK)


class Ffsplit(Rules):
    """Decides for the whole cluster at once and tells everybody."""

    def config(self, client: Client, nodes: Nodes, initial: bool) -> Outcome:
        if client.node_id not in ids(nodes):
            return Outcome(error=ErrorCode.INVALID_CONFIG_NODE_LIST)
        if initial or not client.membership:
            return Outcome(Vote.ASK_LATER)
        return self._run(client, replace(client.view(), configured=ids(nodes)))

    def membership(self, client: Client, nodes: Nodes, ring: RingId, heuristics: Heuristics) -> Outcome:
        members = ids(nodes)
        if client.node_id not in members:
            return Outcome(error=ErrorCode.INVALID_MEMBERSHIP_NODE_LIST)
        if not client.config:
            return Outcome(Vote.ASK_LATER)
        return self._run(client, client.view_with(members, ring, heuristics))

    def asked(self, client: Client) -> Outcome:
        return Outcome(error=ErrorCode.UNSUPPORTED_DECISION_ALGORITHM_MESSAGE)

    def heuristics(self, client: Client, result: Heuristics) -> Outcome:
        if not client.config or not client.membership:
            return Outcome(Vote.ASK_LATER)
        return self._run(client, replace(client.view(), heuristics=result))

    def confirmed(self, client: Client) -> Sequence[Tell]:
        cluster = _cluster(client)
        if cluster.poll is ffsplit.NO_POLL:
            return ()
        cluster.poll, nodes = cluster.poll.confirm(client.node_id)
        clients = (cluster.find(node) for node in nodes)
        return [Tell(other, Vote.ACK, other.ring) for other in clients if other is not None]

    def left(self, cluster: Cluster) -> Sequence[Tell]:
        return self._decide(cluster, [client.view() for client in cluster.clients]) or ()

    def _run(self, client: Client, changed: View) -> Outcome:
        cluster = _cluster(client)
        tell = self._decide(cluster, [changed if other is client else other.view() for other in cluster.clients])
        return Outcome(_WAIT) if tell is None else Outcome(_NO_CHANGE, tell=tell)

    def _decide(self, cluster: Cluster, views: Sequence[View]) -> list[Tell] | None:
        """Whom to tell what. None: they do not agree yet. Either way nothing of a former decision is told any more."""
        cluster.poll = ffsplit.NO_POLL
        members = ffsplit.together(views)
        if members is not None:
            cluster.selected = members
            return [Tell(client, _ACK, view.ring) for client, view in zip(cluster.clients, views, strict=True)]
        if not ffsplit.stable(views):
            return None
        selected = ffsplit.select(views, cluster.clients[0].tie_breaker, cluster.selected)
        cluster.selected = selected or frozenset()
        cluster.poll, votes = ffsplit.announce([view.node_id for view in views], selected)
        told = {view.node_id: (client, view.ring) for client, view in zip(cluster.clients, views, strict=True)}
        return [Tell(told[node][0], vote, told[node][1]) for node, vote in votes]


class Lms(Rules):
    """Answers each client by itself, and looks again as long as there is no answer."""

    def membership(self, client: Client, nodes: Nodes, ring: RingId, heuristics: Heuristics) -> Outcome:
        return self._run(client, ring)

    def quorum(self, client: Client) -> Outcome:
        return self._run(client, client.ring)

    def asked(self, client: Client) -> Outcome:
        return self._run(client, client.ring)

    def looked_again(self, client: Client) -> Outcome:
        outcome = self._run(client, client.ring)
        told = outcome.vote in (Vote.ACK, Vote.NACK)
        return replace(outcome, tell=[Tell(client, outcome.vote, client.ring)] if told else ())

    def _run(self, client: Client, ring: RingId) -> Outcome:
        me, views = _around(client)
        answer = lms.decide(me, ring, views, client.tie_breaker)
        return _answered(client, answer)


class TwoNodeLms(Rules):
    """Answers each client by itself, for clusters of two nodes."""

    def config(self, client: Client, nodes: Nodes, initial: bool) -> Outcome:
        if not two_node_lms.configured_rightly(ids(nodes)):
            return Outcome(error=ErrorCode.UNSUPPORTED_DECISION_ALGORITHM)
        return Outcome()

    def membership(self, client: Client, nodes: Nodes, ring: RingId, heuristics: Heuristics) -> Outcome:
        me, views = _around(client)
        answer = two_node_lms.decide(me, ring, ids(nodes), heuristics, views, client.tie_breaker)
        return _answered(client, answer)

    def asked(self, client: Client) -> Outcome:
        return Outcome(two_node_lms.asked(client.view()))


RULES: dict[DecisionAlgorithm, Rules] = {
    DecisionAlgorithm.TEST: AlwaysYes(),
    DecisionAlgorithm.FFSPLIT: Ffsplit(),
    DecisionAlgorithm.TWO_NODE_LMS: TwoNodeLms(),
    DecisionAlgorithm.LMS: Lms(),
}


def _cluster(client: Client) -> Cluster:
    assert client.cluster is not None, f"{client.address} has no cluster"
    return client.cluster


def _around(client: Client) -> tuple[View, list[View]]:
    me = client.view()
    return me, [me if other is client else other.view() for other in _cluster(client).clients]


def _answered(client: Client, answer: lms.Answer) -> Outcome:
    if answer.remembered:
        client.answered = answer.vote
    return Outcome(answer.vote, again=answer.again)
