"""Faults planted into QRaft on purpose: the fast world must find each of them, else it is blind.

Each is a few lines that change the product's code, or the world around it, for the time of a ``with`` block, in the
way somebody got it wrong. B numbers are those of a list of bugs of real implementations; S and D numbers name the
rule that is broken.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Any
from unittest.mock import patch

from msgspec.structs import replace
from planting import Plants, after
from qluster import quorum
from qluster.consensus import lease
from qluster.consensus.election import Election
from qluster.consensus.following import Following
from qluster.consensus.journal import Journal
from qluster.consensus.journal import opened as opened_soundly
from qluster.consensus.lease import Round, Rounds
from qluster.consensus.membership import Configuration, Electorate, Membership
from qluster.consensus.messages import AppendReply
from qluster.consensus.office import Office
from qluster.consensus.participant import Participant
from qluster.consensus.progress import Progress
from qluster.consensus.qraft import QRaft
from qluster.consensus.replication import Replication
from qluster.events import SaveEntries, Snapshot
from swarm.host import Host, blank
from swarm.runs import CROWDED, DEPOSED, FEW
from swarm.storms import Storms
from swarm.world import World

PLANTS = Plants()
plant, method = PLANTS.plant, PLANTS.method


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
    quorum.reached([*map(match, one.voters), inf], one.commit) for one in self.electorates))  # fmt: skip
method("S11: one copy too few commits", Configuration, "committed", lambda self, match: min(
    quorum.reached(map(match, one.voters), max(1, one.commit - 1)) for one in self.electorates))  # fmt: skip
method("D4: fewer copies do not ask for more votes", quorum, "election_quorum", lambda n, commit: quorum.majority(n))


# --- elections ----------------------------------------------------------------------------------------


@plant("B9, S4: votes of an older term count")
def _old_votes() -> Iterator[None]:
    def vote_reply(self: Election, message: Any, now: float) -> None:
        if self._me.role == "candidate":
            (self._granted if message.granted else self._refused).add(message.node)
            self._count(now)

    with patch.object(Election, "vote_reply", vote_reply):
        yield


@plant("B25, S4: votes are counted, not voters")
def _repeated_votes() -> Iterator[None]:
    def elects(self: Configuration, granted: Any) -> bool:
        return bool(self.electorates) and all(len(granted) >= one.election for one in self.electorates)

    with patch.object(Configuration, "elects", elects):
        yield


method("S5: the log is not asked for", Participant, "newer_here", lambda self, term, index: False)
method("S5: the length counts before the term", Participant, "newer_here", lambda self, term, index: (
    (self.journal.last_index, self.journal.last_term) > (index, term)))  # fmt: skip
method("S1: one vote too few elects", quorum, "election_quorum", lambda n, commit: max(1, quorum.majority(n) - 1))


@plant("S3: a vote is given twice")
def _votes_twice() -> Iterator[None]:
    sound = Election.vote

    def vote(self: Election, message: Any, now: float) -> bool:
        if message.term == self._me.term and self._me.role == "follower":
            self._me.vote = None
        return sound(self, message, now)

    with patch.object(Election, "vote", vote):
        yield


@plant("B27: whoever does not lead learns no term from an answer")
def _term_not_learned() -> Iterator[None]:
    sound = QRaft._learn_term

    def learn_term(self: QRaft, message: Any, now: float) -> None:
        if self._office is not None:
            sound(self, message, now)

    with patch.object(QRaft, "_learn_term", learn_term):
        yield


method("S18: votes are given while a leader is heard", Participant, "promised_to_another", lambda *_: False)


@plant("B29, S17: a pre-vote binds like a vote")
def _pre_vote_binds() -> Iterator[None]:
    sound = Election.pre_vote

    def pre_vote(self: Election, message: Any, now: float) -> None:
        sound(self, message, now)
        self._me.promise(message.node, now + 3 * self._me.settings.node_timeout)

    with patch.object(Election, "pre_vote", pre_vote):
        yield


@plant("B30: a promise holds against the leader's own word to take over")
def _no_override() -> Iterator[None]:
    sound = Election.vote

    def vote(self: Election, message: Any, now: float) -> bool:
        return sound(self, replace(message, override=False), now)

    with patch.object(Election, "vote", vote):
        yield


@plant("D1: a restart forgets what was promised")
def _promise_forgotten() -> Iterator[None]:
    def then(me: Participant) -> None:
        me.promised_until = -inf

    with patch.object(Participant, "__init__", after(Participant, "__init__", then)):
        yield


# --- members --------------------------------------------------------------------------------------------


@plant("B34, S13: members are changed before an entry of the term is committed")
def _change_too_early() -> Iterator[None]:
    sound = Office.change_members

    def change(self: Office, *arguments: Any, **named: Any) -> Any:
        with patch.object(Office, "ready", True):
            return sound(self, *arguments, **named)

    with patch.object(Office, "change_members", change):
        yield


@plant("B35, S14: a list counts only when it is committed")
def _list_too_late() -> Iterator[None]:
    def configuration(self: Membership, commit_index: int) -> Configuration:
        lists = [members for where, members in self._lists if where <= commit_index]
        lists = lists or [members for _, members in self._lists[:1]]
        return Configuration(tuple(Electorate.of(members) for members in lists[-1:] if members.voters))

    with patch.object(Membership, "configuration", configuration):
        yield


@plant("S14: several changes of members are under way at once")
def _two_changes() -> Iterator[None]:
    sound = Office.change_members

    def change(self: Office, *arguments: Any, **named: Any) -> Any:
        me = self._me
        kept, me.commit_index = me.commit_index, max(me.commit_index, me.membership.index)
        try:
            return sound(self, *arguments, **named)
        finally:
            me.commit_index = kept

    def newest_only(self: Membership, commit_index: int) -> Configuration:
        lists = [members for _, members in self._lists[-1:]]
        return Configuration(tuple(Electorate.of(members) for members in lists if members.voters))

    with patch.object(Office, "change_members", change), patch.object(Membership, "configuration", newest_only):
        yield


@plant("B25: listeners are counted")
def _listeners_count() -> Iterator[None]:
    sound = Electorate.of

    def of(members: Any) -> Electorate:
        one = sound(members)
        return Electorate(one.voters | members.listeners, one.commit, one.election, one.contact)

    with patch.object(Electorate, "of", of):
        yield


# --- leases and reads ------------------------------------------------------------------------------------


method("D1: the lease outlasts the promise", Rounds, "lease_until", lambda self, configuration: (
    self.contact_at(configuration) + 45.0))  # fmt: skip
method("D1: the lease is longer than what was promised", lease, "LEASE_FRACTION", 1.5)
method("D1: the lease is kept after the word to take over", Rounds, "give_up", lambda self: None)


@plant("S18: the lease is counted from the arrival of an answer")
def _lease_from_arrival() -> Iterator[None]:
    def append_reply(self: Office, message: Any, now: float) -> None:
        if message.round:
            self.rounds._answered[message.node] = Round(message.round, now, 30.0)
        self.replication.confirm(message, now)
        self._advance(now)

    with patch.object(Office, "append_reply", append_reply):
        yield


@plant("B37, S13: reads are served before the leader has committed anything")
def _read_too_early() -> Iterator[None]:
    def confirm_reads(self: Office) -> None:
        for ticket in self.rounds.confirmed(self._me.configuration):
            self._me.answer_read(ticket, True)

    with patch.object(Office, "_confirm_reads", confirm_reads), patch.object(QRaft, "ready", True):
        yield


@plant("B38: a read is confirmed by a round that began before it")
def _old_round() -> Iterator[None]:
    def ask(self: Rounds, ticket: int) -> bool:
        self._reads.append((ticket, self.newest.number - 1))
        return True

    with patch.object(Rounds, "ask", ask):
        yield


@plant("S13: reads are not confirmed by anybody")
def _unconfirmed() -> Iterator[None]:
    with patch.object(Rounds, "confirmed", lambda self, configuration: self.abandon()):
        yield


@plant("law 2: entries are confirmed and never written")
def _never_written() -> Iterator[None]:
    sound = Host.save

    def save(self: Host, one: Any) -> None:
        if not (isinstance(one, SaveEntries) and one.entries[0].index % 7 == 0):
            sound(self, one)

    with patch.object(Host, "save", save):
        yield


AIMED = {
    "B15: a snapshot is kept together with a tail that contradicts it": DEPOSED,
    "B27: whoever does not lead learns no term from an answer": FEW,
    "B37, S13: reads are served before the leader has committed anything": CROWDED,
}
"""Faults that are hunted in runs of a certain kind: the others hardly bring about what shows them."""

ABSENT = {
    "B10": "messages are typed: an answer that lacks a field cannot be made, and a malformed one is refused when it is "
    "decoded (tests/node/consensus/test_messages.py, tests/fuzz)",
    "B23": "nobody picks by log alone: whoever is told to take over has confirmed the whole log before",
    "B26": "a leader hands over only to a voter of the newest list, once that is committed; a list without a leader "
    "that left lets the others elect",
    "B28": "the promise names its leader and does not bind against that leader; where it did, a vote would only be "
    "late by node-timeout (test_election.py)",
    "B31": "whoever was told to take over is elected against the former leader's heartbeats: its term is newer",
    "B32": "config.yaml is refused where heartbeat-interval is not below node-timeout; Settings asserts it",
    "B33": "a removed node asks before it stands (pre-vote) and is told that it is no member; nobody takes notice of "
    "it (test_office.py, scenario removal)",
    "B41": "there are no calls between nodes: everything is a datagram, and long work is a job",
    "B42": "a node that hears only a follower asks before it stands, so no term rises; the storm's bridge and one-way "
    "cuts do this in every third seed",
    "B43": "a list of bugs of one project; each of them is a row of its own here",
    "B44": "found as D1 and S18 below: two leaders under pause and partition",
    "B45": "there are no connections between nodes",
}
"""Bugs of the list that cannot be planted here, and why."""
