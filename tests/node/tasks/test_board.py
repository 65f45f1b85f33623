"""What the log makes of tasks: each test is a short story in entries."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qluster.clients import Done, Refused
from qluster.tasks import board as board_module
from qluster.tasks.board import Board
from qluster.tasks.bodies import (
    Assigned,
    Begun,
    Ended,
    Expired,
    Gone,
    Held,
    Result,
    Spread,
    Step,
    Submission,
    TaskCancelled,
    TasksForgotten,
    TasksMoved,
    TasksSubmitted,
    Verdict,
)
from qluster.tasks.endings import INTERRUPTIONS_MAX
from qluster.tasks.life import FINAL, FOLLOWS, State
from qluster.tasks.packed import Packed
from qluster.tasks.spec import Command, Need, Retry, Spec, Target

TRUE = Command(("/bin/true",))


class Log:
    """A board and the next index."""

    def __init__(self) -> None:
        self.board, self.index, self.at = Board(), 0, 1_000.0

    def say(self, body: Any) -> Refused | Done | None:
        self.index += 1
        self.at += 1
        return self.board.apply(body, self.index)

    def submit(self, *specs: Spec, key: str = "") -> list[int]:
        done = self.say(TasksSubmitted(self.at, "me", tuple(Submission(spec, key) for spec in specs)))
        assert isinstance(done, Done), done
        return done.detail["tasks"]  # type: ignore[return-value]

    def steps(self, *steps: Step) -> None:
        self.say(TasksMoved(self.at, steps))

    def claim(self, task: int, node: int = 1) -> int:
        self.steps(Assigned(task, node))
        return self.index

    def state(self, task: int) -> State:
        found = self.board.find(task)
        assert found is not None
        return found.state

    def reason(self, task: int) -> str:
        found = self.board.find(task)
        assert found is not None
        return found.reason


def spec(**others: Any) -> Spec:
    return Spec(TRUE, **others)


def test_a_life() -> None:
    log = Log()
    (task,) = log.submit(spec(name="a"))
    fence = log.claim(task, 2)
    log.steps(Begun(task, fence, log.at))
    log.steps(Ended(task, fence, Verdict.DONE, log.at, "", Result(0)))
    found = log.board.find(task)
    assert found is not None and found.state is State.SUCCEEDED and found.result == Result(0)
    assert [change.state for change in found.trail] == [
        State.SUBMITTED, State.ASSIGNED, State.RUNNING, State.SUCCEEDED,
    ]  # fmt: skip
    assert not log.board.live and log.board.ended == {"succeeded": 1}


def test_a_second_claim_is_not_given_and_an_old_number_changes_nothing() -> None:
    log = Log()
    (task,) = log.submit(spec())
    first = log.claim(task, 1)
    log.steps(Assigned(task, 2))
    assert log.board.live[task].node == 1
    log.steps(Gone(task, first))
    assert log.state(task) is State.WAITING and log.board.barred == {1: log.index}
    second = log.claim(task, 2)
    log.steps(Ended(task, first, Verdict.DONE, log.at))
    assert log.state(task) is State.ASSIGNED and log.board.refused == 1
    log.steps(Ended(task, second, Verdict.DONE, log.at))
    assert log.state(task) is State.SUCCEEDED


@pytest.mark.parametrize(
    ("verdict", "once", "state"),
    [
        (Verdict.DONE, False, State.SUCCEEDED),
        (Verdict.FAILED, False, State.FAILED),
        (Verdict.TIMED_OUT, False, State.FAILED),
        (Verdict.UNSTARTABLE, False, State.FAILED),
        (Verdict.REFUSED, False, State.FAILED),
        (Verdict.CANCELLED, False, State.CANCELLED),
        (Verdict.MOVED, False, State.FAILED),
        (Verdict.CUT_OFF, False, State.WAITING),
        (Verdict.VANISHED, False, State.WAITING),
        (Verdict.DRAINED, False, State.WAITING),
        (Verdict.UNBEGUN, False, State.WAITING),
        (Verdict.CUT_OFF, True, State.FAILED),
        (Verdict.VANISHED, True, State.LOST),
        (Verdict.DRAINED, True, State.FAILED),
        (Verdict.UNBEGUN, True, State.FAILED),
    ],
)
def test_how_a_run_that_began_ends(verdict: Verdict, once: bool, state: State) -> None:
    log = Log()
    (task,) = log.submit(spec(once=once))
    fence = log.claim(task)
    log.steps(Begun(task, fence, log.at), Ended(task, fence, verdict, log.at))
    assert log.state(task) is state
    assert state is State.SUCCEEDED or log.reason(task)


def test_what_was_never_begun_is_begun_elsewhere_even_if_it_is_run_once_at_most() -> None:
    log = Log()
    (task,) = log.submit(spec(once=True))
    log.steps(Ended(task, log.claim(task), Verdict.UNBEGUN, log.at))
    assert log.state(task) is State.WAITING


def test_retries_come_later_each_time_and_end() -> None:
    log = Log()
    (task,) = log.submit(spec(retry=Retry(2, 10.0, 3.0)))
    delays = []
    for _ in range(2):
        log.steps(Ended(task, log.claim(task), Verdict.FAILED, log.at, "exit code 3"))
        assert log.state(task) is State.WAITING
        delays.append(log.board.live[task].not_before - log.at)
    assert 9 <= delays[0] <= 11 and 29 <= delays[1] <= 33
    log.steps(Ended(task, log.claim(task), Verdict.FAILED, log.at, "exit code 3"))
    assert log.state(task) is State.FAILED and log.reason(task) == "it failed: exit code 3 (attempt 3 of 3)"


def test_needs() -> None:
    log = Log()
    first, second, third, fourth = log.submit(
        spec(), spec(needs=(Need(-1),)), spec(needs=(Need(-1, "failure"),)), spec(needs=(Need(-3, "any"), Need(-2)))
    )
    assert [log.state(task) for task in (second, third, fourth)] == [State.WAITING] * 3
    log.steps(Assigned(second, 1))
    assert log.state(second) is State.WAITING
    log.steps(Ended(first, log.claim(first), Verdict.DONE, log.at))
    assert log.state(second) is State.SUBMITTED
    assert log.state(third) is State.CANCELLED and "ended as succeeded" in log.reason(third)
    assert log.state(fourth) is State.WAITING
    log.say(TaskCancelled(second, log.at, "me"))
    assert log.state(fourth) is State.CANCELLED
    assert not log.board.dependants and not log.board.live


def test_a_task_for_each_node_is_over_with_its_parts() -> None:
    log = Log()
    (whole,) = log.submit(spec(target=Target(each=True)))
    log.steps(Spread(whole, (1, 2)))
    parts = log.board.live[whole].parts
    assert [log.board.live[part].spec.target.nodes for part in parts] == [(1,), (2,)]
    log.steps(Ended(parts[0], log.claim(parts[0], 1), Verdict.DONE, log.at))
    assert log.state(whole) is State.RUNNING
    log.steps(Ended(parts[1], log.claim(parts[1], 2), Verdict.FAILED, log.at, "exit code 1"))
    assert log.state(whole) is State.FAILED and log.reason(whole).startswith("1 of 2 succeeded; task 3 on node 2")


def test_cancelling_a_whole_cancels_its_parts() -> None:
    log = Log()
    (whole,) = log.submit(spec(target=Target(each=True)))
    log.steps(Spread(whole, (1, 2)))
    parts = log.board.live[whole].parts
    fence = log.claim(parts[0], 1)
    log.say(TaskCancelled(whole, log.at, "me", "enough"))
    assert log.state(parts[1]) is State.CANCELLED and log.board.live[parts[0]].cancelled
    log.steps(Ended(parts[0], fence, Verdict.CANCELLED, log.at))
    assert log.state(whole) is State.CANCELLED and log.reason(whole) == "me cancelled it: enough"


def test_a_key_names_one_task() -> None:
    log = Log()
    (task,) = log.submit(spec(), key="k")
    assert log.submit(spec(), key="k") == [task]
    refused = log.say(TasksSubmitted(log.at, "me", (Submission(spec(name="other"), "k"),)))
    assert isinstance(refused, Refused) and refused.word == "task-key-taken"


def test_expired() -> None:
    log = Log()
    (task,) = log.submit(spec(expires=2000.0))
    log.steps(Expired(task))
    assert log.state(task) is State.EXPIRED


def test_nothing_follows_an_end_and_every_other_state_leads_to_one() -> None:
    assert all(not FOLLOWS[state] for state in FINAL)
    assert set(FOLLOWS) == set(State)
    reached: set[State] = {State.SUBMITTED}
    while more := {after for state in reached for after in FOLLOWS[state]} - reached:
        reached |= more
    assert reached == set(State)


def test_a_board_is_the_same_after_its_bytes() -> None:
    log = Log()
    tasks = log.submit(*(spec(name=str(number)) for number in range(3)))
    log.steps(Ended(tasks[0], log.claim(tasks[0]), Verdict.DONE, log.at))
    text = msgspec.msgpack.encode(log.board)
    again = msgspec.msgpack.decode(text, type=Board)
    assert msgspec.msgpack.encode(again) == text and again.find(tasks[0]) == log.board.find(tasks[0])


def test_the_begin_of_one_claim_says_nothing_of_the_next() -> None:
    log = Log()
    (task,) = log.submit(spec())
    first = log.claim(task)
    log.steps(Begun(task, first, log.at), Ended(task, first, Verdict.CUT_OFF, log.at))
    second = log.claim(task)
    assert log.board.live[task].began_at == 0.0
    log.steps(Begun(task, second, log.at))
    assert log.state(task) is State.RUNNING and log.board.live[task].began_at == log.at - 1


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
def test_a_node_whose_clock_is_wrong_neither_delays_a_task_nor_turns_its_trail_round(ahead: float) -> None:
    log = Log()
    (task,) = log.submit(spec(retry=Retry(1, 10.0)))
    fence = log.claim(task)
    log.steps(Begun(task, fence, log.at + ahead), Ended(task, fence, Verdict.FAILED, log.at + ahead, "exit code 1"))
    found = log.board.live[task]
    assert 8 <= found.not_before - log.at <= 11
    assert [change.after_ms for change in found.trail] == sorted(change.after_ms for change in found.trail)


def test_a_part_that_failed_and_is_forgotten_counts_all_the_same() -> None:
    log = Log()
    (whole,) = log.submit(spec(target=Target(each=True)))
    log.steps(Spread(whole, (1, 2)))
    parts = log.board.live[whole].parts
    log.steps(Ended(parts[0], log.claim(parts[0], 1), Verdict.FAILED, log.at, "exit code 1"))
    log.say(TasksForgotten(1))
    assert log.board.find(parts[0]) is None
    log.steps(Ended(parts[1], log.claim(parts[1], 2), Verdict.DONE, log.at))
    assert log.state(whole) is State.FAILED and log.reason(whole).startswith("1 of 2 succeeded; task 2 on node 1")


def test_a_key_is_free_again_once_its_task_is_forgotten_and_a_need_of_one_forgotten_is_refused() -> None:
    log = Log()
    (task,) = log.submit(spec(), key="k")
    log.steps(Ended(task, log.claim(task), Verdict.DONE, log.at))
    log.say(TasksForgotten(1))
    assert log.submit(spec(name="other"), key="k") != [task]
    refused = log.say(TasksSubmitted(log.at, "me", (Submission(spec(needs=(Need(task),))),)))
    assert isinstance(refused, Refused) and refused.word == "no-such-task"


def test_who_needs_what_has_ended_otherwise_ends_at_once_and_leaves_nothing_behind() -> None:
    log = Log()
    (first,) = log.submit(spec())
    log.steps(Ended(first, log.claim(first), Verdict.DONE, log.at))
    met, never, after = log.submit(
        spec(needs=(Need(first),)), spec(needs=(Need(first, "failure"),)), spec(needs=(Need(-2),))
    )
    assert [log.state(task) for task in (met, never, after)] == [State.SUBMITTED, State.CANCELLED, State.CANCELLED]
    assert not log.board.dependants


def test_a_chain_of_ten_thousand_ends_with_its_first() -> None:
    log = Log()
    tasks = log.submit(spec())
    for _ in range(10):
        tasks += log.submit(spec(needs=(Need(tasks[-1]),)), *(spec(needs=(Need(-place),)) for place in range(1, 1000)))
    log.steps(Ended(tasks[0], log.claim(tasks[0]), Verdict.FAILED, log.at, "exit code 1"))
    assert not log.board.live and log.board.ended == {"failed": 1, "cancelled": 10_000}
    assert not log.board.dependants


def test_a_task_that_is_only_ever_interrupted_is_given_up() -> None:
    log = Log()
    (task,) = log.submit(spec())
    for count in range(1, INTERRUPTIONS_MAX + 1):
        log.steps(Ended(task, log.claim(task), Verdict.CUT_OFF, log.at))
        assert log.state(task) is (State.WAITING if count < INTERRUPTIONS_MAX else State.FAILED)
    assert log.reason(task).endswith("that was the 20th time")


def test_history_is_bounded_by_number_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "HISTORY_MAX", 5)
    log = Log()
    for _ in range(8):
        (task,) = log.submit(spec())
        log.steps(Ended(task, log.claim(task), Verdict.DONE, log.at))
    assert list(log.board.history) == [4, 5, 6, 7, 8]
    assert log.board.history_bytes == sum(map(len, log.board.history.values()))
    monkeypatch.setattr(board_module, "HISTORY_BYTES_MAX", log.board.history_bytes // 2)
    (task,) = log.submit(spec())
    log.steps(Ended(task, log.claim(task), Verdict.DONE, log.at))
    assert log.board.history_bytes <= board_module.HISTORY_BYTES_MAX and task in log.board.history


@given(st.lists(st.tuples(st.sampled_from("sacgbexdf"), st.integers(1, 12), st.integers(1, 3)), max_size=60))
def test_any_entries_make_the_same_bytes_whether_a_snapshot_was_taken_between_or_not(moves: Any) -> None:
    log, other = Log(), Log()
    packed = Packed(log.board)
    for move, task, node in moves:
        live = log.board.live.get(task)
        fence = live.fence if live is not None and node < 3 else node
        at = log.at
        body: Any = {
            "s": TasksSubmitted(at, "me", (
                Submission(spec(once=node == 1, retry=Retry(node - 1), group="g" * (node - 1)), f"k{task}"),
                Submission(spec(needs=(Need(-1, "any"),), target=Target(each=node == 2))),
            )),
            "a": TasksMoved(at, (Assigned(task, node),)), "c": TaskCancelled(task, at, "me"),
            "g": TasksMoved(at, (Gone(task, fence),)), "b": TasksMoved(at, (Begun(task, fence, at),)),
            "e": TasksMoved(at, (Ended(task, fence, Verdict(1 + (task * node) % 11), at, "so"),)),
            "x": TasksMoved(at, (Expired(task), Held(task + 1, f"reason {node}"))),
            "d": TasksMoved(at, (Spread(task, (1, 2)),)), "f": TasksForgotten(1),
        }[move]  # fmt: skip
        said, again = log.say(body), other.say(body)
        assert said == again
        packed.note(log.board.touched)  # whatever has changed is among these
        log.board.touched.clear()
        assert packed.live() == Packed(log.board).live()
        assert list(log.board.ends) == list(log.board.history)
        other.board = msgspec.msgpack.decode(msgspec.msgpack.encode(other.board), type=Board)
        assert msgspec.msgpack.encode(other.board) == msgspec.msgpack.encode(log.board)
        assert not set(log.board.live) & set(log.board.history)
        assert all(task.final is False for task in log.board.live.values())
