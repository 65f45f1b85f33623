"""The table of all operations: the one source of routing, validation and documentation.

This file must not know how a request is carried or an answer is sent.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from qluster import clients
from qluster.api import probes, shapes, views
from qluster.api.access import Rights
from qluster.api.operation import (
    JOINED,
    KEY,
    OPEN,
    PATH_NODE,
    READ,
    WRITE,
    Ask,
    Operation,
    change,
    number,
    optional_number,
    probe,
    shown,
    stored,
    text,
)
from qluster.api.parameters import INDEX_MAX, NODE_MAX, PORT_MAX, Parameter, Values
from qluster.api.task_operations import TASK_OPERATIONS
from qluster.api.times import seconds_of
from qluster.archived import BackupsStatus
from qluster.cluster.database_settings import RestartPlan
from qluster.switching import TRANSACTION_PATIENCE, TRANSACTION_PATIENCE_MAX

LIMIT_MAX = 3600
"""Seconds that a server may take for its restart: a clean stop of a large one writes for minutes."""


def _write_value(ticket: int, key: str, values: Values, body: bytes | None) -> clients.ClientRequest:
    return clients.ValueWriteRequested(ticket, key, text(values, "key"), body, optional_number(values, "cas"))


_NAME = Parameter("key", "path", "name", "The key", required=True)
_CAS = Parameter(
    "cas",
    "query",
    "integer",
    "Check and set: only if the index of the key's last change is this; 0: only if there is no such key",
    minimum=0,
    maximum=INDEX_MAX,
)


def _change_leader(ticket: int, key: str, values: Values, body: object) -> clients.ClientRequest:
    at = None if values["at"] is None else seconds_of(text(values, "at"))
    force, patience = values["force"] == "true", number(values, "patience")
    return clients.LeaderChangeRequested(
        ticket, key, optional_number(values, "node"), at, force or None,
        patience if patience != TRANSACTION_PATIENCE else None,
    )  # fmt: skip


def _force_quorum(ticket: int, key: str, values: Values, body: object) -> clients.ClientRequest:
    nodes, confirmed = values["nodes"], values["confirm-off"]
    return clients.ForceQuorumRequested(
        ticket, key, text(values, "name"), None if nodes is None else tuple(map(int, text(values, "nodes").split(","))),
        () if confirmed is None else tuple(text(values, "confirm-off").split(",")), values["check"] == "true",
        str(values["by"] or ""),
    )  # fmt: skip


def _node_down(down: bool) -> Ask:
    return lambda ticket, key, values, _: clients.NodeDownRequested(ticket, key, number(values, "node"), down)


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
        text(values, "only") if "only" in values else "pending",  # type: ignore[arg-type]
        text(values, "primary"),  # type: ignore[arg-type]
        float(number(values, "limit")),
    )


OPERATIONS: tuple[Operation, ...] = (
    *(probe(route) for route in probes.ROUTES),
    Operation(
        "status",
        "GET",
        "/status",
        "Everything this node knows; answered by a node without a cluster, too",
        Rights.READ,
        shapes.Whole,
        READ,
        view=views.whole,
    ),
    shown("/map", "Cluster map and settings", shapes.Whole, views.whole),
    shown(
        "/info",
        "What a node that was added earlier needs in order to start",
        shapes.StartInformation,
        views.start_information,
    ),
    shown(
        "/quorum", "Who votes, who is heard, whether that is enough; the same by votequorum's rules; two-node fencing, "
        "forced quorums",
        shapes.QuorumAnswer, views.quorum,
    ),
    shown(
        "/replication",
        "Role, timeline, position and lag of every database",
        shapes.ReplicationAnswer,
        views.replication,
    ),
    shown(
        "/backups",
        "Base backups, and whether the archive has what they need, as this host last saw them",
        BackupsStatus,
        views.backups,
    ),
    shown("/config", "Replicated settings of the cluster", dict[str, str], views.settings),
    Operation(
        "change_config",
        "POST",
        "/config",
        "Change replicated settings",
        Rights.OPERATE,
        shapes.DoneAnswer,
        (*WRITE, "body-too-large", "body-too-slow", "wrong-content-type", "wrong-value"),
        (KEY,),
        event=lambda ticket, key, _, changes: clients.SettingsChangeRequested(ticket, key, changes),
        body="settings",
    ),
    shown(
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
        (*WRITE, "body-too-large", "body-too-slow", "wrong-content-type", "wrong-value"),
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
            KEY,
        ),
        event=lambda ticket, key, values, changes: clients.DatabaseChangeRequested(
            ticket, key, changes, optional_number(values, "cas"), str(values["by"] or ""),
            _plan(values) if values["restart"] == "rolling" else None,
        ),
        body="parameters",
    ),
    change(
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
    change(
        "cancel_restart",
        "DELETE",
        "/db-restart",
        "Restart no further server",
        lambda ticket, key, values, _: clients.RestartCancelRequested(ticket, key, str(values["by"] or "")),
        _BY,
    ),
    shown(
        "/leader",
        "Addresses of the leader and of the primary; the change of leader that is scheduled, under way, past",
        shapes.LeaderAnswer,
        views.leader,
    ),
    change(
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
    change(
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
        JOINED,
        event=lambda ticket, key, values, _: clients.FailoverShown(ticket),
    ),
    change(
        "force_failover",
        "POST",
        "/failover",
        "Let the best database that is left take over, although it may lack what was acknowledged",
        lambda ticket, key, values, _: clients.FailoverRequested(ticket, key, number(values, "reign")),
        Parameter("reign", "query", "integer", "The reign in force, as GET /failover shows it", required=True,
                  maximum=INDEX_MAX),
        Parameter("accept", "query", "choice", "What you accept", choices=("data-loss",), required=True),
    ),
    change(
        "pause",
        "POST",
        "/pause",
        "Leave all databases alone: none is started, stopped, promoted, copied or pointed elsewhere",
        lambda ticket, key, values, _: clients.PauseRequested(ticket, key, text(values, "reason")),
        Parameter("reason", "query", "text", "Why; it is shown everywhere until the resume", default=""),
    ),
    change(
        "resume",
        "POST",
        "/resume",
        "End the pause; whose primary ran without a lease is waited for before anybody else may take over",
        lambda ticket, key, values, _: clients.ResumeRequested(ticket, key, optional_number(values, "abandon")),
        Parameter(
            "abandon",
            "query",
            "integer",
            "Node that is not waited for: its database must have ended, else it goes on taking writes that are lost",
            maximum=NODE_MAX,
        ),
    ),
    change(
        "fence",
        "POST",
        "/fence",
        "Have the host of a node switched off or rebooted by the leader's fence agents, or confirm that it is off",
        lambda ticket, key, values, _: clients.FenceRequested(
            ticket, key, number(values, "node"), text(values, "ip"), values["confirm"] == "off"
        ),
        Parameter("node", "query", "integer", "Number of the node", required=True, maximum=NODE_MAX),
        Parameter("ip", "query", "address", "Address of that node's host, as a proof that it is meant", required=True),
        Parameter(
            "confirm",
            "query",
            "choice",
            "off: nothing is switched; you have seen that the host of the former primary is off, and nobody waits for "
            "it any longer. If it is not, its database may go on beside the new primary",
            choices=("off",),
        ),
    ),
    change(
        "force_quorum",
        "POST",
        "/force-quorum",
        "Let this node go on from its log as a cluster without the majority, which is lost for good; its nodes join it "
        "when they come back. The answer says that it has begun; GET /status says how it went",
        _force_quorum,
        Parameter("name", "query", "name", "The cluster's name, as a proof that it is meant", required=True),
        Parameter("nodes", "query", "numbers", "Nodes that are counted on beside this one, as 1,4; without it all that "
                  "are heard"),
        Parameter("confirm-off", "query", "addresses", "Addresses of the hosts that you have seen off, as "
                  "10.0.0.1,10.0.0.2. If one is not, its database may go on beside the new primary, and what it takes "
                  "is lost"),
        Parameter("check", "query", "choice", "true: nothing is done; the answer says what would be, and what stands "
                  "against it", choices=("false", "true"), default="false"),
        _BY,
    ),
    change(
        "add_node",
        "POST",
        "/node",
        "Expect a node; it starts as a listener",
        lambda ticket, key, values, _: clients.NodeAddRequested(
            ticket, key, text(values, "ip"), text(values, "role")
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
    change(
        "promote_node",
        "PATCH",
        "/node/{node}",
        "Make a listener a full node",
        lambda ticket, key, values, _: clients.NodePromoteRequested(
            ticket,
            key,
            number(values, "node"),
            optional_number(values, "db-port"),
            optional_number(values, "api-port"),
        ),
        PATH_NODE,
        Parameter("db-port", "query", "integer", "New port of its database", maximum=PORT_MAX),
        Parameter("api-port", "query", "integer", "New port of its REST interface", maximum=PORT_MAX),
    ),
    change(
        "remove_node",
        "DELETE",
        "/node/{node}",
        "Remove a node for good",
        lambda ticket, key, values, _: clients.NodeRemoveRequested(ticket, key, number(values, "node")),
        PATH_NODE,
    ),
    change(
        "node_down",
        "POST",
        "/node-down/{node}",
        "The node's database has trouble: it can become no leader, and is no replica for the pool",
        _node_down(True),
        PATH_NODE,
    ),
    change(
        "node_well",
        "DELETE",
        "/node-down/{node}",
        "The node's database is well again",
        _node_down(False),
        PATH_NODE,
    ),
    stored(
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
    stored(
        "read_key",
        "GET",
        "/kv/{key}",
        "The value of a key, as it was written; the header X-Qluster-Index has the index of its last change",
        lambda ticket, _, values, __: clients.ValueReadRequested(
            ticket, text(values, "key"), str(values["consistency"])
        ),
        _NAME,
        answer="application/octet-stream",
        errors=("no-such-key",),
    ),
    stored("write_key", "PUT", "/kv/{key}", "Write a value of any bytes", _write_value, _NAME, _CAS, body="value"),
    stored(
        "remove_key",
        "DELETE",
        "/kv/{key}",
        "Remove a key",
        lambda ticket, key, values, _: _write_value(ticket, key, values, None),
        _NAME,
        _CAS,
    ),
    *TASK_OPERATIONS,
    Operation(
        "snapshot",
        "GET",
        "/snapshot",
        "The newest snapshot, for another node of this cluster; a range of bytes can be asked for",
        Rights.OPERATE,
        "application/octet-stream",
        (*READ, "read-only-token", "no-snapshot", "no-such-range"),
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
        READ,
        file="metrics",
    ),
    Operation(
        "openapi",
        "GET",
        "/openapi.json",
        "This description",
        Rights.NONE,
        "application/json",
        OPEN,
        file="openapi",
    ),
    Operation(
        "swagger",
        "GET",
        "/swagger",
        "This description as a page to try it",
        Rights.NONE,
        "text/html",
        OPEN,
        file="swagger",
    ),
)
"""All operations, in the order of the documentation."""
