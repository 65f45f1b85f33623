"""Storms of a certain shape, for what chance alone hardly brings about. Which seeds have them stands in runs.py.

Must not know any participant's inside beside its list of members.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qluster.consensus.electorate import Electorate
from swarm.quiet import on_grid
from swarm.rules import Violated
from swarm.storms import PROBE_SECONDS, RECOVERY_SECONDS, Mix, Storms
from swarm.weather import Weather

if TYPE_CHECKING:
    from swarm.world import World

MEMBERS_CHANGE = {"disk lost", "lying disk", "member replaced"}
"""Strikes after which others are members."""


class Few(Storms):
    """After each storm as many nodes stay away as a cluster can do without: the others must elect all the same."""

    def __init__(self, world: World, mix: Mix, wanted: int) -> None:
        strikes = tuple(one for one in mix.strikes if one not in MEMBERS_CHANGE) or ("crash",)
        super().__init__(world, replace(mix, strikes=strikes), wanted)

    def storm(self) -> None:
        """A storm, and then good weather for the nodes that are there."""
        world, leader = self._world, self._world.leader()
        assert leader is not None and leader.qraft is not None
        voters = sorted(leader.qraft.members.voters)
        electorate = Electorate.of(leader.qraft.members)
        super().storm()
        spare = len(voters) - max(electorate.needs.commit, electorate.needs.election)
        away = set(world.random.sample(voters, spare))
        world.tell(f"nodes {sorted(away)} stay away")
        world.weather, world.calm = Weather(), True
        world.cut.clear()
        for host in list(world.hosts.values()):
            host.hung_until, host.stay_down = -1.0, host.node in away
            if host.stay_down and host.qraft is not None:
                world.crash(host, stays=True)
            self._come_to_rest(host)
        self._must_elect(len(voters) - spare, len(voters))
        for host in world.hosts.values():
            host.stay_down = False

    def _must_elect(self, there: int, voters: int) -> None:
        world = self._world
        limit = world.now + RECOVERY_SECONDS
        while not any(host.qraft is not None and host.qraft.ready for host in world.leaders()):
            if world.now > limit:
                raise Violated(f"liveness: {there} of {voters} nodes elect nobody for {RECOVERY_SECONDS:g}s")
            world.run(world.now + PROBE_SECONDS)


class Deposed(Storms):
    """Leaders that are cut off take on more than the others commit and compact without them, and come back."""

    def storm(self) -> None:
        """Some changes of leader, each with a tail that nobody wants."""
        world, random = self._world, self._world.random
        world.tell("storm of leaders cut off with a tail")
        world.calm, world.weather = False, Weather()
        for host in world.hosts.values():
            host.chance.still = None
        for _ in range(random.randint(1, 3)):
            former = world.leader()
            if former is None:
                break
            world.cut = {pair for node in world.hosts for pair in ((node, former.node), (former.node, node))}
            world.counts.faults["leader cut off"] += 1
            self._ask_for(20.0, random.randint(10, 60))
            self._wait_for_another(former.node)
            self._ask_for(20.0, random.randint(5, 40))
            world.run(on_grid(world.now + random.uniform(0.0, world.settings.node_timeout)))
            world.cut.clear()
            world.run(on_grid(world.now + random.uniform(1.0, 60.0)))

    def _ask_for(self, seconds: float, times: int) -> None:
        world = self._world
        for _ in range(times):
            world.clients.ask()
            world.run(on_grid(world.now + seconds / times))

    def _wait_for_another(self, former: int) -> None:
        world = self._world
        limit = world.now + 4 * world.settings.node_timeout
        while world.now < limit and all(host.node == former for host in world.leaders()):
            world.run(world.now + PROBE_SECONDS)
