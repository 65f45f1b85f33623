"""What a node does with its file after settings were changed in the log: simulated hosts, the real node."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster.clients import SettingsChangeRequested, ValueWriteRequested
from qluster.config import Config, needs_restart, with_changes
from qluster.overview import overview
from sim.host import Host
from sim.world import World

CHANGES = {"cluster.remove-interval": "2m", "udp.max-log-size": "60000"}
PATIENCE = 20.0


def settled(world: World) -> bool:
    """Somebody leads, and everybody has applied what it has."""
    leader = world.leader()
    if leader is None or leader.node is None:
        return False
    applied = leader.node.state.applied
    return all(host.node is not None and host.node.state.applied == applied for host in world.hosts.values())


@pytest.fixture
def world() -> World:
    """Three nodes and a pool host, settings changed twice since the founding."""
    made = World(7)
    for host in made.hosts.values():
        host.start()
    assert made.run(60, lambda: settled(made) and made.primary() is not None)
    for number, changes in enumerate([{"cluster.remove-interval": "90s"}, CHANGES]):
        leader = made.leader()
        assert leader is not None
        leader.give(SettingsChangeRequested(900 + number, f"change-{number}", changes))
        made.run(2)
    assert made.run(PATIENCE, lambda: settled(made))
    return made


def restart(world: World, host: Host, config: Config) -> bool:
    """Restart with another file; whether the node is back among the others."""
    host.crash(held=True)
    host.config = config
    host.start()
    world.run(PATIENCE, lambda: bool(host.left) or settled(world))
    return not host.left


def test_files_with_the_changed_values_are_good_on_every_host_in_turn(world: World) -> None:
    for host in world.hosts.values():
        assert restart(world, host, with_changes(host.proper, CHANGES)), host.left
        assert host.node is not None and host.node.config.udp.max_log_size == 60000


def test_files_with_the_values_of_the_founding_are_good(world: World) -> None:
    for host in world.hosts.values():
        assert restart(world, host, host.proper), host.left
        assert host.node is not None and host.node.config.cluster.remove_interval == 120


def test_nodes_say_that_they_have_the_same_settings_whatever_their_files_began_with(world: World) -> None:
    first = next(iter(world.hosts.values()))
    assert restart(world, first, with_changes(first.proper, CHANGES)), first.left
    assert len({host.node.digest for host in world.hosts.values() if host.node is not None}) == 1


def test_all_hosts_may_restart_at_once_with_the_changed_values(world: World) -> None:
    for host in world.hosts.values():
        host.crash(held=True)
        host.config = with_changes(host.proper, CHANGES)
    for host in world.hosts.values():
        host.start()
    assert world.run(60, lambda: settled(world)), [host.left for host in world.hosts.values()]


def test_value_that_was_never_in_force_or_is_no_more_ends_the_daemon(world: World) -> None:
    host = list(world.hosts.values())[1]
    for value in ("90s", "5m"):
        assert not restart(world, host, with_changes(host.proper, {"cluster.remove-interval": value}))
        assert "cluster.remove-interval is" in host.left and "2m in the cluster" in host.left


def test_entries_larger_than_the_files_say_travel_once_the_limit_was_raised(world: World) -> None:
    leader = world.leader()
    assert leader is not None
    leader.give(SettingsChangeRequested(910, "raise", {"udp.max-log-size": "200000"}))
    world.run(2)
    for number in range(6):
        leader.give(ValueWriteRequested(920 + number, f"large-{number}", f"large-{number}", bytes(60_000), None))
    assert world.run(PATIENCE, lambda: settled(world) and len(stored(leader)) == 6)
    assert all(len(stored(host)) == 6 for host in world.hosts.values())


def test_entries_from_before_the_limit_was_lowered_still_reach_a_node_that_lacks_them(world: World) -> None:
    leader = world.leader()
    assert leader is not None
    late = next(host for host in world.hosts.values() if host is not leader and host.database is not None)
    late.crash(held=True)
    leader.give(ValueWriteRequested(920, "large", "large", bytes(55_000), None))
    world.run(2)
    leader.give(SettingsChangeRequested(910, "lower", {"udp.max-log-size": "2000"}))
    world.run(2)
    late.start()
    assert world.run(PATIENCE, lambda: settled(world) and len(stored(late)) == 1)


def test_every_limit_of_the_transport_changes_while_the_node_runs(world: World) -> None:
    leader = world.leader()
    assert leader is not None
    changes = {"udp.max-log-size": "90000", "udp.socket.pacing-rate": "100000000",
               "udp.send-buffer-capacity": "512", "udp.recv-buffer-capacity": "128"}  # fmt: skip
    assert needs_restart(changes) == []
    leader.give(SettingsChangeRequested(910, "limits", changes))
    world.run(2)
    assert settled(world)
    assert {limits(host) for host in world.hosts.values()} == {(90_000, 100_000_000, 512, 128)}


def stored(host: Host) -> list[str]:
    assert host.node is not None
    return host.node.state.store.names("large", "")[0]


def limits(host: Host) -> tuple[int, ...]:
    assert host.node is not None
    link = host.node.link.settings
    return link.max_log_size, link.pacing_rate, link.send_buffer_capacity, link.recv_buffer_capacity


def test_setting_that_came_with_a_newer_version_is_shown_and_can_be_changed(world: World) -> None:
    """The log of a cluster that an older version founded lacks it; the file's value is in force until then."""
    key, leader = "cluster.maximum-lag", world.leader()
    assert leader is not None and leader.node is not None
    founded = leader.node.state.settings[key].value
    for host in world.hosts.values():
        assert host.node is not None
        del host.node.state.settings[key]
    assert overview(leader.node, world.now).settings[key] == founded
    leader.give(SettingsChangeRequested(950, "later", {key: "4096"}))
    world.run(2)
    assert world.run(PATIENCE, lambda: settled(world))
    for host in world.hosts.values():
        assert host.node is not None and host.node.config.cluster.maximum_lag == 4096
        assert overview(host.node, world.now).settings[key] == "4096"
