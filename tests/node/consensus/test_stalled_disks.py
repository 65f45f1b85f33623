"""Disks of followers that stand still, or are full: the leader stays, and nothing grows without end."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from consensus.stage import (
    NOW,
    SETTINGS,
    STARTED,
    Middle,
    append,
    confirm,
    entry,
    follower,
    leader_of,
    log,
    newest_round,
    saved,
    sent,
    voters,
)
from consensus.world import CLUSTER
from qluster.consensus import messages as say
from qluster.consensus.output import Output
from qluster.consensus.qraft import QRaft
from qluster.consensus.settings import SHORT_MESSAGE_BYTES_MAX, UNSAVED_BYTES_MAX, UNSAVED_ENTRIES_MAX
from qluster.events import Entry
from qluster.holding import unbound

THREE = voters(1, 2, 3)
LARGE = bytes(SHORT_MESSAGE_BYTES_MAX)


def stalled(node: int, entries: list[Entry]) -> QRaft:
    """A follower whose disk ends no save."""
    return QRaft(node, SETTINGS, saved(node, entries), Middle(0), NOW)


def said_without_the_disk(qraft: QRaft, output: Output) -> Iterator[say.AnyMessage]:
    """What a node sends while no save ends."""
    if output.save:
        qraft.saving()
    for _, message in output.send:
        if unbound(message, qraft.saved_index):
            yield message


def test_leader_keeps_its_lease_through_stalled_disks_of_the_others_while_some_entries_come() -> None:
    """S18: each entry postponed the heartbeat, and entries are answered when they are durable."""
    leader = leader_of(THREE)
    entries = [*log(THREE), Entry(2, 2, "noop", bytes(8))]
    followers = [stalled(node, entries) for node in (2, 3)]
    for step in range(10 * int(2 * SETTINGS.node_timeout)):
        now = STARTED + step / 10
        if step % 10 == 0:
            leader.propose("command", b"some", now)
        leader.tick(now)
        for _, message in leader.take().send:
            for one in followers:
                one.receive(message, now)
                for answer in said_without_the_disk(one, one.take()):
                    leader.receive(answer, now)
        assert leader.role == "leader" and leader.lease_until > now, f"after {now - STARTED:.1f}s"
    assert leader.commit_index == 2


def test_heartbeats_are_no_more_than_before_while_the_others_answer() -> None:
    leader = leader_of(THREE)
    empty = 0
    for step in range(600):
        now = STARTED + step / 10
        leader.propose("command", b"some", now)
        leader.tick(now)
        for message in sent(leader.take(), say.Append, to=None):
            empty += bool(message.round and not message.records)
            for other in (2, 3):
                leader.receive(say.AppendReply(CLUSTER, other, leader.term, message.round, message.last_index), now)
    assert empty == 0


def test_follower_with_a_stalled_disk_says_what_it_lacks() -> None:
    qraft = stalled(1, log(THREE))
    qraft.receive(append(2, 1, 1, 1, [entry(2, 1)]), NOW)
    list(said_without_the_disk(qraft, qraft.take()))
    qraft.receive(append(2, 1, 3, 1, number=4), NOW)
    (refusal,) = said_without_the_disk(qraft, qraft.take())
    assert isinstance(refusal, say.AppendRefusal) and (refusal.round, refusal.conflict_index) == (4, 3)


def test_follower_takes_on_a_bounded_number_of_bytes_ahead_of_its_disk_and_goes_on_when_it_is_back() -> None:
    qraft, payload, number = stalled(1, log(THREE)), bytes(60_000), 0
    for index in range(2, 2 * UNSAVED_BYTES_MAX // len(payload)):
        qraft.receive(append(2, 1, qraft.last_index, 1, [entry(qraft.last_index + 1, 1, payload)], commit=index), NOW)
        number = qraft.saving() if qraft.take().save else number
    assert (qraft.last_index - 1) * len(payload) <= UNSAVED_BYTES_MAX + len(payload)
    last = qraft.last_index
    qraft.receive(append(2, 1, last, 1, [entry(last + 1, 1, payload)], number=9), NOW)
    assert [(reply.round, reply.match) for reply in said_without_the_disk(qraft, qraft.take())] == [(9, 1)]
    qraft.saved(number, NOW)
    qraft.receive(append(2, 1, last, 1, [entry(last + 1, 1, payload)]), NOW)
    assert qraft.last_index == last + 1


def test_follower_takes_on_a_bounded_number_of_entries_ahead_of_its_disk() -> None:
    qraft = stalled(1, log(THREE))
    for _ in range(UNSAVED_ENTRIES_MAX // 500 + 3):
        first = qraft.last_index + 1
        qraft.receive(append(2, 1, first - 1, 1, [entry(index, 1) for index in range(first, first + 500)]), NOW)
        if qraft.take().save:
            qraft.saving()
    assert UNSAVED_ENTRIES_MAX <= qraft.last_index - 1 < UNSAVED_ENTRIES_MAX + 500


def test_short_follower_claims_nothing_that_its_disk_does_not_have() -> None:
    """Else the answer would wait for the disk, and the leader for the answer."""
    qraft = stalled(1, log(THREE))
    qraft.receive(append(2, 1, 1, 1, [entry(2, 1)]), NOW)
    list(said_without_the_disk(qraft, qraft.take()))
    qraft.short = True
    qraft.receive(append(2, 1, 2, 1, [entry(3, 1, LARGE)], number=7), NOW)
    assert [(reply.round, reply.match) for reply in said_without_the_disk(qraft, qraft.take())] == [(7, 1)]


def test_short_follower_takes_on_nothing_large_that_waited_behind_a_gap() -> None:
    qraft = follower(1, log(THREE, 1))
    qraft.short = True
    for index in range(4, 30):
        qraft.receive(append(2, 1, index - 1, 1, [entry(index, 1, LARGE)]), NOW)
    qraft.receive(append(2, 1, 2, 1, [entry(3, 1, b"small")]), NOW)
    assert qraft.last_index == 3




def lease_after(leader: QRaft, match: int, now: float) -> float:
    """How long the lease lasts when both others answer the newest heartbeat with this."""
    leader.tick(now)
    number = newest_round(leader.take())
    for other in (2, 3):
        confirm(leader, other, match, number, now)
    return leader.lease_until - now


def test_lease_of_a_raised_node_timeout_rests_on_nodes_whose_disks_know_of_it() -> None:
    """One that restarts keeps its promise as long as its own log says: 30 seconds, and the lease would be 40."""
    leader = leader_of(THREE)
    before = leader.last_index
    index, _ = leader.propose("command", b"node-timeout 60s", STARTED)
    number = newest_round(leader.take())
    confirm(leader, 2, index, number, STARTED)
    leader.take()
    assert leader.commit_index == index
    leader.settings = replace(SETTINGS, node_timeout=60.0)
    now = STARTED + 11
    leader.tick(now)
    number = newest_round(leader.take())
    confirm(leader, 3, before, number, now)
    assert leader.lease_until <= STARTED + 20, "node 3 hears, but could forget, and node 2 has not answered"
    confirm(leader, 2, index, number, now)
    assert leader.lease_until == now + 40
    assert lease_after(leader, index, now + 11) == 40
