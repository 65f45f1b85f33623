"""What must hold of rings and votes in every simulated cluster that counts them."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import TYPE_CHECKING

from qluster.node import Node
from qluster.votes.information import NO_RING, Ring

from sim.checks import Violated

if TYPE_CHECKING:
    from sim.host import Host
    from sim.world import World


class VoteChecks:
    """Checks at every turn of a host, over its restarts."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.made: dict[tuple[int, Ring], frozenset[int]] = {}
        self._last: dict[tuple[int, int], Ring] = {}
        self._roles: dict[str, str] = {}
        self.forbidden = 0
        """Turns in which a node was kept from standing."""

    def after_event(self, host: Host, node: Node) -> None:
        """No two rings have one number, on each node they grow, and who is forbidden to stand does not begin to."""
        view, rings, qraft = node.voting.view, node.voting._rings, node.qraft
        if view is not None and rings is not None and rings.ring != NO_RING:
            ring, members = rings.ring, rings.members
            if self.made.setdefault((node.cluster, ring), members) != members:
                raise Violated(f"ring {ring} is of {set(members)} and of {set(self.made[node.cluster, ring])}")
            last = self._last.get((node.uid, node.me), NO_RING)
            if ring != last and ring.seq <= last.seq:
                raise Violated(f"{host.name} is in ring {ring} after {last}")
            if ring.seq > host.disk.ring:
                raise Violated(f"{host.name} is in ring {ring}, and its disk knows {host.disk.ring}")
            self._last[node.uid, node.me] = ring
            if view.ring != ring or node.me not in members:
                raise Violated(f"{host.name} counts the votes of {view.ring} in ring {ring} of {set(members)}")
        role = qraft.role if qraft is not None else ""
        veto = node.voting.veto
        self.forbidden += bool(veto)
        if veto and role == "pre-candidate" and self._roles.get(host.name) != role:
            raise Violated(f"{host.name} stands, and must not: {veto}")
        self._roles[host.name] = role

    def missing(self) -> str:
        """Liveness, once faults have stopped: what is still missing of one ring of all who vote; "" when nothing is."""
        for host in self._world.hosts.values():
            node = host.node
            if node is None or node.me not in node.settled.voters:
                continue
            view = node.voting.view
            if view is None:
                return f"{host.name} counts no votes: {node.voting.reason}"
            members = {one.node for one in view.members}
            if members != node.settled.voters:
                return f"{host.name} is in ring {view.ring} of {members}, {set(node.settled.voters)} vote"
            if not (view.settled and view.quorate):
                return f"{host.name} is not quorate: {view.reason}"
        return ""
