"""Decides what is asked and answered when somebody tries who hears whom, and how often this node answers.

It must not know sockets. A probe is sealed like all else, so only who has the cluster key gets an answer; but it
comes from nobody's node: who asks has a random uid for one run, and leaves nothing behind in those who answer.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from math import inf
from typing import Annotated, Final

import msgspec

from qluster.events import Address
from qluster.transport.envelope import UNICAST, Drop, Header
from qluster.transport.peer import Peer
from qluster.transport.window import Window

ANSWERS_A_SECOND: Final = 200
"""Enough for probes of ten hosts at once; a recording that is played again costs no more than these."""
ASKERS_MAX: Final = 16
"""Askers whose probes are told from their repetition; one for each host that tries the network just now."""
HEARD_MAX: Final = 32
"""Nodes named in an answer: more than a cluster has, and with 40 bytes each they fit one datagram."""

Number = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]


class Ask(msgspec.Struct, tag="ask", array_like=True, frozen=True):
    """Who hears this, answer; ``aloud`` to the group as well."""

    token: Number
    """Of this run, so that nobody takes another's answers for its own."""
    number: Number
    aloud: bool
    padding: bytes = b""


class Heard(msgspec.Struct, array_like=True, frozen=True):
    """What a node hears of another: seconds since the last datagram through the group, and by unicast."""

    host: str
    port: int
    group_ago: float | None
    unicast_ago: float | None
    copied: bool
    """Whether it sends that node copies by unicast, because it does not seem to hear the group."""


class Reply(msgspec.Struct, tag="answer", array_like=True, frozen=True):
    """This probe was heard."""

    token: Number
    number: Number
    size: int
    """Of the datagram that asked, as it arrived."""
    grouped: bool
    """Whether the probe came through the group."""
    hears: tuple[Heard, ...] = ()


_decoder: msgspec.msgpack.Decoder[Ask | Reply] = msgspec.msgpack.Decoder(Ask | Reply)
_encode = msgspec.msgpack.Encoder().encode


def encoded(one: Ask | Reply) -> bytes:
    return _encode(one)


def parse_probe(payload: bytes) -> Ask | Reply | None:
    """Read a probe or an answer, None when it is neither."""
    try:
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def ask_of_size(token: int, number: int, aloud: bool, size: int) -> bytes:
    """An ask whose payload has this size; it is as small as it can be when that is larger."""
    bare = len(encoded(Ask(token, number, aloud)))
    padding = max(0, size - bare)
    while len(payload := encoded(Ask(token, number, aloud, bytes(padding)))) > size and padding:
        padding -= 1
    return payload


class Answering:
    """Answers probes, and remembers who asked so that none is answered twice."""

    def __init__(self, now: float) -> None:
        self._askers: OrderedDict[tuple[int, int], tuple[Window, Window]] = OrderedDict()
        self._overheard: OrderedDict[Address, tuple[float, float]] = OrderedDict()
        """When a probe or an answer was heard of who is no peer: through the group, by unicast."""
        self._left = float(ANSWERS_A_SECOND)
        self._at = now

    def fresh(self, header: Header) -> bool:
        """Whether a genuine probe is heard for the first time; it is marked as heard."""
        key = (header.uid, header.boot)
        windows = self._askers.get(key)
        if windows is None:
            windows = self._askers[key] = (Window(), Window())
            if len(self._askers) > ASKERS_MAX:
                self._askers.popitem(last=False)
        window = windows[header.flags & UNICAST]
        if not window.fresh(header.sequence):
            return False
        window.mark(header.sequence)
        return True

    def answers(
        self, header: Header, payload: bytes, size: int, source: Address, peers: Iterable[Peer], now: float
    ) -> list[tuple[bytes, Address | None]] | Drop:
        """What to say to a genuine probe, and to whom."""
        asked = parse_probe(payload)
        if asked is None:
            return Drop.MALFORMED
        grouped = not header.flags & UNICAST
        self._overhear(source, grouped, now)
        if isinstance(asked, Reply):
            return []
        if not self._allowed(now):
            return Drop.UNASKED
        hears = [heard(peer.source, peer.group_at, peer.unicast_at, peer.copied, now) for peer in peers]
        known = {(one.host, one.port) for one in hears}
        hears += [heard(at, *times, False, now) for at, times in self._overheard.items() if at not in known]
        reply = encoded(Reply(asked.token, asked.number, size, grouped, tuple(hears[:HEARD_MAX])))
        return [(reply, source), (reply, None)] if asked.aloud else [(reply, source)]

    def _overhear(self, source: Address, grouped: bool, now: float) -> None:
        group_at, unicast_at = self._overheard.pop(source, (-inf, -inf))
        self._overheard[source] = (now, unicast_at) if grouped else (group_at, now)
        if len(self._overheard) > ASKERS_MAX:
            self._overheard.popitem(last=False)

    def _allowed(self, now: float) -> bool:
        self._left = min(ANSWERS_A_SECOND, self._left + max(0.0, now - self._at) * ANSWERS_A_SECOND)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def heard(address: Address, group_at: float, unicast_at: float, copied: bool, now: float) -> Heard:
    """What is known of the datagrams of one node."""

    def ago(at: float) -> float | None:
        return None if at == -inf else round(now - at, 3)

    return Heard(*address, ago(group_at), ago(unicast_at), copied)
