"""Decides when this node takes up, hands over and lays down the leader's duties.

Must not know how anything is sent or saved. What a leader owes others is in ``leading.py``;
here stands when: at the start of its term, when its primary will not run, when an operator asks.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
from math import inf
from typing import TYPE_CHECKING

from qluster import pausing
from qluster.cluster import commands, messages
from qluster.cluster.messages import PositionReply
from qluster.config import shared
from qluster.consensus.refusals import Refusal
from qluster.database.room import GENEROUS, full, needed
from qluster.database.standstill import standing
from qluster.departing import Departing
from qluster.handing import Handing
from qluster.leading import Change, Duty, Fire, Leading, Propose, Scene, Tell, Transfer, best_successor
from qluster.switching import Wish
from qluster.witnessing import Witnessing

if TYPE_CHECKING:
    from qluster.node import Node

log = logging.getLogger("qluster.governing")

RESTART_PATIENCE = 5.0
"""Seconds at least that a primary may need to come up again where it was before another node is asked:
recovery in place loses nothing, another node may lack the newest WAL."""

START_ATTEMPTS = 2
"""Failed starts of a primary after which another node is asked at once."""

GIVE_WAY_PAUSE = 60.0
"""Seconds before a leader whose disk is full tries again to hand over: each attempt stops its primary."""


class Governing:
    """The leader's duties on this node, as long as it leads."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._leading: Leading | None = None
        self.handing = Handing(node)
        self.departing = Departing(node, self)
        self.transfer_until = -inf
        """Until when an offer of leadership is waited for."""
        self._unwritable_since: float | None = None
        self._named: int = 0
        self._busy = False
        """Leadership is being handed to another node: no primary is sought meanwhile."""
        self._stepped_at = -inf
        self._gave_way_at = -inf
        self.pausing = pausing.Pausing(node)
        self._witnessing = Witnessing(node)
        self._guaranteed = 0
        """Index of the last change of the guarantees that this leader proposed."""
        self._released = False
        """Whether the others were told so since this node last led."""
        self._unchanged = ""
        """Why a list of members was last refused."""

    @property
    def handing_over(self) -> bool:
        """The primary here is to stop so that another node can take over."""
        return self.handing.stops_primary

    @property
    def leading(self) -> Leading | None:
        """The duties of the term in which this node leads."""
        return self._leading

    @property
    def reason(self) -> str:
        """Why there is no primary yet, "" when there is."""
        return self._leading.reason if self._leading else ""

    @property
    def wake_at(self) -> float:
        """When something here is due without an event."""
        times = [self.handing.wake_at]
        if self._leading is not None and not self._busy:
            times.append(self._leading.wake_at)
            times.append(self.pausing.wake_at)
            times.append(self._witnessing.wake_at)
        if self._busy:
            times.append(self.transfer_until)
        if self._unwritable_since is not None:
            times.append(self._unwritable_since + self._restart_patience)
        times += self.departing.times
        # What was due at the last step was seen to there, or waits for an event: it must not wake again.
        return min((time for time in times if time > self._stepped_at), default=inf)

    # --- what comes in -------------------------------------------------------------

    def receive(self, message: messages.Message, now: float) -> None:
        """Take a message of another member."""
        match message:
            case messages.Report():
                self._node.reports.receive(message, now)
                if self._node.qraft is not None:
                    self._node.qraft.counts(message.node, message.counting)
            case messages.Working():
                self._node.tasking.dispatching.receive(message, now)
            case messages.Granted():
                self._node.tasking.workload.granted(message, now)
            case messages.Leaving():
                self._let_rest(message.node, now)
            case messages.PositionQuery():
                self._node.hosting.asked(message.term)
            case PositionReply():
                if self._leading is not None and self._votes(message.node):
                    self._leading.position(message)

    @property
    def paired(self) -> bool:
        """By the list in force, or the newest: the one in which this node rests says nothing of two any more, and until
        it is committed the other one would be left with a change that it cannot bring to its end alone."""
        qraft = self._node.qraft
        return qraft is not None and (self._node.settled.two_node or qraft.members.two_node)

    @property
    def downscales(self) -> bool:
        """Whether who stops is not counted until it is back. Of two of which one may go on alone the other one would
        be shot for its silence: what both have committed needs no shot."""
        return self._node.config.cluster.allow_downscale or self.paired

    def _let_rest(self, number: int, now: float) -> None:
        """A voter that stops is not counted until it is back, where that is wanted.

        First there is a primary: the one that stops may be its predecessor, and has its say in who takes over.
        """
        node = self._node
        if node.qraft is None or node.qraft.role != "leader" or not self.downscales:
            return
        if node.config.database is not None and not node.hosting.reigns():
            return
        try:
            node.qraft.rest(number, now)
        except Refusal as refusal:
            log.info("still-counted node=%d reason=%s", number, refusal.reason)

    def _votes(self, node: int) -> bool:
        """Leadership can be given to it; the position of another is of no use."""
        return self._node.qraft is not None and node in self._node.qraft.members.voters

    def hello(self, hello: messages.Hello) -> None:
        """A node said hello; only a leader has an answer."""
        if self._leading is not None:
            self._leading.hello(hello)

    def ask_hand_over(self, target: int, now: float) -> None:
        """``target`` is to lead, at once: the primary here, which stops cleanly first, is of no use any more."""
        self.handing.begin(Wish(target, at_once=True), now)

    # --- what is to be done ------------------------------------------------------------

    def step(self, now: float) -> bool:
        """Do what is due; True when something was done that may have more to follow."""
        node = self._node
        assert node.qraft is not None
        self._stepped_at = now
        if node.stopping:
            self.departing.step(now)
            return False
        if node.qraft.role != "leader":
            self._leading, self._unwritable_since = None, None
            self._busy = False
            self._witnessing.rest()
            self.handing.step(None, now)
            return self._release(now)
        self._released = False
        if self._leading is None or self._leading.term != node.qraft.term:
            self._leading, self._guaranteed = Leading(node.qraft.term, now), 0
            node.counters["elections"] += 1
        if not node.qraft.ready:
            return False
        if self._name(now) or self._witnessing.step(now):
            return True
        scene = self.scene(now)
        self._busy = self.handing_over or now < self.transfer_until or node.qraft.transferring is not None
        duties = self._leading.step(scene, handing_over=self._busy) if node.state.name else []
        duties += self._guarantee(self._leading, scene)
        duties += self.pausing.duties(scene)
        duties += [Propose(body) for body in node.fences.endings(now)]
        duties += [Fire(target, index) for target, index in node.fences.asked_for()]
        for duty in duties:
            self.perform(duty, now)
        if node.state.pause.active:
            self._unwritable_since = None
            for duty in self.handing.step(scene, now):
                self.perform(duty, now)  # what began before the pause comes to its end, and no plan begins
            node.configuring.withhold("the cluster is paused")
            return any(isinstance(duty, (Propose, Change)) for duty in duties)
        configured = not self._busy and node.configuring.step(now)
        self._watch_primary(scene, now)
        self._give_way(scene, now)
        for duty in self.handing.step(scene, now):
            duties.append(duty)
            self.perform(duty, now)
        return configured or any(isinstance(duty, (Propose, Change)) for duty in duties)

    def _guarantee(self, leading: Leading, scene: Scene) -> list[Duty]:
        """While a primary serves here, the log follows who replicates from it."""
        node = self._node
        facts = node.keeper.facts
        if self._busy or facts is None or not node.hosting.reigns():
            return []
        if self._guaranteed > node.state.applied:
            return []  # a second change beside it would drop what the server may be told by the first one meanwhile
        if not node.keeper.serving:
            leading.primary_away()
            return []
        duty = leading.guarantee(facts, scene, node.keeper.looked_at, settled=node.keeper.settled)
        return [duty] if duty is not None else []

    def _release(self, now: float) -> bool:
        """Once after the start and after each office: the others still keep their promise to this node.

        They need not, as soon as it is certain that no database runs here.
        """
        node = self._node
        assert node.qraft is not None
        if self._released or not (node.config.database is None or node.keeper.stopped):
            return False
        self._released = True
        node.qraft.resign(now)
        return True

    def scene(self, now: float) -> Scene:
        """What the leader sees."""
        node = self._node
        assert node.qraft is not None
        cluster = node.config.cluster
        members = node.qraft.members
        facts = node.keeper.facts
        recovered = facts.timeline if facts and facts.timeline and facts.timeline > 1 else None
        return Scene(
            now=now, me=node.me, cluster=node.cluster, term=node.qraft.term, state=node.state,
            members=members, settled=node.settled,
            alive=frozenset(member.node for member in members if node.alive(member.node, now)),
            own=node.hosting.position(now), intact=node.keeper.intact(node.state.system_id, now),
            system_id=facts.system_id if facts else None, awaits_founding=node.config.database is not None,
            node_timeout=cluster.node_timeout, retry=cluster.replication_retry_interval,
            mode="off" if node.hosting.follows_outside else cluster.synchronous,
            strict=cluster.synchronous_strict,
            maximum_lag=cluster.maximum_lag, standby=node.hosting.follows_outside,
            end=node.reports.end_of, wal_rate=node.reports.wal_rate,
            answering=frozenset(member.node for member in members if node.qraft.answers(member.node)),
            report=node.reports.last, own_database=node.keeper.status() if node.config.database is not None else None,
            given_up=node.state.reign is not None and self.handing.given_up(node.state.reign.number),
            found_at=(recovered, facts.position or 0) if facts and recovered else (1, 0),
            withheld=pausing.withheld(node.state, node.me) or node.forcing.withheld(now),
            served=facts.last_reign if facts is not None else 0,
            seen=node.fences.seen(now),
        )  # fmt: skip

    def _name(self, now: float) -> bool:
        """A cluster that has just been founded gets its name and settings before anything else."""
        node = self._node
        assert node.qraft is not None
        if node.state.name or self._named == node.qraft.term:
            return False
        self._named = node.qraft.term
        self.perform(Propose(commands.Founded(node.file.cluster.name, shared(node.file))), now)
        return True

    def perform(self, duty: Duty, now: float) -> None:
        """Carry it out; what is refused is put off."""
        node = self._node
        assert node.qraft is not None
        try:
            match duty:
                case Propose(body):
                    index, _ = node.qraft.propose("command", commands.encode(body), now)
                    self._guaranteed = index if isinstance(body, commands.Guaranteed) else self._guaranteed
                    if isinstance(body, commands.FencingBegun) and self._leading is not None:
                        self._leading.fencer.ordered = index
                    if isinstance(body, commands.FencingEnded):
                        node.fences.told(body)
                case Change(members, newcomer):
                    if newcomer is not None:
                        node.qraft.counts(*newcomer)
                    node.qraft.change_members(members, now)
                case Transfer(target):
                    node.qraft.transfer(target, now)
                    self.transfer_until = now + node.config.cluster.leader_voting_timeout
                case Tell(message, to):
                    node.tell(message, to, now)
                case Fire(target, index):
                    node.fences.fire(target, index, now)
        except Refusal as refusal:
            # Every duty is found again at the next step: what was refused now is only put off.
            if isinstance(duty, Transfer) and self._leading is not None and node.alive(duty.node, now):
                self._leading.put_off(duty.node, voter=duty.node in node.qraft.members.voters)
            log.debug("put-off duty=%s reason=%s", type(duty).__name__, refusal.reason)
            if isinstance(duty, Change) and refusal.reason != self._unchanged:
                log.warning("members-unchanged reason=%s", refusal.reason)
                self._unchanged = refusal.reason

    # --- the primary here ------------------------------------------------------------------

    @property
    def _restart_patience(self) -> float:
        return max(self._node.config.cluster.node_timeout, RESTART_PATIENCE)

    def _watch_primary(self, scene: Scene, now: float) -> None:
        """A primary that will not run is given up for another node's, when there is one; so is a standby that leads."""
        node, facts = self._node, self._node.keeper.facts
        stood = standing(facts) if facts is not None else 0.0
        standby = node.keeper.wanted.kind == "outside" and scene.state.reign is not None
        well = (node.keeper.readable if standby else node.keeper.serving) and not stood
        if (node.keeper.wanted.kind != "primary" and not standby) or well or self.handing_over:
            self._unwritable_since = None
            return
        if self._unwritable_since is None:
            self._unwritable_since = now - stood
        late = now >= self._unwritable_since + self._restart_patience
        if not late and node.keeper.attempts < START_ATTEMPTS:
            return
        target = best_successor(scene, node.settled)
        if target is None:
            return
        fault = node.keeper.fault or "the primary did not come up in time"
        log.warning("primary-given-up node=%d successor=%d reason=%s", node.me, target, fault)
        node.keeper.mark_unfit(fault, now)
        self._pass_on(target, now)

    def _pass_on(self, target: int, now: float) -> None:
        """Another node is to lead at once."""
        if self._node.hosting.follows_outside:
            self.perform(Transfer(target), now)  # nobody writes: there is nothing to be stopped before
        else:
            self.ask_hand_over(target, now)

    def no_room(self) -> str:
        """Why nothing more can be taken on for clients, "" when it can: the disks of too many nodes are full."""
        node = self._node
        if node.short or node.qraft is None:
            return node.short
        full = self._without_space()
        if not full or node.qraft.commits(node.qraft.members.voters - full):
            return ""
        return f"the disks of nodes {', '.join(map(str, sorted(full)))} are full: free some space there"

    def _without_space(self) -> frozenset[int]:
        """Nodes that say that their disk is full."""
        node = self._node
        full = {number for number, heard in node.reports.heard.items() if heard.report.short}
        return frozenset(full | ({node.me} if node.short else set()))

    def _give_way(self, scene: Scene, now: float) -> None:
        """A leader whose disk is full can take on nothing for the cluster: somebody else should lead.

        Neither can a primary whose database's disk is full, for its clients.
        """
        node, facts = self._node, self._node.keeper.facts
        crowded = facts is not None and full(facts) and node.keeper.serving
        if not (node.short or crowded) or self._busy or self.handing_over or now < self._gave_way_at + GIVE_WAY_PAUSE:
            return
        assert node.qraft is not None
        if not node.qraft.commits(node.qraft.members.voters - self._without_space()):
            return  # a new leader could say no more than this one
        room = GENEROUS * needed(facts) if crowded and facts is not None else 0
        target = best_successor(scene, node.settled, room) if node.config.database is not None else _roomy(scene)
        report = scene.report(target) if target is not None else None
        if target is None or (report is not None and report.database is not None and not report.database.streaming):
            return  # a database that does not follow would hand the leadership back
        self._gave_way_at = now
        log.warning("gives-way node=%d successor=%d reason=%s", node.me, target,
                    node.short or node.keeper.fault)  # fmt: skip
        self._pass_on(target, now)


def _roomy(scene: Scene) -> int | None:
    """A living voter that said that it has space."""
    for member in scene.settled:
        report = scene.report(member.node)
        if member.voter and member.node in scene.alive - {scene.me} and report is not None and not report.short:
            return member.node
    return None
