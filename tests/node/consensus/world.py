"""Some participants of QRaft, a lossy network and failing hosts, all out of one seed.

Events happen one at a time in the order of their time, and after each the invariants are checked.
Faults aim at the seams: a host dies before a save, in the midst of it, or between save and send.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import heapq
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from random import Random

from consensus.arbiter import Arbiter, questions
from consensus.invariants import Invariants, Violated
from consensus.memory import Memory, copied
from consensus.stock import Stock
from qluster.consensus.members import LEVEL_MAX, MEMORY, Member, Members
from qluster.consensus.messages import AnyMessage, decode, encode
from qluster.consensus.output import Output
from qluster.consensus.qraft import QRaft
from qluster.consensus.refusals import Refusal
from qluster.consensus.settings import Settings
from qluster.events import DeviceQuestion, Entry, Identity, Saved
from qluster.holding import Holding, unbound

CLUSTER = 77
FAST = Settings(
    node_timeout=0.3,
    heartbeat_interval=0.1,
    pre_voting_timeout=0.1,
    leader_voting_timeout=0.1,
    replication_retry_interval=0.03,
    remove_interval=1.0,
    max_log_size=400,
)


def member(node: int, voter: bool = True, role: str = "node") -> Member:
    """A member of a simulated cluster."""
    return Member(node, 1000 + node, f"10.0.0.{node}", 8080, 7400, 5432, voter, role)


@dataclass(slots=True)
class Faults:
    """How bad the world is. Probabilities per message or per output."""

    loss: float = 0.0
    duplication: float = 0.0
    delay_max: float = 0.005
    long_delay: float = 0.0
    """Probability of a delay of up to half a second: reordering over elections."""
    crash: float = 0.0
    partition: float = 0.0
    """Probability, at each change of weather, that some links are cut one way or both ways."""
    weather_interval: float = 0.5
    membership: bool = False
    snapshots: bool = False
    hang: float = 0.0
    """Probability, at each change of weather, that some host's daemon stands still for a while."""
    drift: float = 0.0
    """Clocks run faster or slower by up to this part."""


@dataclass(slots=True)
class Host(Memory):
    """One host: what is durable, and the participant while it runs."""

    node: int
    saved: Saved
    clock_offset: float = 0.0
    clock_rate: float = 1.0
    qraft: QRaft | None = None
    applied: int = 0
    chain: int = 0
    """Digest of everything applied, in order."""
    log: list[str] = field(default_factory=list)
    hung_until: float = 0.0

    def clock(self, now: float) -> float:
        """What this host's clock says."""
        return now * self.clock_rate + self.clock_offset


def sent_early(qraft: QRaft, output: Output) -> list[tuple[int | None, AnyMessage]]:
    """What is sent before the saves are durable; the rest stays in the output."""
    before = Holding()
    waits = [before.wait_for(output.save, unbound=unbound(one, qraft.saved_index)) for _, one in output.send]
    early = [one for one, number in zip(output.send, waits, strict=True) if not number]
    output.send = [one for one, number in zip(output.send, waits, strict=True) if number]
    return early


class World:
    """A cluster of participants."""

    make_arbiter: type[Arbiter] = Arbiter

    def __init__(
        self,
        seed: int,
        nodes: int = 3,
        faults: Faults | None = None,
        settings: Settings = FAST,
        founded: bool = False,
        witness: bool = False,
        stock: str = "",
    ) -> None:
        """``witness``: there is an arbiter that remembers; leaders put it into the list. ``stock``: there is one that
        does not, with this algorithm."""
        self.random = Random(seed)
        self.faults = faults or Faults()
        self.settings = settings
        self.now = 0.0
        self.hosts: dict[int, Host] = {}
        self.cut: set[tuple[int, int]] = set()
        self.checks = Invariants(self)
        self.proposals = 0
        self.reads: dict[int, tuple[int, int]] = {}
        """Ticket → node, and what was acknowledged anywhere when the read was asked for."""
        self.reads_confirmed = 0
        self.crashes = 0
        self.acknowledged = 0
        self.sends_first = False
        """A planted fault: what is to be saved is saved after the sending."""
        self._queue: list[tuple[float, int, int, bytes | Callable[[], None] | None]] = []
        self._order = 0
        self._timers: dict[int, float] = {}
        self._ticket = 0
        self.stock = Stock(self, seed, stock, nodes) if stock else None
        self.arbiter: Arbiter | Stock | None = self.make_arbiter(self, seed) if witness else self.stock
        first = Members(tuple(member(node) for node in range(1, nodes + 1)), *self._rule(), configured=nodes)
        for node in range(1, nodes + 1):
            entries = [Entry(1, 1, "members", first.encode())]
            self.add_host(node, [] if founded and node > 1 else entries)

    def _rule(self) -> tuple[bool, int]:
        return self.settings.quorum_replication, self.settings.replication_factor

    def add_host(self, node: int, entries: list[Entry]) -> Host:
        """A host that was not there before."""
        drift = self.faults.drift
        saved = Saved(1000 + node, 1, True, Identity(1000 + node, CLUSTER, node), 1, None, None, list(entries))
        offset, rate = self.random.uniform(0, 100), 1.0 + self.random.uniform(-drift, drift)
        self.hosts[node] = host = Host(node, saved, offset if not drift else 0.0, rate)
        self.start(host)
        return host

    # --- time -------------------------------------------------------------------

    def run(self, seconds: float, weather: bool = True) -> None:
        """Let time pass."""
        end = self.now + seconds
        next_weather = self.now + self.faults.weather_interval if weather else inf
        while True:
            timer = min(self._timers.items(), key=lambda item: item[1], default=(0, inf))
            arrival = self._queue[0][0] if self._queue else inf
            soonest = min(timer[1], arrival, next_weather)
            if soonest > end:
                break
            self.now = max(self.now, soonest)
            if soonest == next_weather:
                self._change_weather()
                next_weather = self.now + self.faults.weather_interval
            elif arrival <= timer[1]:
                _, _, node, datagram = heapq.heappop(self._queue)
                self._arrive(node, datagram)
            else:
                self._tick(timer[0])
        self.now = end

    def _tick(self, node: int) -> None:
        host = self.hosts[node]
        if host.qraft is None:
            self.start(host)
            return
        if self.now < host.hung_until:
            self._timers[node] = host.hung_until + 1e-3
            return
        before = self._timers[node]
        host.qraft.tick(host.clock(self.now))
        self.perform(host)
        if self._timers.get(node, inf) <= before <= self.now and host.qraft is not None:
            raise Violated(f"liveness: node {node} wants to be woken at {before} again and again")

    def at(self, time: float, what: Callable[[], None]) -> None:
        """Do something at a time."""
        self._order += 1
        heapq.heappush(self._queue, (time, self._order, 0, what))

    def _arrive(self, node: int, datagram: bytes | Callable[[], None] | None) -> None:
        if callable(datagram):
            datagram()
            return
        host = self.hosts.get(node)
        if host is None or host.qraft is None or datagram is None:
            return
        if self.now < host.hung_until:
            self._order += 1
            heapq.heappush(self._queue, (host.hung_until, self._order, node, datagram))
            return
        host.qraft.receive(decode(datagram), host.clock(self.now))
        self.perform(host)

    def _set_timer(self, host: Host) -> None:
        if host.qraft is None:
            return
        wake_at = (host.qraft.wake_at - host.clock_offset) / host.clock_rate
        self._timers[host.node] = max(wake_at, self.now) + 1e-6

    # --- hosts --------------------------------------------------------------------

    def start(self, host: Host) -> None:
        """The host's daemon starts from what is durable."""
        saved = host.saved
        host.qraft = QRaft(host.node, self.settings, copied(saved), self.random, host.clock(self.now))
        host.applied = saved.snapshot.index if saved.snapshot else 0
        host.chain = int.from_bytes(saved.snapshot.state, "big") if saved.snapshot else 0
        self.checks.restarted(host)
        if self.arbiter is not None:
            for node in range(1, 10):
                host.qraft.counts(node, LEVEL_MAX)
            self.arbiter.connect(host)
        self._set_timer(host)

    def crash(self, host: Host) -> None:
        """Everything that is not durable is gone; the host comes back after a while."""
        host.qraft = None
        self.crashes += 1
        self._timers[host.node] = self.now + self.random.uniform(0.01, 1.0)

    def stop(self, host: Host) -> None:
        """The host is gone until it is started again."""
        host.qraft = None
        self._timers.pop(host.node, None)

    def perform(self, host: Host) -> None:
        """Do what the node wants, or die on the way."""
        if host.qraft is None:
            return
        output = host.qraft.take()
        number = host.qraft.saving() if output.save else 0
        early = sent_early(host.qraft, output) if number else []
        asked, asked_later = questions(host.qraft, output)
        dies = self.random.random() < self.faults.crash
        seam = self.random.randrange(3) if dies else 9
        if self.sends_first:
            self._send(host, output.send)
        self._send(host, early)
        self._ask(host, asked)
        for save in output.save:
            if seam == 0:
                break
            self.checks.before_save(host, save)
            host.save(save)
            if seam == 1:
                break
        if dies:
            if seam == 2:
                self._send(host, output.send)
                self._ask(host, asked_later)
            self.crash(host)
            return
        self._send(host, output.send)
        self._ask(host, asked_later)
        self._apply(host, output)
        if host.qraft is None:
            return
        if number:
            host.qraft.saved(number, host.clock(self.now))
            self.perform(host)
            return
        if self.stock is not None:
            self.stock.synced(host, output)
        self.checks.after(host, output)
        self._maybe_compact(host)
        self._set_timer(host)

    def _apply(self, host: Host, output: Output) -> None:
        host.log += [f"{self.now:.3f} {line}" for line in output.log]
        if output.restored is not None:
            host.applied = output.restored.index
            host.chain = int.from_bytes(output.restored.state, "big")
        for entry in output.committed:
            self.checks.s12_same_entry_everywhere(host, entry)
            host.applied = entry.index
            host.chain = hash((host.chain, entry.index, entry.term, entry.payload)) & (2**63 - 1)
        output.committed = []
        if host.qraft is not None and host.qraft.role == "leader":
            self.acknowledged = max(self.acknowledged, host.applied)
        for ticket, may in output.reads:
            _, floor = self.reads.pop(ticket)
            if may:
                self.reads_confirmed += 1
                if host.applied < floor:
                    raise Violated(f"stale read: node {host.node} serves {host.applied}, {floor} was acknowledged")
        if output.fetch is not None:
            self._fetch(host, output.fetch.node)

    def _fetch(self, host: Host, node: int) -> None:
        source = self.hosts.get(node)
        assert host.qraft is not None
        if source is None or source.saved.snapshot is None or (node, host.node) in self.cut:
            host.qraft.fetch_failed()
            return
        host.qraft.install(source.saved.snapshot, host.clock(self.now))
        self.perform(host)

    def _maybe_compact(self, host: Host) -> None:
        if not self.faults.snapshots or host.qraft is None:
            return
        if host.applied > host.qraft.snapshot_index + 5 and self.random.random() < 0.05:
            host.qraft.compact(host.applied, host.chain.to_bytes(8, "big"))
            if self.random.random() < 0.7:
                host.qraft._me.journal._rebase(host.qraft.snapshot_index)
            self.perform(host)

    # --- network ------------------------------------------------------------------

    def _ask(self, host: Host, asked: list[DeviceQuestion]) -> None:
        for question in asked if self.arbiter is not None else ():
            assert isinstance(self.arbiter, Arbiter), "who remembers nothing is not asked"
            self.arbiter.asked(host, question)

    def _send(self, host: Host, messages: list[tuple[int | None, AnyMessage]]) -> None:
        for destination, message in messages:
            self.checks.sent(host, message)
            datagram = encode(message)
            receivers = [destination] if destination is not None else [n for n in self.hosts if n != host.node]
            for receiver in receivers:
                self._transmit(host.node, receiver, datagram)

    def _transmit(self, sender: int, receiver: int, datagram: bytes) -> None:
        faults, random = self.faults, self.random
        if (sender, receiver) in self.cut or random.random() < faults.loss:
            return
        copies = 2 if random.random() < faults.duplication else 1
        for _ in range(copies):
            delay = random.uniform(0.0005, faults.delay_max)
            if faults.long_delay and random.random() < faults.long_delay:
                delay = random.uniform(0.01, 0.5)
            self._order += 1
            heapq.heappush(self._queue, (self.now + delay, self._order, receiver, datagram))

    def _change_weather(self) -> None:
        random, faults = self.random, self.faults
        self.cut.clear()
        if random.random() < faults.partition:
            nodes = list(self.hosts)
            for one in nodes:
                for other in nodes:
                    if one != other and random.random() < 0.4:
                        self.cut.add((one, other))
                        if random.random() < 0.6:
                            self.cut.add((other, one))
        if random.random() < faults.hang:
            host = random.choice(self.leaders() or list(self.hosts.values()))
            host.hung_until = self.now + random.uniform(0.1, 1.0)
        for _ in range(random.randrange(1, 6)):
            self.propose()
        if random.random() < 0.5:
            self.read()
        if random.random() < 0.15:
            self._transfer()
        if faults.membership and random.random() < 0.5:
            self._change_members()
        if self.arbiter is not None:
            self.arbiter.change_weather()

    def isolate(self, node: int) -> None:
        """Cut all links of a node."""
        self.cut |= {pair for other in self.hosts for pair in ((node, other), (other, node)) if other != node}

    # --- clients --------------------------------------------------------------------

    def leaders(self) -> list[Host]:
        """Hosts that believe to lead; newest term last."""
        found = [host for host in self.hosts.values() if host.qraft is not None and host.qraft.role == "leader"]
        return sorted(found, key=lambda host: host.qraft.term if host.qraft else 0)

    def leader(self) -> Host | None:
        """The host that leads in the newest term."""
        return self.leaders()[-1] if self.leaders() else None

    def propose(self, payload: bytes | None = None) -> None:
        """Some leader is asked to append something."""
        leaders = self.leaders()
        if not leaders:
            return
        host = self.random.choice(leaders)
        self.proposals += 1
        payload = payload if payload is not None else b"%d" % self.proposals * self.random.randrange(1, 60)
        self._try(host, lambda qraft, now: qraft.propose("command", payload[:400], now))

    def read(self) -> None:
        """Some node is asked for a linearizable read."""
        hosts = [host for host in self.hosts.values() if host.qraft is not None]
        if hosts:
            host = self.random.choice(self.leaders() or hosts)
            self._ticket += 1
            ticket = self._ticket
            self.reads[ticket] = (host.node, self.acknowledged)
            self._try(host, lambda qraft, now: qraft.request_read(ticket, now))

    def _transfer(self) -> None:
        host, target = self.leader(), self.random.choice(list(self.hosts))
        if host is not None:
            self._try(host, lambda qraft, now: qraft.transfer(target, now))

    def _change_members(self) -> None:
        host = self.leader()
        if host is None or host.qraft is None:
            return
        members = host.qraft.members
        node = self.random.randrange(1, 7)
        if members.get(node) is not None and len(members.voters) > 1 and self.random.random() < 0.5:
            self._try(host, lambda qraft, now: qraft.change_members(members.without(node), now))
        elif members.get(node) is None:
            if node in self.hosts:
                return
            self.add_host(node, [])
            wanted = members.with_member(member(node, voter=self.random.random() < 0.3))
            self._try(host, lambda qraft, now: qraft.change_members(wanted, now))

    def _try(self, host: Host, action: object) -> None:
        assert host.qraft is not None and callable(action)
        if self.now < host.hung_until - 1e-3 and self.random.random() < 0.9:
            return
        with suppress(Refusal):
            action(host.qraft, host.clock(self.now))
        self.perform(host)

    def device(self, host: Host, uid: int, votes: int | None = None, way: str = MEMORY) -> None:
        """A leader is asked to count this memory, or a device that has none."""
        self._try(host, lambda qraft, now: qraft.device(uid, votes, now, way))

    # --- the end --------------------------------------------------------------------

    def heal(self) -> None:
        """No more faults; everybody is there."""
        self.cut.clear()
        for host in self.hosts.values():
            host.hung_until = 0.0
        self.faults = Faults(delay_max=self.faults.delay_max, drift=self.faults.drift)
        for host in self.hosts.values():
            if host.qraft is None:
                self.start(host)
        if self.arbiter is not None:
            self.arbiter.heal()

    def settled(self) -> str:
        """Why the cluster is not one, "" when it is."""
        host = self.leader()
        if host is None or host.qraft is None:
            return "nobody leads"
        if not host.qraft.ready:
            return f"node {host.node} leads and cannot commit"
        for one in host.qraft.members:
            other = self.hosts[one.node]
            if other.applied != host.applied or other.chain != host.chain:
                return f"node {one.node} applied {other.applied}, the leader {host.applied}"
        return ""
