"""The shapes of all JSON answers: what a client may count on.

This file must not know where a value comes from; ``views.py`` fills it.

Shapes of nodes and clusters extend those of ``status.py``, so a field added there appears here.
Durations are seconds, rounded to hundredths; sizes, lags and positions are bytes;
``..._text`` is the same position as PostgreSQL writes it.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from qluster.archived import BackupsStatus
from qluster.consulted import VotingDevice
from qluster.forced import ForcedStatus
from qluster.paired import TwoNodeStatus
from qluster.status import (
    ClusterStatus,
    DatabaseSettingsStatus,
    DatabaseStatus,
    EndedStatus,
    NodeStatus,
    OwnStatus,
    PauseStatus,
    PlanStatus,
    PoolStatus,
    ReignStatus,
)
from qluster.tasked import TasksStatus
from qluster.voted import QuorumChangeStatus, VotesStatus


class FieldFault(Struct, frozen=True, kw_only=True):
    """One wrong parameter or field, and what is wrong with it."""

    field: str
    message: str


class NodeAddress(Struct, frozen=True, kw_only=True):
    """Where a node and its database are reached."""

    node: int
    ip: str
    api_port: int
    db_port: int | None


class KeyAnswer(Struct, frozen=True, kw_only=True):
    """A key of the key-value store: index of its last change, bytes of its value."""

    key: str
    index: int
    size: int


class KeysAnswer(Struct, frozen=True, kw_only=True):
    """Keys in order; ``more``: others follow the last one."""

    keys: list[KeyAnswer]
    more: bool


class CandidateAnswer(Struct, frozen=True, kw_only=True):
    """A node with a database: whether it could take over, and why not."""

    node: int
    able: bool
    reason: str
    timeline: int | None
    position: int | None


class FailoverAnswer(Struct, frozen=True, kw_only=True):
    """Who would be the next primary if the present one were gone now."""

    reign: int
    """The reign in force; who forces a failover names it."""
    primary: int | None
    serves: bool
    """The primary serves: nobody takes over."""
    synchronous: str
    maximum_lag: int
    nodes: list[CandidateAnswer]
    successor: int | None
    """Who has the best database of those that answer; null: nobody could take over."""
    by_itself: bool
    """It takes over without an operator."""
    reason: str
    """What stands against that."""
    known_loss_bytes: int | None
    """WAL that is known to be missing there; with synchronous replication not all of it was acknowledged."""
    worst_loss_bytes: int | None
    """What can be missing there at most; null: nobody can tell."""


class ErrorAnswer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is wrong, in one word and one sentence, and what to do."""

    error: str
    message: str
    hint: str
    field: str | None = None
    faults: list[FieldFault] | None = None
    leader: NodeAddress | None = None


class DatabaseAnswer(DatabaseStatus, frozen=True, kw_only=True):
    """A database, with what follows from comparing it with the primary."""

    position_text: str | None = None
    replayed_text: str | None = None
    lag_bytes: int | None = None
    """How far it is behind the primary; None when its timeline is another or one is unknown."""


class NodeAnswer(NodeStatus, frozen=True, kw_only=True):
    """One member as this node sees it."""

    database: DatabaseAnswer | None = None
    primary: bool = False
    """The reign in force names this node."""


class ReignAnswer(ReignStatus, frozen=True, kw_only=True):
    """Who the primary is, by decision of the log."""

    position_text: str


class PlanAnswer(PlanStatus, frozen=True, kw_only=True):
    """A change of leader that is scheduled; ``node`` null: to whoever is fittest then."""

    at: str  # type: ignore[assignment]


class EndedAnswer(EndedStatus, frozen=True, kw_only=True):
    """How the last change of leader by plan ended: ``reason`` is empty when ``node`` took over in ``reign``."""

    at: str  # type: ignore[assignment]


class SwitchoverAnswer(Struct, frozen=True, kw_only=True):
    """Changes of leader by plan: one that is scheduled, the node to which one is under way, and the last one."""

    planned: PlanAnswer | None
    under_way: int | None
    last: EndedAnswer | None


class ForcedAnswer(ForcedStatus, frozen=True, kw_only=True):
    """A founding that went on by force from the one before it; when, by the clock of the node that did."""

    at: str  # type: ignore[assignment]


class ClusterAnswer(ClusterStatus, frozen=True, kw_only=True):
    """The cluster as this node sees it."""

    reign: ReignAnswer | None
    switchover: SwitchoverAnswer  # type: ignore[assignment]
    forced: tuple[ForcedAnswer, ...] = ()


class Whole(Struct, frozen=True, kw_only=True):
    """Everything a node knows: the cluster map, the settings, itself."""

    own: OwnStatus
    cluster: ClusterAnswer
    nodes: list[NodeAnswer]
    settings: dict[str, str]
    db_config: dict[str, str]
    backups: BackupsStatus | None = None
    tasks: TasksStatus = TasksStatus()


class NodeSettingsAnswer(Struct, frozen=True, kw_only=True):
    """How far the server of a node has come with the parameters."""

    version: int
    """Version that it was told: every parameter of it that needs no restart is in force."""
    pending: dict[str, str]
    """Parameters that wait for a restart, with the value in force until then."""
    held: tuple[str, ...]
    """Those of them that wait for the primary's restart as well: a replica needs them as large as the primary has."""
    overridden: tuple[str, ...]
    """Parameters to which its config.yaml gives another value than the cluster's log."""
    refused: str
    """Why it runs with parameters of before, "" when it does not."""


class DatabaseSettingsAnswer(DatabaseSettingsStatus, frozen=True, kw_only=True):
    """The parameters of all databases, and how far each has come with them."""

    nodes: dict[str, NodeSettingsAnswer]


class MemberAddress(NodeAddress, frozen=True, kw_only=True):
    """A member: its address and its part in the cluster."""

    role: str


class StartInformation(Struct, frozen=True, kw_only=True):
    """What a node that was added earlier needs in order to start."""

    name: str
    cluster: int
    members: list[MemberAddress]
    leader: NodeAddress | None
    settings: dict[str, str]
    database_system_id: int | None
    pause: PauseStatus | None


class LeaderAnswer(NodeAddress, frozen=True, kw_only=True):
    """The leader's address and, once a reign is in force, the primary's."""

    primary: NodeAddress | None
    switchover: SwitchoverAnswer


class LeadsAnswer(Struct, frozen=True, kw_only=True):
    """This node leads and its database may be written to."""

    node: int
    term: int
    reign: int


class QuorumMember(Struct, frozen=True, kw_only=True):
    """A member's part in the quorum."""

    node: int
    ip: str
    role: str
    votes: int
    alive: bool
    heard_ago: float | None
    leader: bool
    down: bool


class QuorumChangeAnswer(QuorumChangeStatus, frozen=True, kw_only=True):
    """Quorum by votequorum's rules was gained or lost; when, by the clock of the node that is asked."""

    at: str  # type: ignore[assignment]


class VotequorumAnswer(VotesStatus, frozen=True, kw_only=True):
    """The votes by votequorum's rules, as this node counts them: they forbid, and elect nobody."""

    changes: list[QuorumChangeAnswer] = field(default_factory=list)  # type: ignore[assignment]


class QuorumAnswer(Struct, frozen=True, kw_only=True):
    """Who votes, who is heard, and whether that is enough."""

    quorate: bool
    can_commit: bool
    expected_votes: int
    total_votes: int
    """Votes of the members that this node hears, and of the device that counts for it."""
    quorum: int
    term: int
    leader: int | None
    members: list[QuorumMember]
    tie_breaker: int | None
    """The node with whom half of the votes are enough; null: with none."""
    resting: list[int]
    """Nodes that will vote, and are not counted until they keep up."""
    remarks: list[str]
    """What is easily overlooked in how the votes are distributed."""
    device: VotingDevice | None
    """What has votes beside the nodes; null: nothing."""
    node: int
    """The node that is asked."""
    binds: str
    """What decides who can be elected: the list of members in the log, always."""
    differs: str
    """Where the votes by votequorum's rules say otherwise than the list; empty where they do not."""
    votequorum: VotequorumAnswer
    two_node: TwoNodeStatus | None = None
    """How far one of two is with going on alone (cluster.two-node: fencing); null: that is off."""
    forced: tuple[ForcedAnswer, ...] = ()
    """How often an operator forced a quorum, the newest last, and who is outside since then."""
    forcing: str = ""
    """What this node is doing to force one, or why it came to nothing; empty: nothing."""


class ReplicationNode(Struct, frozen=True, kw_only=True):
    """A node's part in the replication of the database."""

    node: int
    ip: str
    db_port: int | None
    alive: bool
    down: bool
    role: str
    state: str
    timeline: int | None
    position: int | None
    position_text: str | None
    replayed: int | None
    replayed_text: str | None
    lag_bytes: int | None
    streaming: bool
    upstream: str | None
    error: str


class ReplicationAnswer(Struct, frozen=True, kw_only=True):
    """The primary, and every database held against it."""

    primary: int | None
    reign: ReignAnswer | None
    nodes: list[ReplicationNode]


class ServesAnswer(Struct, frozen=True, kw_only=True):
    """This node's database may be read, as the route asked."""

    node: int
    role: str
    """primary, replica, or none on a host without a database."""
    reign: int
    synchronous: bool
    """The primary waits for it."""
    lag_bytes: int | None = None
    lag_seconds: float | None = None
    """It has all that the primary had so long ago."""
    lag_known_ago: float | None = None
    """Seconds since the primary last said how far it is."""


class LivesAnswer(Struct, frozen=True, kw_only=True):
    """The daemon takes its turns."""

    turned_ago: float
    """Seconds since it last settled what had come in."""
    stopping: bool


class HealthAnswer(Struct, frozen=True, kw_only=True):
    """The daemon answers."""

    alive: bool
    stopping: bool
    uptime: float


class DoneAnswer(Struct, frozen=True, kw_only=True):
    """The change is committed, and applied on this node."""

    index: int
    """The log index of the change; 0 when nothing had to be written."""
    detail: dict[str, Any]


__all__ = [
    "ClusterAnswer",
    "DatabaseAnswer",
    "DatabaseSettingsAnswer",
    "DoneAnswer",
    "EndedAnswer",
    "ErrorAnswer",
    "FieldFault",
    "HealthAnswer",
    "LeaderAnswer",
    "LeadsAnswer",
    "MemberAddress",
    "NodeAddress",
    "NodeAnswer",
    "NodeSettingsAnswer",
    "PlanAnswer",
    "PoolStatus",
    "QuorumAnswer",
    "QuorumChangeAnswer",
    "QuorumMember",
    "ReignAnswer",
    "ReplicationAnswer",
    "ReplicationNode",
    "StartInformation",
    "SwitchoverAnswer",
    "VotequorumAnswer",
    "Whole",
]
