"""What one sender, many senders and strangers may take: every queue ends somewhere, and says so."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import tracemalloc
from random import Random

import pytest
from qluster.events import Address
from qluster.transport.envelope import DIRECT, REQUEST, UNICAST
from qluster.transport.fragments import Want
from qluster.transport.link import SENDERS_MAX, Link, LinkSettings
from qluster.transport.repair import REPAIRS_MAX, Request
from qluster.transport.seal import CIPHERS_MAX, Key, Sealer

KEY = Key(1, bytes(range(32)))
STRANGE = Key(1, bytes(range(1, 33)))
HERE: Address = ("10.0.0.1", 7400)


def link(settings: LinkSettings | None = None) -> Link:
    return Link("one", 1, 1, [KEY], settings or LinkSettings(), Random(1), 0.0)


def grown(link: Link, datagrams: list[bytes]) -> int:
    """Bytes that stay allocated after these."""
    tracemalloc.start()
    try:
        link.receive(datagrams[0], HERE, 0.0)
        before, _ = tracemalloc.get_traced_memory()
        for datagram in datagrams[1:]:
            link.receive(datagram, HERE, 0.0)
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("senders", [1, 3000], ids=["one", "many"])
def test_strangers_leave_nothing_behind(senders: int) -> None:
    sealers = [Sealer("one", 100 + number, 1, STRANGE) for number in range(senders)]
    datagrams = [sealers[number % senders].seal(0, 1, 0, 2, bytes(300)) for number in range(3000)]
    one = link()
    assert grown(one, datagrams) < 4096
    assert one.counters["dropped_forged"] == 3000
    assert one.senders == 0
    assert one.due(1.0) == []


@pytest.mark.parametrize("capacity", [32, 256])
def test_half_messages_of_a_sender_with_the_key_are_bounded(capacity: int) -> None:
    """As many of the largest as recv-buffer-capacity; the oldest give way and are counted."""
    one = link(LinkSettings(recv_buffer_capacity=capacity, max_log_size=8000))
    sealer = Sealer("one", 9, 1, KEY)
    datagrams = [sealer.seal(UNICAST, number, 0, 2, bytes(1300)) for number in range(1, 1000)]
    assert grown(one, datagrams) < capacity * (1300 + 1500)
    assert one.counters["messages_evicted"] + one.counters["messages_missed"] >= 999 - capacity - 1


def test_more_senders_with_the_key_than_any_cluster_has_are_bounded() -> None:
    one = link()
    datagrams = [Sealer("one", 100 + number, 1, KEY).seal(0, 1, 0, 1, b"hello") for number in range(1500)]
    assert grown(one, datagrams) < SENDERS_MAX * 8192 + CIPHERS_MAX * 4096
    assert one.senders == SENDERS_MAX
    assert one.counters["senders_forgotten"] == 1500 - SENDERS_MAX


def test_queue_holds_its_capacity_and_counts_the_rest() -> None:
    one = link(LinkSettings(send_buffer_capacity=32, pacing_rate=70_000))
    for number in range(100):
        one.send(bytes(60_000) + bytes([number]), None, 0.0)
    assert one.queued == 32
    assert one.counters["messages_queue_full"] == 68


def test_repairs_that_wait_are_bounded_and_counted() -> None:
    """Somebody with the key asks for everything, and pacing lets next to nothing go."""
    settings = LinkSettings(pacing_rate=10**9, send_buffer_capacity=256, datagram_size=548)
    one = link(settings)
    for _ in range(256):
        one.send(bytes(64_000), None, 0.0)
    now = 0.0
    while one.queued:
        one.due(now)
        now += 0.0001
    asker = Sealer("one", 9, 1, KEY)
    for number in range(1, 257):
        request = Request(1, 1, [Want(False, number, 0)])
        one.receive(asker.seal(REQUEST | DIRECT | UNICAST, 1, 0, 1, request.encoded()), HERE, now)
    assert one.counters["repairs_overflow"] > 0
    assert one.counters["repairs_overflow"] + REPAIRS_MAX == 256 * -(-64_000 // settings.chunk_size)


def test_clusters_of_one_group_never_see_each_other() -> None:
    """Same group, same port, and one of them by an accident with the same key and the same uids."""
    ours = [Link("ours", uid, 1, [KEY], LinkSettings(), Random(uid), 0.0) for uid in (1, 2)]
    theirs = [Link("theirs", uid, 1, [KEY], LinkSettings(), Random(uid), 0.0) for uid in (1, 2)]
    everybody = [*ours, *theirs]
    received: dict[Link, list[bytes]] = {one: [] for one in everybody}
    now = 0.0
    for step in range(200):
        now += 0.005
        for one in everybody:
            one.send(b"%d" % step + (b"ours" if one in ours else b"theirs") * (600 if step % 5 == 0 else 1), None, now)
            for send in one.due(now):
                for other in everybody:
                    if other is not one:
                        received[other] += [got.message for got in other.receive(send.datagram, HERE, now)]
    for one in everybody:
        mark = b"ours" if one in ours else b"theirs"
        assert len(received[one]) == 200
        assert all(mark in message for message in received[one])
        assert one.counters["dropped_other_cluster"] > 400
        assert one.counters["requests_sent"] == one.senders - 1 == 0
