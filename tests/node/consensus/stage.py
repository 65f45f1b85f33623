"""Builds one participant and plays the others by hand, for tests of single decisions."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import TypeVar

from consensus.world import CLUSTER, member
from qluster.consensus import messages as say
from qluster.consensus.members import Members
from qluster.consensus.output import Output
from qluster.consensus.qraft import QRaft
from qluster.consensus.settings import Settings
from qluster.events import Entry, Identity, Saved, SaveEntries, SaveVote, Snapshot

Kind = TypeVar("Kind")
NOW = 1_000.0
SETTINGS = Settings()
"""The defaults: node-timeout 30 s, heartbeat 10 s, votes 10 s, retry 1 s."""


class Prompt(QRaft):
    """A participant whose disk takes no time: what it wants saved is durable when it has said so."""

    def take(self) -> Output:
        output = super().take()
        whole = output
        while output.save:
            self.saved(self.saving(), self._me.now)
            output = super().take()
            whole.save += output.save
            whole.send += output.send
            whole.committed += output.committed
            whole.reads += output.reads
            whole.synced += output.synced
            whole.log += output.log
        return whole


class Middle(Random):
    """Chance that always takes the middle."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


def voters(*nodes: int, listeners: Iterable[int] = (), **rule: object) -> Members:
    """A list of members."""
    everybody = [member(node) for node in nodes] + [member(node, voter=False) for node in listeners]
    members = Members(tuple(sorted(everybody, key=lambda one: one.node)), configured=len(nodes))
    for name, value in rule.items():
        members = Members(**{**{field: getattr(members, field) for field in members.__struct_fields__}, name: value})
    return members


def entry(index: int, term: int, payload: bytes | None = None) -> Entry:
    """A command."""
    return Entry(index, term, "command", payload if payload is not None else b"%d" % index)


def log(members: Members, *terms: int) -> list[Entry]:
    """A log that begins with a list of members in term 1, and goes on with commands of these terms."""
    first = Entry(1, 1, "members", members.encode())
    return [first, *(entry(index, term) for index, term in enumerate(terms, start=2))]


def saved(
    node: int,
    entries: list[Entry],
    term: int | None = None,
    vote: int | None = None,
    snapshot: Snapshot | None = None,
) -> Saved:
    """What a node finds when it starts."""
    highest = max([one.term for one in entries] + [snapshot.term if snapshot else 0], default=0)
    identity = Identity(1000 + node, CLUSTER, node)
    return Saved(1000 + node, 1, True, identity, highest if term is None else term, vote, snapshot, list(entries))


def participant(
    node: int,
    entries: list[Entry],
    term: int | None = None,
    vote: int | None = None,
    snapshot: Snapshot | None = None,
    settings: Settings = SETTINGS,
    now: float = NOW,
) -> QRaft:
    """A node that has just started."""
    return Prompt(node, settings, saved(node, entries, term, vote, snapshot), Middle(0), now)


def follower(
    node: int, entries: list[Entry], leader: int = 2, term: int | None = None, commit: int = 0, **more: object
) -> QRaft:
    """A node that hears a leader, which has the same log."""
    qraft = participant(node, entries, term, **more)  # type: ignore[arg-type]
    last = entries[-1] if entries else Entry(0, 0, "noop", b"")
    qraft.receive(append(leader, qraft.term, last.index, last.term, commit=commit), NOW)
    qraft.take()
    return qraft


def leader_of(
    members: Members, *terms: int, node: int = 1, settings: Settings = SETTINGS, ready: bool = True
) -> QRaft:
    """A node that has just been elected by all; its no-op is committed, and it has heard everybody."""
    qraft = participant(node, log(members, *terms), settings=replace(settings))
    start = NOW + 100
    qraft.tick(start)
    for other in sorted(members.voters - {node}):
        qraft.receive(say.PreVoteReply(CLUSTER, other, qraft.term, qraft.term + 1, True), start)
    for other in sorted(members.voters - {node}):
        qraft.receive(say.VoteReply(CLUSTER, other, qraft.term, True, node), start)
    assert qraft.role == "leader"
    output = qraft.take()
    if ready:
        for other in sorted((members.voters | members.listeners) - {node}):
            confirm(qraft, other, qraft.last_index, newest_round(output), start)
        qraft.take()
    return qraft


STARTED = NOW + 100
"""When :func:`leader_of` was elected."""


def append(
    leader: int,
    term: int,
    prev_index: int,
    prev_term: int,
    entries: Iterable[Entry] = (),
    commit: int = 0,
    number: int = 1,
    promise: float = 30.0,
) -> say.Append:
    """A leader's message."""
    records = say.records_of(list(entries))
    return say.Append(CLUSTER, leader, term, number, promise, prev_index, prev_term, commit, records)


def confirm(qraft: QRaft, node: int, match: int, number: int, now: float) -> None:
    """A follower confirms."""
    qraft.receive(say.AppendReply(CLUSTER, node, qraft.term, number, match), now)


def newest_round(output: Output) -> int:
    """The newest round in what was sent."""
    return max((message.round for _, message in output.send if isinstance(message, say.Append)), default=0)


def sent(output: Output, kind: type[Kind], to: int | None = -1) -> list[Kind]:
    """The messages of one kind, to one node (None: to all)."""
    return [message for where, message in output.send if isinstance(message, kind) and to in (-1, where)]


def votes_saved(output: Output) -> list[tuple[int, int | None]]:
    """Terms and votes that were made durable."""
    return [(save.term, save.vote) for save in output.save if isinstance(save, SaveVote)]


def entries_saved(output: Output) -> list[tuple[int, int]]:
    """Index and term of the entries that were made durable."""
    return [(one.index, one.term) for save in output.save if isinstance(save, SaveEntries) for one in save.entries]


def beat(qraft: QRaft, now: float, *nodes: int, silent: tuple[int, ...] = ()) -> None:
    """Time passes up to now, and these nodes answer everything."""
    while True:
        soonest = min(max(qraft.wake_at, STARTED), now)
        qraft.tick(soonest)
        output = qraft.take()
        for node in nodes:
            if newest_round(output):
                reply = say.AppendReply(CLUSTER, node, qraft.term, newest_round(output), qraft.last_index, silent)
                qraft.receive(reply, soonest)
        qraft.take()
        if soonest >= now or qraft.role != "leader":
            return


THREE = voters(1, 2, 3)
FIVE = voters(1, 2, 3, 4, 5)
