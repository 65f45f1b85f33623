"""Decides which voters a leader takes for lost, those that it has not heard for long, nor a quorum of voters, and the
list of members without them.

Must not know whether that list may be appended now.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from math import inf

from qluster.consensus.electorate import Electorate
from qluster.consensus.members import Members
from qluster.consensus.membership import next_removal
from qluster.consensus.participant import Participant
from qluster.consensus.replication import Replication


class Silence:
    """Of one office."""

    def __init__(self, me: Participant, replication: Replication, now: float) -> None:
        self._me = me
        self._replication = replication
        self._began_at = now

    def list_without_the_lost(self, changed_at: float, now: float) -> Members | None:
        """The list in which those do not vote that are lost, None when it is to stay; ``changed_at``: when voters were
        last taken out."""
        settings, latest = self._me.settings, self._me.membership.latest
        if settings.last_man_standing:
            return self._last_standing(changed_at, now)
        if not settings.autoremove_enabled or now < changed_at + settings.remove_interval:
            return None
        unreachable = self.unreachable(settings.remove_interval, now)
        if unreachable and self.fresh(settings.remove_interval, now):
            return None  # somebody restarts: with both gone at once a quorum could be lost for good
        removal = next_removal(latest, settings.autoremove_minimum, unreachable)
        return latest.without(removal.node) if removal else None

    def _last_standing(self, changed_at: float, now: float) -> Members | None:
        """Voters that are lost are listeners until they are back: what is left decides by itself (last man standing).

        The list counts like any other when it is committed by the voters of before and by those of after it, so
        no two parts can both go on. A second change waits a whole window, as does one after somebody fell silent.
        """
        me = self._me
        window = me.settings.last_man_standing_window
        if now < changed_at + window or not me.configuration.commits(me.alive(now)):
            return None
        lost = self.unreachable(window, now)
        if not lost or self.fresh(window, now):
            return None
        return me.membership.latest.rested(lost)

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
