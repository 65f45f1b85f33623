"""Requests become answers or events, outcomes become answers."""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest
from api import sample_status as sample
from api.test_golden import request
from fuzz import lone
from msgspec.structs import replace
from qluster import clients, events
from qluster.api.access import Rights
from qluster.api.errors import ERRORS
from qluster.api.operations import OPERATIONS
from qluster.api.routes import PAGES, Reply, Request, decide, find, reply
from qluster.cluster.values import VALUE_SIZE_MAX
from qluster.status import Status

TICKET = 7
BODIES = {
    "tasks": b'{"command": ["/bin/true"]}',
    "template": b'{"task": {"command": ["/bin/true"]}}',
    "schedule": b'{"cron": "0 0 * * *", "task": {"command": ["/bin/true"]}}',
}
JSON_BODIES = ("settings", "parameters", "tasks", "template", "schedule")


def word(sent: Reply | clients.ClientRequest) -> str:
    assert isinstance(sent, Reply)
    found = str(json.loads(sent.body)["error"])
    assert sent.code == ERRORS[found].code
    return found


def keyed(method: str, target: str, key: str = "k-1", body: bytes = b"") -> Request:
    plain = request(method, target, body)
    headers = {**plain.headers, "idempotency-key": key}
    return Request(plain.method, plain.path, plain.query, headers, plain.body, plain.rights)


@pytest.mark.parametrize(
    ("asked", "event"),
    [
        (
            keyed("POST", "/config", body=b'{"cluster.node-timeout": "9s"}'),
            clients.SettingsChangeRequested(TICKET, "k-1", {"cluster.node-timeout": "9s"}),
        ),
        (keyed("POST", "/leader?node=2"), clients.LeaderChangeRequested(TICKET, "k-1", 2)),
        (keyed("POST", "/node?ip=10.0.0.9"), clients.NodeAddRequested(TICKET, "k-1", "10.0.0.9", "node")),
        (
            keyed("POST", "/node?ip=10.0.0.9&role=listener"),
            clients.NodeAddRequested(TICKET, "k-1", "10.0.0.9", "listener"),
        ),
        (keyed("PATCH", "/node/4"), clients.NodePromoteRequested(TICKET, "k-1", 4, None, None)),
        (
            keyed("PATCH", "/node/4?db-port=5433&api-port=8081"),
            clients.NodePromoteRequested(TICKET, "k-1", 4, 5433, 8081),
        ),
        (keyed("DELETE", "/node/3"), clients.NodeRemoveRequested(TICKET, "k-1", 3)),
        (keyed("POST", "/node-down/3"), clients.NodeDownRequested(TICKET, "k-1", 3, True)),
        (keyed("DELETE", "/node-down/3"), clients.NodeDownRequested(TICKET, "k-1", 3, False)),
        (request("DELETE", "/node/3"), clients.NodeRemoveRequested(TICKET, "", 3)),
        (keyed("PUT", "/kv/a.b", body=b"\x00x"), clients.ValueWriteRequested(TICKET, "k-1", "a.b", b"\x00x", None)),
        (request("PUT", "/kv/a?cas=0"), clients.ValueWriteRequested(TICKET, "", "a", b"", 0)),
        (request("DELETE", "/kv/a?cas=17"), clients.ValueWriteRequested(TICKET, "", "a", None, 17)),
        (request("GET", "/kv/a"), clients.ValueReadRequested(TICKET, "a", "local")),
        (request("GET", "/kv/a?consistency=leader"), clients.ValueReadRequested(TICKET, "a", "leader")),
        (request("GET", "/kv"), clients.ValuesListRequested(TICKET, "", "", "local")),
        (request("GET", "/kv?prefix=a&after=ab"), clients.ValuesListRequested(TICKET, "a", "ab", "local")),
        (request("GET", "/failover"), clients.FailoverShown(TICKET)),
        (request("POST", "/failover?reign=7&accept=data-loss"), clients.FailoverRequested(TICKET, "", 7)),
        (request("GET", "/map?consistency=leader"), clients.ReadRequested(TICKET, "leader")),
        (request("GET", "/config?consistency=lease"), clients.ReadRequested(TICKET, "lease")),
    ],
    ids=str,
)
def test_request_becomes_an_event(asked: Request, event: clients.ClientRequest) -> None:
    assert decide(asked, lambda: sample.healthy(), TICKET) == event


def test_reading_on_its_consistency_shows_the_status_of_the_time_it_was_granted() -> None:
    asked = request("GET", "/config?consistency=leader")
    later = replace(sample.healthy(), settings={"cluster.node-timeout": "9s"})
    sent = reply(asked, clients.Done(), lambda: later)
    assert (sent.code, json.loads(sent.body)) == (200, {"cluster.node-timeout": "9s"})


OUTCOMES = [
    (clients.NotJoined(), 412, "not-joined"),
    (clients.NotLeader(1), 417, "not-leader"),
    (clients.NoLeader(), 530, "no-leader"),
    (clients.Superseded(), 410, "superseded"),
    (clients.Unconfirmed(), 420, "unconfirmed"),
    (clients.Busy("stopping"), 531, "busy"),
    (clients.Refused("node", "no node 9", "no-such-node"), 404, "no-such-node"),
    (clients.Refused("role", "node 3 is no listener"), 409, "refused"),
]


@pytest.mark.parametrize(("outcome", "code", "error"), OUTCOMES, ids=lambda each: str(each)[:30])
@pytest.mark.parametrize("target", ["DELETE /node/3", "GET /map?consistency=leader"])
def test_outcome_has_its_code(target: str, outcome: clients.Outcome, code: int, error: str) -> None:
    sent = reply(request(*target.split()), outcome, lambda: sample.healthy(2))
    assert (sent.code, word(sent)) == (code, error)


def test_done_says_index_and_detail() -> None:
    sent = reply(request("POST", "/node?ip=10.0.0.9"), clients.Done(51, {"node": 5}), lambda: sample.healthy())
    assert (sent.code, json.loads(sent.body)) == (200, {"index": 51, "detail": {"node": 5}})


def test_not_leader_without_a_known_address_still_names_the_node() -> None:
    sent = reply(request("DELETE", "/node/3"), clients.NotLeader(9), lambda: sample.healthy(2))
    body = json.loads(sent.body)
    assert "leader" not in body
    assert body["hint"] == "send it to node 9"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (sample.healthy(), 200),
        (sample.healthy(2), 417),
        (sample.healthy(4), 417),
        (sample.leaderless(), 530),
        (sample.unjoined(), 412),
        (replace(sample.healthy(), health=sample.health(may_write=False)), 531),
    ],
    ids=["leader", "follower", "listener", "leaderless", "unjoined", "promoting"],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_is_leader_is_200_only_where_a_client_may_write(method: str, status: Status, code: int) -> None:
    sent = decide(Request(method, "/is-leader"), lambda: status, TICKET)
    assert isinstance(sent, Reply)
    assert sent.code == code


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_token_is_needed_where_the_table_says_so(operation) -> None:
    path = operation.path.replace("{node}", "3").replace("{task}", "3")
    words = {}
    for rights in Rights:
        sent = decide(Request(operation.method, path, rights=rights), lambda: sample.healthy(), TICKET)
        words[rights] = isinstance(sent, Reply) and sent.code in (401, 403) and word(sent)
    if operation.needs is Rights.NONE:
        assert not any(words.values())
    else:
        assert (words[Rights.NONE], words[Rights.UNKNOWN]) == ("no-token", "wrong-token")
        reader = "read-only-token" if operation.needs > Rights.READ else False
        operator = "no-deploy-token" if operation.needs is Rights.DEPLOY else False
        assert (words[Rights.READ], words[Rights.OPERATE], words[Rights.DEPLOY]) == (reader, operator, False)


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (request("PUT", "/kv/a?cas=-1"), "bad-parameter"),
        (request("PUT", "/kv/a?cas=x"), "bad-parameter"),
        (request("PUT", "/kv/a%20b"), "bad-parameter"),
        (request("PUT", "/kv/" + "a" * 129), "bad-parameter"),
        (request("PUT", "/kv/a", b"x" * (VALUE_SIZE_MAX + 1)), "body-too-large"),
        (request("GET", "/kv/a", b"x"), "bad-body"),
        (Request("PUT", "/kv/a", (), {"content-encoding": "gzip"}, b"x", Rights.OPERATE), "wrong-content-type"),
        (request("PUT", "/kv"), "no-such-method"),
    ],
)
def test_wrong_request_to_the_store_is_refused(asked: Request, wanted: str) -> None:
    assert word(decide(asked, sample.healthy, TICKET)) == wanted


def test_value_comes_back_as_it_was_written_with_its_index() -> None:
    sent = reply(request("GET", "/kv/a"), clients.ValueFound(b"\x00\xff", 17), sample.healthy)
    assert (sent.code, sent.body, sent.headers["X-Qluster-Index"]) == (200, b"\x00\xff", "17")


@pytest.mark.parametrize("outcome", [clients.NotJoined(), clients.NotLeader(1), clients.NoLeader()], ids=repr)
def test_outcome_of_the_store_that_needs_the_status_looks_at_it(outcome: clients.Outcome) -> None:
    sent = reply(request("PUT", "/kv/a"), outcome, sample.healthy)
    assert sent.code in (412, 417, 530)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_node_without_a_cluster_says_so(operation) -> None:
    path = operation.path.replace("{node}", "3").replace("{key}", "a").replace("{task}", "3").replace("{name}", "a")
    needed = {
        "add_node": (("ip", "10.0.0.9"),), "change_leader": (("node", "2"),),
        "force_failover": (("reign", "1"), ("accept", "data-loss")),
        "fence": (("node", "3"), ("ip", "10.0.0.3")), "force_quorum": (("name", "sim"),),
    }  # fmt: skip
    query = needed.get(operation.name, ())
    body, headers = b"", {}
    if operation.body in JSON_BODIES:
        body, headers = BODIES.get(operation.body, b'{"a": 1}'), {"content-type": "application/json"}
    asked = Request(operation.method, path, query, headers, body, Rights.DEPLOY)
    sent = decide(asked, lambda: sample.unjoined(), TICKET)
    if not isinstance(sent, Reply):
        node = lone.invited()
        node.ask(sent)
        sent = reply(asked, node.answers[TICKET], lambda: sample.unjoined())
    assert (sent.code == 412) == ("not-joined" in operation.errors)
    assert sent.code in (200, 412)


@pytest.mark.parametrize(
    ("asked", "error", "fields"),
    [
        (request("GET", "/map?consistency=soon"), "bad-parameter", ["consistency"]),
        (request("GET", "/map?a=1&b=2"), "bad-parameter", ["a", "b"]),
        (request("GET", "/status?consistency=leader"), "bad-parameter", ["consistency"]),
        (request("DELETE", "/node/first"), "bad-parameter", ["node"]),
        (request("DELETE", "/node/"), "bad-parameter", ["node"]),
        (request("POST", "/node"), "bad-parameter", ["ip"]),
        (request("POST", "/config?x=1", b'{"a": 1}'), "bad-parameter", ["x"]),
        (request("POST", "/config", b'{"a": null, "B": 1}'), "wrong-value", ["a", "B"]),
    ],
    ids=str,
)
def test_faults_are_named_by_field(asked: Request, error: str, fields: list[str]) -> None:
    sent = decide(asked, lambda: sample.healthy(), TICKET)
    assert word(sent) == error
    assert [each["field"] for each in json.loads(sent.body)["faults"]] == fields


def test_body_where_none_belongs_is_refused() -> None:
    assert word(decide(request("DELETE", "/node/3", b"{}"), lambda: sample.healthy(), TICKET)) == "bad-body"


@pytest.mark.parametrize(
    ("headers", "accepted"),
    [
        ({"content-type": "application/json"}, True),
        ({"content-type": 'Application/JSON; Charset="UTF-8"'}, True),
        ({"content-type": "application/json; charset=latin-1"}, False),
        ({"content-type": "text/plain"}, False),
        ({"content-type": "application/json", "content-encoding": "gzip"}, False),
        ({"content-type": "application/json", "content-encoding": "identity"}, True),
        ({}, False),
    ],
    ids=str,
)
def test_body_is_plain_json_or_refused(headers: dict[str, str], accepted: bool) -> None:
    asked = Request("POST", "/config", (), headers, b'{"a": 1}', Rights.OPERATE)
    sent = decide(asked, lambda: sample.healthy(), TICKET)
    if accepted:
        assert isinstance(sent, clients.SettingsChangeRequested)
    else:
        assert word(sent) == "wrong-content-type"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/map", "GET, HEAD"),
        ("OPTIONS", "/config", "GET, HEAD, POST"),
        ("GET", "/node/3", "DELETE, PATCH"),
        ("HEAD", "/node", "POST"),
        ("POST", "/swagger/start.js", "GET, HEAD"),
        ("get", "/map", "GET, HEAD"),
    ],
)
def test_unknown_method_is_told_the_known_ones(method: str, path: str, allow: str) -> None:
    sent = decide(Request(method, path, rights=Rights.OPERATE), lambda: sample.healthy(), TICKET)
    assert word(sent) == "no-such-method"
    assert isinstance(sent, Reply) and sent.headers["Allow"] == allow


@pytest.mark.parametrize("path", ["/", "", "/Map", "/map/", "/node/1/2", "/swagger/x", "//map", "/\udcff\n"])
def test_unknown_path_is_404(path: str) -> None:
    assert (
        word(decide(Request("GET", path, rights=Rights.OPERATE), lambda: sample.healthy(), TICKET)) == "no-such-path"
    )


def test_stopping_node_takes_no_writes_but_still_shows_itself() -> None:
    status = replace(sample.healthy(), own=replace(sample.healthy().own, stopping=True))
    asked, node = request("DELETE", "/node/3"), lone.leader()
    event = decide(asked, lambda: status, TICKET)
    assert not isinstance(event, Reply)
    node.tell(events.StopRequested())
    node.ask(event)
    assert word(reply(asked, node.answers[TICKET], lambda: status)) == "busy"
    shown = decide(request("GET", "/status"), lambda: status, TICKET)
    assert isinstance(shown, Reply) and shown.code == 200


@pytest.mark.parametrize("path", PAGES)
def test_pages_are_given_to_the_edge_by_name(path: str) -> None:
    sent = decide(Request("GET", path), lambda: sample.unjoined(), TICKET)
    assert isinstance(sent, Reply)
    assert sent.file == f"swagger/{PAGES[path][0]}"
    assert sent.headers["Content-Type"] == PAGES[path][1]


def test_snapshot_is_given_to_the_edge_with_the_index_wanted() -> None:
    sent = decide(request("GET", "/snapshot?index=40"), lambda: sample.healthy(), TICKET)
    assert isinstance(sent, Reply)
    assert (sent.file, sent.index) == ("snapshot", 40)
    first = decide(request("GET", "/snapshot"), lambda: sample.healthy(), TICKET)
    assert isinstance(first, Reply) and first.index == 1


def test_names_and_routes_are_unique() -> None:
    assert len({each.name for each in OPERATIONS}) == len(OPERATIONS)
    assert len({(each.method, each.path) for each in OPERATIONS}) == len(OPERATIONS)
    for operation in OPERATIONS:
        found = find(operation.method, operation.path.replace("{node}", "3"))
        assert found is not None and found[0] is operation


def test_only_named_errors_are_answered() -> None:
    """What the golden tests provoke on a route is in that route's row."""
    from api.test_golden import ERRORS_BY_STATUS

    for error, (asked, _, _) in ERRORS_BY_STATUS.items():
        found = find(asked.method, asked.path)
        if found is not None and error not in ("no-such-method", "body-too-large"):
            assert error in found[0].errors, (error, found[0].name)
