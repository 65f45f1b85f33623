"""Where messages begin and end."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some
from qluster.qnet.framing import Frame, Framer, Skipped
from qluster.qnet.messages import HEADER, frame
from qluster.qnet.names import ErrorCode

LIMIT = 64
BODIES = some.binary(max_size=2 * LIMIT)
STREAMS = some.lists(some.tuples(some.integers(0, 20), BODIES), max_size=8)


def cut(stream: bytes, pieces: list[int], limit: int = LIMIT) -> list[Frame | Skipped]:
    framer = Framer(limit)
    found: list[Frame | Skipped] = []
    place = 0
    for size in [*pieces, len(stream)]:
        framer.feed(stream[place : place + size])
        place += size
        found += iter(framer.next, None)
        assert framer.held <= HEADER.size + limit
    return found


@given(STREAMS, some.lists(some.integers(0, 40), max_size=30))
def test_any_split_of_a_stream_gives_the_same(messages: list[tuple[int, bytes]], pieces: list[int]) -> None:
    stream = b"".join(frame(kind, body) for kind, body in messages)
    expected: list[Frame | Skipped] = []
    for kind, body in messages:
        size = HEADER.size + len(body)
        if kind > 17:
            expected.append(Skipped(kind, size, ErrorCode.UNSUPPORTED_MESSAGE))
        elif size > LIMIT:
            expected.append(Skipped(kind, size, ErrorCode.MESSAGE_TOO_LONG))
        else:
            expected.append(Frame(kind, body))
    assert cut(stream, pieces) == expected
    assert cut(stream, [1] * len(stream)) == expected


@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT])
def test_message_of_the_limit_is_taken(size: int) -> None:
    assert cut(frame(8, bytes(size - 6)), []) == [Frame(8, bytes(size - 6))]


def test_nothing_is_held_of_what_was_read() -> None:
    framer = Framer()
    framer.feed(frame(8, b"12345678") * 3)
    while framer.next() is not None:
        pass
    assert framer.held == 0 and framer._buffer == b""


def test_what_is_too_long_is_dropped_as_it_comes_and_told_when_it_is_over() -> None:
    framer = Framer(LIMIT)
    framer.feed(HEADER.pack(8, 2**32 - 1))
    for _ in range(100):
        assert framer.next() is None
        framer.feed(bytes(10_000))
        assert framer.held == 0


def test_unknown_type_is_told_as_such_also_when_it_is_too_long() -> None:
    assert cut(frame(18, bytes(LIMIT)), [7]) == [Skipped(18, LIMIT + 6, ErrorCode.UNSUPPORTED_MESSAGE)]


def test_limit_may_grow_between_two_messages() -> None:
    framer = Framer(LIMIT)
    framer.feed(frame(8, bytes(LIMIT)) + frame(8, bytes(LIMIT)))
    assert framer.next() == Skipped(8, LIMIT + 6, ErrorCode.MESSAGE_TOO_LONG)
    framer.limit = LIMIT + 6
    assert framer.next() == Frame(8, bytes(LIMIT))


def test_rest_is_what_stands_behind_the_last_message() -> None:
    framer = Framer(LIMIT)
    framer.feed(frame(2, b"\0\0\0\0") + b"\x16\x03\x01")
    assert framer.next() == Frame(2, b"\0\0\0\0")
    assert framer.rest() == b"\x16\x03\x01"
    assert framer.rest() == b"" and framer.next() is None
