"""What is sent again, to whom, and how often."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st
from qluster.events import Address
from qluster.transport.fragments import Want
from qluster.transport.limits import LOG_SIZE_LIMIT, MESSAGE_OVERHEAD
from qluster.transport.repair import (
    REPAIR_AGE_MAX,
    REPAIR_AGE_SURE,
    REPAIR_BYTES_MAX,
    REPAIR_MEMORY,
    REPAIRS_MAX,
    REQUEST_WANTS_MAX,
    Outgoing,
    Repairs,
    Request,
    parse_request,
    wants_max,
)

ALICE, BOB, CAROL = ("10.0.0.1", 7400), ("10.0.0.2", 7400), ("10.0.0.3", 7400)
WANTS = st.lists(
    st.builds(Want, st.booleans(), st.integers(0, 2**64 - 1), st.integers(0, 2**2200 - 1)),
    max_size=REQUEST_WANTS_MAX,
)


class Sent(Repairs):
    """Messages 1, 2, … of the group stream were sent, of some chunks each; what is waiting can be taken."""

    def __init__(self, *counts: int, capacity: int = 8, group_size: int = 1, to: Address | None = None) -> None:
        self.counters: dict[str, int] = defaultdict(int)
        super().__init__(capacity, group_size, self.counters)
        for number, count in enumerate(counts, start=1):
            self.remember(Outgoing(bytes(count), to, count, number=number, chunks_sent=count), 0.0)

    def taken(self) -> list[tuple[int, int, Address | None]]:
        found = []
        while (repair := self.peek()) is not None:
            self.pop(repair)
            found.append((repair.outgoing.number, repair.chunk, repair.to))
        return found


def wanted(number: int, *chunks: int, direct: bool = False) -> Want:
    return Want(direct, number, sum(1 << chunk for chunk in chunks))


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), WANTS)
def test_request_written_is_the_request_read(uid: int, boot: int, wants: list[Want]) -> None:
    request = Request(uid, boot, wants)
    assert parse_request(request.encoded()) == request


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_none(payload: bytes) -> None:
    request = parse_request(payload)
    assert request is None or len(request.wants) <= REQUEST_WANTS_MAX


@given(st.integers(1, 2200), st.integers(484, 1408))
def test_so_many_wants_as_allowed_fit_one_datagram(chunks_max: int, size: int) -> None:
    worst = Want(True, 2**64 - 1, 2**chunks_max - 1)
    assert len(Request(1, 1, [worst] * wants_max(size, chunks_max)).encoded()) <= size


def test_who_asks_gets_the_chunks_by_unicast() -> None:
    sent = Sent(5, 5)
    sent.ask(wanted(2, 1, 4), ALICE, 0.0)
    assert sent.taken() == [(2, 1, ALICE), (2, 4, ALICE)]


def test_whole_message_is_repaired_when_no_chunk_is_named() -> None:
    sent = Sent(3)
    sent.ask(wanted(1), ALICE, 0.0)
    assert sent.taken() == [(1, 0, ALICE), (1, 1, ALICE), (1, 2, ALICE)]


def test_second_asker_makes_it_a_multicast_for_all() -> None:
    sent = Sent(5)
    sent.ask(wanted(1, 2), ALICE, 0.0)
    sent.ask(wanted(1, 2, 3), BOB, REPAIR_MEMORY / 2)
    sent.ask(wanted(1, 2), CAROL, REPAIR_MEMORY)
    assert sent.taken() == [(1, 2, None), (1, 3, BOB)]


def test_first_repair_already_gone_and_the_second_asker_is_served_by_multicast() -> None:
    sent = Sent(5)
    sent.ask(wanted(1, 2), ALICE, 0.0)
    assert sent.taken() == [(1, 2, ALICE)]
    sent.ask(wanted(1, 2), BOB, REPAIR_MEMORY / 2)
    assert sent.taken() == [(1, 2, None)]


def test_asking_again_at_once_gets_nothing_more() -> None:
    sent = Sent(5)
    for now in (0.0, REPAIR_MEMORY / 3, REPAIR_MEMORY / 2):
        sent.ask(wanted(1, 2), ALICE, now)
    assert len(sent.taken()) == 1
    sent.ask(wanted(1, 2), ALICE, REPAIR_MEMORY * 1.1)
    assert len(sent.taken()) == 1


def test_without_multicast_each_asker_is_served_alone() -> None:
    sent = Sent(5, group_size=3)
    sent.ask(wanted(1, 2), ALICE, 0.0)
    sent.ask(wanted(1, 2), BOB, 0.0)
    assert sent.taken() == [(1, 2, ALICE), (1, 2, BOB)]


def test_message_for_one_is_never_repaired_to_all() -> None:
    sent = Sent(5, to=ALICE)
    sent.ask(wanted(1, 2, direct=True), ALICE, 0.0)
    sent.ask(wanted(1, 2, direct=True), BOB, 0.0)
    assert sent.taken() == [(1, 2, ALICE), (1, 2, BOB)]


def test_chunks_not_sent_yet_are_not_repaired() -> None:
    sent = Sent()
    sent.remember(Outgoing(bytes(5), None, 5, number=1, chunks_sent=2), 0.0)
    sent.ask(wanted(1, 1, 2, 3, 900), ALICE, 0.0)
    assert sent.taken() == [(1, 1, ALICE)]


def test_unknown_and_old_messages_are_counted_and_not_repaired() -> None:
    sent = Sent(1, 1, 1, capacity=2)
    sent.ask(wanted(9), ALICE, 0.0)
    sent.ask(wanted(1), ALICE, 0.0)
    sent.ask(wanted(3), ALICE, REPAIR_AGE_MAX + 0.1)
    assert sent.taken() == []
    assert sent.counters["repairs_unavailable"] == 3
    sent.ask(wanted(2), ALICE, 1.0)
    sent.forget_old(REPAIR_AGE_MAX + 0.1)
    sent.ask(wanted(3), ALICE, 1.0)
    assert sent.taken() == [(2, 0, ALICE)]


def test_waiting_repairs_are_bounded() -> None:
    sent = Sent(*[2000] * 8)
    for number in range(1, 9):
        sent.ask(wanted(number), ALICE, 0.0)
    assert sent.counters["repairs_overflow"] == 16_000 - REPAIRS_MAX
    assert len(sent.taken()) == REPAIRS_MAX


def test_what_is_forgotten_still_counts_as_lost() -> None:
    """A receiver so far behind that nothing can be repaired is the one for which the sender must slow down."""
    sent = Sent(46, 46, 46, capacity=2)
    assert sent.ask(wanted(1, 4, 5), ALICE, 0.0) == 2
    assert sent.ask(Want(False, 1, 0), ALICE, 0.0) == 46, "of the whole message, as many as messages have just now"
    assert sent.counters["repairs_unavailable"] == 2
    assert sent.taken() == []


def test_remembered_messages_are_bounded_in_bytes() -> None:
    """But for the newest and those that were sent just now; what is forgotten in whichever way counts no more."""
    sent = Sent()
    later = REPAIR_AGE_SURE + 0.1

    def goes(number: int, now: float, size: int = REPAIR_BYTES_MAX // 2) -> None:
        outgoing = Outgoing(bytes(size), None, 1, number=number, chunks_sent=1)
        sent.remember(outgoing, now)
        outgoing.sent_at = now

    def known() -> list[int]:
        return [number for direct, number in sent._recent if not direct]

    for number in range(1, 6):
        goes(number, 1.0)
    assert known() == [1, 2, 3, 4, 5], "a burst is remembered whole"
    goes(6, 1.0 + later)
    assert known() == [4, 5, 6]
    sent.resize(2)
    goes(7, 1.0 + 2 * later)
    assert known() == [6, 7]
    sent.forget_old(1.0 + 2 * later + REPAIR_AGE_MAX)
    assert known() == []
    goes(8, 10.0, LOG_SIZE_LIMIT + MESSAGE_OVERHEAD)
    assert known() == [8], "the largest there can be is remembered all the same"
    goes(9, 11.0, 1)
    goes(10, 12.0, 1)
    assert known() == [9, 10]
