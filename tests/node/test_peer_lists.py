"""A cluster whose nodes list each other, and whose list grows: simulated hosts, the real node."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import msgspec
import pytest
from qluster.config import Config
from qluster.config.addresses import lists_peers
from sim.disk import SimDisk
from sim.host import Host
from sim.world import World, configuration

PATIENCE = 30.0
PORT = 7400


def listing(config: Config, *ips: str) -> Config:
    """The configuration with a list of peers in the place of the group."""
    socket = msgspec.structs.replace(config.udp.socket, group=tuple((ip, PORT) for ip in ips))
    return msgspec.structs.replace(config, udp=msgspec.structs.replace(config.udp, socket=socket))


def settled(world: World) -> bool:
    """Somebody leads, and everybody has applied what it has."""
    leader = world.leader()
    if leader is None or leader.node is None:
        return False
    applied = leader.node.state.applied
    return all(host.node is not None and host.node.state.applied == applied for host in world.hosts.values())


def restart(world: World, host: Host, config: Config) -> bool:
    """Restart with another file; whether the node is back among the others."""
    host.crash(held=True)
    host.config = config
    host.start()
    world.run(PATIENCE, lambda: bool(host.left) or settled(world))
    return not host.left and settled(world)


@pytest.fixture
def world() -> World:
    made = World(11)
    for host in made.hosts.values():
        host.proper = host.config = listing(host.config, *made.hosts)
        host.start()
    assert made.run(60, lambda: settled(made) and made.primary() is not None)
    return made


def test_list_grows_host_by_host_and_then_the_new_node_joins(world: World) -> None:
    new = configuration(9, pool=True)
    longer = [*world.hosts, new.ip]
    for host in list(world.hosts.values()):
        assert restart(world, host, listing(host.proper, *longer)), host.left
    joining = world.hosts[new.ip] = Host(world, "host9", listing(new, *longer), SimDisk(99), None)
    joining.start()
    joined = world.run(60, lambda: settled(world) and joining.node is not None and joining.node.me is not None)
    assert joined, joining.left
    assert len({host.node.digest for host in world.hosts.values() if host.node is not None}) == 1


def test_node_that_lists_others_shows_another_digest(world: World) -> None:
    host = list(world.hosts.values())[1]
    assert restart(world, host, listing(host.proper, *world.hosts, "10.0.0.99")), host.left
    assert len({host.node.digest for host in world.hosts.values() if host.node is not None}) == 2


def test_node_that_waits_for_multicast_where_others_are_listed_ends(world: World) -> None:
    host = list(world.hosts.values())[1]
    assert not restart(world, host, listing(host.proper, "239.19.76.1"))
    assert "udp.socket.group is 239.19.76.1:7400 here" in host.left


@pytest.mark.parametrize(
    ("text", "listed"),
    [("10.0.0.1:7400,10.0.0.2:7400", True), ("10.0.0.1:7400", True), ("[fd00::1]:7400,[fd00::2]:7400", True),
     ("239.19.76.1:7400", False), ("[ff15::76]:7400", False), ("10.0.0.1", False), ("", False), (",", False),
     ("db1:7400", False), ("10.0.0.1:7400,239.19.76.1:7400", False), (",".join(["10.0.0.1:7400"] * 33), False)])
def test_list_is_told_from_a_group_and_from_nonsense(text: str, listed: bool) -> None:
    assert lists_peers(text) == listed


def test_group_in_the_place_of_a_list_is_refused_even_when_all_were_stopped(world: World) -> None:
    """Which is why the messages name a new beginning as the only way."""
    for host in world.hosts.values():
        host.crash(held=True)
        host.config = listing(host.proper, "239.19.76.1")
    for host in world.hosts.values():
        host.start()
    assert not world.run(PATIENCE, lambda: settled(world))
    assert any("in the cluster" in host.left for host in world.hosts.values())
