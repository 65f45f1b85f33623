"""The ledger of the tasks benchmark sees what it is to see."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
from pathlib import Path

from bench.processes import wait_for
from bench.tasks.__main__ import table
from bench.tasks.ledger import Account, Ledger, account

LINES = ["b 1 10 1 100.0", "e 1 10 1 110.0", "b 2 11 1 100.0", "b 2 20 2 115.0", "e 2 20 2 125.0"]


def test_a_task_that_was_begun_again_after_its_node_died_ran_once_at_a_time() -> None:
    assert account(LINES) == Account(2, 3, 0, 1)


def test_a_task_without_an_end_is_missing() -> None:
    assert account(LINES[:1]).tasks == 0


def test_two_runs_at_once_are_seen_and_one_that_was_killed_is_none(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)

    def run(fence: int) -> subprocess.Popen[bytes]:
        told = {**os.environ, "QLUSTER_TASK_ID": "1", "QLUSTER_TASK_FENCE": str(fence), "QLUSTER_NODE": "1"}
        program = subprocess.Popen(["/bin/sh", str(ledger.script)], env=told)
        wait_for("it has begun", lambda: fence in ledger.begun().get(1, {}), [])
        return program

    killed = run(10)
    killed.kill()
    killed.wait()
    one = run(11)
    assert account(ledger.lines).twice == 0
    other = run(12)
    ledger.open()
    assert [program.wait() for program in (one, other)] == [0, 0]
    assert account(ledger.lines) == Account(1, 3, 1, 1)


def test_the_table_has_both() -> None:
    form = {"tasks_a_second": 1000.0, "p50": 0.01, "p99": 0.02, "worst": 0.03, "count": 5}
    both = [{"single": form, "batch": form}]
    lines = table({"submit": {"qluster": both, "celery": both}})
    assert sum("1,000 tasks/s" in line for line in lines) == 4 and sum("celery" in line for line in lines) == 2
