"""Tasks over a quorum that is forced: what ran before it is no run of the founding that goes on."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import itertools
import os

import pytest
from qluster.clients import ForceQuorumRequested, TaskRequested
from qluster.cluster.state import State as ClusterState
from qluster.looking import OutputPlace, output_place
from qluster.tasks import asking
from qluster.tasks.bodies import Submission
from qluster.tasks.life import State
from qluster.tasks.spec import Command, Spec, Target

from sim import runner
from sim.checks import converged
from sim.forced import TASKED, play
from sim.host import Host
from sim.world import World

FULL = os.environ.get("QLUSTER_FULL_TESTS") == "1"
TRUE = Command(("/bin/true",))


def founded(monkeypatch: pytest.MonkeyPatch) -> World:
    """A cluster of three that serves and runs tasks, whose programs take long."""
    monkeypatch.setattr(runner, "LENGTHS", (30.0,))
    world = World(7, pools=0, tasks=True)
    for host in world.hosts.values():
        host.start()
    assert world.run(60.0, lambda: not converged(world)), converged(world)
    world.run(15.0)
    return world


def submit(world: World, host: Host, *specs: Spec) -> None:
    host.give(TaskRequested(10**9, "", asking.Submit("me", tuple(map(Submission, specs)))))


def state_of(host: Host) -> ClusterState:
    assert host.node is not None
    return host.node.state


def forced(world: World, left: Host, gone: list[Host]) -> None:
    """An operator forces a quorum on who is left; the others are off."""
    off, ticket = tuple(host.ip for host in gone), itertools.count(10**6)
    for _ in range(60):
        left.give(ForceQuorumRequested(next(ticket), "", "sim", None, off, False, "anna"))
        if world.run(1.0, lambda: left.node is not None and bool(left.node.state.forced), every=0.05):
            return
    raise AssertionError("quorum was not forced")


def test_what_began_before_a_quorum_was_forced_is_not_begun_a_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The leader is lost before it has heard that the program began, and the log says only who has the claim."""
    world = founded(monkeypatch)
    primary = world.primary()
    left = next(host for host in world.hosts.values() if host is not primary and host.runner is not None)
    gone = [host for host in world.hosts.values() if host is not left]
    assert primary is not None and left.node is not None and world.tasks is not None
    here, ledger = Target(nodes=(left.node.me,)), world.tasks.ledger
    submit(world, primary, Spec(TRUE, target=here, once=True), Spec(TRUE, target=here))
    assert world.run(5.0, lambda: ledger.all == 2, every=0.0)
    for host in gone:
        host.crash(held=True, power=True)
    assert [task.began_at for task in state_of(left).tasks.live.values()] == [0.0, 0.0]
    forced(world, left, gone)
    assert world.run(90.0, lambda: state_of(left).tasks.find(1).final, every=0.5)  # type: ignore[union-attr]
    once, often = state_of(left).tasks.find(1), state_of(left).tasks.find(2)
    assert once is not None and once.state is State.LOST and "quorum was forced" in once.reason
    assert often is not None and often.claims == 2, "what may run again has a claim of its own for it"
    runs = {founding: count for (founding, task), count in ledger.begun.items() if task == 1}
    assert sum(runs.values()) == 1, runs


def test_output_of_runs_before_a_quorum_was_forced_stays_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the node that went on as on the one that was counted on: both keep their numbers, and so do the tasks."""
    monkeypatch.setattr(runner, "LENGTHS", (0.1, 20.0))
    world = World(3, databases=5, pools=0, tasks=True)
    for host in world.hosts.values():
        host.start()
    assert world.run(60.0, lambda: not converged(world)), converged(world)
    world.run(15.0)
    primary = world.primary()
    assert primary is not None and world.tasks is not None
    left = [host for host in world.hosts.values() if host is not primary and host.runner is not None][:2]
    submit(world, primary, *[Spec(TRUE, target=Target(each=True))] * 4)
    world.run(8.0)
    before = [(host.node.me, set(host.runner.outputs)) for host in left if host.node is not None and host.runner]
    assert all(outputs for _, outputs in before)
    gone = [host for host in world.hosts.values() if host not in left]
    for host in gone:
        host.crash(held=True, power=True)
    forced(world, left[0], gone)
    assert world.run(60.0, lambda: all(state_of(host).forced for host in left), every=0.5)
    world.run(30.0)
    for host, (me, outputs) in zip(left, before, strict=True):
        assert host.node is not None and host.runner is not None and host.node.me == me
        kept = {(task, fence) for task, fence in outputs if fence <= state_of(host).forced[-1].index}
        assert kept and kept <= host.runner.outputs, host.name
        for task, fence in kept:
            place = output_place(host.node, task)
            assert isinstance(place, OutputPlace) and place.own and place.fence >= fence


@pytest.mark.parametrize("seed", TASKED[: 100 if FULL else 2])
def test_clusters_with_tasks_stay_sound_over_a_forced_quorum(seed: int) -> None:
    assert play(seed).injected["runs of tasks"] > 0
