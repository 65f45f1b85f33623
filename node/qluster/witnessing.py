"""Decides when a leader puts an arbiter into the list of members, another in its place, or none; and what consensus is
told of it.

Must not know the arbiter's protocol, nor who connects to it: the link of this node says which memory it has open.
A memory that lost what it knew comes back with another uid. It counts again when a list names that uid, which those
who hold the log must commit without the former one. It leaves the list when no node asks an arbiter any more.
An arbiter that keeps no memory is listed with the way in which its algorithm may be counted, and at most with the one
vote that breaks a tie: by formula every vote more would take one copy more to commit, up to all of them. By episode the
list says which one it is: while nodes go over to another one after the other, each of the two would say yes to a half.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
from collections.abc import Collection
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from qluster.consensus.members import EPISODE, MEMORY, Members
from qluster.consensus.membership import last_votes, usual_votes
from qluster.consensus.refusals import Refusal
from qluster.votes.information import Ring

if TYPE_CHECKING:
    from qluster.node import Node

log = logging.getLogger("qluster.witnessing")


def hear(node: Node, now: float) -> bool:
    """What the arbiter and votequorum say goes to the consensus; whether that was anything new of the arbiter."""
    words, qraft = node.consulting.words(), node.qraft
    if qraft is None:
        return bool(words)
    for word in words:
        qraft.hear_device(word, now)
    qraft.veto = node.voting.veto
    return qraft.stand(node.consulting.standing(*node.voting.ring), now) or bool(words)


def synced(node: Node, proofs: Collection[tuple[tuple[int, int], float]], now: float) -> bool:
    """Consensus has shown that this node is in sync with the others; whether it has."""
    for ring, asked_at in proofs:
        node.consulting.in_sync(Ring(*ring), asked_at, now)
    return bool(proofs)


class Wish(NamedTuple):
    """A memory, or a device that has none (uid: which arbiter, by episode), with its votes and the way in which they
    count; without a way no device."""

    uid: int
    votes: int
    way: str


NOTHING = Wish(0, 0, "")


class Witnessing:
    """The leader's duty for the device."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._wish: Wish | None = None
        """What the list should say and does not."""
        self._at = inf
        """When that is tried."""
        self._refused = ""

    @property
    def wake_at(self) -> float:
        """When :meth:`step` is needed at the latest."""
        return self._at

    def rest(self) -> None:
        """This node does not lead."""
        self._wish, self._at, self._refused = None, inf, ""

    def step(self, now: float) -> bool:
        """True when the list was changed."""
        node = self._node
        assert node.qraft is not None
        wish, settings = self._wanted(node.qraft.members, node.qraft.device_uid), node.qraft.settings
        if wish != self._wish:
            # Somebody who is only passing, or a link that was just lost, is no reason to change the list.
            pause = settings.heartbeat_interval if wish is None or wish.way else settings.node_timeout
            self._wish, self._at, self._refused = wish, now + pause if wish is not None else inf, ""
        if wish is None or now < self._at:
            return False
        self._at = now + settings.heartbeat_interval
        try:
            node.qraft.device(wish.uid, wish.votes, now, wish.way or MEMORY)
        except Refusal as refusal:
            if refusal.reason != self._refused:
                log.info("device-unchanged uid=%016x votes=%d way=%s reason=%s", *wish, refusal.reason)
            self._refused = refusal.reason
            return False
        return True

    def _wanted(self, members: Members, uid: int) -> Wish | None:
        """What is to be put into the list; None when that is right."""
        listed = Wish(members.device_uid, members.device, members.way) if members.way else NOTHING
        node, device = self._node, self._node.config.device
        if uid:
            last = device is not None and device.algorithm == "lms"
            wish = Wish(uid, last_votes(members) if last else usual_votes(members), MEMORY)
            return wish if wish != listed else None
        standing = node.consulting.standing(*node.voting.ring)
        if standing.way and node.consulting.forgetful:
            which = standing.arbiter if standing.way == EPISODE else 0
            wish = Wish(which, usual_votes(members), standing.way)
            return wish if wish != listed else None
        return NOTHING if listed != NOTHING and self._nobody_asks(members) else None

    def _nobody_asks(self, members: Members) -> bool:
        """Every voter says that it asks no arbiter; one that is silent may ask its own when it is back."""
        node = self._node
        if node.consulting.asks:
            return False
        reports = [node.reports.last(voter) for voter in members.voters - {node.me}]
        return all(report is not None and not report.asks for report in reports)
