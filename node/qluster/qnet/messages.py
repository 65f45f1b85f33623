"""The eighteen messages of the protocol, and the bytes of each; ours are in ``own.py``.

Must not know who may send which message when, nor how bytes travel.

Options are written in the order in which corosync's daemons write them and read in any order. Unknown ones are
skipped, of repeated ones the last counts, nodes add up. Every option that is known must make sense, also where the
message does not use it. Whether an option that a message needs is there is for the receiver to say: the answer to its
absence is the receiver's. So every field may be None.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from functools import cache
from typing import Any, ClassVar

import msgspec

from qluster.qnet import at_once
from qluster.qnet.at_once import Numbers, membership, seq_alone
from qluster.qnet.names import Heuristics, MessageType, NodeListType, Option, TlsSupported, Vote
from qluster.qnet.tlv import ALL_CODECS, CODECS, Codec, MalformedOption, NodeInfo, RingId, TieBreaker, option, options

HEADER = at_once.HEADER
"""Type of the message, and how many bytes follow."""

LIST_NODES_MAX = 384
"""Nodes of one list: corosync itself cannot have more members (PROCESSOR_COUNT_MAX)."""

O = Option  # noqa: E741 - a table of options reads better with a short name
_NODE_INFO = int(O.NODE_INFO)
Order = tuple[tuple[str, IntEnum], ...]


class MalformedMessage(ValueError):
    """Bytes that are no message of this protocol; ``seq`` is its number as far as it had been read."""

    def __init__(self, reason: str, seq: int | None = None) -> None:
        super().__init__(reason)
        self.seq = seq


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What every message carries: a number, which an answer repeats."""

    type: ClassVar[IntEnum]
    order: ClassVar[Order]
    seq: int | None = None


class Preinit(Message, frozen=True, kw_only=True):
    """A client says which cluster it belongs to."""

    type = MessageType.PREINIT
    order = (("seq", O.MSG_SEQ_NUMBER), ("cluster_name", O.CLUSTER_NAME))
    cluster_name: bytes | None = None


class PreinitReply(Message, frozen=True, kw_only=True):
    """Whether the arbiter speaks TLS and wants a certificate."""

    type = MessageType.PREINIT_REPLY
    order = (
        ("seq", O.MSG_SEQ_NUMBER),
        ("tls_supported", O.TLS_SUPPORTED),
        ("tls_client_cert_required", O.TLS_CLIENT_CERT_REQUIRED),
    )
    tls_supported: TlsSupported | None = None
    tls_client_cert_required: bool | None = None


class StartTls(Message, frozen=True, kw_only=True):
    """The next byte of this client is TLS."""

    type = MessageType.STARTTLS
    order = (("seq", O.MSG_SEQ_NUMBER),)


class Init(Message, frozen=True, kw_only=True):
    """A client joins its cluster."""

    type = MessageType.INIT
    order = (
        ("seq", O.MSG_SEQ_NUMBER),
        ("supported_messages", O.SUPPORTED_MESSAGES),
        ("supported_options", O.SUPPORTED_OPTIONS),
        ("node_id", O.NODE_ID),
        ("decision_algorithm", O.DECISION_ALGORITHM),
        ("heartbeat_interval", O.HEARTBEAT_INTERVAL),
        ("tie_breaker", O.TIE_BREAKER),
        ("ring_id", O.RING_ID),
    )
    supported_messages: tuple[int, ...] | None = None
    supported_options: tuple[int, ...] | None = None
    node_id: int | None = None
    decision_algorithm: int | None = None
    heartbeat_interval: int | None = None
    tie_breaker: TieBreaker | None = None
    ring_id: RingId | None = None


class InitReply(Message, frozen=True, kw_only=True):
    """Whether it may, and what the arbiter can."""

    type = MessageType.INIT_REPLY
    order = (
        ("reply_error_code", O.REPLY_ERROR_CODE),
        ("supported_messages", O.SUPPORTED_MESSAGES),
        ("supported_options", O.SUPPORTED_OPTIONS),
        ("seq", O.MSG_SEQ_NUMBER),
        ("server_maximum_request_size", O.SERVER_MAXIMUM_REQUEST_SIZE),
        ("server_maximum_reply_size", O.SERVER_MAXIMUM_REPLY_SIZE),
        ("supported_decision_algorithms", O.SUPPORTED_DECISION_ALGORITHMS),
    )
    reply_error_code: int | None = None
    supported_messages: tuple[int, ...] | None = None
    supported_options: tuple[int, ...] | None = None
    server_maximum_request_size: int | None = None
    server_maximum_reply_size: int | None = None
    supported_decision_algorithms: tuple[int, ...] | None = None


class ServerError(Message, frozen=True, kw_only=True):
    """A message was refused."""

    type = MessageType.SERVER_ERROR
    order = (("seq", O.MSG_SEQ_NUMBER), ("reply_error_code", O.REPLY_ERROR_CODE))
    reply_error_code: int | None = None


class SetOption(Message, frozen=True, kw_only=True):
    """A client changes what it said in INIT."""

    type = MessageType.SET_OPTION
    order = (
        ("seq", O.MSG_SEQ_NUMBER),
        ("heartbeat_interval", O.HEARTBEAT_INTERVAL),
        ("keep_active_partition_tie_breaker", O.KEEP_ACTIVE_PARTITION_TIE_BREAKER),
    )
    heartbeat_interval: int | None = None
    keep_active_partition_tie_breaker: bool | None = None


class SetOptionReply(SetOption, frozen=True, kw_only=True):
    """What is in force of what was asked for."""

    type = MessageType.SET_OPTION_REPLY


class EchoRequest(Message, frozen=True, kw_only=True):
    """Are you there?"""

    type = MessageType.ECHO_REQUEST
    order = (("seq", O.MSG_SEQ_NUMBER),)


class EchoReply(Message, frozen=True, kw_only=True):
    """I am: the request's own bytes under another type, see :func:`echo`."""

    type = MessageType.ECHO_REPLY
    order = (("seq", O.MSG_SEQ_NUMBER),)


class NodeList(Message, frozen=True, kw_only=True):
    """Which nodes should be, which are in one membership with the sender, or what its votequorum says."""

    type = MessageType.NODE_LIST
    order = (
        ("seq", O.MSG_SEQ_NUMBER),
        ("node_list_type", O.NODE_LIST_TYPE),
        ("ring_id", O.RING_ID),
        ("config_version", O.CONFIG_VERSION),
        ("quorate", O.QUORATE),
        ("nodes", O.NODE_INFO),
        ("heuristics", O.HEURISTICS),
    )
    node_list_type: NodeListType | None = None
    ring_id: RingId | None = None
    config_version: int | None = None
    quorate: bool | None = None
    nodes: tuple[NodeInfo, ...] = ()
    heuristics: Heuristics | None = None


class NodeListReply(Message, frozen=True, kw_only=True):
    """The list was taken; what the sender may vote."""

    type = MessageType.NODE_LIST_REPLY
    order = (
        ("seq", O.MSG_SEQ_NUMBER),
        ("node_list_type", O.NODE_LIST_TYPE),
        ("ring_id", O.RING_ID),
        ("vote", O.VOTE),
    )
    node_list_type: NodeListType | None = None
    ring_id: RingId | None = None
    vote: Vote | None = None


class AskForVote(Message, frozen=True, kw_only=True):
    """What may I vote?"""

    type = MessageType.ASK_FOR_VOTE
    order = (("seq", O.MSG_SEQ_NUMBER),)


class AskForVoteReply(Message, frozen=True, kw_only=True):
    """What you may vote."""

    type = MessageType.ASK_FOR_VOTE_REPLY
    order = (("seq", O.MSG_SEQ_NUMBER), ("vote", O.VOTE), ("ring_id", O.RING_ID))
    vote: Vote | None = None
    ring_id: RingId | None = None


class VoteInfo(AskForVoteReply, frozen=True, kw_only=True):
    """The same, without having been asked."""

    type = MessageType.VOTE_INFO


class VoteInfoReply(Message, frozen=True, kw_only=True):
    """I know what I may vote."""

    type = MessageType.VOTE_INFO_REPLY
    order = (("seq", O.MSG_SEQ_NUMBER),)


class HeuristicsChange(Message, frozen=True, kw_only=True):
    """The sender's own checks have another result now."""

    type = MessageType.HEURISTICS_CHANGE
    order = (("seq", O.MSG_SEQ_NUMBER), ("heuristics", O.HEURISTICS))
    heuristics: Heuristics | None = None


class HeuristicsChangeReply(Message, frozen=True, kw_only=True):
    """The result was taken; what its sender may vote."""

    type = MessageType.HEURISTICS_CHANGE_REPLY
    order = (
        ("seq", O.MSG_SEQ_NUMBER),
        ("vote", O.VOTE),
        ("ring_id", O.RING_ID),
        ("heuristics", O.HEURISTICS),
    )
    vote: Vote | None = None
    ring_id: RingId | None = None
    heuristics: Heuristics | None = None


KINDS: dict[int, type[Message]] = {
    kind.type: kind
    for kind in (
        Preinit,
        PreinitReply,
        StartTls,
        Init,
        InitReply,
        ServerError,
        SetOption,
        SetOptionReply,
        EchoRequest,
        EchoReply,
        NodeList,
        NodeListReply,
        AskForVote,
        AskForVoteReply,
        VoteInfo,
        VoteInfoReply,
        HeuristicsChange,
        HeuristicsChangeReply,
    )
}
assert set(KINDS) == set(MessageType), "every type of message has its kind"


def frame(kind: int, body: bytes) -> bytes:
    """A message with its header."""
    return HEADER.pack(kind, len(body)) + body


@cache
def _numbers(form: type[Message]) -> Numbers | None:
    return Numbers.of(form.type, form.order)


def encode(message: Message) -> bytes:
    """The bytes of a message, header included. An empty body is never written: nobody can read it."""
    numbers = _numbers(type(message))
    return (numbers.write(message) if numbers is not None else None) or encode_parts(message)


def encode_parts(message: Message) -> bytes:
    """The same, part by part."""
    parts = []
    for name, kind, write in _writers(type(message)):
        value = getattr(message, name)
        if kind == _NODE_INFO:
            parts += [option(kind, write(node)) for node in value]
        elif value is not None:
            parts.append(option(kind, write(value)))
    assert parts, f"{message.type.name} without any option"
    return frame(message.type, b"".join(parts))


@cache
def _writers(form: type[Message]) -> tuple[tuple[str, int, Callable[[Any], bytes]], ...]:
    """Field, number and writer of each option, looked up once: each vote is a handful of messages."""
    return tuple((name, int(kind), ALL_CODECS[kind].write) for name, kind in form.order)


def decode(kind: int, body: bytes) -> Message:
    """The message of this type in these bytes, which follow its header. Raises :class:`MalformedMessage`."""
    form = KINDS.get(kind)
    if form is None:
        raise MalformedMessage(f"there is no message of type {kind}")
    if form is VoteInfoReply:
        if (alone := seq_alone(body)) is not None:
            return VoteInfoReply(seq=alone)
    elif form is NodeList and (usual := membership(body)) is not None:
        (seq, node_list_type, ring_id), others = usual
        return NodeList(seq=seq, node_list_type=node_list_type, ring_id=ring_id, **others)
    return decode_as(form, CODECS, body)


def decode_as(form: type[Message], codecs: Mapping[int, Codec], body: bytes) -> Message:
    """The same, of a message that is written so, with options that are read so."""
    if (numbers := _numbers(form)) is not None and (fields := numbers.read(body)) is not None:
        return form(**fields)
    return decode_parts(form, codecs, body)


def decode_parts(form: type[Message], codecs: Mapping[int, Codec], body: bytes) -> Message:
    """The same, part by part."""
    found: dict[int, Any] = {}
    nodes: list[NodeInfo] = []
    try:
        for number, content in options(body):
            codec = codecs.get(number)
            if codec is None:
                continue
            if number != _NODE_INFO:
                found[number] = codec.read(content)
                continue
            nodes.append(codec.read(content))
            if len(nodes) > LIST_NODES_MAX:
                raise MalformedOption(f"more than {LIST_NODES_MAX} nodes")
    except MalformedOption as error:
        raise MalformedMessage(f"{form.__name__}: {error}", found.get(O.MSG_SEQ_NUMBER)) from error
    found[_NODE_INFO] = tuple(nodes)
    return form(**{name: found[number] for name, number in _fields(form) if number in found})


@cache
def _fields(form: type[Message]) -> tuple[tuple[str, int], ...]:
    return tuple((name, int(number)) for name, number in form.order)


def echo(body: bytes) -> bytes:
    """The answer to an ECHO_REQUEST with this body: all of it, also what nobody here can read."""
    return frame(MessageType.ECHO_REPLY, body)
