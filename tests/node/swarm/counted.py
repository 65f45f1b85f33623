"""Storms over clusters that do not count nodes: votes are changed, voters rest, sides change.

Must not know any participant's inside beside its list of members.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace
from qluster.consensus.refusals import Refusal
from swarm.quiet import on_grid
from swarm.storms import Storms

OFTEN = 0.3
"""Part of all strikes that are of this kind."""


class Counted(Storms):
    """A storm in which operators change what counts."""

    def _strike(self) -> None:
        if self._world.random.random() >= OFTEN:
            super()._strike()
            return
        strikes: list[Callable[[], None]] = [self._change_votes, self._rest, self._change_sides]
        self._world.random.choice(strikes)()

    def _change_votes(self) -> None:
        world, leader = self._world, self._world.leader()
        if leader is None or leader.qraft is None or world.now < leader.hung_until:
            return
        members = leader.qraft.members
        if any(each.node not in world.hosts for each in members):
            return  # whoever gives the votes to a node whose disk is gone has nothing left that elects (seed 50000027)
        one = world.random.choice(list(members))
        wanted = members.with_member(replace(one, votes=world.random.randint(0, 3)))
        try:
            leader.qraft.change_members(wanted, leader.clock(world.now))
        except Refusal:
            return
        world.counts.faults["votes changed"] += 1
        world.perform(leader)

    def _rest(self) -> None:
        world, leader = self._world, self._world.leader()
        if leader is None or leader.qraft is None or world.now < leader.hung_until:
            return
        if any(each.node not in world.hosts for each in leader.qraft.members):
            return
        node = world.random.choice(sorted(leader.qraft.members.voters))
        try:
            leader.qraft.rest(node, leader.clock(world.now))
        except Refusal:
            return
        world.counts.faults["voter rests"] += 1
        world.perform(leader)

    def _change_sides(self) -> None:
        """Two sides for longer than a window; then one changes from one to the other."""
        world = self._world
        nodes = sorted(world.hosts)
        side = set(world.random.sample(nodes, max(1, len(nodes) // 2)))
        for _ in range(world.random.randint(2, 4)):
            world.cut = {(a, b) for a in nodes for b in nodes if (a in side) != (b in side)}
            world.counts.faults["sides changed"] += 1
            world.run(on_grid(world.now + world.random.uniform(20.0, 90.0)))
            side ^= {world.random.choice(nodes)}
