"""Decides which faults come when: each seed draws its own mix and rates (swarm testing).

Groce, Zhang, Eide, Chen, Regehr, "Swarm testing", 2012: leaving kinds of faults out of a run lets the others go
further than all of them together would. Storms of minutes lie between quiet hours; in a storm the clients ask often.

What is promised with a disk that lies: of n voters any two electing sets, and any electing and any committing set,
must meet in more nodes than lie. With majorities that is so for one liar among 4, 6 or 8, and not among 3, 5 or 7:
there a lying disk, its crash and the absence of one more node can lose what was acknowledged, and nothing in the
protocol can see it. So lies are told here by one node at most, in clusters of even size.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING

from qluster.consensus.refusals import Refusal
from swarm.clients import Demand
from swarm.quiet import GRAIN, on_grid
from swarm.rules import Violated
from swarm.weather import Weather, member

if TYPE_CHECKING:
    from swarm.host import Host
    from swarm.world import World

DRIFT = 0.05
"""Clocks run at most so much faster or slower: three times what the lease leaves room for would be 0.15."""

RECOVERY_SECONDS = 900.0
"""Within this a cluster that nothing disturbs must be whole: new members are admitted one at a time."""

PROBE_SECONDS = 5.0

HAND_OVER_SECONDS = 5.0
"""Half of what a round of votes may take at the seed's timers."""


@dataclass(frozen=True, slots=True)
class Mix:
    """What a seed's storms are like."""

    strikes: tuple[str, ...]
    pause: float
    length: float
    quiet: float
    ask: float
    ask_in_quiet: float
    weather: Weather


def drawn(random: Random) -> Mix:
    """A mix of its own for each seed."""
    chosen = tuple(sorted(random.sample(sorted(STRIKES), random.randint(3, len(STRIKES)))))
    return Mix(
        strikes=chosen,
        pause=random.choice([4.0, 15.0, 40.0]),
        length=random.choice([120.0, 300.0, 600.0]),
        quiet=random.choice([3.0, 8.0, 18.0]) * 3600.0,
        ask=random.choice([0.7, 3.0, 10.0]),
        ask_in_quiet=random.choice([1800.0, 7200.0]),
        weather=Weather(
            loss=random.choice([0.0, 0.02, 0.1, 0.3]),
            duplication=random.choice([0.0, 0.1]),
            delay_max=random.choice([0.005, 0.2, 1.0]),
            late=random.choice([0.0, 0.0, 0.02, 0.2]),
            late_max=random.choice([5.0, 60.0]),
            crash=random.choice([0.0, 0.0, 0.003, 0.02]),
            slow_save=random.choice([0.0, 0.0, 0.1, 0.5]),
            save_seconds=random.choice([0.05, 2.0, 25.0]),
        ),
    )


def crowded(random: Random) -> tuple[Mix, Demand, int]:
    """A mix with many clients that ask all the time, what they ask for, and after how many entries a snapshot is taken.

    There are a hundred times as many saves and messages: power is lost at one save in so many less, and messages
    overtake each other by less.
    """
    mix, keys = drawn(random), random.choice([8, 32, 128])
    demand = Demand(keys, random.choice([8, 32, 80]), random.choice([1, 3]) * keys)
    delay = random.choice([0.005, 0.05, 0.3])
    weather = replace(mix.weather, crash=mix.weather.crash / 50, delay_max=delay)
    ask = random.choice([0.05, 0.2]) * demand.burst / 4 + delay / 4
    length = random.choice([60.0, 120.0, 240.0])
    return replace(mix, ask=ask, length=length, weather=weather), demand, random.choice([0, 100, 1000])


class Storms:
    """The weather of one world."""

    def __init__(self, world: World, mix: Mix, wanted: int) -> None:
        self._world = world
        self.mix = mix
        self._wanted = wanted
        self._storming = False
        self._lost: list[int] = []

    # --- a storm and what follows it ---------------------------------------------------------

    def storm(self) -> None:
        """Bad minutes, then good ones in which all must come right, then quiet hours."""
        world, mix, random = self._world, self.mix, self._world.random
        world.tell(f"storm of {', '.join(mix.strikes)}")
        world.calm, world.weather = False, mix.weather
        for host in world.hosts.values():
            host.chance.still = None
        end = on_grid(world.now + random.uniform(0.3, 1.0) * mix.length)
        self._ask(end)
        self._operate(end)
        while world.now < end:
            self._strike()
            world.run(min(end, on_grid(world.now + random.uniform(0.1, mix.pause))))

    def _strike(self) -> None:
        name = self._world.random.choice(self.mix.strikes)
        if STRIKES[name](self):
            self._world.counts.faults[name] += 1

    def _ask(self, end: float) -> None:
        world = self._world
        if world.now < end:
            world.clients.ask()
            if world.random.random() < 0.1:
                world.clients.give_up()
            world.at(world.random.uniform(0.0, 2 * self.mix.ask) + GRAIN, lambda: self._ask(end))

    def _operate(self, end: float) -> None:
        """Somebody sees to lost and new members, during the storm as well."""
        if self._world.now < end:
            self.tend()
            self._world.at(10.0, lambda: self._operate(end))

    def clear(self) -> None:
        """All faults end. Within a bounded time there is one whole cluster."""
        world = self._world
        world.tell("the storm is over")
        world.weather, world.calm = Weather(), True
        world.cut.clear()
        for host in list(world.hosts.values()):
            host.hung_until = -1.0
            if host.lied or host.real is not None:
                self._replace_liar(host)
        for host in list(world.hosts.values()):
            self._come_to_rest(host)
        limit = world.now + RECOVERY_SECONDS
        while (reason := self._missing()) or world.flying:
            if world.now > limit:
                raise Violated(f"liveness: {reason or 'messages without end'} for {RECOVERY_SECONDS:g}s without faults")
            self.tend()
            world.run(world.now + PROBE_SECONDS)
        # Not before: two that always draw nearly the same would divide the votes for ever (seed 20000557).
        for host in world.hosts.values():
            host.chance.still = on_grid(world.random.random())

    def _come_to_rest(self, host: Host) -> None:
        """Its clock is right, what is sent to it always takes as long, and it runs unless it is to stay down."""
        world = self._world
        if host.rate != 1.0:
            host.run_at(1.0, world.now)
        host.delay = GRAIN * world.random.randint(1, 400)
        if host.qraft is None and not host.joining and not host.stay_down:
            world.start(host)
        if host.qraft is not None:
            host.wake = -1.0
            world.set_timer(host)

    def _replace_liar(self, host: Host) -> None:
        """A disk that lied is taken out of service, with all it holds."""
        if host.lied:
            self._lose(host)
        else:
            host.real = None

    def quiet(self) -> None:
        """Hours in which nothing happens but heartbeats and now and then a client."""
        world, random = self._world, self._world.random
        world.clients.judge()
        self._hand_over()
        end = on_grid(world.now + random.uniform(0.2, 1.8) * self.mix.quiet)
        while world.now < end:
            world.run(min(end, on_grid(world.now + random.expovariate(1 / self.mix.ask_in_quiet))))
            world.disturbed()
            for _ in range(3):
                world.clients.ask()
            world.run(min(end, world.now + 1.0))
        world.clients.judge()

    def pause(self) -> None:
        """A quiet span of no length."""
        self._world.clients.judge()
        self._hand_over()

    def _hand_over(self) -> None:
        """Where nothing is wrong, leadership goes where it is wanted, and soon."""
        world, leader = self._world, self._world.leader()
        assert leader is not None and leader.qraft is not None
        others = sorted(leader.qraft.members.voters - {leader.node})
        if not others or world.random.random() < 0.5:
            return
        target = world.random.choice(others)
        leader.qraft.transfer(target, leader.clock(world.now))
        world.perform(leader)
        world.run(world.now + HAND_OVER_SECONDS)
        now_leading = world.leader()
        if now_leading is None or now_leading.node != target:
            raise Violated(f"liveness: leadership was to go from node {leader.node} to {target} and did not")
        world.disturbed()

    def _missing(self) -> str:
        """What keeps this from being one whole cluster; "" when nothing does."""
        world = self._world
        leader = world.leader()
        if leader is None or leader.qraft is None:
            return "nobody leads"
        qraft = leader.qraft
        if not qraft.ready or qraft.members_index > qraft.commit_index:
            return f"node {leader.node} leads and commits nothing"
        voters = sum(1 for one in qraft.members if one.voter)
        if voters != self._wanted or len(qraft.members) != len(world.hosts):
            return f"{voters} of {self._wanted} nodes vote, {len(qraft.members)} are members"
        for one in qraft.members:
            host = world.hosts.get(one.node)
            if host is None or host.qraft is None or host.applied != leader.applied:
                return f"node {one.node} has not applied {leader.applied}"
            if host.saving or one.node not in qraft._alive(leader.clock(world.now)):
                return f"node {one.node} saves still, or was not heard"
            if host.qraft.leader != leader.node:
                return f"node {one.node} follows {host.qraft.leader}, not {leader.node}"
        return ""

    # --- members ------------------------------------------------------------------------------

    def tend(self) -> None:
        """What operators and joining nodes do: lost members go, new hosts are admitted, one change at a time."""
        world = self._world
        leader = world.leader()
        if leader is None or leader.qraft is None or world.now < leader.hung_until:
            return
        members = leader.qraft.members
        for host in list(world.hosts.values()):
            lost = host.qraft is not None and host.qraft.removed
            if lost and host is not leader and not leader.qraft.members.get(host.node):
                self._lose(host)
                return
        gone = [one.node for one in members if one.node not in world.hosts]
        new = [host for host in world.hosts.values() if host.joining]
        for host in new:
            if members.get(host.node) is not None:
                if leader.qraft.members_index <= leader.qraft.commit_index:
                    world.start(host)
                return
        if new:
            wanted = members.with_member(member(new[0].node, False, new[0].role))
        elif gone:
            wanted = members.without(gone[0])
        else:
            return
        with suppress(Refusal):
            leader.qraft.change_members(wanted, leader.clock(world.now))
            world.counts.changes += 1
        world.perform(leader)

    def _lose(self, host: Host) -> None:
        """The state is gone or set aside; the host comes back under a number that nobody had."""
        world = self._world
        world.tell(f"the state of node {host.node} is gone")
        if host.qraft is not None:
            world.crash(host, stays=True)
        world.forget(host)
        world.next_node += 1
        again = world.add(world.next_node, host.role, [])
        again.delay = host.delay

    def _may_lose(self, host: Host) -> bool:
        """Losing one memory is survived where a quorum of the others is there and whole."""
        world, leader = self._world, self._world.leader()
        if leader is None or leader.qraft is None or self._wanted < 3:
            return False
        if any(one.real is not None or one.lied for one in world.hosts.values()):
            return False
        members = leader.qraft.members
        whole = members.get(host.node) is not None and all(one.node in world.hosts for one in members)
        electorates = leader.qraft._me.configuration.electorates
        if not whole or len(electorates) > 1 or len(electorates[0].voters) != self._wanted:
            return False
        others = electorates[0].voters - {host.node}
        return electorates[0].commits(others) and electorates[0].elects(others)

    # --- strikes ------------------------------------------------------------------------------

    def _one(self) -> Host | None:
        up = [host for host in self._world.hosts.values() if host.qraft is not None]
        leaders = self._world.leaders()
        if leaders and self._world.random.random() < 0.4:
            return leaders[-1]
        return self._world.random.choice(up) if up else None

    def crash_one(self) -> bool:
        """Power is lost on one host."""
        host = self._one()
        if host is not None:
            self._world.crash(host)
        return host is not None

    def crash_several(self) -> bool:
        """Power is lost on some at once."""
        for host in list(self._world.hosts.values()):
            if host.qraft is not None and self._world.random.random() < 0.6:
                self._world.crash(host)
        return True

    def cut_one_way(self) -> bool:
        """One does not hear another."""
        world = self._world
        nodes = list(world.hosts)
        for _ in range(world.random.randint(1, max(1, len(nodes)))):
            world.cut.add((world.random.choice(nodes), world.random.choice(nodes)))
        return True

    def partition(self) -> bool:
        """Two sides that do not hear each other; the next one has other sides."""
        world = self._world
        side = {node for node in world.hosts if world.random.random() < 0.5}
        world.cut = {(a, b) for a in world.hosts for b in world.hosts if (a in side) != (b in side)}
        return True

    def isolate_leader(self) -> bool:
        """The leader hears nobody, or nobody hears it."""
        world, leader = self._world, self._world.leader()
        if leader is None:
            return False
        deaf = world.random.random() < 0.5
        for node in world.hosts:
            world.cut.add((node, leader.node) if deaf else (leader.node, node))
        return True

    def bridge(self) -> bool:
        """Two sides that only one node connects."""
        world = self._world
        nodes = list(world.hosts)
        middle = world.random.choice(nodes)
        side = {node for node in nodes if world.random.random() < 0.5}
        world.cut = {
            (a, b) for a in nodes for b in nodes if middle not in (a, b) and (a in side) != (b in side)
        }
        return True

    def mend(self) -> bool:
        """All links work."""
        self._world.cut.clear()
        return True

    def hang(self) -> bool:
        """One host stands still."""
        host, world = self._one(), self._world
        if host is None or world.now < host.hung_until:
            return False
        host.hung_until = on_grid(world.now + world.random.choice([1.0, 12.0, 45.0, 100.0]))
        world.tell(f"node {host.node} stands still until {host.hung_until:.1f}")
        return True

    def drift(self) -> bool:
        """A clock runs too fast or too slow."""
        host, world = self._one(), self._world
        if host is None:
            return False
        host.run_at(1.0 + world.random.uniform(-DRIFT, DRIFT), world.now)
        host.wake = -1.0
        world.set_timer(host)
        return True

    def transfer(self) -> bool:
        """Leadership is to move."""
        world, leader = self._world, self._world.leader()
        if leader is None or leader.qraft is None or world.now < leader.hung_until:
            return False
        target = world.random.choice(list(world.hosts))
        try:
            leader.qraft.transfer(target, leader.clock(world.now))
        except Refusal:
            return False
        world.perform(leader)
        return True

    def resign(self) -> bool:
        """A leader stops."""
        world, leader = self._world, self._world.leader()
        if leader is None or leader.qraft is None or world.now < leader.hung_until:
            return False
        leader.qraft.resign(leader.clock(world.now))
        world.perform(leader)
        return True

    def replace_member(self) -> bool:
        """A node leaves for good while it runs; another comes."""
        world, leader, host = self._world, self._world.leader(), self._one()
        if leader is None or leader.qraft is None or host is None or world.now < leader.hung_until:
            return False
        if not self._may_lose(host):
            return False
        try:
            leader.qraft.change_members(leader.qraft.members.without(host.node), leader.clock(world.now))
        except Refusal:
            return False
        world.counts.changes += 1
        world.perform(leader)
        return True

    def lose_disk(self) -> bool:
        """A state directory is gone, or damaged before its tail, which is set aside: a new node comes."""
        host = self._one()
        if host is None or not self._may_lose(host):
            return False
        self._lose(host)
        return True

    def lying_disk(self) -> bool:
        """A disk says that it has what it has not, and the power goes some time later."""
        world, host = self._world, self._one()
        liars = [one for one in world.hosts.values() if one.real is not None or one.lied]
        members = world.leader().qraft.members if world.leader() else None  # type: ignore[union-attr]
        if host is None or liars or self._wanted % 2 or self._wanted < 4 or members is None:
            return False
        if not self._may_lose(host) or world.settings.replication_factor:
            return False
        host.begin_to_lie()
        world.at(world.random.uniform(1.0, 60.0), lambda: self._lose_power(host))
        return True

    def _lose_power(self, host: Host) -> None:
        """A storm that is over strikes no more."""
        if host.qraft is not None and not self._world.calm:
            self._world.crash(host)


Strike = Callable[[Storms], bool]
STRIKES: dict[str, Strike] = {
    "crash": Storms.crash_one,
    "crash of several": Storms.crash_several,
    "one-way cut": Storms.cut_one_way,
    "partition": Storms.partition,
    "leader cut off": Storms.isolate_leader,
    "bridge": Storms.bridge,
    "links mended": Storms.mend,
    "standing still": Storms.hang,
    "clock drift": Storms.drift,
    "transfer": Storms.transfer,
    "leader resigns": Storms.resign,
    "member replaced": Storms.replace_member,
    "disk lost": Storms.lose_disk,
    "lying disk": Storms.lying_disk,
}
