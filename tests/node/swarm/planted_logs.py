"""Faults planted into what is remembered, followed and led: logs, snapshots, saves (see planted.py)."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import inf
from typing import Any
from unittest.mock import patch

from planting import Plants, after
from qluster import quorum
from qluster.consensus.electorate import Electorate
from qluster.consensus.following import Following
from qluster.consensus.journal import Journal
from qluster.consensus.journal import opened as opened_soundly
from qluster.consensus.membership import Configuration, Membership
from qluster.consensus.messages import AppendReply
from qluster.consensus.office import Office
from qluster.consensus.participant import Participant
from qluster.consensus.progress import Progress
from qluster.consensus.qraft import QRaft
from qluster.consensus.replication import Replication
from qluster.events import Snapshot
from swarm.host import Host, blank
from swarm.storms import Storms
from swarm.world import World

PLANTS = Plants()
plant, method = PLANTS.plant, PLANTS.method


def elects_by(votes: Callable[[int], int]) -> Callable[[Any], Electorate]:
    """Electorates in which so many of the voters elect."""
    sound = Electorate.of

    def of(members: Any) -> Electorate:
        one = sound(members)
        return replace(one, needs=replace(one.needs, election=votes(len(one.voters))))

    return of


# --- what is remembered ----------------------------------------------------------------------


def _forget_vote(me: Participant) -> None:
    me.vote = None


def _forget_term(me: Participant) -> None:
    me.term, me.vote = max(1, me.journal.last_term), None


method("B1: a restart forgets the vote", Participant, "__init__", after(Participant, "__init__", _forget_vote))
method("B1: a restart forgets the term", Participant, "__init__", after(Participant, "__init__", _forget_term))
method("B22: stepping down clears the vote", QRaft, "_end_office",
       after(QRaft, "_end_office", lambda qraft: _forget_vote(qraft._me)))  # fmt: skip


@plant("B2: what waits for the disk is sent before")
def _sent_first() -> Iterator[None]:
    with patch.object(World, "__init__", after(World, "__init__", lambda world: setattr(world, "sends_first", True))):
        yield


method("B39: a leader counts its copy before it is durable", Replication, "match", lambda self, node: (
    self._me.journal.last_index if node == self._me.node else getattr(self._peers.get(node), "match", 0)))  # fmt: skip


@plant("S11: the end of an older save counts for newer entries")
def _saved_too_much() -> Iterator[None]:
    def saved(self: Participant, number: int) -> None:
        self._savings.clear()
        self.saved_index = self.journal.last_index

    with patch.object(Participant, "saved", saved):
        yield


@plant("B46: a disk's newest records are gone and the node goes on with the rest")
def _rolled_back() -> Iterator[None]:
    sound = Storms._lose

    def lose(self: Storms, host: Host) -> None:
        if host.qraft is None or host.qraft.removed or host.lied:
            sound(self, host)
            return
        self._world.crash(host)
        del host.saved.entries[len(host.saved.entries) // 2 :]

    with patch.object(Storms, "_lose", lose):
        yield


@plant("S15, D5: a node that lost its state keeps its number")
def _same_number() -> Iterator[None]:
    sound = Storms._lose

    def lose(self: Storms, host: Host) -> None:
        if host.qraft is None or host.qraft.removed or host.lied:
            sound(self, host)
            return
        self._world.crash(host)
        host.saved = blank(host.node, [])

    with patch.object(Storms, "_lose", lose):
        yield


@plant("B16: after a crash between a snapshot and the log that it replaces, the log counts")
def _log_beside_snapshot() -> Iterator[None]:
    sound = opened_soundly

    def opened(snapshot_index: int, snapshot_term: int, entries: Any) -> Journal:
        if entries and entries[0].index <= snapshot_index:
            return Journal(entries[0].index - 1, 0, entries)
        return sound(snapshot_index, snapshot_term, entries)

    with patch("qluster.consensus.participant.opened", opened):
        yield


@plant("B40: a snapshot's state is older than its index")
def _old_state() -> Iterator[None]:
    sound = QRaft.compact
    former: dict[int, bytes] = {}

    def compact(self: QRaft, index: int, state: bytes) -> None:
        sound(self, index, former.get(self.node, state))
        former[self.node] = state

    with patch.object(QRaft, "compact", compact):
        yield


# --- following a leader --------------------------------------------------------------------------


def _commit_may_fall(self: Following, message: Any) -> int:
    self._me.merge(message.entries)
    self._me.commit_index = min(message.commit, message.last_index)
    return int(message.last_index)


def _commit_own_last(self: Following) -> None:
    me = self._me
    me.commit_index = max(me.commit_index, me.journal.last_index)


method("B3: a follower's commit index goes back", Following, "_take_over", _commit_may_fall)
method("B20, S8: a follower commits what was not verified", Following, "append",
       after(Following, "append", _commit_own_last))  # fmt: skip


def _cut_always(self: Journal, entries: Any, floor: int) -> list[Any]:
    if not entries or entries[0].index <= self.base_index:
        return []
    if entries[0].index <= self.last_index:
        self.cut_from(entries[0].index)
    self.append(entries)
    return list(entries)


method("B7, S6: an append cuts entries that match", Journal, "merge", _cut_always)


@plant("B19: an append behind the tail rolls the tail back")
def _eager_rollback() -> Iterator[None]:
    sound = Following._take_over

    def take_over(self: Following, message: Any) -> int:
        me = self._me
        if me.journal.base_index < message.last_index < me.journal.last_index and not message.records:
            me.journal.cut_from(message.last_index + 1)
            me.membership.cut_from(message.last_index + 1)
            me._unsave_from(message.last_index + 1)
        return sound(self, message)

    with patch.object(Following, "_take_over", take_over):
        yield


@plant("S7: a follower confirms what it should refuse")
def _confirms_too_much() -> Iterator[None]:
    def refuse(self: Following, message: Any, now: float) -> None:
        me = self._me
        me.send(message.node, AppendReply(me.cluster, me.node, me.term, message.round, message.prev_index))

    with patch.object(Following, "_refuse", refuse):
        yield


method("B11: a gap counts as a match", Following, "_fits", lambda self, message: message.term == self._me.term and (
    self._me.journal.term_at(message.prev_index) in (None, message.prev_term)))  # fmt: skip


@plant("B24: the known leader stays when the term moves")
def _leader_stays() -> Iterator[None]:
    sound = Participant.adopt

    def adopt(self: Participant, term: int) -> None:
        known = self.leader
        sound(self, term)
        self.leader = known

    with patch.object(Participant, "adopt", adopt):
        yield


# --- snapshots -------------------------------------------------------------------------------------


@plant("B13: a snapshot sets the term back to its own")
def _term_of_snapshot() -> Iterator[None]:
    def then(me: Participant) -> None:
        assert me.snapshot is not None
        me.term, me.vote = me.snapshot.term, None

    with patch.object(Participant, "restore", after(Participant, "restore", then)):
        yield


@plant("B14: a snapshot older than the log takes its place")
def _older_snapshot() -> Iterator[None]:
    sound = Following.snapshot_offer

    def install(self: QRaft, snapshot: Snapshot, now: float) -> None:
        me = self._me
        me.snapshot = snapshot
        me.journal.restart_at(snapshot.index, snapshot.term)
        me._unsave_from(1)
        me._save_snapshot(snapshot, reset=True)
        me.commit_index = me.applied_index = snapshot.index
        me.output.restored = snapshot

    with patch.object(QRaft, "install", install), patch.object(Following, "snapshot_offer", sound):
        yield


@plant("B15: a snapshot is kept together with a tail that contradicts it")
def _tail_beside_snapshot() -> Iterator[None]:
    sound = Participant.restore

    def restore(self: Participant, snapshot: Snapshot, members: Any) -> None:
        if self.journal.term_at(snapshot.index) is None:
            sound(self, snapshot, members)
            return
        if snapshot.term > self.term:
            self.adopt(snapshot.term)
        self.compact(snapshot)
        self.commit_to(max(self.commit_index, snapshot.index))
        self.applied_index = self.timeout_index = snapshot.index
        self.output.restored = snapshot

    with patch.object(Participant, "restore", restore):
        yield


method("B17: a stale list of members survives a snapshot", Membership, "restart_at",
       lambda self, index, members: None)  # fmt: skip
method("B12: an append is sent where a snapshot is needed", Replication, "_offer_snapshot", lambda self, peer, now: (
       self._send(peer.node, self._open_round(now), self._me.journal.base_index, [])))  # fmt: skip


# --- leading ------------------------------------------------------------------------------------------


def _next_stays(self: Progress, index: int, now: float) -> None:
    self.match, self.verified, self.moved_at = max(self.match, index), True, now


def _match_falls(self: Progress, index: int, now: float) -> None:
    self.match, self.verified, self.next = index, True, max(self.next, index + 1)


method("B4: next does not rise with match", Progress, "confirm", _next_stays)
method("B5: match is overwritten by an older answer", Progress, "confirm", _match_falls)
method("B6, S10: an entry of an older term is committed", Office, "_committed",
       lambda self: int(self._me.configuration.committed(self.replication.match)))  # fmt: skip


def _stops_at_older(self: Office) -> int:
    me = self._me
    index = me.commit_index
    reached = me.configuration.committed(self.replication.match)
    while index < reached and me.journal.term_at(index + 1) == me.term:
        index += 1
    return index


method("B8: the commit scan stops at an entry of an older term", Office, "_committed", _stops_at_older)
method("B18: copies are counted without being sorted", quorum, "reached", lambda values, needed: [*values][needed - 1])
method("B21: refusals do not move the repair back", Replication, "refuse", lambda self, message, now: None)
method("B36: a leader counts itself although it does not vote", Configuration, "committed", lambda self, match: min(
    quorum.reached([*map(match, one.voters), inf], one.needs.commit) for one in self.electorates))  # fmt: skip
method("S11: one copy too few commits", Configuration, "committed", lambda self, match: min(
    quorum.reached(map(match, one.voters), max(1, one.needs.commit - 1)) for one in self.electorates))  # fmt: skip
method("D4: fewer copies do not ask for more votes", Electorate, "of", elects_by(quorum.majority))
