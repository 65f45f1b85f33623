"""How much text tasks hold, and what is said where it is too much."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster.clients import Refused
from qluster.cluster import commands
from qluster.tasks import bulk, submitting
from qluster.tasks.board import Board
from qluster.tasks.bodies import (
    Schedule,
    ScheduleFired,
    ScheduleWritten,
    Submission,
    TaskCancelled,
    TasksSubmitted,
    Template,
    TemplateWritten,
)
from qluster.tasks.spec import Command, Need, Script, Spec, Sql, Work

LIMIT = 64_000
LONG = Spec(Command(("/bin/x", "y" * 30_000), (("A", "z" * 30_000), ("B", "z" * 30_000))))


@pytest.mark.parametrize(("work", "count"), [
    (Command(("/bin/x", "yz"), (("A", "12"),)), 11), (Sql("select", variables=(("a", "bc"),)), 9),
    (Script("pass", ("ab",)), 6),
])  # fmt: skip
def test_all_text_of_the_work_counts(work: Work, count: int) -> None:
    assert bulk.text(Spec(work)) == count


def test_a_board_knows_what_its_tasks_hold_until_they_are_over() -> None:
    board, spec = Board(), Spec(Sql("x" * 1000))
    board.apply(TasksSubmitted(1.0, "me", (Submission(spec),)), 1)
    assert board.text == 1000, "reckoned at the first question"
    board.apply(TasksSubmitted(1.0, "me", (Submission(spec), Submission(spec))), 2)
    assert board.text == 3000
    board.apply(TaskCancelled(2, 2.0, "me"), 3)
    board.apply(TaskCancelled(2, 2.0, "me"), 4)
    assert board.text == 2000


def test_so_much_is_taken_on_and_no_more() -> None:
    assert bulk.overfull(0, bulk.LIVE_TEXT_MAX) == ""
    said = bulk.overfull(bulk.LIVE_TEXT_MAX - 1, 2)
    assert "hold 32.0 MiB" in said and "32.0 MiB are possible: wait, cancel some" in said


def test_so_many_may_not_be_over_and_a_date_passes_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submitting, "LIVE_MAX", 2)
    board, small = Board(), Submission(Spec(Command(("/bin/true",))))
    board.apply(ScheduleWritten("s", Schedule("* * * * *", small), 1.0), 1)
    board.apply(TasksSubmitted(1.0, "me", (small,)), 2)
    refused = board.apply(TasksSubmitted(1.0, "me", (small, small)), 3)
    assert isinstance(refused, Refused) and refused.word == "too-many-tasks"
    assert len(board.live) == 1, "all of a request or nothing"
    board.apply(TasksSubmitted(1.0, "me", (small,)), 4)
    board.apply(ScheduleFired("s", 60.0, 60.0), 5)
    assert board.schedules["s"].skipped == "2 tasks are not over" and len(board.live) == 2


@pytest.mark.parametrize("size", [50, 200, 1000])
def test_as_many_as_are_said_to_fit_do(size: int) -> None:
    tasks = tuple(Submission(Spec(Command(("/bin/x", "y" * size)), needs=(Need(-1),)), f"key-{at}")
                  for at in range(1000))  # fmt: skip
    said = bulk.oversize(TasksSubmitted(1.8e9, "me", tasks), LIMIT)
    count = int(said.removeprefix("the first ").split()[0])
    assert said == f"the first {count} of its 1000 tasks would fit"
    assert len(commands.encode(TasksSubmitted(1.8e9, "b" * 64, tasks[:count]), "k" * 64, b"f" * 8)) <= LIMIT
    assert len(commands.encode(TasksSubmitted(1.8e9, "me", tasks[: count + 3 + count // 50]))) > LIMIT


def test_one_that_is_alone_too_large_is_named() -> None:
    one = Submission(LONG)
    small = Submission(Spec(Command(("/bin/true",))))
    assert bulk.oversize(TasksSubmitted(1.0, "me", (one,)), LIMIT) == (
        "it is one task, and that is too large: put what is long into a file on the hosts")
    assert "task 2 of the request alone is too large" in bulk.oversize(TasksSubmitted(1.0, "", (small, one)), LIMIT)
    assert bulk.oversize(TemplateWritten("t", Template(LONG)), LIMIT).startswith("the template is too large")
    schedule = ScheduleWritten("s", Schedule("* * * * *", one), 1.0)
    assert bulk.oversize(schedule, LIMIT).startswith("the schedule, with the task that it makes now, is too large")
