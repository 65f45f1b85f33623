"""What counts before, while and after this node's own disk has it."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from consensus.stage import NOW, SETTINGS, Middle, append, confirm, entry, log, saved, sent, voters
from consensus.world import CLUSTER
from qluster.consensus import messages as say
from qluster.consensus.qraft import QRaft

THREE = voters(1, 2, 3)
STARTED = NOW + 100


def elected() -> QRaft:
    """A leader whose disk takes its time: nothing of its term is durable yet."""
    entries = log(THREE)
    qraft = QRaft(1, SETTINGS, saved(1, entries), Middle(0), NOW)
    qraft.tick(STARTED)
    for other in (2, 3):
        qraft.receive(say.PreVoteReply(CLUSTER, other, 1, 2, True), STARTED)
    qraft.take()
    qraft.saved(qraft.saving(), STARTED)
    qraft.receive(say.VoteReply(CLUSTER, 2, 2, True, 1), STARTED)
    assert qraft.role == "leader"
    return qraft


def test_leader_counts_its_own_copy_only_when_it_is_durable() -> None:
    """S11."""
    qraft = elected()
    qraft.take()
    number = qraft.saving()
    confirm(qraft, 2, qraft.last_index, 0, STARTED)
    assert not qraft.ready
    qraft.saved(number, STARTED)
    assert qraft.ready


def test_the_others_can_commit_without_the_leaders_disk() -> None:
    qraft = elected()
    qraft.take()
    qraft.saving()
    for other in (2, 3):
        confirm(qraft, other, qraft.last_index, 0, STARTED)
    assert qraft.ready


def test_end_of_an_older_save_says_nothing_of_newer_entries() -> None:
    qraft = elected()
    qraft.take()
    first = qraft.saving()
    index, _ = qraft.propose("command", b"x", STARTED)
    qraft.take()
    second = qraft.saving()
    confirm(qraft, 2, index, 0, STARTED)
    qraft.saved(first, STARTED)
    assert qraft.commit_index == index - 1
    qraft.saved(second, STARTED)
    assert qraft.commit_index == index


def test_leader_whose_disk_stalls_steps_down_although_all_answer() -> None:
    qraft = elected()
    qraft.take()
    qraft.saving()
    limit = STARTED + SETTINGS.node_timeout / 2
    assert qraft.wake_at <= limit
    for at in (STARTED + 10, limit - 0.1):
        qraft.tick(at)
        for append_sent in sent(qraft.take(), say.Append, to=None):
            for other in (2, 3):
                confirm(qraft, other, qraft.last_index, append_sent.round, at)
        assert qraft.role == "leader"
    qraft.tick(limit)
    assert qraft.role == "follower"
    assert any("has not saved" in line for line in qraft.take().log)


def test_node_alone_does_not_elect_itself_again_and_again_while_its_disk_stalls() -> None:
    qraft = QRaft(1, SETTINGS, saved(1, log(voters(1))), Middle(0), NOW)
    now, numbers = NOW, []
    while now < NOW + 10 * SETTINGS.node_timeout:
        qraft.tick(now)
        if qraft.take().save:
            numbers.append(qraft.saving())
        now = max(now + 0.001, min(qraft.wake_at, now + SETTINGS.node_timeout))
    assert qraft.term <= 3 and len(numbers) <= 6
    qraft.saved(numbers[-1], now)
    qraft.tick(now + SETTINGS.node_timeout)
    assert qraft.role == "leader"


def test_heartbeat_is_answered_with_what_is_durable_while_the_disk_saves() -> None:
    """S18: a leader's lease must not wait for the disks of those who answer it."""
    qraft = QRaft(1, SETTINGS, saved(1, log(THREE)), Middle(0), NOW)
    qraft.receive(append(2, 1, 1, 1, [entry(2, 1)]), NOW)
    qraft.take()
    number = qraft.saving()
    qraft.receive(append(2, 1, 2, 1, number=5), NOW)
    assert [(reply.round, reply.match) for reply in sent(qraft.take(), say.AppendReply)] == [(5, 1)]
    qraft.saved(number, NOW)
    qraft.receive(append(2, 1, 2, 1, number=6), NOW)
    assert [(reply.round, reply.match) for reply in sent(qraft.take(), say.AppendReply)] == [(6, 2)]


def test_entries_that_were_replaced_are_not_counted_when_their_save_ends() -> None:
    qraft = QRaft(1, SETTINGS, saved(1, log(THREE)), Middle(0), NOW)
    qraft.receive(append(2, 2, 1, 1, [entry(2, 2), entry(3, 2), entry(4, 2)]), NOW)
    qraft.take()
    first = qraft.saving()
    qraft.receive(append(3, 3, 2, 2, [entry(3, 3)]), NOW)
    qraft.take()
    second = qraft.saving()
    qraft.saved(first, NOW)
    assert qraft._me.saved_index == 2
    qraft.saved(second, NOW)
    assert qraft._me.saved_index == 3


def test_entries_that_were_not_taken_yet_are_no_part_of_the_save_that_begins() -> None:
    """An output is taken, then something more is proposed, then the saves of the output begin."""
    qraft = elected()
    qraft.take()
    index, _ = qraft.propose("command", b"x", STARTED)
    number = qraft.saving()
    for other in (2, 3):
        confirm(qraft, other, index - 1, 0, STARTED)
    confirm(qraft, 2, index, 0, STARTED)
    qraft.saved(number, STARTED)
    assert qraft.commit_index == index - 1
    qraft.take()
    qraft.saved(qraft.saving(), STARTED)
    assert qraft.commit_index == index
