"""Decides which voters a leader may call silent: it does not judge alone, and not while somebody may just be starting.

Must not know what is done with them.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from qluster.consensus.electorate import Electorate
from qluster.consensus.participant import Participant
from qluster.consensus.progress import Progress


@dataclass(frozen=True, slots=True)
class Silence:
    """What one leader heard of the voters, and what those who answer it heard."""

    me: Participant
    peers: Iterable[Progress]
    began_at: float
    """When the office began."""
    now: float

    def unreachable(self, interval: float) -> set[int]:
        """Nodes that this leader did not hear for this long, and a quorum of voters neither."""
        electorate = Electorate.of(self.me.membership.latest)
        limit = self.now - interval
        gone = {node for node in electorate.voters - {self.me.node} if self._heard(node) <= limit}
        return {node for node in gone if self._confirmed(node, electorate)}

    def is_new(self, interval: float) -> bool:
        """Whether a voter has fallen silent that may be back before this is over."""
        heard = [self._heard(node) for node in self.me.membership.latest.voters - {self.me.node}]
        return any(self.now - interval < at <= self.now - self.me.settings.node_timeout for at in heard)

    def _heard(self, node: int) -> float:
        return max(self.me.heard.get(node, -inf), self.began_at)

    def _confirmed(self, node: int, electorate: Electorate) -> bool:
        alive = self.me.alive(self.now)
        witnesses = {self.me.node} | {peer.node for peer in self.peers if peer.node in alive and node in peer.silent}
        return electorate.elects(witnesses) and electorate.keeps(witnesses)
