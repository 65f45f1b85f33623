"""Parameters of all databases and restarts of their servers: simulated hosts, the real node."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster.clients import (
    Busy,
    DatabaseChangeRequested,
    DatabaseRestartRequested,
    Done,
    NotLeader,
    Outcome,
    Refused,
    RestartCancelRequested,
)
from qluster.cluster.database_settings import RestartPlan
from sim.clients import Outcomes
from sim.database import UNSTARTABLE
from sim.host import Host
from sim.strikes import crash, freeze, kill_database, mend, split
from sim.world import Faults, World

TICKET = 900
PATIENCE = 60.0


def leader(world: World) -> Host:
    found = world.leader()
    assert found is not None and found.node is not None
    return found


def whole(world: World) -> bool:
    """A primary, and everybody else streams from it."""
    primary = world.primary()
    hosts = [host for host in world.hosts.values() if host.database is not None]
    return primary is not None and all(
        host.node is not None and host.reachable and (host is primary or host.database.upstream is not None)
        for host in hosts
        if host.database is not None
    )


def running(seed: int = 7, databases: int = 3, synchronous: str = "quorum") -> World:
    world = World(seed, databases=databases, pools=0, synchronous=synchronous)
    world.clients = Outcomes(world)
    for host in world.hosts.values():
        host.start()
    assert world.run(60, lambda: whole(world))
    world.run(5)
    return world


def ask(world: World, ticket: int, host: Host | None = None, **what: object) -> Outcome:
    """Ask the leader, and what it says."""
    clients = world.clients
    assert isinstance(clients, Outcomes)
    plan = what.pop("restart", None)
    changes = {str(name): None if value is None else str(value) for name, value in what.items()}
    request = DatabaseChangeRequested(ticket, f"key-{ticket}", changes, None, "anna", plan)
    clients.ask(host or leader(world), request)
    assert world.run(15, lambda: ticket in clients.told, every=0.05)
    return clients.told[ticket]


def in_force(world: World) -> set[str]:
    return {host.database.value for host in world.hosts.values() if host.database is not None}


def over(world: World) -> bool:
    """The restart has ended as everybody knows."""
    nodes = [host.node for host in world.hosts.values()]
    return all(
        node is not None and (restart := node.state.database.restart) is not None and not restart.running
        for node in nodes
    )


def test_change_that_needs_no_restart_is_in_force_everywhere_and_remembered() -> None:
    world = running()
    outcome = ask(world, TICKET, work_mem="8MB")
    assert isinstance(outcome, Done) and outcome.detail["changed"] == {"work_mem": "8MB"}, outcome
    def told() -> bool:
        return all(
            host.database is not None and host.database.terms is not None
            and host.database.terms.parameters == (("work_mem", "8MB"),)
            for host in world.hosts.values()
        )
    assert world.run(5, told)
    again = ask(world, TICKET + 1, work_mem="8MB")
    assert isinstance(again, Done) and again.index == 0, "nothing is to be said a second time"
    assert isinstance(ask(world, TICKET + 2, work_mem=None), Done)
    node = leader(world).node
    assert node is not None
    assert [(change.changes, change.before, change.by) for change in node.state.database.history] == [
        ({"work_mem": "8MB"}, {"work_mem": None}, "anna"), ({"work_mem": None}, {"work_mem": "8MB"}, "anna"),
    ]  # fmt: skip


def test_value_that_the_database_or_safety_refuses_is_not_spread() -> None:
    world = running()
    for number, (name, value) in enumerate([("nonsense", "1"), ("fsync", "off"), ("max_wal_senders", "2")]):
        outcome = ask(world, TICKET + number, **{name: value})
        assert isinstance(outcome, Refused) and [field for field, _ in outcome.faults] == [name], outcome
    follower = next(host for host in world.hosts.values() if host is not leader(world))
    assert isinstance(ask(world, TICKET + 9, follower, work_mem="8MB"), NotLeader)
    assert all(host.node is not None and host.node.state.database.version == 0 for host in world.hosts.values())


def test_version_guards_against_two_operators_and_a_second_change_waits_for_the_first() -> None:
    world = running()
    clients, first = world.clients, leader(world)
    assert isinstance(clients, Outcomes)
    for ticket in (1, 2):
        clients.ask(first, DatabaseChangeRequested(ticket, "", {"work_mem": f"{ticket}MB"}, 0, "", None))
    assert world.run(10, lambda: {1, 2} <= set(clients.told))
    assert isinstance(clients.told[1], Done) and isinstance(clients.told[2], Busy)
    clients.ask(first, DatabaseChangeRequested(3, "", {"work_mem": "3MB"}, 0, "", None))
    assert world.run(10, lambda: 3 in clients.told)
    outcome = clients.told[3]
    assert isinstance(outcome, Refused) and outcome.field == "cas"


@pytest.mark.parametrize("databases", [1, 2, 3])
@pytest.mark.parametrize("primary", ["switchover", "in-place"])
def test_servers_restart_one_after_the_other_and_the_value_is_in_force(databases: int, primary: str) -> None:
    world = running(databases=databases)
    before = leader(world)
    plan = RestartPlan(primary=primary)  # type: ignore[arg-type]
    outcome = ask(world, TICKET, max_connections=200, restart=plan)
    assert isinstance(outcome, Done) and outcome.detail["needs_restart"] == ["max_connections"]
    down: list[int] = []
    def watched() -> bool:
        down.append(sum(not host.reachable for host in world.hosts.values()))
        return over(world)
    assert world.run(PATIENCE, watched, every=0.02)
    node = leader(world).node
    assert node is not None and node.state.database.restart is not None
    restart = node.state.database.restart
    assert restart.reason == "" and in_force(world) == {"200"} and max(down) <= 1
    assert len(restart.turns) == databases, restart.turns
    assert (leader(world) is before) == (primary == "in-place" or databases == 1)
    assert world.run(20, lambda: whole(world))


def test_value_with_which_no_server_starts_is_taken_back_after_the_first_one() -> None:
    world = running()
    before = leader(world)
    assert isinstance(ask(world, TICKET, max_connections=150, restart=RestartPlan()), Done)
    assert world.run(PATIENCE, lambda: over(world)) and in_force(world) == {"150"}
    outcome = ask(world, TICKET + 1, max_connections=UNSTARTABLE, work_mem="8MB", restart=RestartPlan())
    assert isinstance(outcome, Done)
    now = leader(world)
    assert world.run(PATIENCE, lambda: over(world))
    node = leader(world).node
    assert node is not None and leader(world) is now and before is not now
    settings = node.state.database
    assert settings.values == {"max_connections": "150", "work_mem": "8MB"}, "what can be in force stays"
    assert settings.restart is not None and "there is not so much memory" in settings.restart.reason
    assert "there is not so much memory" in settings.history[-1].reason
    assert len(settings.restart.turns) == 1 and in_force(world) == {"150"}


def test_crash_with_a_value_that_cannot_be_started_costs_no_database_and_takes_it_back() -> None:
    world = running()
    assert isinstance(ask(world, TICKET, max_connections=UNSTARTABLE), Done)
    world.run(2)
    for host in world.hosts.values():
        host.crash(held=True)
    for host in world.hosts.values():
        host.start()
    def back() -> bool:
        found = world.leader()
        return found is not None and found.node is not None and not found.node.state.database.values and whole(world)
    assert world.run(PATIENCE, back)
    assert in_force(world) == {"100"}


def test_restart_is_cancelled_and_another_one_is_refused_while_it_is_under_way() -> None:
    world = running()
    clients, first = world.clients, leader(world)
    assert isinstance(clients, Outcomes)
    clients.ask(first, DatabaseRestartRequested(1, "", RestartPlan("all"), "anna"))
    assert world.run(10, lambda: 1 in clients.told, every=0.01)
    clients.ask(first, DatabaseRestartRequested(2, "", RestartPlan("all"), ""))
    clients.ask(first, RestartCancelRequested(3, "", "bert"))
    assert world.run(10, lambda: {2, 3} <= set(clients.told), every=0.01)
    assert isinstance(clients.told[2], Refused | Busy)
    if isinstance(clients.told[3], Busy):
        clients.ask(first, RestartCancelRequested(4, "", "bert"))
        assert world.run(10, lambda: 4 in clients.told)
    assert world.run(10, lambda: over(world))
    node = leader(world).node
    assert node is not None and node.state.database.restart is not None
    assert node.state.database.restart.reason == "cancelled by bert"


@pytest.mark.parametrize("seed", range(12))
def test_restart_goes_on_or_ends_with_a_reason_whatever_strikes_meanwhile(seed: int) -> None:
    world = running(seed, synchronous=["off", "quorum", "all"][seed % 3])
    world.clients.write_always()
    value = UNSTARTABLE if seed % 4 == 3 else "200"
    outcome = ask(world, TICKET, max_connections=value, restart=RestartPlan("all", limit=20.0))
    assert isinstance(outcome, Done), outcome
    world.faults = Faults(loss=0.05, job_failure=0.1, job_hang=0.02)
    for _ in range(6):
        world.random.choice([crash, kill_database, freeze, split])(world)
        world.run(world.random.uniform(0.3, 3.0))
    world.faults = Faults()
    mend(world)
    assert world.run(120, lambda: over(world) and whole(world)), world.story[-40:]
    known = {node.state.database.values.get("max_connections", "100") for host in world.hosts.values()
             if (node := host.node) is not None}
    assert known == {"100"} if value == UNSTARTABLE else known == {"200"}
