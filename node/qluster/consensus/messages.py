"""What participants say to each other, and the bytes of it.

Must not know who says what when, nor how bytes travel.

Every message carries the founding number of the cluster, the sender's number and a term.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Annotated

import msgspec

from qluster.consensus.members import MalformedMembers, Members
from qluster.consensus.settings import BATCH_ENTRIES_MAX, ENTRY_OVERHEAD_BYTES
from qluster.events import Entry

MESSAGE_OVERHEAD_BYTES = 512
"""Every field of the longest message beside its entries, rounded up."""

SILENT_MAX = 64
"""Nodes one answer can name as silent: as many as there can be members."""

KINDS = ("noop", "members", "command")
"""Kinds of entries; their place in this list is their number on the wire. Append only."""

NOOP_BYTES = 8
"""An index, which a no-op may carry: what its leader knew to be committed when it was appended."""

NUMBER_MAX = 2**63 - 1
"""Largest index, term, round or node: what every program and file can hold."""
Count = Annotated[int, msgspec.Meta(ge=0, le=NUMBER_MAX)]
Number = Annotated[int, msgspec.Meta(ge=1, le=NUMBER_MAX)]
Founding = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
Kind = Annotated[int, msgspec.Meta(ge=0, lt=len(KINDS))]


Ring = tuple[Count, Annotated[int, msgspec.Meta(ge=0)]]
"""The ring that a sender is in: its lowest node, and a number that grows. It never comes again."""
NO_RING: Ring = (0, 0)


class MalformedMessage(ValueError):
    """Bytes that are no message of this protocol."""


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An entry on the wire; its index follows from its place."""

    term: Number
    kind: Kind
    payload: bytes


class Message(msgspec.Struct, frozen=True, array_like=True):
    """What every message carries: founding number, sender, and the sender's term where not said otherwise."""

    cluster: Founding
    node: Number
    term: Count


class PreVote(Message, frozen=True, tag=1):
    """Would you vote for me in ``term``? Changes nothing durable at the receiver.

    Both sides say what they know to be committed, as index and term: who has the same entry there knows it,
    too. A list of members that one of them knows to be committed must not hold up the election.
    """

    last_index: Count
    last_term: Count
    commit: Count = 0
    commit_term: Count = 0


class PreVoteReply(Message, frozen=True, tag=2):
    """The answer; ``proposed`` is the term that was asked for, ``term`` the answering node's own."""

    proposed: Count
    granted: bool
    commit: Count = 0
    commit_term: Count = 0
    ring: Ring = NO_RING


class Vote(Message, frozen=True, tag=3):
    """Vote for me in ``term``. ``override``: the leader itself asked for this election."""

    last_index: Count
    last_term: Count
    override: bool = False


class VoteReply(Message, frozen=True, tag=4):
    """The answer, durable before it left. It is for ``candidate`` alone: two hosts may have exchanged addresses."""

    granted: bool
    candidate: Number
    ring: Ring = NO_RING


class Append(Message, frozen=True, tag=5):
    """I lead; these entries follow ``prev_index``. With ``round`` 0 no answer is wanted when all is well.

    ``promise``: for so long the receiver votes for nobody else; the leader's lease rests on it.
    """

    round: Count
    promise: Seconds
    prev_index: Count
    prev_term: Count
    commit: Count
    records: tuple[Record, ...] = ()

    @property
    def last_index(self) -> int:
        """The last index this message speaks of."""
        return self.prev_index + len(self.records)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The entries with their indexes."""
        return tuple(
            Entry(self.prev_index + place, record.term, KINDS[record.kind], record.payload)
            for place, record in enumerate(self.records, start=1)
        )


class AppendReply(Message, frozen=True, tag=6):
    """My log is durable and equal to yours up to ``match``. ``silent``: members I do not hear."""

    round: Count
    match: Count
    silent: tuple[Number, ...] = ()
    ring: Ring = NO_RING


class AppendRefusal(Message, frozen=True, tag=7):
    """Your entries do not fit: my log is shorter, or differs, or my term is higher.

    ``conflict_term`` is my term at ``prev_index`` (0 when my log ends before it),
    ``conflict_index`` the first index of that term, or the one after my last.
    """

    round: Count
    prev_index: Count
    conflict_index: Number
    conflict_term: Count
    ring: Ring = NO_RING


class SnapshotOffer(Message, frozen=True, tag=8):
    """What you need is no longer in my log: fetch my snapshot at ``index`` or later."""

    index: Number


class LeaderQuery(Message, frozen=True, tag=9):
    """I should have heard from you: are you there?"""


class TimeoutNow(Message, frozen=True, tag=10):
    """Take over: begin an election at once. I hold no lease in this term any more."""


class Goodbye(Message, frozen=True, tag=11):
    """I led and stop leading; no need to wait for the time-out. ``successor`` (0: nobody) goes first."""

    successor: Count


class Expelled(Message, frozen=True, tag=12):
    """``former`` is no member since the entry at ``index``, which is committed.

    It says whom it means: the address may be another node's by now.
    """

    index: Number
    former: Number


class SyncQuery(Message, frozen=True, tag=13):
    """What log do you have, and do you still lead? I am in this ring. ``number``: the same until it is answered."""

    number: Count
    ring: Ring


class SyncReply(Message, frozen=True, tag=14):
    """A quorum in this ring has confirmed since your question that I lead, and so long was my log when it came."""

    number: Count
    ring: Ring
    last_index: Count
    last_term: Count


AnyMessage = (
    PreVote
    | PreVoteReply
    | Vote
    | VoteReply
    | Append
    | AppendReply
    | AppendRefusal
    | SnapshotOffer
    | LeaderQuery
    | TimeoutNow
    | Goodbye
    | Expelled
    | SyncQuery
    | SyncReply
)


def records_of(entries: list[Entry]) -> tuple[Record, ...]:
    """Entries as they stand in an :class:`Append`."""
    return tuple(Record(entry.term, _NUMBER_OF_KIND[entry.kind], entry.payload) for entry in entries)


def size_max(max_log_size: int) -> int:
    """The largest message that can occur: one full entry, or a batch of smaller ones."""
    return max_log_size + ENTRY_OVERHEAD_BYTES + MESSAGE_OVERHEAD_BYTES


def encode(message: AnyMessage) -> bytes:
    """The bytes of a message."""
    return _ENCODER.encode(message)


def decode(message: bytes) -> AnyMessage:
    """The message in these bytes. Raises :class:`MalformedMessage`."""
    try:
        decoded: AnyMessage = _DECODER.decode(message)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MalformedMessage(f"{len(message)} bytes are no message: {error}") from error
    if isinstance(decoded, Append):
        _check_append(decoded)
    if isinstance(decoded, AppendReply) and len(decoded.silent) > SILENT_MAX:
        raise MalformedMessage(f"{len(decoded.silent)} silent nodes, at most {SILENT_MAX} are possible")
    return decoded


def _check_append(message: Append) -> None:
    if len(message.records) > BATCH_ENTRIES_MAX:
        raise MalformedMessage(f"{len(message.records)} entries, at most {BATCH_ENTRIES_MAX} go in a message")
    terms = [message.prev_term, *(record.term for record in message.records), message.term]
    if terms != sorted(terms):
        raise MalformedMessage(f"terms of entries decrease or exceed the sender's: {terms[:9]}")
    if (message.prev_index == 0) != (message.prev_term == 0):
        raise MalformedMessage(f"entry {message.prev_index} cannot have term {message.prev_term}")
    for index, record in enumerate(message.records, start=message.prev_index + 1):
        _check_record(index, record)


def _check_record(index: int, record: Record) -> None:
    """What takes effect as soon as it is in the log must make sense before it gets there."""
    match KINDS[record.kind]:
        case "noop" if len(record.payload) == NOOP_BYTES:
            committed = int.from_bytes(record.payload, "big")
            if committed >= index:
                raise MalformedMessage(f"entry {index} says that {committed} is committed")
        case "members":
            try:
                Members.decode(record.payload)
            except MalformedMembers as error:
                raise MalformedMessage(f"entry {index}: {error}") from error


_NUMBER_OF_KIND = {kind: number for number, kind in enumerate(KINDS)}
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(AnyMessage)
