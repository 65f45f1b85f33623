"""Decides what the payload of a log entry of kind "command" looks like.

Must not know what a command does: that is ``state.py``.
A command is a fact in the past; it is applied in the order of the log, on every node alike.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import msgspec
from msgspec import Struct

from qluster.cluster import database_settings
from qluster.tasks import bodies
from qluster.tasks.said import said


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
    ``bound_bytes``: so much WAL at most may be missing here that was acknowledged; None: nobody can tell.
    ``accepted``: an operator would rather lose something than wait; what was guaranteed before is void.
    ``left_bytes``: how much of its own WAL the former primary gave up when it came back; None: not yet known.
    ``branch`` is the timeline that a promotion in this reign begins: no other reign has the same. 0: a version
    decided that left the number to the server.
    ``standby``: it holds no primary but the standby that follows, for all nodes, an installation outside; no
    timeline begins in it, and ``branch`` is the one that it found.
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
    bound_bytes: int | None = None
    accepted: bool = False
    left_bytes: int | None = None
    branch: int = 0
    standby: bool = False


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


class SwitchoverPlanned(Struct, frozen=True, tag="switchover-planned", array_like=True):
    """Leadership is to go to ``node`` (0: whoever is best then) at ``at``, seconds since 1970."""

    node: int
    at: float
    patience: float
    """Seconds that open transactions get at the pools."""
    force: bool = False


class SwitchoverBegun(Struct, frozen=True, tag="switchover-begun", array_like=True):
    """Reign ``reign`` is to end for ``node``: the pools let transactions end and let no new ones begin.

    ``plan`` is the number of the plan that is carried out, 0 for none; ``at`` seconds since 1970, for people.
    """

    node: int
    reign: int
    patience: float
    plan: int = 0
    at: float = 0.0


class Yielded(Struct, frozen=True, tag="yielded", array_like=True):
    """The primary of ``reign`` was shut down in order: its last record, a checkpoint, begins at ``position``.

    ``node`` has it. Who reigned writes nothing any more before there is another reign.
    """

    reign: int
    node: int
    timeline: int
    position: int


class SwitchoverEnded(Struct, frozen=True, tag="switchover-ended", array_like=True):
    """Switchover ``number`` came to nothing (0: it had not begun), plan ``plan`` is dropped (0: none); why."""

    number: int
    plan: int
    reason: str
    at: float = 0.0


class LossAccepted(Struct, frozen=True, tag="loss", array_like=True):
    """The reign after ``reign`` may begin although it may lack something that was acknowledged."""

    reign: int


class LossMeasured(Struct, frozen=True, tag="left", array_like=True):
    """A former primary has given up so many bytes of WAL to follow reign ``reign``."""

    reign: int
    left_bytes: int
class Paused(Struct, frozen=True, tag="paused", array_like=True):
    """An operator wants the databases left alone: nobody is started, stopped, promoted or pointed elsewhere."""

    reason: str


class Resumed(Struct, frozen=True, tag="resumed", array_like=True):
    """The pause is over. ``abandoned``: the node of the reign is given up as well (0: it is waited for)."""

    abandoned: int = 0


class FencingBegun(Struct, frozen=True, tag="fencing-begun", array_like=True):
    """``by``, which leads in ``term``, runs the fence agents of ``node`` for what follows reign ``reign``.

    ``at`` is seconds since 1970, for people; ``asked``: an operator asked for it.
    """

    node: int
    reign: int
    by: int
    term: int
    at: float
    asked: bool = False


class FencingEnded(Struct, frozen=True, tag="fencing-ended", array_like=True):
    """The agents that entry ``begun`` ordered for ``node`` ended so, and what they said."""

    node: int
    begun: int
    success: bool
    said: str
    at: float


class FencingConfirmed(Struct, frozen=True, tag="fencing-confirmed", array_like=True):
    """An operator has seen that the host of ``node``, the primary of reign ``reign``, is off."""

    node: int
    reign: int
    at: float


class Forced(Struct, frozen=True, tag="forced", array_like=True):
    """Founding ``former`` ended without a majority: ``node`` went on from its log as founding ``founding``.

    That log ended with entry ``index`` of term ``term``; ``reign`` was the number of the reign in force (0: none).
    ``left_out`` are the nodes that an operator gave up, with their addresses, ``named`` those he counted on beside
    ``node``, ``fenced`` those of the former whose hosts were switched off by agents. ``at`` is seconds since 1970,
    ``by`` who asked for it ("" in entries of older versions).
    """

    founding: int
    former: int
    node: int
    index: int
    term: int
    reign: int
    left_out: tuple[tuple[int, str], ...]
    named: tuple[int, ...]
    fenced: tuple[int, ...]
    at: float
    by: str = ""


class Bound(Struct, frozen=True, tag="bound", array_like=True):
    """The node whose primary ran without a lease is known to be bound by one again, since the entry ``since``."""

    node: int
    since: int


Body = (
    Founded
    | SettingsChanged
    | Reign
    | NodeExpected
    | NodeMarked
    | ValueWritten
    | Guaranteed
    | SwitchoverPlanned
    | SwitchoverBegun
    | Yielded
    | SwitchoverEnded
    | LossAccepted
    | LossMeasured
    | database_settings.Body
    | Paused
    | Resumed
    | Bound
    | FencingBegun
    | FencingEnded
    | FencingConfirmed
    | Forced
    | bodies.Body
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
    told = said(body) if isinstance(body, bodies.WithSpecs) else body
    _encoder.encode_into([key, told, fingerprint], buffer)
    return bytes(buffer)


def decode(payload: bytes) -> Command:
    """The command in a payload; raises :class:`MalformedCommand`."""
    try:
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
        raise MalformedCommand(f"a committed entry is no command ({fault}); is a newer version needed?") from fault
