"""Every truncation and every flipped bit of sealed datagrams: dropped, counted, and nothing else changes."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from random import Random

import pytest
from fuzz import examples
from fuzz.harm import flips, harmed, truncations
from fuzz.picture import picture
from qluster.transport.envelope import (
    BOOT_MAX,
    DIRECT,
    FLAGS_KNOWN,
    NUMBER_MAX,
    PROBE,
    REQUEST,
    UNICAST,
    Drop,
)
from qluster.transport.fragments import Want
from qluster.transport.link import SENDERS_MAX, Link, LinkSettings
from qluster.transport.probe import encoded
from qluster.transport.repair import Request
from qluster.transport.seal import Key, Sealer

KEY, OTHER_KEY = Key(1, bytes(range(32))), Key(2, bytes(range(32, 64)))
HERE, THERE = ("10.0.0.1", 7400), ("10.0.0.2", 7400)
COUNTERS = frozenset({"counters", "_counters"})
NOW = 10.0


def link(uid: int, cluster: str = "one") -> Link:
    settings = LinkSettings(max_log_size=4096, datagram_size=548, send_buffer_capacity=32, recv_buffer_capacity=8)
    return Link(cluster, uid, 1, [KEY, OTHER_KEY], settings, Random(uid), 0.0)


def busy_pair() -> tuple[Link, list[bytes]]:
    """A link in the middle of much, and well-sealed datagrams that it has not received yet."""
    sender, receiver = link(1), link(2)
    datagrams = []
    for number, size in enumerate((5, 1200, 40, 0)):
        sender.send(bytes([number]) * size, THERE if number == 2 else None, NOW)
        datagrams += [send.datagram for send in sender.due(NOW)]
    receiver.send(b"own" * 300, None, NOW)
    receiver.due(NOW)
    receiver.receive(datagrams[0], HERE, NOW)
    receiver.receive(datagrams[2], HERE, NOW)
    asking = Sealer("one", 3, 1, KEY)
    request = Request(2, 1, [Want(False, 1, 0)]).encoded()
    return receiver, [
        datagrams[1],
        datagrams[4],
        asking.seal(REQUEST | DIRECT | UNICAST, 1, 0, 1, request),
        Sealer("one", 99, 1, KEY).seal(PROBE, 1, 0, 1, encoded(examples.ASK)),
    ]


def dropped(receiver: Link) -> int:
    return sum(count for name, count in receiver.counters.items() if name.startswith("dropped_"))


def others(receiver: Link) -> dict[str, int]:
    told = ("datagrams_received", "bytes_received")
    return {name: n for name, n in receiver.counters.items() if not name.startswith("dropped_") and name not in told}


def refuses(receiver: Link, datagram: bytes) -> None:
    """It is dropped and counted once, and that is all."""
    before, drops, received = others(receiver), dropped(receiver), receiver.counters["datagrams_received"]
    assert receiver.receive(datagram, ("192.0.2.66", 99), NOW + 1) == []
    assert dropped(receiver) == drops + 1
    assert receiver.counters["datagrams_received"] == received + 1
    assert others(receiver) == before


@pytest.mark.parametrize("which", range(4), ids=["chunk", "whole message", "repair request", "probe"])
def test_harmed_datagram_is_dropped_and_counted_and_changes_nothing(which: int) -> None:
    receiver, datagrams = busy_pair()
    before = picture(receiver, COUNTERS)
    for wrong in harmed(datagrams[which]):
        refuses(receiver, wrong)
    assert picture(receiver, COUNTERS) == before
    received = dropped(receiver)
    receiver.receive(datagrams[which], HERE, NOW + 1)
    assert dropped(receiver) == received, "the datagram itself is still welcome"
    assert picture(receiver, COUNTERS) != before


def test_each_flipped_bit_of_a_header_alone_changes_nothing() -> None:
    """The picture is taken after each, so that two changes cannot cancel each other."""
    receiver, datagrams = busy_pair()
    before = picture(receiver, COUNTERS)
    for wrong in list(flips(datagrams[0]))[: 48 * 8]:
        refuses(receiver, wrong)
        assert picture(receiver, COUNTERS) == before


def test_datagrams_sealed_with_an_unknown_key_or_for_another_cluster_change_nothing() -> None:
    receiver, _ = busy_pair()
    before = picture(receiver, COUNTERS)
    strangers = [
        Sealer("one", 5, 1, Key(7, bytes(range(64, 96)))),
        Sealer("one", 5, 1, Key(1, bytes(range(64, 96)))),
        Sealer("two", 5, 1, KEY),
        Sealer("one", NUMBER_MAX, BOOT_MAX, Key(1, bytes(range(64, 96)))),
    ]
    for stranger in strangers:
        for flags in range(8):
            refuses(receiver, stranger.seal(flags, 9, 0, 1, b"nonsense"))
    assert picture(receiver, COUNTERS) == before
    counted = {name: receiver.counters[f"dropped_{name.value}"] for name in (Drop.KEY, Drop.FORGED, Drop.CLUSTER)}
    assert counted == {Drop.KEY: 8, Drop.FORGED: 16, Drop.CLUSTER: 8}


def test_replayed_datagrams_and_those_of_an_earlier_start_change_nothing() -> None:
    receiver = link(2)
    old, new = Sealer("one", 1, 1, KEY), Sealer("one", 1, 2, KEY)
    of_old = [old.seal(flags, 5, 0, 1, b"old") for flags in (0, UNICAST, DIRECT | UNICAST)]
    of_new = [new.seal(flags, 5, 0, 1, b"new") for flags in (0, UNICAST, DIRECT | UNICAST)]
    for datagram in of_new:
        receiver.receive(datagram, HERE, NOW)
    before = picture(receiver, COUNTERS)
    for datagram in [*of_old, *of_new]:
        refuses(receiver, datagram)
    assert picture(receiver, COUNTERS) == before
    assert (receiver.counters["dropped_old_boot"], receiver.counters["dropped_replayed"]) == (3, 3)


@pytest.mark.parametrize("flags", range(FLAGS_KNOWN + 2))
def test_nonsense_under_a_good_seal_neither_crashes_nor_grows(flags: int) -> None:
    """Who holds the key may still be a version of tomorrow: every flag, extreme numbers, any payload."""
    receiver = link(2)
    numbers = [1, 2, 1023, 1024, 1025, 2**32, 2**63, NUMBER_MAX]
    chunks = [(0, 1), (0, 2), (1, 2), (10, 11), (0, 65535), (65534, 65535)]
    payloads = [b"", b"\0", bytes(500), encoded(examples.ASK), encoded(examples.ANSWER)]
    payloads += [examples.REQUEST.encoded(), *truncations(examples.REQUEST.encoded())]
    for uid in range(3, 3 + 2 * SENDERS_MAX, 41):
        sender = Sealer("one", uid, 1, KEY)
        for number in numbers:
            for chunk, count in chunks:
                payload = payloads[(number + chunk + uid) % len(payloads)]
                receiver.receive(sender.seal(flags, number, chunk, count, payload), HERE, NOW)
                receiver.due(NOW)
    assert receiver.senders <= SENDERS_MAX
    assert receiver.wake_at >= NOW or receiver.due(receiver.wake_at) is not None


@pytest.mark.parametrize("length", [*range(20), 100, 500])
def test_repair_request_of_any_length_is_answered_or_counted(length: int) -> None:
    receiver, _ = busy_pair()
    asker = Sealer("one", 3, 1, KEY)
    whole = Request(2, 1, [Want(False, 1, (1 << 900) - 1), Want(True, NUMBER_MAX, 0)] * 16).encoded()
    malformed = receiver.counters["dropped_malformed"]
    receiver.receive(asker.seal(REQUEST | DIRECT | UNICAST, 1, 0, 1, whole[:length]), HERE, NOW)
    asked = receiver.counters["requests_received"]
    assert asked + receiver.counters["dropped_malformed"] - malformed == 1
    assert len(receiver.due(NOW + 1)) < 10
