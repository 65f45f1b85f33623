"""What the modules for tasks ask of a cluster, what they make of its answers, and when they ask nothing."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.qhb.qluster.plugins.module_utils import _output, _tasks
from ansible_collections.qhb.qluster.plugins.module_utils._client import Answer, Unanswered
from ansible_collections.qhb.qluster.plugins.module_utils._stored import settle
from ansible_collections.qhb.qluster.plugins.modules import (
    qluster_node_drain,
    qluster_task,
    qluster_task_info,
    qluster_task_schedule,
    qluster_task_template,
)
from msgspec.structs import asdict, fields
from qluster.tasks.life import FINAL
from qluster.tasks.spec import Command, Limits, Retry, Script, Spec, Sql, Target


class ModuleFailed(Exception):
    """The module ended with this message."""


URL = "https://192.0.2.1:8080"


class Cluster:
    """A cluster that takes tasks on, and keeps what is stored under names. Tasks end after ``looks`` looks."""

    def __init__(self, looks: int = 0, state: str = "succeeded") -> None:
        self.tasks: dict[int, dict[str, Any]] = {}
        self.stored: dict[str, Any] = {}
        self.drained: set[int] = set()
        self.running = {1: 0, 2: 2}
        self.looks, self.state = looks, state
        self.asked: list[tuple[str, str, Any]] = []

    def ask(self, method: str, path: str, params: Any = None, body: Any = None) -> Answer:
        if method != "GET" and (params or {}).get("check") != "true":
            self.asked.append((method, path, body if body is not None else params))
        return Answer(URL, 200, self._answer(method, path, params or {}, body))

    def _answer(self, method: str, path: str, params: Any, body: Any) -> Any:
        head, _, rest = path.strip("/").partition("/")
        if path == "/tasks":
            return self._submit(params, body) if method == "POST" else self._list(params)
        if path == "/tasks/summary":
            nodes = [{"node": node, "drained": node in self.drained, "running": count, "ready": True, "fault": ""}
                     for node, count in self.running.items()]
            self.running = {node: max(0, count - (node in self.drained)) for node, count in self.running.items()}
            return {"nodes": nodes}
        if head == "tasks":
            return self._cancel(int(rest)) if method == "DELETE" else self._show(int(rest))
        if head == "nodes":
            number = int(rest.split("/")[0])
            (self.drained.add if method == "POST" else self.drained.discard)(number)
            return {}
        if path == "/map":
            return {"nodes": [{"node": 1, "ip": "192.0.2.1"}, {"node": 2, "ip": "fd00::2"}]}
        if method == "GET":
            if path not in self.stored:
                raise Unanswered(URL, "there is none", 404, refused=True)
            return self.stored[path]
        self.stored.pop(path, None)
        if method == "PUT":
            self.stored[path] = body
        return {}

    def _submit(self, params: Any, body: Any) -> Any:
        tasks = body.get("tasks", [body])
        if params.get("check") == "true":
            return {"placements": [{"nodes": [2], "reasons": {"1": "is no replica"}} for _ in tasks], "tasks": []}
        numbers, known = [], []
        for task in tasks:
            same = [number for number, one in self.tasks.items() if task.get("key") and one["key"] == task["key"]]
            known += same
            numbers += same or [len(self.tasks) + 1]
            if not same:
                self.tasks[numbers[-1]] = {"task": numbers[-1], "state": "submitted", "key": task.get("key", ""),
                                           "cancelling": False, "looks": self.looks, "name": "", "reason": "",
                                           "node": None, "result": None}
        return {"tasks": numbers, "known": known, "repeated": False, "placements": None}

    def _list(self, params: Any) -> Any:
        found = [task for task in self.tasks.values() if params.get("key") in (None, task["key"])]
        found = [task for task in reversed(found) if task["task"] < params.get("before", 10**9)]
        page = found[: params["limit"]]
        return {"tasks": page, "next": page[-1]["task"] if len(found) > len(page) else None}

    def _show(self, number: int) -> Any:
        if number not in self.tasks:
            raise Unanswered(URL, "there is none", 404, refused=True)
        task = self.tasks[number]
        if task["looks"] <= 0 and task["state"] == "submitted":
            task.update(state=self.state, node=2, reason="" if self.state == "succeeded" else "it failed",
                        result={"code": 0 if self.state == "succeeded" else 3, "tail": "42 rows\n"})
        task["looks"] -= 1
        return dict(task)

    def _cancel(self, number: int) -> Any:
        self.tasks[number].update(state="cancelled", looks=0)
        return {"changed": True}


def given(**options: Any) -> dict[str, Any]:
    empty = {**dict.fromkeys(qluster_task.OPTIONS), "state": "present", "key": None, "task": None, "tasks": None,
             "reason": None, "by": "me", "accept": ["succeeded"], "wait": None}
    return {**empty, **options}


WAIT = {"timeout": 5, "delay": 0.1}


def test_task_is_submitted_waited_for_and_told_of() -> None:
    cluster = Cluster(looks=2)
    result, against = qluster_task.perform(cluster, given(command=["/bin/true", 7], time_limit="5m", wait=WAIT), False)
    assert cluster.asked == [("POST", "/tasks", {"command": ["/bin/true", "7"], "time_limit": 300.0})]
    assert not against and result["changed"] and result["state"] == "succeeded" and result["tail"] == "42 rows\n"


def test_same_key_submits_once_and_check_mode_never() -> None:
    cluster = Cluster()
    wanted = given(sql="select 1", key="once-a-day")
    checked, _ = qluster_task.perform(cluster, wanted, True)
    assert checked["changed"] and checked["placements"][0]["nodes"] == [2] and cluster.tasks == {}
    assert qluster_task.perform(cluster, wanted, False)[0]["changed"]
    again, _ = qluster_task.perform(cluster, wanted, False)
    assert not again["changed"] and again["task"] == 1 and len(cluster.tasks) == 1
    checked, _ = qluster_task.perform(cluster, wanted, True)
    assert not checked["changed"] and "placements" not in checked and checked["state"] == "succeeded"


def test_several_tasks_go_in_one_request() -> None:
    cluster = Cluster()
    tasks = [{"command": ["/bin/true"]}, {"command": ["/bin/true"], "needs": ["-1"], "target": {"nodes": ["2"]}}]
    result, against = qluster_task.perform(cluster, given(tasks=tasks, wait=WAIT), False)
    assert not against and [task["state"] for task in result["tasks"]] == ["succeeded", "succeeded"]
    [(_, _, body)] = cluster.asked
    assert body["tasks"][1] == {"command": ["/bin/true"], "needs": [-1], "target": {"nodes": [2]}}


def test_task_that_fails_fails_the_module_with_what_it_said() -> None:
    wanted = given(template="dump", wait=WAIT)
    result, against = qluster_task.perform(Cluster(state="failed"), wanted, False)
    assert against == "task 1 is failed on node 2: it failed\nIt said at last:\n42 rows" and result["changed"]
    assert not qluster_task.perform(Cluster(state="failed"), {**wanted, "accept": ["failed"]}, False)[1]


def test_task_that_is_not_over_in_time_is_told_with_its_state() -> None:
    wait = {"timeout": 0, "delay": 0.1}
    result, against = qluster_task.perform(Cluster(looks=99), given(shell="sleep 9", wait=wait), False)
    assert against.startswith("Not over after 0 s: task 1 is submitted") and result["state"] == "submitted"


def test_failover_while_it_waits_is_borne() -> None:
    cluster, fails = Cluster(looks=1), [True, True]

    def ask() -> Any:
        found = cluster._show(1)
        if fails and found["looks"] == 0:
            fails.pop()
            cluster.tasks[1]["looks"] = 1
            raise Unanswered(URL, "no leader is known", 530)
        return found

    cluster._submit({}, {"shell": "true"})
    cluster.tasks[1]["looks"] = 2
    found, done = _tasks.wait_for(ask, _tasks.over, 5, 0.1)
    assert done and found["state"] == "succeeded" and not fails


def test_task_is_cancelled_by_number_or_key_and_one_that_is_over_is_left() -> None:
    cluster = Cluster(looks=99)
    cluster._submit({}, {"shell": "true", "key": "k"})
    cancelling = given(state="cancelled", key="k", reason="wrong")
    assert qluster_task.perform(cluster, cancelling, True)[0]["changed"] and cluster.asked == []
    assert qluster_task.perform(cluster, cancelling, False)[0]["changed"]
    assert cluster.asked == [("DELETE", "/tasks/1", {"by": "me", "reason": "wrong"})]
    assert not qluster_task.perform(cluster, given(state="cancelled", task=1), False)[0]["changed"]
    nothing, _ = qluster_task.perform(cluster, given(state="cancelled", key="unknown"), False)
    assert nothing == {"changed": False, "tasks": []}
    with pytest.raises(_tasks.Refusal, match="There is no task 9"):
        qluster_task.perform(cluster, given(state="cancelled", task=9), False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "A task runs one of"), ({"shell": "a", "sql": "b"}, "given: shell, sql"),
        ({"task": 1, "shell": "a"}, "shell has no meaning"), ({"task": 1, "tasks": []}, "tasks has no meaning"),
        ({"state": "cancelled"}, "give the number"),
        ({"state": "cancelled", "task": 1, "shell": "a"}, "name the task by"),
    ],
)  # fmt: skip
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], message: str) -> None:
    class Module:
        params = given(**options)

        def fail_json(self, msg: str) -> None:
            raise ModuleFailed(msg)

    with pytest.raises(ModuleFailed, match=message):
        qluster_task.fit(Module())


def test_defaults_are_those_of_the_nodes() -> None:
    """They leave defaults out when they show a task, and the modules do when they compare."""
    assert set(_tasks.FINAL) == {state.name.lower() for state in FINAL}
    for struct, table in ((Target(), _tasks.TARGET), (Retry(), _tasks.RETRY), (Limits(), _tasks.LIMITS)):
        assert {name: list(value) if isinstance(value, tuple) else value
                for name, value in asdict(struct).items()} == table
    plain = {"name", "priority", "slots", "time_limit", "once", "overlap", "moved", "group", "group_limit"}
    found = {field.name: field.default for field in fields(Spec) if field.name in plain}
    for kind in (Command, Sql, Script):
        found |= {field.name: field.default for field in fields(kind)
                  if field.name in ("directory", "user", "database", "role")}
    assert {name: _tasks.TASK[name] for name in found} == found


@pytest.mark.parametrize(("text", "value"), [("90", 90.0), ("1h30m", 5400.0), ("500ms", 0.5), ("2 h", "2 h"), (7, 7)])
def test_spans_are_read_as_the_nodes_do(text: Any, value: Any) -> None:
    assert _tasks.seconds(text) == value


def template(**more: Any) -> dict[str, Any]:
    task = {"command": ["/opt/dump", "{database}"], "time_limit": "2h", "priority": 5,
            "target": {"role": "replica", "least_lag": False}, "retry": {"attempts": 2, "delay": "10s"}}
    return {"task": {**task, **more}, "parameters": {"database": {"pattern": "[a-z]+"}, "jobs": {"default": 2}},
            "about": "dumps"}


def as_shown(body: dict[str, Any]) -> dict[str, Any]:
    """As a node shows what it was sent: defaults left out, spans as seconds, all fields of a parameter."""
    parameters = {name: {"default": one.get("default"), "pattern": one.get("pattern", "")}
                  for name, one in body["parameters"].items()}
    return {"name": "dump", **body, "parameters": parameters, "task": _tasks.canonical(body["task"])}


def test_template_is_written_when_it_differs_in_meaning() -> None:
    cluster, path = Cluster(), "/task-templates/dump"
    simple = qluster_task_template.simple
    body = qluster_task_template.wanted(template())
    assert body["parameters"]["jobs"] == {"default": "2"}
    before, after, _ = settle(cluster, path, body, simple, True)
    assert before is None and after and cluster.asked == []
    settle(cluster, path, body, simple, False)
    assert cluster.asked == [("PUT", path, body)]
    cluster.stored[path] = as_shown(body)
    assert cluster.stored[path]["task"] == {
        "command": ["/opt/dump", "{database}"], "time_limit": 7200.0, "target": {"role": "replica"},
        "retry": {"attempts": 2}}
    before, after, there = settle(cluster, path, qluster_task_template.wanted(template()), simple, False)
    assert before == after and there["name"] == "dump" and len(cluster.asked) == 1
    other = qluster_task_template.wanted(template(time_limit=3600))
    before, after, _ = settle(cluster, path, other, simple, False)
    assert before["task"]["time_limit"] == 7200.0 and "time_limit" not in after["task"], json.dumps(after)
    assert settle(cluster, path, None, simple, False)[1:] == (None, None)
    assert cluster.asked[-1][:2] == ("DELETE", path) and settle(cluster, path, None, simple, False)[0] is None


def test_schedule_of_a_template_is_compared_with_how_the_nodes_show_it() -> None:
    cluster, path, simple = Cluster(), "/task-schedules/night", qluster_task_schedule.simple
    options = {"cron": "30 2 * * *", "zone": "Europe/Berlin", "missed": "one", "overlap": False, "enabled": True,
               "task": {"template": "dump", "parameters": {"database": "application", "jobs": 2}}}
    body = qluster_task_schedule.wanted(options)
    assert settle(cluster, path, body, simple, False)[0] is None
    cluster.stored[path] = {
        **body, "name": "night", "by": "", "template": "dump", "parameters": {"database": "application", "jobs": "2"},
        "task": {"command": []}, "last": None, "last_task": None, "skipped": "", "next": "2030-01-01T01:30:00.000Z"}
    before, after, _ = settle(cluster, path, qluster_task_schedule.wanted(options), simple, False)
    assert before == after and len(cluster.asked) == 1
    settle(cluster, path, qluster_task_schedule.wanted({**options, "enabled": False}), simple, False)
    assert len(cluster.asked) == 2
    plain = {**options, "task": {"command": ["/bin/true"]}}
    cluster.stored[path] = {**qluster_task_schedule.wanted(plain), "template": "", "parameters": {}}
    before, after, _ = settle(cluster, path, qluster_task_schedule.wanted(plain), simple, True)
    assert before == after


def test_node_is_drained_and_waited_for_by_its_address() -> None:
    cluster = Cluster()
    wanted = {"node": "fd00:0::2", "state": "present", "patience": "5m", "wait": WAIT, "by": "me"}
    assert qluster_node_drain.perform(cluster, wanted, True) == {
        "changed": True, "node": 2, "drained": True, "running": 2}
    assert cluster.asked == []
    assert qluster_node_drain.perform(cluster, wanted, False) == {
        "changed": True, "node": 2, "drained": True, "running": 0}
    assert cluster.asked == [("POST", "/nodes/2/drain", {"patience": "300000ms", "by": "me"})]
    assert not qluster_node_drain.perform(cluster, wanted, False)["changed"]
    back = {**wanted, "state": "absent"}
    assert qluster_node_drain.perform(cluster, back, False)["changed"] and cluster.drained == set()
    for node, message in (("192.0.2.9", "No node of the cluster has the address"), ("db1", "give its number"),
                          ("7", "has not heard that node 7 runs tasks")):
        with pytest.raises(_tasks.Refusal, match=message):
            qluster_node_drain.perform(cluster, {**wanted, "node": node}, False)


@pytest.mark.parametrize(("kept", "said", "size", "end"), [
    (b"0123456789", 10, 4, "6789"), (b"0123456789", 10, 99, "0123456789"), (b"0123456789", 1000, 4, "6789"),
    (b"0123456789", 0, 4, "6789"), (b"", 0, 4, ""), ("ж".encode(), 2, 1, "\ufffd")])  # fmt: skip
def test_end_of_output_is_read_also_where_not_all_was_kept(kept: bytes, said: int, size: int, end: str) -> None:
    """A task that runs has no count yet, and of one that said too much the beginning is kept."""
    class Node:
        def ask(self, _method: str, path: str, params: Any, raw: bool) -> Answer:
            assert path == "/tasks/7/output" and params["stream"] == "stderr" and raw
            return Answer(URL, 200, kept[params["offset"]: params["offset"] + 3])

    task = {"task": 7, "result": {"stderr_bytes": said} if said else None}
    assert _output.end_of(Node(), task, "stderr", size) == end


BEGUN = {"task": 7, "state": "failed", "reason": "exit code 3", "why": "", "began_at": "2026-09-21T14:13:23.250Z",
         "attempts": 1, "parts": [], "result": {"stdout_bytes": 5, "stderr_bytes": 0}}  # fmt: skip
UNBEGUN = {**BEGUN, "began_at": None, "result": None, "attempts": 0}


@pytest.mark.parametrize(("task", "answer", "stdout", "missing"), [
    (BEGUN, b"12345", "12345", ""),
    (BEGUN, b"", "", ""),
    (BEGUN, 404, "", "HTTP 404, it had to make room"),
    ({**UNBEGUN, "state": "waiting", "why": "its turn"}, b"", "", "Task 7 has not begun: waiting, its turn"),
    ({**UNBEGUN, "state": "expired", "reason": "too late"}, 404, "", "Task 7 never began: expired, too late"),
    ({**UNBEGUN, "state": "assigned", "attempts": 3}, b"", "", "Attempt 3 at task 7 has not begun: assigned"),
    ({**UNBEGUN, "state": "lost", "reason": "{odd}"}, 404, "", "Task 7 is not known to have begun: lost, {odd}"),
], ids=["said", "silent", "gone", "waits", "expired", "again", "lost"])  # fmt: skip
def test_output_that_is_not_there_is_said_to_be_missing(
    task: dict[str, Any], answer: bytes | int, stdout: str, missing: str
) -> None:
    class Node:
        def ask(self, _method: str, path: str, params: Any, raw: bool = False) -> Answer:
            if path == "/tasks/7":
                return Answer(URL, 200, task)
            if isinstance(answer, int):
                raise Unanswered(URL, "HTTP 404, it had to make room", answer, refused=True)
            return Answer(URL, 200, answer[params["offset"]:] if params["stream"] == "stdout" else b"")

    options = {"gather": ["output"], "task": 7, "output_size": 100, "consistency": "leader"}
    assert qluster_task_info.gather(Node(), options) == {"stdout": stdout, "stderr": "", "output_missing": missing}


def test_output_on_a_node_that_is_away_may_be_read_later() -> None:
    class Node:
        def ask(self, _method: str, path: str, params: Any, raw: bool = False) -> Answer:
            if path == "/tasks/7":
                return Answer(URL, 200, BEGUN)
            raise Unanswered(URL, "HTTP 531, node 2 does not answer", 531)

    with pytest.raises(Unanswered, match="node 2 does not answer"):
        qluster_task_info.gather(Node(), {"gather": ["output"], "task": 7, "output_size": 9, "consistency": "local"})


def test_list_is_read_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster()
    for _ in range(7):
        cluster._submit({}, {"shell": "true"})
    monkeypatch.setattr(qluster_task_info, "PAGE", 3)
    options = {**dict.fromkeys(qluster_task_info.FILTERS), "task": None, "state": [], "limit": 5, "gather": ["tasks"],
               "consistency": "leader"}
    found = qluster_task_info.gather(cluster, options)
    assert [task["task"] for task in found["tasks"]] == [7, 6, 5, 4, 3]
    options = {**options, "task": 2, "gather": ["tasks", "summary"]}
    found = qluster_task_info.gather(cluster, options)
    assert found["tasks"][0]["task"] == 2 and len(found["summary"]["nodes"]) == 2
