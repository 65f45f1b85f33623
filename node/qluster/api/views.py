"""What a node knows, turned into the shapes of the answers.

This file must not know about requests: it takes a status and gives a view of it.
Durations are rounded to hundredths of a second here and nowhere else.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import TypeVar

import msgspec

from qluster.api.shapes import (
    ClusterAnswer,
    DatabaseAnswer,
    DatabaseSettingsAnswer,
    EndedAnswer,
    ForcedAnswer,
    LeaderAnswer,
    MemberAddress,
    NodeAddress,
    NodeAnswer,
    NodeSettingsAnswer,
    PlanAnswer,
    QuorumAnswer,
    QuorumChangeAnswer,
    QuorumMember,
    ReignAnswer,
    ReplicationAnswer,
    ReplicationNode,
    StartInformation,
    SwitchoverAnswer,
    VotequorumAnswer,
    Whole,
)
from qluster.api.times import text_of
from qluster.archived import BackupsStatus
from qluster.consulted import VotingDevice
from qluster.fenced import FencingStatus
from qluster.paired import TwoNodeStatus
from qluster.status import (
    DatabaseStatus,
    NodeStatus,
    OwnStatus,
    ReignStatus,
    Status,
    SwitchoverStatus,
)
from qluster.voted import VotesStatus

_DECIMALS = 2
_NO_DATABASE = DatabaseAnswer()

Shape = TypeVar("Shape", bound=msgspec.Struct)


def position_text(position: int | None) -> str | None:
    """A WAL position as PostgreSQL writes it: two halves of 32 bits, in hexadecimal."""
    if position is None:
        return None
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def duration(seconds: float | None) -> float | None:
    """Seconds as they are shown."""
    return None if seconds is None else round(seconds, _DECIMALS)


def whole(status: Status) -> Whole:
    """Everything: the document of /map and of /status."""
    reign = status.cluster.reign
    return Whole(
        own=_own(status.own),
        cluster=_extended(
            ClusterAnswer, status.cluster, reign=_reign(reign), switchover=switchover(status.cluster.switchover),
            forced=_forced(status), two_node=_two_node(status),
        ),
        nodes=[_node(status, each) for each in status.nodes],
        settings=status.settings,
        db_config=status.db_config,
        backups=backups(status) if status.backups is not None else None,
        tasks=status.tasks,
    )


def backups(status: Status) -> BackupsStatus:
    """Backups and archive, as this host last saw them."""
    found = status.backups
    if found is None:
        return BackupsStatus(error="this host keeps no backups: its configuration has no section backup")
    ages = {name: duration(getattr(found, name)) for name in ("looked_ago", "newest_age", "failed_ago", "archive_age")}
    rounded = tuple(
        msgspec.structs.replace(each, age=round(each.age, _DECIMALS), took=round(each.took, _DECIMALS))
        for each in found.backups
    )
    return msgspec.structs.replace(found, backups=rounded, **ages)


def start_information(status: Status) -> StartInformation:
    """What a node that was added earlier needs in order to start."""
    number = status.cluster.cluster
    assert number is not None, "asked only of a node that has joined"
    return StartInformation(
        name=status.cluster.name,
        cluster=number,
        members=[
            MemberAddress(
                node=each.node, ip=each.ip, api_port=each.api_port, db_port=each.db_port, role=each.role
            )
            for each in status.nodes
        ],
        leader=leader_address(status),
        settings=status.settings,
        database_system_id=status.cluster.database_system_id,
        pause=status.cluster.pause,
    )


def settings(status: Status) -> dict[str, str]:
    """The replicated settings of the cluster."""
    return status.settings


def db_config(status: Status) -> DatabaseSettingsAnswer:
    """The parameters of all databases, and how far each has come with them."""
    known = status.database_settings
    assert known is not None, "asked only of a node that has joined"
    nodes = {str(each.node): _node_settings(each.database) for each in status.nodes if each.database is not None}
    return _extended(DatabaseSettingsAnswer, known, nodes={name: node for name, node in nodes.items() if node})


def _node_settings(database: DatabaseStatus) -> NodeSettingsAnswer | None:
    if database.role in ("none", "absent"):
        return None
    return NodeSettingsAnswer(
        version=database.settings_version, pending=database.pending, held=database.held,
        overridden=database.overridden, refused=database.refused,
    )


def leader_address(status: Status) -> NodeAddress | None:
    """Where the leader is reached, None when nobody is known to lead."""
    return _address(status, status.cluster.leader)


def leader(status: Status) -> LeaderAnswer | None:
    """The leader's address and the primary's, None when nobody is known to lead."""
    found = leader_address(status)
    if found is None:
        return None
    reign = status.cluster.reign
    return _extended(
        LeaderAnswer, found, primary=_address(status, reign.node if reign and not reign.standby else None),
        switchover=switchover(status.cluster.switchover),
    )  # fmt: skip


def switchover(found: SwitchoverStatus) -> SwitchoverAnswer:
    """Changes of leader by plan, with their dates as text."""
    planned, last = found.planned, found.last
    return SwitchoverAnswer(
        planned=None if planned is None else _extended(PlanAnswer, planned, at=text_of(planned.at)),
        under_way=found.under_way,
        last=None if last is None else _extended(EndedAnswer, last, at=text_of(last.at)),
    )


def quorum(status: Status) -> QuorumAnswer:
    """Who votes, who is heard, and whether that is enough."""
    members = [_quorum_member(each) for each in status.nodes]
    return QuorumAnswer(
        quorate=status.cluster.quorate,
        can_commit=status.cluster.can_commit,
        expected_votes=status.cluster.votes,
        total_votes=sum(each.votes for each in members if each.alive) + _votes_of(status.cluster.device),
        quorum=status.cluster.quorum,
        term=status.cluster.term,
        leader=status.cluster.leader,
        members=members,
        tie_breaker=status.cluster.tie_breaker,
        resting=list(status.cluster.resting),
        remarks=list(status.cluster.remarks),
        device=status.cluster.device,
        node=status.own.node or 0,
        binds="list",
        differs=_differs(status),
        votequorum=_votequorum(status.votes),
        two_node=_two_node(status),
        forced=_forced(status),
        forcing=status.cluster.forcing,
    )


def _forced(status: Status) -> tuple[ForcedAnswer, ...]:
    """The forced quorums, with their dates as text."""
    return tuple(_extended(ForcedAnswer, one, at=text_of(one.at)) for one in status.cluster.forced)


def _two_node(status: Status) -> TwoNodeStatus | None:
    found = status.cluster.two_node
    if found is None:
        return None
    last = msgspec.structs.replace(found.last, ago=round(found.last.ago, _DECIMALS)) if found.last is not None else None
    return msgspec.structs.replace(
        found, heard_ago=duration(found.heard_ago), next_in=duration(found.next_in), last=last
    )


def _votes_of(device: VotingDevice | None) -> int:
    """What the device adds here now."""
    return device.votes if device is not None and device.counts else 0


def _votequorum(votes: VotesStatus | None) -> VotequorumAnswer:
    if votes is None:
        return VotequorumAnswer(counted=False, reason="this version of the node says nothing of votes")
    changes = [_extended(QuorumChangeAnswer, each, at=text_of(each.at)) for each in votes.changes]
    return _extended(VotequorumAnswer, votes, changes=changes)


def _differs(status: Status) -> str:
    """Where votequorum says otherwise than the list of members, in words."""
    votes, cluster = status.votes, status.cluster
    if votes is None or not votes.counted:
        return ""
    words = {True: "quorate", False: "not quorate"}
    found = []
    if votes.quorate != cluster.quorate:
        found.append(f"by the list of members this node is {words[cluster.quorate]}, "
                     f"by votequorum {words[votes.quorate]} ({votes.reason})")
    if votes.quorum != cluster.quorum:
        found.append(f"by the list {cluster.quorum} votes of {cluster.votes} are needed, "
                     f"by votequorum {votes.quorum} of {votes.expected_votes}")
    return "; ".join(found) + ". The list decides who can be elected; votequorum only forbids." if found else ""


def replication(status: Status) -> ReplicationAnswer:
    """Every database, held against the primary's."""
    reign = status.cluster.reign
    return ReplicationAnswer(
        primary=reign.node if reign and not reign.standby else None,
        reign=_reign(reign),
        nodes=[_replication_node(status, each) for each in status.nodes if each.db_port is not None],
    )


def _extended(shape: type[Shape], plain: msgspec.Struct, **more: object) -> Shape:
    """``plain`` as the wider ``shape``, with the fields that it adds or narrows."""
    return shape(**{**msgspec.structs.asdict(plain), **more})


def _own(own: OwnStatus) -> OwnStatus:
    device = own.device
    if device is not None:
        device = msgspec.structs.replace(device, vote_ago=duration(device.vote_ago))
    return msgspec.structs.replace(
        own, uptime=duration(own.uptime), lease_left=duration(own.lease_left), device=device
    )


def _node(status: Status, node: NodeStatus) -> NodeAnswer:
    reign = status.cluster.reign
    return _extended(
        NodeAnswer,
        node,
        heard_ago=duration(node.heard_ago),
        database=_database(status, node),
        fencing=_fencing(node.fencing),
        primary=reign is not None and reign.node == node.node and not reign.standby,
    )


def _fencing(found: FencingStatus) -> FencingStatus:
    last = found.last
    if last is not None:
        last = msgspec.structs.replace(last, ago=round(last.ago, _DECIMALS))
    return msgspec.structs.replace(found, checked_ago=duration(found.checked_ago), last=last)


def _reign(reign: ReignStatus | None) -> ReignAnswer | None:
    if reign is None:
        return None
    return _extended(ReignAnswer, reign, position_text=position_text(reign.position))


def _database(status: Status, node: NodeStatus) -> DatabaseAnswer | None:
    if node.database is None:
        return None
    return _extended(
        DatabaseAnswer,
        node.database,
        position_text=position_text(node.database.position),
        replayed_text=position_text(node.database.replayed),
        lag_bytes=_lag_bytes(_followed(status), node.database),
    )


def _primary_database(status: Status) -> DatabaseStatus | None:
    """The database of the reign in force, if it is a primary by its own word."""
    reign = status.cluster.reign
    for node in status.nodes:
        if reign and node.node == reign.node and node.database and node.database.role == "primary":
            return node.database
    return None


def _followed(status: Status) -> DatabaseStatus | None:
    """Whom all databases are held against: the primary; in a standby cluster the one outside, as far as it is known."""
    reign = status.cluster.reign
    if reign is None or not reign.standby:
        return _primary_database(status)
    for node in status.nodes:
        if node.node == reign.node and node.database is not None and node.database.ahead is not None:
            return msgspec.structs.replace(node.database, position=node.database.ahead)
    return None


def _lag_bytes(primary: DatabaseStatus | None, other: DatabaseStatus) -> int | None:
    """Positions are comparable on one timeline only.

    The reports of two nodes are not of the same moment: a replica can seem to be ahead.
    """
    if primary is None or primary.position is None or other.position is None:
        return None
    if primary.timeline != other.timeline:
        return None
    return max(0, primary.position - other.position)


def _address(status: Status, number: int | None) -> NodeAddress | None:
    for node in status.nodes:
        if node.node == number:
            return NodeAddress(node=node.node, ip=node.ip, api_port=node.api_port, db_port=node.db_port)
    return None


def _quorum_member(node: NodeStatus) -> QuorumMember:
    return QuorumMember(
        node=node.node,
        ip=node.ip,
        role=node.role,
        votes=node.votes,
        alive=node.alive,
        heard_ago=duration(node.heard_ago),
        leader=node.leader,
        down=node.down,
    )


def _replication_node(status: Status, node: NodeStatus) -> ReplicationNode:
    database = _database(status, node) or _NO_DATABASE
    return ReplicationNode(
        node=node.node,
        ip=node.ip,
        db_port=node.db_port,
        alive=node.alive,
        down=node.down,
        role=database.role if node.database else "unknown",
        state=database.state,
        timeline=database.timeline,
        position=database.position,
        position_text=database.position_text,
        replayed=database.replayed,
        replayed_text=database.replayed_text,
        lag_bytes=database.lag_bytes,
        streaming=database.streaming,
        upstream=database.upstream,
        error=database.error,
    )
