"""The usual messages, written and read in one piece: those of each vote, and those that are numbers alone.

Must not know messages, only the options that they are made of. The bytes and values are those that come of going
through the options one by one; None, where that can come, says that this message is none of the usual ones.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import Any

from qluster.qnet.names import MessageType, NodeListType, Option, Vote
from qluster.qnet.tlv import CODECS, NUMBERS, MalformedOption, NodeInfo, RingId, options

HEADER = struct.Struct(">HI")
"""Type of the message, and how many bytes follow."""

LISTS_KEPT = 512
"""Ends of lists that need not be read anew: the same nodes are named with each membership."""
LIST_END_MAX = 1024
"""Bytes of one: a list that is longer is read each time. What strangers send must not fill the memory."""

O = Option  # noqa: E741 - a table of options reads better with a short name
# Plain numbers: to take a name out of an enumeration costs more than all the rest of a comparison.
_NODE_INFO, _SEQ = int(O.NODE_INFO), int(O.MSG_SEQ_NUMBER)
_SEQ_HEAD, _VOTE_HEAD, _RING_HEAD, _TYPE_HEAD = (
    (int(one) << 16) + size for one, size in ((_SEQ, 4), (O.VOTE, 1), (O.RING_ID, 12), (O.NODE_LIST_TYPE, 1))
)
"""Type and length of an option as one number."""
_SEQ_ALONE = struct.Struct(">II")
_VOTE_INFO = struct.Struct(">HI II IB IIQ")
_LIST_REPLY = struct.Struct(">HI II IB IIQ IB")
_LIST_BEGIN = struct.Struct(">II IB IIQ")
_VOTE_INFO_KIND, _VOTE_INFO_SIZE = int(MessageType.VOTE_INFO), _VOTE_INFO.size - HEADER.size
_LIST_REPLY_KIND, _LIST_REPLY_SIZE = int(MessageType.NODE_LIST_REPLY), _LIST_REPLY.size - HEADER.size
_LIST_BEGIN_SIZE, _SEQ_ALONE_SIZE = _LIST_BEGIN.size, _SEQ_ALONE.size
_unpack_begin, _unpack_seq = _LIST_BEGIN.unpack_from, _SEQ_ALONE.unpack
_LIST_TYPES = {int(one): one for one in NodeListType}
_OF_LISTS = {
    int(O.CONFIG_VERSION): "config_version", int(O.QUORATE): "quorate", int(O.HEURISTICS): "heuristics",
}  # fmt: skip
"""What else may stand behind the ring of a list."""


def vote_info(seq: int, vote: Vote, ring: RingId) -> bytes:
    """VOTE_INFO, header included."""
    return _VOTE_INFO.pack(
        _VOTE_INFO_KIND, _VOTE_INFO_SIZE, _SEQ_HEAD, seq, _VOTE_HEAD, vote, _RING_HEAD, ring.node_id, ring.seq
    )


def list_reply(seq: int, kind: NodeListType, ring: RingId, vote: Vote) -> bytes:
    """NODE_LIST_REPLY, header included."""
    return _LIST_REPLY.pack(
        _LIST_REPLY_KIND, _LIST_REPLY_SIZE, _SEQ_HEAD, seq, _TYPE_HEAD, kind, _RING_HEAD, ring.node_id, ring.seq,
        _VOTE_HEAD, vote,
    )  # fmt: skip


def seq_alone(body: bytes) -> int | None:
    """The sequence number of a body that has nothing else, as a confirmation: half of all messages are one."""
    if len(body) != _SEQ_ALONE_SIZE:
        return None
    head, seq = _unpack_seq(body)
    return seq if head == _SEQ_HEAD else None


ListBegin = tuple[int, NodeListType, RingId]


def membership(body: bytes) -> tuple[ListBegin, Mapping[str, Any]] | None:
    """Number, type and ring of a list that begins with them, as corosync's daemons write it; and its other fields."""
    if not _LIST_BEGIN_SIZE < len(body) <= _LIST_BEGIN_SIZE + LIST_END_MAX:
        return None
    seq_head, seq, type_head, number, ring_head, node_id, ring_seq = _unpack_begin(body)
    if seq_head != _SEQ_HEAD or type_head != _TYPE_HEAD or ring_head != _RING_HEAD:
        return None
    kind, end = _LIST_TYPES.get(number), _list_end(body[_LIST_BEGIN_SIZE:])
    return None if kind is None or end is None else ((seq, kind, RingId(node_id, ring_seq)), end)


@lru_cache(maxsize=LISTS_KEPT)
def _list_end(body: bytes) -> Mapping[str, Any] | None:
    fields: dict[str, Any] = {}
    nodes: list[NodeInfo] = []
    try:
        for number, content in options(body):
            if number == _NODE_INFO:
                nodes.append(CODECS[number].read(content))
            elif number in _OF_LISTS:
                fields[_OF_LISTS[number]] = CODECS[number].read(content)
            else:
                return None
    except MalformedOption:
        return None
    return {**fields, "nodes": tuple(nodes)}


class Numbers:
    """A form of message whose options are all there, each one number: in this order, with a head before each."""

    def __init__(self, kind: IntEnum, order: tuple[tuple[str, IntEnum], ...]) -> None:
        letters = [NUMBERS[option].letter for _, option in order]
        self._body = struct.Struct(">" + "".join(f"I{letter}" for letter in letters))
        self._head = HEADER.pack(kind, self._body.size)
        self._heads = tuple((int(option) << 16) + struct.calcsize(f">{NUMBERS[option].letter}") for _, option in order)
        self._names = tuple(name for name, _ in order)
        self._take = attrgetter(*self._names)
        self._choices = [(name, NUMBERS[option].choice) for name, option in order if NUMBERS[option].choice]

    @classmethod
    def of(cls, kind: IntEnum, order: tuple[tuple[str, IntEnum], ...]) -> Numbers | None:
        """The form with these options; None where one is more than a number."""
        return cls(kind, order) if len(order) > 1 and all(option in NUMBERS for _, option in order) else None

    def write(self, message: object) -> bytes | None:
        """The message, header included."""
        values = self._take(message)
        if None in values:
            return None
        return self._head + self._body.pack(*chain.from_iterable(zip(self._heads, values, strict=True)))

    def read(self, body: bytes) -> dict[str, Any] | None:
        """Its fields."""
        if len(body) != self._body.size:
            return None
        parts = self._body.unpack(body)
        if parts[::2] != self._heads:
            return None
        fields = dict(zip(self._names, parts[1::2], strict=True))
        for name, choice in self._choices:
            value = choice.get(fields[name])
            if value is None:
                return None
            fields[name] = value
        return fields


