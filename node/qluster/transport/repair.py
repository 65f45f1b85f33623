"""Decides what of the messages sent lately is sent again, and to whom.

It must not know keys, pacing or sockets: it says which chunk should go where, the link sends it.

The first who asks for a chunk gets it by unicast at once. When another asks for the same within a short
time, it goes to the group, and whoever asks after that has it on the way. Where the group is a list of
unicast peers a repair never goes to all.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import struct
from collections import OrderedDict
from math import inf
from typing import Final, NamedTuple

from qluster.events import Address
from qluster.transport.fragments import MessageKey, Want

REQUEST_WANTS_MAX: Final = 32
"""Messages named in one request."""
REPAIR_MEMORY: Final = 0.010
"""Within so many seconds several askers count as one loss, and one asker is answered once: the random
delay of requests, and half of the pause before they are repeated."""
REPAIR_AGE_MAX: Final = 2.0
"""Messages sent longer ago are not repaired: consensus has retried by then."""
REPAIR_AGE_SURE: Final = 0.3
"""So long everything is remembered: a receiver of 30 MB/s that is sent 100 asks so late, behind a full socket buffer
and asking for the third time. With half of that it does not get everything."""
REPAIR_BYTES_MAX: Final = 1024 * 1024
"""Bytes of messages remembered for longer: as much as consensus has under way at once. Who misses an older one is
behind already and gets its entries from the leader's log; without that a busy leader holds 9 MB for nothing."""
REPAIRS_MAX: Final = 8192
"""Chunks waiting to be sent again; 11 MB at the usual chunk, more than any burst of loss in two seconds."""

_TARGET = struct.Struct(">QI")
_WANT = struct.Struct(">BQH")


class Request(NamedTuple):
    """A receiver asks the sender with this uid and boot for missing chunks."""

    uid: int
    boot: int
    wants: list[Want]

    def encoded(self) -> bytes:
        assert len(self.wants) <= REQUEST_WANTS_MAX, "too many messages for one request"
        parts = [_TARGET.pack(self.uid, self.boot)]
        for want in self.wants:
            mask = want.chunks.to_bytes((want.chunks.bit_length() + 7) // 8, "little")
            parts += _WANT.pack(want.direct, want.message, len(mask)), mask
        return b"".join(parts)


def parse_request(payload: bytes) -> Request | None:
    """Read a request, None when it is none."""
    if len(payload) < _TARGET.size:
        return None
    uid, boot = _TARGET.unpack_from(payload)
    wants: list[Want] = []
    at = _TARGET.size
    while at < len(payload):
        if len(payload) - at < _WANT.size or len(wants) == REQUEST_WANTS_MAX:
            return None
        direct, message, size = _WANT.unpack_from(payload, at)
        at += _WANT.size
        mask = payload[at : at + size]
        if len(mask) < size or direct > 1:
            return None
        wants.append(Want(bool(direct), message, int.from_bytes(mask, "little")))
        at += size
    return Request(uid, boot, wants)


def wants_max(size: int, chunks_max: int) -> int:
    """Messages that may be named in one request whose payload has this size, however many chunks they
    miss."""
    return max(1, min(REQUEST_WANTS_MAX, (size - _TARGET.size) // (_WANT.size + (chunks_max + 7) // 8)))


class Outgoing:
    """A message on its way out: its number is given when its first chunk goes."""

    __slots__ = ("answered", "chunks_sent", "count", "direct", "message", "number", "repaired", "sent_at", "to")

    def __init__(
        self,
        message: bytes,
        to: Address | None,
        count: int,
        answered: bool = False,
        number: int = 0,
        chunks_sent: int = 0,
    ) -> None:
        self.message = message
        self.answered = answered
        """Whether those who hear it say something by unicast soon."""
        self.to = to
        self.direct = to is not None
        self.count = count
        self.number = number
        self.chunks_sent = chunks_sent
        self.sent_at = 0.0
        self.repaired: dict[int, tuple[float, Address | None]] | None = None
        """Chunk → when it was last repaired, and for whom (None: the group)."""


class Repair(NamedTuple):
    """Send this chunk again; ``to`` None is the group."""

    outgoing: Outgoing
    chunk: int
    to: Address | None


class Repairs:
    """The messages sent lately, and the chunks of them to be sent again."""

    def __init__(self, capacity: int, group_size: int, counters: dict[str, int]) -> None:
        self._capacity = capacity
        self._multicast = group_size == 1
        self._counters = counters
        self._recent: dict[MessageKey, Outgoing] = {}
        self._bytes = 0
        self._waiting: OrderedDict[Repair, None] = OrderedDict()
        self._usual = 1
        """Chunks of a message just now, for those that are forgotten."""
        self.forget_at = inf
        """When the oldest message remembered may be too old; may be early."""

    def resize(self, capacity: int) -> None:
        """Remember so many messages from now on."""
        self._capacity = capacity
        while len(self._recent) > capacity:
            self._forget_oldest()

    def remember(self, outgoing: Outgoing, now: float) -> None:
        """Its first chunk goes now. A direct message of one chunk is left out: nobody can notice its loss."""
        if outgoing.direct and outgoing.count == 1:
            return
        recent = self._recent
        self._usual = outgoing.count
        while self._bytes > REPAIR_BYTES_MAX and now > recent[next(iter(recent))].sent_at + REPAIR_AGE_SURE:
            self._forget_oldest()
        if not recent:
            self.forget_at = now + REPAIR_AGE_MAX
        recent[(outgoing.direct, outgoing.number)] = outgoing
        self._bytes += len(outgoing.message)
        if len(recent) > self._capacity:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        self._bytes -= len(self._recent.pop(next(iter(self._recent))).message)

    def forget_old(self, now: float) -> None:
        """Let go of what is too old to be repaired."""
        self.forget_at = inf
        while self._recent:
            key = next(iter(self._recent))
            self.forget_at = self._recent[key].sent_at + REPAIR_AGE_MAX
            if now < self.forget_at:
                return
            self.forget_at = inf
            self._forget_oldest()

    def ask(self, want: Want, asker: Address, now: float) -> int:
        """Somebody misses these chunks; how many it lost, as far as that is news.

        Those that were not sent yet are on their way anyway. What is forgotten was lost as well: a receiver
        that asks so late is far behind.
        """
        outgoing = self._recent.get((want.direct, want.message))
        if outgoing is None or now - outgoing.sent_at > REPAIR_AGE_MAX:
            self._counters["repairs_unavailable"] += 1
            return want.chunks.bit_count() or self._usual
        lost = 0
        for chunk in range(outgoing.chunks_sent):
            if not want.chunks or want.chunks >> chunk & 1:
                lost += self._ask_chunk(outgoing, chunk, asker, now)
        return lost

    def _ask_chunk(self, outgoing: Outgoing, chunk: int, asker: Address, now: float) -> bool:
        if outgoing.repaired is None:
            outgoing.repaired = {}
        at, last = outgoing.repaired.get(chunk, (-inf, asker))
        to: Address | None = asker
        if now - at < REPAIR_MEMORY:
            if last is None or last == asker:
                return False
            if self._multicast and not outgoing.direct:
                to = None
                self._waiting.pop(Repair(outgoing, chunk, last), None)
        if len(self._waiting) >= REPAIRS_MAX:
            self._counters["repairs_overflow"] += 1
            return True
        repair = Repair(outgoing, chunk, to)
        known = repair in self._waiting
        outgoing.repaired[chunk] = (now, to)
        self._waiting[repair] = None
        return not known

    @property
    def waiting(self) -> bool:
        """Whether any chunk is to be sent again."""
        return bool(self._waiting)

    def peek(self) -> Repair | None:
        """The next chunk to send again."""
        return next(iter(self._waiting), None)

    def pop(self, repair: Repair) -> None:
        """It was sent."""
        del self._waiting[repair]
