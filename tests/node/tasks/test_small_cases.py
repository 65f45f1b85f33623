"""Cases of tasks that are no matter of chance, in the small world."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from qluster import looking, taking
from qluster.api import task_views
from qluster.clients import Busy, TaskRequested
from qluster.cluster.messages import Working
from qluster.cluster.state import State, decode
from qluster.dispatching import _fitting
from qluster.events import TasksHeard
from qluster.tasks import asking, bulk
from qluster.tasks.bodies import Ended, Held, Result, Schedule, Submission, TasksSubmitted, Template, Verdict
from qluster.tasks.runner import RunEnded
from qluster.tasks.spec import Command, Script, Spec, Sql, Target
from qluster.working import Workload
from sim import runner as sim_runner
from tasks.small_world import SmallHost, SmallNode, SmallWorld

TRUE = Command(("/bin/true",))


@pytest.fixture
def world() -> SmallWorld:
    """A well cluster that has led for a while."""
    found = SmallWorld(5)
    found.loss, found.late, found.slow, found.behind = 0.0, 0.0, 0.001, 0.0
    found.run(20.0, lambda: found.leader() is not None and found.leader().node.leads)  # type: ignore[union-attr]
    found.run(15.0)
    return found


def leader(world: SmallWorld) -> SmallHost:
    first = world.leader()
    assert first is not None and first.node is not None
    return first


def submit(world: SmallWorld, *specs: Spec) -> None:
    request = TaskRequested(1_500_000_000, "", asking.Submit("me", tuple(map(Submission, specs))))
    leader(world).give(request)
    world.run(1.0)


def counted_wakes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often hosts are woken from now on, in one number."""
    wakes, sound = [0], SmallHost._wake

    def wake(self: SmallHost, at: float) -> None:
        wakes[0] += at == self._wake_at
        sound(self, at)

    monkeypatch.setattr(SmallHost, "_wake", wake)
    return wakes


def test_tasks_that_wait_wake_nobody(world: SmallWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    wall = 1e9 + world.now
    submit(
        world, Spec(TRUE, start=wall + 3600), Spec(TRUE, target=Target(where="no=where")),
        Spec(TRUE, slots=9, expires=wall + 3000), Spec(TRUE, target=Target(each=True, where="no")),
    )  # fmt: skip
    world.run(5.0)
    wakes, length = counted_wakes(monkeypatch), world.length
    world.run(20.0)
    assert wakes[0] <= 4 * 10, "each node asks for its leave every 2.5 s, and has nothing else to do"
    assert world.length == length, "and the log is told nothing"


def keep(world: SmallWorld, tasks: int, seconds: float) -> None:
    """The log has these settings now."""
    for host in world.hosts.values():
        cluster = replace(host.config.cluster, task_history=tasks, task_history_time=seconds)
        assert host.node is not None
        host.node.config = host.config = replace(host.config, cluster=cluster)
        host.give(None)


def known(world: SmallWorld) -> list[list[int]]:
    return [list(host.node.state.tasks.history) for host in world.hosts.values() if host.node is not None]


def test_tasks_that_are_over_are_forgotten_by_number_and_by_time(world: SmallWorld) -> None:
    submit(world, *[Spec(TRUE)] * 6)
    world.run(120.0, lambda: not leader(world).node.state.tasks.live)  # type: ignore[union-attr]
    order = known(world)[0]
    assert len(order) == 6
    keep(world, 4, 2_592_000.0)
    world.run(10.0)
    assert known(world) == [order[2:]] * 4, "the oldest are gone, on all nodes alike"
    length = world.length
    world.run(60.0)
    assert world.length == length, "and the log is told nothing more"
    keep(world, 4, 30.0)
    world.run(10.0)
    assert known(world) == [[]] * 4
    assert leader(world).node.state.tasks.find(order[0]) is None  # type: ignore[union-attr]
    assert leader(world).node.state.tasks.next == 7  # type: ignore[union-attr]
    assert sum(leader(world).node.state.tasks.ended.values()) == 6, "what is counted stays"  # type: ignore[union-attr]


def test_tasks_that_are_forgotten_later_wake_nobody_until_then(
    world: SmallWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(world, Spec(TRUE), Spec(TRUE))
    world.run(120.0, lambda: not leader(world).node.state.tasks.live)  # type: ignore[union-attr]
    keep(world, 4, 60.0)
    world.run(1.0)
    wakes = counted_wakes(monkeypatch)
    world.run(20.0)
    assert wakes[0] <= 4 * 10, "each node asks for its leave every 2.5 s, and has nothing else to do"
    world.run(60.0)
    assert known(world) == [[]] * 4


def test_who_knows_no_leader_sleeps(world: SmallWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    submit(world, Spec(TRUE))
    world.cut |= set(world.hosts)
    world.head, world.contact = None, 1e9
    for host in world.hosts.values():
        host.give(None)
    assert all(host.node is not None and host.node.tasking.due_at > 1e300 for host in world.hosts.values())


def test_a_leader_whose_steps_are_on_their_way_does_not_wake_for_more(world: SmallWorld) -> None:
    submit(world, Spec(TRUE, slots=9, expires=1e9 + world.now + 2))
    world.slow = 1000.0
    world.run(5.0)
    dispatching = leader(world).node.tasking.dispatching  # type: ignore[union-attr]
    assert dispatching.waiting and dispatching.wake_at > 1e300


def test_a_node_that_is_free_again_gets_tasks_at_once(world: SmallWorld) -> None:
    for number in (1, 2, 3, 4):
        leader(world).give(TaskRequested(1_600_000_000 + number, "", asking.Drain("me", number, True)))
    world.run(1.0)
    submit(world, Spec(TRUE))
    assert len(leader(world).node.state.tasks.live) == 1  # type: ignore[union-attr]
    for number in (1, 2, 3, 4):
        leader(world).give(TaskRequested(1_700_000_000 + number, "", asking.Drain("me", number, False)))
    world.run(1.0)
    assert world.tasks.ledger.all == 1


# --- other versions ------------------------------------------------------------------------


def _node(state: State, knows: dict[int, bool | None]) -> Any:
    reports = {number: SimpleNamespace(tasks=said) for number, said in knows.items() if said is not None}
    settled = [SimpleNamespace(node=number) for number in knows]
    return SimpleNamespace(
        state=state, settled=settled, me=1, config=SimpleNamespace(tasks=None),
        reports=SimpleNamespace(last=reports.get), wall=lambda now: 1e9,
    )  # fmt: skip


@pytest.mark.parametrize("other", [None, False])
def test_the_log_is_told_of_no_task_before_every_member_said_that_it_would_know_it(other: bool | None) -> None:
    what = asking.Submit("me", (Submission(Spec(TRUE)),))
    outcome = taking.take(_node(State(), {1: None, 2: True, 3: other}), what, 0.0)
    assert isinstance(outcome, Busy) and "nodes 3 have not said" in outcome.reason
    assert isinstance(taking.take(_node(State(), {1: None, 2: True, 3: True}), what, 0.0), TasksSubmitted)


def test_a_member_that_is_down_stops_nothing_once_the_log_has_told_of_tasks() -> None:
    state = State()
    state.tasks.apply(TasksSubmitted(1e9, "me", (Submission(Spec(TRUE)),)), 1)
    what = asking.Submit("me", (Submission(Spec(TRUE)),))
    assert isinstance(taking.take(_node(state, {1: None, 2: True, 3: None}), what, 0.0), TasksSubmitted)


def test_a_snapshot_of_a_version_without_tasks_holds_none() -> None:
    tree = msgspec.msgpack.decode(msgspec.msgpack.encode(State()))
    del tree["tasks"]
    state = decode(msgspec.msgpack.encode(tree))
    assert not state.tasks.used and not state.tasks.live and state.tasks.next == 1


def templated(size: int) -> asking.WriteTemplate:
    """A template whose task holds so much text."""
    work = Sql("select 1", variables=(("x", "x" * size),))
    return asking.WriteTemplate("me", "t", Template(Spec(work, template="t")))


def asked(world: SmallWorld, what: asking.Change) -> None:
    leader(world).give(TaskRequested(1_500_000_000, "", what))
    world.run(1.0)


def test_a_date_whose_task_has_grown_too_large_is_passed_over_and_stops_no_other(
    world: SmallWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(world, templated(10))
    for name in ("a", "b"):
        made = asking.FromTemplate("t") if name == "a" else None
        asked(world, asking.WriteSchedule("me", name, Schedule("* * * * *", Submission(Spec(TRUE))), made))
    asked(world, templated(70_000))
    world.run(65.0)
    first = leader(world).node
    assert first is not None
    large, small = (first.state.tasks.schedules[name] for name in ("a", "b"))
    assert large.skipped.startswith("its task takes 70") and "put what is long into a file" in large.skipped
    assert small.task and not small.skipped and large.last == small.last
    monkeypatch.setattr(bulk, "LIVE_TEXT_MAX", 5)
    world.run(65.0)
    assert "wait, cancel some" in large.skipped and "wait, cancel some" in small.skipped


def test_a_reason_of_any_length_fits_into_messages_and_into_the_log(
    world: SmallWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = next(host for host in world.hosts.values() if host is not leader(world))
    told: list[Working] = []
    monkeypatch.setattr(SmallNode, "tell", lambda node, message, to, now: told.append(message))
    long = "\N{SNOWMAN}" * 30_000
    for task in range(1, 65):
        other.give(TasksHeard(RunEnded(task, 1 << 40, Verdict.FAILED, 1.0, long)))
    world.run(3.0)
    largest = max((one for one in told if isinstance(one, Working)), key=lambda one: len(one.words))
    assert len(largest.words) == 64
    assert len(msgspec.msgpack.encode(largest)) < 100_000
    step = Ended(1, 1 << 40, Verdict.FAILED, 1e9, long[:400], Result(tail=long[:500]))
    held = Held(2, long[:400])
    first, rest = _fitting([step, held], 768)
    assert len(msgspec.msgpack.encode(first)) <= 768 and rest == [held]
    assert len(msgspec.msgpack.encode(_fitting(rest, 768)[0])) <= 768


def test_a_script_waits_for_a_node_with_dask_and_goes_nowhere_else(world: SmallWorld) -> None:
    asked(world, asking.WriteTemplate("me", "s", Template(Spec(Script("pass"), template="s"))))
    asked(world, asking.Submit("me", (asking.FromTemplate("s"),)))
    first = leader(world)
    assert first.node is not None
    [task] = first.node.state.tasks.live.values()
    assert task.reason.count("does not take part in the Dask cluster") == len(world.hosts), task.reason
    other = next(host for host in world.hosts.values() if host is not first)
    assert other.node is not None and other.config.tasks is not None
    tasks = replace(other.config.tasks, dask_python="/opt/dask/bin/python")
    other.node.config = other.config = replace(other.config, tasks=tasks)
    world.run(5.0)
    assert task.node == other.number, "within the next word of that node"


def test_a_schedule_that_had_no_date_yet_shows_none(world: SmallWorld) -> None:
    asked(world, asking.WriteSchedule("me", "a", Schedule("* * * * *", Submission(Spec(TRUE)))))
    node = leader(world).node
    assert node is not None
    shown = [task_views.schedule(looking.look(node, asking.ListSchedules("a"), 0.0))]  # type: ignore[arg-type]
    world.run(65.0)
    shown.append(task_views.schedule(looking.look(node, asking.ListSchedules("a"), 0.0)))  # type: ignore[arg-type]
    assert [(bool(one.last), bool(one.last_task)) for one in shown] == [(False, False), (True, True)]


def test_a_date_that_waits_for_the_task_before_wakes_nobody_and_follows_at_its_end(
    world: SmallWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sim_runner, "LENGTHS", (150.0,))
    asked(world, asking.WriteSchedule("me", "a", Schedule("* * * * *", Submission(Spec(TRUE)), missed="all")))
    world.run(130.0)
    board = leader(world).node.state.tasks  # type: ignore[union-attr]
    assert len(board.live) == 1
    wakes, length, begun = counted_wakes(monkeypatch), world.length, world.tasks.ledger.all
    world.run(10.0)
    assert wakes[0] <= 4 * 6 and world.length == length
    world.run(600.0, lambda: world.tasks.ledger.all >= begun + 3)
    assert world.tasks.ledger.all >= begun + 3 and not board.schedules["a"].skipped


def test_runs_are_looked_at_when_they_or_their_node_have_changed(
    world: SmallWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand of them cost most of a millisecond, and each entry of the log asks for it."""
    monkeypatch.setattr(sim_runner, "LENGTHS", (600.0,))
    first = leader(world)
    here = Target(nodes=(first.number,))
    submit(world, *[Spec(TRUE, target=here)] * 3)
    world.run(5.0)
    looked: list[int] = []
    sound = Workload._unwanted
    monkeypatch.setattr(Workload, "_unwanted", lambda self, task, now: looked.append(task.id) or sound(self, task, now))
    submit(world, *[Spec(TRUE, target=Target(where="no=where"))] * 5)
    world.run(10.0)
    assert first.node is not None and len(first.node.tasking.workload._runs) == 3 and looked == []
    asked(world, asking.Cancel("me", 2))
    assert set(looked) == {2}
    looked.clear()
    asked(world, asking.Drain("me", first.number, True, 5.0))
    assert set(looked) == {1, 3}
    world.run(10.0)
    live = first.node.state.tasks.live
    assert all(not live[number].claimed for number in (1, 3)), "its patience is over"
