"""Joins the ring and votequorum to the node: who is in a ring with it, whether that is quorate, and what follows.

What follows is a veto: while votequorum says no, this node does not stand in an election. It elects nobody and keeps
nobody in office: the list of members in the log does, and where both differ the list binds (docs/votes.md).

Must not know how rings are agreed upon or votes counted, nor sockets or files.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
from collections import deque
from math import inf
from typing import TYPE_CHECKING

from qluster.config import Quorum
from qluster.consensus.members import Members
from qluster.events import Saved, SaveRing
from qluster.ring import messages
from qluster.ring.messages import Beat, Proposal, Telling
from qluster.ring.rings import Rings
from qluster.voted import QuorumChangeStatus
from qluster.votes.information import NO_RING, Change, Ring, State
from qluster.votes.information import Message as Words
from qluster.votes.options import AT_START, Options, faults
from qluster.votes.view import QuorumChanged, View, Why
from qluster.votes.votequorum import Votequorum

if TYPE_CHECKING:
    from qluster.node import Node

log = logging.getLogger("qluster.voting")

ROUNDS_MAX = 16
"""Rounds of telling after one event: a ring causes a membership, that a word, and none of these a further one."""

UNCOUNTED = "quorum.provider is none"

CHANGES_KEPT = 16
"""Gains and losses of quorum that are shown: what an operator looks for is among the last."""


def options_of(quorum: Quorum, members: Members) -> Options:
    """What the settings and the list of members say about votes."""
    waits = {"auto": None, "true": True, "false": False}[quorum.wait_for_all]
    return Options(
        nodes=tuple((member.node, member.votes) for member in members if member.voter),
        expected_votes=quorum.expected_votes or None, two_node=quorum.two_node, wait_for_all=waits,
        auto_tie_breaker=quorum.auto_tie_breaker,
        auto_tie_breaker_node=quorum.auto_tie_breaker_node if quorum.auto_tie_breaker else None,
        last_man_standing=quorum.last_man_standing, last_man_standing_window=quorum.last_man_standing_window,
        allow_downscale=quorum.allow_downscale, expected_votes_tracking=quorum.expected_votes_tracking,
    )  # fmt: skip


class Voting:
    """One node's part in rings and votes; none while :attr:`reason` says why."""

    def __init__(self, node: Node, saved: Saved) -> None:
        self._node = node
        self._boot = saved.boot
        self._seq, self._expected = saved.ring, saved.expected
        """What was last ordered to be saved."""
        self._saving: deque[tuple[int, int]] = deque()
        """Number of a save, and the seq that is durable after it."""
        self._rings: Rings | None = None
        self._votequorum: Votequorum | None = None
        self._left = False
        self._veto = ""
        self._told: tuple[Ring, bool, dict[int, State]] | None = None
        """What the arbiter was last told of quorum."""
        self.reason = "the node has just started"
        """Why no votes are counted here; "" while they are."""
        self.changes: deque[QuorumChangeStatus] = deque(maxlen=CHANGES_KEPT)

    # --- what comes in ---------------------------------------------------------

    def receive(self, message: messages.Message, now: float) -> bool:
        """Another node said something; whether that is news."""
        if self._rings is None or self._votequorum is None:
            return False
        match message:
            case Beat() | Proposal():
                return self._rings.receive(message, now)
            case Telling(information=information, change=change):
                words = information if information is not None else change
                assert words is not None, "a telling of nothing was decoded"
                refusal = self._votequorum.heard(words, now)
                if refusal:
                    log.debug("votes-passed-over node=%d reason=%s", message.node, refusal)
                return not refusal

    def saved(self, number: int, now: float) -> bool:
        """All saves up to this one are durable; whether one of these was of a ring."""
        reached = False
        while self._saving and self._saving[0][0] <= number:
            _, seq = self._saving.popleft()
            reached = True
            if self._rings is not None:
                self._rings.saved(seq, now)
        return reached

    def leave(self, now: float) -> None:
        """The daemon stops, in order: the others need not wait until they miss it."""
        if self._rings is None or self._votequorum is None:
            return
        self._left = True
        self._votequorum.leave(now)
        self._rings.leave(now)
        self._pass_on(self._rings, self._votequorum, now)
        self._end("the node is stopping")

    # --- what there is to see --------------------------------------------------

    @property
    def veto(self) -> str:
        """Why this node must not stand in an election; "" when it may."""
        return self._veto

    def fault(self, quorum: Quorum) -> str:
        """Why votes could not be counted by these settings with the nodes that there are; "" when they could."""
        found = faults(options_of(quorum, self._members)) if quorum.provider == "votequorum" else []
        return " ".join(fault.sentence("quorum") for fault in found)

    @property
    def _members(self) -> Members:
        """The newest list in the log: who starts without a leader may not know of it that it is committed."""
        qraft = self._node.qraft
        return qraft.members if qraft is not None else Members(())

    @property
    def wake_at(self) -> float:
        """When something here is due without an event."""
        if self._rings is None or self._votequorum is None:
            return inf
        return min(self._rings.wake_at, self._votequorum.wake_at)

    @property
    def view(self) -> View | None:
        """The votes at this moment; None while none are counted."""
        if self._votequorum is None or self._rings is None or self._unseen(self._rings):
            return None
        return self._votequorum.view()

    # --- what is to be done ------------------------------------------------------

    def step(self, now: float) -> None:
        """Do what is due."""
        options = options_of(self._node.config.quorum if self._forbids else Quorum(), self._members)
        reason = self._why_not(options, now)
        if reason:
            if self._rings is not None:
                log.warning("votes-not-counted reason=%s", reason)
                self._end(reason)
            self.reason = reason
            return
        rings, votequorum = self._running(options, now)
        rings.patience = self._node.config.cluster.node_timeout
        rings.allow([node for node, _ in options.nodes], now)
        rings.tick(now)
        votequorum.tick(now)
        self._pass_on(rings, votequorum, now)
        self.reason = self._unseen(rings)
        self._judge(votequorum)
        self._consult(votequorum, now)

    def _why_not(self, options: Options, now: float) -> str:
        node = self._node
        if self._left:
            return "the node is stopping"
        if not self._forbids and node.config.device is None:
            return UNCOUNTED
        if node.me not in self._members.voters:
            return f"node {node.me} does not vote"
        for other in sorted(self._members.voters - {node.me}):
            report = node.reports.last(other)
            if report is not None and not report.rings and node.alive(other, now):
                return f"node {other} has a version that counts no votes. Bring all nodes to the same version."
        found = faults(options)
        return found[0].sentence("quorum") if found else ""

    @property
    def _forbids(self) -> bool:
        """Whether votequorum has a say here. An arbiter is asked for a ring and what counts as quorate in it, and
        needs both without that, too."""
        return self._node.config.quorum.provider == "votequorum"

    def _unseen(self, rings: Rings) -> str:
        """Why there are no votes to see; "" when there are."""
        if not self._forbids:
            return UNCOUNTED
        return "it is not known yet which nodes hear each other" if rings.ring == NO_RING else ""

    def _running(self, options: Options, now: float) -> tuple[Rings, Votequorum]:
        node = self._node
        if self._rings is None:
            self._rings = Rings(node.cluster, node.me, self._boot, seq=self._seq,
                                patience=node.config.cluster.node_timeout, now=now)  # fmt: skip
            self._votequorum = None
        votequorum = self._votequorum
        if votequorum is None or any(getattr(options, key) != getattr(votequorum.options, key) for key in AT_START):
            votequorum = self._votequorum = Votequorum(options, node.me, now, tracked=self._expected)
            if self._rings.ring != NO_RING:
                votequorum.membership(self._rings.ring, self._rings.members, now)
        elif options != votequorum.options:
            refused = votequorum.reload(options, now)
            assert not refused, f"options with faults: {refused[0].sentence('quorum')}"
        return self._rings, votequorum

    def _end(self, reason: str) -> None:
        # A later start here begins anew, and above all that was agreed to.
        self._rings = self._votequorum = None
        self._veto, self.reason = "", reason

    def _judge(self, votequorum: Votequorum) -> None:
        """Only what was worked out forbids; waiting for all does from the start on."""
        waits = votequorum.why is Why.WAITING
        no = waits or (votequorum.settled and not votequorum.quorate)
        veto = votequorum.reason if no and self._forbids else ""
        if bool(veto) != bool(self._veto):
            log.info("candidacy-forbidden reason=%s" if veto else "candidacy-allowed%s", veto)
        self._veto = veto

    def _consult(self, votequorum: Votequorum, now: float) -> None:
        """The arbiter hears what votequorum says of a ring, once that is worked out."""
        if not votequorum.settled:
            return
        view = votequorum.view()
        states = {one.node: one.state for one in view.nodes}
        if (view.ring, view.quorate, states) != self._told:
            self._told = view.ring, view.quorate, states
            self._node.consulting.quorum(view.quorate, states, now)

    def _pass_on(self, rings: Rings, votequorum: Votequorum, now: float) -> None:
        """What the ring says goes to votequorum, what either wants to the disk and to the others."""
        for _ in range(ROUNDS_MAX):
            ringed, counted = rings.take(), votequorum.take()
            if ringed.save is not None or counted.track is not None:
                self._order(ringed.save, counted.track)
            for message in ringed.tell:
                self._node.tell_ring(message, now)
            if ringed.ring is not None:
                ring, members = ringed.ring
                log.info("ring ring=%s members=%s", ring, ",".join(map(str, sorted(members))))
                votequorum.membership(ring, members, now)
                self._node.consulting.membership(ring, members, now)
            for words in counted.tell:
                self._tell(words, now)
            for event in counted.events:
                self._note(event, now)
            if not (ringed.tell or ringed.ring or counted.tell or counted.events):
                return

    def _order(self, seq: int | None, expected: int | None) -> None:
        node = self._node
        self._seq = self._seq if seq is None else seq
        self._expected = self._expected if expected is None else expected
        node.save(SaveRing(self._seq, self._expected))
        self._saving.append((node.outstanding, self._seq))

    def _tell(self, words: Words, now: float) -> None:
        node = self._node
        information, change = (None, words) if isinstance(words, Change) else (words, None)
        node.tell_ring(Telling(node.cluster, node.me, information, change), now)

    def _note(self, event: QuorumChanged, now: float) -> None:
        if not self._forbids:
            return
        if event.quorate:
            log.info("quorum-gained ring=%s why=%s reason=%s", event.ring, event.why, event.reason)
        else:
            log.warning("quorum-lost ring=%s why=%s reason=%s", event.ring, event.why, event.reason)
        self.changes.append(QuorumChangeStatus(
            quorate=event.quorate, why=event.why.value, reason=event.reason, ring=str(event.ring),
            at=self._node.wall(event.at),
        ))  # fmt: skip
