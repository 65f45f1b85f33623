"""One answer per route and per error word, kept in tests/golden/api for everybody who reads answers.

``REWRITE_GOLDEN=1 pytest tests/node/api/test_golden.py`` writes them anew; read the difference.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from api import sample_status as sample
from msgspec.structs import replace
from qluster import clients
from qluster.api.access import Rights
from qluster.api.errors import ERRORS
from qluster.api.operations import OPERATIONS
from qluster.api.routes import Reply, Request, decide, error, reply
from qluster.tasks.bodies import Result, Schedule, Submission, Template
from qluster.tasks.kept import Fired
from qluster.tasks.spec import Command, Need, Retry, Spec, Target

GOLDEN = Path(__file__).parents[2] / "golden" / "api"
REWRITE = os.environ.get("REWRITE_GOLDEN") == "1"
JSON_BODY = {"content-type": "application/json"}


def request(method: str, target: str, body: bytes = b"", rights: Rights = Rights.OPERATE) -> Request:
    path, _, query = target.partition("?")
    pairs = tuple(tuple(each.split("=", 1)) for each in query.split("&") if each)
    return Request(method, path, pairs, JSON_BODY if body else {}, body, rights)


def answered(request: Request, status, outcome=None) -> Reply:
    decided = decide(request, lambda: status, 1)
    if outcome is None:
        assert isinstance(decided, Reply)
        return decided
    assert not isinstance(decided, Reply)
    return reply(request, outcome, lambda: status)


DONE = clients.Done(43)
KEYS = clients.Done(43, {"keys": [{"key": "a.b", "index": 41, "size": 3}], "more": False})
PHASES = ("checkpoint", "pause", "stop", "proof", "commit", "transfer", "promote", "resume")
SWITCHED = clients.Done(0, {
    "leader": 2, "changed": True, "reign": 4, "write_gap_ms": 246,
    "phases_ms": dict(zip(PHASES, (31, 24, 104, 0, 4, 12, 90, 24), strict=True)),
})  # fmt: skip
FAILOVER = clients.Done(43, {
    "reign": 3, "primary": 1, "serves": True, "synchronous": "quorum", "maximum_lag": 16777216,
    "nodes": [
        {"node": 1, "able": False, "reason": "it is the primary", "timeline": None, "position": None},
        {"node": 2, "able": True, "reason": "", "timeline": 2, "position": 83886080},
        {"node": 3, "able": False, "reason": "it is not heard", "timeline": None, "position": None},
    ],
    "successor": 2, "by_itself": False, "reason": "nobody is known to have all that was acknowledged: only node 1 has "
    "all that it acknowledged in reign 3, or 2 of nodes 2, 3 together, of which 1 can take over",
    "known_loss_bytes": 0, "worst_loss_bytes": 16777216,
})
FORCED = clients.Done(43, {"successor": 2, "known_loss_bytes": 0, "worst_loss_bytes": 16777216})
FENCED = clients.Done(45, {"node": 1, "ordered": True})
QUORUM_FORCED = clients.Done(0, {
    "begun": True, "node": 3, "founding": 1_790_000_000, "against": [], "counts_on": [4],
    "gives_up": [
        {"node": 1, "ip": "10.0.0.1", "fenced": False, "heard_ago": 81.25},
        {"node": 2, "ip": "10.0.0.2", "fenced": True, "heard_ago": None},
    ],
    "seconds": 30.0,
})  # fmt: skip
PAUSED = clients.Done(43, {"paused": True, "changed": True})
RESUMED = clients.Done(44, {"paused": False, "changed": True, "waits_for": None})
TASK = {
    "task": 17, "name": "nightly", "template": "dump", "state": "running", "reason": "", "node": 2, "by": "anna",
    "submitted_at": 1_790_000_000.0, "changed_at": 1_790_000_003.25, "attempts": 2, "priority": 5, "cancelling": False,
    "code": 1,
}
SPEC = Spec(
    Command(("/usr/local/bin/dump", "orders"), (("LC_ALL", "C"),)), "nightly", "dump",
    Target("replica", least_lag=True),
    time_limit=7200.0, expires=1_790_086_400.0, retry=Retry(2), needs=(Need(16, "any"),), resources=(("io", 2),),
)  # fmt: skip
TASK_SHOWN = clients.Done(57, {"task": {
    **TASK, "key": "dump-2026-09-21", "spec": SPEC, "fence": 52, "began_at": 1_790_000_003.25, "not_before": None,
    "trail": [
        {"state": "submitted", "at": 1_790_000_000.0, "node": None, "reason": ""},
        {"state": "assigned", "at": 1_790_000_003.0, "node": 2, "reason": ""},
        {"state": "running", "at": 1_790_000_003.25, "node": 2, "reason": ""},
    ],
    "waits_for": [], "parts": [], "whole": None, "schedule": "nightly", "failures": 1, "why": "",
    "result": Result(1, 0, 3.5, 31_457_280, 61.25, (120, 44), "pg_dump: error: connection to server lost"),
}})  # fmt: skip
TEMPLATE = Template(replace(SPEC, expires=0.0, needs=()), (("database", None, "[a-z]+"),), "A dump of one database")
SCHEDULE = Schedule("30 2 * * *", Submission(replace(SPEC, expires=0.0, needs=())), "Europe/Berlin", by="anna",
                    template="dump", parameters=(("database", "orders"),))  # fmt: skip
FIRED = (Fired(SCHEDULE, 1_789_950_600.0, 17), 1_790_037_000.0, "")
NODES = [
    {"node": 1, "running": 0, "drained": True, "ready": True, "fault": "", "role": "leader", "slots": 4, "used": 0,
     "resources": {"io": 4}, "taken": {}, "labels": {"disk": "ssd", "node": "1", "ip": "10.0.0.1"}},
    {"node": 2, "running": 1, "drained": False, "ready": True, "fault": "", "role": "replica", "slots": 4, "used": 1,
     "resources": {"io": 4}, "taken": {"io": 2}, "labels": {"disk": "hdd", "node": "2", "ip": "10.0.0.2"}},
    {"node": 3, "running": 0, "drained": False, "ready": False, "fault": "it has not said that it runs tasks",
     "role": None, "slots": None, "used": 0, "resources": {}, "taken": {}, "labels": {}},
]  # fmt: skip
SUMMARY = clients.Done(57, {
    "states": {"waiting": 2, "running": 1}, "ended": {"succeeded": 40, "failed": 1}, "history": 41, "refused": 0,
    "templates": 1, "schedules": 1, "nodes": NODES, "fault": "",
})  # fmt: skip
SUBMIT = request("POST", "/tasks?by=anna", b'{"command": ["/usr/local/bin/dump", "orders"], "key": "dump-1"}')
PUT_TEMPLATE = request(
    "PUT", "/task-templates/dump",
    b'{"task": {"command": ["/usr/local/bin/dump", "{database}"]}, "parameters": {"database": {"pattern": "[a-z]+"}}}',
    Rights.DEPLOY,
)  # fmt: skip
PUT_SCHEDULE = request(
    "PUT", "/task-schedules/nightly",
    b'{"cron": "30 2 * * *", "zone": "Europe/Berlin", "task": {"template": "dump", "parameters": {"database": "a"}}}',
)
CHANGE = b'{"cluster.node-timeout": "20s"}'
ROUTES = {
    "is_leader": (request("GET", "/is-leader"), sample.healthy(), None),
    "is_replica": (request("GET", "/is-replica?max-lag=1kB"), sample.healthy(3), None),
    "is_synchronous": (request("GET", "/is-synchronous"), sample.healthy(2), None),
    "is_readable": (request("GET", "/is-readable"), sample.healthy(), None),
    "is_standby_leader": (request("GET", "/is-standby-leader"), sample.standby_cluster(), None),
    "liveness": (request("GET", "/liveness"), sample.healthy(), None),
    "readiness": (request("GET", "/readiness?max-lag=1m"), sample.healthy(3), None),
    "health": (request("GET", "/health"), sample.healthy(), None),
    "status": (request("GET", "/status"), sample.healthy(), None),
    "map": (request("GET", "/map"), sample.healthy(), None),
    "info": (request("GET", "/info"), sample.healthy(), None),
    "quorum": (request("GET", "/quorum"), sample.healthy(), None),
    "replication": (request("GET", "/replication"), sample.healthy(), None),
    "backups": (request("GET", "/backups"), sample.backed_up(), None),
    "config": (request("GET", "/config"), sample.healthy(), None),
    "change_config": (request("POST", "/config", CHANGE), sample.healthy(), DONE),
    "db_config": (request("GET", "/db-config"), sample.healthy(), None),
    "change_db_config": (
        request("POST", "/db-config?restart=rolling&cas=40&by=anna", b'{"work_mem": null, "max_connections": 200}'),
        sample.healthy(),
        clients.Done(43, {"changed": {"max_connections": "200"}, "needs_restart": ["max_connections"]}),
    ),
    "restart_databases": (request("POST", "/db-restart?only=all&primary=in-place"), sample.healthy(), DONE),
    "cancel_restart": (request("DELETE", "/db-restart?by=anna"), sample.healthy(), DONE),
    "leader": (request("GET", "/leader"), sample.healthy(), None),
    "change_leader": (request("POST", "/leader?node=2"), sample.healthy(), SWITCHED),
    "cancel_switchover": (request("DELETE", "/leader"), sample.healthy(), clients.Done(43, {"changed": True})),
    "failover": (request("GET", "/failover"), sample.healthy(), FAILOVER),
    "force_failover": (request("POST", "/failover?reign=3&accept=data-loss"), sample.healthy(), FORCED),
    "fence": (request("POST", "/fence?node=1&ip=10.0.0.1"), sample.healthy(), FENCED),
    "force_quorum": (
        request("POST", "/force-quorum?name=qluster&confirm-off=10.0.0.1,10.0.0.2"), sample.leaderless(), QUORUM_FORCED
    ),
    "pause": (request("POST", "/pause?reason=a new switch"), sample.healthy(), PAUSED),
    "resume": (request("POST", "/resume?abandon=2"), sample.healthy(), RESUMED),
    "add_node": (request("POST", "/node?ip=10.0.0.5&role=node"), sample.healthy(), DONE),
    "promote_node": (request("PATCH", "/node/4?db-port=5432"), sample.healthy(), DONE),
    "remove_node": (request("DELETE", "/node/3"), sample.healthy(), DONE),
    "node_down": (request("POST", "/node-down/3"), sample.healthy(), DONE),
    "node_well": (request("DELETE", "/node-down/3"), sample.healthy(), DONE),
    "list_keys": (request("GET", "/kv?prefix=a"), sample.healthy(), KEYS),
    "write_key": (request("PUT", "/kv/a?cas=0", b"1"), sample.healthy(), DONE),
    "remove_key": (request("DELETE", "/kv/a"), sample.healthy(), DONE),
    "submit_tasks": (SUBMIT, sample.healthy(), clients.Done(57, {"tasks": [17], "known": []})),
    "list_tasks": (request("GET", "/tasks?state=running,waiting&limit=1"), sample.healthy(), clients.Done(
        57, {"tasks": [TASK], "next": 17})),
    "summarize_tasks": (request("GET", "/tasks/summary"), sample.healthy(), SUMMARY),
    "show_task": (request("GET", "/tasks/17"), sample.healthy(), TASK_SHOWN),
    "cancel_task": (request("DELETE", "/tasks/17?reason=a mistake"), sample.healthy(), clients.Done(
        58, {"task": 17, "state": "running", "cancelling": True, "changed": True})),
    "list_templates": (request("GET", "/task-templates"), sample.healthy(), clients.Done(
        57, {"templates": {"dump": TEMPLATE}})),
    "show_template": (request("GET", "/task-templates/dump"), sample.healthy(), clients.Done(
        57, {"templates": {"dump": TEMPLATE}})),
    "write_template": (PUT_TEMPLATE, sample.healthy(), DONE),
    "remove_template": (request("DELETE", "/task-templates/dump", rights=Rights.DEPLOY), sample.healthy(), DONE),
    "list_schedules": (request("GET", "/task-schedules"), sample.healthy(), clients.Done(
        57, {"schedules": {"nightly": FIRED}})),
    "show_schedule": (request("GET", "/task-schedules/nightly"), sample.healthy(), clients.Done(
        57, {"schedules": {"nightly": FIRED}})),
    "write_schedule": (PUT_SCHEDULE, sample.healthy(), DONE),
    "remove_schedule": (request("DELETE", "/task-schedules/nightly"), sample.healthy(), DONE),
    "drain_node": (request("POST", "/nodes/2/drain?patience=10m&by=anna"), sample.healthy(), DONE),
    "undrain_node": (request("DELETE", "/nodes/2/drain"), sample.healthy(), DONE),
}
"""By the operation's name; /openapi.json has a test of its own, the others missing here are no JSON."""

SEEN_FROM_ELSEWHERE = {
    "status_follower": (request("GET", "/status"), sample.healthy(2), None),
    "status_listener": (request("GET", "/status"), sample.healthy(4), None),
    "status_arbiter": (request("GET", "/status"), sample.with_arbiter(), None),
    "status_tasks": (request("GET", "/status"), sample.with_tasks(), None),
    "status_paused": (request("GET", "/status"), sample.paused(), None),
    "status_forced": (request("GET", "/status"), sample.forced(), None),
    "status_pair": (request("GET", "/status"), sample.pair(), None),
    "quorum_forced": (request("GET", "/quorum"), sample.forced(), None),
    "quorum_pair": (request("GET", "/quorum"), sample.pair(), None),
    "status_standby": (request("GET", "/status"), sample.standby_cluster(), None),
    "replication_standby": (request("GET", "/replication"), sample.standby_cluster(2), None),
    "status_leaderless": (request("GET", "/status"), sample.leaderless(), None),
    "status_unjoined": (request("GET", "/status"), sample.unjoined(), None),
    "submit_tasks_repeated": (SUBMIT, sample.healthy(), clients.Done(57, {"repeated": True, "tasks": [17]})),
    "submit_tasks_check": (request("POST", "/tasks?check=true", SUBMIT.body), sample.healthy(), clients.Done(
        0, {"checked": [{"nodes": [2], "reasons": {1: "is drained", 2: "", 3: "has 2 slots, 3 are needed"}}]})),
}

READ_ONLY = request("DELETE", "/node/3", rights=Rights.READ)
NO_TOKEN = request("GET", "/map", rights=Rights.NONE)
WRONG_TOKEN = request("GET", "/map", rights=Rights.UNKNOWN)
ADD = request("POST", "/node?ip=10.0.0.5&role=node")
REMOVE_UNKNOWN = request("DELETE", "/node/9")
WRONG_SETTING = request("POST", "/config", b'{"cluster": {"node-timeout": "20s"}}')
FORM = Request(
    "POST", "/config", (), {"content-type": "application/x-www-form-urlencoded"}, b"a=1", Rights.OPERATE
)
BUSY = clients.Busy("an election is going on")
UNKNOWN_NODE = clients.Refused("node", "there is no node 9", "no-such-node")
NO_KEY = clients.Refused("key", "there is no key a", "no-such-key")
TAKEN_KEY = clients.Refused("key", "task 17 has the key dump-1 and runs something else, or elsewhere or otherwise",
                            "task-key-taken")  # fmt: skip
OTHER_KEY = clients.Refused("Idempotency-Key", "entry 41 carried the key k-1", "key-reused")
NO_TASK = clients.Refused("task", "there is no task 9, or it is forgotten", "no-such-task")
NO_TEMPLATE = clients.Refused("name", "there is no template dump", "no-such-template")
NO_SCHEDULE = clients.Refused("name", "there is no schedule nightly", "no-such-schedule")
LARGE = clients.Refused("", "70123 bytes, max-log-size is 64000", "too-large-for-log")
CROWDED = clients.Refused("", "20000 tasks are not over, at most 20000 are possible: wait, or cancel some",
                          "too-many-tasks")  # fmt: skip
LAST_VOTER = clients.Refused("node", "node 3 is the last voter")

ERRORS_BY_STATUS = {
    "bad-parameter": (request("GET", "/map?consistency=eventual&x=1"), sample.healthy(), None),
    "bad-body": (request("POST", "/config", b"{"), sample.healthy(), None),
    "no-token": (NO_TOKEN, sample.healthy(), None),
    "wrong-token": (WRONG_TOKEN, sample.healthy(), None),
    "read-only-token": (READ_ONLY, sample.healthy(), None),
    "no-deploy-token": (request("DELETE", "/task-templates/dump"), sample.healthy(), None),
    "no-such-task": (request("GET", "/tasks/9"), sample.healthy(), NO_TASK),
    "no-such-template": (request("GET", "/task-templates/dump"), sample.healthy(), NO_TEMPLATE),
    "no-such-schedule": (request("GET", "/task-schedules/nightly"), sample.healthy(), NO_SCHEDULE),
    "too-large-for-log": (SUBMIT, sample.healthy(), LARGE),
    "too-many-tasks": (SUBMIT, sample.healthy(), CROWDED),
    "no-such-path": (request("GET", "/nodes"), sample.healthy(), None),
    "no-such-node": (REMOVE_UNKNOWN, sample.healthy(), UNKNOWN_NODE),
    "no-such-key": (request("GET", "/kv/a"), sample.healthy(), NO_KEY),
    "no-such-method": (request("PUT", "/map"), sample.healthy(), None),
    "refused": (request("DELETE", "/node/3"), sample.healthy(), LAST_VOTER),
    "superseded": (ADD, sample.healthy(), clients.Superseded()),
    "not-joined": (request("GET", "/map"), sample.unjoined(), None),
    "body-too-large": (request("POST", "/config", b" " * 65537), sample.healthy(), None),
    "wrong-content-type": (FORM, sample.healthy(), None),
    "not-leader": (request("GET", "/is-leader"), sample.healthy(2), None),
    "not-replica": (request("GET", "/is-replica"), sample.healthy(), None),
    "unconfirmed": (ADD, sample.healthy(), clients.Unconfirmed()),
    "wrong-value": (WRONG_SETTING, sample.healthy(), None),
    "key-reused": (ADD, sample.healthy(), OTHER_KEY),
    "task-key-taken": (SUBMIT, sample.healthy(), TAKEN_KEY),
    "no-leader": (request("GET", "/leader"), sample.leaderless(), None),
    "busy": (ADD, sample.healthy(), BUSY),
    "standby-cluster": (request("GET", "/is-leader"), sample.standby_cluster(), None),
    "unfit": (request("GET", "/is-replica?max-lag=200"), sample.healthy(3), None),
}

ERRORS_OF_THE_EDGE = {
    "body-too-slow": error(request("POST", "/config"), "body-too-slow", limit=10),
    "no-output": error(request("GET", "/tasks/17/output"), "no-output", reason="task 17 runs in parts: see tasks 18"),
    "output-away": error(request("GET", "/tasks/17/output"), "output-away",
                         reason="node 2, which has the output, does not answer: no route"),
    "no-snapshot": error(request("GET", "/snapshot?index=99"), "no-snapshot", index=99),
    "no-such-range": error(request("GET", "/snapshot"), "no-such-range", found="bytes=900-", size=800),
    "fault": error(request("GET", "/map"), "fault"),
}


def held_against_golden(name: str, body: bytes) -> None:
    text = json.dumps(json.loads(body), indent=2, ensure_ascii=False) + "\n"
    path = GOLDEN / f"{name}.json"
    if REWRITE:
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("name", [*ROUTES, *SEEN_FROM_ELSEWHERE])
def test_answer_is_the_golden_one(name: str) -> None:
    sent = answered(*{**ROUTES, **SEEN_FROM_ELSEWHERE}[name])
    assert sent.code == 200
    assert sent.headers["Content-Type"] == "application/json"
    held_against_golden(name, sent.body)


@pytest.mark.parametrize("word", ERRORS_BY_STATUS)
def test_error_is_the_golden_one(word: str) -> None:
    sent = answered(*ERRORS_BY_STATUS[word])
    assert sent.code == ERRORS[word].code
    assert json.loads(sent.body)["error"] == word
    held_against_golden(f"error_{word}", sent.body)


@pytest.mark.parametrize("word", ERRORS_OF_THE_EDGE)
def test_error_of_the_edge_is_the_golden_one(word: str) -> None:
    sent = ERRORS_OF_THE_EDGE[word]
    assert sent.code == ERRORS[word].code
    held_against_golden(f"error_{word}", sent.body)


def test_every_route_and_every_word_has_a_golden_answer() -> None:
    no_json = {"read_key", "snapshot", "task_output", "metrics", "openapi", "swagger"}
    assert {each.name for each in OPERATIONS if not each.alias} - no_json == set(ROUTES)
    assert {*ERRORS_BY_STATUS, *ERRORS_OF_THE_EDGE} == set(ERRORS)
    words = {f"error_{word}" for word in ERRORS}
    assert {path.stem for path in GOLDEN.glob("*.json")} == {*ROUTES, *SEEN_FROM_ELSEWHERE, *words}
