"""One link against another: what gets through, what is dropped for which reason, what waits."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qluster.events import Address, Send
from qluster.transport.envelope import REQUEST, SEAL_SIZE, Drop
from qluster.transport.link import (
    DATAGRAM_SIZE_MIN,
    MESSAGE_OVERHEAD,
    SENDERS_MAX,
    Link,
    LinkSettings,
    MessageTooLarge,
    Received,
)
from qluster.transport.pacing import BURST_TIME_MAX
from qluster.transport.seal import Key, Sealer

FIRST = Key(1, bytes(range(32)))
SECOND = Key(2, bytes(range(32, 64)))
HERE, THERE = ("10.0.0.1", 7400), ("10.0.0.2", 7400)


def link(
    uid: int,
    *,
    boot: int = 1,
    keys: tuple[Key, ...] = (FIRST,),
    cluster: str = "one",
    settings: LinkSettings | None = None,
) -> Link:
    return Link(cluster, uid, boot, keys, settings or LinkSettings(), Random(uid), 0.0)


def all_due(sender: Link, now: float = 0.0) -> list[Send]:
    """Everything that waits, as long as pacing takes."""
    sends = []
    while sender.queued:
        sends += sender.due(now)
        now = max(now, sender.wake_at)
    return sends


def sealed(sender: Link, message: bytes = b"hello", to: Address | None = None, now: float = 0.0) -> list[bytes]:
    sender.send(message, to, now)
    return [send.datagram for send in all_due(sender, now)]


def drops(receiver: Link) -> dict[str, int]:
    return {name[8:]: count for name, count in receiver.counters.items() if count and name[:8] == "dropped_"}


# --- through -------------------------------------------------------------------


@pytest.mark.parametrize("to", [None, THERE], ids=["group", "unicast"])
def test_message_goes_through(to: Address | None) -> None:
    sender, receiver = link(1), link(2)
    sender.send(b"hello", to, 0.0)
    [send] = sender.due(0.0)
    assert send.to == to
    assert b"hello" not in send.datagram
    assert receiver.receive(send.datagram, HERE, 0.0) == [Received(b"hello", 1, HERE)]
    assert receiver.counters["messages_received"] == 1
    assert drops(receiver) == {}


@given(st.integers(0, 64_000 + MESSAGE_OVERHEAD), st.sampled_from([DATAGRAM_SIZE_MIN, 1472, 8972]))
def test_message_of_any_size_goes_through_in_datagrams_of_the_size_wanted(size: int, datagram_size: int) -> None:
    sender, receiver = link(1, settings=LinkSettings(datagram_size=datagram_size)), link(2)
    message = Random(size).randbytes(size)
    datagrams = sealed(sender, message)
    assert all(len(datagram) <= datagram_size for datagram in datagrams)
    received = [one for datagram in datagrams for one in receiver.receive(datagram, HERE, 0.0)]
    assert received == [Received(message, 1, HERE)]


def test_message_beyond_the_limit_is_refused_with_both_sizes() -> None:
    sender = link(1)
    with pytest.raises(MessageTooLarge, match=r"1052673 bytes exceeds 1052672 \(the largest udp.max-log-size"):
        sender.send(bytes(1_052_673), None, 0.0)
    assert sender.due(0.0) == []


def test_idle_link_sleeps() -> None:
    sender, receiver = link(1), link(2)
    for datagram in sealed(sender):
        receiver.receive(datagram, HERE, 0.0)
    assert sender.wake_at == receiver.wake_at == inf


# --- dropped -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sender", "reason"),
    [
        pytest.param(link(1, cluster="two"), Drop.CLUSTER, id="other-cluster"),
        pytest.param(link(2), Drop.ECHO, id="own-echo"),
        pytest.param(link(2, boot=1), Drop.ECHO, id="own-echo-of-an-earlier-start"),
        pytest.param(link(1, keys=(SECOND,)), Drop.KEY, id="unknown-key"),
        pytest.param(link(1, keys=(Key(1, SECOND.secret),)), Drop.FORGED, id="other-secret-same-id"),
        pytest.param(link(2, boot=9), Drop.TWIN, id="copied-identity"),
    ],
)
def test_datagram_of_a_stranger_is_dropped_for_its_reason(sender: Link, reason: Drop) -> None:
    receiver = link(2, boot=2)
    sealed(receiver)
    [datagram] = sealed(sender)
    assert receiver.receive(datagram, HERE, 0.0) == []
    assert drops(receiver) == {reason.value: 1}


def test_twin_that_seals_badly_is_only_forged() -> None:
    receiver = link(2)
    [datagram] = sealed(link(2, boot=9, keys=(Key(1, SECOND.secret),)))
    receiver.receive(datagram, HERE, 0.0)
    assert drops(receiver) == {"forged": 1}


@given(st.binary(max_size=200))
def test_noise_is_dropped(noise: bytes) -> None:
    receiver = link(2)
    assert receiver.receive(noise, HERE, 0.0) == []
    assert sum(drops(receiver).values()) == 1


@given(st.data())
def test_datagram_with_any_bit_flipped_or_any_byte_missing_is_dropped(data: st.DataObject) -> None:
    [datagram] = sealed(link(1))
    if data.draw(st.booleans(), label="cut"):
        changed = datagram[: data.draw(st.integers(0, len(datagram) - 1))]
    else:
        bit = data.draw(st.integers(0, len(datagram) * 8 - 1))
        flipped = bytearray(datagram)
        flipped[bit // 8] ^= 1 << bit % 8
        changed = bytes(flipped)
    receiver = link(2)
    assert receiver.receive(changed, HERE, 0.0) == []
    assert sum(drops(receiver).values()) == 1
    assert receiver.senders == 0, "nothing is kept of what is not authentic"
    assert receiver.receive(datagram, HERE, 0.0) == [Received(b"hello", 1, HERE)], "the genuine one still counts"


def test_forged_datagram_does_not_spoil_the_replay_window() -> None:
    """Marked before it is authenticated, a forged sequence would lock the real sender out."""
    sender, receiver = link(1), link(2)
    first, second = sealed(sender)[0], sealed(sender)[0]
    receiver.receive(first, HERE, 0.0)
    receiver.receive(second[:-1] + bytes([second[-1] ^ 1]), HERE, 0.0)
    assert len(receiver.receive(second, HERE, 0.0)) == 1


@pytest.mark.parametrize("to", [None, THERE], ids=["group", "unicast"])
def test_replayed_datagrams_are_dropped(to: Address | None) -> None:
    sender, receiver = link(1), link(2)
    recorded = [datagram for _ in range(50) for datagram in sealed(sender, to=to)]
    for datagram in recorded:
        assert len(receiver.receive(datagram, HERE, 0.0)) == 1
    for datagram in recorded:
        assert receiver.receive(datagram, THERE, 1.0) == []
    assert drops(receiver) == {"replayed": 50}


def test_recording_older_than_the_window_is_dropped() -> None:
    sender, receiver = link(1), link(2)
    [oldest] = sealed(sender)
    for _ in range(1024):
        receiver.receive(*sealed(sender), HERE, 0.0)
    receiver.receive(oldest, HERE, 0.0)
    assert drops(receiver) == {"replayed": 1}


def test_unicast_that_overtakes_a_full_buffer_of_multicast_loses_nothing() -> None:
    """They come through two sockets, and the reader may empty one long before the other."""
    sender, receiver = link(1), link(2)
    waiting = [datagram for _ in range(3000) for datagram in sealed(sender)]
    [overtaking] = sealed(sender, b"overtaking", to=THERE)
    received = receiver.receive(overtaking, HERE, 0.0)
    received += [one for datagram in waiting for one in receiver.receive(datagram, HERE, 0.0)]
    assert len(received) == 3001


def test_sender_that_started_again_is_heard_and_its_earlier_start_no_more() -> None:
    receiver, before, after = link(2), link(1, boot=4), link(1, boot=5)
    [late] = [*sealed(before), *sealed(before)][1:]
    assert receiver.receive(*sealed(before), HERE, 0.0)
    assert receiver.receive(*sealed(after), HERE, 0.0)
    assert receiver.receive(late, HERE, 0.0) == []
    assert drops(receiver) == {"old_boot": 1}
    assert receiver.receive(*sealed(after), HERE, 0.0)


def test_message_with_more_chunks_than_any_sender_makes_is_dropped() -> None:
    sender, receiver = link(1), link(2)
    chunks = LinkSettings().chunks_max + 1
    receiver.receive(sender._sealer.seal(0, 1, 0, chunks, b"first of very many"), HERE, 0.0)
    assert drops(receiver) == {"oversized": 1}


def test_message_larger_than_is_usual_here_is_taken_and_repaired() -> None:
    """The others heard earlier that the limit was raised; or the log has an entry from before it was lowered."""
    sender = link(1, settings=LinkSettings(max_log_size=1024 * 1024))
    receiver = link(2, settings=LinkSettings(max_log_size=1024))
    message = Random(5).randbytes(900_000)
    datagrams = sealed(sender, message)
    for datagram in datagrams[:100] + datagrams[300:]:
        assert receiver.receive(datagram, HERE, 0.0) == []
    requests = [send for at in (0.02, 0.05) for send in receiver.due(at)]
    assert requests and all(len(send.datagram) <= 1472 for send in requests)
    received = [one for datagram in datagrams[100:300] for one in receiver.receive(datagram, HERE, 0.1)]
    assert received == [Received(message, 1, HERE)]


def test_bytes_of_unfinished_messages_are_bounded_by_the_usual_size() -> None:
    settings = LinkSettings(max_log_size=4096, recv_buffer_capacity=200)
    sender, receiver = link(1), link(2, settings=settings)
    for _ in range(40):
        for datagram in sealed(sender, bytes(64_000))[:-1]:
            receiver.receive(datagram, HERE, 0.0)
    assert receiver.counters["messages_evicted"] > 0
    (peer,) = receiver._peers.values()
    assert peer.assembly._bytes <= settings.assembly_bytes_max + 64_000


def test_limits_change_while_messages_are_under_way() -> None:
    sender, receiver = link(1), link(2)
    message = Random(6).randbytes(60_000)
    datagrams = sealed(sender, message)
    for datagram in datagrams[:-1]:
        receiver.receive(datagram, HERE, 0.0)
    smaller = LinkSettings(max_log_size=2000, send_buffer_capacity=32, recv_buffer_capacity=32, pacing_rate=1_000_000)
    receiver.adjust(smaller, 0.1)
    assert receiver.receive(datagrams[-1], HERE, 0.1) == [Received(message, 1, HERE)]
    assert receiver.rate == 1_000_000
    receiver.adjust(LinkSettings(), 0.2)
    assert receiver.rate == LinkSettings().pacing_rate


def test_senders_remembered_are_bounded() -> None:
    receiver = link(0)
    for uid in range(1, SENDERS_MAX + 11):
        assert receiver.receive(*sealed(link(uid)), HERE, 0.0)
    assert receiver.senders == SENDERS_MAX
    assert receiver.counters["senders_forgotten"] == 10


# --- rotation of keys ----------------------------------------------------------


def test_keys_rotate_without_a_loss() -> None:
    sender, receiver = link(1), link(2)
    steps = [
        (receiver, [FIRST, SECOND]),
        (sender, [FIRST, SECOND]),
        (sender, [SECOND, FIRST]),
        (receiver, [SECOND, FIRST]),
        (receiver, [SECOND]),
        (sender, [SECOND]),
    ]
    for one, keys in steps:
        one.rekey(keys)
        assert receiver.receive(*sealed(sender), HERE, 0.0)
        assert sender.receive(*sealed(receiver), THERE, 0.0)
    assert drops(sender) == drops(receiver) == {}


def test_counters_say_which_keys_a_node_has() -> None:
    one = link(1)
    seen = []
    for keys in ([FIRST], [FIRST, SECOND], [SECOND, FIRST], [SECOND]):
        one.rekey(keys)
        seen.append(tuple(one.counters[name] for name in ("key_sending", "key_newest", "keys_known")))
    first, second = FIRST.id, SECOND.id
    assert first < second
    assert seen == [(first, first, 1), (first, second, 2), (second, second, 2), (second, second, 1)]
    assert link(1).counters["keys_known"] > 0


def test_recording_of_before_the_rotation_is_still_a_replay() -> None:
    sender, receiver = link(1), link(2)
    [recorded] = sealed(sender)
    receiver.receive(recorded, HERE, 0.0)
    for one in (sender, receiver):
        one.rekey([SECOND, FIRST])
    assert receiver.receive(recorded, HERE, 0.0) == []
    assert drops(receiver) == {"replayed": 1}


# --- queue and pacing ----------------------------------------------------------


def test_full_queue_drops_the_oldest_message_to_the_group() -> None:
    sender, receiver = link(1, settings=LinkSettings(send_buffer_capacity=3)), link(2)
    for number, to in enumerate([THERE, None, None, None, None]):
        sender.send(b"%d" % number, to, 0.0)
    received = [one.message for send in all_due(sender) for one in receiver.receive(send.datagram, HERE, 0.0)]
    assert received == [b"0", b"3", b"4"]
    assert sender.counters["messages_queue_full"] == 2
    assert receiver.wake_at == inf, "what was never numbered is no gap"


def test_full_queue_of_unicast_drops_its_oldest() -> None:
    sender, receiver = link(1, settings=LinkSettings(send_buffer_capacity=2)), link(2)
    for number in range(3):
        sender.send(b"%d" % number, THERE, 0.0)
    received = [one.message for send in all_due(sender) for one in receiver.receive(send.datagram, HERE, 0.0)]
    assert received == [b"1", b"2"]


def test_message_under_way_is_not_dropped_for_a_new_one() -> None:
    slow = LinkSettings(send_buffer_capacity=1, pacing_rate=100_000)
    sender, receiver = link(1, settings=slow), link(2)
    sender.send(bytes(50_000), None, 0.0)
    sends = sender.due(0.0)
    sender.send(b"new", None, 0.0)
    sends += all_due(sender)
    received = [one for send in sends for one in receiver.receive(send.datagram, HERE, 0.0)]
    assert [len(one.message) for one in received] == [50_000]
    assert sender.counters["messages_queue_full"] == 1


@pytest.mark.parametrize("group_size", [1, 4])
def test_pacing_holds_with_the_time_asked_for(group_size: int) -> None:
    rate = 1_000_000
    sender = link(1, settings=LinkSettings(pacing_rate=rate, group_size=group_size))
    for _ in range(10):
        sender.send(bytes(64_000), None, 0.0)
    now, wire = 0.0, 0
    while True:
        wire += sum(len(send.datagram) for send in sender.due(now)) * group_size
        assert wire <= rate * (now + BURST_TIME_MAX * group_size) + 2000 * group_size
        if not sender.queued:
            break
        assert sender.wake_at > now, "a wait that does not advance would spin"
        now = sender.wake_at
    assert 10 * 64_000 * group_size / rate - group_size * BURST_TIME_MAX <= now <= 1.2 * 10 * 64_000 * group_size / rate
    assert sender.counters["bytes_sent"] == wire


def test_node_that_hears_only_unicast_is_deaf_after_a_while() -> None:
    sender, receiver = link(1), link(2)
    receiver.receive(*sealed(sender, to=THERE), HERE, 29.0)
    assert not receiver.deaf(29.9, 30.0), "the first multicast may be still to come"
    receiver.receive(*sealed(sender, to=THERE), HERE, 31.0)
    assert receiver.deaf(31.0, 30.0)
    receiver.receive(*sealed(sender), HERE, 32.0)
    assert not receiver.deaf(32.0, 30.0)


def test_node_that_hears_nobody_is_alone_and_not_deaf() -> None:
    assert not link(2).deaf(1000.0, 30.0)


# --- repair --------------------------------------------------------------------


def test_lost_chunk_is_asked_for_and_repaired_by_unicast() -> None:
    sender, receiver = link(1), link(2)
    datagrams = sealed(sender, bytes(5000))
    for datagram in datagrams[:1] + datagrams[2:]:
        assert receiver.receive(datagram, HERE, 0.0) == []
    now = receiver.wake_at
    assert 0 <= now <= 0.010
    [request] = receiver.due(now)
    assert request.to == HERE
    assert sender.receive(request.datagram, THERE, now) == []
    [repair] = sender.due(now)
    assert repair.to == THERE
    assert receiver.receive(repair.datagram, HERE, now) == [Received(bytes(5000), 1, HERE)]
    assert sender.counters["repairs_unicast"] == sender.counters["requests_received"] == 1


def test_lost_message_is_noticed_by_the_next_and_repaired() -> None:
    sender, receiver = link(1), link(2)
    receiver.receive(*sealed(sender, b"first"), HERE, 0.0)
    sealed(sender, b"lost")
    receiver.receive(*sealed(sender, b"third"), HERE, 0.0)
    now = receiver.wake_at
    [request] = receiver.due(now)
    sender.receive(request.datagram, THERE, now)
    [repair] = sender.due(now)
    assert receiver.receive(repair.datagram, HERE, now) == [Received(b"lost", 1, HERE)]
    assert receiver.wake_at >= now and receiver.due(1.0) == []


def test_repair_for_another_is_not_handed_over_twice() -> None:
    sender, receivers = link(1), [link(2), link(3), link(4)]
    datagrams = sealed(sender, bytes(3000))
    for receiver in receivers[:2]:
        for datagram in datagrams[1:]:
            receiver.receive(datagram, HERE, 0.0)
    for datagram in datagrams:
        receivers[2].receive(datagram, HERE, 0.0)
    for number, receiver in enumerate(receivers[:2]):
        [request] = receiver.due(0.010)
        sender.receive(request.datagram, ("10.0.0.2", number), 0.010)
    [repair] = sender.due(0.010)
    assert repair.to is None, "two asked for the same, so it goes to all"
    assert [len(receiver.receive(repair.datagram, HERE, 0.011)) for receiver in receivers] == [1, 1, 0]
    assert drops(receivers[2]) == {"repeated": 1}


def test_requests_for_an_earlier_start_are_not_answered() -> None:
    before, after, receiver = link(1, boot=1), link(1, boot=2), link(2)
    for datagram in sealed(before, bytes(5000))[1:]:
        receiver.receive(datagram, HERE, 0.0)
    [request] = receiver.due(0.010)
    sealed(after, bytes(5000))
    after.receive(request.datagram, THERE, 0.010)
    assert after.due(0.010) == []


def test_requests_to_one_sender_are_bundled_and_rate_limited() -> None:
    sender, receiver = link(1), link(2)
    receiver.receive(*sealed(sender), HERE, 0.0)
    for _ in range(100):
        sealed(sender)
    receiver.receive(*sealed(sender), HERE, 0.0)
    now, requests = 0.010, 0
    while now < 0.030:
        requests += len(receiver.due(now))
        now += 0.0001
    assert 2 <= requests <= 5


def test_malformed_request_is_dropped() -> None:
    receiver = link(2)
    datagram = Sealer("one", 1, 1, FIRST).seal(REQUEST, 1, 0, 1, b"no request")
    assert receiver.receive(datagram, HERE, 0.0) == []
    assert drops(receiver) == {"malformed": 1}
    assert len(datagram) == SEAL_SIZE + 10
