"""Who gets which claim, and in which order: each test is a table of nodes and tasks."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import time
from math import inf
from typing import Any

import pytest
from qluster.tasks import kept, queue
from qluster.tasks.board import Board
from qluster.tasks.bodies import (
    Assigned,
    Begun,
    Ended,
    Expired,
    Failed,
    Held,
    Spread,
    Step,
    Submission,
    TasksMoved,
    Verdict,
)
from qluster.tasks.bodies import TasksSubmitted as Submitted
from qluster.tasks.life import State
from qluster.tasks.queue import HELD_AGAIN, STEPS_MAX, Queue
from qluster.tasks.routing import View
from qluster.tasks.spec import Command, Need, Script, Spec, Sql, Target, Work

TRUE = Command(("/bin/true",))
AT = 1000.0


class Desk:
    """A board with its queue, and nodes."""

    def __init__(self, *views: View) -> None:
        self.board, self.index = Board(), 0
        self.queue = Queue(self.board)
        self.views = list(views) or [View(1, slots=2), View(2, slots=2)]

    def say(self, body: Any) -> Any:
        self.index += 1
        done = self.board.apply(body, self.index)
        for number in self.board.touched:
            self.queue.note(number)
        self.board.touched.clear()
        return done

    def submit(self, *specs: Spec) -> list[int]:
        return self.say(Submitted(AT, "me", tuple(map(Submission, specs)))).detail["tasks"]  # type: ignore[no-any-return]

    def plan(self, wall: float = AT, *, apply: bool = True) -> list[Step]:
        for view in self.views:
            view.used, view.taken, view.kept = 0, {}, (0, 0.0)
        self.queue.load(self.views)
        steps = self.queue.plan(self.views, wall)
        if apply and steps:
            self.say(TasksMoved(wall, tuple(steps)))
        return steps

    def claims(self, wall: float = AT) -> list[tuple[int, int]]:
        return [(step.task, step.node) for step in self.plan(wall) if isinstance(step, Assigned)]

    def end(self, number: int, verdict: Verdict = Verdict.DONE) -> None:
        self.say(TasksMoved(AT, (Ended(number, self.board.live[number].fence, verdict, AT),)))


def spec(**others: Any) -> Spec:
    return Spec(TRUE, **others)


def test_the_emptiest_node_first_and_what_has_no_room_waits_its_turn_in_order() -> None:
    desk = Desk()
    tasks = desk.submit(*(spec() for _ in range(6)))
    assert desk.claims() == [(tasks[0], 1), (tasks[1], 2), (tasks[2], 1), (tasks[3], 2)]
    assert desk.plan() == [] and desk.board.live[tasks[4]].state is State.SUBMITTED, "its turn is no reason to wait"
    desk.end(tasks[1])
    assert desk.claims() == [(tasks[4], 2)]


def test_a_full_node_is_filled_first_where_tasks_are_packed() -> None:
    desk = Desk(View(1, slots=4), View(2, slots=4))
    first = desk.submit(spec())
    assert desk.claims() == [(first[0], 1)]
    packed = desk.submit(*(spec(target=Target(pack=True)) for _ in range(4)))
    assert desk.claims() == [(packed[0], 1), (packed[1], 1), (packed[2], 1), (packed[3], 2)]


def test_larger_priorities_go_first_over_all_queues() -> None:
    desk = Desk(View(1, slots=1))
    low, high, other = desk.submit(spec(priority=1), spec(priority=9, target=Target("any", pack=True)), spec())
    order = []
    for _ in range(3):
        [(number, _)] = desk.claims()
        order.append(number)
        desk.end(number)
    assert order == [high, other, low]


def test_a_task_that_fits_nowhere_stops_only_its_like() -> None:
    desk = Desk(View(1, slots=2), View(2, slots=2))
    large, gpu, small = desk.submit(spec(slots=3, priority=9), spec(resources=(("gpu", 1),), priority=8), spec())
    steps = desk.plan()
    assert [(step.task, step.node) for step in steps if isinstance(step, Assigned)] == [(small, 1)]
    assert {step.task: step.reason for step in steps if isinstance(step, Held)} == {
        large: "no node can run it: node 1 has 2 slots, 3 are needed; node 2 has 2 slots, 3 are needed",
        gpu: "no node can run it: node 1 has 0 of gpu, 1 are needed; node 2 has 0 of gpu, 1 are needed",
    }
    assert desk.board.live[large].state is State.WAITING and desk.plan() == [], "what was said is not said again"


def test_resources_are_taken_and_given_back() -> None:
    desk = Desk(View(1, slots=9, resources={"gpu": 2}))
    tasks = desk.submit(*(spec(resources=(("gpu", 1),)) for _ in range(3)))
    assert desk.claims() == [(tasks[0], 1), (tasks[1], 1)]
    desk.end(tasks[0])
    assert desk.claims() == [(tasks[2], 1)]


def test_so_many_of_a_group_run_at_once() -> None:
    desk = Desk()
    tasks = desk.submit(*(spec(group="g", group_limit=2) for _ in range(4)))
    steps = desk.plan()
    assert [step.task for step in steps if isinstance(step, Assigned)] == tasks[:2]
    assert [(step.task, step.reason) for step in steps if isinstance(step, Held)] == [
        (task, "2 of the group g are running") for task in tasks[2:]
    ]
    desk.end(tasks[0], Verdict.FAILED)
    assert desk.claims() == [(tasks[2], 1)]


def test_the_replica_that_lacks_least_even_where_it_is_fuller() -> None:
    desk = Desk(View(1, "leader", slots=9), View(2, slots=9, lag=500), View(3, slots=9, lag=100, used=5))
    [task] = desk.submit(spec(target=Target("replica", least_lag=True)))
    assert desk.claims() == [(task, 3)]


@pytest.mark.parametrize(
    ("target", "node"),
    [
        (Target("leader"), 1), (Target("replica"), 2), (Target("pooler"), 4), (Target(nodes=(3,)), 3),
        (Target(where="disk=ssd"), 3), (Target(where="disk=ssd, !slow"), None), (Target("leader", nodes=(2,)), None),
        (Target(where="node=2|4, disk!=ssd"), 2), (Target("replica", where="node=3"), 3),
    ],
)  # fmt: skip
def test_where_a_target_leads(target: Target, node: int | None) -> None:
    views = [View(1, "leader", slots=1), View(2, slots=1), View(3, slots=1, labels={"disk": "ssd", "slow": ""}),
             View(4, "none", slots=1, pooler=True)]  # fmt: skip
    for view in views:
        view.labels = {**view.labels, "node": str(view.node)}
    desk = Desk(*views)
    desk.submit(spec(target=target))
    assert [node for _, node in desk.claims()] == ([node] if node else [])


@pytest.mark.parametrize(("work", "node"), [(TRUE, 1), (Sql("select 1"), 2), (Script("pass"), 3)])
def test_work_goes_where_there_is_what_it_needs(work: Work, node: int) -> None:
    views = [View(1, "none", slots=1, dask=False), View(2, slots=1, dask=False), View(3, "none", slots=1, dask=True)]
    desk = Desk(*views)
    desk.submit(Spec(work))
    assert [chosen for _, chosen in desk.claims()] == [node]


def test_what_a_host_would_have_to_have_is_said() -> None:
    desk = Desk(View(1, "none", slots=1, dask=False))
    script, sql, plain, leading = desk.submit(Spec(Script("pass")), Spec(Sql("select 1")), spec(),
                                              spec(target=Target("leader")))  # fmt: skip
    held = {step.task: step.reason for step in desk.plan() if isinstance(step, Held)}
    assert held == {
        script: "no node can run it: node 1 does not take part in the Dask cluster (tasks.dask-python)",
        sql: "no node can run it: node 1 has no database", leading: "no node can run it: node 1 has no database",
    }  # fmt: skip
    assert desk.board.live[plain].node == 1
    desk.views = [View(1, "none", slots=4)]
    assert desk.claims(AT + HELD_AGAIN) == [(script, 1)], "of a version that does not say, its task runner does"


def test_nodes_that_are_drained_or_silent_or_broken_get_nothing() -> None:
    desk = Desk(View(1, slots=1, drained=True), View(2, slots=1, ready=False))
    [task] = desk.submit(spec())
    assert desk.plan() == [Held(task, "no node can run it: node 1 is drained; node 2 says nothing")]


def test_a_reason_that_changes_is_told_again_only_after_a_while() -> None:
    desk = Desk(View(1, slots=1, drained=True))
    [task] = desk.submit(spec())
    assert len(desk.plan()) == 1
    desk.views = [View(1, slots=1, ready=False, fault="its disk is full")]
    assert desk.plan(AT + HELD_AGAIN - 1) == []
    assert desk.plan(AT + HELD_AGAIN) == [Held(task, "no node can run it: node 1 begins nothing: its disk is full")]


def test_a_node_without_room_on_its_disk_is_not_called_full() -> None:
    desk = Desk(View(1, slots=1, used=1), View(2, slots=1, ready=False, fault="3 MiB are free"))
    [_, task] = desk.submit(spec(), spec(target=Target(nodes=(2,))))
    held = {step.task: step.reason for step in desk.plan() if isinstance(step, Held)}
    assert "node 2 begins nothing: 3 MiB are free" in held[task]


def test_what_can_never_run_fails_if_it_is_to_but_not_before_all_nodes_are_heard() -> None:
    desk = Desk(View(1, slots=1), View(2, heard=False, ready=False))
    [task] = desk.submit(spec(target=Target(where="gpu", fail=True)))
    [held] = desk.plan()
    assert isinstance(held, Held) and "node 2 has not said yet what it runs" in held.reason
    desk.views[1] = View(2, slots=1)
    [failed] = desk.plan()
    assert isinstance(failed, Failed) and desk.board.find(task).state is State.FAILED  # type: ignore[union-attr]


def test_the_smallest_limit_of_a_group_counts_whoever_says_it() -> None:
    """Who says 1 wants to be alone; another one's larger number does not take that from him."""
    desk = Desk(View(1, slots=9))
    wide, alone, other = desk.submit(*(spec(group="g", group_limit=limit) for limit in (5, 1, 5)))
    steps = desk.plan()
    assert [step.task for step in steps if isinstance(step, Assigned)] == [wide, other], "the first of them goes first"
    assert [(step.task, step.reason) for step in steps if isinstance(step, Held)] == [
        (alone, "2 of the group g are running")]  # fmt: skip
    desk.end(wide)
    assert desk.claims() == []
    desk.end(other)
    assert desk.claims() == [(alone, 1)]
    late = desk.submit(spec(group="g", group_limit=5))
    assert [(step.task, step.reason) for step in desk.plan() if isinstance(step, Held)] == [
        (late[0], "1 of the group g is running")]  # fmt: skip
    desk.end(alone)
    assert desk.claims() == [(late[0], 1)]


def test_a_task_for_each_node_waits_until_all_are_heard_and_its_part_fails_when_its_node_leaves() -> None:
    desk = Desk(View(1, slots=1), View(2, heard=False, ready=False), View(3, runs=False, ready=False))
    [whole] = desk.submit(spec(target=Target(each=True)))
    desk.plan()
    desk.views[1] = View(2, slots=1, ready=False)
    assert desk.plan() == [Spread(whole, (1, 2))]
    parts = desk.board.live[whole].parts
    assert desk.claims() == [(parts[0], 1)]
    desk.end(parts[0])
    desk.views = [View(1, slots=1)]
    assert desk.plan() == [Failed(parts[1], "node 2 is no member any more")]
    found = desk.board.find(whole)
    assert found is not None and found.state is State.FAILED
    assert found.reason == f"1 of 2 succeeded; task {parts[1]} on node 2: node 2 is no member any more"


def test_the_part_of_a_node_that_lost_the_role_of_the_whole_fails_once_that_is_settled() -> None:
    desk = Desk(View(1, slots=1), View(2, slots=1), View(3, role="leader", slots=1))
    [whole] = desk.submit(spec(target=Target("replica", each=True)))
    assert desk.plan() == [Spread(whole, (1, 2))]
    first, second = desk.board.live[whole].parts
    desk.views = [View(1, slots=1, passing=True), View(2, slots=1, passing=True),
                  View(3, role="leader", slots=1, passing=True)]  # fmt: skip
    assert desk.claims() == [(first, 1), (second, 2)], "who has it still, has it"
    desk.end(first)
    desk.end(second, Verdict.MOVED)
    desk.views = [View(1, slots=1), View(2, role="leader", slots=1, passing=True), View(3, slots=1)]
    assert [type(step) for step in desk.plan()] in ([], [Held])
    desk.views[1].passing = False
    assert desk.plan() == []
    found = desk.board.find(whole)
    assert found is not None and found.state is State.FAILED, "moved is stop"


@pytest.mark.parametrize("moved", ["restart", "stay"])
def test_a_part_that_did_not_begin_while_its_node_had_the_role_never_does(moved: str) -> None:
    desk = Desk(View(1, slots=1), View(2, slots=1), View(3, role="leader", slots=1))
    [whole] = desk.submit(spec(target=Target("replica", each=True), moved=moved))
    desk.plan()
    first, second = desk.board.live[whole].parts
    desk.views = [View(1, slots=1), View(2, role="leader", slots=1, passing=True), View(3, slots=1)]
    assert desk.claims() == [(first, 1)]
    assert desk.queue.against(desk.board.live[second], desk.views).startswith(
        "no node can run it: node 1 is not named; node 2 may have another role in a moment")
    desk.views[1].passing = False
    assert desk.plan() == [Failed(second, "node 2 is no replica any more")]
    desk.end(first)
    found = desk.board.find(whole)
    assert found is not None and found.reason == f"1 of 2 succeeded; task {second} on node 2: node 2 is no replica " \
                                                 f"any more"  # fmt: skip


def test_parts_count_among_all_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "LIVE_MAX", 4)
    desk = Desk(View(1, slots=9), View(2, slots=9))
    wholes = desk.submit(spec(target=Target(each=True)), spec(target=Target(each=True)))
    steps = desk.plan()
    assert steps[0] == Spread(wholes[0], (1, 2))
    assert [step.task for step in steps if isinstance(step, Held)] == [wholes[1]]
    assert kept.LIVE_MAX > 4


def test_dates() -> None:
    desk = Desk(View(1, slots=1))
    later, gone = desk.submit(spec(start=AT + 10), spec(expires=AT + 5, slots=2))
    desk.plan()
    assert desk.queue.wake_at == AT + 5
    assert [step for step in desk.plan(AT + 5) if isinstance(step, Expired)] == [Expired(gone)]
    assert desk.queue.wake_at == AT + 10
    assert desk.claims(AT + 10) == [(later, 1)]


def test_what_needs_another_task_expires_too() -> None:
    desk = Desk(View(1, slots=1))
    first, second = desk.submit(spec(), spec(needs=(Need(-1),), expires=AT + 5))
    desk.plan()
    assert desk.plan(AT + 6) == [Expired(second)]
    assert desk.board.find(second).state is State.EXPIRED  # type: ignore[union-attr]
    assert desk.board.live[first].state is State.ASSIGNED


def test_what_did_not_come_into_the_log_is_planned_again() -> None:
    desk = Desk()
    tasks = desk.submit(spec(), spec(expires=AT - 1))
    steps = desk.plan(apply=False)
    assert len(steps) == 2 and desk.plan(apply=False) == []
    desk.queue.put_back(steps)
    assert {step.task for step in desk.plan(apply=False)} == set(tasks)


def test_an_index_that_is_built_anew_plans_the_same() -> None:
    desk = Desk(View(1, slots=3), View(2, slots=3))
    desk.submit(*(spec(priority=n % 4, group="g" if n % 3 else "", slots=n % 2) for n in range(40)))
    desk.plan()
    again = Queue(desk.board)
    for view in desk.views:
        view.used, view.taken, view.kept = 0, {}, (0, 0.0)
    again.load(desk.views)
    steps = again.plan(desk.views, AT)
    assert steps == desk.plan(apply=False)


def test_explain_says_who_is_before() -> None:
    desk = Desk(View(1, slots=1))
    tasks = desk.submit(spec(), spec(), spec())
    desk.plan()
    live = desk.board.live
    assert desk.queue.explain(live[tasks[1]], desk.views) == queue.TURN
    assert desk.queue.explain(live[tasks[2]], desk.views) == "1 tasks are before it"


def test_steps_of_one_entry_are_bounded_and_go_on_in_the_next() -> None:
    desk = Desk(View(1, slots=1000))
    for _ in range(3):
        desk.submit(*(spec() for _ in range(200)))
    assert [len(desk.plan()) for _ in range(4)] == [STEPS_MAX, STEPS_MAX, 600 - 2 * STEPS_MAX, 0]


def test_many_queues_that_do_not_move_cost_little() -> None:
    """20,000 tasks of which none is like another, and one node that is full."""
    desk = Desk(View(1, slots=1))
    for first in range(0, 20_000, 500):
        desk.submit(*(spec(group=f"g{first + n}") for n in range(500)))
    desk.plan()
    began = time.process_time()
    for _ in range(10):
        desk.plan()
    assert time.process_time() - began < 0.5, "5 ms a plan at most, several times what it takes"


# --- room for what is large -------------------------------------------------------------------


def crowded(*, large: Spec, small: Spec, seconds: float) -> float:
    """When a large task begins on a node that is full of small ones, of which one ends and one comes each second."""
    desk = Desk(View(1, slots=4))
    wall, running = AT, list[int]()
    desk.submit(*(small for _ in range(40)))
    number = 0
    for _ in range(int(seconds)):
        for step in desk.plan(wall):
            if isinstance(step, Assigned):
                if step.task == number:
                    return wall - AT
                desk.say(TasksMoved(wall, (Begun(step.task, desk.board.live[step.task].fence, wall),)))
                running.append(step.task)
        if not number:
            [number] = desk.submit(large)
        wall += 1.0
        if running:
            desk.end(running.pop(0))
        desk.submit(small)
    return inf


def test_a_large_task_is_not_passed_by_small_ones_for_ever() -> None:
    waited = crowded(large=spec(slots=4, priority=9), small=spec(time_limit=60.0), seconds=600)
    assert queue.PATIENCE <= waited < queue.PATIENCE + 10
    with_larger_priority = crowded(large=spec(slots=4), small=spec(time_limit=60.0, priority=9), seconds=300)
    assert with_larger_priority == inf, "who comes first by its priority goes first"


def test_what_is_kept_is_used_meanwhile_by_what_ends_in_time() -> None:
    desk = Desk(View(1, slots=4))
    [long] = desk.submit(spec(time_limit=3600.0))
    desk.plan()
    desk.say(TasksMoved(AT, (Begun(long, desk.board.live[long].fence, AT),)))
    [large] = desk.submit(spec(slots=4, priority=9))
    desk.plan()
    short, longer = desk.submit(spec(time_limit=600.0), spec(time_limit=3590.0, target=Target(pack=True)))
    assert desk.claims(AT + queue.PATIENCE) == [(short, 1)], "by then the room for the large one is there"
    assert desk.queue.explain(desk.board.live[longer], desk.views) != ""
    desk.end(long)
    desk.end(short)
    assert desk.claims(AT + queue.PATIENCE + 1) == [(large, 1)]


def test_no_room_is_kept_beside_a_task_without_a_limit() -> None:
    desk = Desk(View(1, slots=2))
    [endless] = desk.submit(spec(time_limit=0.0))
    desk.plan()
    desk.say(TasksMoved(AT, (Begun(endless, desk.board.live[endless].fence, AT),)))
    desk.submit(spec(slots=2, priority=9))
    desk.plan()
    [small] = desk.submit(spec(time_limit=0.0))
    assert desk.claims(AT + queue.PATIENCE) == [(small, 1)]
