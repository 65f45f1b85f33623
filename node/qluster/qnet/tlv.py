"""How one option of a message is written: type, length, value.

Must not know which message an option stands in.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import IntEnum
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import msgspec

from qluster.qnet.names import (
    Heuristics,
    NodeListType,
    NodeState,
    Option,
    OwnOption,
    Refusal,
    Stage,
    TieBreakerMode,
    TlsSupported,
    Vote,
)

_HEAD = struct.Struct(">HH")
_HEAD_SIZE = _HEAD.size
_unpack_head = _HEAD.unpack_from
_RING = struct.Struct(">IQ")
_TIE = struct.Struct(">BI")

# Plain numbers: to take a name out of an enumeration costs more than all the rest of a comparison.
_NODE_ID, _DATA_CENTER_ID, _NODE_STATE = int(Option.NODE_ID), int(Option.DATA_CENTER_ID), int(Option.NODE_STATE)

VALUE_MAX = 2**16 - 1
"""Bytes of one value: its length is written in two bytes."""

NODES_KEPT = 4096
"""Nodes of lists that need not be read anew: the same few are named with each membership."""

NODE_SIZE_USUAL = 8 + 8 + 5
"""Bytes of a node with all three options."""

E = TypeVar("E", bound=IntEnum)


class MalformedOption(ValueError):
    """Bytes that are no option, or an option with a value that cannot be."""


class RingId(msgspec.Struct, frozen=True, gc=False):
    """Names one membership: the node that represents the ring, and a number that grows."""

    node_id: int
    seq: int

    def __str__(self) -> str:
        return f"{self.node_id:x}.{self.seq:x}"


class TieBreaker(msgspec.Struct, frozen=True, gc=False):
    """Which half wins a tie; ``node_id`` is 0 unless the mode names a node."""

    mode: TieBreakerMode
    node_id: int = 0


class NodeInfo(msgspec.Struct, frozen=True, gc=False):
    """One node of a list."""

    node_id: int
    data_center_id: int = 0
    node_state: NodeState | None = None


class Codec(NamedTuple):
    """How the value of an option is written and read."""

    write: Callable[[Any], bytes]
    read: Callable[[bytes], Any]


def options(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and value of each option, in order. A body has at least one: that is how the protocol is read."""
    place, end = 0, len(body)
    if not end:
        raise MalformedOption("there is no option at all")
    while place < end:
        if end - place < _HEAD_SIZE:
            raise MalformedOption(f"{end - place} bytes are left, an option begins with {_HEAD_SIZE}")
        kind, length = _unpack_head(body, place)
        start, place = place + _HEAD_SIZE, place + _HEAD_SIZE + length
        if place > end:
            raise MalformedOption(f"option {kind} has {length} bytes, {end - start} are left")
        yield kind, body[start:place]


def option(kind: int, value: bytes) -> bytes:
    """One option as it is written."""
    assert len(value) <= VALUE_MAX, f"option {kind}: {len(value)} bytes, at most {VALUE_MAX} can be written"
    return _HEAD.pack(kind, len(value)) + value


def _number(size: int) -> Codec:
    def write(value: int) -> bytes:
        return value.to_bytes(size, "big")

    def read(value: bytes) -> int:
        if len(value) != size:
            raise MalformedOption(f"a number of {len(value)} bytes, it has {size}")
        return int.from_bytes(value, "big")

    return Codec(write, read)


U8, U16, U32, U64 = (_number(size) for size in (1, 2, 4, 8))


def _choice(names: type[E], but: Iterable[E] = ()) -> Codec:
    """One of the names, in one byte."""
    allowed = {int(name): name for name in names if name not in tuple(but)}

    def read(value: bytes) -> E:
        number = U8.read(value)
        if number not in allowed:
            raise MalformedOption(f"{names.__name__} {number}")
        return allowed[number]

    return Codec(U8.write, read)


def _read_flag(value: bytes) -> bool:
    number = U8.read(value)
    if number > 1:
        raise MalformedOption(f"a yes or no of value {number}")
    return bool(number)


def _write_array(values: Iterable[int]) -> bytes:
    return b"".join(U16.write(value) for value in values)


def _read_array(value: bytes) -> tuple[int, ...]:
    if len(value) % 2:
        raise MalformedOption(f"a list of numbers in {len(value)} bytes")
    return struct.unpack(f">{len(value) // 2}H", value)


def _read_ring(value: bytes) -> RingId:
    if len(value) != _RING.size:
        raise MalformedOption(f"a ring id of {len(value)} bytes, it has {_RING.size}")
    return RingId(*_RING.unpack(value))


def _read_tie_breaker(value: bytes) -> TieBreaker:
    if len(value) != _TIE.size:
        raise MalformedOption(f"a tie-breaker of {len(value)} bytes, it has {_TIE.size}")
    number, node_id = _TIE.unpack(value)
    try:
        mode = TieBreakerMode(number)
    except ValueError as error:
        raise MalformedOption(f"tie-breaker mode {number}") from error
    return TieBreaker(mode, node_id if mode is TieBreakerMode.NODE_ID else 0)


def _write_node(node: NodeInfo) -> bytes:
    written = option(Option.NODE_ID, U32.write(node.node_id))
    if node.data_center_id:
        written += option(Option.DATA_CENTER_ID, U32.write(node.data_center_id))
    if node.node_state is not None:
        written += option(Option.NODE_STATE, U8.write(node.node_state))
    return written


def _read_node(value: bytes) -> NodeInfo:
    # Only what has nothing but its own options is kept: with others it may be as long as a message.
    return _known_node(value) if len(value) <= NODE_SIZE_USUAL else _read_any_node(value)


@lru_cache(maxsize=NODES_KEPT)
def _known_node(value: bytes) -> NodeInfo:
    return _read_any_node(value)


def _read_any_node(value: bytes) -> NodeInfo:
    node_id, data_center_id, state = 0, 0, None
    for kind, content in options(value):
        if kind == _NODE_ID:
            node_id = U32.read(content)
        elif kind == _DATA_CENTER_ID:
            data_center_id = U32.read(content)
        elif kind == _NODE_STATE:
            state = _STATE.read(content)
    if node_id == 0:
        raise MalformedOption("a node without a number")
    return NodeInfo(node_id, data_center_id, state)


def _write_numbers(numbers: tuple[int, ...]) -> bytes:
    return b"".join(map(U64.write, numbers))


def _read_numbers(value: bytes) -> tuple[int, ...]:
    if len(value) % 8:
        raise MalformedOption(f"{len(value)} bytes are no row of numbers of 64 bits")
    return tuple(U64.read(value[place : place + 8]) for place in range(0, len(value), 8))


_STATE = _choice(NodeState)
_FLAG = Codec(U8.write, _read_flag)
_ARRAY = Codec(_write_array, _read_array)

CODECS: dict[int, Codec] = {
    Option.MSG_SEQ_NUMBER: U32,
    Option.CLUSTER_NAME: Codec(bytes, bytes),
    Option.TLS_SUPPORTED: _choice(TlsSupported),
    # The released server checks no value here, so neither do we: every number but 0 is a yes.
    Option.TLS_CLIENT_CERT_REQUIRED: Codec(U8.write, lambda value: bool(U8.read(value))),
    Option.SUPPORTED_MESSAGES: _ARRAY,
    Option.SUPPORTED_OPTIONS: _ARRAY,
    Option.REPLY_ERROR_CODE: U16,
    Option.SERVER_MAXIMUM_REQUEST_SIZE: U32,
    Option.SERVER_MAXIMUM_REPLY_SIZE: U32,
    Option.NODE_ID: U32,
    Option.SUPPORTED_DECISION_ALGORITHMS: _ARRAY,
    Option.DECISION_ALGORITHM: U16,
    Option.HEARTBEAT_INTERVAL: U32,
    Option.RING_ID: Codec(lambda ring: _RING.pack(ring.node_id, ring.seq), _read_ring),
    Option.CONFIG_VERSION: U64,
    Option.DATA_CENTER_ID: U32,
    Option.NODE_STATE: _STATE,
    Option.NODE_INFO: Codec(_write_node, _read_node),
    Option.NODE_LIST_TYPE: _choice(NodeListType),
    Option.VOTE: _choice(Vote),
    Option.QUORATE: _FLAG,
    Option.TIE_BREAKER: Codec(lambda tie: _TIE.pack(tie.mode, tie.node_id), _read_tie_breaker),
    Option.HEURISTICS: _choice(Heuristics, but=(Heuristics.UNDEFINED,)),
    Option.KEEP_ACTIVE_PARTITION_TIE_BREAKER: _FLAG,
}
assert set(CODECS) == set(Option), "every option has a way to be written"

OWN_CODECS: dict[int, Codec] = {
    OwnOption.FOUNDING: U64,
    OwnOption.UID: U64,
    OwnOption.TERM: U64,
    OwnOption.INDEX: U64,
    OwnOption.LAST_TERM: U64,
    OwnOption.CANDIDATE: U64,
    OwnOption.STAGE: _choice(Stage),
    OwnOption.GRANTED: _FLAG,
    OwnOption.ROUND: U64,
    OwnOption.PROMISE: U32,
    OwnOption.REFUSAL: _choice(Refusal),
    OwnOption.LINEAGE: Codec(_write_numbers, _read_numbers),
    OwnOption.VOID: U64,
}
assert set(OWN_CODECS) == set(OwnOption), "every option of ours has a way to be written"
ALL_CODECS = CODECS | OWN_CODECS


class Number(NamedTuple):
    """An option whose value is one number: its size as a letter of ``struct``, and what each value means."""

    letter: str
    choice: Mapping[int, Any]
    """Empty: itself."""


_LETTERS = {id(U8): "B", id(U16): "H", id(U32): "I", id(U64): "Q"}
_CHOICES: dict[int, Mapping[int, Any]] = {
    option: {int(name): name for name in names}
    for option, names in (
        (Option.VOTE, Vote),
        (Option.NODE_LIST_TYPE, NodeListType),
        (Option.TLS_SUPPORTED, TlsSupported),
        (OwnOption.STAGE, Stage),
        (OwnOption.REFUSAL, Refusal),
        (OwnOption.GRANTED, (False, True)),
        (Option.QUORATE, (False, True)),
    )
}
NUMBERS: dict[int, Number] = {
    **{kind: Number(_LETTERS[id(codec)], {}) for kind, codec in ALL_CODECS.items() if id(codec) in _LETTERS},
    **{kind: Number("B", choice) for kind, choice in _CHOICES.items()},
}
"""Those of one fixed size that messages of numbers alone are made of."""
