"""One client of the arbiter, and the clients of one cluster together.

Must not know how messages are written, nor how a vote is decided.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from bisect import insort
from collections import deque
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter

from qluster.qnet.ffsplit import NO_POLL, Poll
from qluster.qnet.framing import Framer
from qluster.qnet.memories import Key
from qluster.qnet.messages import NodeList
from qluster.qnet.names import DecisionAlgorithm, Heuristics, NodeListType, TieBreakerMode, Vote
from qluster.qnet.tlv import NodeInfo, RingId, TieBreaker
from qluster.qnet.view import View

Nodes = tuple[NodeInfo, ...]

LISTS_KEPT = 256
"""Lists whose nodes are known: each list is looked at several times, and most come again with the next membership."""

YES_OR_NO = (Vote.ACK, Vote.NACK)
# To take a name out of an enumeration is a call, in Python 3.11: those that each vote needs are taken once.
_MEMBERSHIP, _QUORUM, _UNDEFINED = NodeListType.MEMBERSHIP, NodeListType.QUORUM, Heuristics.UNDEFINED
_LOWEST = TieBreaker(TieBreakerMode.LOWEST)
_NO_RING = RingId(0, 0)


@dataclass(slots=True, eq=False)
class Tls:
    """How far a connection is secured. ``name``: whom the peer's certificate speaks for."""

    waiting: bool = False
    started: bool = False
    name: str | None = None
    verified: bool = False


@dataclass(slots=True, eq=False)
class Client:
    """One connection and what came over it."""

    connection: int
    address: str
    framer: Framer
    tls: Tls = field(default_factory=Tls)
    cluster_name: bytes | None = None
    cluster: Cluster | None = None

    node_id: int = 0
    algorithm: DecisionAlgorithm = DecisionAlgorithm.TEST
    tie_breaker: TieBreaker = _LOWEST
    heartbeat: int = 0
    kap: bool = False

    config: Nodes = ()
    config_version: int | None = None
    membership: Nodes = ()
    quorum: Nodes = ()
    configured: frozenset[int] = frozenset()
    members: frozenset[int] = frozenset()
    """The nodes of the first two of these lists."""
    ring: RingId = _NO_RING
    heuristics: Heuristics = Heuristics.UNDEFINED
    heuristics_membership: Heuristics = Heuristics.UNDEFINED
    heuristics_regular: Heuristics = Heuristics.UNDEFINED

    vote: Vote | None = None
    """The last vote that was sent, and below the last that said yes or no."""
    vote_yes_no: Vote | None = None
    answered: Vote | None = None
    """What an algorithm that remembers its answers last answered."""
    memory: Key | None = None
    """Of which memory it speaks."""
    told: int = 0
    """The number of the last VOTE_INFO."""

    blocked: bool = False
    outbox: deque[bytes] = field(default_factory=deque)
    refusals: int = 0

    def sent(self, vote: Vote) -> None:
        """This vote was sent."""
        self.vote = vote
        if vote in YES_OR_NO:
            self.vote_yes_no = vote

    def store(self, message: NodeList) -> None:
        """This list is the newest of its kind."""
        kind, nodes = message.node_list_type, message.nodes
        if kind is _MEMBERSHIP:
            assert message.ring_id is not None, "a membership has a ring"
            self.membership, self.members, self.ring = nodes, ids(nodes), message.ring_id
            self.heuristics = self.heuristics_membership = message.heuristics or _UNDEFINED
        elif kind is _QUORUM:
            self.quorum = nodes
        else:
            self.config, self.configured = nodes, ids(nodes)
            self.config_version = message.config_version

    def view(self) -> View:
        """What algorithms see of it."""
        return View(
            self.node_id, self.ring, self.configured, self.members, self.heuristics, self.kap, self.answered
        )  # fmt: skip

    def view_with(self, members: frozenset[int], ring: RingId, heuristics: Heuristics) -> View:
        """The same with a new membership."""
        return View(self.node_id, ring, self.configured, members, heuristics, self.kap, self.answered)


@dataclass(slots=True, eq=False)
class Cluster:
    """The clients that announced one name. It is forgotten with its last client, and what it remembers with it."""

    name: bytes
    clients: list[Client] = field(default_factory=list)
    """By node id: that order decides ties."""
    selected: frozenset[int] = frozenset()
    """The partition that ffsplit selected last."""
    poll: Poll = NO_POLL

    def add(self, client: Client) -> None:
        """A client joins."""
        insort(self.clients, client, key=attrgetter("node_id"))
        client.cluster = self

    def remove(self, client: Client) -> None:
        """A client is gone."""
        self.clients.remove(client)
        client.cluster = None

    def find(self, node_id: int) -> Client | None:
        """The client of this node."""
        return next((client for client in self.clients if client.node_id == node_id), None)

    @property
    def label(self) -> str:
        """The name as it may be printed and logged."""
        return printable(self.name)


@lru_cache(maxsize=LISTS_KEPT)
def ids(nodes: Nodes) -> frozenset[int]:
    """The nodes of a list."""
    return frozenset([node.node_id for node in nodes])


def printable(name: bytes, size_max: int | None = None) -> str:
    """A name that a client made up, harmless on a terminal and in a log. As in C it ends with the first zero."""
    name = name.split(b"\0", 1)[0]
    text = name.decode("utf-8", "backslashreplace")
    text = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
    return text if size_max is None or len(text) <= size_max else text[:size_max] + "…"
