"""Turns what a node knows into the plain values of ``status.py``, and settings into those of QRaft.

Must not decide or change anything.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
from msgspec import to_builtins
from msgspec.structs import asdict

from qluster import __version__, pausing
from qluster.cluster.commands import Forced, Guarantee
from qluster.cluster.pause import Pause
from qluster.cluster.switchover import Switching
from qluster.config import Config, shared
from qluster.config.addresses import place_text
from qluster.consensus.members import Member, Members
from qluster.consensus.remarks import remarks, resting, tie_in_force, total_votes
from qluster.consensus.settings import Settings
from qluster.consulted import VotingDevice
from qluster.fenced import FencedStatus, FencingStatus
from qluster.forced import ForcedStatus, LostNode
from qluster.health import health, lag_of
from qluster.quorum import majority
from qluster.status import (
    ClusterStatus,
    EndedStatus,
    GuaranteeStatus,
    NodeStatus,
    OwnStatus,
    PauseStatus,
    PlanStatus,
    ReignStatus,
    StandbyStatus,
    Status,
    SwitchoverStatus,
    TagsStatus,
)
from qluster.transport.limits import LinkSettings
from qluster.voted import VotesStatus
from qluster.votes.display import structure

if TYPE_CHECKING:
    from qluster.node import Node


FORCED_SHOWN = 8
"""So many forced quorums are told of: nobody looks further back, and the log has them."""

COMMIT_NOTICE = 0.002
"""Seconds: under load the next entries carry the word within less, and an idle cluster has the time."""


def consensus_settings(config: Config, pause: Pause = Pause()) -> Settings:  # noqa: B008 - it cannot be changed
    """The part of a configuration that QRaft obeys. Nobody is removed for his silence in a pause, nor just after."""
    cluster = config.cluster
    return Settings(
        node_timeout=cluster.node_timeout,
        heartbeat_interval=cluster.heartbeat_interval,
        pre_voting_timeout=cluster.pre_voting_timeout,
        leader_voting_timeout=cluster.leader_voting_timeout,
        quorum_replication=cluster.quorum_replication,
        replication_factor=cluster.replication_factor,
        replication_retry_interval=cluster.replication_retry_interval,
        commit_notice=COMMIT_NOTICE,
        max_log_size=config.udp.max_log_size,
        autoremove_enabled=cluster.autoremove_enabled and not pause.active and not pause.loose,
        autoremove_minimum=cluster.autoremove_minimum,
        remove_interval=cluster.remove_interval,
        tie_breaker=cluster.auto_tie_breaker,
        last_man_standing=cluster.last_man_standing and not pause.active and not pause.loose,
        last_man_standing_window=cluster.last_man_standing_window,
        two_node=cluster.two_node == "fencing" and not pause.active and not pause.loose,
    )


def link_settings(before: LinkSettings, config: Config) -> LinkSettings:
    """The part of a configuration that the link obeys; what depends on the network stays as it was."""
    udp = config.udp
    return replace(
        before,
        max_log_size=udp.max_log_size,
        send_buffer_capacity=udp.send_buffer_capacity,
        recv_buffer_capacity=udp.recv_buffer_capacity,
        pacing_rate=udp.socket.pacing_rate,
    )


def overview(node: Node, now: float) -> Status:
    """Everything that a node knows of itself and its cluster."""
    return Status(
        own=_own(node, now),
        cluster=_cluster(node, now),
        nodes=[_member(node, member, now) for member in (node.qraft.members if node.qraft else ())],
        settings=shared(node.config, whole=True) | node.state.values(),  # the log lacks what came with a newer version
        db_config={**(node.config.database.parameters if node.config.database else {}), **node.state.database.values},
        database_settings=node.configuring.status(),
        health=health(node, now),
        votes=_votes(node),
        tasks=node.tasking.status(now),
    )


def _votes(node: Node) -> VotesStatus:
    """What this node counts by votequorum's rules."""
    view, voting = node.voting.view, node.voting
    if view is None:
        return VotesStatus(counted=False, reason=voting.reason, veto=voting.veto, changes=list(voting.changes))
    found = structure(view, {member.node: member.ip for member in node.settled})
    return msgspec.convert(
        {"counted": True, "veto": voting.veto, "changes": to_builtins(list(voting.changes)), **found}, VotesStatus
    )


def headline(node: Node, now: float) -> str:
    """This node in one line, for the service manager."""
    qraft = node.qraft
    if qraft is None:
        return f"joining: {_message(node, now)}"
    words = ["PAUSED"] if node.state.pause.active else []
    words.append(f"node {node.me} {qraft.role} in term {qraft.term}")
    if qraft.role != "leader":
        words.append(f"leader {qraft.leader}" if qraft.leader is not None else "no leader")
    if node.config.database is not None:
        words.append(_database_word(node, now))
    if node.config.pool is not None:
        words.append(f"pool -> {node.pointing.status.target or 'nobody'}")
    message = _message(node, now)
    return ", ".join(words) + (f": {message}" if message else "")


def _database_word(node: Node, now: float) -> str:
    if node.hosting.may_write(now):
        return "primary, may be written to"
    follows = f" of {node.keeper.status().upstream}, outside" if node.keeper.wanted.kind == "outside" else ""
    return node.keeper.status().role + follows


def _of_tasks(node: Node) -> dict[str, int]:
    """How many tasks ended in which state since the founding, by the log as far as it is known here."""
    board = node.state.tasks
    ended = {f"tasks_{state}": count for state, count in board.ended.items()}
    return {**ended, "tasks_submitted": board.next - 1, "task_words_refused": board.refused}


def _own(node: Node, now: float) -> OwnStatus:
    qraft = node.qraft
    leads = qraft is not None and qraft.role == "leader"
    return OwnStatus(
        node=node.me or None,
        ip=node.config.ip,
        api_port=node.config.api_port,
        version=__version__,
        consensus_role=qraft.role if qraft else "joining",
        may_write=node.hosting.may_write(now),
        lease_left=max(0.0, qraft.lease_until - now) if qraft is not None and leads else None,
        uptime=now - node.started,
        stopping=node.stopping,
        message=_message(node, now),
        counters={**node.link.counters, **node.counters, **_of_tasks(node)},
        device=node.consulting.status(now, *_way_and_fault(node, now)),
    )


def _unconfirmed(node: Node, now: float) -> str:
    """Whom a leader lacks that can confirm nothing: one that the arbiter helped to elect may stay for long."""
    if node.qraft is None or node.qraft.can_commit(now):
        return ""
    silent = [str(voter) for voter in sorted(node.qraft.members.voters) if not node.alive(voter, now)]
    return f"it leads and can confirm nothing, writes among it: it lacks node {', '.join(silent)}" if silent else ""


def _message(node: Node, now: float) -> str:
    """Why this node is not further along."""
    if node.short:
        return node.short
    if node.qraft is None:
        return node.message
    if node.untaken:
        return node.untaken
    if node.pairing.reason or node.keeper.fault:
        return node.pairing.reason or node.keeper.fault
    if node.state.pause.loose not in (0, node.me) and not node.state.pause.active:
        return pausing.waits_for(node.state.pause.loose)
    if node.qraft.role == "leader":
        return _unconfirmed(node, now) or (node.governing.reason if not node.hosting.reigns() else "")
    return "" if node.qraft.leader is not None else "no leader is known"


def _cluster(node: Node, now: float) -> ClusterStatus:
    qraft, reign = node.qraft, node.state.reign
    members = qraft.members if qraft else Members(())
    votes = total_votes(members) + members.device
    return ClusterStatus(
        name=node.state.name or node.config.cluster.name,
        cluster=node.cluster or None,
        term=qraft.term if qraft else 0,
        leader=qraft.leader if qraft else None,
        quorate=qraft is not None and qraft.quorate(now),
        can_commit=qraft is not None and qraft.leader is not None and qraft.can_commit(now),
        voters=len(members.voters),
        quorum=majority(votes) if votes else 0,
        commit_index=qraft.commit_index if qraft else 0,
        applied_index=node.state.applied,
        last_index=qraft.last_index if qraft else 0,
        snapshot_index=qraft.snapshot_index if qraft else 0,
        reign=None
        if reign is None
        else ReignStatus(
            number=reign.number,
            node=reign.node,
            term=reign.term,
            timeline=reign.timeline,
            position=reign.position,
            lost_bytes=reign.lost_bytes,
            bound_bytes=reign.bound_bytes,
            accepted=reign.accepted,
            left_bytes=reign.left_bytes,
            standby=reign.standby,
        ),
        guarantee=_guarantee(node.state.guarantees),
        database_system_id=node.state.system_id,
        database_version=node.state.database.version,
        database_restart=node.configuring.restart(),
        switchover=_switchover(node.state.switching),
        pause=_pause(node.state.pause),
        standby=_standby(node, now),
        votes=votes,
        tie_breaker=tie_in_force(members),
        resting=tuple(resting(members)),
        remarks=(
            *remarks(members, node.config.cluster.auto_tie_breaker), *_miscounting(node, members),
            *node.pairing.remarks,
        ),
        device=_device(node, members, now),
        forced=tuple(_forced(one, members) for one in node.state.forced[-FORCED_SHOWN:]),
        forcing=node.forcing.status,
        two_node=node.pairing.status(now),
    )


def _forced(forced: Forced, members: Members) -> ForcedStatus:
    here = {member.ip for member in members}
    return ForcedStatus(
        founding=forced.founding, former=forced.former, node=forced.node, index=forced.index, term=forced.term,
        counted_on=forced.named, given_up=tuple(LostNode(node=number, ip=ip) for number, ip in forced.left_out),
        fenced=forced.fenced, at=forced.at, by=forced.by,
        outside=tuple(LostNode(node=number, ip=ip) for number, ip in forced.left_out if ip not in here),
        awaited=tuple(one.node for one in members if one.node in forced.named and not one.voter),
    )  # fmt: skip


def _miscounting(node: Node, members: Members) -> list[str]:
    """Members of a version that counts by another rule than this list asks for."""
    reports = {member.node: node.reports.last(member.node) for member in members} if members.level else {}
    found = [number for number, report in reports.items() if report is not None and report.counting < members.level]
    return [
        f"node {number} has a version that counts nodes, where votes are counted: stop it, and install this version; "
        "it may elect or commit by another rule" for number in found
    ]  # fmt: skip


def _way_and_fault(node: Node, now: float) -> tuple[str, str]:
    """How the list counts a device, and why it does not count for this node."""
    return (node.qraft.members.way, node.qraft.device_fault(now)) if node.qraft is not None else ("", "")


def _device(node: Node, members: Members, now: float) -> VotingDevice | None:
    """What the list says of the device, and what this node has of it."""
    if not members.way or node.qraft is None:
        return None
    reason = node.qraft.device_fault(now)
    uid = f"{members.device_uid:016x}"
    return VotingDevice(votes=members.device, way=members.way, uid=uid, counts=not reason, reason=reason)


def _standby(node: Node, now: float) -> StandbyStatus | None:
    """Whom this cluster follows, by the last word of the node that does."""
    if not node.hosting.follows_outside:
        return None
    of, reign = ", ".join(place_text(*place) for place in node.config.cluster.standby_of), node.state.reign
    if reign is None:
        return StandbyStatus(of=of, node=None, error=_message(node, now))
    report = node.hosting.report(now) if reign.node == node.me else node.reports.last(reign.node)
    database = report.database if report is not None else None
    if database is None:
        return StandbyStatus(of=of, node=reign.node, error=f"node {reign.node} has not reported yet")
    return StandbyStatus(
        of=of, node=reign.node, upstream=database.upstream, streaming=database.streaming,
        lag_bytes=lag_of(database.ahead, database.replayed), error=database.error,
    )  # fmt: skip


def _switchover(switching: Switching) -> SwitchoverStatus:
    planned, under_way, last = switching.planned, switching.under_way, switching.last
    return SwitchoverStatus(
        planned=None if planned is None else PlanStatus(
            node=planned.node or None, at=planned.at, force=planned.force, patience=planned.patience
        ),
        under_way=under_way.node if under_way is not None else None,
        last=None if last is None else EndedStatus(
            node=last.node or None, reign=last.reign, at=last.at, reason=last.reason
        ),
    )  # fmt: skip


def _pause(pause: Pause) -> PauseStatus | None:
    if not pause.active and not pause.loose:
        return None
    return PauseStatus(active=pause.active, reason=pause.reason, node=pause.loose or None, since=pause.since)


def _guarantee(guarantees: tuple[Guarantee, ...]) -> GuaranteeStatus | None:
    if not guarantees:
        return None
    last = guarantees[-1]
    return GuaranteeStatus(standbys=last.standbys, needed=last.needed, settled=len(guarantees) == 1)


def _member(node: Node, member: Member, now: float) -> NodeStatus:
    mine = member.node == node.me
    report = node.hosting.report(now) if mine else node.reports.last(member.node)
    heard = now if mine else node.heard(member.node)
    assert node.qraft is not None
    return NodeStatus(
        node=member.node,
        ip=member.ip,
        api_port=member.api_port,
        db_port=member.db_port,
        role="node" if member.voter else "listener",
        leader=member.node == node.qraft.leader,
        alive=node.alive(member.node, now),
        heard_ago=None if heard is None else now - heard,
        down=member.node in node.state.down,
        match_index=node.qraft.match(member.node),
        version=report.version if report else "",
        settings_digest=report.settings_digest if report else "",
        database=report.database if report else None,
        pool=report.pool if report else None,
        tags=TagsStatus(**asdict(member.tags)) if member.tags else TagsStatus(),
        votes=member.votes if member.voter else 0,
        fencing=_fencing(node, member, now),
    )


def _fencing(node: Node, member: Member, now: float) -> FencingStatus:
    """How this node could fence another one, and when that one was last fenced."""
    fenced, section = node.state.fencings.of(member.node), node.file.fencing
    last = None if fenced is None else FencedStatus(
        ago=max(0.0, node.wall(now) - fenced.at), by=fenced.by or None, reign=fenced.reign, shots=fenced.shots,
        success=fenced.success, said=fenced.said, asked=fenced.asked,
    )  # fmt: skip
    host = section.hosts.get(member.ip) if section is not None else None
    left_off = node.fences.left_off(member.ip, node.heard(member.node))
    if host is None:
        return FencingStatus(last=last, left_off=left_off)
    checked = node.fences.checked.get(member.ip)
    return FencingStatus(
        action=host.action, agents=tuple("+".join(device.agent for device in level) for level in host.levels),
        checked_ago=None if checked is None else now - checked.at, well=None if checked is None else checked.well,
        said=checked.said if checked is not None else "", last=last, left_off=left_off,
    )  # fmt: skip
