"""Joins the parts of a node: an event goes to those it concerns, their effects are gathered.

Decides as little as it can; must not know sockets, files, processes or the clock.

The order of settling after each event: consensus, what a leader owes, the database, the pool,
the report, the answers, the datagrams. Each looks at what the ones before it have made of the event.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
from math import inf
from random import Random
from typing import Any

from qluster import serving, witnessing
from qluster.applying import Applying
from qluster.clients import TaskLooked, TaskRequested, ValueReadRequested, ValueWriteRequested
from qluster.cluster import messages
from qluster.cluster.state import State
from qluster.compacting import Compacting
from qluster.config import Config, shared_digest
from qluster.configuring import Configuring
from qluster.consensus.members import Members
from qluster.consensus.messages import encode
from qluster.consensus.output import Output
from qluster.consensus.qraft import QRaft
from qluster.consulting import Consulting
from qluster.database.facts import Facts
from qluster.database.orders import StopFast, StopImmediate
from qluster.entering import Entering
from qluster.events import (
    Address,
    CancelJob,
    DatagramReceived,
    DeviceAnswered,
    DeviceClosed,
    DeviceHeard,
    DeviceOpened,
    DeviceQuestion,
    DeviceShown,
    Effects,
    Event,
    FactsRead,
    Identity,
    Job,
    JobEnded,
    Leave,
    Save,
    Saved,
    SaveEnded,
    Snapshot,
    SpaceChanged,
    StopRequested,
    TasksHeard,
    TimePassed,
    WallClockRead,
)
from qluster.fencing import Fences
from qluster.forcing import Forcing
from qluster.governing import Governing
from qluster.health import health
from qluster.hearing import CLUSTER, CONSENSUS, RING, Hearing
from qluster.holding import Holding, Message, unbound
from qluster.hosting import Hosting
from qluster.joining import Joining
from qluster.keeper import Keeper
from qluster.overview import overview
from qluster.pairing import Pairing
from qluster.pointing import Pointing
from qluster.reporting import Reports
from qluster.requests import Requests
from qluster.ring import messages as ringing
from qluster.status import Health, Status
from qluster.tasking import Tasking
from qluster.transport.link import Link
from qluster.voting import Voting

log = logging.getLogger("qluster.node")

UNBOUND_ORDERS = (StopFast, StopImmediate, CancelJob)
"""Orders that wait for no save: whoever goes breaks no promise, and a disk that hangs must keep no primary up."""

ROUNDS_MAX = 16
"""Rounds of settling after one event: each commit of a lone leader can cause the next proposal,
and none of the chains that exist is longer than half of this."""

WHOLE_INTERVAL = 0.05
"""Seconds until all parts are asked again, while nothing but entries and their confirmations comes in."""


class Node:
    """One node: ``handle(event, now)`` is all that ever changes it."""

    def __init__(
        self,
        config: Config,
        saved: Saved,
        link: Link,
        *,
        random: Random,
        wall: float,
        now: float,
        founding: int = 0,
    ) -> None:
        """``wall`` is seconds since 1970, for the number of a founding and the dates that people read and give;
        ``founding`` is that number when it is decided already: the state before it has been set aside."""
        self.file = config
        self.config = config
        self.digest = shared_digest(config)
        self.random = random
        self.uid, self.boot = saved.uid, saved.boot
        self.started = now
        self._wall_ahead = wall - now
        self.link = link
        self.state = State()
        self.settled = Members(())
        self.keeper = Keeper()
        self.pointing = Pointing()
        self.reports = Reports()
        self.requests = Requests()
        self.hearing = Hearing(self)
        self.applying = Applying(self)
        self.governing = Governing(self)
        self.fences = Fences(self)
        self.forcing = Forcing(self)
        self.pairing = Pairing(self)
        self.tasking = Tasking(self)
        self.compacting = Compacting(self)
        self.hosting = Hosting(self)
        self.configuring = Configuring(self)
        self.consulting = Consulting(config.device, config.cluster.name, random)
        self.voting = Voting(self, saved)
        self.counters = {"messages_malformed": 0, "messages_foreign": 0, "elections": 0, "snapshots": 0}
        self.message = ""
        self.untaken = ""
        """Which settings of the log this version cannot take, "" when it takes all."""
        self.settings_proposed = (0, 0)
        """Index and term of the last change of settings that was proposed here."""
        self.stopping = False
        self.short = ""
        """Why nothing new is taken on here: the disk is full; "" while there is space."""
        self.settled_at = now
        """When it last settled what had come in."""
        self._leaving, self._numbers = False, 0
        self._effects, self._holding = Effects(), Holding()
        self._begin_settling(now)
        self.identity: Identity | None = None
        self.qraft: QRaft | None = None
        self.joining: Joining | None = None
        self.entering = Entering(self, saved.boot, now)
        self.entering.start(saved, wall=wall, founding=founding, now=now)

    def _begin_settling(self, now: float) -> None:
        """Nothing has been settled: all parts are to be asked."""
        self._stirred = True
        """Something came in that may concern any part."""
        self._stood: tuple[object, ...] = ()
        """How consensus stood when all parts were last asked."""
        self._asked = False
        """A client asked for something."""
        self._whole_since = now
        self._due_at = now
        """When there is something to do without an event, but for the link."""
        self._whole_at = self._qraft_at = now
        """When all parts, and when consensus, must be asked again."""

    # --- the one way in ---------------------------------------------------------

    def handle(self, event: Event, now: float) -> Effects:
        """Take one event, and settle what follows from it."""
        self.take(event, now)
        return self.settle(now)

    def take(self, event: Event, now: float) -> None:
        """Take one event. Several may be taken before :meth:`settle`: they have come in at the same time."""
        match event:
            case DatagramReceived(datagram, source):
                for received in self.link.receive(datagram, source, now):
                    self._stirred |= not self.hearing.take(received, now)
            case SaveEnded(number):
                self._saved(number, now)
            case DeviceOpened() | DeviceClosed() | DeviceAnswered() | DeviceShown():
                self._stirred |= isinstance(event, DeviceOpened | DeviceClosed)
                if self.qraft is not None:
                    self.qraft.hear_device(event, now)
            case TasksHeard(what):
                self.tasking.heard(what, now)
            case ValueWriteRequested() | ValueReadRequested() | TaskRequested() | TaskLooked():
                self._asked = True
                serving.serve(self, event, now)
            case _:
                self._stirred = True
                self._take_rare(event, now)

    def _take_rare(self, event: Event, now: float) -> None:
        """An event that may concern any part."""
        match event:
            case FactsRead(facts):
                assert isinstance(facts, Facts)
                self.keeper.look(facts, now)
            case SpaceChanged(reason):
                self.short = reason
            case WallClockRead(wall):
                self._wall_ahead = wall - now
            case JobEnded():
                hands = (self.keeper.ended, self.pointing.ended, self.configuring.ended, self.governing.handing.ended,
                         self.hosting.ended, self.fences.ended, self.forcing.ended, self.pairing.ended)  # fmt: skip
                if not any(ended(event, now) for ended in hands):
                    self.applying.fetched(event, now)
            case StopRequested():
                self.stopping = True
                self.governing.departing.begin(now)
            case DeviceHeard(what):
                self.consulting.handle(what, now)  # type: ignore[arg-type]
            case TimePassed():
                pass
            case _:
                serving.serve(self, event, now)  # type: ignore[arg-type]

    def settle(self, now: float) -> Effects:
        """What follows from the events taken; to be performed in the order of the fields."""
        effects = self._effects
        self.settled_at = now
        if not self._settled_already(now):
            self._settle(now)
        if effects.memory:
            self.consulting.ask(effects.memory, now)
            effects.device += self.consulting.take()
        effects.alive_until = self.hosting.alive_until(now)
        effects.untied = self.hosting.untied
        effects.wake_at = min(self._due_at, self.link.wake_at)
        self._effects = Effects()
        return effects

    @property
    def outstanding(self) -> int:
        """Number of the save after which all that happened here is durable; 0 when it is."""
        # Saves that have their number were ordered already.
        return self._holding.wait_for([] if self._effects.number else self._effects.save)

    @property
    def durable(self) -> int:
        """Number of the last save that is durable."""
        return self._holding.durable

    @property
    def restless(self) -> bool:
        """Whether something waits to be settled."""
        effects, qraft = self._effects, self.qraft
        moved = qraft is None or qraft.restless or self.requests.restless or self.tasking.stirred
        return bool(moved or self._stirred or self._asked or self.link.queued or effects.start or effects.leave)

    @property
    def saving(self) -> bool:
        """Whether a save that was ordered is not durable yet."""
        return self._holding.ordered > self._holding.durable

    def status(self, now: float) -> Status:
        """What this node knows of itself and its cluster."""
        return overview(self, now)

    def health(self, now: float) -> Health:
        """The part of it that load balancers ask for, at a fraction of the cost."""
        return health(self, now)

    @property
    def snapshot(self) -> Snapshot | None:
        """The newest snapshot, for nodes that are far behind."""
        return self.qraft.snapshot if self.qraft else None

    # --- what the parts ask for --------------------------------------------------

    def job_number(self) -> int:
        """A number that no job had before."""
        self._numbers += 1
        return self._numbers

    def start(self, job: Job | None) -> None:
        """Order a job. One that is cancelled while it waits for the disk never begins."""
        if job is not None and (ended := self._holding.withdraw(job, self._effects)) is not None:
            self._take_rare(ended, self.settled_at)
        elif job is not None and (isinstance(job.order, UNBOUND_ORDERS) or not self._held(job)):
            self._effects.start.append(job)

    def save(self, save: Save) -> None:
        """Have something saved, beside what consensus wants saved."""
        self._effects.save.append(save)

    def stir(self) -> None:
        """Something has changed that may concern any part."""
        self._stirred = True

    def tell(self, message: messages.Message, to: Address | None, now: float) -> None:
        """Send a message of the cluster."""
        self._say(CLUSTER + messages.encode(message), to, now)

    def tell_ring(self, message: ringing.Message, now: float) -> None:
        """Send a message of a ring to all."""
        self._say(RING + ringing.encode(message), None, now)

    def leave_now(self) -> None:
        """End the daemon as it was asked to, whatever still waits for the disk: nobody has heard of that."""
        self._leaving, self._effects.leave = True, Leave("stopped", clean=True)

    def leave(self, message: str, **how: Any) -> None:
        """End the daemon, or (``rejoin``) begin again as a new node; ``how`` are the fields of :class:`Leave`."""
        if self._leaving:
            return
        self._leaving = True
        leave = Leave(message, **how)
        if not self._held(leave):
            self._effects.leave = leave

    def _say(self, text: bytes, to: Address | None, now: float, *, unbound: bool = False) -> None:
        number = self._holding.wait_for(self._effects.save, unbound=unbound)
        if number:
            self._holding.hold(number, Message(text, to))
        else:
            self.link.send(text, to, now, answered=text[:1] == CONSENSUS)

    def _held(self, held: Job | Leave | DeviceQuestion, *, unbound: bool = False) -> bool:
        """Whether this waits for a save."""
        number = self._holding.wait_for(self._effects.save, unbound=unbound)
        if number:
            self._holding.hold(number, held)
        return bool(number)

    def _saved(self, number: int, now: float) -> None:
        for held in self._holding.ended(number):
            match held:
                case Message(text, to):
                    self.link.send(text, to, now, answered=text[:1] == CONSENSUS)
                case Job():
                    self._effects.start.append(held)
                    self._stirred = True  # whoever ordered it is asked first whether it is still to be
                case Leave():
                    self._effects.leave = held
                case _:
                    self._effects.memory.append(held)
        self._stirred |= self.voting.saved(number, now)
        if self.qraft is not None:
            self.qraft.saved(number, now)

    @property
    def me(self) -> int:
        """This node's number; 0 before it has one."""
        return self.identity.node if self.identity else 0

    @property
    def cluster(self) -> int:
        """Number of the founding; 0 before it has one."""
        return self.identity.cluster if self.identity else 0

    @property
    def directory(self) -> str:
        """State of the database directory; "none" on a host without a database."""
        return self.keeper.directory if self.config.database else "none"

    def address(self, node: int) -> Address | None:
        """Where datagrams for a node go."""
        member = self.qraft.members.get(node) if self.qraft else None
        return (member.ip, member.udp_port) if member else self.hearing.source(node)

    def wall(self, now: float) -> float:
        """Seconds since 1970 by this host's clock: for what operators have dated, and nothing that safety needs."""
        return now + self._wall_ahead

    def monotonic_of(self, wall: float) -> float:
        """When the wall clock will say that, if nobody sets it."""
        return wall - self._wall_ahead

    @property
    def leads(self) -> bool:
        """This node leads, and an entry of its term is committed."""
        return self.qraft is not None and self.qraft.role == "leader" and self.qraft.ready

    def alive(self, node: int, now: float) -> bool:
        """Heard from within node-timeout, or this node itself."""
        heard = self.heard(node)
        return node == self.me or (heard is not None and now < heard + self.config.cluster.node_timeout)

    def heard(self, node: int) -> float | None:
        """When a node was last heard."""
        report = self.reports.heard.get(node)
        times = [self.qraft.heard(node) if self.qraft else None, report.at if report else None]
        return max((time for time in times if time is not None), default=None)

    # --- settling -------------------------------------------------------------------

    def _settle(self, now: float) -> None:
        effects = self._effects
        if not self._settle_briefly(now):
            self._settle_wholly(now)
        if self.qraft is not None and self.compacting.step(self.qraft):
            self._carry_out(self.qraft.take(), now)
        if effects.save:
            assert self.qraft is not None, "who belongs to no cluster has nothing to save"
            effects.number = self.qraft.saving()
            self._holding.order(effects.number, effects.save)
        effects.answer += self.requests.take(now)
        effects.send += self.link.due(now)
        effects.device += self.consulting.take()
        effects.tasks += self.tasking.take()
        self._asked = False
        self._qraft_at = self.qraft.wake_at if self.qraft else inf
        due_at = now if self.compacting.busy else self.tasking.due_at
        self._due_at = min(self._qraft_at, self.requests.wake_at, self._whole_at, due_at)

    def _settled_already(self, now: float) -> bool:
        """Whether what came in changed nothing that anybody acts upon: one more confirmation, an echo."""
        if self.qraft is None or now >= self._due_at or now >= self.link.wake_at or self.restless:
            return False
        return self._standing(self.qraft, now) == self._stood

    def _settle_briefly(self, now: float) -> bool:
        """While only entries and their confirmations come in, nobody but consensus has anything to do, and where they
        are of tasks who minds those.

        False when there is more to it: then everybody is asked.
        """
        qraft = self.qraft
        if qraft is None or self._stirred or now >= self._whole_at:
            return False
        if now >= self._qraft_at:
            qraft.tick(now)
        for _ in range(ROUNDS_MAX):
            self._carry_out(qraft.take(), now)
            if self._stirred or not self.tasking.due(now):
                break
            self.tasking.step(now)
        if self._stirred or self._standing(qraft, now) != self._stood or self.compacting.due(qraft):
            return False
        self._whole_at = min(self._whole_at, self._whole_since + WHOLE_INTERVAL)
        return True

    def _standing(self, qraft: QRaft, now: float) -> tuple[object, ...]:
        """What any other part looks at in consensus: while it stays, they would decide the same."""
        return (qraft.role, qraft.term, qraft.leader, qraft.ready, qraft.lease_until > now, qraft.members_index,
                qraft.removed, qraft.transferring)  # fmt: skip

    def _settle_wholly(self, now: float) -> None:
        if self.qraft is None:
            self.entering.step(now)
        if self.qraft is not None:
            self._agree(self.qraft, now)
            self.entering.introduce(self.qraft, now)
            self._stood = self._standing(self.qraft, now)
        self.consulting.step(self.me, self.settled.voters, self.cluster, now, self.state.lineage)
        self.voting.consulted(now)
        if witnessing.hear(self, now) and self.qraft is not None:
            self._agree(self.qraft, now)
        self.forcing.step(now)
        self.pairing.step(now)
        self.hosting.step(now)
        self.fences.step(now)
        self._stirred, self._whole_since = False, now
        self._whole_at = min(
            self.keeper.wake_at(now), self.hosting.pool_wake_at, self.reports.wake_at if self.qraft else inf,
            self.governing.wake_at, self.entering.hello_at, self.consulting.wake_at, self.fences.wake_at,
            self.voting.wake_at, self.forcing.wake_at, self.pairing.wake_at)  # fmt: skip

    def _agree(self, qraft: QRaft, now: float) -> None:
        qraft.short = bool(self.short)
        self.voting.step(now)
        witnessing.hear(self, now)
        qraft.tick(now)
        for _ in range(ROUNDS_MAX):
            moved = self._carry_out(qraft.take(), now)
            moved |= self.governing.step(now) | self.tasking.step(now)
            if not moved and not qraft.restless:
                break
        if not self.applying.checked and self.state.name and qraft.caught_up:
            self.applying.check_file()
        if qraft.removed and not self.stopping:
            self.leave(f"node {self.me} was removed from the cluster; set its state directory aside to join anew")
        if self.compacting.due(qraft):
            self.compacting.begin(self.tasking.packed())

    def _carry_out(self, output: Output, now: float) -> bool:
        self._effects.save += output.save
        saved_index = self.qraft.saved_index if self.qraft is not None else 0
        for destination, message in output.send:
            to = self.address(destination) if destination is not None else None
            if destination is None or to is not None:
                self._say(CONSENSUS + encode(message), to, now, unbound=unbound(message, saved_index))
        for question in output.device:
            if not self._held(question, unbound=unbound(question, saved_index)):
                self._effects.memory.append(question)
        self._stirred |= witnessing.synced(self, output.synced, now)
        if output.restored is not None:
            self.applying.restore(output.restored, now)
        self.applying.apply(output.committed, now)
        for ticket, may in output.reads:
            self.requests.read(ticket, serving.unread(self, may))
        if output.fetch is not None:
            self.applying.fetch(output.fetch.node, output.fetch.index)
        for line in output.log:
            log.info("%s", line)
        return bool(output.committed or output.restored or output.send or output.save or output.reads)
