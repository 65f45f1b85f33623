"""Whose runs a task runner has: what another node of another founding had here is gone before this one begins."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

from edge.daemon_world import wait_for
from edge.runner_world import alive, host, order
from qluster.tasks.bodies import Verdict
from qluster.tasks.runner import Own, RunnerFound
from qluster.tasks.spec import Command


def test_runs_of_another_node_are_killed_and_forgotten_and_their_numbers_begin_anew(tmp_path: Path) -> None:
    with host(tmp_path) as one:
        line = one.line()
        assert line.found().owner == (0, 0)
        line.say(Own((7, 1)))
        line.until(lambda found: isinstance(found, RunnerFound) and found.owner == (7, 1))
        line.lease(60.0)
        line.say(order(1, Command(("/bin/echo", "old"))),
                 order(2, Command(("/bin/sh", "-c", "echo $$ > pid; sleep 600"))))  # fmt: skip
        line.ended(1)
        pid = one.pid(2)
        line.socket.close()

        line = one.line()
        assert {run.task for run in line.found().runs} == {1, 2}, "the same node finds its runs"
        line.say(Own((8, 1), 40))
        found = line.until(lambda found: isinstance(found, RunnerFound) and found.owner == (8, 1))
        assert found == RunnerFound((), found.pid, "", (8, 1), void=40)  # type: ignore[union-attr]
        wait_for("the program is dead", lambda: not alive(pid))
        line.lease(60.0)
        line.heard.clear()
        line.say(order(1, Command(("/bin/echo", "new"))))
        assert line.ended(1).verdict is Verdict.DONE
        assert one.said(1) == "new\n"

        one.kill()
        one.start()
        found = one.line().found()
        assert (found.owner, found.void) == ((8, 1), 40), "what may have been begun and is forgotten stays known"


def test_an_order_that_comes_after_the_lease_begins_nothing_tied_or_not(tmp_path: Path) -> None:
    with host(tmp_path) as one:
        line = one.line()
        line.found()
        line.say(order(1, Command(("/bin/true",)), tied=False))
        assert line.ended(1).verdict is Verdict.UNBEGUN
