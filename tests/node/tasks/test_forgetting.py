"""When tasks that are over leave the history, and how many of them at once."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from math import inf

from qluster.config import keys
from qluster.tasks import kept
from qluster.tasks.board import Board
from qluster.tasks.forgetting import FORGOTTEN_MAX, INTERVAL, PAUSE, Forgetting
from qluster.tasks.life import State
from qluster.tasks.spec import Command, Spec
from qluster.tasks.task import Task, pack

DAY = 86_400.0
BEGIN = 1e9
"""Date of the first end; the clock of the node shows 0 then."""


def board(count: int, apart: float = 1.0) -> Board:
    """So many tasks are over, one each ``apart`` seconds."""
    found = Board()
    for number in range(1, count + 1):
        task = Task(number, Spec(Command(("/bin/true",))), BEGIN, "me", f"key {number}")
        task.note(State.SUCCEEDED, BEGIN + (number - 1) * apart)
        found.history[number], found.keys[task.key] = pack(task), number
        found.history_bytes += len(found.history[number])
    return found


def monotonic_of(wall: float) -> float:
    return wall - BEGIN


def test_nothing_is_due_where_nothing_is_over() -> None:
    assert Forgetting(0.0).due_at(Board(), 0, DAY, monotonic_of) == inf


def test_what_is_too_old_leaves_at_its_date() -> None:
    found, forgetting = board(5, apart=10.0), Forgetting(0.0)
    assert forgetting.due_at(found, 100, DAY, monotonic_of) == DAY
    assert forgetting.count(found, 100, DAY, 9.0, BEGIN + 9.0) == 0
    assert forgetting.count(found, 100, DAY, DAY + 20, BEGIN + DAY + 20) == 3
    found.forget(3)
    assert forgetting.due_at(found, 100, DAY, monotonic_of) == DAY + 30
    assert list(found.history) == [4, 5] and set(found.keys) == {"key 4", "key 5"}
    assert found.history_bytes == sum(map(len, found.history.values()))


def test_what_is_too_much_leaves_in_parts_with_pauses() -> None:
    found, forgetting, now = board(FORGOTTEN_MAX * 2 + 10), Forgetting(100.0), 100.0
    parts = []
    while (due := forgetting.due_at(found, 7, DAY, monotonic_of)) < DAY:
        assert due == now + (PAUSE if parts else INTERVAL)
        now = due
        parts.append(forgetting.count(found, 7, DAY, now, BEGIN + now))
        found.forget(parts[-1])
    assert parts == [FORGOTTEN_MAX, FORGOTTEN_MAX, 3] and len(found.history) == 7


def test_nothing_may_be_kept() -> None:
    found = board(3)
    assert Forgetting(0.0).count(found, 0, DAY, 5.0, BEGIN) == 3
    found.forget(3)
    assert not found.history and not found.keys and not found.history_bytes


def test_a_look_that_found_nothing_is_not_taken_again_at_once() -> None:
    """A wall clock that was set back: what was due is not."""
    found, forgetting = board(3), Forgetting(0.0)
    assert forgetting.count(found, 9, DAY, DAY + 1, BEGIN) == 0
    assert forgetting.due_at(found, 9, DAY, monotonic_of) == DAY + 1 + INTERVAL


def test_no_more_can_be_asked_for_than_a_board_holds() -> None:
    assert keys.HISTORY_MAX == kept.HISTORY_MAX
