"""Decides how a node becomes, and becomes again, part of a cluster: by founding, joining, or its own log.

Must not know what is done with what it says; when to found or to join is decided in ``joining.py``.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

from qluster import __version__, joining
from qluster.cluster import messages
from qluster.cluster.state import decode as decode_state
from qluster.config import shared
from qluster.config.tags import tags_of
from qluster.consensus.members import Member, Members
from qluster.consensus.qraft import QRaft
from qluster.events import Identity, Saved, SaveIdentity
from qluster.overview import consensus_settings
from qluster.promising import promise_at_start

if TYPE_CHECKING:
    from qluster.node import Node

log = logging.getLogger("qluster.entering")


class Entering:
    """One node's way in."""

    def __init__(self, node: Node, boot: int, now: float) -> None:
        self._node = node
        self._boot = boot
        self._anew = False
        """The cluster it belongs to is given up once it has found or founded another."""
        self.hello_at = now
        """When something here is due without an event."""

    def start(self, saved: Saved, *, wall: float, founding: int, now: float) -> None:
        """Go on as who it was, or begin to look for a cluster; for ``wall`` and ``founding`` see :class:`Node`."""
        node, anew = self._node, joining.begins_anew(saved)
        if saved.identity is not None and not anew:
            node.identity = saved.identity
            self.begin(saved, now)
            return
        self._anew = anew and not founding
        node.joining = joining.Joining(
            saved,
            founder=node.config.cluster.founder == node.config.ip,
            anew=saved.identity.cluster if saved.identity is not None else None,
            wall=wall,
            retry=node.config.hello_retry_interval,
            now=now,
            founding=founding,
        )

    def step(self, now: float) -> None:
        """Say hello, wait, found or join."""
        node = self._node
        assert node.joining is not None
        self.hello_at = inf
        if node.stopping:
            return
        match node.joining.step(now, node.directory):
            case joining.Hello():
                node.tell(self.hello(), None, now)
                self._call_founder(now)
                self.hello_at = now + node.config.hello_retry_interval
            case joining.Stay(until, reason):
                self.hello_at, node.message = until, reason
            case joining.Found(number) if self._anew:
                # The log of the cluster that is given up is put away before anything is written to the new one.
                node.leave(f"founds anew as {number}", rejoin=True, founding=number)
            case joining.Found(number):
                self._found(number, now)
            case joining.Joined(number) if self._anew:
                # The number in the welcome belongs to the log that is given up: its promises must not be forgotten.
                node.leave(f"joins founding {number} as a new node", rejoin=True)
            case joining.Joined(number, own):
                self.begin(self._become(Identity(node.uid, number, own)), now)
            case joining.GiveUp(message):
                node.leave(message)

    def _become(self, identity: Identity) -> Saved:
        node = self._node
        log.info("joined node=%d founding=%d", identity.node, identity.cluster)
        node.save(SaveIdentity(identity))
        node.identity, node.joining = identity, None
        return Saved(node.uid, self._boot, invited=True, identity=identity)

    def begin(self, saved: Saved, now: float) -> None:
        """Take part in consensus, from what was saved."""
        node = self._node
        assert saved.identity is not None
        node.message = "waiting for the leader"
        if saved.snapshot is not None:
            # The log goes on where the snapshot ends: what lies before it is in the snapshot alone.
            node.state = decode_state(saved.snapshot.state)
            node.applying.settle_members(Members.decode(saved.snapshot.members))
        node.applying.told_up_to = saved.entries[-1].index if saved.entries else node.state.applied
        settings = consensus_settings(node.config)
        promised = replace(settings, node_timeout=promise_at_start(saved, settings.node_timeout))
        node.qraft = QRaft(saved.identity.node, promised, saved, node.random, now)
        node.qraft.settings = settings
        if saved.snapshot is not None:
            node.applying.take_settings(now)

    def _call_founder(self, now: float) -> None:
        """By unicast, to the one address that a node knows before it knows any: multicast may not get out of here."""
        node = self._node
        founder, group = node.config.cluster.founder, node.config.udp.socket.multicast
        if founder and founder != node.config.ip and group is not None:
            node.tell(self.hello(), (founder, group[1]), now)

    def _found(self, number: int, now: float) -> None:
        node = self._node
        config = node.config
        log.info("founded founding=%d name=%s", number, config.cluster.name)
        own = Member(
            node=1, uid=node.uid, ip=config.ip, api_port=config.api_port, udp_port=config.udp.port(config.ip),
            db_port=config.database.port if config.database else None, voter=True, pool=config.pool is not None,
            tags=tags_of(config), votes=max(1, config.votes),  # without a vote nobody could found
        )  # fmt: skip
        saved = self._become(Identity(node.uid, number, 1))
        settings = consensus_settings(config)
        node.qraft = QRaft.found(1, settings, saved, node.random, now, Members((own,)))

    def hello(self) -> messages.Hello:
        """What this node says of itself when it wants in."""
        node, config = self._node, self._node.config
        return messages.Hello(
            node.cluster, node.me, node.uid, config.ip, config.udp.port(config.ip), config.api_port,
            config.database.port if config.database else None, config.role, config.pool is not None,
            __version__, shared(node.file), tags_of(config), config.votes, messages.COUNTING,
        )  # fmt: skip

    def introduce(self, qraft: QRaft, now: float) -> None:
        """A node that comes back says hello until it hears the leader: its addresses may be new."""
        node = self._node
        me = node.settled.get(node.me)
        changed = me is not None and (me.tags, me.votes) != (tags_of(node.config), node.config.votes)
        if (qraft.leader is not None and not changed) or qraft.role == "leader" or node.stopping:
            self.hello_at = inf
            if changed and qraft.role == "leader":
                node.governing.hello(self.hello())
            return
        if now >= self.hello_at or self.hello_at == inf:
            node.tell(self.hello(), None, now)
            self.hello_at = now + node.config.hello_retry_interval
