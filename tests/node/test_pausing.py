"""A cluster that is paused: nothing is touched, and nobody takes over before it is safe. The real node, simulated."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from math import inf

import pytest
from qluster.api import views
from qluster.clients import (
    Busy,
    ClientRequest,
    Done,
    LeaderChangeRequested,
    NodeRemoveRequested,
    Outcome,
    PauseRequested,
    Refused,
    ResumeRequested,
)
from qluster.events import StopRequested
from qluster.overview import headline
from sim.checks import converged
from sim.clients import Outcomes
from sim.host import Host
from sim.world import World

PATIENCE = 30.0
"""Longer than any failover takes."""


@pytest.fixture
def world() -> World:
    """Three databases and a pool, founded and well."""
    found = World(7)
    found.clients = Outcomes(found)
    for host in found.hosts.values():
        host.start()
    assert found.run(60, lambda: converged(found) == "")
    found.clients.write_always()
    return found


def leader(world: World) -> Host:
    found = world.leader()
    assert found is not None
    return found


def elected(world: World, *, instead_of: Host) -> bool:
    """Whether somebody else leads."""
    return world.leader() not in (None, instead_of)


def primary(world: World) -> Host:
    found = world.primary()
    assert found is not None
    return found


def number(host: Host) -> int:
    assert host.node is not None
    return host.node.me


def ask(world: World, host: Host, request: ClientRequest) -> Outcome:
    clients = world.clients
    assert isinstance(clients, Outcomes)
    clients.ask(host, request)
    assert world.run(PATIENCE, lambda: request.ticket in clients.told, every=0.01)
    return clients.told[request.ticket]


def pause(world: World, reason: str = "a switch is exchanged") -> Outcome:
    return ask(world, leader(world), PauseRequested(world.clients.ticket(), "", reason))


def resume(world: World, abandon: int | None = None) -> Outcome:
    return ask(world, leader(world), ResumeRequested(world.clients.ticket(), "", abandon))


def paused(world: World) -> Host:
    """Pause; the primary's host."""
    first = primary(world)
    outcome = pause(world)
    assert isinstance(outcome, Done) and outcome.detail == {"paused": True, "changed": True}
    assert world.run(PATIENCE, lambda: all(host.node and host.node.state.pause.active for host in world.hosts.values()))
    return first


def others(world: World, first: Host) -> list[Host]:
    return [host for host in world.hosts.values() if host.database is not None and host is not first]


def reign(world: World) -> int:
    found = leader(world).node
    assert found is not None and found.state.reign is not None
    return found.state.reign.number


def test_primary_that_is_cut_off_in_a_pause_goes_on_and_is_the_only_one(world: World) -> None:
    first = paused(world)
    world.network.isolate(first)
    world.run(PATIENCE)
    assert first.writes and first.alive_until == inf, "work on the network does not end it"
    assert leader(world) is not first, "the log lives on without it"
    assert world.primary() is first and not any(host.writes for host in others(world, first))
    world.network.cut.clear()
    assert world.run(PATIENCE, lambda: world.leader() is first), "leadership goes back to it"
    assert first.writes


def test_nothing_is_started_in_a_pause_and_what_would_be_is_said(world: World) -> None:
    first = paused(world)
    follower = others(world, first)[0]
    for host in (first, follower):
        assert host.database is not None
        host.database.kill()
        host.look()
    begun = reign(world)
    world.run(PATIENCE)
    assert not any(host.database.running for host in (first, follower) if host.database)
    assert reign(world) == begun and world.primary() is None
    said = [host.node.keeper.status() for host in (first, follower) if host.node is not None]
    assert [one.state for one in said] == ["paused", "paused"]
    assert [one.withheld for one in said] == [
        "would start the database as primary", "would start the database as a standby"]
    assert isinstance(resume(world), Done)
    assert world.run(PATIENCE, lambda: converged(world) == "")
    assert primary(world) is first and reign(world) == begun


def test_resume_interrupts_nobody(world: World) -> None:
    first = paused(world)
    world.run(5.0)
    begun = reign(world)
    outcome = resume(world)
    assert isinstance(outcome, Done) and outcome.detail["waits_for"] == number(first)
    for _ in range(200):
        world.run(0.05)
        assert first.writes and world.primary() is first
    assert reign(world) == begun and converged(world) == ""


def test_resume_waits_until_the_node_of_the_primary_leads_again(world: World) -> None:
    """Bound in a term in which somebody else leads, its primary would be ended."""
    first = paused(world)
    world.network.isolate(first)
    assert world.run(PATIENCE, lambda: elected(world, instead_of=first))
    second = leader(world).node
    assert second is not None
    world.network.cut.clear()
    assert world.run(PATIENCE, lambda: second.alive(number(first), leader(world).clock()), every=0.0001)
    assert leader(world).node is second and isinstance(resume(world), Busy)
    assert world.run(PATIENCE, lambda: world.leader() is first)
    assert isinstance(resume(world), Done)
    for _ in range(100):
        world.run(0.05)
        assert first.writes and world.primary() is first


def test_after_a_resume_that_its_primary_does_not_hear_nobody_takes_over(world: World) -> None:
    first = paused(world)
    world.network.isolate(first)
    assert world.run(PATIENCE, lambda: elected(world, instead_of=first))
    assert isinstance(resume(world), Done)
    world.run(PATIENCE)
    assert first.writes, "it has not heard of the resume"
    assert not any(host.writes for host in others(world, first))
    node = leader(world).node
    assert node is not None
    assert f"node {number(first)} may still run the primary" in node.governing.reason
    rows = first.database.wal.digest(len(first.database.wal)) if first.database is not None else None
    position = len(first.database.wal) if first.database is not None else 0
    world.network.cut.clear()
    assert world.run(PATIENCE, lambda: converged(world) == "")
    assert first.database is not None and first.database.wal.digest(position) == rows, "what it took on is not lost"


def test_node_that_hears_of_the_resume_late_counts_as_bound_when_a_lease_bounds_its_server(world: World) -> None:
    """Before that its guard has yet to end the server; who took over in between could write beside it."""
    first = paused(world)
    world.network.isolate(first)
    assert world.run(PATIENCE, lambda: elected(world, instead_of=first))
    assert isinstance(resume(world), Done)
    world.run(PATIENCE)
    seen: set[tuple[bool, bool]] = set()

    def look() -> bool:
        node, now = first.node, first.clock()
        if node is not None and not node.state.pause.active:
            ends = node.hosting.alive_until(now) <= now
            seen.add((bool(node.hosting.bound(now)), ends and first.writes))
        return False

    world.network.cut.clear()
    world.run(PATIENCE, look, every=0.0005)
    assert (True, False) in seen, "it is bound again"
    assert (True, True) not in seen


def test_node_that_is_given_up_lets_another_take_over(world: World) -> None:
    first = paused(world)
    given_up, other = number(first), number(others(world, first)[0])
    first.crash(held=True, power=True)
    assert world.run(PATIENCE, lambda: elected(world, instead_of=first))
    assert resume(world, other) == Refused("abandon", f"node {other} is not waited for, it is node {given_up}")
    outcome = resume(world, given_up)
    assert isinstance(outcome, Done) and outcome.detail["waits_for"] is None
    assert world.run(PATIENCE, lambda: world.primary() is not None)
    assert primary(world) is not first


def test_primary_is_not_moved_and_its_node_not_removed_in_a_pause(world: World) -> None:
    first = paused(world)
    target = number(others(world, first)[0])
    moved = ask(world, leader(world), LeaderChangeRequested(world.clients.ticket(), "", target))
    assert moved == Refused("node", "the cluster is paused (a switch is exchanged): resume it first")
    world.network.isolate(first)
    assert world.run(PATIENCE, lambda: elected(world, instead_of=first))
    removed = ask(world, leader(world), NodeRemoveRequested(world.clients.ticket(), "", number(first)))
    assert isinstance(removed, Refused) and "is not removed" in removed.reason


def test_second_pause_and_second_resume_change_nothing(world: World) -> None:
    paused(world)
    again = pause(world)
    assert again == Done(0, {"paused": True, "changed": False})
    resume(world)
    assert world.run(PATIENCE, lambda: converged(world) == "")
    assert resume(world) == Done(0, {"paused": False, "changed": False, "waits_for": None})


def test_primary_that_somebody_makes_of_a_replica_in_a_pause_is_ended(world: World) -> None:
    first = paused(world)
    other = others(world, first)[0]
    assert other.database is not None
    other.database.in_recovery, other.database.standby = False, False
    other.look()
    assert world.run(2.0, lambda: not other.database.running), "two primaries are never left alone"  # type: ignore[union-attr]
    assert first.writes


@pytest.mark.parametrize("power", [False, True], ids=["the daemons", "the hosts"])
def test_pause_outlives_a_restart(world: World, power: bool) -> None:
    first = paused(world)
    begun = reign(world)
    for host in world.hosts.values():
        host.crash(held=True, power=power)
    for host in world.hosts.values():
        host.start()
        assert host.node is not None and host.node.state.pause.active, "from its first moment"
    world.run(PATIENCE)
    running = {host.name for host in world.hosts.values() if host.database is not None and host.database.running}
    assert running == (set() if power else {"host1", "host2", "host3"}), "nothing is ended, nothing is started"
    assert first.writes != power and not any(host.writes for host in others(world, first))
    assert isinstance(resume(world), Done)
    assert world.run(PATIENCE, lambda: converged(world) == "")
    assert primary(world) is first and reign(world) >= begun


def test_daemon_that_is_stopped_in_a_pause_leaves_its_database_running(world: World) -> None:
    first = paused(world)
    first.give(StopRequested())
    assert world.run(PATIENCE, lambda: first.node is None)
    world.run(PATIENCE)
    assert first.writes and not any(host.writes for host in others(world, first))
    first.start()
    assert world.run(PATIENCE, lambda: world.primary() is first and world.leader() is first)


def test_pause_is_said_everywhere(world: World) -> None:
    paused(world)
    for host in world.hosts.values():
        assert host.node is not None
        status = host.node.status(host.clock())
        assert status.cluster.pause is not None and status.cluster.pause.reason == "a switch is exchanged"
        assert views.start_information(status).pause == status.cluster.pause
        assert headline(host.node, host.clock()).startswith("PAUSED")
