"""Joins the parts of a node: an event goes to those it concerns, their effects are gathered.

Decides as little as it can; must not know sockets, files, processes or the clock.

The order of settling after each event: consensus, what a leader owes, the database, the pool,
the report, the answers, the datagrams. Each looks at what the ones before it have made of the event.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
from dataclasses import replace
from math import inf
from random import Random

from qluster import __version__, joining, serving
from qluster.cluster import commands, messages
from qluster.cluster.state import State
from qluster.cluster.state import decode as decode_state
from qluster.cluster.state import encode as encode_state
from qluster.config import Config, changeable, differences, shared, shared_digest, with_changes
from qluster.consensus.members import Member, Members
from qluster.consensus.messages import MalformedMessage, decode, encode
from qluster.consensus.output import Output
from qluster.consensus.qraft import QRaft
from qluster.database.facts import Facts
from qluster.events import (
    Address,
    DatagramReceived,
    Effects,
    Entry,
    Event,
    FactsRead,
    FetchSnapshot,
    Identity,
    Job,
    JobEnded,
    Leave,
    Saved,
    SaveEnded,
    SaveIdentity,
    Snapshot,
    StopRequested,
    TimePassed,
)
from qluster.governing import Governing
from qluster.holding import UNBOUND, Holding, Message
from qluster.hosting import Hosting
from qluster.keeper import Keeper
from qluster.overview import consensus_settings, overview
from qluster.pointing import Pointing
from qluster.promising import promise_at_start
from qluster.reporting import Reports
from qluster.requests import Requests
from qluster.status import Status
from qluster.transport.link import Link

log = logging.getLogger("qluster.node")

ROUNDS_MAX = 16
"""Rounds of settling after one event: each commit of a lone leader can cause the next proposal,
and none of the chains that exist is longer than half of this."""

COMPACT_ENTRIES = 2000
"""Entries applied since the last snapshot before the next one is taken."""

CONSENSUS, CLUSTER = b"q", b"m"
"""First byte of a message: whose it is."""



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
        """``wall`` is seconds since 1970, used once, for the number of a founding;
        ``founding`` is that number when it is decided already: the state before it has been set aside.
        """
        self.file = config
        self.config = config
        self.digest = shared_digest(config)
        self.random = random
        self.uid = saved.uid
        self.started = now
        self.link = link
        self.state = State()
        self.settled = Members(())
        self.keeper = Keeper()
        self.pointing = Pointing()
        self.reports = Reports()
        self.requests = Requests()
        self.governing = Governing(self)
        self.hosting = Hosting(self)
        self.counters = {"messages_malformed": 0, "messages_foreign": 0, "elections": 0, "snapshots": 0}
        self.message = ""
        self.stopping = False
        self._leaving = False
        self._boot = saved.boot
        self._effects = Effects()
        self._holding = Holding()
        self._numbers = 0
        self._fetching: int | None = None
        self._checked = False
        self._hello_at = now
        self._addresses: dict[int, Address] = {}
        anew = joining.begins_anew(saved)
        self._anew = anew and not founding
        self.identity: Identity | None = None if anew else saved.identity
        self.qraft: QRaft | None = None
        self.joining: joining.Joining | None = None
        if self.identity is not None:
            self._begin(saved, now)
        else:
            self.joining = joining.Joining(
                saved,
                founder=config.cluster.founder == config.ip,
                anew=saved.identity.cluster if saved.identity is not None else None,
                wall=wall,
                retry=config.hello_retry_interval,
                now=now,
                founding=founding,
            )

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
                    self._message(received.message, received.uid, received.source, now)
            case FactsRead(facts):
                assert isinstance(facts, Facts)
                self.keeper.look(facts, now)
            case SaveEnded(number):
                self._saved(number, now)
            case JobEnded():
                self._ended(event, now)
            case StopRequested():
                self.stopping = True
                self.governing.stop(now)
            case TimePassed():
                pass
            case _:
                serving.serve(self, event, now)

    def settle(self, now: float) -> Effects:
        """What follows from the events taken; to be performed in the order of the fields."""
        effects = self._effects
        self._settle(now)
        self._effects = Effects()
        return effects

    @property
    def saving(self) -> bool:
        """Whether a save that was ordered is not durable yet."""
        return self._holding.ordered > self._holding.durable

    def status(self, now: float) -> Status:
        """What this node knows of itself and its cluster."""
        return overview(self, now)

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
        """Order a job."""
        if job is not None and not self._held(job):
            self._effects.start.append(job)

    def tell(self, message: messages.Message, to: Address | None, now: float) -> None:
        """Send a message of the cluster."""
        self._say(CLUSTER + messages.encode(message), to, now)

    def leave(self, message: str, *, rejoin: bool = False, clean: bool = False, founding: int = 0) -> None:
        """End the daemon, or (``rejoin``) begin again as a new node."""
        if self._leaving:
            return
        self._leaving = True
        leave = Leave(message, rejoin, clean, founding)
        if not self._held(leave):
            self._effects.leave = leave

    def _say(self, text: bytes, to: Address | None, now: float, *, unbound: bool = False) -> None:
        number = self._holding.wait_for(self._effects.save, unbound=unbound)
        if number:
            self._holding.hold(number, Message(text, to))
        else:
            self.link.send(text, to, now)

    def _held(self, held: Job | Leave) -> bool:
        """Whether this waits for a save."""
        number = self._holding.wait_for(self._effects.save)
        if number:
            self._holding.hold(number, held)
        return bool(number)

    def _saved(self, number: int, now: float) -> None:
        for held in self._holding.ended(number):
            match held:
                case Message(text, to):
                    self.link.send(text, to, now)
                case Job():
                    self._effects.start.append(held)
                case Leave():
                    self._effects.leave = held
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
        return (member.ip, member.udp_port) if member else self._addresses.get(node)

    def alive(self, node: int, now: float) -> bool:
        """Heard from within node-timeout, or this node itself."""
        heard = self.heard(node)
        return node == self.me or (heard is not None and now < heard + self.config.cluster.node_timeout)

    def heard(self, node: int) -> float | None:
        """When a node was last heard."""
        report = self.reports.heard.get(node)
        times = [self.qraft.heard(node) if self.qraft else None, report.at if report else None]
        return max((time for time in times if time is not None), default=None)

    def hello(self) -> messages.Hello:
        """What this node says of itself when it wants in."""
        config = self.config
        return messages.Hello(
            self.cluster, self.me, self.uid, config.ip, config.udp.port(config.ip), config.api_port,
            config.database.port if config.database else None, config.role, config.pool is not None,
            __version__, shared(self.file),
        )  # fmt: skip

    # --- messages -----------------------------------------------------------------

    def _message(self, text: bytes, uid: int, source: Address, now: float) -> None:
        try:
            message = decode(text[1:]) if text[:1] == CONSENSUS else messages.decode(text[1:])
        except (MalformedMessage, messages.MalformedMessage):
            self.counters["messages_malformed"] += 1
            return
        if isinstance(message, messages.Hello):
            self._heard_hello(message, now)
        elif self.qraft is None:
            self._heard_outside(message, now)
        elif message.cluster != self.cluster:
            self.counters["messages_foreign"] += 1
            self._heard_foreign(message.cluster, now)
        elif self._genuine(message.node, uid):
            self._addresses[message.node] = source
            if text[:1] == CONSENSUS:
                self.qraft.receive(message, now)  # type: ignore[arg-type]
            else:
                self.qraft.hear(message.node, now)
                self.governing.receive(message, now)  # type: ignore[arg-type]

    def _genuine(self, node: int, uid: int) -> bool:
        """A number belongs to one uid: whoever lost its state is another node."""
        member = self.qraft.members.get(node) if self.qraft else None
        return member is None or member.uid == uid

    def _heard_hello(self, hello: messages.Hello, now: float) -> None:
        if self.qraft is None:
            return
        if hello.cluster > self.cluster:
            self._heard_foreign(hello.cluster, now)
            return
        if self.me in self.qraft.members.voters:
            member = any(member.uid == hello.uid for member in self.settled)
            # Cluster 0: it has none, or gives up the one it had. A member does that too when add_node was taken away.
            if not member or not hello.cluster:
                present = messages.Present(self.cluster, self.me, self.qraft.leader or 0)
                self.tell(present, (hello.ip, hello.udp_port), now)
            self.governing.hello(hello)

    def _heard_outside(self, message: object, now: float) -> None:
        """Before this node belongs to a cluster only answers to its hello count."""
        assert self.joining is not None
        match message:
            case messages.Present(cluster):
                self.joining.present(cluster, now)
            case messages.Welcome(cluster, _, uid, number):
                self.joining.welcome(cluster, uid, number)
            case messages.Refusal(_, _, uid, reason):
                self.joining.refusal(uid, reason)

    def _heard_foreign(self, cluster: int, now: float) -> None:
        led = self.qraft is not None and self.qraft.leader is not None and self.qraft.quorate(now)
        outcome = joining.meets_later_founding(self.cluster, cluster, self.directory, led=led)
        if isinstance(outcome, joining.GiveUp):
            self.leave(outcome.message)
        elif outcome:
            log.warning("founded-anew founding=%d own=%d this node sets its log aside and joins", cluster, self.cluster)
            self.leave(f"joins founding {cluster}", rejoin=True)

    # --- settling -------------------------------------------------------------------

    def _settle(self, now: float) -> None:
        effects = self._effects
        if self.qraft is None:
            self._join(now)
        if self.qraft is not None:
            self._agree(self.qraft, now)
            self._introduce(self.qraft, now)
        self.hosting.step(now)
        if effects.save:
            assert self.qraft is not None, "who belongs to no cluster has nothing to save"
            effects.number = self.qraft.saving()
            self._holding.order(effects.number, effects.save)
        effects.answer += self.requests.take(now)
        effects.send += self.link.due(now)
        effects.alive_until = self.hosting.alive_until(now)
        effects.wake_at = min(
            self.qraft.wake_at if self.qraft else inf,
            self.link.wake_at, self.requests.wake_at, self.keeper.wake_at(now), self.pointing.wake_at,
            self.reports.wake_at if self.qraft else inf, self.governing.wake_at, self._hello_at,
        )  # fmt: skip

    def _agree(self, qraft: QRaft, now: float) -> None:
        qraft.tick(now)
        for _ in range(ROUNDS_MAX):
            moved = self._carry_out(qraft.take(), now)
            if not self.governing.step(now) and not moved:
                break
        if not self._checked and self.state.name and qraft.caught_up:
            self._check_file()
        if qraft.removed and not self.stopping:
            self.leave(f"node {self.me} was removed from the cluster; set its state directory aside to join anew")
        applied = self.state.applied
        if applied - qraft.snapshot_index >= COMPACT_ENTRIES:
            qraft.compact(applied, encode_state(self.state))
            self.counters["snapshots"] += 1
            self._carry_out(qraft.take(), now)

    def _carry_out(self, output: Output, now: float) -> bool:
        self._effects.save += output.save
        for destination, message in output.send:
            to = self.address(destination) if destination is not None else None
            if destination is None or to is not None:
                self._say(CONSENSUS + encode(message), to, now, unbound=isinstance(message, UNBOUND))
        if output.restored is not None:
            self._restore(output.restored, now)
        for entry in output.committed:
            self._apply(entry, now)
        for ticket, may in output.reads:
            self.requests.read(ticket, serving.unread(self, may))
        if output.fetch is not None and self._fetching is None:
            self._fetch(output.fetch.node, output.fetch.index)
        for line in output.log:
            log.info("%s", line)
        return bool(output.committed or output.restored or output.send or output.save or output.reads)

    def _apply(self, entry: Entry, now: float) -> None:
        if entry.kind == "members":
            self._settle_members(Members.decode(entry.payload), now)
        command = commands.decode(entry.payload) if entry.kind == "command" else None
        refusal = self.state.perform(entry, command)
        if command is not None:
            self._applied(command.body, now)
        self.requests.committed(entry, refusal)

    def _settle_members(self, members: Members, now: float) -> None:
        self.settled = members
        self.state.note_members([member.node for member in members])
        self.reports.forget({member.node for member in members})
        log.info("members %s", " ".join(f"{one.node}={one.ip}{'' if one.voter else '(listener)'}" for one in members))

    def _applied(self, body: commands.Body, now: float) -> None:
        match body:
            case commands.Founded() | commands.SettingsChanged():
                self._take_settings()
            case commands.Reign(number, node, term, timeline, position):
                log.info(
                    "reign number=%d node=%d term=%d timeline=%d position=%X/%X lost-bytes=%d",
                    number, node, term, timeline, position >> 32, position & 0xFFFFFFFF, body.lost_bytes,
                )  # fmt: skip

    def _take_settings(self) -> None:
        """The settings in force are those of the log."""
        mine = shared(self.file)
        allowed = set(changeable())
        values = self.state.values()
        changes = {key: value for key, value in values.items() if key in allowed and mine.get(key) != value}
        self.config = with_changes(self.file, changes)
        self.digest = shared_digest(self.config)
        if self.qraft is not None:
            self.qraft.settings = consensus_settings(self.config)

    def _check_file(self) -> None:
        """A file that contradicts the log ends the daemon, at its start.

        Only once all of the log is applied: a value that was changed since the founding contradicts its beginning.
        """
        mine = shared(self.file)
        wrong = differences(mine, self.state.accepts(mine))
        if wrong:
            self.leave(" ".join(wrong))
        self._checked = True

    def _restore(self, snapshot: Snapshot, now: float) -> None:
        self.state = decode_state(snapshot.state)
        self._settle_members(Members.decode(snapshot.members), now)
        self.requests.replaced(snapshot.index)
        self._take_settings()

    def _fetch(self, node: int, index: int) -> None:
        assert self.qraft is not None
        member = self.qraft.members.get(node)
        known = self._addresses.get(node)
        # A node that has no log yet knows the leader by its datagrams only; all nodes use one REST port by default.
        host, port = (member.ip, member.api_port) if member else (known[0] if known else "", self.config.api_port)
        if not host:
            return
        self._fetching = self.job_number()
        self.start(Job(self._fetching, FetchSnapshot((host, port), index)))

    def _ended(self, event: JobEnded, now: float) -> None:
        if self.keeper.ended(event, now) or self.pointing.ended(event, now):
            return
        if event.number == self._fetching:
            self._fetching = None
            if isinstance(event.result, Snapshot) and self.qraft is not None:
                self.qraft.install(event.result, now)
            elif self.qraft is not None:
                self.qraft.fetch_failed()
                log.warning("snapshot-failed %s", event.error)

    # --- joining ----------------------------------------------------------------------

    def _join(self, now: float) -> None:
        assert self.joining is not None
        self._hello_at = inf
        if self.stopping:
            return
        match self.joining.step(now, self.directory):
            case joining.Hello():
                self.tell(self.hello(), None, now)
                self._hello_at = now + self.config.hello_retry_interval
            case joining.Stay(until, reason):
                self._hello_at, self.message = until, reason
            case joining.Found(number) if self._anew:
                # The log of the cluster that is given up is put away before anything is written to the new one.
                self.leave(f"founds anew as {number}", rejoin=True, founding=number)
            case joining.Found(number):
                self._found(number, now)
            case joining.Joined(number) if self._anew:
                # The number in the welcome belongs to the log that is given up: its promises must not be forgotten.
                self.leave(f"joins founding {number} as a new node", rejoin=True)
            case joining.Joined(number, node):
                self._begin(self._become(Identity(self.uid, number, node)), now)
            case joining.GiveUp(message):
                self.leave(message)

    def _become(self, identity: Identity) -> Saved:
        log.info("joined node=%d founding=%d", identity.node, identity.cluster)
        self._effects.save.append(SaveIdentity(identity))
        self.identity, self.joining = identity, None
        return Saved(self.uid, self._boot, invited=True, identity=identity)

    def _begin(self, saved: Saved, now: float) -> None:
        assert saved.identity is not None
        self.message = "waiting for the leader"
        if saved.snapshot is not None:
            # The log goes on where the snapshot ends: what lies before it is in the snapshot alone.
            self.state = decode_state(saved.snapshot.state)
            self._settle_members(Members.decode(saved.snapshot.members), now)
        settings = consensus_settings(self.config)
        promised = replace(settings, node_timeout=promise_at_start(saved, settings.node_timeout))
        self.qraft = QRaft(saved.identity.node, promised, saved, self.random, now)
        self.qraft.settings = settings
        if saved.snapshot is not None:
            self._take_settings()

    def _found(self, number: int, now: float) -> None:
        config = self.config
        log.info("founded founding=%d name=%s", number, config.cluster.name)
        own = Member(
            node=1, uid=self.uid, ip=config.ip, api_port=config.api_port, udp_port=config.udp.port(config.ip),
            db_port=config.database.port if config.database else None, voter=True, pool=config.pool is not None,
        )  # fmt: skip
        saved = self._become(Identity(self.uid, number, 1))
        settings = consensus_settings(config)
        self.qraft = QRaft.found(1, settings, saved, self.random, now, Members((own,)))

    def _introduce(self, qraft: QRaft, now: float) -> None:
        """A node that comes back says hello until it hears the leader: its addresses may be new."""
        if qraft.leader is not None or qraft.role == "leader" or self.stopping:
            self._hello_at = inf
            return
        if now >= self._hello_at or self._hello_at == inf:
            self.tell(self.hello(), None, now)
            self._hello_at = now + self.config.hello_retry_interval

