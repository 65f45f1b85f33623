"""A cluster with fence agents: what is shot when, and what follows from it. The real node, simulated."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster.clients import Done, FenceRequested, Outcome, PauseRequested, Refused
from qluster.cluster.fencing import Fenced
from qluster.events import StopRequested
from sim.checks import converged
from sim.clients import Outcomes
from sim.host import Host
from sim.world import Faults, World

PATIENCE = 30.0
"""Longer than any failover takes."""


def cluster(fencing: str, seed: int = 7) -> World:
    """Three databases and a pool, founded and well."""
    world = World(seed, fencing=fencing)
    world.clients = Outcomes(world)
    for host in world.hosts.values():
        host.start()
    assert world.run(60, lambda: converged(world) == "")
    world.clients.write_always()
    world.run(3.0)
    return world


@pytest.fixture
def world() -> World:
    return cluster("wait")


def primary(world: World) -> Host:
    found = world.primary()
    assert found is not None
    return found


def taken_over(world: World, first: Host, seconds: float = PATIENCE) -> bool:
    """Whether another node writes within this time."""
    return world.run(seconds, lambda: world.primary() not in (None, first), every=0.01)


def fencing_of(world: World, first: Host) -> Fenced | None:
    leader = world.leader()
    assert leader is not None and leader.node is not None
    member = next(member for member in leader.node.settled if member.ip == first.ip)
    return leader.node.state.fencings.of(member.node)


def test_primary_that_is_cut_off_is_switched_off_before_another_reigns(world: World) -> None:
    first = primary(world)
    world.network.isolate(first)
    assert taken_over(world, first)
    assert first.off_at is not None or first.last_off_at > 0, "its power was cut"
    fenced = fencing_of(world, first)
    assert fenced is not None and fenced.success is True and fenced.shots == 1
    world.network.cut.clear()
    assert world.run(PATIENCE, lambda: converged(world) == ""), "switched on again, it follows"


def test_primary_that_froze_is_switched_off(world: World) -> None:
    first = primary(world)
    first.freeze(60.0, whole=True)
    assert taken_over(world, first)
    assert first.last_off_at > 0 and not first.frozen


def test_primary_that_hands_over_or_stops_in_order_is_not_shot(world: World) -> None:
    first = primary(world)
    first.give(StopRequested())
    assert taken_over(world, first)
    assert first.last_off_at < 0 and fencing_of(world, first) is None


def test_primary_whose_daemon_comes_back_at_once_gives_word_and_is_not_shot(world: World) -> None:
    first = primary(world)
    first.crash(held=True)
    first.start()
    assert world.run(PATIENCE, lambda: world.primary() is not None and converged(world) == "")
    assert first.last_off_at < 0


def test_without_success_nobody_reigns_where_success_is_asked_for(world: World) -> None:
    first = primary(world)
    leaves_alone(world)
    world.network.isolate(first)
    assert not taken_over(world, first, 3 * PATIENCE)
    leader, fenced = world.leader(), fencing_of(world, first)
    assert leader is not None and leader.node is not None and fenced is not None and fenced.shots == 3
    assert f"qluster fence {first.ip} --node" in leader.node.governing.reason
    world.network.cut.clear()
    assert world.run(PATIENCE, lambda: world.primary() is not None), "it is heard again, and gives word"
    assert first.last_off_at < 0


def test_without_success_the_lease_decides_where_that_is_enough() -> None:
    world = cluster("lease")
    first = primary(world)
    leaves_alone(world)
    world.network.isolate(first)
    assert taken_over(world, first)
    fenced = fencing_of(world, first)
    assert fenced is not None and fenced.shots == 3 and fenced.success is False
    assert first.last_off_at < 0 and not first.writes, "its lease had ended"


def leaves_alone(world: World) -> None:
    """Agents that reach nothing."""
    for host in world.hosts.values():
        host.unfenceable = True


def test_lying_agent_costs_no_safety() -> None:
    world = cluster("wait")
    first = primary(world)
    world.faults = Faults(agent_lies=1.0)
    world.network.isolate(first)
    assert taken_over(world, first)
    assert first.last_off_at < 0 and not first.writes, "the lease binds it all the same"


def test_nobody_is_shot_in_a_pause(world: World) -> None:
    first = primary(world)
    world.clients.ask(first, PauseRequested(world.clients.ticket(), "", "a switch is exchanged"))
    assert world.run(PATIENCE, lambda: all(host.node and host.node.state.pause.active for host in world.hosts.values()))
    world.network.isolate(first)
    world.run(PATIENCE)
    assert first.last_off_at < 0 and first.writes


def test_replica_that_dies_is_not_shot(world: World) -> None:
    first = primary(world)
    other = next(host for host in world.hosts.values() if host.database is not None and host is not first)
    other.crash(held=True)
    world.run(PATIENCE)
    assert other.last_off_at < 0 and primary(world) is first


def test_agents_are_looked_after_on_every_node(world: World) -> None:
    world.run(40.0)
    for host in world.hosts.values():
        if host.database is not None:
            assert host.node is not None
            assert {ip for ip, checked in host.node.fences.checked.items() if checked.well} == {
                other.ip for other in world.hosts.values() if other.database is not None and other is not host
            }


# --- what operators ask ------------------------------------------------------------------------


def ask(world: World, host: Host, *, confirm: bool = False, ip: str = "") -> Outcome:
    """Have a host fenced, or say that it is off."""
    leader, clients = world.leader(), world.clients
    assert leader is not None and leader.node is not None and isinstance(clients, Outcomes)
    number = next(member.node for member in leader.node.settled if member.ip == host.ip)
    request = FenceRequested(clients.ticket(), "", number, ip or host.ip, confirm)
    clients.ask(leader, request)
    assert world.run(PATIENCE, lambda: request.ticket in clients.told, every=0.01)
    return clients.told[request.ticket]


def replica(world: World) -> Host:
    first = primary(world)
    return next(host for host in world.hosts.values() if host.database is not None and host is not first)


def test_operator_has_a_replica_fenced_and_it_comes_back(world: World) -> None:
    other = replica(world)
    assert isinstance(ask(world, other), Done)
    assert world.run(PATIENCE, lambda: (fenced := fencing_of(world, other)) is not None and fenced.success is True)
    fenced = fencing_of(world, other)
    assert fenced is not None and fenced.asked and fenced.shots == 1 and other.last_off_at > 0
    assert world.run(PATIENCE, lambda: converged(world) == "")


@pytest.mark.parametrize(
    "what", ["wrong address", "the leader itself", "confirmed though heard", "a replica confirmed"]
)
def test_operator_is_refused(world: World, what: str) -> None:
    first, other = primary(world), replica(world)
    outcome = {
        "wrong address": lambda: ask(world, other, ip="10.0.0.99"),
        "the leader itself": lambda: ask(world, first),
        "confirmed though heard": lambda: ask(world, first, confirm=True),
        "a replica confirmed": lambda: ask(world, other, confirm=True),
    }[what]()
    assert isinstance(outcome, Refused), outcome
    world.run(5.0)
    assert all(host.last_off_at < 0 for host in world.hosts.values())


def test_operator_s_word_that_the_host_is_off_lets_another_take_over(world: World) -> None:
    first = primary(world)
    leaves_alone(world)
    world.network.isolate(first)
    assert not taken_over(world, first, 2 * PATIENCE)
    first.crash(held=True, power=True)
    outcome = ask(world, first, confirm=True)
    assert isinstance(outcome, Done) and outcome.detail["confirmed"] is True
    assert taken_over(world, first)
    fenced = fencing_of(world, first)
    assert fenced is not None and fenced.confirmed and fenced.by == 0
