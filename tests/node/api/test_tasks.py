"""Tasks as requests write them: what is accepted, what is said of the rest, and the way back."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from api.test_golden import request
from qluster import clients
from qluster.api import openapi
from qluster.api.access import Rights
from qluster.api.fields import Faults
from qluster.api.operations import OPERATIONS
from qluster.api.routes import TASKS_SIZE_MAX, Reply, decide
from qluster.api.tasks import read_schedule, read_tasks, read_template, written
from qluster.status import Status
from qluster.taking import BATCH_MAX
from qluster.tasks.asking import FromTemplate
from qluster.tasks.bodies import Submission
from qluster.tasks.spec import Command, Limits, Need, Retry, Script, Spec, Sql, Target

TRUE = {"command": ["/bin/true"]}
DESCRIPTION = json.loads(openapi.document())


def no_status() -> Status:
    raise AssertionError("nothing is shown")


def told(faults: Faults) -> dict[str, str]:
    return {each.field: each.message for each in faults}


def wrong(document: object) -> dict[str, str]:
    """What is said of it; the description refuses it as well, unless only a human knows better."""
    read, faults = read_tasks(document)
    assert faults and read == ()
    return told(faults)


def described(document: object) -> None:
    """It fits the description."""
    schema = DESCRIPTION["paths"]["/tasks"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    whole = {**schema, "components": DESCRIPTION["components"]}
    jsonschema.Draft202012Validator(whole).validate(document)


def one(document: dict[str, Any]) -> Submission | FromTemplate:
    described(document)
    read, faults = read_tasks(document)
    assert faults == []
    assert len(read) == 1
    return read[0]


def test_the_least() -> None:
    assert one(TRUE) == Submission(Spec(Command(("/bin/true",))))


ALL = {
    "command": ["/bin/dump", "-x", "a\nb"], "environment": {"B": "2", "A": "1"}, "directory": "/srv", "user": "anna",
    "name": "Дамп", "key": "k-1", "start": "2030-01-31T05:30:00+03:00", "expires": "2030-01-31T03:30:00Z",
    "needs": [-1, {"task": 4, "on": "any"}], "priority": 9, "slots": 2, "resources": {"io": 3}, "time_limit": "1h30m",
    "target": {"role": "replica", "nodes": [2, 3], "where": "disk=ssd, !slow", "least_lag": True, "fail": True},
    "retry": {"attempts": 3, "delay": "5s", "factor": 1.5, "delay_max": 60}, "once": False, "overlap": True,
    "moved": "stay", "group": "dumps", "group_limit": 2,
    "limits": {"memory": 1 << 30, "cpu": 0.5, "processes": 64, "output": 1000},
}  # fmt: skip


def test_all_of_it() -> None:
    assert one(ALL) == Submission(Spec(
        Command(("/bin/dump", "-x", "a\nb"), (("A", "1"), ("B", "2")), "/srv", "anna"), "Дамп",
        target=Target("replica", (2, 3), "disk=ssd, !slow", True, fail=True), priority=9, slots=2,
        resources=(("io", 3),), time_limit=5400.0, start=1_896_057_000.0, expires=1_896_060_600.0,
        retry=Retry(3, 5.0, 1.5, 60.0), overlap=True, moved="stay", needs=(Need(-1), Need(4, "any")), group="dumps",
        group_limit=2, limits=Limits(1 << 30, 0.5, 64, 1000),
    ), "k-1")  # fmt: skip


@pytest.mark.parametrize("document", [
    TRUE, ALL, {"shell": "a | b", "environment": {"X": "y"}}, {"script": "print(1)\n", "arguments": ["a"]},
    {"sql": "select :'x'", "database": "orders", "role": "reader", "variables": {"x": "1"}, "target": {"each": True}},
], ids=lambda document: next(iter(document)))  # fmt: skip
def test_the_way_back(document: dict[str, Any]) -> None:
    first = one(document)
    assert isinstance(first, Submission)
    again = {**written(first.spec), **({"key": first.key} if first.key else {})}
    assert one(json.loads(json.dumps(again))) == first


def test_other_kinds_of_work() -> None:
    assert one({"shell": "a | b"}) == Submission(Spec(Command(("a | b",), shell=True)))
    assert one({"sql": "select 1"}) == Submission(Spec(Sql("select 1")))
    assert one({"script": "print(1)"}) == Submission(Spec(Script("print(1)")))
    filling = one({"template": "dump", "parameters": {"b": "2", "a": "1"}, "name": "n", "priority": 1, "needs": [7]})
    assert filling == FromTemplate("dump", (("a", "1"), ("b", "2")), "n", priority=1, needs=(Need(7),))


def test_a_batch() -> None:
    document = {"tasks": [TRUE, {"template": "t"}]}
    described(document)
    read, faults = read_tasks(document)
    assert (len(read), faults) == (2, [])
    assert wrong({"tasks": []}) == {"tasks": f"has 0 items; 1 to {BATCH_MAX} are possible"}
    assert wrong({"tasks": [TRUE] * (BATCH_MAX + 1)}) == {"tasks": "has 1001 items; 1 to 1000 are possible"}
    assert wrong({"tasks": [TRUE, {"commnad": ["/bin/true"]}], "check": True}) == {
        "tasks[1].command": "has to run nothing: use one of command, shell, sql, script, template",
        "tasks[1].commnad": "is not known; command is", "check": "is not known; known are tasks",
    }  # fmt: skip


def test_everything_that_is_wrong_is_found() -> None:
    found = wrong({
        "command": "/bin/true", "time_limit": "5 minutes", "start": "2030-01-31T05:30:00", "expires": "tomorrow",
        "priorty": 3, "slots": -1, "target": {"rol": "leader", "nodes": [0]}, "needs": [{"on": "success"}, "x"],
        "retry": {"attempts": 1.5}, "once": "yes", "environment": {"A B": "c"}, "group": None, "database": "x",
        "resources": {"io": True}, "key": "a b", "name": "a\nb",
    })  # fmt: skip
    assert found["command"] == "is text, not a list"
    assert "5 minutes" in found["time_limit"] and '"5m"' in found["time_limit"]
    assert "a date with its zone" in found["start"] and "a date with its zone" in found["expires"]
    assert found["priorty"] == "is not known; priority is"
    assert found["target.rol"] == "is not known; role is"
    assert found["group"] == "is null: leave it out"
    assert found["database"] == "does not go with command"
    assert found["needs[0].task"].startswith("is missing")
    assert set(found) == {
        "command", "time_limit", "start", "expires", "priorty", "slots", "target.rol", "target.nodes[0]",
        "needs[0].task", "needs[1]", "retry.attempts", "once", "environment", "database", "resources.io", "key", "name",
        "group",
    }  # fmt: skip


@pytest.mark.parametrize(("document", "field"), [
    ([TRUE], ""), (None, ""), ({}, "command"), ({**TRUE, "sql": "select 1"}, "sql"),
    ({**TRUE, "start": "2030-02-30T00:00:00Z"}, "start"), ({**TRUE, "start": 1_790_000_000}, "start"),
    ({**TRUE, "start": "1969-12-31T23:00:00Z"}, "start"), ({**TRUE, "time_limit": True}, "time_limit"),
    ({**TRUE, "time_limit": 1e300}, "time_limit"), ({**TRUE, "time_limit": "9" * 400}, "time_limit"),
    ({**TRUE, "time_limit": "90"}, "time_limit"), ({**TRUE, "time_limit": ""}, "time_limit"),
    ({**TRUE, "priority": 10}, "priority"), ({**TRUE, "priority": 2**70}, "priority"),
    ({**TRUE, "target": {"role": "boss"}}, "target.role"), ({"template": "t", "target": {"role": "leader"}}, "target"),
    ({"template": "a b"}, "template"), ({"template": "t", "parameters": {"A": "x"}}, "parameters"),
    ({"template": "t", "parameters": {"a": 1}}, "parameters.a"), ({"command": ["/bin/true", "\ud800"]}, "command[1]"),
    ({"command": ["/bin/\0"]}, "command[0]"), ({"command": []}, "command"), ({"sql": "x" * 40_000}, "sql"),
    ({**TRUE, "needs": list(range(1, 66))}, "needs"), ({**TRUE, "needs": [{"task": 1, "on": "failed"}]}, "needs[0].on"),
])  # fmt: skip
def test_one_thing_is_wrong(document: object, field: str) -> None:
    assert list(wrong(document)) == [field]


def test_a_template() -> None:
    document = {"task": {"command": ["/bin/dump", "{db}"]}, "parameters": {"db": {"pattern": "[a-z]+"}, "n": {
        "default": "1"}}, "about": "A dump"}  # fmt: skip
    template, faults = read_template(document, "dump")
    assert faults == [] and template is not None
    assert template.spec == Spec(Command(("/bin/dump", "{db}")), template="dump")
    assert template.parameters == (("db", None, "[a-z]+"), ("n", "1", ""))
    _, faults = read_template({"task": {"template": "other", "key": "k"}, "parameter": {}}, "dump")
    assert set(told(faults)) == {"task.command", "task.template", "task.key", "parameter"}


def test_a_schedule() -> None:
    document = {"cron": "30 2 * * *", "zone": "Europe/Berlin", "missed": "all", "task": TRUE}
    schedule, filling, faults = read_schedule(document, "anna")
    assert faults == [] and filling is None and schedule is not None
    assert (schedule.cron, schedule.zone) == ("30 2 * * *", "Europe/Berlin")
    assert (schedule.missed, schedule.by) == ("all", "anna")
    schedule, filling, _ = read_schedule({"cron": "* * * * *", "task": {"template": "dump"}}, "")
    assert filling == FromTemplate("dump")
    _, _, faults = read_schedule({"task": {**TRUE, "start": "2030-01-01T00:00:00Z"}, "missed": "some"}, "")
    assert set(told(faults)) == {"cron", "task.start", "missed"}


def asked(method: str, target: str, document: object = None, rights: Rights = Rights.OPERATE) -> Any:
    body = b"" if document is None else json.dumps(document).encode()
    sent = decide(request(method, target, body, rights), no_status, 7)
    if not isinstance(sent, Reply):
        return sent
    return sent.code, json.loads(sent.body)


def test_a_request_becomes_an_event() -> None:
    sent = asked("POST", "/tasks?by=anna&check=true", TRUE)
    assert isinstance(sent, clients.TaskRequested)
    assert (sent.what.by, sent.what.check, len(sent.what.tasks)) == ("anna", True, 1)
    sent = asked("GET", "/tasks?state=failed,lost&node=2&before=9&limit=5&consistency=leader")
    assert isinstance(sent, clients.TaskLooked)
    assert (sent.what.states, sent.what.node, sent.what.before, sent.what.limit) == (("failed", "lost"), 2, 9, 5)
    assert sent.consistency == "leader"
    sent = asked("POST", "/nodes/2/drain?patience=1m30s")
    assert (sent.what.node, sent.what.drained, sent.what.patience) == (2, True, 90.0)


@pytest.mark.parametrize("target", [
    "/tasks?state=done", "/tasks?state=", "/tasks?limit=0", "/tasks?limit=1001", "/tasks?before=x", "/tasks/0",
    "/tasks/x", "/tasks?status=failed",
])  # fmt: skip
def test_a_wrong_parameter_is_refused(target: str) -> None:
    code, document = asked("GET", target)
    assert (code, document["error"]) == (400, "bad-parameter")


def test_who_may_deploy() -> None:
    template = {"task": TRUE}
    assert asked("PUT", "/task-templates/a", template)[1]["error"] == "no-deploy-token"
    assert isinstance(asked("PUT", "/task-templates/a", template, Rights.DEPLOY), clients.TaskRequested)
    own, made = {"cron": "* * * * *", "task": TRUE}, {"cron": "* * * * *", "task": {"template": "a"}}
    assert asked("PUT", "/task-schedules/a", own)[1]["error"] == "no-deploy-token"
    assert isinstance(asked("PUT", "/task-schedules/a", made), clients.TaskRequested)
    assert isinstance(asked("PUT", "/task-schedules/a", own, Rights.DEPLOY), clients.TaskRequested)


def test_a_body_is_not_endless() -> None:
    code, document = asked("POST", "/tasks", {"sql": "x" * TASKS_SIZE_MAX})
    assert (code, document["error"]) == (413, "body-too-large")
    code, document = asked("POST", "/tasks", {"tasks": [{"command": 1}] * 1000})
    assert code == 422 and len(document["faults"]) == 100


def test_every_operation_of_tasks_can_be_too_much() -> None:
    bodies = [each for each in OPERATIONS if each.read is not None]
    assert all("body-too-large" in each.errors and "wrong-value" in each.errors for each in bodies)
    assert len(bodies) == 3
