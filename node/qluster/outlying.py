"""Decides what operators may ask of a cluster that follows an installation outside: another one of its databases, the
promotion of this site, another node that leads.

Must not know how anything outside is followed, nor HTTP.

Nobody else's word is needed for a promotion: that the other site takes no writes any more is the operator's to see to,
and nothing here can know it. The other direction is refused: a primary of its own would have to be given up for a copy.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import TYPE_CHECKING

from qluster import pausing
from qluster.clients import Done, LeaderChangeRequested, Outcome, Refused
from qluster.cluster.state import STANDBY_OF
from qluster.config import Config, shared
from qluster.consensus.refusals import Refusal
from qluster.health import lag_of
from qluster.requests import CONFIRM_TIMEOUT
from qluster.successor import best_fit, unfit

if TYPE_CHECKING:
    from qluster.node import Node


def stands_against(node: Node, changes: dict[str, str], changed: Config) -> Refused | None:
    """Why whom this cluster follows may not be changed so; ``changed`` is what the settings would be."""
    if STANDBY_OF not in changes or shared(changed)[STANDBY_OF] == node.state.values().get(STANDBY_OF, ""):
        return None
    if not node.state.follows_outside:
        return Refused(STANDBY_OF, (
            "this cluster has a primary of its own, whose transactions the copy of another installation would not "
            "have. Take the setting out of the configuration; or, to give them up, found the cluster anew with it: "
            "playbook reinit.yml"
        ))  # fmt: skip
    if changed.cluster.standby_of:
        return None
    paused = pausing.stands_against_moving(node)
    if paused:
        return Refused(STANDBY_OF, f"this site is not promoted: {paused}")
    if node.state.reign is None:
        return Refused(STANDBY_OF, "there is no copy of the installation outside yet that could be promoted")
    return None


def canonical(changes: dict[str, str], changed: Config) -> dict[str, str]:
    """The changes as the log has them: whether anything is followed is seen from the text alone."""
    if STANDBY_OF not in changes:
        return changes
    return {**changes, STANDBY_OF: shared(changed)[STANDBY_OF]}


def known(node: Node, changes: dict[str, str]) -> dict[str, object]:
    """What is answered beside the rest when this site is promoted: how far behind it is, as far as it knows."""
    if changes.get(STANDBY_OF) != "" or not node.state.follows_outside:
        return {}
    facts = node.keeper.facts
    lag = lag_of(facts.ahead, facts.replayed) if facts is not None else None
    streaming = facts is not None and facts.receiver == "streaming"
    return {"promoted": True, "known_lag_bytes": lag, "streaming": streaming}


def hand_over(node: Node, request: LeaderChangeRequested, now: float) -> Outcome | None:
    """Let another node lead: no client waits for it, so nothing is prepared. None: its end will be answered."""
    assert node.qraft is not None, "asked of a member"
    if request.at is not None:
        return Refused("at", "nothing is written in a standby cluster: hand it over at once, without a time")
    if request.node == node.me:
        return Done(0, {"leader": node.me, "changed": False})
    scene = node.governing.scene(now)
    target = request.node if request.node is not None else best_fit(scene)
    if target is None:
        return Refused("node", "no node can take over")
    if node.settled.get(target) is None:
        return Refused("node", f"there is no node {target}", "no-such-node")
    fault = unfit(scene, target)
    if fault:
        return Refused("node", f"node {target} cannot lead: {fault}")
    try:
        node.qraft.transfer(target, now)
    except Refusal as refusal:
        return Refused("node", refusal.reason)
    deadline = now + CONFIRM_TIMEOUT + 2 * node.config.cluster.node_timeout
    node.requests.watch(request.ticket, deadline, lambda: _handed(node, target))
    return None


def _handed(node: Node, target: int) -> Outcome | None:
    """How it ended; None while it goes on."""
    qraft, reign = node.qraft, node.state.reign
    assert qraft is not None and reign is not None, "begun by the leader of a reign"
    if reign.node == target:
        return Done(0, {"leader": target, "changed": True, "reign": reign.number})
    if qraft.role == "leader" and qraft.transferring is None:
        return Refused("node", f"node {target} did not take over")
    return None
