"""Decides what members tell each other beside the log: hello, welcome, reports, positions.

Must not know how a message travels. Every message carries ``cluster``, the number of
the founding (0: sender belongs to none yet), and ``node``, the sender's number (0 likewise).
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from qluster.config.tags import VOTES_MAX, Tags
from qluster.status import DatabaseStatus, PoolStatus
from qluster.tasks.bodies import Word as TaskWord

ROLES = ("node", "listener")
"""What a host may become."""

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Number = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Word = Annotated[int, Meta(ge=0)]
"""64 bits, all of which may be set: the encoding has no larger numbers."""
Port = Annotated[int, Meta(ge=1, le=65535)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Text = Annotated[str, Meta(max_length=1000)]


COUNTING = 4
"""What this version understands of a list of members: 0 counts nodes, 1 votes and a tie-breaker, 2 an arbiter's memory,
3 an arbiter without one, and that one of two may go on once the other one's host is off, 4 which arbiter that is.

A list that says more than a voter understands would be counted by two rules: the leader writes none. It is that of the
consensus, ``members.py`` has the same, and says which list needs how much.
"""
COUNTS_VOTES = 1
"""From here on a node's word about its votes means anything."""


class MalformedMessage(ValueError):
    """The bytes are no message of this version."""


class Hello(Struct, frozen=True, tag="hello", array_like=True):
    """A node that wants to join, or that comes back, says who and what it is."""

    cluster: Count
    node: Count
    uid: Word
    ip: Text
    udp_port: Port
    api_port: Port
    db_port: Port | None
    role: Text
    pool: bool
    version: Text
    shared: Annotated[dict[str, str], Meta(max_length=64)]
    tags: Tags | None = None
    votes: Annotated[int, Meta(ge=0, le=VOTES_MAX)] = 1
    """What it is to count for."""
    counting: Count = 0
    """How far its version can count, see :data:`COUNTING`."""


class Present(Struct, frozen=True, tag="present", array_like=True):
    """A voter answers a hello: this cluster exists."""

    cluster: Number
    node: Number
    leader: Count
    lineage: Annotated[tuple[Count, ...], Meta(max_length=64)] = ()
    """Foundings that this one goes on from by force: their nodes may join it with the databases that they have."""


class Welcome(Struct, frozen=True, tag="welcome", array_like=True):
    """The leader answers a hello: ``uid`` is member number ``number``."""

    cluster: Number
    node: Number
    uid: Word
    number: Number


class Refusal(Struct, frozen=True, tag="refusal", array_like=True):
    """The leader answers a hello: ``uid`` cannot join, and why."""

    cluster: Number
    node: Number
    uid: Word
    reason: Text


class Report(Struct, frozen=True, tag="report", array_like=True):
    """What a member says of itself, at regular times and whenever it changes."""

    cluster: Number
    node: Number
    version: Text
    settings_digest: Text
    message: Text
    reign: Count
    """The reign that this node has applied."""
    writable: bool
    """The node is the one that clients may write to."""
    database: DatabaseStatus | None
    pool: PoolStatus | None
    short: bool = False
    """The node's disk is full: it takes on nothing new, and should not lead."""
    bound: Count = 0
    """Index of the resume after which a lease bounds the primary here again; 0: nobody waits to hear it."""
    age: Seconds = 0.0
    """Seconds for which the position of the database has been known: it has moved on since."""
    counting: Count = 0
    """How far its version can count, see :data:`COUNTING`."""
    fencing: tuple[Count, Count] | None = None
    """For how many hosts it has fence agents, and for how many of them they do not work; None: an older version."""
    rings: bool = False
    """The node's version knows of rings."""
    asks: bool = False
    """The node is told of an arbiter by its file, and asks it."""
    tasks: bool = False
    """The node's version knows of tasks."""
    wall: float = 0.0
    """Seconds since 1970 by its clock; 0.0 where its version does not say."""


class Leaving(Struct, frozen=True, tag="leaving", array_like=True):
    """A voter that stops asks the leader not to be counted meanwhile."""

    cluster: Number
    node: Number


class PositionQuery(Struct, frozen=True, tag="query", array_like=True):
    """The leader of ``term`` asks every database node for its position."""

    cluster: Number
    node: Number
    term: Count


class PositionReply(Struct, frozen=True, tag="position", array_like=True):
    """The database here has no upstream of an earlier term any more, and this is its position."""

    cluster: Number
    node: Number
    term: Count
    system_id: Word
    timeline: Count
    position: Word
    fit: bool
    """False when the database here cannot become primary."""
    reason: Text
    served: Count = 0
    """The last reign in which this very directory was the primary's; 0: it is a standby's."""
    owed: tuple[Count, Word] | None = None
    """Timeline and position up to which this node may have confirmed WAL before its directory was replaced."""


class Working(Struct, frozen=True, tag="working", array_like=True):
    """A node says what it does for tasks, and asks for leave to go on with them."""

    cluster: Number
    node: Number
    sent: float
    """By its monotonic clock: the leave counts from there."""
    applied: Count
    """Up to here it has read the log."""
    slots: Count
    resources: Annotated[dict[str, Count], Meta(max_length=256)]
    labels: Annotated[dict[str, Text], Meta(max_length=256)]
    fault: Text = ""
    """Why it begins nothing; "" when it does."""
    words: tuple[TaskWord, ...] = ()
    """What became of its claims, said again until the log has it."""
    dask: bool | None = None
    """It takes part in the Dask cluster; None: a version that does not say."""
    term: Count = 0
    """Of the leader that is meant: another one may be told of what has been overtaken. 0: its version does not say."""
    boot: Count = 0
    """How often its daemon was started: what a former one said, and the log has not heard yet, is void."""


class Granted(Struct, frozen=True, tag="granted", array_like=True):
    """The leader gives node ``to`` leave to go on with what it has."""

    cluster: Number
    node: Number
    to: Number
    sent: float
    """That of its asking."""
    applied: Count
    """Up to here the leader has read the log. Who was started anew begins nothing before it has read as much: an end
    that it told of before may stand there."""
    wall: float = 0.0
    """Seconds since 1970 by the leader's clock; 0.0 where its version does not say."""


Message = Hello | Present | Welcome | Refusal | Report | PositionQuery | PositionReply | Leaving | Working | Granted

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """The bytes of a message."""
    return _encoder.encode(message)


def decode(text: bytes) -> Message:
    """The message in these bytes; raises :class:`MalformedMessage`."""
    try:
        message = _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        raise MalformedMessage(str(fault)) from fault
    if isinstance(message, Hello):
        _check_hello(message)
    return message


def _check_hello(hello: Hello) -> None:
    """It is answered to its address, and both become those of a member: no name, one host's, a role that exists."""
    if hello.role not in ROLES:
        raise MalformedMessage(f"hello with the role {hello.role[:40]!r}, not one of {', '.join(ROLES)}")
    try:
        address = ip_address(hello.ip)
    except ValueError as fault:
        raise MalformedMessage(f"hello from {hello.ip[:40]!r}, which is no IP address") from fault
    if address.is_multicast or address.is_unspecified:
        raise MalformedMessage(f"hello from {address}, which is not the address of one host")
