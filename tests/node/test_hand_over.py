"""What a client is told who wants another node to lead: simulated hosts, with databases and without, the real node."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from msgspec.structs import replace
from qluster.clients import Done, LeaderChangeRequested, Outcome, Refused
from qluster.requests import CONFIRM_TIMEOUT
from sim.clients import Outcomes
from sim.host import Host
from sim.world import World

TICKET = 900


def leader(world: World) -> Host:
    found = world.leader()
    assert found is not None and found.node is not None
    return found


def whole(world: World) -> bool:
    """Three voters, one of whom leads and is ready to be asked."""
    hosts = [host.node for host in world.hosts.values() if host.node is not None and host.node.qraft is not None]
    leads = [node for node in hosts if node.qraft is not None and node.qraft.role == "leader" and node.qraft.ready]
    return len(hosts) == len(world.hosts) and len(leads) == 1 and len(leads[0].settled.voters) == len(world.hosts)


def running(*, databases: bool) -> World:
    world = World(7, pools=0)
    world.clients = Outcomes(world)
    for host in world.hosts.values():
        if not databases:
            host.config = host.proper = replace(host.config, database=None)
            host.database = None
        host.start()
    assert world.run(60, lambda: whole(world) and (not databases or world.primary() is not None))
    world.run(10)
    return world


def told(world: World) -> Outcome:
    """What the leader says in the end."""
    clients = world.clients
    assert isinstance(clients, Outcomes)
    world.run(CONFIRM_TIMEOUT + 10, lambda: TICKET in clients.told)
    return clients.told[TICKET]


def follower(world: World) -> int:
    first = leader(world).node
    assert first is not None
    return next(node for node in sorted(first.settled.voters) if node != first.me)


@pytest.mark.parametrize("databases", [True, False], ids=["with databases", "without"])
def test_who_asks_for_another_leader_is_told_when_it_leads(databases: bool) -> None:
    world = running(databases=databases)
    target = follower(world)
    began = world.now
    world.clients.ask(leader(world), LeaderChangeRequested(TICKET, "", target))
    outcome = told(world)
    assert isinstance(outcome, Done), outcome
    assert outcome.detail["leader"] == target and outcome.detail["changed"] is True
    assert ("reign" in outcome.detail) == databases
    now = leader(world).node
    assert now is not None and now.me == target
    assert world.now < began + CONFIRM_TIMEOUT, "it is told of the change, not at the end of its patience"


def test_who_asks_for_a_leader_that_dies_is_told_that_the_primary_is_back_where_it_was() -> None:
    world = running(databases=True)
    target = follower(world)
    dying = next(host for host in world.hosts.values() if host.node is not None and host.node.me == target)
    first = leader(world)
    world.clients.ask(first, LeaderChangeRequested(TICKET, "", target))
    assert world.run(10, lambda: first.node is not None and first.node.governing.handing_over, every=0.0)
    dying.crash(held=True)
    outcome = told(world)
    assert isinstance(outcome, Refused) and f"node {target} did not show" in outcome.reason, outcome
    assert leader(world) is first and first.node is not None
    assert world.run(5, lambda: world.primary() is first)
    assert first.node.state.reign is not None and first.node.state.reign.number == 1
    last = first.node.state.switching.last
    assert last is not None and (last.node, last.reason) == (target, outcome.reason)


def test_who_asks_for_a_leader_that_dies_is_told_who_leads_instead() -> None:
    world = running(databases=False)
    target = follower(world)
    dying = next(host for host in world.hosts.values() if host.node is not None and host.node.me == target)
    first = leader(world)
    world.clients.ask(first, LeaderChangeRequested(TICKET, "", target))
    assert world.run(10, lambda: first.node is not None and first.node.governing.handing_over, every=0.0)
    dying.crash(held=True)
    outcome = told(world)
    now = leader(world).node
    assert now is not None and now.me != target
    assert outcome == Refused("node", f"node {now.me} took over instead of node {target}")
