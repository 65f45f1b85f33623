"""A node that lost its state comes back as another one, and its old number goes (D5, S15): simulated hosts."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from sim.host import Host
from sim.world import World

PATIENCE = 60.0


def whole(world: World) -> bool:
    """Three voters and the pool's listener, all living, all with everything applied, and a primary."""
    leader = world.leader()
    if leader is None or leader.node is None or leader.node.qraft is None or world.primary() is None:
        return False
    members, applied = leader.node.settled, leader.node.state.applied
    nodes = [host.node for host in world.hosts.values() if host.node is not None]
    numbers = {node.me for node in nodes if node.state.applied == applied}
    return len(members.voters) == 3 and numbers == {member.node for member in members}


@pytest.fixture
def world() -> World:
    made = World(5)
    for host in made.hosts.values():
        host.start()
    assert made.run(PATIENCE, lambda: whole(made))
    return made


def chosen(world: World, which: str) -> Host:
    leader = world.leader()
    assert leader is not None
    if which == "leader":
        return leader
    databases = [host for host in world.hosts.values() if host.database is not None and host is not leader]
    return databases[0] if which == "follower" else world.hosts["10.0.0.1"]


@pytest.mark.parametrize("which", ["follower", "leader", "founder"])
def test_node_that_lost_its_state_is_another_node_and_the_old_one_is_removed(world: World, which: str) -> None:
    host = chosen(world, which)
    assert host.node is not None
    before, uid = host.node.me, host.node.uid
    host.crash(held=True)
    world.lose_state(host)
    host.start()
    assert world.run(PATIENCE, lambda: whole(world)), world.story[-20:]
    assert host.node is not None and host.node.qraft is not None
    assert host.node.me > 4 and host.node.me != before and host.node.uid != uid
    assert host.node.settled.get(before) is None
    assert [member.ip for member in host.node.settled].count(host.ip) == 1


def test_number_of_a_node_that_is_gone_is_never_given_again(world: World) -> None:
    host = chosen(world, "follower")
    numbers = []
    for _ in range(3):
        host.crash(held=True)
        world.lose_state(host)
        host.start()
        assert world.run(PATIENCE, lambda: whole(world)), world.story[-20:]
        assert host.node is not None
        numbers.append(host.node.me)
    assert numbers == sorted(set(numbers)) and numbers[0] > 4
