"""What a leader sends to whom, and what it counts."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest
from consensus.stage import (
    NOW,
    SETTINGS,
    STARTED,
    Middle,
    confirm,
    entries_saved,
    entry,
    leader_of,
    log,
    participant,
    saved,
    sent,
    voters,
)
from consensus.world import CLUSTER
from qluster.consensus import messages as say
from qluster.consensus.progress import Progress
from qluster.consensus.qraft import NotLeading, Overloaded, QRaft, TooLarge
from qluster.consensus.settings import (
    INFLIGHT_MESSAGES_MAX,
    UNCOMMITTED_BYTES_MAX,
    UNCOMMITTED_ENTRIES_MAX,
)
from qluster.events import SaveVote, Snapshot

THREE = voters(1, 2, 3)


def write(qraft: QRaft, now: float = STARTED, size: int = 1) -> int:
    return qraft.propose("command", b"x" * size, now)[0]


def refuse(qraft: QRaft, node: int, prev: int, conflict: int, term: int = 0, now: float = STARTED) -> None:
    qraft.receive(say.AppendRefusal(CLUSTER, node, qraft.term, 0, prev, conflict, term), now)


def appends(qraft: QRaft, to: int | None) -> list[say.Append]:
    return sent(qraft.take(), say.Append, to=to)


def test_new_entries_go_to_all_once_whatever_the_number_of_nodes() -> None:
    qraft = leader_of(voters(1, 2, 3, 4, 5, 6, 7))
    index = write(qraft)
    write(qraft)
    output = qraft.take()
    assert entries_saved(output) == [(index, 2), (index + 1, 2)]
    assert [to for to, _ in output.send] == [None]
    message = sent(output, say.Append)[0]
    assert (message.prev_index, len(message.records)) == (index - 1, 2)


def test_entry_is_committed_with_a_majority_of_copies() -> None:
    qraft = leader_of(voters(1, 2, 3, 4, 5))
    index = write(qraft)
    qraft.take()
    for node, commit in ((2, index - 1), (2, index - 1), (3, index)):
        confirm(qraft, node, index, 0, STARTED)
        assert qraft.commit_index == commit
    assert [one.index for one in qraft.take().committed] == [index]


def test_copies_of_listeners_do_not_count() -> None:
    qraft = leader_of(voters(1, 2, 3, listeners=[4, 5]))
    index = write(qraft)
    for node in (4, 5):
        confirm(qraft, node, index, 0, STARTED)
    assert qraft.commit_index == index - 1


def test_commit_is_told_at_once_and_needs_no_answer() -> None:
    qraft = leader_of(THREE)
    index = write(qraft)
    qraft.take()
    confirm(qraft, 2, index, 0, STARTED)
    message = appends(qraft, None)[0]
    assert (message.commit, message.round, message.records) == (index, 0, ())
    assert qraft.take().send == []


def test_an_urgent_entry_does_not_wait_for_others_to_carry_the_word() -> None:
    """Who has a claim to a task begins it when it knows that the claim is committed."""
    qraft = leader_of(THREE)
    qraft.settings = replace(qraft.settings, commit_notice=0.5)
    for urgent in (False, True, False):
        index = qraft.propose("command", b"x", STARTED, urgent=urgent)[0]
        assert [message.records != () for message in appends(qraft, None)] == [True]
        confirm(qraft, 2, index, 0, STARTED)
        assert [message.commit for message in appends(qraft, None)] == [index] * urgent
        if not urgent:
            qraft.tick(STARTED + 0.5)
            assert [message.commit for message in appends(qraft, None)] == [index]


def test_older_term_is_committed_only_with_an_entry_of_the_own_term() -> None:
    """B6, figure 8 of the paper."""
    qraft = leader_of(THREE, 1, 1, ready=False)
    opening = qraft.last_index
    confirm(qraft, 2, opening - 1, 0, STARTED)
    confirm(qraft, 3, opening - 1, 0, STARTED)
    assert qraft.commit_index == 0
    confirm(qraft, 2, opening, 0, STARTED)
    assert qraft.commit_index == opening, "the older ones ride along (B8)"


def test_only_voter_commits_what_is_saved_in_the_same_output() -> None:
    """B39: `save` is performed before `committed` is applied and answered."""
    qraft = leader_of(voters(1))
    index = write(qraft)
    output = qraft.take()
    assert entries_saved(output) == [(index, 2)]
    assert [one.index for one in output.committed] == [index]


def test_older_reply_changes_nothing() -> None:
    """B5, S9."""
    qraft = leader_of(THREE)
    index = write(qraft)
    confirm(qraft, 2, index, 0, STARTED)
    confirm(qraft, 2, index - 1, 0, STARTED)
    assert qraft.match(2) == index


def test_reply_of_another_term_or_beyond_the_log_changes_nothing() -> None:
    qraft = leader_of(THREE)
    index = write(qraft)
    qraft.receive(say.AppendReply(CLUSTER, 2, qraft.term - 1, 1, index), STARTED)
    confirm(qraft, 2, index + 7, 0, STARTED)
    assert qraft.match(2) == index - 1


def test_next_stays_above_match() -> None:
    """B4."""
    progress = Progress(2)
    progress.restart(5)
    progress.confirm(9, NOW)
    assert (progress.match, progress.next) == (9, 10)
    progress.restart(3)
    assert progress.next == 10


def test_gap_is_repaired_by_unicast_from_where_it_begins() -> None:
    qraft = leader_of(THREE)
    first = write(qraft)
    write(qraft)
    qraft.take()
    refuse(qraft, 3, first, first)
    message = appends(qraft, 3)[0]
    assert (message.prev_index, len(message.records)) == (first - 1, 2)


def test_stale_refusal_changes_nothing() -> None:
    """B19, B21."""
    qraft = leader_of(THREE)
    index = write(qraft)
    qraft.take()
    confirm(qraft, 3, index, 0, STARTED)
    refuse(qraft, 3, index - 1, 1)
    assert appends(qraft, 3) == []
    assert qraft.match(3) == index


def test_repair_under_way_is_not_begun_again_by_every_refusal() -> None:
    """B4: resend storms."""
    qraft = leader_of(THREE)
    first = write(qraft)
    for _ in range(5):
        write(qraft)
    qraft.take()
    for prev in range(first, first + 5):
        refuse(qraft, 3, prev, first)
    assert len(appends(qraft, 3)) == 1


def test_whole_term_is_skipped_at_once() -> None:
    qraft = leader_of(THREE, *[1] * 50, ready=False)
    qraft.take()
    refuse(qraft, 3, qraft.last_index - 1, 20, 9)
    assert appends(qraft, 3)[0].prev_index == 19, "term 9 is not known here: all of it goes"
    other = leader_of(THREE, 1, 1, 3, 3, 3, ready=False)
    refuse(other, 3, 6, 2, 1)
    assert appends(other, 3)[0].prev_index == 3, "term 1 ends here at entry 3: its own later ones differ"


def test_repair_goes_on_in_growing_steps_until_all_is_there() -> None:
    qraft = leader_of(THREE, settings=replace(SETTINGS, max_log_size=200))
    first = write(qraft, size=200)
    for _ in range(9):
        write(qraft, size=200)
    qraft.take()
    refuse(qraft, 3, first, first)
    counts, have = [], first - 1
    while have < qraft.last_index:
        got = appends(qraft, 3)
        counts.append(len(got))
        for message in got:
            have = message.last_index
            confirm(qraft, 3, have, 0, STARTED)
    assert counts[0] == 1 and max(counts) > 1
    assert qraft.match(3) == qraft.last_index


def test_what_is_not_confirmed_is_repeated_after_replication_retry_interval() -> None:
    qraft = leader_of(THREE)
    index = write(qraft)
    qraft.take()
    confirm(qraft, 2, index, 0, STARTED)
    qraft.take()
    assert qraft.wake_at == pytest.approx(STARTED + 1)
    qraft.tick(STARTED + 1)
    assert [message.last_index for message in appends(qraft, 3)] == [index]


def test_node_that_is_gone_is_asked_as_rarely_as_all_are() -> None:
    qraft = leader_of(voters(1, 2, 3))
    now, asked = STARTED, 0
    write(qraft)
    while now < STARTED + 300:
        now = max(now, qraft.wake_at)
        qraft.tick(now)
        output = qraft.take()
        number = max((message.round for _, message in output.send if isinstance(message, say.Append)), default=0)
        confirm(qraft, 2, qraft.last_index, number, now)
        qraft.take()
        if now > STARTED + 40:
            asked += len(sent(output, say.Append, to=3))
    assert 20 <= asked <= 30
    assert qraft.role == "leader"


def test_heartbeat_goes_to_all_every_interval() -> None:
    qraft = leader_of(THREE)
    qraft.tick(STARTED + 9.9)
    assert appends(qraft, None) == []
    qraft.tick(STARTED + 10)
    message = appends(qraft, None)[0]
    assert message.round > 0 and message.records == ()
    assert message.prev_index == qraft.last_index


def test_query_of_a_follower_is_answered_to_it_alone() -> None:
    qraft = leader_of(THREE)
    qraft.receive(say.LeaderQuery(CLUSTER, 3, 2), STARTED + 1)
    output = qraft.take()
    assert [to for to, _ in output.send] == [3]


def test_batches_are_bounded_and_so_are_those_under_way() -> None:
    qraft = leader_of(THREE, settings=replace(SETTINGS, max_log_size=1_000))
    for _ in range(200):
        write(qraft, size=900)
    output = qraft.take()
    messages = sent(output, say.Append, to=None)
    assert len(messages) == INFLIGHT_MESSAGES_MAX
    assert all(len(say.encode(message)) <= say.size_max(1_000) for message in messages)
    confirm(qraft, 2, messages[-1].last_index, 0, STARTED)
    assert len(appends(qraft, None)) == INFLIGHT_MESSAGES_MAX


def test_leader_takes_on_a_bounded_number_of_entries_and_bytes() -> None:
    qraft = leader_of(THREE)
    with pytest.raises(Overloaded, match="wait for their commit"):
        for _ in range(UNCOMMITTED_ENTRIES_MAX + 1):
            write(qraft)
    other = leader_of(THREE)
    with pytest.raises(Overloaded):
        for _ in range(UNCOMMITTED_BYTES_MAX // 60_000 + 2):
            write(other, size=60_000)


def test_entry_that_is_too_large_is_refused_with_its_size() -> None:
    qraft = leader_of(THREE)
    with pytest.raises(TooLarge, match="64001 bytes, max-log-size is 64000"):
        write(qraft, size=64_001)


def test_who_does_not_lead_names_who_does() -> None:
    qraft = participant(1, log(THREE))
    with pytest.raises(NotLeading, match="nobody leads"):
        write(qraft)
    qraft.receive(say.Append(CLUSTER, 2, 1, 1, 30.0, 1, 1, 0), NOW)
    with pytest.raises(NotLeading, match="node 2 leads") as refused:
        write(qraft)
    assert refused.value.leader == 2


@pytest.mark.parametrize("gap", [0, 1, 5])
def test_snapshot_is_offered_where_the_log_does_not_reach(gap: int) -> None:
    """B12: also when exactly the last entry behind the snapshot is missing, and no empty append instead."""
    members = Snapshot(10, 1, THREE.encode(), b"state")
    qraft = QRaft(1, SETTINGS, saved(1, [entry(11, 1)], snapshot=members), Middle(0), NOW)
    qraft.tick(STARTED)
    for node in (2, 3):
        qraft.receive(say.PreVoteReply(CLUSTER, node, 1, 2, True), STARTED)
    qraft.receive(say.VoteReply(CLUSTER, 2, 2, True, 1), STARTED)
    qraft.take()
    refuse(qraft, 3, 11, 10 - gap)
    output = qraft.take()
    assert sent(output, say.SnapshotOffer, to=3) == [say.SnapshotOffer(CLUSTER, 1, 2, 10)]
    assert sent(output, say.Append, to=3) == []
    confirm(qraft, 3, 10, 0, STARTED)
    assert [message.prev_index for message in appends(qraft, 3)] == [10]


def test_saves_of_one_output_are_grouped_and_in_order() -> None:
    qraft = participant(1, log(voters(1)))
    qraft.tick(NOW)
    write(qraft, NOW)
    write(qraft, NOW)
    saves = qraft.take().save
    assert isinstance(saves[0], SaveVote) and len(saves) == 2


def test_node_that_lost_what_it_confirmed_counts_no_more_and_is_brought_up_again() -> None:
    """Its disk said that it was there, and after a power cut it was not."""
    qraft = leader_of(THREE)
    index = write(qraft)
    qraft.take()
    confirm(qraft, 2, index, 0, STARTED)
    assert qraft.match(2) == index
    qraft.tick(STARTED + SETTINGS.heartbeat_interval)
    asked = appends(qraft, None)[-1]
    assert asked.prev_index == index
    lost = say.AppendRefusal(CLUSTER, 2, qraft.term, asked.round, index, index, 0)
    qraft.receive(lost, STARTED + SETTINGS.heartbeat_interval)
    assert qraft.match(2) == 0
    repair = appends(qraft, 2)[-1]
    assert (repair.prev_index, len(repair.records)) == (index - 1, 1)
    confirm(qraft, 2, index, 0, STARTED + SETTINGS.heartbeat_interval)
    assert qraft.match(2) == index


def test_refusal_from_before_a_confirmation_takes_nothing_back() -> None:
    qraft = leader_of(THREE)
    index = write(qraft)
    asked = appends(qraft, None)[-1]
    confirm(qraft, 2, index, 0, STARTED)
    qraft.receive(say.AppendRefusal(CLUSTER, 2, qraft.term, asked.round, asked.prev_index, 1, 0), STARTED)
    assert qraft.match(2) == index
    assert appends(qraft, 2) == []
