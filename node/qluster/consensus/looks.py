"""Decides nothing: what can be seen of one participant of QRaft from outside.

Must not change anything.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Collection
from math import inf

from qluster.consensus.arbitration import Syncing
from qluster.consensus.election import Election
from qluster.consensus.electorate import device_key
from qluster.consensus.following import Following
from qluster.consensus.members import Members
from qluster.consensus.office import Office
from qluster.consensus.participant import Participant
from qluster.consensus.settings import Settings
from qluster.consensus.standing import Standing
from qluster.consensus.witness import fault_of_device
from qluster.events import Entry, Snapshot


class Looks:
    """The windows of :class:`qluster.consensus.qraft.QRaft`."""

    _me: Participant
    _election: Election
    _following: Following
    _syncing: Syncing
    _office: Office | None

    @property
    def settings(self) -> Settings:
        """What it obeys. May be replaced at any time."""
        return self._me.settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        me = self._me
        if settings.node_timeout > me.settings.node_timeout:
            me.timeout_index = me.applied_index
        me.settings = settings

    @property
    def node(self) -> int:
        """Its number."""
        return self._me.node

    @property
    def role(self) -> str:
        """listener, follower, pre-candidate, candidate or leader."""
        return self._me.role

    @property
    def term(self) -> int:
        """The newest term it knows."""
        return self._me.term

    @property
    def leader(self) -> int | None:
        """Who leads in this term, as far as it knows."""
        return self._me.leader

    def left(self, node: int) -> int:
        """The last term in which a leader gave up its office by its own word, as far as was heard; 0: none."""
        return self._me.left.get(node, 0)

    @property
    def members(self) -> Members:
        """The newest list of members in its log, committed or not."""
        return self._me.membership.latest

    @property
    def members_index(self) -> int:
        """Index of the entry with that list."""
        return self._me.membership.index

    @property
    def commit_index(self) -> int:
        """Up to here entries are known to be committed."""
        return self._me.commit_index

    @property
    def saved_index(self) -> int:
        """Up to here this node's own copy is durable."""
        return self._me.saved_index

    @property
    def restless(self) -> bool:
        """Whether :meth:`take` has something to give."""
        return self._me.restless

    @property
    def applied_bytes(self) -> int:
        """Bytes of the entries applied since the snapshot."""
        return self._me.journal.size_between(self.snapshot_index, self._me.applied_index)

    @property
    def last_index(self) -> int:
        """Index of the newest entry."""
        return self._me.journal.last_index

    @property
    def last_term(self) -> int:
        """Its term."""
        return self._me.journal.last_term

    def entries_after(self, index: int) -> list[Entry]:
        """The entries after this index, committed or not; it must be within the journal."""
        return self._me.journal.between(index, self.last_index)

    @property
    def former_members(self) -> Members:
        """The list before :attr:`members`, as far as the journal reaches; empty where it does not."""
        return self._me.membership.previous

    @property
    def claimable(self) -> int:
        """The other one of two, without whom this node may go on once that one's host is off; 0: nobody."""
        return self._me.claimable

    def off(self, node: int) -> bool:
        """Whether the host of that node is known to be off: it was fenced, and not heard since."""
        return self._me.off(node)

    @property
    def promised_until(self) -> float:
        """Until when it votes for nobody but who led."""
        return self._me.promised_until

    @property
    def snapshot(self) -> Snapshot | None:
        """The newest snapshot."""
        return self._me.snapshot

    @property
    def snapshot_index(self) -> int:
        """Its index, 0 when there is none."""
        return self._me.snapshot.index if self._me.snapshot else 0

    @property
    def removed(self) -> bool:
        """Whether this node was a member and is none any more, for certain."""
        return self._me.removed

    @property
    def ready(self) -> bool:
        """Whether it leads and an entry of its own term is committed."""
        return self._office is not None and self._office.ready

    @property
    def caught_up(self) -> bool:
        """Whether everything that was committed before this term is known to be committed here too.

        A leader that is new does not know yet what is committed, so an entry of its own term must be.
        """
        me = self._me
        if self._office is not None:
            return self.ready
        heard = me.leader is not None and me.leader_commit is not None and me.commit_index >= me.leader_commit
        return heard and me.journal.term_at(me.commit_index) == me.term

    @property
    def transferring(self) -> int | None:
        """The node that leadership is being handed to."""
        return self._office.transfer.target if self._office and self._office.transfer else None

    @property
    def lease_until(self) -> float:
        """Until when it may act as leader without hearing more; -inf when it does not lead."""
        return self._office.lease_until if self._office else -inf

    @property
    def standing(self) -> Standing:
        """Its ring, and what its arbiter says of it."""
        return self._me.standing

    @property
    def veto(self) -> str:
        """Why this node must not stand in an election; may be set at any time."""
        return self._me.veto

    @veto.setter
    def veto(self, reason: str) -> None:
        self._me.veto = reason

    @property
    def elections(self) -> int:
        """Elections it began since the start."""
        return self._election.count

    @property
    def short(self) -> bool:
        """Whether the disk is full: a follower takes on small entries only, and still answers and votes."""
        return self._me.short

    @short.setter
    def short(self, short: bool) -> None:
        self._me.short = short

    @property
    def wake_at(self) -> float:
        """When :meth:`tick` is needed at the latest."""
        if self._office is not None:
            return self._office.wake_at
        return min(self._election.wake_at, self._following.wake_at, self._syncing.wake_at)

    def match(self, node: int) -> int | None:
        """Up to where a node's log is known to be equal; only a leader knows."""
        return self._office.replication.match(node) if self._office else None

    def answers(self, node: int) -> bool:
        """Whether a node has answered anything since this one leads; one that is heard may be deaf."""
        return self._office is not None and self._office.rounds.answered(node).number > 0

    def heard(self, node: int) -> float | None:
        """When a node was last heard."""
        return self._me.heard.get(node)

    def quorate(self, now: float) -> bool:
        """Whether it hears so many that one of them can lead, directly or as the leader's follower.

        A device that has seen more than this node votes for it never; it may for another voter that is heard.
        """
        me = self._me
        if self._office is None and me.leader is not None and me.leader == me.promised_to:
            return now < me.promised_until
        alive = self._alive(now)
        lone = me.configuration.voters & alive == {me.node}
        return me.configuration.elects(alive - {me.device} if lone and me.behind else alive)

    def can_commit(self, now: float) -> bool:
        """Whether it hears so many that an entry could be committed."""
        return self._me.configuration.commits(self._alive(now))

    def commits(self, nodes: Collection[int]) -> bool:
        """Whether an entry on these nodes would be committed, with the device where it counts for this node."""
        me = self._me
        return me.configuration.commits({*nodes, *(me.alive(me.now) & {me.device}), *me.devices(nodes)})

    def device_fault(self, now: float) -> str:
        """Why the device of the list does not count for this node now, "" when it does or when there is none."""
        return fault_of_device(self._me, now)

    @property
    def device_uid(self) -> int:
        """The memory that this node's link has open; 0: none."""
        return self._me.device - device_key(0) if self._me.device else 0

    def _alive(self, now: float) -> set[int]:
        return self._me.alive(now)
