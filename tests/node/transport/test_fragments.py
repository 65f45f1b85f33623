"""Messages cut and put together again, and what is asked for when pieces are missing."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from math import inf
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from qluster.transport.envelope import Drop
from qluster.transport.fragments import (
    ASK_DELAY_MAX,
    ASK_DELAY_MIN,
    ASSEMBLY_TIMEOUT,
    GAP_MAX,
    QUIET,
    TRIES_MAX,
    Assembly,
    Want,
    chunk_at,
    chunk_count,
)

GROUP = False


class Receiving(Assembly):
    """An assembly whose counters can be looked at."""

    def __init__(self, capacity: int = 8, size_max: int = 10_000) -> None:
        self.counters: dict[str, int] = defaultdict(int)
        super().__init__(capacity, size_max, Random(1), self.counters)

    def hear(self, number: int, *chunks: int, count: int, now: float = 0.0) -> list[bytes | Drop | None]:
        return [self.put((GROUP, number), chunk, count, b"%d" % chunk, now) for chunk in chunks]

    def all_wants(self, until: float) -> list[tuple[float, Want]]:
        """Every request up to a time, asked for exactly when it is due."""
        asked = []
        while self.ask_at <= until:
            now = self.ask_at
            asked += [(now, want) for want in self.wants(now, 32)]
        return asked


@given(st.binary(max_size=2000), st.integers(1, 300))
def test_chunks_joined_are_the_message(message: bytes, size: int) -> None:
    chunks = [chunk_at(message, index, size) for index in range(chunk_count(len(message), size))]
    assert b"".join(chunks) == message
    assert all(len(chunk) == size for chunk in chunks[:-1])
    assert len(chunks) == 1 or chunks[-1]


@given(st.binary(min_size=2, max_size=500), st.integers(1, 100), st.randoms(), st.integers(0, 3))
def test_any_order_with_repetitions_gives_the_message_once(
    message: bytes, size: int, random: Random, repetitions: int
) -> None:
    count = chunk_count(len(message), size)
    if count < 2:
        return
    order = list(range(count)) * (1 + repetitions)
    random.shuffle(order)
    assembly = Receiving()
    outcomes = []
    missing = set(range(count))
    for index in order:
        if missing:
            outcomes.append(assembly.put((GROUP, 1), index, count, chunk_at(message, index, size), 0.0))
            missing.discard(index)
    assert [one for one in outcomes if isinstance(one, bytes)] == [message]
    assert outcomes[-1] == message
    assert len(assembly) == 0


def test_hole_is_asked_for_after_a_short_random_wait() -> None:
    assembly = Receiving()
    assembly.hear(1, 0, 1, 3, 5, count=9)
    [(at, want)] = assembly.all_wants(ASK_DELAY_MAX)
    assert ASK_DELAY_MIN <= at <= ASK_DELAY_MAX
    assert want == Want(GROUP, 1, 0b010100), "only the holes: the end may be on its way"


def test_chunks_that_overtook_each_other_are_not_asked_for() -> None:
    assembly = Receiving()
    assembly.hear(1, 0, 2, 1, 3, count=9)
    assert assembly.all_wants(QUIET * 0.99) == []


def test_end_is_asked_for_when_it_stays_quiet() -> None:
    assembly = Receiving()
    assembly.hear(1, 0, 1, count=4, now=1.0)
    [(at, want), *_] = assembly.all_wants(1.1)
    assert at >= 1.0 + QUIET
    assert want == Want(GROUP, 1, 0b1100)


@given(st.floats(0, 1e7))
def test_end_is_asked_for_at_the_very_time_that_was_announced(start: float) -> None:
    """A rounding error here would make the daemon wake again and again for nothing."""
    assembly = Receiving()
    assembly.hear(1, 0, 1, count=4, now=start)
    assert assembly.wants(assembly.ask_at, 32) == [Want(GROUP, 1, 0b1100)]


def test_hole_that_stays_is_asked_for_again_with_the_end() -> None:
    assembly = Receiving()
    assembly.hear(1, 0, 2, count=4)
    wants = [want.chunks for _, want in assembly.all_wants(0.2)]
    assert wants[0] == 0b0010
    assert wants[-1] == 0b1010


def test_requests_end_and_the_message_is_given_up() -> None:
    assembly = Receiving()
    assembly.hear(1, 0, 2, count=4)
    asked = assembly.all_wants(60.0)
    assert len(asked) == TRIES_MAX
    pauses = [later - earlier for (earlier, _), (later, _) in pairwise(asked)]
    assert pauses == sorted(pauses), "each pause is longer than the one before"
    assert len(assembly) == 0
    assert assembly.counters["messages_given_up"] == 1
    assert assembly.ask_at == inf


def test_each_repair_that_arrives_renews_the_patience() -> None:
    assembly = Receiving()
    assembly.hear(1, 0, 9, count=10)
    now = 0.0
    for chunk in range(1, 8):
        now += 0.5
        assembly.all_wants(now)
        assembly.hear(1, chunk, count=10, now=now)
    assert assembly.hear(1, 8, count=10, now=now + 0.1) == [b"0123456789"]


def test_message_that_never_gets_whole_ends() -> None:
    assembly = Receiving()
    now = 0.0
    for chunk in range(0, 2000, 2):
        assembly.hear(1, chunk, count=2001, now=now)
        assembly.all_wants(now)
        if not len(assembly):
            break
        now += 0.1
    assert ASSEMBLY_TIMEOUT < now < ASSEMBLY_TIMEOUT + 1
    assert assembly.counters["messages_given_up"] == 1


def test_messages_not_heard_at_all_are_asked_for_whole() -> None:
    assembly = Receiving(capacity=100)
    assembly.expect(4, 7, 0.0)
    asked = assembly.all_wants(ASK_DELAY_MAX)
    assert sorted(want for _, want in asked) == [Want(GROUP, number, 0) for number in (4, 5, 6)]
    assembly.forget((GROUP, 5))
    assert assembly.hear(4, 0, 1, count=2) == [None, b"01"]
    assert len(assembly) == 1


def test_long_silence_is_not_asked_for_from_its_beginning() -> None:
    assembly = Receiving(capacity=1000)
    assembly.expect(1, 10_001, 0.0)
    assert len(assembly) == GAP_MAX
    assert assembly.counters["messages_missed"] == 10_000 - GAP_MAX
    assert min(want.message for _, want in assembly.all_wants(ASK_DELAY_MAX)) == 10_001 - GAP_MAX


def test_gap_takes_no_room_from_messages_under_way() -> None:
    assembly = Receiving(capacity=4)
    for number in range(1, 5):
        assembly.hear(number, 0, count=2)
    assembly.expect(10, 20, 0.0)
    assert assembly.counters["messages_evicted"] == 0
    assert assembly.hear(1, 1, count=2) == [b"01"]


def test_oldest_message_gives_way_when_there_is_no_room() -> None:
    assembly = Receiving(capacity=3)
    for number in range(1, 5):
        assembly.hear(number, 0, count=2)
    assert len(assembly) == 3
    assert assembly.counters["messages_evicted"] == 1
    assert assembly.hear(2, 1, count=2) == [b"01"]
    assert assembly.hear(1, 1, count=2) == [None]


def test_message_larger_than_allowed_is_dropped_with_its_chunks() -> None:
    assembly = Receiving(size_max=250)
    assert assembly.put((GROUP, 1), 0, 3, bytes(200), 0.0) is None
    assert assembly.put((GROUP, 1), 1, 3, bytes(51), 0.0) is Drop.OVERSIZED
    assert len(assembly) == 0


def test_contradicting_chunks_are_refused() -> None:
    assembly = Receiving()
    assert assembly.hear(1, 0, count=3) == [None]
    assert assembly.hear(1, 1, count=4) == [Drop.MALFORMED]
    assert assembly.hear(1, 0, count=3) == [Drop.REPEATED]
    assert assembly.put((GROUP, 1), 2, 3, b"", 0.0) is Drop.MALFORMED
    assert assembly.hear(1, 1, 2, count=3) == [None, b"012"]


def test_requests_beyond_the_limit_come_next() -> None:
    assembly = Receiving(capacity=100)
    assembly.expect(1, 11, 0.0)
    first = assembly.wants(ASK_DELAY_MAX, 6)
    second = assembly.wants(ASK_DELAY_MAX, 6)
    assert (len(first), len(second)) == (6, 4)
    assert not {want.message for want in first} & {want.message for want in second}
