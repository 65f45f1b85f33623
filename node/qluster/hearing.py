"""Decides whom a message that came in concerns, and what to think of who does not belong here.

Must not know datagrams, nor what the parts do with what they are told.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from qluster import joining
from qluster.cluster import messages
from qluster.consensus.messages import AnyMessage, MalformedMessage, decode
from qluster.consensus.qraft import HEARD_MAX
from qluster.events import Address
from qluster.ring import messages as ringing
from qluster.transport.link import Received

if TYPE_CHECKING:
    from qluster.node import Node

log = logging.getLogger("qluster.hearing")

CONSENSUS, CLUSTER, RING = b"q", b"m", b"r"
"""First byte of a message: whose it is."""


class Hearing:
    """One node's ears."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._sources: dict[int, Address] = {}

    def source(self, number: int) -> Address | None:
        """From where a node was last heard."""
        return self._sources.get(number)

    def take(self, received: Received, now: float) -> bool:
        """Take a message; True when it concerns nobody but consensus, or who minds tasks."""
        node, text = self._node, received.message
        consensus = text[:1] == CONSENSUS
        try:
            message = _decoded(text)
        except (MalformedMessage, messages.MalformedMessage, ringing.MalformedMessage):
            node.counters["messages_malformed"] += 1
            return True
        if isinstance(message, messages.Hello):
            self._hello(message, received.source, now)
        elif node.qraft is None:
            self._outside(message, now)
        elif message.cluster != node.cluster:
            node.counters["messages_foreign"] += 1
            self._foreign(message.cluster, _lineage(message), received.source, now)
        elif self._genuine(message.node, received.uid):
            self._note_source(message.node, received.source)
            if consensus:
                node.qraft.receive(message, now)  # type: ignore[arg-type]
                return True
            node.qraft.hear(message.node, now)
            if isinstance(message, ringing.Message):
                return not node.voting.receive(message, now)
            node.governing.receive(message, now)  # type: ignore[arg-type]
            if isinstance(message, messages.Working | messages.Granted):
                node.tasking.stir()
                return True
        return False

    def _note_source(self, number: int, source: Address) -> None:
        if self._sources.get(number) == source:
            return
        self._sources.pop(number, None)
        self._sources[number] = source
        if len(self._sources) > HEARD_MAX:
            del self._sources[next(iter(self._sources))]

    def _genuine(self, number: int, uid: int) -> bool:
        """A number belongs to one uid: whoever lost its state is another node."""
        qraft = self._node.qraft
        member = qraft.members.get(number) if qraft else None
        return member is None or member.uid == uid

    def _hello(self, hello: messages.Hello, source: Address, now: float) -> None:
        node = self._node
        if node.qraft is None:
            return
        if hello.cluster > node.cluster:
            self._foreign(hello.cluster, None, source, now)
            return
        if node.me in node.qraft.members.voters:
            member = next((member for member in node.settled if member.uid == hello.uid), None)
            if member is not None:
                node.qraft.counts(member.node, hello.counting)
            # Cluster 0: it has none, or gives up the one it had. A member does that too when add_node was taken away.
            # One of a former founding asks whether this one goes on from it, and is no newcomer before it has left it.
            if member is None or hello.cluster != node.cluster:
                present = messages.Present(node.cluster, node.me, node.qraft.leader or 0, node.state.lineage)
                node.tell(present, (hello.ip, hello.udp_port), now)
            if hello.cluster in (0, node.cluster):
                node.governing.hello(hello)

    def _outside(self, message: object, now: float) -> None:
        """Before this node belongs to a cluster only answers to its hello count."""
        asking = self._node.joining
        assert asking is not None
        match message:
            case messages.Present(cluster):
                asking.present(cluster, now)
            case messages.Welcome(cluster, _, uid, number):
                asking.welcome(cluster, uid, number)
            case messages.Refusal(_, _, uid, reason):
                asking.refusal(uid, reason)

    def _foreign(self, cluster: int, lineage: tuple[int, ...] | None, source: Address, now: float) -> None:
        """A member of another founding speaks; ``lineage`` is that of its founding, None where it does not say."""
        node = self._node
        led = node.qraft is not None and node.qraft.leader is not None and node.qraft.quorate(now)
        outcome = joining.meets_later_founding(node.cluster, cluster, node.directory, led=led)
        if outcome is not True:
            known = cluster > node.cluster and node.forcing.meets(cluster, lineage, source, now)
            if known and isinstance(outcome, joining.GiveUp) and not node.forcing.stops:
                node.leave(outcome.message)
        else:
            log.warning("founded-anew founding=%d own=%d this node sets its log aside and joins", cluster, node.cluster)
            node.leave(f"joins founding {cluster}", rejoin=True)


def _lineage(message: object) -> tuple[int, ...] | None:
    """From which foundings the sender's goes on by force; None where the message does not say."""
    return message.lineage if isinstance(message, messages.Present) else None


def _decoded(text: bytes) -> AnyMessage | messages.Message | ringing.Message:
    """The message; a version that does not know its first byte takes it for a malformed one and goes on."""
    if text[:1] == CONSENSUS:
        return decode(text[1:])
    return ringing.decode(text[1:]) if text[:1] == RING else messages.decode(text[1:])
