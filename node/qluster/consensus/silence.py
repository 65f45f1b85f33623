"""Decides which voters a leader takes for lost: those that it has not heard for long, nor a quorum of voters.

Must not know what follows from it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from math import inf

from qluster.consensus.electorate import Electorate
from qluster.consensus.participant import Participant
from qluster.consensus.replication import Replication


class Silence:
    """Of one office."""

    def __init__(self, me: Participant, replication: Replication, now: float) -> None:
        self._me = me
        self._replication = replication
        self._began_at = now

    def unreachable(self, interval: float, now: float) -> set[int]:
        """Nodes that this leader did not hear for this long, and a quorum of voters neither."""
        me = self._me
        electorate = Electorate.of(me.membership.latest)
        limit = now - interval
        gone = {
            node
            for node in electorate.voters - {me.node}
            if max(me.heard.get(node, -inf), self._began_at) <= limit
        }
        return {node for node in gone if self._confirmed_silent(node, electorate, now)}

    def fresh(self, interval: float, now: float) -> bool:
        """Whether a voter has fallen silent that may be back before this is over."""
        me = self._me
        heard = [max(me.heard.get(node, -inf), self._began_at) for node in me.membership.latest.voters - {me.node}]
        settings = me.settings
        return any(now - interval < at <= now - settings.node_timeout for at in heard)

    def _confirmed_silent(self, node: int, electorate: Electorate, now: float) -> bool:
        alive = self._me.alive(now)
        witnesses = {self._me.node} | {
            peer.node for peer in self._replication.peers if peer.node in alive and node in peer.silent
        }
        return electorate.elects(witnesses) and electorate.keeps(witnesses)
