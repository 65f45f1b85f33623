"""What must hold where a cluster has fence agents: who has not given word is off before anybody reigns after it."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import TYPE_CHECKING

from qluster.cluster.commands import Reign
from qluster.node import Node

if TYPE_CHECKING:
    from sim.host import Host


def unfenced(host: Host, node: Node, last: Reign) -> str:
    """Why the node may not reign after the former primary yet, as the world knows it; "" when it may."""
    section, leading, member = node.config.fencing, node.governing.leading, node.settled.get(last.node)
    if section is None or leading is None or node.qraft is None or last.standby or last.node == node.me:
        return ""
    if member is None or member.ip not in section.hosts or _word(node, last):
        return ""
    target, office = host.world.hosts[member.ip], host.world_time(leading.began)
    if node.qraft.off(last.node):
        # Before it was elected: one of two goes on only then.
        office = host.world_time(node.heard(last.node) or 0.0)
        return "" if max(target.last_off_at, target.lied_at) > office else f"node {last.node} was not switched off"
    fenced = node.state.fencings.of(last.node)
    if fenced is not None and fenced.reign == last.number and fenced.confirmed:
        return ""
    shots = fenced.shots if fenced is not None and fenced.reign == last.number else 0
    if section.when_failed == "lease" and shots >= section.attempts:
        return ""
    if max(target.last_off_at, target.lied_at) < office:
        return f"node {last.node} was not switched off since node {node.me} leads, and gave no word ({shots} shots)"
    shot, heard = node.fences.shots.get(last.node), node.heard(last.node)
    if shot is None or (heard is not None and heard > shot.ordered_at):
        return f"node {last.node} was heard after the shot at it was ordered, and gave no word"
    return ""


def _word(node: Node, last: Reign) -> bool:
    leading, yielded = node.governing.leading, node.state.switching.yielded
    assert leading is not None and node.qraft is not None
    handed = yielded is not None and yielded.reign == last.number
    return handed or last.node in leading.succession.replies or node.qraft.left(last.node) >= last.term
