"""Decides how a message is cut into chunks, when one is whole again, and which chunks to ask for once more.

It must not know datagrams, keys or sockets, nor who the sender is: one :class:`Assembly` belongs to one
sender.

IP's own fragmentation is never used: one lost fragment would lose the whole message, and a handful of losses
fills the kernel's reassembly memory for half a minute.

When to ask: a hole below the highest chunk is a loss, or a reordering that a few milliseconds will
show, so the request waits a random moment (which also keeps many receivers from asking at once). The
end of a message cannot be known to be missing before it has been quiet for a while. Each request is
repeated with growing pauses, a last time too: consensus has its own retry.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from math import inf
from random import Random
from typing import Final, NamedTuple

from qluster.transport.envelope import Drop

ASK_DELAY_MIN: Final = 0.002
ASK_DELAY_MAX: Final = 0.010
"""A request for a hole goes between these seconds after it was seen, at random: not before what was only
reordered within a burst has come, and not with everybody else's."""
QUIET: Final = 0.030
"""Without a further chunk for so long, the rest of a message counts as lost. Longer than a pause of pacing at
the lowest sensible rate."""
RETRY: Final = 0.020
"""Pause after the first request; it doubles with each."""
TRIES_MAX: Final = 6
"""Requests without any answer before a message is given up: 1.26 s in all. By then the default
replication-retry-interval has repaired it by other means."""
ASSEMBLY_TIMEOUT: Final = 10.0
"""A message not whole after so many seconds is given up even if chunks still trickle in."""
GAP_MAX: Final = 64
"""Whole messages asked for at most when a sender's numbering jumps; a longer silence is consensus's to
mend."""

MessageKey = tuple[bool, int]
"""Direct stream or group stream, and the number in it."""


class Want(NamedTuple):
    """Chunks of one message that are missing: bit i stands for chunk i; 0 means the whole message."""

    direct: bool
    message: int
    chunks: int


def chunk_count(length: int, size: int) -> int:
    """Chunks that a message takes; an empty message takes one."""
    return max(1, -(-length // size))


def chunk_at(message: bytes, index: int, size: int) -> bytes:
    return message[index * size : (index + 1) * size]


class _Partial:
    """What is there of one message. ``count`` 0: only its number is known, from a gap."""

    __slots__ = ("ask_at", "chunks", "count", "heard_at", "highest", "holed", "since", "size", "tries")

    def __init__(self, now: float) -> None:
        self.chunks: dict[int, bytes] = {}
        self.count = 0
        self.size = 0
        self.highest = -1
        self.since = now
        self.heard_at = now
        self.holed = False
        self.tries = 0
        self.ask_at = now + QUIET

    def missing(self, now: float) -> int:
        """Bit mask of what to ask for now: holes, and after a quiet time the end as well."""
        end = self.count if now >= self.heard_at + QUIET else self.highest + 1
        mask = (1 << end) - 1
        for index in self.chunks:
            mask &= ~(1 << index)
        return mask


class Assembly:
    """The messages of one sender that are not whole yet; at most ``capacity``, the oldest gives way."""

    def __init__(self, capacity: int, size_max: int, random: Random, counters: dict[str, int]) -> None:
        assert capacity >= 1, "nothing could be put together"
        self._capacity = capacity
        self._size_max = size_max
        self._random = random
        self._counters = counters
        self._partials: dict[MessageKey, _Partial] = {}
        self._bytes = 0
        self._bytes_max = capacity * size_max
        self.ask_at = inf
        """When to look for something to ask for; may be early, never late."""

    def __len__(self) -> int:
        return len(self._partials)

    def resize(self, capacity: int, bytes_max: int) -> None:
        """So many messages and bytes from now on; what is too much goes when the next message begins."""
        self._capacity, self._bytes_max = capacity, bytes_max

    def put(
        self, key: MessageKey, chunk: int, chunks: int, payload: bytes, now: float
    ) -> bytes | Drop | None:
        """Add a chunk of a message of several: the message when this made it whole, None when it did not."""
        assert 0 <= chunk < chunks, "a chunk lies within its message"
        if not payload:
            return Drop.MALFORMED
        partial = self._partials.get(key)
        if partial is None:
            partial = self._begin(key, now)
        if partial.count not in (0, chunks):
            return Drop.MALFORMED
        if chunk in partial.chunks:
            return Drop.REPEATED
        if partial.size + len(payload) > self._size_max:
            self._drop(key)
            return Drop.OVERSIZED
        partial.count = chunks
        partial.chunks[chunk] = payload
        partial.size += len(payload)
        self._bytes += len(payload)
        partial.highest = max(partial.highest, chunk)
        partial.heard_at = now
        if len(partial.chunks) == chunks:
            self._drop(key)
            return b"".join(partial.chunks[index] for index in range(chunks))
        self._schedule(partial, now)
        return None

    def expect(self, first: int, end: int, now: float) -> None:
        """Messages first to end - 1 of the group stream were not heard at all. Nothing gives way for them."""
        room = min(GAP_MAX, self._capacity // 2, self._capacity - len(self._partials))
        begin = max(first, end - room)
        self._counters["messages_missed"] += begin - first
        for number in range(begin, end):
            partial = self._begin((False, number), now)
            partial.holed = True
            partial.ask_at = now + self._random.uniform(ASK_DELAY_MIN, ASK_DELAY_MAX)
            self.ask_at = min(self.ask_at, partial.ask_at)

    def forget(self, key: MessageKey) -> None:
        """The message is there in one piece."""
        if key in self._partials:
            self._drop(key)

    def _drop(self, key: MessageKey) -> None:
        self._bytes -= self._partials.pop(key).size

    def wants(self, now: float, limit: int) -> list[Want]:
        """What to ask for now, at most so many messages; gives up what was asked for often enough."""
        wants: list[Want] = []
        if now < self.ask_at:
            return wants
        self.ask_at = inf
        for key, partial in list(self._partials.items()):
            if now - partial.since > ASSEMBLY_TIMEOUT or (
                partial.tries >= TRIES_MAX and now >= partial.ask_at
            ):
                self._drop(key)
                self._counters["messages_given_up"] += 1
                continue
            if now >= partial.ask_at and len(wants) < limit:
                self._ask(key, partial, wants, now)
            self.ask_at = min(self.ask_at, partial.ask_at)
        return wants

    def _begin(self, key: MessageKey, now: float) -> _Partial:
        while self._partials and (len(self._partials) >= self._capacity or self._bytes >= self._bytes_max):
            self._drop(next(iter(self._partials)))
            self._counters["messages_evicted"] += 1
        partial = self._partials[key] = _Partial(now)
        return partial

    def _schedule(self, partial: _Partial, now: float) -> None:
        if partial.tries:
            partial.tries = 1
            partial.ask_at = now + RETRY
        elif partial.highest + 1 == len(partial.chunks):
            partial.holed = False
            partial.ask_at = now + QUIET
        elif not partial.holed:
            partial.holed = True
            partial.ask_at = now + self._random.uniform(ASK_DELAY_MIN, ASK_DELAY_MAX)
        self.ask_at = min(self.ask_at, partial.ask_at)

    def _ask(self, key: MessageKey, partial: _Partial, wants: list[Want], now: float) -> None:
        missing = partial.missing(now) if partial.count else 0
        if partial.count and not missing:
            partial.ask_at = partial.heard_at + QUIET
            return
        wants.append(Want(*key, missing))
        partial.ask_at = now + RETRY * 2**partial.tries
        partial.tries += 1
