"""Whose runs a task runner has: what another node of another founding had here is gone before this one begins."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import msgspec
from edge.daemon_world import wait_for
from edge.runner_world import Host, alive, host, order
from qluster.edge.runner import record
from qluster.tasks.bodies import Verdict
from qluster.tasks.runner import Own, RunnerFound, StartRun
from qluster.tasks.spec import Command, Limits


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


def test_what_an_older_version_wrote_of_the_owner_is_read(tmp_path: Path) -> None:
    for kept, found in (((7, 1), Own((7, 1))), ((7, 1, 40), Own((7, 1), 40)), ((7,), Own((0, 0)))):
        (tmp_path / "owner").write_bytes(msgspec.msgpack.encode(kept))
        assert record.owner(str(tmp_path)) == found


def test_output_of_runs_that_the_next_owner_knows_of_is_kept(tmp_path: Path) -> None:
    """Quorum was forced: the log goes on from entry 20, so tasks and claims up to there are the same ones."""
    with host(tmp_path) as one:
        line = one.line()
        line.found()
        line.say(Own((7, 1)))
        line.until(lambda found: isinstance(found, RunnerFound) and found.owner == (7, 1))
        line.lease(60.0)
        line.say(*[StartRun(task, fence, 1, Command(("/bin/sh", "-c", f"echo said {task}; sleep {seconds}")), "",
                            Limits(), 0.0, tied=True) for task, fence, seconds in
                   ((1, 10, 0), (2, 20, 600), (3, 21, 0))])  # fmt: skip
        line.ended(1)
        line.ended(3)
        wait_for("task 2 has spoken", lambda: said(one, 2, 20) == "said 2\n")
        line.say(Own((8, 1), 40, ((6, 30), (7, 20))))
        found = line.until(lambda found: isinstance(found, RunnerFound) and found.owner == (8, 1))
        assert found == RunnerFound((), found.pid, "", (8, 1), void=40)  # type: ignore[union-attr]
        assert (said(one, 1, 10), said(one, 2, 20)) == ("said 1\n", "said 2\n")
        assert said(one, 3, 21) is None, "claim 21 is another one now"
        for forgotten in (one.directory / "runs").glob("*/forgotten"):
            forgotten.unlink()  # as after the loss of the host's power

        one.kill()
        one.start()
        line = one.line()
        assert line.found().runs == (), "the new founding is not told of them"
        assert said(one, 2, 20) == "said 2\n"
        line.say(Own((9, 2), 60, ((8, 50),)))
        line.until(lambda found: isinstance(found, RunnerFound) and found.owner == (9, 2))
        assert said(one, 1, 10) is None, "it is another node, which never had that claim"


def said(one: Host, task: int, fence: int) -> str | None:
    """The output of one attempt."""
    file = one.directory / "runs" / f"{task}-{fence}" / "stdout"
    return file.read_text() if file.exists() else None


def test_an_order_that_comes_after_the_lease_begins_nothing_tied_or_not(tmp_path: Path) -> None:
    with host(tmp_path) as one:
        line = one.line()
        line.found()
        line.say(order(1, Command(("/bin/true",)), tied=False))
        assert line.ended(1).verdict is Verdict.UNBEGUN
