"""The table of all operations: the one source of routing, validation and documentation.

This file must not know how a request is carried or an answer is sent.

An operation either shows something (``view``), judges (``judge``), or asks the node for something (``event``),
or is carried out by the edge (``file``: a snapshot, a page).
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qluster import clients
from qluster.api import probes, shapes, views
from qluster.api.access import Rights
from qluster.api.parameters import INDEX_MAX, KEY_LENGTH_MAX, NODE_MAX, PORT_MAX, Parameter, Values
from qluster.api.times import seconds_of
from qluster.cluster.database_settings import RestartPlan
from qluster.status import BackupsStatus, Status
from qluster.switching import TRANSACTION_PATIENCE, TRANSACTION_PATIENCE_MAX

LIMIT_MAX = 3600
"""Seconds that a server may take for its restart: a clean stop of a large one writes for minutes."""

View = Callable[[Status], object]
Ask = Callable[[int, str, Values, Any], clients.ClientRequest]
"""Ticket, idempotency key, parameters, and the body: settings, bytes of a value, or nothing."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the table."""

    name: str
    method: str
    path: str
    summary: str
    needs: Rights
    answer: Any
    """Type of the answer's JSON; a string is a media type of an answer that is no JSON."""
    errors: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    view: View | None = None
    event: Ask | None = None
    judge: probes.Judge | None = None
    """What says yes or no, for an operation whose status code is the answer."""
    alias: bool = False
    """Another product's name of an operation."""
    file: str = ""
    body: str = ""
    """What the body is: nothing, an object of "settings" or of "parameters", or the bytes of a "value"."""


def _node(where: str, summary: str) -> Parameter:
    return Parameter("node", where, "integer", summary, required=True, maximum=NODE_MAX)


_CONSISTENCY = Parameter(
    "consistency",
    "query",
    "choice",
    "leader: confirmed by a quorum; lease: by the leader's lease; local: as known to this node",
    choices=("local", "lease", "leader"),
    default="local",
)
_KEY = Parameter(
    "Idempotency-Key",
    "header",
    "key",
    f"Up to {KEY_LENGTH_MAX} characters; a write sent again with the same key happens once",
)
_PATH_NODE = _node("path", "Number of the node")
_READ = ("bad-parameter", "bad-body", "no-token", "wrong-token", "fault", "busy")
_JOINED = (*_READ, "not-joined", "not-leader", "no-leader")
_WRITE = (*_JOINED, "read-only-token", "refused", "no-such-node", "superseded", "unconfirmed", "key-reused")
_OPEN = ("bad-parameter", "bad-body", "fault", "busy")


def _probe(route: probes.Route) -> Operation:
    """A question of load balancers: needs no token, and any method but its own is refused as everywhere."""
    name = "lag" if route.alias else "max-lag"
    limit = Parameter(name, "query", "lag", "At most so far behind the primary, in bytes (10MiB) or seconds (5s)")
    return Operation(
        route.path.strip("/").replace("-", "_"),
        "GET",
        route.path,
        route.summary,
        Rights.NONE,
        route.answer,
        (*_OPEN, *route.errors),
        (limit,) if route.lag else (),
        judge=route.judge,
        alias=route.alias,
    )


def _shown(
    path: str, summary: str, answer: Any, view: View, *, parameters: tuple[Parameter, ...] = (_CONSISTENCY,)
) -> Operation:
    """A reading of the cluster: needs the token for reading, and a node that has joined."""
    name = path.strip("/").replace("-", "_")
    return Operation(name, "GET", path, summary, Rights.READ, answer, _JOINED, parameters, view=view)


def _change(name: str, method: str, path: str, summary: str, event: Ask, *parameters: Parameter) -> Operation:
    """A write: needs the token for operating, and the leader."""
    return Operation(
        name,
        method,
        path,
        summary,
        Rights.OPERATE,
        shapes.DoneAnswer,
        _WRITE,
        (*parameters, _KEY),
        event=event,
    )


def _value(
    name: str, method: str, path: str, summary: str, event: Ask, *parameters: Parameter, **others: Any
) -> Operation:
    """An operation of the key-value store."""
    writes = method != "GET"
    errors = (*_WRITE, "no-such-key", "body-too-large", "body-too-slow", "wrong-content-type") if writes else _JOINED
    return Operation(
        name,
        method,
        path,
        summary,
        Rights.OPERATE if writes else Rights.READ,
        others.pop("answer", shapes.DoneAnswer),
        (*(word for word in errors if word != "no-such-node"), *others.pop("errors", ())),
        (*parameters, _KEY if writes else _CONSISTENCY),
        event=event,
        **others,
    )


def _write_value(ticket: int, key: str, values: Values, body: bytes | None) -> clients.ClientRequest:
    return clients.ValueWriteRequested(ticket, key, _text(values, "key"), body, _optional_number(values, "cas"))


_NAME = Parameter("key", "path", "name", "The key", required=True)
_CAS = Parameter(
    "cas",
    "query",
    "integer",
    "Check and set: only if the index of the key's last change is this; 0: only if there is no such key",
    minimum=0,
    maximum=INDEX_MAX,
)


def _number(values: Values, name: str) -> int:
    value = values[name]
    assert isinstance(value, int), f"{name} was checked to be a number"
    return value


def _optional_number(values: Values, name: str) -> int | None:
    return None if values[name] is None else _number(values, name)


def _text(values: Values, name: str) -> str:
    value = values[name]
    assert isinstance(value, str), f"{name} was checked to be text"
    return value


def _change_leader(ticket: int, key: str, values: Values, body: object) -> clients.ClientRequest:
    at = None if values["at"] is None else seconds_of(_text(values, "at"))
    force, patience = values["force"] == "true", _number(values, "patience")
    return clients.LeaderChangeRequested(
        ticket, key, _optional_number(values, "node"), at, force or None,
        patience if patience != TRANSACTION_PATIENCE else None,
    )  # fmt: skip


def _node_down(down: bool) -> Ask:
    return lambda ticket, key, values, _: clients.NodeDownRequested(ticket, key, _number(values, "node"), down)


_RESTART = (
    Parameter(
        "primary",
        "query",
        "choice",
        "switchover: another node takes over before the primary restarts; in-place: it restarts where it is",
        choices=("switchover", "in-place"),
        default="switchover",
    ),
    Parameter(
        "limit",
        "query",
        "integer",
        "Seconds for each server to restart, and for the cluster to be whole before the next; else the restart ends",
        minimum=5,
        maximum=LIMIT_MAX,
        default="120",
    ),
)
_BY = Parameter("by", "query", "key", "Who wants it, for the history")


def _plan(values: Values) -> RestartPlan:
    return RestartPlan(
        _text(values, "only") if "only" in values else "pending",  # type: ignore[arg-type]
        _text(values, "primary"),  # type: ignore[arg-type]
        float(_number(values, "limit")),
    )


OPERATIONS: tuple[Operation, ...] = (
    *(_probe(route) for route in probes.ROUTES),
    Operation(
        "status",
        "GET",
        "/status",
        "Everything this node knows; answered by a node without a cluster, too",
        Rights.READ,
        shapes.Whole,
        _READ,
        view=views.whole,
    ),
    _shown("/map", "Cluster map and settings", shapes.Whole, views.whole),
    _shown(
        "/info",
        "What a node that was added earlier needs in order to start",
        shapes.StartInformation,
        views.start_information,
    ),
    _shown(
        "/quorum", "Who votes, who is heard, and whether that is enough", shapes.QuorumAnswer, views.quorum
    ),
    _shown(
        "/replication",
        "Role, timeline, position and lag of every database",
        shapes.ReplicationAnswer,
        views.replication,
    ),
    _shown(
        "/backups",
        "Base backups, and whether the archive has what they need, as this host last saw them",
        BackupsStatus,
        views.backups,
    ),
    _shown("/config", "Replicated settings of the cluster", dict[str, str], views.settings),
    Operation(
        "change_config",
        "POST",
        "/config",
        "Change replicated settings",
        Rights.OPERATE,
        shapes.DoneAnswer,
        (*_WRITE, "body-too-large", "body-too-slow", "wrong-content-type", "wrong-value"),
        (_KEY,),
        event=lambda ticket, key, _, changes: clients.SettingsChangeRequested(ticket, key, changes),
        body="settings",
    ),
    _shown(
        "/db-config",
        "Parameters of the databases: wanted values and where they come from, what waits for a restart on which node",
        shapes.DatabaseSettingsAnswer,
        views.db_config,
    ),
    Operation(
        "change_db_config",
        "POST",
        "/db-config",
        "Change parameters of all databases, once the leader's has judged them; null goes back to config.yaml's",
        Rights.OPERATE,
        shapes.DoneAnswer,
        (*_WRITE, "body-too-large", "body-too-slow", "wrong-content-type", "wrong-value"),
        (
            Parameter(
                "restart",
                "query",
                "choice",
                "rolling: then restart the servers that need it, one after the other",
                choices=("none", "rolling"),
                default="none",
            ),
            *_RESTART,
            Parameter(
                "cas",
                "query",
                "integer",
                "Check and set: only if this is the version, which is the index of the last change; 0: there is none",
                minimum=0,
                maximum=INDEX_MAX,
            ),
            _BY,
            _KEY,
        ),
        event=lambda ticket, key, values, changes: clients.DatabaseChangeRequested(
            ticket, key, changes, _optional_number(values, "cas"), str(values["by"] or ""),
            _plan(values) if values["restart"] == "rolling" else None,
        ),
        body="parameters",
    ),
    _change(
        "restart_databases",
        "POST",
        "/db-restart",
        "Restart the database servers one after the other: replicas first, then the primary",
        lambda ticket, key, values, _: clients.DatabaseRestartRequested(
            ticket, key, _plan(values), str(values["by"] or "")
        ),
        Parameter(
            "only",
            "query",
            "choice",
            "pending: those with parameters that wait for a restart; all: each of them",
            choices=("pending", "all"),
            default="pending",
        ),
        *_RESTART,
        _BY,
    ),
    _change(
        "cancel_restart",
        "DELETE",
        "/db-restart",
        "Restart no further server",
        lambda ticket, key, values, _: clients.RestartCancelRequested(ticket, key, str(values["by"] or "")),
        _BY,
    ),
    _shown(
        "/leader",
        "Addresses of the leader and of the primary; the change of leader that is scheduled, under way, past",
        shapes.LeaderAnswer,
        views.leader,
    ),
    _change(
        "change_leader",
        "POST",
        "/leader",
        "Hand leadership, and with it the primary, to a node; clients of the pools wait meanwhile",
        _change_leader,
        Parameter("node", "query", "integer", "Number of the node that is to lead; without it the fittest one",
                  maximum=NODE_MAX),
        Parameter("at", "query", "time", "When: a time with its zone; without it now. One can be scheduled at a time"),
        Parameter("force", "query", "choice", "Whether transactions that do not end in time are broken off",
                  choices=("false", "true"), default="false"),
        Parameter("patience", "query", "integer", "Seconds that open transactions get at the pools",
                  maximum=TRANSACTION_PATIENCE_MAX, default=f"{TRANSACTION_PATIENCE:.0f}"),
    ),
    _change(
        "cancel_switchover",
        "DELETE",
        "/leader",
        "Cancel the change of leader that is scheduled",
        lambda ticket, key, values, _: clients.PlanDropRequested(ticket, key),
    ),
    Operation(
        "failover",
        "GET",
        "/failover",
        "Who would take over from the primary now, why not the others, and what could be lost; the leader knows",
        Rights.READ,
        shapes.FailoverAnswer,
        _JOINED,
        event=lambda ticket, key, values, _: clients.FailoverShown(ticket),
    ),
    _change(
        "force_failover",
        "POST",
        "/failover",
        "Let the best database that is left take over, although it may lack what was acknowledged",
        lambda ticket, key, values, _: clients.FailoverRequested(ticket, key, _number(values, "reign")),
        Parameter("reign", "query", "integer", "The reign in force, as GET /failover shows it", required=True,
                  maximum=INDEX_MAX),
        Parameter("accept", "query", "choice", "What you accept", choices=("data-loss",), required=True),
    ),
    _change(
        "pause",
        "POST",
        "/pause",
        "Leave all databases alone: none is started, stopped, promoted, copied or pointed elsewhere",
        lambda ticket, key, values, _: clients.PauseRequested(ticket, key, _text(values, "reason")),
        Parameter("reason", "query", "text", "Why; it is shown everywhere until the resume", default=""),
    ),
    _change(
        "resume",
        "POST",
        "/resume",
        "End the pause; whose primary ran without a lease is waited for before anybody else may take over",
        lambda ticket, key, values, _: clients.ResumeRequested(ticket, key, _optional_number(values, "abandon")),
        Parameter(
            "abandon",
            "query",
            "integer",
            "Node that is not waited for: its database must have ended, else it goes on taking writes that are lost",
            maximum=NODE_MAX,
        ),
    ),
    _change(
        "add_node",
        "POST",
        "/node",
        "Expect a node; it starts as a listener",
        lambda ticket, key, values, _: clients.NodeAddRequested(
            ticket, key, _text(values, "ip"), _text(values, "role")
        ),
        Parameter("ip", "query", "address", "Address of the node", required=True),
        Parameter(
            "role",
            "query",
            "choice",
            "What it may become: node (votes, has a database) or listener",
            choices=("node", "listener"),
            default="node",
        ),
    ),
    _change(
        "promote_node",
        "PATCH",
        "/node/{node}",
        "Make a listener a full node",
        lambda ticket, key, values, _: clients.NodePromoteRequested(
            ticket,
            key,
            _number(values, "node"),
            _optional_number(values, "db-port"),
            _optional_number(values, "api-port"),
        ),
        _PATH_NODE,
        Parameter("db-port", "query", "integer", "New port of its database", maximum=PORT_MAX),
        Parameter("api-port", "query", "integer", "New port of its REST interface", maximum=PORT_MAX),
    ),
    _change(
        "remove_node",
        "DELETE",
        "/node/{node}",
        "Remove a node for good",
        lambda ticket, key, values, _: clients.NodeRemoveRequested(ticket, key, _number(values, "node")),
        _PATH_NODE,
    ),
    _change(
        "node_down",
        "POST",
        "/node-down/{node}",
        "The node's database has trouble: it can become no leader, and is no replica for the pool",
        _node_down(True),
        _PATH_NODE,
    ),
    _change(
        "node_well",
        "DELETE",
        "/node-down/{node}",
        "The node's database is well again",
        _node_down(False),
        _PATH_NODE,
    ),
    _value(
        "list_keys",
        "GET",
        "/kv",
        "Keys of the key-value store, up to 1000 in one answer",
        lambda ticket, _, values, __: clients.ValuesListRequested(
            ticket, str(values["prefix"] or ""), str(values["after"] or ""), str(values["consistency"])
        ),
        Parameter("prefix", "query", "name", "Only keys that begin with this"),
        Parameter("after", "query", "name", "Only keys that follow this one"),
        answer=shapes.KeysAnswer,
    ),
    _value(
        "read_key",
        "GET",
        "/kv/{key}",
        "The value of a key, as it was written; the header X-Qluster-Index has the index of its last change",
        lambda ticket, _, values, __: clients.ValueReadRequested(
            ticket, _text(values, "key"), str(values["consistency"])
        ),
        _NAME,
        answer="application/octet-stream",
        errors=("no-such-key",),
    ),
    _value("write_key", "PUT", "/kv/{key}", "Write a value of any bytes", _write_value, _NAME, _CAS, body="value"),
    _value(
        "remove_key",
        "DELETE",
        "/kv/{key}",
        "Remove a key",
        lambda ticket, key, values, _: _write_value(ticket, key, values, None),
        _NAME,
        _CAS,
    ),
    Operation(
        "snapshot",
        "GET",
        "/snapshot",
        "The newest snapshot, for another node of this cluster; a range of bytes can be asked for",
        Rights.OPERATE,
        "application/octet-stream",
        (*_READ, "read-only-token", "no-snapshot", "no-such-range"),
        (Parameter("index", "query", "integer", "At least this index", maximum=INDEX_MAX, default="1"),),
        file="snapshot",
    ),
    Operation(
        "metrics",
        "GET",
        "/metrics",
        "State and counters as metrics for Prometheus",
        Rights.READ,
        "text/plain",
        _READ,
        file="metrics",
    ),
    Operation(
        "openapi",
        "GET",
        "/openapi.json",
        "This description",
        Rights.NONE,
        "application/json",
        _OPEN,
        file="openapi",
    ),
    Operation(
        "swagger",
        "GET",
        "/swagger",
        "This description as a page to try it",
        Rights.NONE,
        "text/html",
        _OPEN,
        file="swagger",
    ),
)
"""All operations, in the order of the documentation."""
