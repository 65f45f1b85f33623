"""A request becomes an answer from the status, or an event for the node; an outcome becomes an answer.

This file must not know about sockets, HTTP libraries or who performs anything.

The daemon's two calls::

    decided = decide(request, look, ticket)     # Reply: send it; else tell the node
    ...                                         # Answer(ticket, outcome) comes out
    sent = reply(request, outcome, look)

``look`` gives the status; it is called only where the answer needs it, because a status costs as much as
many writes.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from qluster import clients
from qluster.api import errors, metrics, openapi
from qluster.api.access import Rights
from qluster.api.operation import Operation, Read
from qluster.api.operations import OPERATIONS
from qluster.api.parameters import Values, read_database_parameters, read_json, read_parameters, read_settings, shown
from qluster.api.probes import Judge, Lag, No, Verdict
from qluster.api.shapes import DoneAnswer, FieldFault, NodeAddress
from qluster.cluster.values import VALUE_SIZE_MAX
from qluster.status import Health, Status

JSON = "application/json"
BYTES = "application/octet-stream"
BODY_SIZE_MAX = 64 * 1024
"""Largest body of a request: a change of settings has to fit into one log entry."""
TASKS_SIZE_MAX = 512 * 1024
"""The same of a request with tasks: JSON is several times as long as the entry that it becomes."""
FAULTS_MAX = 100
"""Faults of one body that are told: a thousand tasks may all have the same one."""
HEADERS_READ = (
    "content-encoding",
    "content-type",
    *sorted({each.name.lower() for row in OPERATIONS for each in row.parameters if each.where == "header"}),
)
"""Headers that a request is looked through for, in lower case."""
PAGES = {
    "/swagger": ("index.html", "text/html; charset=utf-8"),
    "/swagger/": ("index.html", "text/html; charset=utf-8"),
    "/swagger/start.js": ("start.js", "text/javascript; charset=utf-8"),
    "/swagger/swagger-ui.css": ("swagger-ui.css", "text/css; charset=utf-8"),
    "/swagger/swagger-ui-bundle.js": ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
}
"""Path → file of the folder ``swagger`` and its content type; nothing else is served from there."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the edge read it: path decoded, header names in lower case."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    rights: Rights = Rights.NONE


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. Where ``file`` is set the edge puts the content there:

    ``snapshot`` (of at least ``index``), ``output`` (of a task, by ``values``) or ``swagger/NAME``.
    """

    code: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    file: str = ""
    index: int = 0
    values: Values = field(default_factory=dict)


PATH_SHOWN = 100
"""So much of a path is repeated to whoever sent it."""


Look = Callable[[], Status]
LookHealth = Callable[[], Health]


@dataclass(frozen=True, slots=True)
class Probe:
    """A question of load balancers, read and found good: it can be answered again and again."""

    request: Request
    judge: Judge
    lag: Lag | None


def probe_of(request: Request) -> Probe | None:
    """The question that a request asks, None when it is none of these or has a fault."""
    found = find(request.method, request.path)
    if found is None or found[0].judge is None or request.body:
        return None
    operation, path = found
    values, faults = read_parameters(operation.parameters, path, request.query, request.headers)
    return None if faults else Probe(request, found[0].judge, _lag(values))


def answer_probe(probe: Probe, health: Health) -> Reply:
    """Yes or no."""
    return _judged(probe.request, probe.judge(health, probe.lag), health)


def decide(
    request: Request, look: Look, ticket: int, look_health: LookHealth | None = None
) -> Reply | clients.ClientRequest:
    """The answer, where the status gives it; else the event that the node is to be told.

    ``look_health`` gives what load balancers ask for alone: it is a part of the status, at a small part of its cost.
    """
    if request.path in PAGES and request.method in ("GET", "HEAD"):
        name, content_type = PAGES[request.path]
        return Reply(200, headers={"Content-Type": content_type}, file=f"swagger/{name}")
    found = find(request.method, request.path)
    if found is None:
        return _not_found(request)
    operation, path = found
    refusal = _access(request, operation)
    if refusal:
        return refusal
    values, faults = read_parameters(operation.parameters, path, request.query, request.headers)
    if faults:
        return _error(request, "bad-parameter", faults=tuple(faults))
    body = _body(request, operation, values)
    if isinstance(body, Reply):
        return body
    if operation.more is not None and request.rights < operation.more(body):
        return _error(request, "no-deploy-token")
    if operation.event is not None:
        return operation.event(ticket, str(values.get("Idempotency-Key") or ""), values, body)
    if values.get("consistency", "local") != "local":
        return clients.ReadRequested(ticket, str(values["consistency"]))
    if operation.judge is not None:
        health = look_health() if look_health is not None else look().health
        return _judged(request, operation.judge(health, _lag(values)), health)
    status = look()
    if "not-joined" in operation.errors and status.cluster.cluster is None:
        return _not_joined(request, status)
    return _show(request, operation, status, values)


def reply(request: Request, outcome: clients.Outcome, look: Look) -> Reply:
    """The answer to a request that :func:`decide` turned into an event."""
    found = find(request.method, request.path)
    assert found is not None, "only a known operation becomes an event"
    operation = found[0]
    match outcome:
        case clients.Done():
            if operation.view is not None:
                return _show(request, operation, look(), {})
            if operation.shape is not None:
                return _json(200, operation.shape(outcome))
            if operation.answer is not DoneAnswer:
                return _json(200, outcome.detail)
            return _json(200, DoneAnswer(index=outcome.index, detail=outcome.detail))
        case clients.ValueFound():
            return Reply(200, outcome.value, {"Content-Type": BYTES, "X-Qluster-Index": str(outcome.index)})
        case clients.NotJoined():
            return _not_joined(request, look())
        case clients.NotLeader():
            return _not_leader(request, look(), outcome.leader)
        case clients.NoLeader():
            return _error(request, "no-leader")
        case clients.Superseded():
            return _error(request, "superseded")
        case clients.Unconfirmed():
            return _error(request, "unconfirmed")
        case clients.Busy():
            return _error(request, "busy", places={"reason": outcome.reason})
        case clients.Refused():
            faults = tuple(FieldFault(field=name, message=text) for name, text in outcome.faults[:FAULTS_MAX])
            return _error(request, outcome.word, places={"reason": outcome.reason}, field=outcome.field, faults=faults)
    raise AssertionError(f"no answer is known for the outcome {outcome!r}")


def find(method: str, path: str) -> tuple[Operation, dict[str, str]] | None:
    """The operation of this method and path, with the values in the path. HEAD is GET without a body.

    OPTIONS is GET where load balancers ask: it is what HAProxy sends when it is told nothing else.
    """
    wanted = "GET" if method in ("HEAD", "OPTIONS") else method
    parts = path.split("/")
    if len(parts) < 2:
        return None
    for operation in _BY_BEGINNING.get((wanted, len(parts), parts[1]), ()):
        values = _match(operation.path, path)
        if values is not None and (method != "OPTIONS" or operation.judge is not None):
            return operation, values
    return None


def body_size_max(method: str, path: str) -> int:
    """Bytes that the body of such a request may have, before it is read."""
    found = find(method, path)
    return TASKS_SIZE_MAX if found is not None and found[0].read is not None else BODY_SIZE_MAX


def _by_beginning() -> dict[tuple[str, int, str], list[Operation]]:
    found: dict[tuple[str, int, str], list[Operation]] = {}
    for operation in OPERATIONS:
        parts = operation.path.split("/")
        assert not parts[1].startswith("{"), f"{operation.path} begins with a parameter"
        found.setdefault((operation.method, len(parts), parts[1]), []).append(operation)
    return found


_BY_BEGINNING = _by_beginning()


def error(request: Request, word: str, **places: object) -> Reply:
    """An error that the edge found: too large, overloaded, a fault."""
    return _error(request, word, places=places)


def unanswered(request: Request) -> Reply:
    """The daemon stops. A reading can be asked of another node; what becomes of a write is not known."""
    if request.method in ("GET", "HEAD"):
        return _error(request, "busy", places={"reason": "it is stopping"})
    return _error(request, "unconfirmed")


def _match(pattern: str, path: str) -> dict[str, str] | None:
    wanted, given = pattern.split("/"), path.split("/")
    if len(wanted) != len(given):
        return None
    values = {}
    for want, have in zip(wanted, given, strict=True):
        if want.startswith("{"):
            values[want[1:-1]] = have
        elif want != have:
            return None
    return values


def _not_found(request: Request) -> Reply:
    known = [each for each in OPERATIONS if each.path == request.path] or [
        each for each in OPERATIONS if _match(each.path, request.path) is not None]  # fmt: skip
    methods = {each.method for each in known}
    if request.path in PAGES:
        methods.add("GET")
    if not methods:
        return _error(request, "no-such-path")
    if "GET" in methods:
        methods.add("HEAD")
    if any(each.judge is not None for each in known):
        methods.add("OPTIONS")
    refusal = _error(request, "no-such-method")
    return Reply(refusal.code, refusal.body, {**refusal.headers, "Allow": ", ".join(sorted(methods))})


def _access(request: Request, operation: Operation) -> Reply | None:
    """The refusal, when the token does not allow this."""
    if request.rights >= operation.needs:
        return None
    match request.rights:
        case _ if operation.needs is Rights.NONE:
            return None
        case Rights.NONE:
            return _error(request, "no-token")
        case Rights.UNKNOWN:
            return _error(request, "wrong-token")
        case Rights.OPERATE:
            return _error(request, "no-deploy-token")
    return _error(request, "read-only-token")


def _body(request: Request, operation: Operation, values: Values) -> Any:
    """What the body says: settings, a value, what the operation reads, nothing where it takes none; or a refusal."""
    if operation.read is not None:
        return _document(request, operation.read, values)
    match operation.body:
        case "settings":
            return _settings(request, read_settings)
        case "parameters":
            return _settings(request, read_database_parameters)
        case "value":
            return _value(request)
    return _error(request, "bad-body", places={"reason": "this operation takes none"}) if request.body else {}


def _value(request: Request) -> bytes | Reply:
    """A value is bytes, whatever they are said to be; compressed ones would not be what was meant."""
    if len(request.body) > VALUE_SIZE_MAX:
        return _error(request, "body-too-large", places={"limit": VALUE_SIZE_MAX})
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        return _error(request, "wrong-content-type", places={"found": shown(encoding), "wanted": "plain bytes"})
    return request.body


def _document(request: Request, read: Read, values: Values) -> Any:
    refusal = _no_json(request, TASKS_SIZE_MAX)
    if refusal is not None:
        return refusal
    document, unreadable = read_json(request.body)
    if unreadable:
        return _error(request, "bad-body", places={"reason": unreadable})
    found, faults = read(document, values)
    if faults:
        return _error(request, "wrong-value", faults=tuple(faults[:FAULTS_MAX]))
    return found


def _settings(
    request: Request, read: Callable[[bytes], tuple[Mapping[str, str | None], list[FieldFault], str]]
) -> Mapping[str, str | None] | Reply:
    refusal = _no_json(request, BODY_SIZE_MAX)
    if refusal is not None:
        return refusal
    changes, faults, unreadable = read(request.body)
    if unreadable:
        return _error(request, "bad-body", places={"reason": unreadable})
    if faults:
        return _error(request, "wrong-value", faults=tuple(faults))
    return changes


def _no_json(request: Request, limit: int) -> Reply | None:
    """Why the body is not read."""
    if len(request.body) > limit:
        return _error(request, "body-too-large", places={"limit": limit})
    wrong = _wrong_content(request.headers)
    if not wrong:
        return None
    return _error(request, "wrong-content-type", places={"found": wrong, "wanted": "plain application/json"})


def _wrong_content(headers: Mapping[str, str]) -> str:
    """What the body is, when it is not plain JSON."""
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        return shown(encoding)
    kind, _, more = headers.get("content-type", "").lower().partition(";")
    charset = more.replace(" ", "").replace('"', "")
    if kind.strip() != JSON or charset not in ("", "charset=utf-8"):
        return shown(headers.get("content-type", "")) if kind.strip() else "of no stated type"
    return ""


def _show(request: Request, operation: Operation, status: Status, values: Values) -> Reply:
    """The answer to a reading."""
    match operation.file:
        case "snapshot":
            index = values["index"]
            assert isinstance(index, int), "index was checked to be a number"
            return Reply(
                200, headers={"Content-Type": "application/octet-stream"}, file="snapshot", index=index
            )
        case "output":
            return Reply(200, file="output", values=values)
        case "metrics":
            return Reply(200, metrics.exposition(status), {"Content-Type": metrics.CONTENT_TYPE})
        case "openapi":
            return Reply(200, openapi.document(), {"Content-Type": JSON})
    assert operation.view is not None, f"{operation.name} shows nothing"
    answer = operation.view(status)
    return _json(200, answer) if answer is not None else _error(request, "no-leader")


def _lag(values: Values) -> Lag | None:
    """The limit, by our name for it or by Patroni's."""
    lag = values.get("max-lag") or values.get("lag")
    return lag if isinstance(lag, Lag) else None


def _judged(request: Request, verdict: Verdict, health: Health) -> Reply:
    """A verdict as an answer."""
    match verdict:
        case No("not-joined"):
            return _error(request, "not-joined", places={"reason": f": {health.message}" if health.message else ""})
        case No("not-leader"):
            assert health.leader is not None, "no-leader is the word where nobody leads"
            return _leads_elsewhere(request, health.node, health.leader, health.leader_at)
        case No(word, reason):
            return _error(request, word, places={"node": _named(health.node), "reason": reason})
    return _json(200, verdict)


def _named(node: int | None) -> str:
    return "this node" if node is None else f"node {node}"


def _not_joined(request: Request, status: Status) -> Reply:
    return _error(
        request, "not-joined", places={"reason": f": {status.own.message}" if status.own.message else ""}
    )


def _not_leader(request: Request, status: Status, leader: int) -> Reply:
    at = next(((each.ip, each.api_port, each.db_port) for each in status.nodes if each.node == leader), None)
    return _leads_elsewhere(request, status.own.node, leader, at)


def _leads_elsewhere(
    request: Request, own: int | None, leader: int, at: tuple[str, int, int | None] | None
) -> Reply:
    places = {"node": _named(own), "leader": f"node {leader}"}
    if at is None:
        return _error(request, "not-leader", places=places)
    ip, api_port, db_port = at
    places["leader"] += f" at {ip}, port {api_port}"
    return _error(
        request, "not-leader", leader=NodeAddress(node=leader, ip=ip, api_port=api_port, db_port=db_port), places=places
    )


def _json(code: int, answer: object) -> Reply:
    return Reply(code, msgspec.json.encode(answer), {"Content-Type": JSON})


def _error(
    request: Request,
    word: str,
    *,
    field: str | None = None,
    faults: tuple[FieldFault, ...] = (),
    leader: NodeAddress | None = None,
    places: Mapping[str, object] | None = None,
) -> Reply:
    filled = {
        "method": shown(request.method)[1:-1],
        "path": ascii(request.path[:PATH_SHOWN])[1:-1],
        **(places or {}),
    }
    code, body, headers = errors.error_answer(word, filled, field=field, faults=faults, leader=leader)
    return Reply(code, body, {**headers, "Content-Type": JSON})
