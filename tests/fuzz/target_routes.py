"""The REST interface without HTTP: any request gets an answer that is described, or becomes a sound event."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from api import sample_status as sample
from fuzz.source import Source
from qluster import clients
from qluster.api.access import Rights, Tokens, rights_of
from qluster.api.errors import ERRORS
from qluster.api.operations import OPERATIONS
from qluster.api.routes import PAGES, Reply, Request, decide, find, reply
from qluster.looking import shown
from qluster.status import Status
from qluster.tasks import asking
from qluster.tasks.bodies import Schedule, Submission, Template
from qluster.tasks.kept import Fired
from qluster.tasks.life import State
from qluster.tasks.spec import Command, Spec
from qluster.tasks.task import Task

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "", "GET\n", "\ud800")
PATHS = tuple(operation.path for operation in OPERATIONS) + tuple(PAGES) + ("/", "", "//", "/node/", "/kv/")
WORDS = ("1", "0", "-1", "2", "9" * 30, "10.0.0.9", "node", "leader", "٣", "", "\0", "\ud800", "é", "a" * 300, "k-1")
TYPES = ("application/json", "application/octet-stream", "text/plain", "", "application/json; charset=utf-8")
STATUSES: tuple[Status, ...] = (sample.healthy(), sample.healthy(2), sample.unjoined(), sample.leaderless())
OUTCOMES: tuple[clients.Outcome, ...] = (
    clients.Done(4, {"a": 1}), clients.NotJoined(), clients.NotLeader(1), clients.NotLeader(77), clients.NoLeader(),
    clients.Superseded(), clients.Unconfirmed(), clients.Busy("it is busy"), clients.Refused("node", "no"),
)  # fmt: skip
TASK = Task(1, Spec(Command(("/bin/true",))), 1000.0, "me", state=State.SUCCEEDED)
NODE: Any = SimpleNamespace(tasking=SimpleNamespace(dispatching=None))
"""Of a task that is over, what there is to see does not depend on the node."""
SEEN: dict[type, clients.Done] = {
    asking.ListTasks: clients.Done(4, {"tasks": [], "next": None}),
    asking.ShowTask: clients.Done(4, {"task": shown(NODE, TASK, 0.0)}),
    asking.ListTemplates: clients.Done(4, {"templates": {"t": Template(TASK.spec)}}),
    asking.ListSchedules: clients.Done(4, {"schedules": {
        "s": (Fired(Schedule("0 3 * * *", Submission(TASK.spec))), None, ""),
    }}),
    asking.Overview: clients.Done(4, {"states": {}, "ended": {}, "history": 0, "refused": 0, "templates": 0,
                                      "schedules": 0, "nodes": [], "fault": ""}),
}  # fmt: skip
"""What a node answers to a look at tasks: the shapes of these answers are made of nothing else."""
CODES = {word.code for word in ERRORS.values()} | {200}


def run(content: bytes) -> None:
    """One request."""
    source = Source(content)
    status = source.one_of(STATUSES)
    request = _request(source)
    decided = decide(request, lambda: status, 7)
    if isinstance(decided, Reply):
        _check(decided)
        return
    assert decided.ticket == 7
    outcome = source.one_of(OUTCOMES)
    if isinstance(outcome, clients.Done) and isinstance(decided, clients.TaskLooked):
        outcome = SEEN[type(decided.what)]
    _check(reply(request, outcome, lambda: status))


def _request(source: Source) -> Request:
    path = source.one_of(PATHS)
    while "{" in path:
        begin, _, rest = path.partition("{")
        path = begin + _word(source) + rest.partition("}")[2]
    if source.byte() % 8 == 0:
        path += _word(source)
    method = source.one_of(METHODS)
    found = find(method, path)
    names = [each.name for each in found[0].parameters] if found else []
    query = tuple((source.one_of((*names, "x", "")), _word(source)) for _ in range(source.byte() % 4))
    headers = {"content-type": source.one_of(TYPES)}
    if source.byte() & 1:
        headers["idempotency-key"] = _word(source)
    if source.byte() % 8 == 0:
        headers["content-encoding"] = _word(source)
    rights = source.one_of((Rights.OPERATE, Rights.OPERATE, Rights.READ, Rights.NONE, Rights.UNKNOWN))
    assert rights_of(_word(source) or None, Tokens("read-token-x", "operate-token-y")) in tuple(Rights)
    return Request(method, path, query, headers, _body(source), rights)


def _word(source: Source) -> str:
    return source.one_of(WORDS) if source.byte() & 1 else source.text()


def _body(source: Source) -> bytes:
    match source.byte() % 5:
        case 0:
            return b""
        case 1:
            return json.dumps({source.text(): source.one_of((1, "9s", True, None, [], {}, 1.5))}).encode()
        case 2:
            return b'{"cluster.node-timeout": ' + source.rest() + b"}"
        case 3:
            return source.one_of((b"[" * 5000, b"{" * 200_000, b'{"a":1,"a":2}', b"1" * 5000, b"\xff", b"NaN"))
    return source.rest()


def _check(answer: Reply) -> None:
    assert answer.code in CODES, f"{answer.code} is not described"
    if answer.headers.get("Content-Type") == "application/json":
        document = json.loads(answer.body)
        if answer.code != 200:
            assert ERRORS[document["error"]].code == answer.code
    for name, value in answer.headers.items():
        assert (name + value).isprintable() and (name + value).isascii(), "a header is one line"
