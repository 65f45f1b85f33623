"""One participant in every role, and every kind of message with fields that have caused trouble elsewhere.

Must not know what a message does to a role.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from random import Random

from consensus import stage
from consensus.world import CLUSTER
from qluster.consensus import messages as say
from qluster.consensus.members import Members
from qluster.consensus.qraft import QRaft
from qluster.events import Identity, Saved, Snapshot

ME = 1
MEMBERS = stage.voters(1, 2, 3, listeners=[4])
LOG = stage.log(MEMBERS, 1, 2, 2, 3)
"""Five entries, of terms 1, 1, 2, 2, 3."""
NOW = stage.NOW + 200.0
"""Later than everything that the roles below have gone through."""


def follower() -> QRaft:
    """It follows node 2 in term 3, and knows four of its five entries to be committed."""
    return stage.follower(ME, LOG, commit=4)


def listener() -> QRaft:
    """Node 4, which does not vote."""
    return stage.follower(4, LOG, commit=4)


def newcomer() -> QRaft:
    """It has been given a number, and has heard nothing else yet."""
    return QRaft(9, stage.SETTINGS, Saved(1009, 1, True, Identity(1009, CLUSTER, 9)), Random(1), stage.NOW)


def behind_snapshot() -> QRaft:
    """A follower whose log begins with a snapshot at entry 4."""
    snapshot = Snapshot(4, 2, MEMBERS.encode(), b"state")
    qraft = stage.participant(ME, [LOG[4]], 3, snapshot=snapshot)
    qraft.receive(stage.append(2, 3, 5, 3, commit=4), stage.NOW)
    qraft.take()
    return qraft


def pre_candidate() -> QRaft:
    """It asks whether it could win."""
    qraft = stage.participant(ME, LOG)
    qraft.tick(stage.NOW + 100)
    qraft.take()
    assert qraft.role == "pre-candidate"
    return qraft


def candidate() -> QRaft:
    """It stands in term 4."""
    qraft = pre_candidate()
    qraft.receive(say.PreVoteReply(CLUSTER, 2, 3, 4, True), stage.NOW + 100)
    qraft.take()
    assert qraft.role == "candidate"
    return qraft


def leader() -> QRaft:
    """It leads in term 4; its no-op is committed."""
    return stage.leader_of(MEMBERS, 1, 2, 2, 3)


def fresh_leader() -> QRaft:
    """It leads, and nothing of its term is committed."""
    return stage.leader_of(MEMBERS, 1, 2, 2, 3, ready=False)


def changing_leader() -> QRaft:
    """It leads, and a change of members is not committed yet."""
    qraft = leader()
    qraft.change_members(MEMBERS.without(4), stage.STARTED)
    qraft.take()
    return qraft


def handing_over() -> QRaft:
    """It leads, and has told node 2 to take over."""
    qraft = leader()
    qraft.transfer(2, stage.STARTED)
    qraft.take()
    return qraft


def alone() -> QRaft:
    """The only voter of its cluster; it leads."""
    qraft = stage.participant(ME, stage.log(stage.voters(1), 1, 2))
    qraft.tick(stage.NOW + 100)
    qraft.take()
    assert qraft.role == "leader"
    return qraft


def removed() -> QRaft:
    """It was a member and is none any more."""
    qraft = follower()
    qraft.receive(say.Expelled(CLUSTER, 2, 3, 9, ME), stage.NOW)
    qraft.take()
    assert qraft.removed
    return qraft


ROLES: dict[str, Callable[[], QRaft]] = {
    build.__name__: build
    for build in (
        follower, listener, newcomer, behind_snapshot, pre_candidate, candidate, leader, fresh_leader,
        changing_leader, handing_over, alone, removed,
    )
}  # fmt: skip

LARGEST = 2**63 - 1
SENDERS = (1, 2, 3, 4, 9, LARGEST)
"""Itself, voters, a listener, somebody unknown, the largest number."""
TERMS = (0, 1, 2, 3, 4, 5, 6, 2**62)
"""The last one leaves room for more elections than a cluster can hold: each adds one, and none begins at the end."""
INDEXES = (0, 1, 3, 4, 5, 6, 7, 9, LARGEST)
"""Around the ends of the logs and of what is committed."""
ROUNDS = (0, 1, 2, 3, LARGEST)
BOTH = (False, True)

PAYLOADS: tuple[tuple[int, bytes], ...] = (
    (0, b""), (0, (0).to_bytes(8, "big")), (0, (3).to_bytes(8, "big")), (1, MEMBERS.encode()),
    (1, stage.voters(2, 3).encode()), (1, Members(()).encode()), (2, b"payload"),
)  # fmt: skip


def _records(random: Random) -> tuple[say.Record, ...]:
    terms = sorted(random.choice(TERMS[1:]) for _ in range(random.choice((0, 0, 1, 1, 2, 5))))
    return tuple(say.Record(term, *random.choice(PAYLOADS)) for term in terms)


def append(random: Random) -> say.Append:
    """A leader's message, in any combination that a decoder lets through."""
    return say.Append(
        CLUSTER, random.choice(SENDERS), random.choice(TERMS), random.choice(ROUNDS),
        random.choice((0.0, 0.1, 30.0, 86_400.0)), random.choice(INDEXES), random.choice(TERMS),
        random.choice(INDEXES), _records(random),
    )  # fmt: skip


FIELDS: dict[type[say.Message], tuple[tuple[object, ...], ...]] = {
    say.PreVote: (SENDERS, TERMS, INDEXES, TERMS, INDEXES, TERMS),
    say.PreVoteReply: (SENDERS, TERMS, TERMS, BOTH, INDEXES, TERMS),
    say.Vote: (SENDERS, TERMS, INDEXES, TERMS, BOTH),
    say.VoteReply: (SENDERS, TERMS, BOTH, SENDERS),
    say.AppendReply: (SENDERS, TERMS, ROUNDS, INDEXES, ((), (2, 3), SENDERS)),
    say.AppendRefusal: (SENDERS, TERMS, ROUNDS, INDEXES, INDEXES[1:], TERMS),
    say.SnapshotOffer: (SENDERS, TERMS, INDEXES[1:]),
    say.LeaderQuery: (SENDERS, TERMS),
    say.TimeoutNow: (SENDERS, TERMS),
    say.Goodbye: (SENDERS, TERMS, (0, *SENDERS)),
    say.Expelled: (SENDERS, TERMS, INDEXES[1:], SENDERS),
}
"""What each field of a kind is tried with, behind the founding number; :class:`Append` is made by chance alone."""


def messages(kind: type[say.Message], random: Random, count: int) -> Iterator[say.AnyMessage]:
    """All combinations of a kind where they are no more than ``count``, else so many by chance."""
    if kind is say.Append:
        made = (append(random) for _ in range(count))
        yield from filter(sound, made)
        return
    fields = FIELDS[kind]
    size = 1
    for values in fields:
        size *= len(values)
    if size <= count:
        chosen: Iterator[tuple[object, ...]] = product(*fields)
    else:
        chosen = (tuple(random.choice(values) for values in fields) for _ in range(count))
    for values in chosen:
        message = kind(CLUSTER, *values)
        if sound(message):  # type: ignore[arg-type]
            yield message  # type: ignore[misc]


def sound(message: say.AnyMessage) -> bool:
    """Whether a decoder lets it through: only then can it come in at all."""
    try:
        say.decode(say.encode(message))
    except say.MalformedMessage:
        return False
    return True
