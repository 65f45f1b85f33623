"""Runs that somebody thought of who wanted a task lost, begun twice, or kept waiting for ever."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from qluster.clients import TaskRequested
from qluster.cluster import commands
from qluster.cluster.messages import Granted
from qluster.consensus.members import Members
from qluster.events import TasksHeard
from qluster.tasks import asking, kept
from qluster.tasks.board import Board
from qluster.tasks.bodies import (
    Assigned,
    Ended,
    NodeDrained,
    Submission,
    TaskCancelled,
    TasksMoved,
    TasksSubmitted,
    Verdict,
)
from qluster.tasks.life import State
from qluster.tasks.runner import RunEnded, RunnerLost
from qluster.tasks.spec import Need, Retry, Spec, Target
from qluster.tasks.task import Task
from qluster.working import CLAIM_LEASE, KILL_TIME
from sim import runner as sim_runner
from tasks.planted_tasks import former_words, unmet
from tasks.small_world import SmallHost, SmallWorld
from tasks.test_small_cases import TRUE, leader

TICKET = 1_500_000_000


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> SmallWorld:
    """A well cluster that has led for a while, whose programs take a second and end well."""
    monkeypatch.setattr(sim_runner, "LENGTHS", (1.0,))
    monkeypatch.setattr(sim_runner, "ENDS", (Verdict.DONE,))
    found = SmallWorld(5)
    found.loss, found.late, found.slow, found.behind, found.refusal = 0.0, 0.0, 0.001, 0.0, 0.0
    found.run(20.0, lambda: found.leader() is not None and found.leader().node.leads)  # type: ignore[union-attr]
    found.run(15.0)
    return found


def other(world: SmallWorld) -> SmallHost:
    """A host with a database and a task runner that does not lead."""
    return next(host for host in world.hosts.values() if host is not leader(world) and host.runner and host.database)


def submit(world: SmallWorld, *specs: Spec) -> list[int]:
    first = task_board(world).next
    leader(world).give(TaskRequested(TICKET, "", asking.Submit("me", tuple(map(Submission, specs)))))
    world.run(0.1)
    return list(range(first, first + len(specs)))


def say(world: SmallWorld, *bodies: Any) -> None:
    for body in bodies:
        world.propose(commands.encode(body))
    world.run(0.1)


def task_board(world: SmallWorld) -> Board:
    assert leader(world).node is not None
    return leader(world).node.state.tasks  # type: ignore[union-attr]


def task(world: SmallWorld, number: int) -> Task:
    found = task_board(world).find(number)
    assert found is not None
    return found


def ends(world: SmallWorld, number: int, seconds: float = 60.0) -> State:
    world.run(seconds, lambda: task(world, number).final)
    return task(world, number).state


# --- runs of another owner ------------------------------------------------------------------


def test_what_is_killed_as_another_nodes_says_nothing_of_this_ones_claims(world: SmallWorld) -> None:
    host = other(world)
    runner = host.runner
    assert runner is not None
    sim_runner.LENGTHS = (8.0,)  # type: ignore[misc]
    [number] = submit(world, Spec(TRUE, target=Target(nodes=(host.number,))))
    world.run(1.0)
    assert task(world, number).state is State.RUNNING
    runner._owner = (1, 77)
    runner.disconnect(0.01)
    assert ends(world, number) is State.SUCCEEDED, "its own run was killed, and it ran again"
    assert runner._owner == (1, host.number)


def test_ends_of_runs_that_are_not_known_to_be_its_own_are_not_told(world: SmallWorld) -> None:
    host = other(world)
    assert host.node is not None
    host.give(TasksHeard(RunnerLost("gone")))
    host.give(TasksHeard(RunEnded(7, 3, Verdict.CANCELLED, 1e9, "it is another node's")))
    assert host.node.tasking.workload._words == {}


# --- leases ---------------------------------------------------------------------------------


def test_leave_that_a_former_daemon_asked_for_is_none_for_the_next(world: SmallWorld) -> None:
    host = other(world)
    assert host.node is not None
    asked = host.node.tasking.workload._asked_at
    with patch.object(world.random, "choice", lambda choices: choices[0]):
        host.crash()
    world.cut.add(host.ip)
    world.run(1.0)
    assert host.node is not None
    workload = host.node.tasking.workload
    workload._asked_at = workload._asked_first = host.clock()
    workload.granted(Granted(1, 1, host.number, asked, 0), host.clock())
    assert workload.until < 0 and workload._abreast is None, "it says how much of the log that daemon had to read"


def restarted(world: SmallWorld) -> int:
    """A daemon without its runner gives a claim back, and is started anew before the log has heard of that; how often
    the task is begun, once at most."""
    host = other(world)
    runner = host.runner
    assert runner is not None
    say(world, *(NodeDrained(number, True, 1e9, "me") for number in range(1, 5)))
    [number] = submit(world, Spec(TRUE, target=Target(nodes=(host.number,)), once=True))
    runner.disconnect(1e9)
    world.propose(commands.encode(TasksMoved(1e9 + world.now, (Assigned(number, host.number),))))
    world.slow = 3.0
    assert world.run(2.0, lambda: bool(leader(world).node.tasking.dispatching.waiting), every=0.0)  # type: ignore[union-attr]
    with patch.object(world.random, "choice", lambda choices: choices[0]):
        host.crash()
        world.run(2.9)
    world.slow = 0.001
    say(world, NodeDrained(host.number, False, 1e9, "me"))
    assert ends(world, number, 120.0) is State.SUCCEEDED
    return world.tasks.ledger.all


def test_a_claim_that_was_given_back_is_not_begun_by_the_next_daemon(world: SmallWorld) -> None:
    assert restarted(world) == 1


def test_a_leader_that_takes_words_of_a_former_daemon_has_it_begun_twice(world: SmallWorld) -> None:
    with pytest.raises(AssertionError, match="a second time, which is run once at most"), former_words():
        restarted(world)


@pytest.mark.parametrize("seconds", [3.0, 25.0])
def test_a_host_that_slept_begins_again_what_it_could_not_begin(world: SmallWorld, seconds: float) -> None:
    host = other(world)
    host.freeze(seconds, whole=True, asleep=True)
    world.run(seconds + 0.01)
    [number] = submit(world, Spec(TRUE, target=Target(nodes=(host.number,))))
    assert ends(world, number) is State.SUCCEEDED, task(world, number).reason


# --- claims that are not begun ----------------------------------------------------------------


def test_tasks_outlast_a_runner_that_is_being_stopped_and_begins_nothing_any_more(world: SmallWorld) -> None:
    host = other(world)
    runner = host.runner
    assert runner is not None
    runner._stopping = True
    numbers = submit(world, *[Spec(TRUE, target=Target(nodes=(host.number,)))] * 3)
    world.run(8.0)
    runner._stopping = False
    assert {ends(world, number) for number in numbers} == {State.SUCCEEDED}
    assert all(task(world, number).claims < 12 for number in numbers)


def test_dates_are_those_of_who_leads_on_a_host_whose_clock_is_wrong(world: SmallWorld) -> None:
    host = other(world)
    assert host.node is not None
    host.wrong = 900.0
    host.node.set_clock()
    [number] = submit(world, Spec(TRUE, target=Target(nodes=(host.number,)), expires=1e9 + world.now + 60))
    assert ends(world, number) is State.SUCCEEDED
    sim_runner.LENGTHS = (60.0,)  # type: ignore[misc]
    [number] = submit(world, Spec(TRUE, target=Target(nodes=(host.number,))))
    world.run(1.0)
    say(world, NodeDrained(host.number, True, 1e9 + world.now, "me", 1e9 + world.now + 10))
    world.run(5.0)
    assert task(world, number).state is State.RUNNING, "it has five seconds yet"
    world.run(10.0)
    assert task(world, number).state is State.WAITING


def test_a_task_whose_role_moved_before_it_began_is_begun_where_the_role_is(world: SmallWorld) -> None:
    host = other(world)
    say(world, NodeDrained(leader(world).number, True, 1e9, "me"))
    [number] = submit(world, Spec(TRUE, target=Target("leader")))
    say(world, TasksMoved(1e9 + world.now, (Assigned(number, host.number),)))
    world.run(1.0)
    assert task(world, number).claims == 1 and task(world, number).state is State.WAITING
    say(world, NodeDrained(leader(world).number, False, 1e9, "me"))
    assert ends(world, number) is State.SUCCEEDED
    assert task(world, number).node == leader(world).number


@pytest.mark.parametrize("restarted", [False, True])
def test_a_runner_that_is_away_for_good_keeps_no_task(world: SmallWorld, restarted: bool) -> None:
    host = other(world)
    runner = host.runner
    assert runner is not None
    sim_runner.LENGTHS = (30.0,)  # type: ignore[misc]
    say(world, *(NodeDrained(number, True, 1e9, "me") for number in range(1, 5) if number != host.number))
    [number] = submit(world, Spec(TRUE))
    world.run(1.0)
    assert (task(world, number).node, task(world, number).state) == (host.number, State.RUNNING)
    runner._up = False
    runner.die(1e9)
    if restarted:
        host.crash()
    say(world, *(NodeDrained(number, False, 1e9, "me") for number in range(1, 5)))
    world.run(8.0)
    assert task(world, number).state is State.RUNNING, "it may be there again, with its runs"
    world.run(2 * (CLAIM_LEASE + KILL_TIME))
    assert task(world, number).node != host.number
    assert ends(world, number) is State.SUCCEEDED


def flooded(world: SmallWorld) -> int:
    """A flood of datagrams keeps the word that the runner was lost waiting, and it is found again meanwhile; how many
    programs were begun of a task whose claim the node then says that it did not begin."""
    host = other(world)
    runner, node = host.runner, host.node
    assert runner is not None and node is not None
    sim_runner.LENGTHS = (8.0,)  # type: ignore[misc]
    say(world, NodeDrained(host.number, True, 1e9, "me"))
    [number] = submit(world, Spec(TRUE, target=Target(nodes=(host.number,))))
    host.freeze(3.0, whole=False)
    say(world, TasksMoved(1e9 + world.now, (Assigned(number, host.number),)))
    world.run(0.5)
    flood = list(host._waiting)
    with patch.object(runner.random, "choice", lambda choices: choices[0]):
        runner.disconnect(0.01)
        world.run(0.1)
        say(world, TaskCancelled(number, 1e9 + world.now, "me"))
        world.run(0.5)
        rest, host._waiting = host._waiting[len(flood) :], flood
        rest.append(world.checks.committed[1, world.length])
        with patch.object(world.random, "random", lambda: 1.0):
            host._turn(node)
            host._waiting = rest
            world.run(10.0)
    assert task(world, number).state is State.CANCELLED
    return world.tasks.ledger.all


def test_what_was_ordered_before_the_node_heard_what_runs_is_not_begun(world: SmallWorld) -> None:
    assert flooded(world) == 0


def test_a_hand_that_sends_such_orders_has_it_begun(world: SmallWorld) -> None:
    with unmet():
        assert flooded(world) == 1


# --- the board ----------------------------------------------------------------------------------


def test_what_a_task_needs_may_leave_the_history_with_the_entry_that_brings_the_task(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qluster.tasks.board.HISTORY_MAX", 2)
    assert kept.HISTORY_MAX > 2
    board = Board()
    board.apply(TasksSubmitted(1.0, "me", (Submission(Spec(TRUE)), Submission(Spec(TRUE)))), 1)
    board.apply(TasksMoved(2.0, (Assigned(1, 1), Assigned(2, 1))), 2)
    board.apply(TasksMoved(3.0, (Ended(1, 2, Verdict.DONE, 3.0), Ended(2, 2, Verdict.FAILED, 3.0))), 3)
    never, after = Spec(TRUE, needs=(Need(2),)), Spec(TRUE, needs=(Need(1),))
    board.apply(TasksSubmitted(4.0, "me", (Submission(never), Submission(after))), 4)
    assert 1 not in board.history, "the first of these two ended at once, and pushed it out"
    assert board.live[4].pending and not board.live[4].waits


# --- waiting ----------------------------------------------------------------------------------------


def test_a_wait_that_was_dated_by_a_clock_ahead_is_no_longer_than_it_was_meant(world: SmallWorld) -> None:
    sim_runner.ENDS = (Verdict.FAILED,)  # type: ignore[misc]
    first = leader(world)
    first.wrong = 1e6
    first.node.set_clock()  # type: ignore[union-attr]
    [number] = submit(world, Spec(TRUE, retry=Retry(1, 20.0)))
    world.run(10.0)
    assert task(world, number).failures == 1 and task(world, number).not_before > 1e9 + world.now + 9e5
    sim_runner.ENDS = (Verdict.DONE,)  # type: ignore[misc]
    first.wrong = 0.0
    first.node.set_clock()  # type: ignore[union-attr]
    first.give(None)
    assert ends(world, number) is State.SUCCEEDED


def test_a_task_for_the_leader_does_not_fail_while_another_one_takes_over(world: SmallWorld) -> None:
    former = leader(world)
    say(world, commands.Reign(99, 77, 99, 1, 0, 7))  # of a node that is gone
    [number] = submit(world, Spec(TRUE, target=Target("leader", fail=True)), )
    [each] = submit(world, Spec(TRUE, target=Target("replica", each=True)))
    world.run(30.0)
    assert task(world, number).pending and task(world, each).pending
    say(world, commands.Reign(100, former.number, 100, 1, 0, 7))
    assert ends(world, number) is State.SUCCEEDED and ends(world, each) is State.SUCCEEDED
    parts = [task(world, part).node for part in task(world, each).parts]
    assert former.number not in parts and len(parts) == sum(
        host.runner is not None and host.database is not None for host in world.hosts.values()) - 1  # fmt: skip


@pytest.mark.parametrize(("moved", "stops"), [("stop", True), ("restart", True), ("stay", False)])
def test_the_part_of_a_replica_that_takes_over_is_stopped_as_the_task_says(
    world: SmallWorld, moved: str, stops: bool
) -> None:
    sim_runner.LENGTHS = (8.0,)  # type: ignore[misc]
    [each] = submit(world, Spec(TRUE, target=Target("replica", each=True), moved=moved))
    world.run(2.0)
    former, parts = leader(world), task(world, each).parts
    heir = other(world)
    part = next(number for number in parts if task(world, number).node == heir.number)
    world.contact = -1e9
    world.elect(heir)
    world.run(2.0)
    assert leader(world) is heir and former is not heir
    assert ends(world, each) is (State.FAILED if stops else State.SUCCEEDED)
    assert task(world, part).state is (State.FAILED if stops else State.SUCCEEDED)
    assert all(task(world, number).state is State.SUCCEEDED for number in parts if number != part)
    if stops:
        assert task(world, part).reason.startswith(f"node {heir.number} is ")


# --- members that come and go -----------------------------------------------------------------------


def remember(world: SmallWorld, everybody: Members, *numbers: int) -> None:
    """The cluster has these members from now on."""
    world.members = Members(tuple(member for member in everybody if member.node in numbers))
    for host in world.hosts.values():
        if host.node is not None:
            host.node.settled = world.members
            host.node.state.note_members(list(numbers))
            host.give(None)


def test_a_task_for_each_node_while_one_leaves_and_one_joins(world: SmallWorld) -> None:
    """The part of who leaves is stopped at the end of his lease and fails; who joins gets none of it, and the next."""
    everybody = world.members
    sim_runner.LENGTHS = (30.0,)  # type: ignore[misc]
    leaves, joins = [host.number for host in world.hosts.values() if host is not leader(world)][:2]
    stay = [number for number in range(1, 5) if number != joins]
    remember(world, everybody, *stay)
    world.run(1.0)
    expected = {number for number in stay if world.hosts[f"10.0.0.{number}"].runner is not None}
    [each] = submit(world, Spec(TRUE, target=Target(each=True)))
    world.run(3.0)
    parts = task(world, each).parts
    assert {task(world, part).node for part in parts} == expected
    remember(world, everybody, *(number for number in range(1, 5) if number != leaves))
    assert ends(world, each, 120.0) is State.FAILED
    [part] = [number for number in parts if task(world, number).state is not State.SUCCEEDED]
    assert task(world, part).reason == f"node {leaves} is no member any more"
    assert len(task(world, each).parts) == len(parts) and task(world, part).claims == 1
    assert not any(run.going for run in world.hosts[f"10.0.0.{leaves}"].runner._runs.values())  # type: ignore[union-attr]
    sim_runner.LENGTHS = (1.0,)  # type: ignore[misc]
    [again] = submit(world, Spec(TRUE, target=Target(each=True)))
    assert ends(world, again) is State.SUCCEEDED
    nodes = {task(world, part).node for part in task(world, again).parts}
    assert leaves not in nodes and (joins in nodes) == (world.hosts[f"10.0.0.{joins}"].runner is not None)
