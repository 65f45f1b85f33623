"""The ledger of the tasks benchmark sees what it is to see."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from bench.tasks.__main__ import table
from bench.tasks.ledger import Account, account

LINES = ["b 1 10 1 100.0", "e 1 10 1 110.0", "b 2 11 1 100.0", "b 2 20 2 115.0", "e 2 20 2 125.0"]


def test_a_task_that_was_begun_again_after_its_node_died_ran_once_at_a_time() -> None:
    assert account(LINES, {1: 112.0}) == Account(2, 3, 0, 1)


def test_two_runs_at_once_are_seen() -> None:
    assert account(LINES, {1: 116.0}).twice == 1
    assert account(LINES, {}).twice == 1, "who was not killed ran on"


def test_a_task_without_an_end_is_missing() -> None:
    assert account(LINES[:1], {}).tasks == 0


def test_the_table_has_both() -> None:
    form = {"tasks_a_second": 1000.0, "p50": 0.01, "p99": 0.02, "worst": 0.03, "count": 5}
    both = [{"single": form, "batch": form}]
    lines = table({"submit": {"qluster": both, "celery": both}})
    assert sum("1,000 tasks/s" in line for line in lines) == 4 and sum("celery" in line for line in lines) == 2
