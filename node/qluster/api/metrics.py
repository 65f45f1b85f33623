"""The status as metrics for Prometheus.

This file must not know about requests; names, help and labels of all metrics stand here.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from qluster.api import views
from qluster.api.probes import ROUTES, No
from qluster.status import ClusterStatus, Health, Status
from qluster.tasked import TasksStatus
from qluster.tasks.life import FINAL, State

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
ROLES = ("joining", "listener", "follower", "pre-candidate", "candidate", "leader")
CLAIMS = ("none", "waits", "fencing", "fenced", "alone", "failed", "barred")
"""Words of ``TwoNodeStatus.claim``."""
TASK_STATES = tuple(state.name.lower() for state in State if state not in FINAL)


def exposition(status: Status) -> bytes:
    """The text that Prometheus reads."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(status))
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        yield from _own(self._status)
        yield from _cluster(self._status)
        yield from _alone(self._status.cluster)
        yield from _nodes(self._status)
        yield from _databases(self._status)
        yield from _backups(self._status)
        yield from _tasks(self._status.tasks)
        yield from _health(self._status.health)


def _gauge(name: str, text: str, value: float | None) -> Iterator[Metric]:
    """A metric without labels; what is not known is left out."""
    if value is not None:
        yield GaugeMetricFamily(f"qluster_{name}", text, value=value)


def _own(status: Status) -> Iterator[Metric]:
    own = status.own
    build = InfoMetricFamily("qluster_node", "This node: number, cluster and version of the daemon.")
    build.add_metric(
        [], {"node": str(own.node or ""), "cluster": status.cluster.name, "version": own.version}
    )
    yield build
    yield from _gauge("uptime_seconds", "Seconds since the daemon started.", views.duration(own.uptime))
    yield from _gauge("may_write", "1 on the node that a client may write to.", own.may_write)
    yield from _gauge("lease_left_seconds", "Seconds the lease still holds.", views.duration(own.lease_left))
    if own.device is not None:
        yield from _gauge("arbiter_connected", "1 while the arbiter knows this node.", own.device.connected)
        given = own.device.answer == "ack"
        yield from _gauge("arbiter_vote", "1 while the arbiter gives its vote to this node's membership.", given)
    role = GaugeMetricFamily("qluster_consensus_role", "1 for the role this node has.", labels=["role"])
    for name in ROLES:
        role.add_metric([name], own.consensus_role == name)
    yield role
    events = CounterMetricFamily("qluster_events", "What has happened since the start.", labels=["event"])
    for name, count in sorted(own.counters.items()):
        events.add_metric([name], count)
    yield events


def _cluster(status: Status) -> Iterator[Metric]:
    cluster = status.cluster
    yield from _gauge("joined", "1 when this node belongs to a cluster.", cluster.cluster is not None)
    yield from _gauge("quorate", "1 when this node hears an electing quorum.", cluster.quorate)
    yield from _gauge("can_commit", "1 when enough nodes are heard to commit.", cluster.can_commit)
    yield from _gauge("has_leader", "1 when a leader is known.", cluster.leader is not None)
    yield from _gauge("term", "Term of the consensus.", cluster.term)
    yield from _gauge("voters", "Nodes that vote.", cluster.voters)
    yield from _gauge("quorum", "Votes needed to elect.", cluster.quorum)
    yield from _gauge("commit_index", "Newest committed log index known here.", cluster.commit_index)
    yield from _gauge("applied_index", "Newest log index applied here.", cluster.applied_index)
    yield from _gauge("last_index", "Newest log index held here.", cluster.last_index)
    yield from _gauge("snapshot_index", "Log index of the newest snapshot.", cluster.snapshot_index)
    pause = cluster.pause
    yield from _gauge("paused", "1 while databases are left alone.", pause is not None and pause.active)
    yield from _gauge(
        "unleased_node",
        "Node whose primary may take writes without a lease, in a pause and until it is heard after it; 0: none.",
        (pause.node or 0) if pause is not None else 0,
    )
    standby = cluster.standby
    yield from _gauge("standby_cluster", "1 while an installation outside is followed.", standby is not None)
    if standby is not None:
        yield from _gauge("standby_streaming", "1 while WAL comes from there.", standby.streaming)
        if standby.lag_bytes is not None:
            yield from _gauge("standby_lag_bytes", "WAL of that one that is not replayed here.", standby.lag_bytes)
    if cluster.reign is not None:
        yield from _gauge("reign", "Number of the reign in force.", cluster.reign.number)
        yield from _gauge(
            "reign_lost_bytes",
            "WAL left behind by the last change of primary.",
            cluster.reign.lost_bytes,
        )
        if cluster.reign.bound_bytes is not None:
            yield from _gauge(
                "reign_bound_bytes", "Most acknowledged WAL that the last change of primary can have lost.",
                cluster.reign.bound_bytes,
            )  # fmt: skip


def _alone(cluster: ClusterStatus) -> Iterator[Metric]:
    """Going on without the majority: one of two by fencing, or by force."""
    pair = cluster.two_node
    if pair is not None:
        yield from _gauge("two_node_in_force", "1 while one of two may go on alone by fencing.", pair.in_force)
        yield from _gauge("two_node_able", "1 when this node could do so now.", pair.able)
        claim = GaugeMetricFamily("qluster_two_node_claim", "1 for how far it is with that.", labels=["state"])
        for name in CLAIMS:
            claim.add_metric([name], pair.claim == name)
        yield claim
    yield from _gauge("forced_quorums", "How often an operator forced a quorum, by this log.", len(cluster.forced))
    if cluster.forced:
        last = cluster.forced[-1]
        yield from _gauge("forced_quorum_timestamp_seconds", "When the last one was, since 1970.", last.at)
        yield from _gauge("forced_quorum_outside", "Nodes given up by it that are no members yet.", len(last.outside))


def _nodes(status: Status) -> Iterator[Metric]:
    labels = ["node", "ip"]
    alive = GaugeMetricFamily("qluster_member_alive", "1 when the member is heard.", labels=labels)
    down = GaugeMetricFamily("qluster_member_down", "1 when the member is marked down.", labels=labels)
    heard = GaugeMetricFamily("qluster_member_heard_seconds", "Seconds since it was heard.", labels=labels)
    match = GaugeMetricFamily("qluster_member_match_index", "Log index it is known to hold.", labels=labels)
    for node in status.nodes:
        values = [str(node.node), node.ip]
        alive.add_metric(values, node.alive)
        down.add_metric(values, node.down)
        if node.heard_ago is not None:
            heard.add_metric(values, round(node.heard_ago, 2))
        if node.match_index is not None:
            match.add_metric(values, node.match_index)
    yield from (alive, down, heard, match)


def _databases(status: Status) -> Iterator[Metric]:
    labels = ["node", "ip"]
    role = GaugeMetricFamily(
        "qluster_database_role", "1 for the role its database has.", labels=[*labels, "role"]
    )
    position = GaugeMetricFamily("qluster_database_position_bytes", "Its WAL position.", labels=labels)
    lag = GaugeMetricFamily("qluster_database_lag_bytes", "How far it is behind.", labels=labels)
    streaming = GaugeMetricFamily("qluster_database_streaming", "1 when it receives WAL.", labels=labels)
    held = GaugeMetricFamily(
        "qluster_database_slot_held_bytes", "WAL that a replication slot keeps.", labels=[*labels, "slot"]
    )
    room = GaugeMetricFamily("qluster_database_room_bytes", "What is free on its disk, or its WAL's.", labels=labels)
    waiting = GaugeMetricFamily(
        "qluster_database_archive_waiting_bytes", "Finished WAL of the primary that is not archived.", labels=labels
    )
    for member in status.nodes:
        database = member.database
        for slot in database.slots if database else ():
            held.add_metric([str(member.node), member.ip, slot.name], slot.held_bytes)
        if database is not None and database.room_bytes is not None:
            room.add_metric([str(member.node), member.ip], database.room_bytes)
        if database is not None and database.archive_waiting_bytes is not None:
            waiting.add_metric([str(member.node), member.ip], database.archive_waiting_bytes)
    for node in views.replication(status).nodes:
        values = [str(node.node), node.ip]
        role.add_metric([*values, node.role], 1)
        streaming.add_metric(values, node.streaming)
        if node.position is not None:
            position.add_metric(values, node.position)
        if node.lag_bytes is not None:
            lag.add_metric(values, node.lag_bytes)
    yield from (role, position, lag, streaming, held, room, waiting)
    yield from _parameters(status)


def _parameters(status: Status) -> Iterator[Metric]:
    """How far the databases have come with their parameters."""
    labels = ["node", "ip"]
    pending = GaugeMetricFamily("qluster_database_pending_parameters", "Those that wait for a restart.", labels=labels)
    refused = GaugeMetricFamily(
        "qluster_database_parameters_refused", "1 when it runs with those of before.", labels=labels
    )
    for node in status.nodes:
        if node.database is not None and node.db_port is not None:
            pending.add_metric([str(node.node), node.ip], len(node.database.pending))
            refused.add_metric([str(node.node), node.ip], bool(node.database.refused))
    yield from (pending, refused)
    yield from _gauge("database_parameters_version", "Version of the parameters.", status.cluster.database_version)
    restart = status.cluster.database_restart
    restarting = restart is not None and restart.state == "running"
    yield from _gauge("databases_restarting", "1 while all restart in turn.", restarting)


def _backups(status: Status) -> Iterator[Metric]:
    found = status.backups
    if found is None:
        return
    yield from _gauge("backups_seen", "1 when this host can see backups and archive.", not found.error)
    yield from _gauge("backups_looked_seconds", "Seconds since it saw them.", views.duration(found.looked_ago))
    yield from _gauge("backups", "Base backups there are.", found.count)
    yield from _gauge("backup_age_seconds", "Seconds since the newest ended.", views.duration(found.newest_age))
    yield from _gauge("backup_failed", "1 when the last attempt to take one failed.", found.failed_ago is not None)
    yield from _gauge("backup_taking", "1 while this node takes one.", found.taking)
    yield from _gauge("archive_complete", "1 when the archive has what all backups need.", found.archive_complete)
    yield from _gauge(
        "archive_age_seconds", "Seconds since WAL was last archived.", views.duration(found.archive_age)
    )
    yield from _gauge("archive_waiting_bytes", "Finished WAL of this host that is not archived.", found.waiting_bytes)


def _tasks(tasks: TasksStatus) -> Iterator[Metric]:
    """How many wait and run, and what is left for more; how many ended is counted among the events."""
    states = GaugeMetricFamily("qluster_tasks", "Tasks that are not over.", labels=["state"])
    for name in TASK_STATES:
        states.add_metric([name], tasks.states.get(name, 0))
    yield states
    yield from _gauge("tasks_known", "Tasks that are over and still known.", tasks.history)
    if tasks.enabled:
        yield from _gauge("tasks_here", "Tasks that this host has.", tasks.running)
        yield from _gauge("task_runner_fault", "1 while this host runs tasks and begins none.", bool(tasks.fault))
    if tasks.slots:
        labels = ["node", "ip"]
        total = GaugeMetricFamily("qluster_task_slots", "Slots of a node; the leader has them.", labels=labels)
        used = GaugeMetricFamily("qluster_task_slots_used", "Of these, what its tasks take.", labels=labels)
        for one in tasks.slots:
            total.add_metric([str(one.node), one.ip], one.total)
            used.add_metric([str(one.node), one.ip], one.used)
        yield from (total, used)


def _health(health: Health) -> Iterator[Metric]:
    """What load balancers are told here: an alarm on these is an alarm on what they see."""
    said = GaugeMetricFamily("qluster_probe", "1 where the route of load balancers answers 200.", labels=["path"])
    for route in ROUTES:
        if not route.alias:
            said.add_metric([route.path], not isinstance(route.judge(health, None), No))
    yield said
    database = health.database
    if database is not None:
        text = "Seconds since its database last answered."
        yield from _gauge("database_answered_seconds", text, views.duration(database.answered_ago))
        text = "It has all that the primary had so long ago."
        yield from _gauge("database_lag_seconds", text, views.duration(database.lag_seconds))
