"""Where messages begin and end in a stream of bytes.

Must not know what a message means: types are told apart only into known and unknown.

A message that is too long, or of an unknown type, is not kept: its body is counted and dropped as it comes, and the
reader hears of it when it is over, as corosync's daemons do. So a buffer never holds more than one header, one allowed
message and what came last.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from qluster.qnet.messages import HEADER, KINDS
from qluster.qnet.names import ErrorCode

_HEADER_SIZE = HEADER.size
_unpack_header = HEADER.unpack_from

SIZE_DEFAULT = 32768
"""Bytes of a message, header included, until INIT_REPLY says otherwise."""
SIZE_MIN = 16
"""The smallest limit that corosync's daemons accept."""


class Frame(NamedTuple):
    """One message, not yet decoded."""

    kind: int
    body: bytes


class Skipped(NamedTuple):
    """A message whose body was dropped, and why."""

    kind: int
    size: int
    error: ErrorCode


class Framer:
    """Cuts one stream. ``feed`` what came, then take ``next`` until it has nothing more."""

    def __init__(self, limit: int = SIZE_DEFAULT, known: Collection[int] = KINDS) -> None:
        assert limit >= SIZE_MIN, f"messages of {limit} bytes, at least {SIZE_MIN} must be allowed"
        self.limit = limit
        self._known = known
        self._buffer = b""
        self._at = 0
        """Where in it the next message begins."""
        self._skipping: Skipped | None = None
        self._skip_bytes = 0

    def only(self, data: bytes) -> Frame | None:
        """The message that these bytes are, where they are one and nothing waits; else ``feed`` them."""
        if self._skip_bytes or self._at < len(self._buffer) or len(data) < _HEADER_SIZE:
            return None
        kind, length = _unpack_header(data)
        size = _HEADER_SIZE + length
        if size != len(data) or size > self.limit or kind not in self._known:
            return None
        return Frame(kind, data[_HEADER_SIZE:])

    def feed(self, data: bytes) -> None:
        """These bytes came next."""
        if self._skip_bytes:
            dropped = min(self._skip_bytes, len(data))
            self._skip_bytes -= dropped
            data = data[dropped:]
        # As a rule whole messages come, and nothing waits.
        self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
        self._at = 0

    def next(self) -> Frame | Skipped | None:
        """The next message that is whole, or was skipped as a whole."""
        if self._skipping is not None:
            return self._skip()
        buffer, at = self._buffer, self._at
        begin, held = at + _HEADER_SIZE, len(buffer)
        if held < begin:
            return None
        kind, length = _unpack_header(buffer, at)
        end = begin + length
        if kind not in self._known:
            return self._begin_skipping(Skipped(kind, end - at, ErrorCode.UNSUPPORTED_MESSAGE))
        if end - at > self.limit:
            return self._begin_skipping(Skipped(kind, end - at, ErrorCode.MESSAGE_TOO_LONG))
        if end < held:
            self._at = end
        elif end == held:
            # What was read is not kept until something comes again, which may be in weeks.
            self._buffer, self._at = b"", 0
        else:
            return None
        return Frame(kind, buffer[begin:end])

    def know(self, kinds: Collection[int]) -> None:
        """From here on these types are known as well."""
        self._known = frozenset(self._known) | frozenset(kinds)

    def rest(self) -> bytes:
        """What came behind the last message; it is taken away. After STARTTLS these bytes belong to TLS."""
        rest = self._buffer[self._at :]
        self._buffer, self._at = b"", 0
        return rest

    @property
    def held(self) -> int:
        """Bytes that wait for the rest of their message."""
        return len(self._buffer) - self._at

    def _begin_skipping(self, skipped: Skipped) -> Skipped | None:
        self._skipping = skipped
        dropped = min(skipped.size, self.held)
        self._at += dropped
        self._skip_bytes = skipped.size - dropped
        return self._skip()

    def _skip(self) -> Skipped | None:
        if self._skip_bytes:
            return None
        skipped, self._skipping = self._skipping, None
        return skipped
