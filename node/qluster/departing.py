"""Decides how a node that stops takes its leave: the database first, then the office, then its seat, then the link.

Must not know how a server is stopped, nor what a successor does: it sees what has come of each step.

A primary that was shut down in order says in the log where it ended, before it gives up its office. Without that its
successor had to ask for the position of a database that runs no more, and to wait for an answer that does not come.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from qluster.cluster import messages
from qluster.cluster.commands import Yielded
from qluster.leading import Propose, Transfer, best_successor

if TYPE_CHECKING:
    from qluster.governing import Governing
    from qluster.node import Node

STOP_PATIENCE = 5.0
"""Seconds a stopping leader waits for its successor before it goes without, and then again for its disk."""

YIELD_PATIENCE = 1.0
"""Seconds until the log says where its WAL ended: a quorum that answers needs milliseconds, and clients wait."""


class Departing:
    """The way out of one node."""

    def __init__(self, node: Node, governing: Governing) -> None:
        self._node = node
        self._governing = governing
        self._at = inf
        """When its database had stopped; before that, the last step."""
        self._rest_at = -inf
        """When the leader is asked again not to count this node."""
        self._yield_at = -inf
        """When the end of its reign is proposed again."""

    def begin(self, now: float) -> None:
        """The daemon is to stop."""
        self._at = min(self._at, now)
        self._node.requests.stop("it is stopping")

    @property
    def times(self) -> list[float]:
        """When something here is due without an event."""
        if not self._node.stopping or self._node.qraft is None:
            return []
        patience = self._rest_patience
        waits = YIELD_PATIENCE, STOP_PATIENCE, patience, patience + STOP_PATIENCE
        return [self._rest_at, self._yield_at, *(self._at + each for each in waits)]

    def step(self, now: float) -> None:
        """Stop the database, then hand over or say goodbye, then leave."""
        node = self._node
        assert node.qraft is not None
        if node.config.database is not None and not node.keeper.stopped and not node.hosting.untied:
            self._at = now
            return
        if node.qraft.role == "leader":
            if self._hands_over(now):
                return
            node.qraft.resign(now)
        if self._waits_to_rest(now):
            return
        node.voting.leave(now)
        if now < self._at + self._rest_patience + STOP_PATIENCE:
            node.leave("stopped", clean=True)
        else:
            node.leave_now()

    def _hands_over(self, now: float) -> bool:
        """Whether there is somebody to take over, who is offered that."""
        governing = self._governing
        target = best_successor(governing.scene(now), self._node.settled)
        if target is None or now >= self._at + STOP_PATIENCE:
            return False
        if not self._yields(target, now) and now >= governing.transfer_until:
            governing.perform(Transfer(target), now)
        return True

    def _yields(self, target: int, now: float) -> bool:
        """Whether the log is still to say where the WAL of this primary ended, who writes no more in its reign."""
        node, reign = self._node, self._node.state.reign
        end, yielded = node.keeper.clean_end, node.state.switching.yielded
        if end is None or reign is None or node.state.pause.active or now >= self._at + YIELD_PATIENCE:
            return False
        if (reign.node, reign.term) != (node.me, node.qraft.term if node.qraft is not None else 0):
            return False
        if yielded is not None and yielded.reign == reign.number:
            return False
        if now >= self._yield_at:
            self._yield_at = now + node.config.cluster.replication_retry_interval
            self._governing.perform(Propose(Yielded(reign.number, target, *end)), now)
        return True

    @property
    def _rest_patience(self) -> float:
        """Seconds for which who stops waits until it is not counted. One of two must not leave before the other one
        has a primary, which may wait for node-timeout first: it would be shot for its silence. Where nobody leads there
        is nobody to wait for: both may be stopping."""
        timeout, qraft = self._node.config.cluster.node_timeout, self._node.qraft
        led = self._governing.paired and qraft is not None and qraft.leader not in (None, self._node.me)
        return max(STOP_PATIENCE, 2 * timeout) if led else STOP_PATIENCE

    def _waits_to_rest(self, now: float) -> bool:
        """Whether this node, which stops, is still counted and should not be: it asks the leader, for a while."""
        node = self._node
        assert node.qraft is not None
        wanted = self._governing.downscales and not node.state.pause.active
        counted = node.me in node.settled.voters and len(node.settled.voters) > 1
        if not (wanted and counted and now < self._at + self._rest_patience):
            return False
        leader = node.settled.get(node.qraft.leader or 0)
        if leader is not None and now >= self._rest_at:
            self._rest_at = now + node.config.cluster.replication_retry_interval
            node.tell(messages.Leaving(node.cluster, node.me), (leader.ip, leader.udp_port), now)
        return True
