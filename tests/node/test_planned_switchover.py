"""Switchovers that are scheduled, and faults in the middle of one: simulated hosts with a pool, the real node."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster.clients import LeaderChangeRequested, PauseRequested, PlanDropRequested, Refused, ResumeRequested
from qluster.events import WallClockRead
from qluster.handing import MISSED_LIMIT
from qluster.pointing import HOLD_SECONDS
from qluster.switching import TRANSACTION_PATIENCE, Phase
from qluster.wishes import AHEAD_MAX
from sim.clients import Outcomes
from sim.host import Host
from sim.world import World
from test_hand_over import TICKET, leader, told


def running(synchronous: str = "off") -> World:
    """Three databases and a pool that points at the primary."""
    world = World(11, databases=3, pools=1, synchronous=synchronous)
    world.clients = Outcomes(world)
    for host in world.hosts.values():
        host.start()
    assert world.run(60, lambda: world.primary() is not None and pool(world).pool_target is not None)
    world.clients.write_always()
    world.run(10)
    return world


def pool(world: World) -> Host:
    return next(host for host in world.hosts.values() if host.database is None)


def other(world: World) -> int:
    """A node that could take over."""
    first = leader(world).node
    assert first is not None
    return next(node for node in sorted(first.settled.voters) if node != first.me)


def planned(world: World, seconds: float, node: int | None) -> float:
    """Schedule a switchover; when it is due, by the wall clock."""
    first = leader(world)
    assert first.node is not None
    at = first.node.wall(first.clock()) + seconds
    world.clients.ask(first, LeaderChangeRequested(TICKET, "plan", node, at))
    assert world.run(2, lambda: first.node is not None and first.node.state.switching.planned is not None)
    return at


def leads(world: World, node: int) -> bool:
    first = world.primary()
    return first is not None and first.node is not None and first.node.me == node


def last_reason(world: World) -> str | None:
    node = leader(world).node
    last = node.state.switching.last if node is not None else None
    return last.reason if last is not None else None


# --- at a time ---------------------------------------------------------------------


def test_switchover_happens_at_its_time() -> None:
    world = running()
    target, began = other(world), world.now
    planned(world, 8.0, target)
    assert world.run(30, lambda: leads(world, target), every=0.05)
    assert 7.9 < world.now - began < 11.0
    assert last_reason(world) == ""


def test_who_leads_when_the_time_comes_carries_it_out() -> None:
    world = running()
    target = other(world)
    planned(world, 15.0, target)
    world.run(0.5)
    leader(world).crash(held=True)
    assert world.run(14, lambda: world.primary() is not None)
    now = leader(world).node
    assert now is not None
    if now.me == target:
        world.run(25)
        assert last_reason(world) == f"node {target} leads already"
    else:
        assert world.run(25, lambda: leads(world, target))
        assert last_reason(world) == ""
    assert leader(world).node.state.switching.planned is None  # type: ignore[union-attr]


def test_plan_whose_time_passed_while_all_were_down_is_dropped_with_the_reason() -> None:
    world = running()
    planned(world, 5.0, other(world))
    world.run(0.5)
    for host in world.hosts.values():
        host.crash(held=True)
    world.run(MISSED_LIMIT + 10)
    for host in world.hosts.values():
        host.start()
    assert world.run(60, lambda: world.primary() is not None)
    world.run(5)
    assert "was missed by more than" in (last_reason(world) or "")
    assert leader(world).node.state.switching.planned is None  # type: ignore[union-attr]


def test_node_that_is_not_fit_when_the_time_comes_is_not_given_the_primary() -> None:
    world = running()
    target, first = other(world), leader(world)
    planned(world, 8.0, target)
    world.run(1)
    next(host for host in world.hosts.values() if host.node is not None and host.node.me == target).crash(held=True)
    world.run(15)
    assert world.primary() is first and last_reason(world) == "it is not heard"


def test_plan_whose_time_comes_in_a_pause_is_dropped_and_does_not_wait_for_the_resume() -> None:
    world = running()
    target, first = other(world), leader(world)
    planned(world, 8.0, target)
    world.clients.ask(first, PauseRequested(TICKET + 1, "", "a switch is exchanged"))
    assert world.run(5, lambda: first.node is not None and first.node.state.pause.active)
    assert world.run(15, lambda: first.node is not None and first.node.state.switching.planned is None)
    assert last_reason(world) == "the cluster is paused (a switch is exchanged): resume it first"
    world.clients.ask(first, ResumeRequested(TICKET + 2, "", None))
    world.run(20)
    assert world.primary() is first


def test_clock_that_is_set_moves_the_switchover_and_nothing_else() -> None:
    world = running()
    target, first = other(world), leader(world)
    at = planned(world, 3000.0, target)
    world.run(10)
    assert world.primary() is first
    first.give(WallClockRead(at + 1.0))
    assert world.run(20, lambda: leads(world, target))


@pytest.mark.parametrize(
    ("ahead", "reason"), [(-1.0, "this time is past"), (AHEAD_MAX + 60, "more than 90 days ahead")]
)
def test_time_that_makes_no_sense_is_refused(ahead: float, reason: str) -> None:
    world = running()
    first = leader(world)
    assert first.node is not None
    at = first.node.wall(first.clock()) + ahead
    world.clients.ask(first, LeaderChangeRequested(TICKET, "", other(world), at))
    outcome = told(world)
    assert isinstance(outcome, Refused) and outcome.field == "at" and reason in outcome.reason


def test_plan_is_cancelled() -> None:
    world = running()
    first = leader(world)
    planned(world, 5.0, other(world))
    world.clients.ask(first, PlanDropRequested(TICKET + 1, ""))
    world.run(15)
    assert world.primary() is first and last_reason(world) == "it was cancelled"


# --- struck ------------------------------------------------------------------------


STRUCK = [Phase.CHECKPOINT, Phase.PAUSE, Phase.STOP, Phase.PROOF, Phase.COMMIT, Phase.TRANSFER, Phase.PROMOTE]


@pytest.mark.parametrize("who", ["leader", "successor"])
@pytest.mark.parametrize("phase", STRUCK)
def test_whoever_dies_in_whichever_phase_nothing_is_lost_and_the_pool_goes_on(phase: Phase, who: str) -> None:
    """The checks of the world watch each step; here it is seen that a primary is found and the pool follows it."""
    world = running("quorum")
    target, first = other(world), leader(world)
    struck = first if who == "leader" else next(
        host for host in world.hosts.values() if host.node is not None and host.node.me == target
    )  # fmt: skip
    node = first.node
    assert node is not None
    world.clients.ask(first, LeaderChangeRequested(TICKET, "", target))
    if not world.run(10, lambda: (one := node.governing.handing._one) is not None and one.phase == phase, every=0.0):
        pytest.skip(f"the simulated hosts pass {phase} within one event")
    struck.crash()
    assert world.run(60, lambda: _pool_follows(world))
    world.run(HOLD_SECONDS + TRANSACTION_PATIENCE + 5)
    assert _pool_follows(world)
    state = leader(world).node.state  # type: ignore[union-attr]
    assert state.switching.under_way is None


def _pool_follows(world: World) -> bool:
    primary = world.primary()
    aim = pool(world).pool_target
    return primary is not None and aim is not None and aim[0] == primary.ip


