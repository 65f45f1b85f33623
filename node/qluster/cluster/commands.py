"""Decides what the payload of a log entry of kind "command" looks like.

Must not know what a command does: that is ``state.py``.
A command is a fact in the past; it is applied in the order of the log, on every node alike.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import msgspec
from msgspec import Struct

from qluster.cluster import database_settings


class MalformedCommand(ValueError):
    """The bytes of a committed entry are no command: the log comes from a newer version, or is damaged."""


class Founded(Struct, frozen=True, tag="founded", array_like=True):
    """The cluster was founded: its name and the settings that all nodes share."""

    name: str
    settings: dict[str, str]


class SettingsChanged(Struct, frozen=True, tag="settings", array_like=True):
    """Shared settings were changed: configuration key → text."""

    changes: dict[str, str]


class Reign(Struct, frozen=True, tag="reign", array_like=True):
    """From here on ``node`` holds the primary, by right of having led in ``term``.

    ``timeline`` and ``position`` say from where in the WAL (bytes) it goes on;
    ``lost_bytes`` is what is known to have been left behind elsewhere.
    ``standbys`` and ``needed`` begin the reign's first guarantee; None: it acknowledges without waiting.
    """

    number: int
    node: int
    term: int
    timeline: int
    position: int
    system_id: int
    lost_bytes: int = 0
    standbys: tuple[int, ...] | None = None
    needed: int = 0


class Guarantee(Struct, frozen=True, array_like=True):
    """What was acknowledged while this held is on ``primary`` and on ``needed`` of ``standbys``."""

    reign: int
    primary: int
    standbys: tuple[int, ...]
    needed: int


class Guaranteed(Struct, frozen=True, tag="guaranteed", array_like=True):
    """In reign ``reign``, what was acknowledged is covered by one of these. None: nothing is promised."""

    reign: int
    guarantees: tuple[Guarantee, ...]


class NodeExpected(Struct, frozen=True, tag="expected", array_like=True):
    """A node is expected at this address and may become ``role`` (node or listener)."""

    ip: str
    role: str


class NodeMarked(Struct, frozen=True, tag="marked", array_like=True):
    """A node's database was declared unfit (``down``) or well again."""

    node: int
    down: bool


class ValueWritten(Struct, frozen=True, tag="value", array_like=True):
    """A key of the key-value store was given a value, or removed (None), if its index is ``cas`` (None: anyhow)."""

    name: str
    value: bytes | None
    cas: int | None = None


Body = (
    Founded | SettingsChanged | Reign | NodeExpected | NodeMarked | ValueWritten | Guaranteed | database_settings.Body
)


class Command(Struct, frozen=True, array_like=True):
    """A command with the client's idempotency key ("" for none), and the fingerprint of its request (b"": unknown)."""

    key: str
    body: Body
    fingerprint: bytes = b""


_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(Command)


def encode(body: Body, key: str = "", fingerprint: bytes = b"") -> bytes:
    """The payload of an entry."""
    # By a buffer: what the encoder returns by itself has room for half as much again, and the log keeps thousands.
    buffer = bytearray()
    _encoder.encode_into(Command(key, body, fingerprint), buffer)
    return bytes(buffer)


def decode(payload: bytes) -> Command:
    """The command in a payload; raises :class:`MalformedCommand`."""
    try:
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
        raise MalformedCommand(f"a committed entry is no command ({fault}); is a newer version needed?") from fault
