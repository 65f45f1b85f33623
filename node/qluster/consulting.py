"""Decides when this node asks its arbiter, and passes on to it what the node knows: who it is, who votes, its ring.

Must not know sockets or the log. Whoever forms rings calls :meth:`membership` and :meth:`quorum`, and takes what
votequorum is to hear with :meth:`polls`; who knows that this node is in sync calls :meth:`in_sync`.

An arbiter that remembers (way 1 of D6) is asked for its vote by the consensus, whose questions pass through here. What
another says of a membership is told as it stands, with whether it may count (:meth:`standing`; ways 2 and 3).
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from math import inf
from random import Random

from qluster.config import Device
from qluster.consensus.members import MEMORY
from qluster.consensus.standing import Standing
from qluster.consulted import DeviceStatus
from qluster.events import DeviceQuestion, DeviceWord
from qluster.qdevice.client import Client
from qluster.qdevice.counting import WAYS
from qluster.qdevice.orders import Happening, Order, Poll
from qluster.qdevice.settings import Settings, settings_of
from qluster.qnet.names import NodeState
from qluster.qnet.tlv import RingId
from qluster.votes.information import Ring, State

UNLISTED = "the list of members does not count it yet: a leader that has a connection to it puts it there"
NO_VOTER = "this node has no vote in its cluster"

POLLS_MAX = 16
"""Words for votequorum that nobody took: each is said again after half of `timeout`, and only the last counts."""


def standing_of(ring: Ring, members: Collection[int], client: Client | None) -> Standing:
    """What consensus is to know of the ring that this node is in, and of what its arbiter says of that ring."""
    if client is None:
        return Standing((ring.node, ring.seq), frozenset(members))
    held = client.held
    since = held.since if held is not None and held.ring == RingId(*ring) else inf
    way, unbroken = WAYS[client.settings.algorithm], client.episode.unbroken
    found = Standing((ring.node, ring.seq), frozenset(members), since, way, unbroken, client.reason)
    return replace(found, arbiter=client.settings.arbiter)


class Consulting:
    """One node's device; without a section ``device`` it does nothing."""

    def __init__(self, device: Device | None, cluster_name: str, random: Random) -> None:
        self._device = device
        self.asks = device is not None
        """Whether this node is told of an arbiter."""
        self._cluster_name = cluster_name
        self._random = random
        self._client: Client | None = None
        self._numbers = 0
        """Numbers that connections and checks of a former client had."""
        self._ring: tuple[Ring, tuple[int, ...]] | None = None
        self._quorum: tuple[bool, tuple[tuple[int, NodeState], ...]] | None = None
        self._words: list[DeviceWord] = []
        """Of a former client."""
        self._polls: deque[Poll] = deque(maxlen=POLLS_MAX)
        self._orders: list[Order] = []

    # --- what the node knows -----------------------------------------------------

    def step(
        self, me: int, voters: Collection[int], founding: int, now: float, lineage: tuple[int, ...] = ()
    ) -> None:
        """Who this node is, who votes with it, and in which cluster, which went on by force from ``lineage``; and so
        late it is."""
        if self._device is None:
            return
        if me in voters and self._client is None:
            self._begin(settings_of(self._device, self._cluster_name, me, founding, lineage), now)
        elif me not in voters and self._client is not None:
            self._end(now)
        if self._client is not None:
            self._client.configured(sorted(voters), None, now)
            if now >= self._client.wake_at:
                self._client.tick(now)
        self._gather()

    def membership(self, ring: Ring, members: Collection[int], now: float) -> None:
        """This node is in this ring from now on; its number is higher than that of each before it."""
        self._ring, self._quorum = (ring, tuple(sorted(members))), None
        if self._client is not None:
            self._client.membership(RingId(*ring), self._ring[1], now)
        self._gather()

    def quorum(self, quorate: bool, nodes: Mapping[int, State], now: float) -> None:
        """What votequorum says of this ring."""
        self._quorum = quorate, tuple((node, NodeState(state)) for node, state in sorted(nodes.items()))
        if self._client is not None:
            self._client.quorum(*self._quorum, now)
        self._gather()

    def in_sync(self, ring: Ring, asked_at: float, now: float) -> None:
        """This node has all that the other side has, as ``qdevice/episode.py`` means it."""
        if self._client is not None:
            self._client.in_sync(RingId(*ring), asked_at, now)

    def standing(self, ring: Ring, members: Collection[int]) -> Standing:
        """What consensus is to know now, of the ring that this node is in."""
        return standing_of(ring, members, self._client)

    @property
    def forgetful(self) -> bool:
        """Whether the arbiter that this node is connected to keeps no memories."""
        client = self._client
        return client is not None and client.known and client.forgetful

    def ask(self, questions: Iterable[DeviceQuestion], now: float) -> None:
        """For the arbiter's memory: lost where none is open."""
        if self._client is not None:
            for question in questions:
                self._client.ask(question, now)
            self._gather()

    def handle(self, what: Happening, now: float) -> None:
        """Something happened to the connection, or a check ended."""
        if self._client is not None:
            self._client.handle(what, now)
        self._gather()

    # --- what is to be done --------------------------------------------------------

    def take(self) -> list[Order]:
        """Orders for the hands since the last call."""
        orders, self._orders = self._orders, []
        return orders

    def polls(self) -> list[Poll]:
        """What votequorum is to hear since the last call."""
        polls = list(self._polls)
        self._polls.clear()
        return polls

    def words(self) -> list[DeviceWord]:
        """What the memory said since the last call."""
        words, self._words = self._words, []
        return words + (self._client.memory.take() if self._client is not None else [])

    @property
    def active(self) -> bool:
        """Whether an arbiter is asked at this moment."""
        return self._client is not None

    @property
    def wake_at(self) -> float:
        """When :meth:`step` has something to do."""
        if self._words or (self._client is not None and self._client.memory.waiting):
            return -inf
        return self._client.wake_at if self._client is not None else inf

    # --- what there is to see ------------------------------------------------------

    def status(self, now: float, way: str, fault: str) -> DeviceStatus | None:
        """None where no device is configured. ``way``: how the list of members counts one, "" where it counts none;
        ``fault``: why it does not count for this node."""
        if self._device is None:
            return None
        device, client = self._device, self._client
        said, last = (client.voting.said, client.voting.last) if client is not None else (None, None)
        conversation = client.conversation if client is not None else None
        return DeviceStatus(
            model=device.model, host=device.host, port=device.port, algorithm=device.algorithm,
            way=way or self._way(),
            state=client.state if client is not None else NO_VOTER,
            connected=client is not None and client.known,
            tls=conversation is not None and conversation.tls,
            error=client.fault.reason if client is not None and client.fault is not None else "",
            ring=str(self._ring[0]) if self._ring is not None else None,
            answer=said.vote.name.lower() if said is not None else None,
            vote=last.vote.name.lower() if last is not None else None,
            vote_ring=str(last.ring) if last is not None else None,
            vote_ago=now - last.at if last is not None else None,
            heuristics=client.checks.result.name.lower() if client is not None else "undefined",
            heuristics_error=client.checks.fault if client is not None else "",
            episode=client.episode.reason if client is not None else "",
            counts=bool(way) and not fault, reason=self._reason(way, fault),
        )  # fmt: skip

    def _way(self) -> str:
        client = self._client
        if client is not None and client.memory.uid:
            return MEMORY
        return WAYS[client.settings.algorithm] if client is not None else ""

    def _reason(self, way: str, fault: str) -> str:
        client = self._client
        if client is None:
            return NO_VOTER
        if way:
            return (fault and client.memory.fault) or fault
        return client.memory.fault or ("" if client.memory.uid else client.reason) or UNLISTED

    # --- inside ----------------------------------------------------------------------

    def _begin(self, settings: Settings, now: float) -> None:
        self._client = Client(settings, Random(self._random.random()), self._numbers)
        if self._ring is not None:
            self._client.membership(RingId(*self._ring[0]), self._ring[1], now)
        if self._quorum is not None:
            self._client.quorum(*self._quorum, now)

    def _end(self, now: float) -> None:
        assert self._client is not None
        self._client.stop(now)
        self._words += self._client.memory.take()
        self._gather()
        self._numbers, self._client = self._client.numbers, None

    def _gather(self) -> None:
        if self._client is not None:
            for order in self._client.take():
                if isinstance(order, Poll):
                    self._polls.append(order)
                else:
                    self._orders.append(order)
