"""Probes: who answers what, how often, and what a run of them says about a network."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qluster.events import Address, Send
from qluster.transport.diagnosis import findings, through_the_group, ways
from qluster.transport.envelope import PROBE, SEAL_SIZE, UNICAST
from qluster.transport.link import Link, LinkSettings
from qluster.transport.probe import ANSWERS_A_SECOND, Ask, Reply, ask_of_size, encoded, parse_probe
from qluster.transport.prober import Prober
from qluster.transport.seal import Key, Sealer

KEYS = [Key(1, bytes(range(32)))]
GROUP: Address = ("239.1.1.1", 7400)
SIZES = (200, 548, 1252, 1472)
SECONDS = 3.0
STEP = 0.005

Lost = Callable[[str, str, Send], bool]
"""Ip of the sender, of the receiver, and the datagram: whether it gets lost."""


def at(number: int) -> Address:
    return (f"10.0.0.{number}", 7400)


def prober(number: int, others: tuple[Address, ...] = (), *, answers: bool = True) -> Prober:
    return Prober("one", Random(number).getrandbits(64), KEYS, at(number)[0], GROUP, others, SIZES,
                  answers=answers, now=0.0)  # fmt: skip


def daemon(number: int, keys: list[Key] = KEYS) -> Link:
    return Link("one", number, 1, keys, LinkSettings(), Random(number), 0.0)


def run(hosts: dict[Address, Prober | Link], lost: Lost = lambda source, target, send: False) -> None:
    """Let them speak to each other for a while."""
    step = 0
    while step * STEP < SECONDS + 0.5:
        now = step = step + 1
        now = step * STEP
        for source, host in hosts.items():
            if isinstance(host, Prober) and now >= SECONDS:
                host.stop(SECONDS)
            for send in host.due(now):
                targets = [send.to] if send.to else [one for one in hosts if one != source]
                for target in targets:
                    if target in hosts and not lost(source[0], target[0], send):
                        hosts[target].receive(send.datagram, source, now)


def found(one: Prober) -> list[str]:
    return findings(one, SECONDS + 1, 7400, 28)


# --- answering -------------------------------------------------------------------


def asked(uid: int, count: int = 1, *, aloud: bool = False) -> list[bytes]:
    sealer = Sealer("one", uid, 1, KEYS[0])
    return [sealer.seal(PROBE, 1, 0, 1, encoded(Ask(7, number, aloud))) for number in range(count)]


def test_daemon_answers_a_probe_and_keeps_nothing_of_who_asked() -> None:
    link = daemon(1)
    assert link.receive(*asked(99), at(9), 1.0) == []
    assert link.wake_at <= 1.0
    [send] = link.due(1.0)
    assert send.to == at(9)
    assert link.senders == 0
    assert link.counters["probes_answered"] == 1
    assert link.due(2.0) == []


def test_probe_to_be_answered_aloud_is_answered_to_the_group_as_well() -> None:
    link = daemon(1)
    link.receive(*asked(99, aloud=True), at(9), 1.0)
    assert [send.to for send in link.due(1.0)] == [at(9), None]


def test_probe_played_again_is_not_answered() -> None:
    link = daemon(1)
    [datagram] = asked(99)
    link.receive(datagram, at(9), 1.0)
    link.due(1.0)
    link.receive(datagram, ("10.9.9.9", 1), 1.1)
    assert link.due(1.1) == []
    assert link.counters["dropped_replayed"] == 1


def test_flood_of_probes_is_answered_so_often_and_no_more() -> None:
    link = daemon(1)
    answered = 0
    for datagram in asked(99, 3 * ANSWERS_A_SECOND):
        link.receive(datagram, at(9), 1.0)
        answered += len(link.due(1.0))
    assert answered == ANSWERS_A_SECOND
    assert link.counters["dropped_unasked_probe"] == 2 * ANSWERS_A_SECOND


def test_malformed_probe_is_dropped() -> None:
    link = daemon(1)
    link.receive(Sealer("one", 99, 1, KEYS[0]).seal(PROBE, 1, 0, 1, b"\x93what"), at(9), 1.0)
    assert link.due(1.0) == []
    assert link.counters["dropped_malformed"] == 1


def test_answer_says_what_the_daemon_hears_of_others() -> None:
    link, other = daemon(1), daemon(2)
    other.send(b"x", None, 1.0)
    link.receive(other.due(1.0)[0].datagram, at(2), 1.0)
    one = prober(9)
    [to_group] = one.due(0.0)
    link.receive(to_group.datagram, at(9), 3.5)
    for send in link.due(3.5):
        one.receive(send.datagram, at(1), 3.5)
    [heard] = one.hosts["10.0.0.1"].hears[:1]
    assert (heard.host, heard.group_ago, heard.unicast_ago, heard.copied) == ("10.0.0.2", 2.5, None, False)


@given(st.binary(max_size=200))
def test_anything_is_a_probe_or_none(payload: bytes) -> None:
    assert isinstance(parse_probe(payload), Ask | Reply | None)


@pytest.mark.parametrize("size", [60, 200, 476, 1400, 8900])
def test_probe_has_the_size_that_was_asked_for(size: int) -> None:
    payload = ask_of_size(2**61, 12345, True, size)
    assert abs(len(payload) - size) <= 1
    assert len(payload) <= size


# --- what a run says --------------------------------------------------------------


@pytest.mark.parametrize("daemons", [True, False], ids=["daemons", "commands"])
def test_all_is_well_where_all_hear_all(daemons: bool) -> None:
    one = prober(1)
    others = {at(number): daemon(number) if daemons else prober(number) for number in (2, 3)}
    run({at(1): one, **others})
    assert found(one) == []
    assert through_the_group(one, SECONDS + 1) == {
        (f"10.0.0.{a}", f"10.0.0.{b}"): True for a in (1, 2, 3) for b in (1, 2, 3) if a != b
    }
    counted = ways(one, one.hosts["10.0.0.2"])
    assert counted.size_max == SIZES[-1]
    assert counted.to_group.sent == counted.to_group.arrived > 5


def through_group(send: Send) -> bool:
    return send.to is None


CUTS: dict[str, tuple[Lost, str]] = {
    "one hears nobody": (
        lambda source, target, send: through_group(send) and target == "10.0.0.3",
        "10.0.0.3 hears nobody through the group, others hear it: IGMP is filtered",
    ),
    "this one hears nobody": (
        lambda source, target, send: through_group(send) and target == "10.0.0.1",
        "10.0.0.1 hears nobody through the group, others hear it",
    ),
    "nobody hears one": (
        lambda source, target, send: through_group(send) and source == "10.0.0.2",
        "10.0.0.2 is heard by nobody through the group and hears others: its firewall",
    ),
    "one pair": (
        lambda source, target, send: through_group(send) and (source, target) == ("10.0.0.2", "10.0.0.3"),
        "10.0.0.3 does not hear 10.0.0.2 through the group, others do",
    ),
    "no unicast": (
        lambda source, target, send: not through_group(send) and target == "10.0.0.2",
        "10.0.0.2 does not hear 10.0.0.1 by unicast: open UDP port 7400 on 10.0.0.2",
    ),
    "no unicast back": (
        lambda source, target, send: not through_group(send) and source == "10.0.0.2",
        "10.0.0.1 does not hear 10.0.0.2 by unicast: open UDP on 10.0.0.1",
    ),
    "silent": (
        lambda source, target, send: "10.0.0.3" in (source, target),
        "10.0.0.3 answers neither through the group nor by unicast, others do",
    ),
    "small frames": (
        lambda source, target, send: target == "10.0.0.2" and len(send.datagram) > 1252,
        "From 10.0.0.1 to 10.0.0.2 packets of 1500 bytes do not pass, those of 1280 do",
    ),
}


@pytest.mark.parametrize("daemons", [True, False], ids=["daemons", "commands"])
@pytest.mark.parametrize("cut", CUTS)
def test_fault_is_named_and_no_other(cut: str, daemons: bool) -> None:
    lost, said = CUTS[cut]
    one = prober(1, (at(3),))
    others = {at(number): daemon(number) if daemons else prober(number) for number in (2, 3, 4)}
    run({at(1): one, **others}, lost)
    lines = found(one)
    assert len(lines) == 1, lines
    assert lines[0].startswith(said), lines


def test_network_without_multicast_is_named_when_hosts_are() -> None:
    one = prober(1, (at(2), at(3)))
    run({at(1): one, at(2): daemon(2), at(3): daemon(3)}, lambda source, target, send: through_group(send))
    [line] = found(one)
    assert line.startswith("Nobody hears anybody through the group, while unicast works")


def test_nobody_there_is_said_with_what_was_tried() -> None:
    one = prober(1, (at(2),))
    run({at(1): one})
    [line] = found(one)
    assert line.startswith("Nobody answers: tried the group and 10.0.0.2.")


def test_other_key_is_told_from_silence() -> None:
    one = prober(1)
    stranger = daemon(2, [Key(1, bytes(range(1, 33)))])
    stranger.send(b"hello", None, 0.0)
    one.receive(stranger.due(0.0)[0].datagram, at(2), 0.0)
    run({at(1): one})
    assert "1 datagrams of others came that were not sealed with this cluster's name and key" in found(one)[0]


def test_losses_are_counted_for_each_way() -> None:
    random = Random(5)
    one = prober(1)

    def half(source: str, target: str, send: Send) -> bool:
        return through_group(send) and source == "10.0.0.1" and random.random() < 0.5

    run({at(1): one, at(2): daemon(2)}, half)
    assert any("From 10.0.0.1 to 10.0.0.2 through the group" in line and "were lost" in line for line in found(one))


def test_host_that_came_late_lost_nothing() -> None:
    one, late = prober(1), daemon(2)
    began = []

    def not_yet(source: str, target: str, send: Send) -> bool:
        began.append(send)
        return len(began) < 10

    run({at(1): one, at(2): late}, not_yet)
    assert found(one) == []


def test_run_beside_a_daemon_leaves_the_answers_to_it() -> None:
    beside, other = prober(1, answers=False), prober(2)
    [ask] = other.due(0.0)
    beside.receive(ask.datagram, at(2), 0.0)
    assert [send.to for send in beside.due(0.0)] == [None, at(2)], "only its own probes"
    assert UNICAST | PROBE == 0x11 and SEAL_SIZE == 72
