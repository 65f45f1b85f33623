"""A cluster in one process: hosts, a network, clients, time. The node code is the real one.

One seed makes everything. Events happen one at a time, in the order of their time. Faults aim at the
seams: a host may die before a save, in its middle, between save and send, between send and the start of a job.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from qluster.config import Config, parse
from qluster.database.facts import Replica

from sim.arbiter import Arbiter
from sim.checks import Checks, Violated
from sim.clients import Clients
from sim.database import SimDatabase
from sim.disk import SimDisk
from sim.electing import Electing
from sim.host import Host
from sim.network import Network
from sim.outside import Outside
from sim.stock import Stock, told_of
from sim.tasks import Tasking
from sim.votes import VoteChecks

BEGINNING = 1000.0
STREAM_INTERVAL = 0.02
SENDER_SECONDS = 10.0
"""So long a server takes a standby for streaming whose host is gone (``wal_sender_timeout``)."""
SETTLED_SECONDS = 1.9
"""Nearly four hellos: two hosts that could talk for so long know of each other."""

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
  heartbeat-interval: {heartbeat}
  pre-voting-timeout: 500ms
  leader-voting-timeout: 500ms
  replication-retry-interval: 200ms
  remove-interval: 60s
  synchronous: {synchronous}
  standby-of: "{standby_of}"
{counting}votes: {votes}
quorum: {{{quorum}}}
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
FENCING = """fencing:
  when-failed: {when_failed}
  attempts: 3
  retry-pause: 500ms
  monitor-interval: 10s
  hosts:
"""
POOL = """pool:
  databases-file: /etc/pool.ini
  host: {ip}
  port: 6432
  admin-user: admin
  admin-password-file: /r
"""


@lru_cache(maxsize=64)
def configuration(
    number: int, pool: bool, heartbeat: str = "400ms", synchronous: str = "off", standby_of: str = "", votes: int = 1,
    counting: str = "", fencing: str = "", databases: int = 0, quorum: str = "",
) -> Config:  # fmt: skip
    """The configuration of a simulated host."""
    ip = f"10.0.0.{number}"
    section = POOL.format(ip=ip) if pool else DATABASE
    role = "listener" if pool else "node"
    if fencing and not pool and databases > 1:
        others = [f"    10.0.0.{one}: {{levels: [{{agent: fence_sim}}]}}\n" for one in range(1, databases + 1)]
        section += FENCING.format(when_failed=fencing) + "".join(others[: number - 1] + others[number:])
    text = CONFIG.format(
        ip=ip, role=role, section=section, heartbeat=heartbeat, synchronous=f'"{synchronous}"', standby_of=standby_of,
        votes=votes, counting=counting, quorum=quorum,
    )  # fmt: skip
    return parse(text, "config.yaml")


@dataclass(slots=True)
class Faults:
    """What the world does to the cluster while it is on."""

    loss: float = 0.0
    duplication: float = 0.0
    delay: tuple[float, float] = (0.0002, 0.002)
    late: float = 0.0
    """Chance that a datagram arrives up to 1.5 s late: after others, over elections."""
    crash_at_seam: float = 0.0
    """Chance that a host dies in the middle of performing effects."""
    slow_save: float = 0.0
    """Chance that a save takes up to :attr:`save_seconds`."""
    save_seconds: float = 0.3
    job_failure: float = 0.0
    job_hang: float = 0.0
    agent_fails: float = 0.0
    """Chance that a fence agent does not reach its device."""
    agent_lies: float = 0.0
    """Chance that a fence agent says that it switched a host off, and did not."""


class World:
    """Everything, and its clock."""

    def __init__(
        self, seed: int, databases: int = 3, pools: int = 1, synchronous: str = "off", *, outside: bool = False,
        electing: Electing | None = None,
        fencing: str = "", witness: bool = False, quorum: str = "", stock: str = "", tasks: bool = False,
    ) -> None:  # fmt: skip
        """``outside``: the cluster is founded to follow an installation outside; ``electing``: how it counts;
        ``fencing``: what happens when it fails, where there are agents; ``witness``: an arbiter remembers; ``quorum``:
        the section of that name, "" where votequorum counts nothing; ``stock``: the algorithm of an arbiter that
        remembers nothing; ``tasks``: hosts run tasks."""
        self.seed = seed
        self.random = Random(seed)
        self.now = BEGINNING
        self.faults = Faults()
        self.synchronous, self.fencing = synchronous, fencing
        self.electing = electing
        self.story: list[str] = []
        self.steps = 0
        self.injected: dict[str, int] = {}
        self.network = Network(self)
        self.checks = Checks(self)
        self.clients = Clients(self)
        self.votes = VoteChecks(self) if quorum else None
        self.disturbed_at = BEGINNING
        """When a link was cut or mended, or a host stood still."""
        self._lost: list[SimDisk] = []
        self._order = itertools.count()
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self.arbiter: Arbiter | Stock | None = Arbiter(self) if witness else Stock(self, stock) if stock else None
        self.outside = Outside(self) if outside else None
        self.hosts: dict[str, Host] = {}
        for number in range(1, databases + pools + 1):
            pool = number > databases
            of = self.outside.text if self.outside is not None else ""
            config = configuration(
                number, pool, synchronous=synchronous, standby_of=of, counting=electing.text if electing else "",
                votes=electing.votes[number - 1] if electing and not pool else 1, fencing=fencing,
                databases=databases if fencing else 0, quorum=quorum,
            )  # fmt: skip
            config = told_of(config, stock) if stock and not pool else config
            disk = SimDisk(self.random.getrandbits(63))
            self.hosts[config.ip] = Host(self, f"host{number}", config, disk, None if pool else SimDatabase())
        self.tasks = Tasking(self) if tasks else None
        self._senders: dict[tuple[str, int], dict[str, tuple[float, Replica]]] = {}
        self._databases = [host for host in self.hosts.values() if host.database is not None]
        self._stream()

    # --- time ----------------------------------------------------------------------

    def at(self, time: float, what: Callable[[], None]) -> None:
        """Do something at a time."""
        heapq.heappush(self._queue, (time, next(self._order), what))

    def run(self, seconds: float, until: Callable[[], bool] | None = None, every: float = 0.25) -> bool:
        """Let time pass; True as soon as ``until``, which is asked now and then, holds."""
        end, ask_at = self.now + seconds, self.now
        while self._queue and self._queue[0][0] < end:
            if until is not None and self.now >= ask_at:
                ask_at = self.now + every
                if until():
                    return True
            time, _, what = heapq.heappop(self._queue)
            self.now = max(self.now, time)
            self.steps += 1
            what()
        self.now = end
        return until() if until is not None else True

    def _stream(self) -> None:
        """WAL flows all the time; looking at it every few milliseconds is the same to the nodes."""
        for host in self._databases:
            standby = host.reachable and host.database is not None and host.database.upstream is not None
            if standby and (host.lag >= 1.0 or self.random.random() < host.lag):
                self._stream_to(host, STREAM_INTERVAL / min(host.lag, 1.0))
        self.clients.look_for_acknowledgements()
        self.at(self.now + STREAM_INTERVAL, self._stream)

    def _stream_to(self, host: Host, seconds: float) -> None:
        assert host.database is not None
        host.database.stream(lambda address: self.network.server(host, address), seconds)

    def replicas(self, host: Host) -> list[Replica]:
        """Who streams from a primary, as its server sees it: who fell silent is seen for some seconds yet."""
        if host.database is None or not host.reachable or not host.database.serves:
            return []
        seen = self._senders.setdefault((host.ip, host.database.starts), {})
        for replica in self._streaming(host):
            seen[replica.name] = self.now, replica
        return [replica for at, replica in seen.values() if self.now < at + SENDER_SECONDS]

    def _streaming(self, host: Host) -> list[Replica]:
        """Who streams from a primary now."""
        found: list[Replica] = []
        assert host.database is not None
        for other in self._databases:
            standby = other.database if other is not host and other.reachable else None
            if standby is None or standby.upstream is None:
                continue
            linked = standby.upstream[0] == host.ip and self.network.connected(other, host)
            if linked and standby.in_recovery and standby.fits(host.database) and standby.terms is not None:
                found.append(Replica(standby.terms.name, "streaming", len(standby.wal)))
        return found

    def flush_standbys(self, host: Host) -> None:
        """A server that stops cleanly waits until all who stream from it have everything."""
        for other in self._databases:
            upstream = other.database.upstream if other.database is not None and other.reachable else None
            if upstream is not None and upstream[0] == host.ip:
                self._stream_to(other, 0.0)

    # --- what happened ---------------------------------------------------------------

    def tell(self, line: str) -> None:
        """Add a line to the story."""
        self.story.append(f"{self.now - BEGINNING:9.3f} {line}")

    def count(self, name: str, *, fault: bool = True) -> None:
        """Count something rare."""
        self.injected[name] = self.injected.get(name, 0) + 1
        if fault:
            self.tell(f"fault: {name}")

    def disturbed(self) -> None:
        """Who could talk to whom has changed."""
        self.disturbed_at = self.now

    # --- faults that strike at a seam ---------------------------------------------------

    def seam(self, host: Host, where: str) -> bool:
        """Whether the host dies here."""
        if self.faults.crash_at_seam and self.random.random() < self.faults.crash_at_seam:
            self.count(f"crash {where}")
            host.crash()
            return True
        return False

    def save_seconds(self) -> float:
        """How long the next save takes; 0 for no time at all."""
        if self.faults.slow_save and self.random.random() < self.faults.slow_save:
            return self.random.uniform(0.001, self.faults.save_seconds)
        return 0.0

    # --- looks ----------------------------------------------------------------------------

    def disks(self) -> Iterable[SimDisk]:
        """Every disk that holds, or held until it was lost, what somebody confirmed."""
        return [*(host.disk for host in self.hosts.values()), *self._lost]

    def lose_state(self, host: Host) -> None:
        """The state directory of a host that is down is lost; what was on it is remembered by the checks."""
        self._lost.append(host.disk)
        host.disk = SimDisk(self.random.getrandbits(63))
        if host.runner is not None:
            host.runner.lose_records()

    def host_of(self, cluster: int, node: int) -> Host | None:
        """The host that is this node of this founding."""
        for host in self.hosts.values():
            identity = host.disk.identity
            if identity is not None and (identity.cluster, identity.node) == (cluster, node):
                return host
        return None

    def hears_well(self, one: Host, other: Host) -> bool:
        """Both run and could talk undisturbed for so long that each must know of the other."""
        since = max(self.disturbed_at, one.up_since, other.up_since)
        quick = not self.faults.slow_save or self.faults.save_seconds < SETTLED_SECONDS / 4
        undisturbed = quick and not self.network.cut
        up = other.node is not None and other.node.qraft is not None and one.node is not None
        return up and undisturbed and self.now > since + SETTLED_SECONDS

    def leader(self) -> Host | None:
        """The host that leads in the highest term."""
        found = [
            (host.node.qraft.term, host.name, host)
            for host in self.hosts.values()
            if host.node is not None and host.node.qraft is not None and host.node.qraft.role == "leader"
        ]
        return max(found, default=(0, "", None), key=lambda one: one[:2])[2]

    def primary(self) -> Host | None:
        """The host whose node says that it may be written to."""
        for host in self.hosts.values():
            if host.node is not None and host.node.hosting.may_write(host.clock()):
                return host
        return None


__all__ = ["Faults", "Host", "Violated", "World", "configuration"]
