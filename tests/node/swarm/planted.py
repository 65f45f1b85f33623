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
from planting import after
from qluster import quorum
from qluster.consensus import lease
from qluster.consensus.election import Election
from qluster.consensus.electorate import Electorate
from qluster.consensus.lease import Round, Rounds
from qluster.consensus.membership import Configuration, Membership
from qluster.consensus.office import Office
from qluster.consensus.participant import Participant
from qluster.consensus.qraft import QRaft
from qluster.events import SaveEntries
from swarm.host import Host
from swarm.planted_logs import PLANTS, elects_by, method, plant
from swarm.runs import CROWDED, DEPOSED, FEW

__all__ = ["ABSENT", "AIMED", "PLANTS"]


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
method("S1: one vote too few elects", Electorate, "of", elects_by(lambda n: max(1, quorum.majority(n) - 1)))


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
        return Electorate(tuple((node, 1) for node in sorted(one.voters | members.listeners)), one.needs)

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
