"""``qluster task``: what it asks for, and how it shows what it is answered."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
from qluster.cli import task
from qluster.cli.exits import EXIT_DONE, EXIT_ENDED_ILL, EXIT_FORGOTTEN, EXIT_TROUBLE, EXIT_USAGE
from qluster.cli.words import get_parser
from qluster.edge.client import HttpAnswer

GOLDEN = Path(__file__).parents[2] / "golden" / "api"


def chosen(*words: str) -> argparse.Namespace:
    return get_parser().parse_args(["task", *words])


def golden(name: str, **changed: object) -> bytes:
    return json.dumps(json.loads((GOLDEN / f"{name}.json").read_text()) | changed).encode()


class Cluster:
    """Stands where the node stands: a list of answers, and what was asked."""

    def __init__(self) -> None:
        self.answers: list[HttpAnswer | Exception] = []
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.bodies: list[object] = []

    def ask(self, config: object, method: str, path: str, query: Any = None, body: Any = None, seconds: Any = 0) -> Any:
        self.asked.append((method, path, query or {}))
        self.bodies.append(body)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def run(self, *words: str) -> int:
        return task.run_task(None, chosen(*words))  # type: ignore[arg-type]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    found = Cluster()
    monkeypatch.setattr(task, "_asked", found.ask)
    monkeypatch.setattr(task, "LOOK_INTERVAL", 0.0)
    return found


@pytest.mark.parametrize(("words", "body"), [
    (["--", "/bin/dump", "-x"], {"command": ["/bin/dump", "-x"]}),
    (["--sql", "select 1", "--sql-role", "reader", "--role", "replica"],
     {"sql": "select 1", "role": "reader", "target": {"role": "replica"}}),
    (["--template", "t", "-p", "a=b=c", "--name", "n", "--need", "4", "--priority", "0"],
     {"template": "t", "parameters": {"a": "b=c"}, "name": "n", "needs": [4], "priority": 0}),
    (["--node", "2", "--node", "3", "--retry", "2", "--once", "--time-limit", "2h", "/bin/true"],
     {"command": ["/bin/true"], "target": {"nodes": [2, 3]}, "retry": {"attempts": 2}, "once": True,
      "time_limit": "2h"}),
    (["--time-limit", "90", "--retry-delay", "0.5", "/bin/true"],
     {"command": ["/bin/true"], "time_limit": 90.0, "retry": {"delay": 0.5}}),
    (["--env", "A=1", "--env", "B=x=y", "--directory", "/srv", "--user", "batch", "--limit", "memory=64", "--limit",
      "cpu=0.5", "--resource", "gpu=1", "--slots", "2", "/bin/true"],
     {"command": ["/bin/true"], "environment": {"A": "1", "B": "x=y"}, "directory": "/srv", "user": "batch",
      "limits": {"memory": 64, "cpu": 0.5}, "resources": {"gpu": 1}, "slots": 2}),
    (["--shell", "ls", "--group", "g", "--group-limit", "3", "--moved", "restart", "--overlap", "--need", "3:any",
      "--need", "4", "--retry", "1", "--retry-delay", "5s", "--retry-factor", "1", "--least-lag", "--role", "replica"],
     {"shell": "ls", "group": "g", "group_limit": 3, "moved": "restart", "overlap": True,
      "needs": [{"task": 3, "on": "any"}, 4], "retry": {"attempts": 1, "delay": "5s", "factor": 1.0},
      "target": {"role": "replica", "least_lag": True}}),
    (["--sql", "select :'a'", "--variable", "a=b", "--database", "orders", "--pack", "--fail"],
     {"sql": "select :'a'", "variables": {"a": "b"}, "database": "orders", "target": {"pack": True, "fail": True}}),
])  # fmt: skip
def test_only_what_is_said_is_asked_for(words: list[str], body: object) -> None:
    assert task.described(chosen("submit", *words)) == body


@pytest.mark.parametrize("words", [[], ["/bin/true", "--sql", "select 1"], ["--template", "t", "-p", "a"],
                                   ["--file", "/nowhere/at/all"], ["--file", "-", "--priority", "0"],
                                   ["--file", "-", "/bin/true"], ["/bin/true", "--env", "A"],
                                   ["/bin/true", "--limit", "memory=64m"], ["/bin/true", "--need", "x"],
                                   ["/bin/true", "--need", ":any"]])  # fmt: skip
def test_what_contradicts_itself_is_not_asked(words: list[str], cluster: Cluster) -> None:
    assert cluster.run("submit", *words) == EXIT_USAGE
    assert cluster.asked == []


@pytest.mark.parametrize(("state", "code"), [("succeeded", EXIT_DONE), ("failed", EXIT_ENDED_ILL),
                                             ("lost", EXIT_ENDED_ILL)])  # fmt: skip
def test_submit_waits_and_ends_as_the_task(
    state: str, code: int, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    over = golden("show_task", state=state, reason="so it was")
    cluster.answers = [HttpAnswer(200, golden("submit_tasks")), HttpAnswer(200, golden("show_task")),
                       task.Away("an election"), HttpAnswer(200, over)]  # fmt: skip
    assert cluster.run("submit", "--wait", "/bin/true") == code
    said = capsys.readouterr()
    last = "" if state == "succeeded" else "  pg_dump: error: connection to server lost\n"
    assert (said.out, said.err) == ("17\n", f"task 17 {state}: so it was\n{last}")


def test_a_task_that_there_is_not_is_not_waited_for(cluster: Cluster) -> None:
    cluster.answers = [task.Unknown("there is no task 9")]
    assert cluster.run("wait", "9") == EXIT_FORGOTTEN


@pytest.mark.parametrize("words", [(), ("--wait",), ("--json",), ("--wait", "--json")])
def test_who_repeats_a_request_whose_tasks_are_forgotten_is_told_so(
    words: tuple[str, ...], cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    repeated = golden("submit_tasks", tasks=None, repeated=True)
    cluster.answers = [HttpAnswer(200, repeated)]
    assert cluster.run("submit", *words, "/bin/true") == EXIT_FORGOTTEN
    said = capsys.readouterr()
    assert said.out == (repeated.decode() + "\n" if "--json" in words else "")
    assert said.err.startswith("entry ") and "remembered no more: `qluster task list`" in said.err


@pytest.mark.parametrize(("state", "code"), [("succeeded", EXIT_FORGOTTEN), ("failed", EXIT_ENDED_ILL)])
def test_who_waits_for_tasks_of_which_one_is_forgotten_hears_of_the_others(
    state: str, code: int, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    over = golden("show_task", state=state, reason="", result=None)
    cluster.answers = [HttpAnswer(200, golden("submit_tasks", tasks=[17, 18])),
                       task.Unknown("there is no task 17, or it is forgotten"), HttpAnswer(200, over)]  # fmt: skip
    assert cluster.run("submit", "--wait", "/bin/true") == code
    said = capsys.readouterr()
    assert said.out == "17\n18\n"
    assert said.err.startswith("task 17 is known no more") and said.err.endswith(f"task 18 {state}\n")


def piece(body: bytes, offset: int, *, over: bool, fence: int = 52) -> HttpAnswer:
    return HttpAnswer(200, body, {"x-qluster-next": str(offset + len(body)), "x-qluster-fence": str(fence),
                                  "x-qluster-over": "true" if over else "false"})  # fmt: skip


def test_output_is_followed_to_the_end_through_a_second_attempt(
    cluster: Cluster, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    running, over = (HttpAnswer(200, golden("show_task", state=state)) for state in ("waiting", "succeeded"))
    cluster.answers = [
        piece(b"a\xff", 0, over=False), piece(b"", 2, over=True), running,
        piece(b"", 2, over=False, fence=60), piece(b"b\n", 0, over=True, fence=60), piece(b"", 2, over=True, fence=60),
        over,
    ]  # fmt: skip
    assert cluster.run("output", "-f", "17") == EXIT_DONE
    assert capsysbinary.readouterr().out == b"a\xffb\n"
    offsets = [query["offset"] for _, path, query in cluster.asked if path.endswith("/output")]
    assert offsets == [0, 2, 2, 0, 2]


def test_output_is_followed_through_a_failover(
    cluster: Cluster, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """The host that has it is gone, then there is no leader, then it is run again elsewhere."""
    running, over = (HttpAnswer(200, golden("show_task", state=state)) for state in ("running", "succeeded"))
    cluster.answers = [
        piece(b"a", 0, over=False), task.Away("node 2 is away", "output-away"), running,
        task.Away("no leader"), task.Away("none"),
        piece(b"", 1, over=False, fence=60), piece(b"b", 0, over=True, fence=60), piece(b"", 1, over=True, fence=60),
        over,
    ]  # fmt: skip
    assert cluster.run("output", "-f", "17") == EXIT_DONE
    assert capsysbinary.readouterr().out == b"ab"


def test_a_schedule_is_kept_and_removed(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.answers = [HttpAnswer(200, b"{}"), HttpAnswer(200, golden("show_schedule")), HttpAnswer(200, b"{}")]
    words = ("--cron", "30 2 * * *", "--zone", "Europe/Berlin", "--template", "dump", "-p", "database=orders")
    assert cluster.run("schedule", "a/b", *words, "--missed", "skip", "--disabled") == EXIT_DONE
    assert cluster.run("unschedule", "a/b") == EXIT_DONE
    assert [asked[:2] for asked in cluster.asked] == [
        ("PUT", "/task-schedules/a%2Fb"), ("GET", "/task-schedules/a%2Fb"), ("DELETE", "/task-schedules/a%2Fb")]
    assert cluster.bodies[0] == {
        "cron": "30 2 * * *", "zone": "Europe/Berlin", "missed": "skip", "enabled": False,
        "task": {"template": "dump", "parameters": {"database": "orders"}}}  # fmt: skip
    assert "comes next at 2026-" in capsys.readouterr().out
    for wrong in (("--cron", "* * * * *"), ("--template", "dump"), ("--file", "-", "--zone", "UTC")):
        assert cluster.run("schedule", "s", *wrong) == EXIT_USAGE


def shown(**changed: object) -> HttpAnswer:
    return HttpAnswer(200, golden("show_task", **changed))


def nothing_yet(fence: int = 0) -> HttpAnswer:
    return piece(b"", 0, over=False, fence=fence)


GONE = task.Unknown("this node has no output of task 17", "no-output")
AWAY = task.Away("node 2, which has the output, does not answer", "output-away")


@pytest.mark.parametrize(("answers", "said"), [
    ([nothing_yet(), shown(began_at=None, state="waiting", why="node 1 has not the label gpu", attempts=0)],
     "task 17 has not begun: waiting, node 1 has not the label gpu"),
    ([nothing_yet(60), shown(began_at=None, state="assigned", why="", attempts=2)],
     "attempt 2 at task 17 has not begun: assigned"),
    ([GONE, shown(began_at=None, state="cancelled", reason="anna cancelled it", attempts=0)],
     "task 17 never began: cancelled, anna cancelled it"),
    ([GONE, shown(began_at=None, state="failed", reason="it could not be begun: /x: no such file", attempts=1)],
     "task 17 never began: failed, it could not be begun: /x: no such file"),
    ([GONE, task.Away("no leader"), shown(began_at=None, state="lost", reason="its node died", attempts=1)],
     "task 17 is not known to have begun: lost, its node died"),
    ([GONE, shown(state="failed")], "this node has no output of task 17"),
    ([AWAY], "node 2, which has the output, does not answer"),
    ([task.Unknown("there is no task 17", "no-such-task")], "there is no task 17"),
])  # fmt: skip
def test_where_there_is_no_output_it_is_said_why(
    answers: list[HttpAnswer | Exception], said: str, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.answers = answers
    assert cluster.run("output", "17") == EXIT_TROUBLE
    assert capsys.readouterr() == ("", f"{said}\n")
    assert cluster.answers == []


def test_a_program_that_said_nothing_has_an_output(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.answers = [piece(b"", 0, over=True), shown(state="succeeded")]
    assert cluster.run("output", "17") == EXIT_DONE
    assert capsys.readouterr() == ("", "")


def test_who_follows_a_task_that_waits_is_told_for_what(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    waits = shown(began_at=None, state="waiting", why="its turn has not come", attempts=0)
    cluster.answers = [
        nothing_yet(), waits, nothing_yet(), waits,
        nothing_yet(), shown(began_at=None, state="waiting", why="nodes 1, 2 are drained", attempts=0),
        piece(b"here\n", 0, over=False), piece(b"", 5, over=True), shown(state="succeeded"),
    ]  # fmt: skip
    assert cluster.run("output", "-f", "17") == EXIT_DONE
    said = capsys.readouterr()
    assert said.out == "here\n"
    assert said.err == ("task 17 has not begun: waiting, its turn has not come; waiting for it\n"
                        "task 17 has not begun: waiting, nodes 1, 2 are drained; waiting for it\n")  # fmt: skip
    # Told at once, and only then is more waited for.
    assert [query["wait"] for _, path, query in cluster.asked if path.endswith("/output")] == [0, 20, 20, 20, 20]


@pytest.mark.parametrize("last", [GONE, piece(b"", 0, over=True, fence=0)], ids=["now", "older-node"])
def test_who_follows_a_task_that_never_begins_is_told_so(
    last: HttpAnswer | Exception, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.answers = [last, shown(began_at=None, state="expired", reason="it was not begun in time", attempts=0)]
    assert cluster.run("output", "-f", "17") == EXIT_ENDED_ILL
    assert capsys.readouterr() == ("", "task 17 never began: expired, it was not begun in time\n")


def test_the_node_of_a_task_that_is_not_over_is_waited_for(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.answers = [
        piece(b"a\n", 0, over=False), AWAY, shown(state="running"), AWAY, shown(state="running"),
        task.ClientError("no answer"), piece(b"", 2, over=False, fence=60), piece(b"b\n", 0, over=False, fence=60),
        piece(b"", 2, over=False, fence=60), shown(state="failed"), piece(b"", 2, over=False, fence=60),
        shown(state="failed"),
    ]  # fmt: skip
    assert cluster.run("output", "-f", "17") == EXIT_ENDED_ILL
    said = capsys.readouterr()
    assert said.out == "a\nb\n"
    assert said.err == ("node 2, which has the output, does not answer\nwaiting for it\nno answer\nwaiting for it\n"
                        "another attempt at task 17 was begun; what follows is what that one says\n")  # fmt: skip


@pytest.mark.parametrize("fault", [GONE, AWAY], ids=["gone", "away"])
def test_output_of_a_task_that_is_over_is_not_waited_for(
    fault: Exception, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.answers = [fault, shown(state="succeeded")]
    assert cluster.run("output", "-f", "17") == EXIT_TROUBLE
    assert capsys.readouterr() == ("", f"{fault}\n")


def test_a_task_of_which_this_node_has_not_heard_yet_is_waited_for(cluster: Cluster) -> None:
    cluster.answers = [
        task.Unknown("there is no task 17", "no-such-task"), shown(state="running"), piece(b"", 0, over=True),
        shown(state="succeeded"),
    ]  # fmt: skip
    assert cluster.run("output", "-f", "17") == EXIT_DONE
    cluster.answers = [task.Unknown("there is no task 17", "no-such-task")] * 3
    assert cluster.run("output", "-f", "17") == EXIT_TROUBLE


def test_what_waiting_does_not_mend_is_not_waited_for(cluster: Cluster) -> None:
    cluster.answers = [task.Unanswered("a wrong token", "wrong-token")]
    assert cluster.run("output", "-f", "17") == EXIT_TROUBLE


def test_patience_has_an_end(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(task, "PATIENCE", -1.0)
    cluster.answers = [task.ClientError("no answer")]
    assert cluster.run("output", "-f", "17") == EXIT_TROUBLE
    assert capsys.readouterr() == ("", "no answer\n")


def test_tables(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    for words, name in (
        (["list", "--state", "running"], "list_tasks"), (["show", "17"], "show_task"),
        (["templates"], "list_templates"),
        (["schedules"], "list_schedules"), (["summary"], "summarize_tasks"),
    ):  # fmt: skip
        cluster.answers = [HttpAnswer(200, golden(name))]
        assert cluster.run(*words) == EXIT_DONE
    said = capsys.readouterr()
    assert "17    nightly  running  2     2       anna  2026-09-21T14:13:20Z" in said.out
    assert "2026-09-21T14:13:23.250Z  running    2" in said.out
    assert "pg_dump: error: connection to server lost" in said.out
    assert "nightly   30 2 * * *  Europe/Berlin  2026-09-22T00:30:00.000Z" in said.out
    assert "1     leader   0/4    0      drained" in said.out
    assert said.err == "… and older ones: --before 17\n"


def test_cancel_and_drain(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.answers = [HttpAnswer(200, golden("cancel_task")), HttpAnswer(200, golden("drain_node")),
                       HttpAnswer(200, golden("undrain_node"))]  # fmt: skip
    assert cluster.run("cancel", "17", "--reason", "a mistake") == EXIT_DONE
    assert cluster.run("drain", "2", "--patience", "10m") == EXIT_DONE
    assert cluster.run("drain", "2", "--end") == EXIT_DONE
    assert [asked[:2] for asked in cluster.asked] == [
        ("DELETE", "/tasks/17"), ("POST", "/nodes/2/drain"), ("DELETE", "/nodes/2/drain")]  # fmt: skip
    assert cluster.asked[0][2]["reason"] == "a mistake" and cluster.asked[1][2]["patience"] == "10m"
    assert capsys.readouterr().out == (
        "task 17 is being cancelled\nnode 2 gets no new tasks\nnode 2 gets tasks again\n")  # fmt: skip
