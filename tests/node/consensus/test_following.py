"""What a node does with what a leader sends."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from consensus.stage import (
    NOW,
    append,
    entries_saved,
    entry,
    follower,
    log,
    participant,
    sent,
    voters,
)
from consensus.world import CLUSTER, member
from qluster.consensus import messages as say
from qluster.consensus.members import Members
from qluster.consensus.qraft import QRaft
from qluster.events import Entry, SaveSnapshot, Snapshot

THREE = voters(1, 2, 3)


def snapshot(index: int, term: int, members: Members = THREE) -> Snapshot:
    return Snapshot(index, term, members.encode(), b"state")


def replies(qraft: QRaft) -> list[int]:
    return [reply.match for reply in sent(qraft.take(), say.AppendReply)]


def test_entries_are_saved_in_the_same_output_and_so_before_they_are_confirmed() -> None:
    """B2."""
    qraft = follower(1, log(THREE))
    qraft.receive(append(2, 1, 1, 1, [entry(2, 1), entry(3, 1)]), NOW)
    output = qraft.take()
    assert entries_saved(output) == [(2, 1), (3, 1)]
    assert sent(output, say.AppendReply, to=2) == [say.AppendReply(CLUSTER, 1, 1, 1, 3)]


def test_confirmation_says_what_was_verified_and_no_more() -> None:
    """S7: what stands behind it may differ from the leader's log."""
    qraft = follower(1, log(THREE, 1, 1, 1, 1), leader=2)
    qraft.receive(append(3, 2, 2, 1, [entry(3, 1)]), NOW)
    assert replies(qraft) == [3]
    assert qraft.last_index == 5


def test_commit_is_what_was_verified_at_most() -> None:
    """S8: the leader's commit index may be far ahead of what this node is known to share with it."""
    qraft = participant(1, log(THREE, 1, 1, 1, 1))
    qraft.receive(append(3, 2, 2, 1, [entry(3, 1)], commit=5), NOW)
    assert qraft.commit_index == 3
    assert [one.index for one in qraft.take().committed] == [1, 2, 3]


def test_commit_never_goes_back() -> None:
    """B3."""
    qraft = follower(1, log(THREE, 1, 1), commit=3)
    assert qraft.commit_index == 3
    qraft.receive(append(2, 1, 1, 1, [entry(2, 1)], commit=1), NOW)
    qraft.receive(append(2, 1, 3, 1, commit=0), NOW)
    assert qraft.commit_index == 3
    assert qraft.take().committed == []


def test_message_that_comes_late_or_twice_cuts_nothing() -> None:
    """B7, S6."""
    qraft = follower(1, log(THREE, 1, 1, 1))
    for message in (append(2, 1, 1, 1), append(2, 1, 1, 1, [entry(2, 1)]), append(2, 1, 2, 1, [entry(3, 1)])):
        qraft.receive(message, NOW)
    assert entries_saved(qraft.take()) == []
    assert qraft.last_index == 4


def test_only_what_differs_is_replaced() -> None:
    qraft = follower(1, log(THREE, 1, 1, 1))
    qraft.receive(append(3, 2, 2, 1, [entry(3, 2)]), NOW)
    output = qraft.take()
    assert entries_saved(output) == [(3, 2)]
    assert (qraft.last_index, sent(output, say.AppendReply)[0].match) == (3, 3)


def test_leader_of_an_older_term_is_told_so_and_not_believed() -> None:
    qraft = follower(1, log(THREE), leader=2, term=5)
    qraft.receive(append(3, 4, 1, 1, [entry(2, 4)]), NOW)
    output = qraft.take()
    assert sent(output, say.AppendRefusal, to=3)[0].term == 5
    assert (qraft.leader, qraft.last_index) == (2, 1)


def test_gap_is_answered_at_once_with_where_to_go_on() -> None:
    qraft = follower(1, log(THREE, 1))
    qraft.receive(append(2, 1, 9, 1, [entry(10, 1)], number=4), NOW)
    assert sent(qraft.take(), say.AppendRefusal, to=2) == [say.AppendRefusal(CLUSTER, 1, 1, 4, 9, 3, 0)]


def test_same_gap_is_answered_once_a_moment_only() -> None:
    qraft = follower(1, log(THREE, 1))
    for index in range(9, 60):
        qraft.receive(append(2, 1, index, 1, [entry(index + 1, 1)]), NOW)
    assert len(sent(qraft.take(), say.AppendRefusal)) == 1
    qraft.receive(append(2, 1, 60, 1, [entry(61, 1)]), NOW + 0.3)
    assert len(sent(qraft.take(), say.AppendRefusal)) == 1


def test_heartbeat_is_always_answered_because_a_lease_may_rest_on_it() -> None:
    qraft = follower(1, log(THREE, 1))
    for number in (5, 6):
        qraft.receive(append(2, 1, 9, 1, number=number), NOW)
    assert [refusal.round for refusal in sent(qraft.take(), say.AppendRefusal)] == [5, 6]


def test_difference_is_answered_with_the_whole_term_to_skip() -> None:
    qraft = follower(1, log(THREE, 1, 3, 3, 3, 3), leader=2)
    qraft.receive(append(3, 5, 6, 4), NOW)
    refusal = sent(qraft.take(), say.AppendRefusal)[0]
    assert (refusal.conflict_index, refusal.conflict_term) == (3, 3)


def test_what_lies_behind_a_gap_is_taken_over_when_the_gap_is_filled() -> None:
    """Datagrams overtake each other."""
    qraft = follower(1, log(THREE))
    qraft.receive(append(2, 1, 2, 1, [entry(3, 1)], commit=2, number=2), NOW)
    qraft.receive(append(2, 1, 3, 1, [entry(4, 1)], commit=3, number=3), NOW)
    qraft.take()
    qraft.receive(append(2, 1, 1, 1, [entry(2, 1)], number=1), NOW)
    output = qraft.take()
    assert entries_saved(output) == [(2, 1), (3, 1), (4, 1)]
    assert [(reply.match, reply.round) for reply in sent(output, say.AppendReply)] == [(4, 3)]
    assert qraft.commit_index == 3


def test_what_was_kept_of_an_older_term_is_not_taken_over() -> None:
    qraft = follower(1, log(THREE), leader=2)
    qraft.receive(append(2, 1, 2, 1, [entry(3, 1)]), NOW)
    qraft.receive(append(3, 2, 1, 1, [entry(2, 1)]), NOW)
    assert qraft.last_index == 2


def test_few_messages_are_kept_behind_a_gap() -> None:
    qraft = follower(1, log(THREE))
    for index in range(3, 200):
        qraft.receive(append(2, 1, index, 1, [entry(index + 1, 1)]), NOW)
    assert len(qraft._following._early) == 32
    assert min(qraft._following._early) == 3


def test_message_without_a_round_is_answered_only_when_something_is_missing() -> None:
    qraft = follower(1, log(THREE, 1))
    qraft.receive(append(2, 1, 2, 1, commit=2, number=0), NOW)
    assert qraft.take().send == []
    qraft.receive(append(2, 1, 3, 1, commit=3, number=0), NOW)
    assert len(sent(qraft.take(), say.AppendRefusal)) == 1


def test_entry_behind_a_compacted_log_is_passed_over() -> None:
    """B11: after compaction an index of 0 is not taken for "always fits, append again"."""
    qraft = participant(1, [entry(11, 3)], snapshot=snapshot(10, 3))
    qraft.receive(append(2, 3, 0, 0, [Entry(1, 1, "members", THREE.encode()), entry(2, 1)]), NOW)
    assert replies(qraft) == [2]
    assert (qraft.last_index, qraft.commit_index) == (11, 10)


def test_list_of_members_counts_when_it_is_appended_and_not_when_it_is_cut() -> None:
    """S14."""
    qraft = follower(1, log(THREE))
    wider = THREE.with_member(member(4))
    qraft.receive(append(2, 1, 1, 1, [Entry(2, 1, "members", wider.encode())]), NOW)
    assert qraft.members.voters == {1, 2, 3, 4}
    qraft.receive(append(3, 2, 1, 1, [entry(2, 2)]), NOW)
    assert qraft.members.voters == {1, 2, 3}


def test_node_with_an_empty_log_takes_whatever_a_leader_has() -> None:
    qraft = participant(4, [])
    qraft.receive(append(1, 3, 7, 3), NOW)
    assert sent(qraft.take(), say.AppendRefusal)[0].conflict_index == 1
    qraft.receive(append(1, 3, 0, 0, log(voters(1, 2, 3, listeners=[4]), 2, 3), commit=3), NOW)
    assert (qraft.role, qraft.last_index, qraft.commit_index) == ("listener", 3, 3)


def test_late_leader_is_asked_before_anybody_stands() -> None:
    qraft = follower(1, log(THREE), leader=2)
    assert qraft.wake_at == pytest.approx(NOW + 12.5)
    qraft.tick(NOW + 12.5)
    assert sent(qraft.take(), say.LeaderQuery, to=2) == [say.LeaderQuery(CLUSTER, 1, 1)]
    assert qraft.wake_at == pytest.approx(NOW + 13.5)


def test_node_that_starts_asks_everybody_for_the_leader() -> None:
    qraft = participant(1, log(THREE))
    qraft.tick(NOW)
    assert len(sent(qraft.take(), say.LeaderQuery, to=None)) == 1


def test_silent_members_are_reported_so_that_the_leader_does_not_judge_alone() -> None:
    qraft = follower(1, log(voters(1, 2, 3, 4)), leader=2)
    qraft.hear(3, NOW + 25)
    qraft.receive(append(2, 1, 1, 1), NOW + 20)
    qraft.receive(append(2, 1, 1, 1, number=2), NOW + 40)
    assert [reply.silent for reply in sent(qraft.take(), say.AppendReply)] == [(), (4,)]


# --- snapshots -------------------------------------------------------------------


def test_snapshot_is_fetched_once_and_again_when_that_failed() -> None:
    qraft = follower(1, log(THREE), leader=2)
    offer = say.SnapshotOffer(CLUSTER, 2, 1, 40)
    for _ in range(3):
        qraft.receive(offer, NOW)
    fetch = qraft.take().fetch
    assert fetch is not None and (fetch.node, fetch.index) == (2, 40)
    qraft.receive(offer, NOW + 1)
    assert qraft.take().fetch is None
    qraft.fetch_failed()
    qraft.receive(offer, NOW + 2)
    assert qraft.take().fetch is not None


def test_offer_of_what_is_committed_here_is_answered_with_how_far_this_node_is() -> None:
    qraft = follower(1, log(THREE, 1, 1), leader=2, commit=3)
    qraft.receive(say.SnapshotOffer(CLUSTER, 2, 1, 2), NOW)
    output = qraft.take()
    assert output.fetch is None
    assert sent(output, say.AppendReply)[0].match == 3


def test_installed_snapshot_replaces_a_log_that_does_not_reach_it() -> None:
    qraft = follower(1, log(THREE, 1), leader=2, term=6)
    four = voters(1, 2, 3, 4)
    qraft.install(snapshot(40, 5, four), NOW)
    output = qraft.take()
    assert output.save == [SaveSnapshot(snapshot(40, 5, four), reset=True)]
    assert output.restored == snapshot(40, 5, four)
    assert output.committed == []
    assert sent(output, say.AppendReply, to=2)[0].match == 40
    assert (qraft.last_index, qraft.commit_index, qraft.snapshot_index) == (40, 40, 40)
    assert qraft.members.voters == {1, 2, 3, 4}, "members of the old log are gone (B17)"


def test_installed_snapshot_keeps_a_log_that_goes_on_from_it() -> None:
    """B14."""
    qraft = follower(1, log(THREE, 1, 1, 1), leader=2, commit=1)
    qraft.install(snapshot(3, 1), NOW)
    output = qraft.take()
    assert output.save == [SaveSnapshot(snapshot(3, 1), reset=False)]
    assert (qraft.last_index, qraft.commit_index) == (4, 3)


def test_installed_snapshot_drops_a_log_that_contradicts_it() -> None:
    """B15."""
    qraft = follower(1, log(THREE, 1, 1, 1), leader=2, term=6, commit=1)
    qraft.install(snapshot(3, 5), NOW)
    assert (qraft.last_index, qraft.take().save[0]) == (3, SaveSnapshot(snapshot(3, 5), reset=True))


def test_older_snapshot_changes_nothing() -> None:
    """B14."""
    qraft = follower(1, log(THREE, 1, 1, 1), leader=2, commit=4)
    qraft.install(snapshot(3, 1), NOW)
    output = qraft.take()
    assert (output.save, output.restored, qraft.last_index) == ([], None, 4)


def test_snapshot_never_lowers_the_term() -> None:
    """B13."""
    qraft = follower(1, log(THREE), leader=2, term=9)
    qraft.install(snapshot(40, 5), NOW)
    assert qraft.term == 9
    other = follower(1, log(THREE), leader=2, term=3)
    other.install(snapshot(40, 5), NOW)
    assert other.term == 5, "a snapshot of a newer leader"


def test_snapshot_with_wrong_members_is_refused() -> None:
    qraft = follower(1, log(THREE), leader=2)
    qraft.install(Snapshot(40, 1, b"nonsense", b"state"), NOW)
    output = qraft.take()
    assert output.save == [] and output.restored is None
    assert output.log[0].startswith("refuses snapshot=40")


def test_restart_after_a_snapshot_goes_on_from_it() -> None:
    qraft = participant(1, [entry(41, 5), entry(42, 5)], snapshot=snapshot(40, 5))
    assert (qraft.commit_index, qraft.last_index, qraft.members.voters) == (40, 42, {1, 2, 3})
    qraft.receive(append(2, 5, 42, 5, commit=42), NOW)
    assert [one.index for one in qraft.take().committed] == [41, 42]


def test_compacted_state_is_saved_with_the_members_of_its_index() -> None:
    four = THREE.with_member(member(4))
    entries = [*log(THREE, 1), Entry(3, 1, "members", four.encode()), entry(4, 1)]
    qraft = follower(1, entries, commit=4)
    qraft.compact(2, b"two")
    assert qraft.take().save == [SaveSnapshot(Snapshot(2, 1, THREE.encode(), b"two"), reset=False)]
    qraft.compact(4, b"four")
    assert qraft.take().save == [SaveSnapshot(Snapshot(4, 1, four.encode(), b"four"), reset=False)]
    assert qraft.members == four


def test_nothing_is_compacted_that_is_not_applied() -> None:
    qraft = follower(1, log(THREE, 1, 1), commit=2)
    with pytest.raises(AssertionError):
        qraft.compact(3, b"")


# --- membership of this node --------------------------------------------------------


def test_removal_counts_when_it_is_committed() -> None:
    qraft = follower(3, log(THREE), leader=2, commit=1)
    qraft.receive(append(2, 1, 1, 1, [Entry(2, 1, "members", THREE.without(3).encode())]), NOW)
    assert not qraft.removed
    assert qraft.role == "follower", "until the change is committed it may be needed"
    qraft.receive(append(2, 1, 2, 1, commit=2, number=0), NOW)
    assert qraft.removed and qraft.role == "listener"


def test_removal_is_remembered_over_a_restart_and_found_in_the_log() -> None:
    entries = [*log(THREE), Entry(2, 1, "members", THREE.without(3).encode()), entry(3, 1)]
    qraft = participant(3, entries)
    assert not qraft.removed
    qraft.receive(append(2, 1, 3, 1, commit=3), NOW)
    assert qraft.removed


def test_node_that_is_told_that_it_was_removed_believes_newer_lists_only() -> None:
    """A node that was just added may meet somebody who does not know it yet."""
    qraft = follower(3, log(THREE, 1, 1), leader=2)
    qraft.receive(say.Expelled(CLUSTER, 2, 1, 1, 3), NOW)
    assert not qraft.removed
    qraft.receive(say.Expelled(CLUSTER, 2, 1, 9, 3), NOW)
    assert qraft.removed and qraft.role == "listener"
    qraft.tick(NOW + 1000)
    assert qraft.role == "listener", "and disturbs nobody (B33)"


def test_word_of_removal_for_the_former_node_of_this_address_is_not_taken() -> None:
    qraft = follower(3, log(THREE), leader=2)
    qraft.receive(say.Expelled(CLUSTER, 2, 1, 9, 4), NOW)
    assert not qraft.removed and qraft.role == "follower"


def test_node_that_is_added_again_is_a_member() -> None:
    qraft = follower(3, log(THREE), leader=2)
    qraft.receive(say.Expelled(CLUSTER, 2, 1, 2, 3), NOW)
    lists = [Entry(2, 1, "members", THREE.without(3).encode()), Entry(3, 1, "members", THREE.encode())]
    qraft.receive(append(2, 1, 1, 1, lists, commit=3), NOW)
    assert not qraft.removed and qraft.role == "follower"


def test_saved_term_below_that_of_the_log_is_damage() -> None:
    """B1: whoever resets the term on restart could vote twice."""
    with pytest.raises(ValueError, match="saved term is 2"):
        participant(1, log(THREE, 5), term=2)
