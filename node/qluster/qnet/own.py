"""The messages for the arbiter's memory, and the bytes of each.

Must not know what the memory does with them. They are written as the protocol's own are, and sent only to a peer that
listed them (``names.py`` says why that harms nobody).
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from qluster.qnet.messages import KINDS, Message, decode, decode_as
from qluster.qnet.names import Option, OwnMessage, OwnOption, Refusal, Stage
from qluster.qnet.tlv import ALL_CODECS

OPTIONAL = frozenset({OwnOption.LINEAGE, OwnOption.VOID})
SEQ = ("seq", Option.MSG_SEQ_NUMBER)
FOUNDING = ("founding", OwnOption.FOUNDING)
TERM = ("term", OwnOption.TERM)
REFUSAL = ("refusal", OwnOption.REFUSAL)


class MemoryOpen(Message, frozen=True, kw_only=True):
    """From here on this client speaks of the consensus that was founded so.

    ``lineage``: the foundings from which it went on by force. What is known of them is forgotten: their nodes were
    given up, and none of them may go on alone.
    """

    type = OwnMessage.MEMORY_OPEN
    order = (SEQ, FOUNDING, ("lineage", OwnOption.LINEAGE), ("void", OwnOption.VOID))
    founding: int | None = None
    lineage: tuple[int, ...] | None = None
    void: int | None = None
    """The uid of a memory that has told this client more than it knows now: it is to be made anew. None: of none."""


class MemoryOpened(Message, frozen=True, kw_only=True):
    """Which memory this is, and what is in it; with a refusal it is not open."""

    type = OwnMessage.MEMORY_OPENED
    order = (
        SEQ, ("uid", OwnOption.UID), TERM, ("last_term", OwnOption.LAST_TERM), ("index", OwnOption.INDEX), REFUSAL,
    )  # fmt: skip
    uid: int | None = None
    """Drawn when the memory was made: one that lost what it knew has another."""
    term: int | None = None
    last_term: int | None = None
    index: int | None = None
    refusal: Refusal | None = None


class MemoryAsk(Message, frozen=True, kw_only=True):
    """A candidate of ``term``, whose log ends with (``last_term``, ``index``), asks for the vote."""

    type = OwnMessage.MEMORY_ASK
    order = (
        SEQ, ("stage", OwnOption.STAGE), TERM, ("candidate", OwnOption.CANDIDATE),
        ("last_term", OwnOption.LAST_TERM), ("index", OwnOption.INDEX),
    )  # fmt: skip
    stage: Stage | None = None
    term: int | None = None
    candidate: int | None = None
    last_term: int | None = None
    index: int | None = None


class MemoryAnswer(Message, frozen=True, kw_only=True):
    """Whether it gets it. ``term``: the newest that the memory has seen; ``asked``, ``stage``: what this answers."""

    type = OwnMessage.MEMORY_ANSWER
    order = (
        SEQ, ("stage", OwnOption.STAGE), TERM, ("asked", OwnOption.LAST_TERM), ("granted", OwnOption.GRANTED), REFUSAL,
    )  # fmt: skip
    stage: Stage | None = None
    term: int | None = None
    asked: int | None = None
    granted: bool | None = None
    refusal: Refusal | None = None


class MemoryShow(Message, frozen=True, kw_only=True):
    """The leader of ``term`` has its log up to ``index``, an entry of that term; 0: it shows itself only.

    It asks that nobody else be voted for during ``promise`` milliseconds.
    """

    type = OwnMessage.MEMORY_SHOW
    order = (
        SEQ, TERM, ("leader", OwnOption.CANDIDATE), ("index", OwnOption.INDEX), ("round", OwnOption.ROUND),
        ("promise", OwnOption.PROMISE),
    )  # fmt: skip
    term: int | None = None
    leader: int | None = None
    index: int | None = None
    round: int | None = None
    promise: int | None = None


class MemoryShown(Message, frozen=True, kw_only=True):
    """It is kept: the memory has (``term``, ``index``) durably, and the promise of ``round`` is given."""

    type = OwnMessage.MEMORY_SHOWN
    order = (SEQ, TERM, ("index", OwnOption.INDEX), ("round", OwnOption.ROUND), REFUSAL)
    term: int | None = None
    index: int | None = None
    round: int | None = None
    refusal: Refusal | None = None


OWN_KINDS: dict[int, type[Message]] = {
    kind.type: kind for kind in (MemoryOpen, MemoryOpened, MemoryAsk, MemoryAnswer, MemoryShow, MemoryShown)
}
assert set(OWN_KINDS) == set(OwnMessage), "every type of message of ours has its kind"


def decode_any(kind: int, body: bytes) -> Message:
    """A message of the protocol or one of ours. Raises :class:`MalformedMessage`."""
    own = OWN_KINDS.get(kind)
    return decode(kind, body) if own is None else decode_as(own, ALL_CODECS, body)


def parts_lacking(message: Message) -> list[str]:
    """The parts that one of ours lacks; it needs all but those that older versions do not know."""
    return [name for name, option in message.order if option not in OPTIONAL and getattr(message, name) is None]


assert not set(OWN_KINDS) & set(KINDS)
