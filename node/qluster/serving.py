"""Decides what a client's request becomes: an entry, a change of members, a transfer, a refusal.

Must not know HTTP: requests are events, answers are outcomes.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec

from qluster import outlying, pausing, taking, wishes
from qluster.clients import (
    Busy,
    ClientRequest,
    DatabaseChangeRequested,
    DatabaseRestartRequested,
    Done,
    FailoverRequested,
    FailoverShown,
    FenceRequested,
    ForceQuorumRequested,
    LeaderChangeRequested,
    NodeAddRequested,
    NodeDownRequested,
    NodePromoteRequested,
    NodeRemoveRequested,
    NoLeader,
    NotJoined,
    NotLeader,
    Outcome,
    PauseRequested,
    PlanDropRequested,
    ReadRequested,
    Refused,
    RestartCancelRequested,
    ResumeRequested,
    SettingsChangeRequested,
    TaskLooked,
    TaskRequested,
    ValueFound,
    ValueReadRequested,
    ValuesListRequested,
    ValueWriteRequested,
)
from qluster.cluster import commands
from qluster.config import ConfigErrors, needs_restart, with_changes
from qluster.consensus.members import Members
from qluster.consensus.refusals import NotLeading, Overloaded, Refusal, TooLarge
from qluster.explaining import explain
from qluster.fencing import asked as fencing_asked
from qluster.leading import best_successor

if TYPE_CHECKING:
    from qluster.node import Node

RULE_KEYS = ("cluster.quorum-replication", "cluster.replication-factor")
"""Settings that say how many copies a commit needs: they change with the membership, not beside it."""

FINGERPRINT_SIZE = 8
"""Bytes of a request's fingerprint, which tells a mistake from a repetition: nobody attacks by his own key."""

Proposal = (
    FailoverRequested
    | SettingsChangeRequested
    | NodeAddRequested
    | NodeDownRequested
    | ValueWriteRequested
    | LeaderChangeRequested
    | PlanDropRequested
    | PauseRequested
    | ResumeRequested
    | FenceRequested
    | TaskRequested
)
"""Requests that become a command in the log."""

Reading = ReadRequested | ValueReadRequested | ValuesListRequested | FailoverShown | TaskLooked
"""Requests that change nothing."""

SELF_JUDGED = (ReadRequested, ValueReadRequested, ValuesListRequested, TaskLooked, ForceQuorumRequested)
"""Of these each node judges itself whether it may answer."""

_encoder = msgspec.msgpack.Encoder(order="deterministic")


def serve(node: Node, request: ClientRequest, now: float) -> None:
    """Take a client's request: answer it, or see to it that it will be answered."""
    outcome = _gate(node, request)
    if outcome is None:
        try:
            outcome = _take(node, request, now)
        except NotLeading:
            outcome = _elsewhere(node)
        except Overloaded as refusal:
            outcome = Busy(refusal.reason)
        except TooLarge as refusal:
            outcome = Refused("", refusal.reason, "too-large-for-log")
        except Refusal as refusal:
            outcome = Refused("node", refusal.reason)
    if outcome is not None:
        node.requests.answer(request.ticket, outcome)


def unread(node: Node, may: bool) -> Outcome | None:
    """Why a read cannot be served here although a reading round ended; None when it can."""
    return None if may else _elsewhere(node)


def _elsewhere(node: Node) -> Outcome:
    leader = node.qraft.leader if node.qraft else None
    return NotLeader(leader) if leader is not None and leader != node.me else NoLeader()


def _gate(node: Node, request: ClientRequest) -> Outcome | None:
    """The answer that does not depend on what is asked."""
    if node.qraft is None:
        return NotJoined()
    if node.stopping:
        return Busy("it is stopping")
    if node.requests.full:
        return Busy("too many requests are under way")
    if isinstance(request, SELF_JUDGED):
        return None  # the node that is asked looks itself what it may answer
    if node.qraft.role != "leader":
        return _elsewhere(node)
    if isinstance(request, FailoverShown):
        return None
    if request.key in node.state.keys:
        return node.state.happened(request.key, fingerprint(request))
    if not isinstance(request, LeaderChangeRequested) and (reason := node.governing.no_room()):
        return Busy(reason)
    return None if node.qraft.ready else Busy("it has just been elected")


def _take(node: Node, request: ClientRequest, now: float) -> Outcome | None:
    match request:
        case ValueWriteRequested(_, _, name, value, cas):
            return _propose(node, request, commands.ValueWritten(name, value, cas), now)
        case TaskRequested():
            return _take_task(node, request, now)
        case ValueReadRequested() | ValuesListRequested() | ReadRequested() | FailoverShown() | TaskLooked():
            return _take_reading(node, request, now)
        case DatabaseChangeRequested() | DatabaseRestartRequested() | RestartCancelRequested():
            return node.configuring.take(request, fingerprint(request), now)
        case SettingsChangeRequested():
            return _change_settings(node, request, now)
        case LeaderChangeRequested() | PlanDropRequested():
            return _change_leader(node, request, now)
        case FailoverRequested():
            return _accept_loss(node, request, now)
        case ForceQuorumRequested():
            return node.forcing.asked(request, now)
        case FenceRequested():
            fence = fencing_asked(node, request, now)
            return _propose(node, request, fence[0], now, fence[1]) if isinstance(fence, tuple) else fence
        case _:
            return _take_change(node, request, now)


def _take_task(node: Node, request: TaskRequested, now: float) -> Outcome | None:
    body = node.tasking.asked(request, now)
    if isinstance(body, Outcome):
        return body
    try:
        return _propose(node, request, body, now)
    except TooLarge as refusal:
        return taking.too_large(node, body, refusal.reason)


def _take_change(
    node: Node,
    request: PauseRequested
    | ResumeRequested
    | NodeAddRequested
    | NodePromoteRequested
    | NodeRemoveRequested
    | NodeDownRequested,
    now: float,
) -> Outcome | None:
    """A change of who is in the cluster, or of whether its databases are left alone."""
    match request:
        case PauseRequested() | ResumeRequested():
            asked = pausing.asked(node, request, now)
            return _propose(node, request, asked[0], now, asked[1]) if isinstance(asked, tuple) else asked
        case NodeAddRequested(_, _, ip, role):
            return _propose(node, request, commands.NodeExpected(ip, role), now)
        case NodePromoteRequested():
            return _promote(node, request, now)
        case NodeRemoveRequested(ticket, _, number):
            return _remove(node, ticket, number, now)
        case NodeDownRequested(_, _, number, down):
            if node.settled.get(number) is None:
                return _unknown(number)
            return _propose(node, request, commands.NodeMarked(number, down), now)


def _take_reading(node: Node, request: Reading, now: float) -> Outcome | None:
    match request:
        case ValueReadRequested(ticket, name, consistency):
            return _read(node, ticket, consistency, lambda: _value(node, name), now)
        case ValuesListRequested(ticket, prefix, after, consistency):
            return _read(node, ticket, consistency, lambda: _values(node, prefix, after), now)
        case TaskLooked(ticket, _, consistency):
            return _read(node, ticket, consistency, lambda: node.tasking.looked(request, now), now)
        case ReadRequested(ticket, consistency):
            return _read(node, ticket, consistency, lambda: Done(node.state.applied), now)
        case FailoverShown():
            return Done(node.state.applied, explain(node, now))


def fingerprint(request: ClientRequest) -> bytes:
    """What is asked for, in few bytes; b"" without an idempotency key.

    What a request leaves open (None) is left out, so that a version which knows one more parameter
    still recognises a request that was sent first to the version before.
    """
    if isinstance(request, Reading) or not request.key:
        return b""
    given = {each.name: getattr(request, each.name) for each in fields(request) if each.name not in ("ticket", "key")}
    asked = {name: value for name, value in given.items() if value is not None}
    return blake2b(_encoder.encode((type(request).__name__, asked)), digest_size=FINGERPRINT_SIZE).digest()


def _propose(
    node: Node, request: Proposal, body: commands.Body, now: float, detail: dict[str, object] | None = None
) -> Outcome | None:
    assert node.qraft is not None
    payload = commands.encode(body, request.key, fingerprint(request))
    at = node.qraft.propose("command", payload, now)
    node.requests.proposed(request.ticket, at, now, detail or {})
    return None


def _change_members(
    node: Node, ticket: int, members: Members, now: float, detail: dict[str, object]
) -> Outcome | None:
    assert node.qraft is not None
    at = node.qraft.change_members(members, now)
    node.requests.proposed(ticket, at, now, detail)
    return None


def _unknown(number: int) -> Refused:
    return Refused("node", f"there is no node {number}", "no-such-node")


def _value(node: Node, name: str) -> Outcome:
    found = node.state.store.of.get(name)
    if found is None:
        return Refused("key", f"there is no key {name}", "no-such-key")
    return ValueFound(found.value, found.index)


def _values(node: Node, prefix: str, after: str) -> Outcome:
    store = node.state.store
    names, more = store.names(prefix, after)
    keys = [{"key": name, "index": store.of[name].index, "size": len(store.of[name].value)} for name in names]
    return Done(node.state.applied, {"keys": keys, "more": more})


def _read(
    node: Node, ticket: int, consistency: str, outcome: Callable[[], Outcome], now: float
) -> Outcome | None:
    """Answer from the applied state: at once, under the lease, or when a round has confirmed it."""
    assert node.qraft is not None
    if consistency == "local":
        return outcome()
    if node.qraft.role != "leader":
        return _elsewhere(node)
    if consistency == "lease":
        held = node.qraft.ready and node.qraft.lease_until > now
        return outcome() if held else Busy("its lease is not confirmed")
    node.qraft.request_read(ticket, now)
    node.requests.reading(ticket, now, outcome)
    return None


def _change_settings(node: Node, request: SettingsChangeRequested, now: float) -> Outcome | None:
    changes = request.changes
    if not changes:
        return Refused("", "no setting is named")
    assert node.qraft is not None
    index, term = node.settings_proposed
    if term == node.qraft.term and index > node.state.applied:
        # Each of two changes may be good beside what is in force, and both together not.
        return Busy(f"the change of settings at entry {index} is not committed yet")
    try:
        changed = with_changes(node.config, changes)
    except ConfigErrors as errors:
        return Refused(next(iter(changes)) if len(changes) == 1 else "", str(errors))
    refusal = outlying.stands_against(node, changes, changed)
    if refusal is not None:
        return refusal
    if any(name.startswith("quorum.") for name in changes) and (fault := node.voting.fault(changed.quorum)):
        return Refused("", fault)
    changes = outlying.canonical(changes, changed)
    if any(name in RULE_KEYS for name in changes):
        rule = changed.cluster
        members = msgspec.structs.replace(
            node.settled, quorum_replication=rule.quorum_replication, replication_factor=rule.replication_factor
        )
        if members != node.qraft.members:
            node.qraft.change_members(members, now)
    restart = needs_restart(changes)
    detail: dict[str, object] = {"changed": changes, "needs_restart": restart, **outlying.known(node, changes)}
    outcome = _propose(node, request, commands.SettingsChanged(changes), now, detail)
    node.settings_proposed = (node.qraft.last_index, node.qraft.term)
    return outcome


def _change_leader(node: Node, request: LeaderChangeRequested | PlanDropRequested, now: float) -> Outcome | None:
    paused = pausing.stands_against_moving(node)
    if paused and isinstance(request, LeaderChangeRequested):
        return Refused("node", paused)
    if isinstance(request, PlanDropRequested):
        dropped = wishes.drop(node, now)
        return dropped if isinstance(dropped, Done) else _propose(node, request, dropped, now, {"changed": True})
    if node.hosting.follows_outside:
        return outlying.hand_over(node, request, now)
    if request.at is None:
        return wishes.begin(node, request, now)
    planned = wishes.plan(node, request, now)
    if isinstance(planned, Refused):
        return planned
    detail: dict[str, object] = {"leader": request.node, "scheduled": True, "changed": True}
    return _propose(node, request, planned, now, detail)


def _accept_loss(node: Node, request: FailoverRequested, now: float) -> Outcome | None:
    if not node.state.pause.allows(0):
        return Refused("reign", pausing.stands_against_moving(node) or pausing.waits_for(node.me))
    if node.keeper.serving or node.hosting.reigns():
        # Also while its server restarts: it would go on in this reign, and a failover long after it would lose more.
        return Refused("reign", f"node {node.me} serves reign {request.reign}; POST /leader changes the primary")
    found = explain(node, now)
    if found["reign"] == request.reign and found["successor"] is None:
        return Refused("reign", f"nobody could take over: {found['reason']}")
    detail = {name: found[name] for name in ("successor", "known_loss_bytes", "worst_loss_bytes")}
    return _propose(node, request, commands.LossAccepted(request.reign), now, detail)


def _promote(node: Node, request: NodePromoteRequested, now: float) -> Outcome | None:
    member = node.settled.get(request.node)
    if member is None:
        return _unknown(request.node)
    if member.role == "listener" and node.state.expected.get(member.ip) != "node":
        return Refused("node", f"node {request.node} is a listener for good; set role: node in its config.yaml")
    changed = msgspec.structs.replace(
        member,
        voter=True,
        role="node",
        db_port=request.db_port if request.db_port is not None else member.db_port,
        api_port=request.api_port if request.api_port is not None else member.api_port,
    )
    if changed == member:
        return Done(0, {"node": request.node, "changed": False})
    members = node.settled.with_member(changed)
    return _change_members(node, request.ticket, members, now, {"node": request.node, "changed": True})


def _remove(node: Node, ticket: int, number: int, now: float) -> Outcome | None:
    member = node.settled.get(number)
    if member is None:
        return _unknown(number)
    if number == node.state.pause.loose:
        return Refused("node", f"node {number} is not removed: {pausing.waits_for(number)}")
    if number == node.me:
        others = best_successor(node.governing.scene(now), node.settled)
        to = f" Hand leadership to node {others} first." if others is not None else ""
        return Refused("node", f"node {number} leads and holds the primary.{to}")
    return _change_members(node, ticket, node.settled.without(number), now, {"node": number})
