"""An arbiter that remembers nothing, for a simulated cluster: the production arbiter, and the production client of each
host, over connections as ``wires.py`` has them; and the rings that hosts form.

Chance is its own, so that worlds without it stay what they were. Its times are :data:`SCALE` of those of the world, as
the protocol knows none below a second. A ring is drawn from who hears whom, and comes to each of its members when it
may: some are late, some never hear of it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from random import Random
from typing import TYPE_CHECKING

from qluster.consensus.members import FORMULA
from qluster.consensus.output import Output
from qluster.consensus.qraft import QRaft
from qluster.consulting import standing_of
from qluster.qdevice.client import Client
from qluster.qdevice.counting import WAYS
from qluster.qdevice.orders import Close, Happening, Open, Say
from qluster.qdevice.settings import ALGORITHMS, Settings
from qluster.qnet.tlv import RingId
from qluster.votes.information import NO_RING, Ring
from wires import Wires

if TYPE_CHECKING:
    from consensus.world import Host, World

FIRST, SECOND = 11, 12
"""Which arbiter it is, for the list of members."""
SCALE = 20.0
TIMEOUT = 1.0
"""Of the clients; the shortest that there is."""


@dataclass(slots=True)
class Storm:
    """How often what happens, at each change of weather."""

    aimed: float = 0.4
    """That the nodes fall apart in the middle, around some fault of a link or of the arbiter."""
    crash: float = 0.25
    cut: float = 0.3
    """That a node does not reach it."""
    late: float = 0.15
    """At each ring, for each node: that it hears of it late."""
    spurious: float = 0.1
    """That a ring falls apart though all hear each other."""


@dataclass(eq=False)
class Seat:
    """What runs on a host beside the participant: it dies with it."""

    host: Host
    qraft: QRaft
    client: Client
    elsewhere: bool = False
    """It asks the second arbiter."""
    ring: Ring = NO_RING
    members: tuple[int, ...] = ()
    wake_at: float = inf


class Stock:
    """One arbiter, the links to it, and the rings."""

    uid = 0

    def __init__(self, world: World, seed: int, algorithm: str, nodes: int) -> None:
        self._world = world
        self._random = Random(f"stock {seed}")
        self._algorithm = ALGORITHMS[algorithm]
        self.way = WAYS[self._algorithm]
        self.storm = Storm()
        self.votes: int | None = nodes - 1 if self.way == FORMULA else None
        """What leaders give it; None: as usual."""
        self.wires = Wires(world.at, lambda: world.now, self._delay, SCALE)
        self.wires.stalled = self._stalled
        self.second = Wires(world.at, lambda: world.now, self._delay, SCALE)
        """Another arbiter, which only :attr:`elsewhere` ask."""
        self.second.stalled = self._stalled
        self.elsewhere: set[int] = set()
        """Nodes that ask the second one, from their next start on."""
        self.seats: dict[int, Seat] = {}
        self._seq = 8
        self._aimed = 0
        self._commits: dict[int, int] = {}
        self.counts = {"crash": 0, "votes": 0, "elected": 0, "committed": 0, "mended": 0}
        world.at(0.0, self._form_often)

    def has_seen(self, uid: int, index: int, term: int) -> bool:
        """It never sees an entry."""
        return False

    def _delay(self) -> float:
        faults = self._world.faults
        if faults.long_delay and self._random.random() < faults.long_delay:
            return self._random.uniform(0.01, 0.3)
        return self._random.uniform(0.0005, faults.delay_max)

    # --- the hosts --------------------------------------------------------------

    def connect(self, host: Host) -> None:
        """A host has started, or is well again."""
        former = self.seats.get(host.node)
        assert host.qraft is not None
        if former is not None and former.qraft is host.qraft:
            return
        if former is not None:
            self.wires.close(former)
            self.second.close(former)
        settings = Settings(
            cluster_name="qlab", node=host.node, algorithm=self._algorithm, tls="off", timeout=TIMEOUT,
            arbiter=SECOND if host.node in self.elsewhere else FIRST,
        )  # fmt: skip
        seat = Seat(host, host.qraft, Client(settings, Random(self._random.random())), host.node in self.elsewhere)
        self.seats[host.node] = seat
        self._form_soon()

    def seat(self, host: Host) -> Seat | None:
        """What runs there now."""
        seat = self.seats.get(host.node)
        return seat if seat is not None and host.qraft is seat.qraft else None

    def _now(self, host: Host) -> float:
        return host.clock(self._world.now) * SCALE

    def _deal(self, seat: Seat, what: Callable[[Client, float], None]) -> None:
        """Something happens to a client; what follows is done, then what it orders: as the daemon does it."""
        host, world = seat.host, self._world
        if self.seat(host) is not seat:
            return
        if world.now < host.hung_until:
            world.at(host.hung_until + 1e-4, lambda: self._deal(seat, what))
            return
        now = self._now(host)
        seat.client.configured(sorted(seat.qraft.members.voters), None, now)
        what(seat.client, now)
        orders = seat.client.take()
        self._stand(seat)
        for order in orders if self.seat(host) is seat else ():
            self._perform(seat, order)
        self._set_timer(seat)

    def _stand(self, seat: Seat) -> None:
        standing = standing_of(seat.ring, seat.members, seat.client)
        clock = seat.host.clock
        standing = replace(standing, since=standing.since / SCALE)
        self.counts["votes"] += standing.acknowledged and not seat.qraft._me.standing.acknowledged
        seat.qraft.stand(standing, clock(self._world.now))
        self._world.perform(seat.host)

    def synced(self, host: Host, output: Output) -> None:
        """A participant has shown that it is in sync."""
        seat = self.seat(host)
        self._count(host)
        for ring, asked_at in output.synced if seat is not None else ():
            assert seat is not None
            broken = not seat.client.episode.unbroken
            seat.client.in_sync(RingId(*ring), asked_at * SCALE, self._now(host))
            self.counts["mended"] += broken and seat.client.episode.unbroken
            self._world.at(self._world.now, lambda: self._deal(seat, lambda client, now: None))
        output.synced = []

    def _count(self, host: Host) -> None:
        """What was decided that nodes alone could not have decided."""
        qraft = host.qraft
        if qraft is None or qraft.role != "leader" or qraft.commit_index == self._commits.get(host.node):
            return
        index = self._commits[host.node] = qraft.commit_index
        holders = {one.node for one in self._world.hosts.values() if one.last_index >= index}
        self.counts["committed"] += not qraft._me.configuration.commits(holders)
        self.counts["elected"] += not qraft._me.configuration.elects(holders)

    def _set_timer(self, seat: Seat) -> None:
        host = seat.host
        at = (seat.client.wake_at / SCALE - host.clock_offset) / host.clock_rate
        at = max(at, self._world.now) + 1e-5
        if at < seat.wake_at and at < inf:
            seat.wake_at = at
            self._world.at(at, lambda: self._tick(seat, at))

    def _tick(self, seat: Seat, at: float) -> None:
        if seat.wake_at == at:
            seat.wake_at = inf
            self._deal(seat, lambda client, now: client.tick(now))

    # --- connections ----------------------------------------------------------

    def _perform(self, seat: Seat, order: object) -> None:
        wires = self.second if seat.elsewhere else self.wires
        match order:
            case Open(attempt):
                wires.open(seat, seat.host.node, attempt, lambda what: self._hear(seat, what))
            case Say(attempt, data):
                wires.say(seat, attempt, data)
            case Close(attempt):
                wires.close(seat, attempt)
            case _:
                pass

    def _hear(self, seat: Seat, what: Happening) -> None:
        self._deal(seat, lambda client, now: client.handle(what, now))

    def _stalled(self, node: object) -> bool:
        return any(host.node == node and self._world.now < host.hung_until for host in self._world.hosts.values())

    def crash(self, *, down: float = 0.0) -> None:
        """It is gone with all that it knew, and comes back after a while."""
        if self.wires.crash():
            self.counts["crash"] += 1
            self._world.at(self._world.now + (down or self._random.uniform(0.005, 0.5)), self.wires.start)

    # --- rings ------------------------------------------------------------------

    def _form_often(self) -> None:
        self._form()
        self._world.at(self._world.now + self._random.uniform(0.02, 0.12), self._form_often)

    def _form_soon(self) -> None:
        self._world.at(self._world.now + self._random.uniform(0.005, 0.1), self._form)

    def _form(self) -> None:
        """Who hear each other are in a ring; a new one where that has changed."""
        world, random = self._world, self._random
        left = [node for node, host in world.hosts.items() if self.seat(host) and world.now >= host.hung_until]
        random.shuffle(left)
        if random.random() < self.storm.spurious and world.faults.partition:
            del left[random.randrange(len(left) + 1):]
        while left:
            group = [left.pop(0)]
            for node in list(left):
                if all((node, one) not in world.cut and (one, node) not in world.cut for one in group):
                    group.append(node)
                    left.remove(node)
            seats = [self.seats[node] for node in group]
            members = tuple(sorted(group))
            if any(seat.ring != seats[0].ring or seat.members != members for seat in seats):
                self._ring(members)

    def _ring(self, members: tuple[int, ...]) -> None:
        self._seq += 4
        ring = Ring(members[0], self._seq)
        for node in members:
            seat = self.seats[node]
            late = self._random.random() < self.storm.late
            delay = self._random.uniform(0.05, 0.6) if late else self._random.uniform(0.001, 0.01)
            self._install_after(delay, seat, ring, members)

    def _install_after(self, delay: float, seat: Seat, ring: Ring, members: tuple[int, ...]) -> None:
        def install(client: Client, now: float) -> None:
            if ring.seq > seat.ring.seq:
                seat.ring, seat.members = ring, members
                client.membership(RingId(*ring), members, now)

        self._world.at(self._world.now + delay, lambda: self._deal(seat, install))

    # --- weather --------------------------------------------------------------

    def change_weather(self) -> None:
        """Links are cut and mended, it crashes, a leader sees to its place in the list."""
        random, storm = self._random, self.storm
        self._aimed += 1
        if random.random() < storm.aimed:
            self._aim(self._aimed)
            return
        nodes = list(self._world.hosts)
        self.wires.cut = {node for node in nodes if random.random() < storm.cut}
        if random.random() < storm.cut / 2:
            leader = {host.node for host in self._world.leaders()[-1:]}
            self.wires.cut = leader if random.random() < 0.5 else set(nodes) - leader
        if random.random() < storm.crash:
            self.crash()
        self.see_to_list()

    def _aim(self, turn: int) -> None:
        """All is well for a moment; then the nodes fall apart, and the arbiter changes sides."""
        world, random = self._world, self._random
        world.cut.clear()
        self.wires.cut.clear()
        self.wires.start()
        self.see_to_list()
        nodes = list(world.hosts)
        random.shuffle(nodes)
        half = set(nodes[: max(1, len(nodes) // 2)])
        before = set(random.choice([half, set(nodes) - half, set(), set()]))
        self._later(turn, random.uniform(0.1, 0.15), lambda: self.wires.cut.update(before))

        def split() -> None:
            world.cut = {(one, two) for one in world.hosts for two in world.hosts if (one in half) != (two in half)}
            if not before and random.random() < 0.5:
                self.wires.cut = set(random.choice([half, set(nodes) - half]))
            world.propose()

        def change_sides() -> None:
            if random.random() < 0.5:
                self.crash(down=random.uniform(0.001, 0.1))
            self.wires.cut = set(random.choice([half, set(nodes) - half, set()]))
            if random.random() < 0.3:
                world.cut.clear()

        self._later(turn, random.uniform(0.25, 0.4), split)
        self._later(turn, random.uniform(0.5, 0.9), change_sides)

    def _later(self, turn: int, seconds: float, what: Callable[[], None]) -> None:
        self._world.at(self._world.now + seconds, lambda: what() if self._aimed == turn else None)

    def see_to_list(self) -> None:
        """A leader puts it into the list."""
        host = self._world.leader()
        if host is None or host.qraft is None:
            return
        uid = 0 if self.way == FORMULA else SECOND if host.node in self.elsewhere else FIRST
        if (self.way, uid) != (host.qraft.members.way, host.qraft.members.device_uid):
            self._world.device(host, uid, self.votes, self.way)

    def heal(self) -> None:
        """It is there, and everybody reaches it."""
        self._aimed += 1
        self.wires.cut.clear()
        self.wires.start()
        for host in self._world.hosts.values():
            self.connect(host)
