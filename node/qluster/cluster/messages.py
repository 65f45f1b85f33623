"""Decides what members tell each other beside the log: hello, welcome, reports, positions.

Must not know how a message travels. Every message carries ``cluster``, the number of
the founding (0: sender belongs to none yet), and ``node``, the sender's number (0 likewise).
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from qluster.status import DatabaseStatus, PoolStatus

Count = Annotated[int, Meta(ge=0)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Text = Annotated[str, Meta(max_length=1000)]


class MalformedMessage(ValueError):
    """The bytes are no message of this version."""


class Hello(Struct, frozen=True, tag="hello", array_like=True):
    """A node that wants to join, or that comes back, says who and what it is."""

    cluster: Count
    node: Count
    uid: Count
    ip: Text
    udp_port: Port
    api_port: Port
    db_port: Port | None
    role: Text
    pool: bool
    version: Text
    shared: Annotated[dict[str, str], Meta(max_length=64)]


class Present(Struct, frozen=True, tag="present", array_like=True):
    """A voter answers a hello: this cluster exists."""

    cluster: Count
    node: Count
    leader: Count


class Welcome(Struct, frozen=True, tag="welcome", array_like=True):
    """The leader answers a hello: ``uid`` is member number ``number``."""

    cluster: Count
    node: Count
    uid: Count
    number: Count


class Refusal(Struct, frozen=True, tag="refusal", array_like=True):
    """The leader answers a hello: ``uid`` cannot join, and why."""

    cluster: Count
    node: Count
    uid: Count
    reason: Text


class Report(Struct, frozen=True, tag="report", array_like=True):
    """What a member says of itself, at regular times and whenever it changes."""

    cluster: Count
    node: Count
    version: Text
    settings_digest: Text
    message: Text
    reign: Count
    """The reign that this node has applied."""
    writable: bool
    """The node is the one that clients may write to."""
    database: DatabaseStatus | None
    pool: PoolStatus | None


class PositionQuery(Struct, frozen=True, tag="query", array_like=True):
    """The leader of ``term`` asks every database node for its position."""

    cluster: Count
    node: Count
    term: Count


class PositionReply(Struct, frozen=True, tag="position", array_like=True):
    """The database here has no upstream of an earlier term any more, and this is its position."""

    cluster: Count
    node: Count
    term: Count
    system_id: Count
    timeline: Count
    position: Count
    fit: bool
    """False when the database here cannot become primary."""
    reason: Text
    served: Count = 0
    """The last reign in which this very directory was the primary's; 0: it is a standby's."""


Message = Hello | Present | Welcome | Refusal | Report | PositionQuery | PositionReply

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """The bytes of a message."""
    return _encoder.encode(message)


def decode(text: bytes) -> Message:
    """The message in these bytes; raises :class:`MalformedMessage`."""
    try:
        return _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
        raise MalformedMessage(str(fault)) from fault
