"""A cluster in one process: hosts, a network, time. The node code is the real one.

One seed makes everything. Events happen one at a time, in the order of their time;
after each of them every check is asked. Faults aim at the seams: a host may die
before a save, between save and send, between send and the start of a job.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from random import Random

from qluster.config import Config, parse
from qluster.events import (
    Address,
    CancelJob,
    ClientRequest,
    DatagramReceived,
    Effects,
    Event,
    FactsRead,
    FetchSnapshot,
    Job,
    JobEnded,
    Leave,
    Repoint,
    TimePassed,
)
from qluster.node import Node
from qluster.transport.link import Link, LinkSettings
from qluster.transport.seal import Key

from sim.checks import Checks, Violated
from sim.database import SECONDS, Failed, SimDatabase
from sim.disk import SimDisk

GROUP: Address = ("239.19.76.1", 7400)
KEY = Key(1, bytes(range(32)))
FACTS_INTERVAL = 0.5
STREAM_INTERVAL = 0.02
GUARD_DELAY = 0.05
"""Seconds a guard needs to end a database once its deadline has passed; measured ones are shorter."""
RESTART_SECONDS = (0.5, 3.0)

CONFIG = """
ip: {ip}
api-port: 8080
state-dir: /qluster
role: {role}
udp:
  socket: {{group: "239.19.76.1:7400", interface: eth0, pacing-rate: 268435456}}
cluster:
  name: sim
  founder: 10.0.0.1
  key-file: /etc/qluster/cluster.key
  node-timeout: 2s
  heartbeat-interval: 400ms
  pre-voting-timeout: 500ms
  leader-voting-timeout: 500ms
  replication-retry-interval: 200ms
hello-retry-interval: 500ms
api: {{certificate-file: /a, key-file: /b, ca-file: /c, read-token-file: /d, operate-token-file: /e}}
{section}
"""
DATABASE = """database:
  bin-dir: /usr/bin
  data-dir: /data
  wal-archive-dir: /wal
  socket-dir: /run/qluster
  password-file: /p
  application-user: app
  application-password-file: /q
  application-database: app
"""
POOL = """pool:
  databases-file: /etc/pool.ini
  host: {ip}
  port: 6432
  admin-user: admin
  admin-password-file: /r
"""


@dataclass(slots=True)
class Faults:
    """What the world does to the cluster while it is on."""

    loss: float = 0.0
    duplication: float = 0.0
    delay: tuple[float, float] = (0.0002, 0.002)
    crash_at_seam: float = 0.0
    """Chance that a host dies in the middle of performing effects."""


@dataclass
class Host:
    """One host; ``node`` is None while its daemon is down."""

    name: str
    config: Config
    disk: SimDisk
    database: SimDatabase | None
    ip: str
    node: Node | None = None
    wake_at: float = inf
    alive_until: float = inf
    jobs: dict[int, Job] = field(default_factory=dict)
    restart_at: float = inf
    look_at: float = inf
    checked: int = 0
    """Applied entries that were compared with those of the others."""
    pool_target: Address | None = None
    left: str = ""
    held: bool = False
    """Kept down until :meth:`World.start`."""


class World:
    """Everything, and its clock."""

    def __init__(self, seed: int, databases: int = 3, pools: int = 1) -> None:
        self.random = Random(seed)
        self.now = 1000.0
        self.faults = Faults()
        self.checks = Checks()
        self.story: list[str] = []
        self.cut: set[tuple[str, str]] = set()
        self.steps = 0
        self.injected: dict[str, int] = {}
        self._values = itertools.count(1)
        self._order = itertools.count()
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self.hosts: dict[str, Host] = {}
        for number in range(1, databases + pools + 1):
            self._add_host(number, pool=number > databases)
        self._stream()

    def _add_host(self, number: int, *, pool: bool) -> None:
        ip = f"10.0.0.{number}"
        section = POOL.format(ip=ip) if pool else DATABASE
        text = CONFIG.format(ip=ip, role="listener" if pool else "node", section=section)
        disk = SimDisk(self.random.getrandbits(63))
        database = None if pool else SimDatabase()
        self.hosts[ip] = Host(f"host{number}", parse(text, "config.yaml"), disk, database, ip)

    # --- time ----------------------------------------------------------------------

    def at(self, time: float, what: Callable[[], None]) -> None:
        """Do something at a time."""
        heapq.heappush(self._queue, (time, next(self._order), what))

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass; True as soon as ``until`` holds."""
        end = self.now + seconds
        while self.now < end:
            if until is not None and until():
                return True
            self._step(end)
        return until() if until is not None else True

    def _step(self, end: float) -> None:
        time, host = min(((self._next(host), host) for host in self.hosts.values()), key=lambda pair: pair[0])
        queued = self._queue[0][0] if self._queue else inf
        if min(time, queued) >= end:
            self.now = end
            return
        self.steps += 1
        if queued <= time:
            self.now = max(self.now, queued)
            heapq.heappop(self._queue)[2]()
        else:
            self.now = max(self.now, time)
            self._act(host)
        self.checks.after_step(self)

    def _stream(self) -> None:
        """WAL flows all the time; looking at it every few milliseconds is the same to the nodes."""
        for each in self.hosts.values():
            if each.database is not None:
                each.database.stream(lambda address, each=each: self._reach(each, address))  # type: ignore[misc]
        self.at(self.now + STREAM_INTERVAL, self._stream)

    def _next(self, host: Host) -> float:
        if host.node is None:
            return inf if host.held else host.restart_at
        guard = host.alive_until + GUARD_DELAY if host.database is not None and host.database.writable else inf
        return min(host.wake_at, host.look_at, guard)

    def _act(self, host: Host) -> None:
        if host.node is None:
            self.start(host.ip)
        elif host.database is not None and host.database.writable and self.now >= host.alive_until + GUARD_DELAY:
            self.tell(f"{host.name} guard ends the database")
            host.database.kill()
            host.look_at = self.now
        elif self.now >= host.look_at and host.database is not None:
            host.look_at = self.now + FACTS_INTERVAL
            self.give(host, FactsRead(host.database.facts(lambda address: self._reach(host, address))))
        else:
            self.give(host, TimePassed())

    # --- hosts ----------------------------------------------------------------------

    def tell(self, line: str) -> None:
        """Add a line to the story."""
        self.story.append(f"{self.now - 1000.0:9.3f} {line}")

    def start(self, ip: str, founding: int = 0) -> None:
        """Start the daemon of a host."""
        host = self.hosts[ip]
        host.held = False
        saved = host.disk.load()
        link = Link("sim", saved.uid, saved.boot, [KEY], LinkSettings(), self.random, self.now)
        host.node = Node(
            host.config, saved, link, random=self.random, wall=1e9 + self.now, now=self.now, founding=founding
        )
        host.checked = 0
        host.left, host.restart_at, host.jobs = "", inf, {}
        host.alive_until, host.wake_at = inf, self.now
        host.look_at = self.now if host.database is not None else inf
        self.tell(f"{host.name} starts")

    def crash(self, ip: str, *, held: bool = False) -> None:
        """The daemon is gone, and its database with it."""
        host = self.hosts[ip]
        self.tell(f"{host.name} crashes")
        host.node, host.held, host.jobs = None, held, {}
        host.restart_at = self.now + self.random.uniform(*RESTART_SECONDS)
        if host.database is not None:
            host.database.kill()

    def give(self, host: Host, event: Event) -> None:
        """Give an event to a node and perform what it wants."""
        assert host.node is not None
        node = host.node
        self._perform(host, node.handle(event, self.now))
        self._compare(host, node)

    def _compare(self, host: Host, node: Node) -> None:
        for index in range(host.checked + 1, node.state.applied + 1):
            entry = host.disk.entry(index)
            if entry is not None:
                self.checks.applied(host.name, node.cluster, entry)
        host.checked = node.state.applied

    def ask(self, ip: str, request: ClientRequest) -> None:
        """A client's request."""
        self.give(self.hosts[ip], request)

    def _seam(self, host: Host) -> bool:
        if self.faults.crash_at_seam and self.random.random() < self.faults.crash_at_seam:
            self.injected["crash at a seam"] = self.injected.get("crash at a seam", 0) + 1
            self.crash(host.ip)
            return True
        return False

    def _perform(self, host: Host, effects: Effects) -> None:
        """As the daemon does: save, send, start, answer."""
        host.wake_at, host.alive_until = max(effects.wake_at, self.now + 0.0005), effects.alive_until
        if effects.save:
            if self._seam(host):
                return
            host.disk.save(effects.save)
            if self._seam(host):
                return
        for send in effects.send:
            self._send(host, send.datagram, send.to)
        if effects.start and self._seam(host):
            return
        for job in effects.start:
            self._start_job(host, job)
        if effects.leave is not None:
            self._leave(host, effects.leave)

    def _leave(self, host: Host, leave: Leave) -> None:
        self.tell(f"{host.name} leaves: {leave.message}")
        if leave.rejoin:
            host.disk.set_aside(self.random.getrandbits(63))
            self.start(host.ip, leave.founding)
            return
        host.node, host.left, host.held = None, leave.message, True
        if host.database is not None:
            host.database.kill()

    # --- jobs ------------------------------------------------------------------------

    def _start_job(self, host: Host, job: Job) -> None:
        node = host.node
        if isinstance(job.order, CancelJob):
            if host.jobs.pop(job.order.number, None) is not None:
                ended = JobEnded(job.order.number, True, "it was cancelled")
                self.at(self.now + 0.01, lambda: self._end(host, node, ended))
            return
        host.jobs[job.number] = job
        self.tell(f"{host.name} begins {job.order}")
        seconds = self.random.uniform(*SECONDS.get(type(job.order), (0.01, 0.1)))
        self.at(self.now + seconds, lambda: self._do(host, node, job))

    def _do(self, host: Host, node: Node | None, job: Job) -> None:
        if host.node is not node or host.jobs.pop(job.number, None) is None:
            return
        try:
            ended = JobEnded(job.number, self._result(host, job.order))
        except Failed as failure:
            ended = JobEnded(job.number, failure.passing, str(failure))
        self._end(host, node, ended)

    def _end(self, host: Host, node: Node | None, ended: JobEnded) -> None:
        if host.node is not node or node is None:
            return
        self.tell(f"{host.name} ended job {ended.number} {ended.error or ''}")
        if host.database is not None:
            host.look_at = self.now
        self.give(host, ended)

    def _result(self, host: Host, order: object) -> object:
        match order:
            case Repoint(primary):
                host.pool_target = primary
                return None
            case FetchSnapshot(address):
                other = self.hosts[address[0]]
                if other.node is None or not self._connected(host.ip, other.ip) or other.node.snapshot is None:
                    raise Failed(f"{address[0]} does not answer", passing=True)
                return other.node.snapshot
        assert host.database is not None
        host.database.perform(order, lambda address: self._reach(host, address), self.random)  # type: ignore[arg-type]
        return None

    def _reach(self, host: Host, address: Address) -> SimDatabase | None:
        other = self.hosts.get(address[0])
        if other is None or other.node is None or not self._connected(host.ip, other.ip):
            return None
        return other.database if other.database is not None and other.database.running else None

    # --- network ------------------------------------------------------------------------

    def _connected(self, a: str, b: str) -> bool:
        return (a, b) not in self.cut and (b, a) not in self.cut

    def _send(self, host: Host, datagram: bytes, to: Address | None) -> None:
        targets = [ip for ip in self.hosts if ip != host.ip] if to is None else [to[0]]
        for ip in targets:
            if ip not in self.hosts or (host.ip, ip) in self.cut:
                continue
            for _ in range(2 if self.random.random() < self.faults.duplication else 1):
                if self.random.random() >= self.faults.loss:
                    arrives = self.now + self.random.uniform(*self.faults.delay)
                    self.at(arrives, lambda ip=ip: self._deliver(ip, datagram, (host.ip, GROUP[1])))  # type: ignore[misc]

    def _deliver(self, ip: str, datagram: bytes, source: Address) -> None:
        host = self.hosts[ip]
        if host.node is not None:
            self.give(host, DatagramReceived(datagram, source))

    # --- clients --------------------------------------------------------------------------

    def write(self) -> None:
        """A client writes one row wherever a server takes it."""
        for host in self.hosts.values():
            if host.database is not None and host.database.writable:
                host.database.wal.append((host.database.timeline, next(self._values)))

    def primary(self) -> Host | None:
        """The host whose node says that it may be written to."""
        for host in self.hosts.values():
            if host.node is not None and host.node.hosting.may_write(self.now):
                return host
        return None


__all__ = ["Faults", "Host", "Violated", "World"]
