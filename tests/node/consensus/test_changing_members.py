"""How a leader changes the list of members: one at a time, by the leader alone, and who is removed."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from consensus.stage import (
    FIVE,
    SETTINGS,
    STARTED,
    THREE,
    Middle,
    beat,
    confirm,
    leader_of,
    log,
    newest_round,
    saved,
    sent,
    voters,
)
from consensus.world import CLUSTER, member
from qluster.consensus import messages as say
from qluster.consensus.members import Member, Members
from qluster.consensus.qraft import ChangeRefused, QRaft
from qluster.events import Entry


def test_members_do_not_change_before_the_no_op_is_committed() -> None:
    """B34, S13."""
    qraft = leader_of(THREE, ready=False)
    with pytest.raises(ChangeRefused, match="has not committed an entry of its term"):
        qraft.change_members(THREE.with_member(member(4, voter=False)), STARTED)


def test_one_change_at_a_time() -> None:
    """S14."""
    qraft = leader_of(THREE)
    index, _ = qraft.change_members(THREE.with_member(member(4, voter=False)), STARTED)
    with pytest.raises(ChangeRefused, match=f"entry {index} is not committed"):
        qraft.change_members(qraft.members.with_member(member(5, voter=False)), STARTED)
    qraft.take()
    confirm(qraft, 2, index, 0, STARTED)
    qraft.change_members(qraft.members.with_member(member(5, voter=False)), STARTED)


def test_until_a_change_is_committed_both_lists_must_agree() -> None:
    qraft = leader_of(THREE)
    four = THREE.with_member(member(4)).with_member(member(5))
    for node in (4, 5):
        qraft.hear(node, STARTED)
    index, _ = qraft.change_members(four, STARTED)
    qraft.take()
    confirm(qraft, 4, index, 0, STARTED)
    confirm(qraft, 5, index, 0, STARTED)
    assert qraft.commit_index < index, "three of five new ones, one of three old ones"
    confirm(qraft, 2, index, 0, STARTED)
    assert qraft.commit_index == index


def test_candidate_counts_both_lists_while_a_change_is_not_committed() -> None:
    """B35."""
    entries = [*log(THREE), Entry(2, 1, "members", voters(1, 4, 5).encode())]
    qraft = QRaft(1, SETTINGS, saved(1, entries), Middle(0), STARTED)
    qraft.tick(STARTED + 60)
    for node in (4, 5):
        qraft.receive(say.PreVoteReply(CLUSTER, node, 1, 2, True), STARTED + 60)
    assert qraft.role == "pre-candidate"
    qraft.receive(say.PreVoteReply(CLUSTER, 2, 1, 2, True), STARTED + 60)
    assert qraft.role == "candidate"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (Members(()), "nobody would be left"),
        (THREE.with_member(Member(2, 9, "10.0.0.2", 1, 2, 3, True)), "node 2 has uid"),
        (THREE.with_member(Member(4, 1003, "10.0.0.4", 1, 2, 3, True)), "same uid"),
        (THREE.with_member(member(4)), "of 4 voters 2 would be alive and 3 are needed"),
        (THREE.without(2), "1 of the voters left are alive and 2 are needed"),
    ],
)
def test_change_that_cannot_be_right_is_refused(change: Members, reason: str) -> None:
    qraft = leader_of(THREE)
    qraft._me.heard[3] = -inf
    with pytest.raises(ChangeRefused, match=reason):
        qraft.change_members(change, STARTED)


def test_removal_below_replication_factor_is_refused() -> None:
    qraft = leader_of(voters(1, 2, 3, replication_factor=3), settings=replace(SETTINGS, replication_factor=3))
    with pytest.raises(ChangeRefused, match="replication-factor is 3: lower it first"):
        qraft.change_members(qraft.members.without(3), STARTED)


def test_steady_listener_is_made_a_voter() -> None:
    qraft = leader_of(voters(1, 2, 3, listeners=[4]))
    beat(qraft, STARTED + 4, 2, 3, 4)
    assert qraft.members.voters == {1, 2, 3}
    beat(qraft, STARTED + 8, 2, 3, 4)
    assert qraft.members.voters == {1, 2, 3, 4}
    assert qraft.commit_index == qraft.last_index


def test_listener_that_lags_or_answers_with_gaps_is_not_made_a_voter() -> None:
    qraft = leader_of(voters(1, 2, 3, listeners=[4]))
    for _ in range(100):
        qraft.propose("command", b"x", STARTED)
    now = STARTED
    for _ in range(20):
        now += 2
        beat(qraft, now, 2, 3)
        qraft.receive(say.AppendReply(CLUSTER, 4, qraft.term, newest_round(qraft.take()), 2), now)
    assert qraft.members.voters == {1, 2, 3}


def test_listener_for_good_is_never_made_a_voter() -> None:
    members = THREE.with_member(member(4, voter=False, role="listener"))
    qraft = leader_of(members)
    beat(qraft, STARTED + 300, 2, 3, 4)
    assert qraft.members.voters == {1, 2, 3}


def test_changed_rule_is_put_into_the_list_and_counts_only_together_with_the_old_one() -> None:
    qraft = leader_of(THREE)
    qraft.settings = replace(SETTINGS, quorum_replication=False, replication_factor=1)
    beat(qraft, STARTED + 30, 2, 3)
    assert qraft.members.replication_factor == 1
    assert qraft.commit_index == qraft.last_index
    index = qraft.propose("command", b"x", STARTED + 30)[0]
    qraft.take()
    assert qraft.commit_index == index


AUTOREMOVE = replace(SETTINGS, autoremove_enabled=True, remove_interval=60.0)


def test_node_that_nobody_hears_is_removed_after_remove_interval() -> None:
    qraft = leader_of(FIVE, settings=AUTOREMOVE)
    beat(qraft, STARTED + 55, 2, 3, 4, silent=(5,))
    assert qraft.members.voters == {1, 2, 3, 4, 5}
    beat(qraft, STARTED + 80, 2, 3, 4, silent=(5,))
    assert qraft.members.voters == {1, 2, 3, 4}
    assert qraft.members.configured == 5


def test_node_that_only_the_leader_does_not_hear_is_not_removed() -> None:
    qraft = leader_of(FIVE, settings=AUTOREMOVE)
    beat(qraft, STARTED + 300, 2, 3, 4)
    assert qraft.members.voters == {1, 2, 3, 4, 5}


def test_nobody_is_removed_while_another_may_be_restarting() -> None:
    """A rolling restart and a quick removal together lost clusters their quorum for good."""
    qraft = leader_of(FIVE, settings=AUTOREMOVE)
    beat(qraft, STARTED + 25, 2, 3, 4, silent=(5,))
    beat(qraft, STARTED + 80, 2, 3, silent=(4, 5))
    assert qraft.members.voters == {1, 2, 3, 4, 5}
    beat(qraft, STARTED + 130, 2, 3, 4, silent=(5,))
    assert qraft.members.voters == {1, 2, 3, 4}


def test_removals_stop_at_half_of_what_was_configured() -> None:
    """Five nodes survive two failures. Two removals in a row must not make them a cluster that survives one."""
    qraft = leader_of(FIVE, settings=replace(AUTOREMOVE, autoremove_minimum=1))
    beat(qraft, STARTED + 600, 2, 3, silent=(4, 5))
    assert qraft.members.voters == {1, 2, 3}
    beat(qraft, STARTED + 1200, 2, silent=(3,))
    assert qraft.members.voters == {1, 2, 3}


def test_one_removal_per_remove_interval() -> None:
    qraft = leader_of(voters(1, 2, 3, 4, 5, 6, 7), settings=AUTOREMOVE)
    beat(qraft, STARTED + 75, 2, 3, 4, 5, silent=(6, 7))
    assert len(qraft.members.voters) == 6
    beat(qraft, STARTED + 110, 2, 3, 4, 5, silent=(6, 7))
    assert len(qraft.members.voters) == 6
    beat(qraft, STARTED + 150, 2, 3, 4, 5, silent=(6, 7))
    assert len(qraft.members.voters) == 5


@pytest.mark.parametrize(
    "settings", [SETTINGS, replace(AUTOREMOVE, autoremove_minimum=5)], ids=["disabled", "too small"]
)
def test_nothing_is_removed_where_that_is_not_wanted(settings: object) -> None:
    qraft = leader_of(FIVE, settings=settings)  # type: ignore[arg-type]
    beat(qraft, STARTED + 300, 2, 3, 4, silent=(5,))
    assert qraft.members.voters == {1, 2, 3, 4, 5}


def test_removed_node_gets_the_entry_and_is_told() -> None:
    qraft = leader_of(THREE)
    index, _ = qraft.change_members(THREE.without(3), STARTED)
    qraft.take()
    confirm(qraft, 2, index, 0, STARTED)
    assert qraft.match(3) == index - 1, "still served"
    qraft.receive(say.AppendRefusal(CLUSTER, 3, qraft.term, 0, index, index, 0), STARTED)
    assert len(sent(qraft.take(), say.Append, to=3)) == 1
    confirm(qraft, 3, index, 0, STARTED)
    qraft.tick(STARTED + 1)
    assert sent(qraft.take(), say.Expelled, to=3) == [say.Expelled(CLUSTER, 1, 2, index, 3)]


@pytest.mark.parametrize("question", [say.LeaderQuery(CLUSTER, 9, 2), say.PreVote(CLUSTER, 9, 3, 9, 9)])
def test_stranger_that_asks_is_told_that_it_is_none(question: say.AnyMessage) -> None:
    """B33."""
    qraft = leader_of(THREE)
    qraft.receive(question, STARTED)
    assert [one.index for one in sent(qraft.take(), say.Expelled, to=9)] == [1]


def test_stranger_is_told_nothing_by_a_leader_that_is_not_sure() -> None:
    qraft = leader_of(THREE, ready=False)
    qraft.receive(say.LeaderQuery(CLUSTER, 9, 2), STARTED)
    assert sent(qraft.take(), say.Expelled) == []


def test_leader_that_removes_itself_does_not_count_itself_and_hands_over() -> None:
    """B36."""
    qraft = leader_of(THREE)
    index, _ = qraft.change_members(THREE.without(1), STARTED)
    qraft.take()
    confirm(qraft, 2, index, 0, STARTED)
    assert qraft.commit_index == index - 1, "two new ones are needed"
    assert qraft.role == "leader"
    confirm(qraft, 3, index, 0, STARTED)
    assert qraft.commit_index == index and qraft.removed
    assert sent(qraft.take(), say.TimeoutNow) == [], "the log first: it says now that the change is committed"
    confirm(qraft, 2, index + 1, 0, STARTED)
    assert len(sent(qraft.take(), say.TimeoutNow, to=2)) == 1
    assert qraft.lease_until == -inf
    qraft.receive(say.Vote(CLUSTER, 2, 3, index + 1, 2, True), STARTED)
    assert qraft.role == "listener"


def test_committed_list_is_known_after_a_restart_from_the_entry_behind_it() -> None:
    """Else the former list would still be asked, and one of its nodes may be gone by now."""
    qraft = leader_of(voters(1, 2, listeners=[3]))
    index, _ = qraft.change_members(qraft.members.promoted(3), STARTED)
    qraft.take()
    confirm(qraft, 2, index, 0, STARTED)
    assert qraft.last_index == index + 1
    entries = qraft._me.journal.between(0, index + 1)
    other = QRaft(3, SETTINGS, saved(3, entries), Middle(0), STARTED)
    assert other.commit_index == index
    other.tick(STARTED + 60)
    other.receive(say.PreVoteReply(CLUSTER, 1, 2, 3, True), STARTED + 60)
    assert other.role == "candidate", "two of three; without the entry node 2 would be needed, too"
    assert QRaft(3, SETTINGS, saved(3, entries[:-1]), Middle(0), STARTED).commit_index == 0


def test_what_somebody_knows_to_be_committed_is_learned_before_an_election() -> None:
    entries = [*log(voters(1, 2)), Entry(2, 1, "members", THREE.encode())]
    qraft = QRaft(3, SETTINGS, saved(3, entries), Middle(0), STARTED)
    qraft.tick(STARTED + 60)
    assert sent(qraft.take(), say.PreVote)[0].commit == 0
    qraft.receive(say.PreVoteReply(CLUSTER, 1, 1, 2, True, 2, 9), STARTED + 60)
    assert (qraft.commit_index, qraft.role) == (0, "pre-candidate"), "another entry than the one here"
    qraft.receive(say.PreVoteReply(CLUSTER, 1, 1, 2, True, 2, 1), STARTED + 60)
    assert (qraft.commit_index, qraft.role) == (2, "candidate")
