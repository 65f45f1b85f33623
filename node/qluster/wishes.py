"""Decides what becomes of an operator's wish for another leader: refused, begun, or scheduled.

Must not know HTTP, nor how a switchover goes on once it has begun.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import TYPE_CHECKING

from qluster.clients import Done, LeaderChangeRequested, Outcome, Refused
from qluster.cluster.commands import SwitchoverEnded, SwitchoverPlanned
from qluster.requests import CONFIRM_TIMEOUT
from qluster.successor import best_fit, unfit
from qluster.switching import CHECKPOINT_PATIENCE, STOP_PATIENCE, TRANSACTION_PATIENCE, Switchover, Wish

if TYPE_CHECKING:
    from qluster.node import Node

AHEAD_MAX = 90 * 86400.0
"""Seconds that a switchover may be scheduled ahead: who plans more means another year, or milliseconds."""


def begin(node: Node, request: LeaderChangeRequested, now: float) -> Outcome | None:
    """Begin a switchover now; None: it is under way, and its client is told how it ends."""
    if request.node == node.me:
        return Done(0, {"leader": node.me, "changed": False})
    handing, switching = node.governing.handing, node.state.switching
    if handing.under_way or switching.under_way is not None:
        return Refused("node", "leadership is being handed over already; wait for its end")
    target, refusal = _target(node, request.node, now)
    if refusal is not None:
        return refusal
    patience = request.patience if request.patience is not None else TRANSACTION_PATIENCE
    one = handing.begin(Wish(target, bool(request.force), patience), now)
    watch(node, request.ticket, one, now)
    return None


def watch(node: Node, ticket: int, one: Switchover, now: float) -> None:
    """Tell a client how a switchover ends."""
    limit = CHECKPOINT_PATIENCE + STOP_PATIENCE + one.wish.patience
    deadline = now + limit + CONFIRM_TIMEOUT + 2 * node.config.cluster.node_timeout
    node.requests.watch(ticket, deadline, one.outcome)


def plan(node: Node, request: LeaderChangeRequested, now: float) -> Refused | SwitchoverPlanned:
    """What is put into the log for a switchover that is to come."""
    assert request.at is not None, "asked only with a time"
    wall = node.wall(now)
    if request.at <= wall:
        return Refused("at", f"this time is past: the leader's clock is {wall - request.at:.0f} s ahead of it")
    if request.at > wall + AHEAD_MAX:
        return Refused("at", f"this is more than {AHEAD_MAX / 86400:.0f} days ahead")
    if node.state.switching.planned is not None:
        return Refused("at", "a switchover is scheduled already; cancel it first with DELETE /leader")
    if request.node is not None and request.node != node.me:
        # Who leads by then is not known; that it can be led by this node at all should be.
        _, refusal = _target(node, request.node, now)
        if refusal is not None:
            return refusal
    patience = request.patience if request.patience is not None else TRANSACTION_PATIENCE
    return SwitchoverPlanned(request.node or 0, request.at, patience, bool(request.force))


def drop(node: Node, now: float) -> Done | SwitchoverEnded:
    """What is put into the log to cancel what is scheduled."""
    planned = node.state.switching.planned
    if planned is None:
        return Done(0, {"changed": False})
    return SwitchoverEnded(0, planned.number, "it was cancelled", node.wall(now))


def _target(node: Node, wanted: int | None, now: float) -> tuple[int, Refused | None]:
    scene = node.governing.scene(now)
    if wanted is None:
        best = best_fit(scene)
        if best is not None:
            return best, None
        others = [member.node for member in node.settled if member.voter and member.node != node.me]
        reasons = "; ".join(f"node {one}: {unfit(scene, one)}" for one in others) or "there is no other node"
        return 0, Refused("node", f"no node can take over: {reasons}")
    if node.settled.get(wanted) is None:
        return 0, Refused("node", f"there is no node {wanted}", "no-such-node")
    fault = unfit(scene, wanted)
    return wanted, Refused("node", f"node {wanted} cannot lead: {fault}") if fault else None
