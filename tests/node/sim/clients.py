"""Clients: some write rows, some ask the REST API; what they were told is held against what is true.

A settings value is a register: written with :class:`SettingsChangeRequested`, read with
:class:`ReadRequested`. Since every write has an index in the log and every read says up to where it
read, linearizability is a comparison of numbers: a read that began after a write was answered, or after
another read was, must not lie before it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qluster.clients import (
    ClientRequest,
    Done,
    NodeDownRequested,
    Outcome,
    ReadRequested,
    SettingsChangeRequested,
    Superseded,
    Unconfirmed,
)
from qluster.cluster import commands
from qluster.events import Answer

from sim.checks import Violated

if TYPE_CHECKING:
    from sim.host import Host
    from sim.world import World

WRITE_INTERVAL = 0.05
ASK_INTERVAL = (0.1, 1.0)
FORGET_SECONDS = 30.0
"""A client whose host died waits no longer."""


@dataclass(slots=True)
class Asked:
    """A request that waits for its answer."""

    request: ClientRequest
    host: Host
    at: float
    floor: int
    """The largest index that any client had been told when this was asked."""


class Clients:
    """All clients of a run."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._asked: dict[int, Asked] = {}
        self._tickets = 0
        self._rows = 0
        self._floors: dict[int, int] = {}
        self._dead: dict[str, int] = {}
        """Key → cluster in which its only request was superseded: it must never be applied."""
        self._repeated: set[str] = set()
        self.outcomes: dict[str, int] = {}
        self.acknowledged = 0
        self.writing = False

    # --- rows --------------------------------------------------------------------------

    def write_always(self) -> None:
        """One row at a time, wherever a server takes it."""
        self.writing = True
        self._write()

    def _write(self) -> None:
        if not self.writing:
            return
        world = self._world
        for host in world.hosts.values():
            if host.writes and host.database is not None:
                self._rows += 1
                self.acknowledged += 1
                host.database.wal.append((host.database.timeline, self._rows))
        self.look_for_acknowledgements()
        world.at(world.now + WRITE_INTERVAL, self._write)

    def look_for_acknowledgements(self) -> None:
        """A server that waits for standbys answers its clients as these confirm."""
        if self._world.synchronous == "off":
            return  # nothing is promised
        for host in self._world.hosts.values():
            if host.writes and host.database is not None:
                position = host.database.acknowledged(self._world.replicas(host))
                self._world.checks.acknowledged(host, position)

    # --- requests -----------------------------------------------------------------------

    def ask_always(self) -> None:
        """One request after another, now here, now there."""
        world = self._world
        if not self.writing:
            return
        hosts = [host for host in world.hosts.values() if host.node is not None]
        leader = world.leader()
        if hosts:
            host = leader if leader is not None and world.random.random() < 0.8 else world.random.choice(hosts)
            self.ask(host, self._request())
        world.at(world.now + world.random.uniform(*ASK_INTERVAL), self.ask_always)

    def _request(self) -> ClientRequest:
        random = self._world.random
        ticket = self.ticket()
        if random.random() < 0.4:
            return ReadRequested(ticket, random.choice(["leader", "leader", "lease", "local"]))
        if random.random() < 0.15:
            return NodeDownRequested(ticket, f"down-{ticket}", random.randint(1, 6), random.random() < 0.3)
        return SettingsChangeRequested(ticket, f"key-{ticket}", {"cluster.remove-interval": f"{60 + ticket}s"})

    def ticket(self) -> int:
        """A number no request had before."""
        self._tickets += 1
        return self._tickets

    def ask(self, host: Host, request: ClientRequest) -> None:
        """Ask one host."""
        if host.node is None:
            return
        cluster = host.node.cluster
        self._asked[request.ticket] = Asked(request, host, self._world.now, self._floors.get(cluster, 0))
        host.give(request)

    def answered(self, host: Host, answer: Answer) -> None:
        """A host answered."""
        asked = self._asked.pop(answer.ticket, None)
        if asked is None or host.node is None:
            return
        name = type(answer.outcome).__name__
        self.outcomes[name] = self.outcomes.get(name, 0) + 1
        cluster = host.node.cluster
        match answer.outcome:
            case Done(index, _) if isinstance(asked.request, ReadRequested):
                self.reads_are_linearizable(asked, index, cluster)
            case Done(index, _) if index:
                self.done_is_applied(host, asked, index)
                self._floors[cluster] = max(self._floors.get(cluster, 0), index)
            case Superseded():
                self._superseded(asked, cluster)
            case Unconfirmed():
                self._repeat(asked)

    def reads_are_linearizable(self, asked: Asked, index: int, cluster: int) -> None:
        """What was known to any client before the question is in the answer."""
        assert isinstance(asked.request, ReadRequested)
        if asked.request.consistency == "local":
            return
        if index < asked.floor:
            raise Violated(f"a {asked.request.consistency} read on {asked.host.name} saw {index} after {asked.floor}")
        self._floors[cluster] = max(self._floors.get(cluster, 0), index)

    def done_is_applied(self, host: Host, asked: Asked, index: int) -> None:
        """Done is said of what lies in the log at that index, and nowhere before under the same key."""
        key = getattr(asked.request, "key", "")
        if not key or host.node is None:
            return
        entry = self._world.checks.committed.get((host.node.cluster, index)) or host.disk.entry(index)
        if entry is None:
            return
        if entry.kind != "command" or commands.decode(entry.payload).key != key:
            raise Violated(f"{host.name} said Done of {key} at {index}, where something else is")

    def _superseded(self, asked: Asked, cluster: int) -> None:
        key = getattr(asked.request, "key", "")
        if key and key not in self._repeated:
            self._dead[key] = cluster

    def _repeat(self, asked: Asked) -> None:
        """The outcome is unknown: the same again, with the same key, wherever somebody leads."""
        world = self._world
        if not isinstance(asked.request, SettingsChangeRequested):
            return
        leader = world.leader()
        if leader is not None:
            self._repeated.add(asked.request.key)
            again = SettingsChangeRequested(self.ticket(), asked.request.key, asked.request.changes)
            self.ask(leader, again)

    def at_the_end(self) -> None:
        """Superseded was said only of what never happened."""
        for (cluster, index), entry in self._world.checks.committed.items():
            if entry.kind == "command":
                key = commands.decode(entry.payload).key
                if self._dead.get(key) == cluster:
                    raise Violated(f"{key} was said to be superseded and is applied at {index}")


class Outcomes(Clients):
    """What clients are told, by ticket."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.told: dict[int, Outcome] = {}

    def answered(self, host: Host, answer: Answer) -> None:
        self.told[answer.ticket] = answer.outcome
        super().answered(host, answer)
