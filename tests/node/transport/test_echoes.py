"""Who misses what goes to the group is noticed: the last message of all, and whoever hears nothing of it at all."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import inf
from random import Random

import pytest
from qluster.events import Address, Send
from qluster.transport.echoes import ANNOUNCE_DELAY, COPIES_AGE_MAX, CUT_OFF_MESSAGES, CUT_OFF_TIME
from qluster.transport.envelope import UNICAST, Header, parse_header
from qluster.transport.link import Link, LinkSettings
from qluster.transport.pacing import BURST_TIME_MAX
from qluster.transport.seal import Key

KEYS = [Key(1, bytes(range(32)))]
STEP = 0.001

Lost = Callable[[Address, Address, Send], bool]
"""Sender, receiver and datagram: whether it gets lost there."""


class Group:
    """A leader that speaks to all, and others that answer it, as they do in a cluster."""

    def __init__(self, others: int, settings: LinkSettings | None = None) -> None:
        self.now = 100.0
        self.addresses = [(f"10.0.0.{number}", 7400) for number in range(others + 1)]
        self.links = {
            address: Link("one", number + 1, 1, KEYS, settings or LinkSettings(), Random(number), self.now)
            for number, address in enumerate(self.addresses)
        }
        self.heard: dict[Address, list[bytes]] = {address: [] for address in self.addresses}
        self.carried: Counter[str] = Counter()
        self.lost: Lost = lambda source, target, send: False
        self.answering = True
        self.say(b"hello")
        for other in self.addresses[1:]:
            self.links[other].send(b"here", self.leader_at, self.now)
        self.pass_time(0.5)

    @property
    def leader_at(self) -> Address:
        return self.addresses[0]

    @property
    def leader(self) -> Link:
        return self.links[self.leader_at]

    def say(self, message: bytes) -> None:
        self.leader.send(message, None, self.now, answered=self.answering)
        self.pass_time(STEP)

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + STEP)
            for address in self.addresses:
                for send in self.links[address].due(self.now):
                    self._carry(address, send)

    def _carry(self, source: Address, send: Send) -> None:
        self.carried["to one" if send.to else "to all"] += 1
        for target in [send.to] if send.to else [one for one in self.addresses if one != source]:
            if self.lost(source, target, send):
                continue
            for received in self.links[target].receive(send.datagram, source, self.now):
                self.heard[target].append(received.message)
                if self.answering and source == self.leader_at:
                    self.links[target].send(b"heard", source, self.now)


def to_all(send: Send) -> bool:
    return send.to is None


def test_last_message_that_one_missed_reaches_it_though_nothing_follows() -> None:
    group = Group(3)
    group.lost = lambda source, target, send: to_all(send) and target == group.addresses[2]
    group.say(b"the last")
    group.lost = lambda source, target, send: False
    group.pass_time(0.2)
    assert [heard[-1] for heard in list(group.heard.values())[1:]] == [b"the last"] * 3
    assert group.leader.counters["announcements_sent"] == 1
    assert group.leader.counters["repairs_unicast"] == 1


def test_last_message_that_all_missed_is_announced_to_all_at_once() -> None:
    group = Group(5)
    group.lost = lambda source, target, send: to_all(send)
    group.say(b"the last")
    group.lost = lambda source, target, send: False
    group.pass_time(0.2)
    assert all(heard[-1] == b"the last" for heard in list(group.heard.values())[1:])
    assert group.leader.counters["announcements_sent"] == 1


def test_loss_of_the_announcement_is_survived_once() -> None:
    group = Group(1)
    group.lost = lambda source, target, send: True
    group.say(b"the last")
    group.pass_time(ANNOUNCE_DELAY + 0.01)
    group.lost = lambda source, target, send: False
    group.pass_time(0.3)
    assert group.heard[group.addresses[1]][-1] == b"the last"
    assert group.leader.counters["announcements_sent"] == 2


def test_where_all_answer_nothing_is_announced() -> None:
    group = Group(4)
    for _ in range(20):
        group.say(b"heartbeat")
        group.pass_time(0.1)
    assert group.leader.counters["announcements_sent"] == 0


def test_what_nobody_answers_is_not_announced() -> None:
    """Reports go to all once a second, and whoever misses one hears the next."""
    group = Group(4)
    group.answering = False
    for _ in range(20):
        group.say(b"report")
        group.pass_time(0.1)
    assert group.leader.counters["announcements_sent"] == 0
    assert group.leader.wake_at == inf


def test_answers_that_wait_for_a_slow_disk_are_waited_for() -> None:
    sender, slow = (Link("one", uid, 1, KEYS, LinkSettings(), Random(uid), 0.0) for uid in (1, 2))
    here, there = ("10.0.0.1", 1), ("10.0.0.2", 1)
    now, announced = 0.0, []
    for _ in range(20):
        sender.send(b"entry", None, now, answered=True)
        for send in sender.due(now):
            slow.receive(send.datagram, here, now)
        for _ in range(8):
            now += 0.010
            sender.due(now)
        slow.send(b"saved", here, now)
        for send in slow.due(now):
            sender.receive(send.datagram, there, now)
        now += 0.5
        sender.due(now)
        announced.append(sender.counters["announcements_sent"])
    assert announced[-1] == announced[1] <= 2, "only until it is known how long answers take"


def test_announcements_end_and_the_link_sleeps() -> None:
    group = Group(3)
    group.lost = lambda source, target, send: True
    group.say(b"into the void")
    group.pass_time(2.0)
    assert group.leader.counters["announcements_sent"] <= 2
    assert group.leader.wake_at == inf


def test_who_was_silent_for_long_is_not_told_anything() -> None:
    group = Group(3)
    group.lost = lambda source, target, send: True
    group.pass_time(20.0)
    group.say(b"nobody there")
    group.pass_time(1.0)
    assert group.leader.counters["announcements_sent"] == 0


def cut_off(group: Group, *others: Address) -> None:
    """No multicast reaches these; unicast does."""
    group.lost = lambda source, target, send: to_all(send) and target in others


def test_node_cut_off_from_the_group_gets_copies_and_no_more_when_it_hears_again() -> None:
    group = Group(3)
    deaf = group.addresses[3]
    cut_off(group, deaf)
    for number in range(8):
        group.say(b"beat %d" % number)
        group.pass_time(0.1)
    assert group.leader.counters["unicast_peers"] == 1
    assert group.heard[deaf][-8:] == [b"beat %d" % number for number in range(8)], "repairs first, copies then"
    repairs = group.leader.counters["repairs_unicast"]
    assert group.leader.counters["unicast_copies"] >= 8 - CUT_OFF_MESSAGES - 1
    group.say(b"large" * 10_000)
    group.pass_time(0.1)
    assert group.heard[deaf][-1] == b"large" * 10_000
    assert group.leader.counters["repairs_unicast"] == repairs, "with copies nothing is missing any more"
    group.lost = lambda source, target, send: False
    group.say(b"all hear")
    group.pass_time(0.1)
    copies = group.leader.counters["unicast_copies"]
    assert group.leader.counters["unicast_peers"] == 0
    group.say(b"no copy")
    group.pass_time(0.1)
    assert group.leader.counters["unicast_copies"] == copies
    assert all(heard[-2:] == [b"all hear", b"no copy"] for heard in list(group.heard.values())[1:])


def test_copies_go_to_several_and_are_marked_as_unicast() -> None:
    group = Group(3)
    cut_off(group, *group.addresses[2:])
    for _ in range(6):
        group.say(b"beat")
        group.pass_time(0.1)
    assert group.leader.counters["unicast_peers"] == 2
    group.leader.send(bytes(5000), None, group.now)
    sends = group.leader.due(group.now)
    assert [send.to for send in sends] == [None] * 4 + [group.addresses[2]] * 4 + [group.addresses[3]] * 4
    flags = [header.flags for send in sends if isinstance(header := parse_header(send.datagram), Header)]
    assert [flag & UNICAST for flag in flags] == [0] * 4 + [1] * 8


def test_lossy_network_is_not_taken_for_a_cut() -> None:
    group = Group(4)
    random = Random(7)
    group.lost = lambda source, target, send: random.random() < 0.05
    copied = 0
    for _ in range(300):
        group.say(b"beat")
        group.pass_time(0.05)
        copied += group.leader.counters["unicast_peers"]
    assert copied <= 300 * 4 * 0.02, "copies for a moment, now and then"


def test_receiver_that_reads_late_is_not_taken_for_cut_off() -> None:
    """Its unicast socket is empty while a thousand datagrams wait in the other: it still gets on with them."""
    sender, receiver = (Link("one", uid, 1, KEYS, LinkSettings(), Random(uid), 0.0) for uid in (1, 2))
    here, there = ("10.0.0.1", 1), ("10.0.0.2", 1)
    waiting: list[bytes] = []
    now = 0.0
    for number in range(400):
        now += 0.001
        sender.send(b"%d" % number, None, now)
        waiting += [send.datagram for send in sender.due(now) if send.to is None]
        if number % 2:
            receiver.receive(waiting.pop(0), here, now)
        receiver.send(b"so far", here, now)
        for send in receiver.due(now):
            sender.receive(send.datagram, there, now)
    assert len(waiting) > 100
    assert sender.counters["unicast_peers"] == 0


def test_node_that_falls_silent_gets_no_copies_for_ever() -> None:
    group = Group(2)
    deaf = group.addresses[2]
    cut_off(group, deaf)
    for _ in range(6):
        group.say(b"beat")
        group.pass_time(0.1)
    assert group.leader.counters["unicast_peers"] == 1
    group.lost = lambda source, target, send: target == deaf or source == deaf
    group.now += COPIES_AGE_MAX + 1
    group.say(b"beat")
    group.pass_time(0.1)
    assert group.leader.counters["unicast_peers"] == 0


@pytest.mark.parametrize("again", [True, False], ids=["same-address", "other-address"])
def test_node_that_starts_again_is_judged_anew(again: bool) -> None:
    group = Group(2)
    deaf = group.addresses[2]
    cut_off(group, deaf)
    for _ in range(6):
        group.say(b"beat")
        group.pass_time(0.1)
    fresh = Link("one", 3, 2, KEYS, LinkSettings(), Random(9), group.now)
    where = deaf if again else ("10.0.0.99", 7400)
    fresh.send(b"back", group.leader_at, group.now)
    for send in fresh.due(group.now):
        group.leader.receive(send.datagram, where, group.now)
    assert group.leader.counters["unicast_peers"] == 0
    group.leader.send(b"to all", None, group.now)
    assert [send.to for send in group.leader.due(group.now)] == [None]


def test_copies_follow_a_node_to_its_new_address() -> None:
    group = Group(2)
    deaf, moved = group.addresses[2], ("10.0.0.77", 7400)
    cut_off(group, deaf)
    for _ in range(6):
        group.say(b"beat")
        group.pass_time(0.1)
    group.links[deaf].send(b"from elsewhere", group.leader_at, group.now)
    for send in group.links[deaf].due(group.now):
        group.leader.receive(send.datagram, moved, group.now)
    group.leader.send(b"to all", None, group.now)
    assert [send.to for send in group.leader.due(group.now)] == [None, moved]


def test_copies_are_paced_with_everything_else() -> None:
    rate = 1_000_000
    group = Group(3, LinkSettings(pacing_rate=rate))
    cut_off(group, *group.addresses[2:])
    for _ in range(6):
        group.say(b"beat")
        group.pass_time(0.1)
    assert group.leader.counters["unicast_peers"] == 2
    before, began = group.leader.counters["bytes_sent"], group.now
    for _ in range(5):
        group.leader.send(bytes(64_000), None, group.now)
    while group.leader.queued:
        group.pass_time(0.01)
        assert group.leader.counters["bytes_sent"] - before <= rate * (group.now - began + 3 * BURST_TIME_MAX) + 10_000
    assert group.now - began >= 3 * 5 * 64_000 / rate - 3 * BURST_TIME_MAX


def test_listed_peers_get_no_copies() -> None:
    group = Group(3, LinkSettings(group_size=3))
    cut_off(group, group.addresses[3])
    for _ in range(6):
        group.say(b"beat")
        group.pass_time(0.1)
    assert group.leader.counters["unicast_copies"] == 0


def test_time_of_a_cut_is_that_of_a_buffer_read_late() -> None:
    assert CUT_OFF_TIME > 2097152 / 100e6, "a full socket buffer at 100 MB/s is read sooner"
