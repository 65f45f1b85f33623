"""What a leader does while it leads: lease, reads, members, hand-over."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from consensus.stage import (
    SETTINGS,
    STARTED,
    Middle,
    Prompt,
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
from qluster.consensus.qraft import ChangeRefused, NotLeading, QRaft, TransferRefused
from qluster.consensus.settings import READS_MAX
from qluster.events import Entry

THREE = voters(1, 2, 3)
FIVE = voters(1, 2, 3, 4, 5)


def beat(qraft: QRaft, now: float, *nodes: int, silent: tuple[int, ...] = ()) -> None:
    """Time passes up to now, and these nodes answer everything."""
    while True:
        soonest = min(max(qraft.wake_at, STARTED), now)
        qraft.tick(soonest)
        output = qraft.take()
        for node in nodes:
            if newest_round(output):
                reply = say.AppendReply(CLUSTER, node, qraft.term, newest_round(output), qraft.last_index, silent)
                qraft.receive(reply, soonest)
        qraft.take()
        if soonest >= now or qraft.role != "leader":
            return


# --- lease and office -----------------------------------------------------------------


def test_lease_counts_from_the_sending_and_needs_a_quorum() -> None:
    qraft = leader_of(FIVE, ready=False)
    assert qraft.lease_until == -inf
    confirm(qraft, 2, 1, 1, STARTED + 3)
    assert qraft.lease_until == -inf
    confirm(qraft, 3, 1, 1, STARTED + 5)
    assert qraft.lease_until == pytest.approx(STARTED + 20)


def test_late_answer_to_an_old_round_does_not_lengthen_the_lease() -> None:
    qraft = leader_of(THREE)
    qraft.tick(STARTED + 10)
    qraft.take()
    confirm(qraft, 2, 2, 1, STARTED + 15)
    assert qraft.lease_until == pytest.approx(STARTED + 20)


def test_answer_to_a_round_that_never_was_counts_nothing() -> None:
    qraft = leader_of(THREE, ready=False)
    confirm(qraft, 2, 1, 99, STARTED)
    assert qraft.lease_until == -inf


def test_refusal_is_a_sign_of_life_too() -> None:
    qraft = leader_of(THREE, ready=False)
    qraft.receive(say.AppendRefusal(CLUSTER, 2, 2, 1, 1, 1, 0), STARTED)
    assert qraft.lease_until == pytest.approx(STARTED + 20)


def test_listeners_answers_hold_no_lease() -> None:
    qraft = leader_of(voters(1, 2, 3, listeners=[4, 5]), ready=False)
    for node in (4, 5):
        confirm(qraft, node, 1, 1, STARTED)
    assert qraft.lease_until == -inf


def test_leader_without_a_quorum_steps_down_long_after_its_lease() -> None:
    """S18."""
    qraft = leader_of(THREE)
    beat(qraft, STARTED + 60)
    assert qraft.role == "follower"
    assert qraft.lease_until == -inf


def stepping_down(qraft: QRaft, until: float) -> tuple[float, list[say.Goodbye]]:
    """When a leader that nobody answers steps down, and what it says then."""
    while qraft.role == "leader":
        now = qraft.wake_at
        assert now <= until
        qraft.take()
        qraft.tick(now)
    return now, [message for _, message in qraft.take().send if isinstance(message, say.Goodbye)]


def test_leader_that_hears_nobody_releases_those_who_may_hear_it() -> None:
    """It is cut in one direction: its heartbeats arrived until now, and would be waited for once more."""
    qraft = leader_of(THREE)
    at, goodbyes = stepping_down(qraft, STARTED + 60)
    assert at == pytest.approx(STARTED + 30)
    assert goodbyes == [say.Goodbye(CLUSTER, 1, 2, 0)]


def test_leader_releases_nobody_while_a_longer_promise_from_before_holds() -> None:
    qraft = leader_of(THREE)
    qraft.settings = replace(SETTINGS, node_timeout=12.0, heartbeat_interval=3.0)
    at, goodbyes = stepping_down(qraft, STARTED + 60)
    assert at < STARTED + 30 and goodbyes == []


def test_leader_with_a_quorum_leads_on() -> None:
    qraft = leader_of(THREE)
    beat(qraft, STARTED + 300, 3)
    assert qraft.role == "leader"
    assert qraft.lease_until > STARTED + 300
    assert qraft.quorate(STARTED + 300) and qraft.can_commit(STARTED + 300)


def test_leader_that_waits_for_a_further_copy_leads_on() -> None:
    settings = replace(SETTINGS, replication_factor=3)
    qraft = leader_of(voters(1, 2, 3, replication_factor=3), settings=settings)
    index = qraft.propose("command", b"x", STARTED)[0]
    beat(qraft, STARTED + 100, 2)
    assert (qraft.role, qraft.commit_index) == ("leader", index - 1)
    assert qraft.quorate(STARTED + 100) and not qraft.can_commit(STARTED + 100)
    confirm(qraft, 3, index, 0, STARTED + 100)
    assert qraft.commit_index == index


def test_one_copy_can_be_enough_where_every_node_must_vote() -> None:
    """D4: the smaller commit quorum is paid for by the election."""
    rule = {"quorum_replication": False, "replication_factor": 1}
    qraft = leader_of(voters(1, 2, 3, **rule), settings=replace(SETTINGS, **rule))  # type: ignore[arg-type]
    index = qraft.propose("command", b"x", STARTED)[0]
    qraft.take()
    assert qraft.commit_index == index
    beat(qraft, STARTED + 100)
    assert qraft.role == "leader" and qraft.lease_until > STARTED + 100
    other = QRaft(2, SETTINGS, saved(2, log(voters(1, 2, 3, **rule))), Middle(0), STARTED)
    other.tick(STARTED + 60)
    other.receive(say.PreVoteReply(CLUSTER, 3, 1, 2, True), STARTED + 60)
    assert other.role == "pre-candidate", "two of three are not enough here"


# --- reads --------------------------------------------------------------------------


def test_read_waits_for_a_round_that_began_after_it() -> None:
    qraft = leader_of(THREE)
    qraft.request_read(7, STARTED)
    output = qraft.take()
    assert output.reads == []
    confirm(qraft, 2, 2, newest_round(output) - 1, STARTED)
    assert qraft.take().reads == []
    confirm(qraft, 2, 2, newest_round(output), STARTED)
    assert qraft.take().reads == [(7, True)]


def test_reads_that_come_together_share_a_round() -> None:
    qraft = leader_of(THREE)
    for ticket in range(5):
        qraft.request_read(ticket, STARTED)
    output = qraft.take()
    assert len(sent(output, say.Append)) == 1
    confirm(qraft, 3, 2, newest_round(output), STARTED)
    assert qraft.take().reads == [(ticket, True) for ticket in range(5)]


def test_read_before_the_first_commit_of_the_term_waits_for_it() -> None:
    """B37, S13."""
    qraft = leader_of(THREE, 1, 1, ready=False)
    qraft.request_read(7, STARTED)
    number = newest_round(qraft.take())
    confirm(qraft, 2, 1, number, STARTED)
    assert qraft.take().reads == []
    confirm(qraft, 2, qraft.last_index, number, STARTED)
    assert qraft.take().reads == [(7, True)]


def test_reads_of_a_leader_that_steps_down_are_refused() -> None:
    qraft = leader_of(THREE)
    qraft.request_read(7, STARTED)
    qraft.receive(say.Append(CLUSTER, 2, 9, 1, 30.0, 2, 2, 0), STARTED)
    assert (7, False) in qraft.take().reads
    qraft.request_read(8, STARTED)
    assert (8, False) in qraft.take().reads


def test_rounds_of_an_earlier_office_confirm_nothing() -> None:
    """B38: numbers are compared within a term only."""
    qraft = leader_of(THREE)
    qraft.request_read(7, STARTED)
    number = newest_round(qraft.take())
    qraft.receive(say.AppendReply(CLUSTER, 2, qraft.term - 1, number, 2), STARTED)
    assert qraft.take().reads == []


def test_too_many_reads_are_refused() -> None:
    qraft = leader_of(THREE)
    for ticket in range(READS_MAX + 1):
        qraft.request_read(ticket, STARTED)
    assert qraft.take().reads == [(READS_MAX, False)]


def test_only_voter_reads_at_once() -> None:
    qraft = leader_of(voters(1))
    qraft.request_read(7, STARTED)
    assert qraft.take().reads == [(7, True)]


# --- members ----------------------------------------------------------------------------


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


# --- handing over -------------------------------------------------------------------------


def test_target_gets_the_log_first_and_then_the_word() -> None:
    qraft = leader_of(THREE)
    index = qraft.propose("command", b"x", STARTED)[0]
    qraft.take()
    qraft.transfer(3, STARTED)
    assert sent(qraft.take(), say.TimeoutNow) == []
    assert qraft.lease_until > STARTED and qraft.transferring == 3
    confirm(qraft, 3, index, 0, STARTED)
    assert len(sent(qraft.take(), say.TimeoutNow, to=3)) == 1
    assert qraft.lease_until == -inf


def test_nothing_is_proposed_during_a_transfer() -> None:
    qraft = leader_of(THREE)
    qraft.transfer(2, STARTED)
    with pytest.raises(NotLeading, match="being handed to node 2"):
        qraft.propose("command", b"x", STARTED)
    with pytest.raises(ChangeRefused, match="being handed to node 2"):
        qraft.change_members(THREE.without(3), STARTED)
    with pytest.raises(TransferRefused, match="being handed to node 2"):
        qraft.transfer(3, STARTED)


def test_former_leader_that_voted_for_its_successor_lets_it_begin() -> None:
    """It would win the others back, who are still promised to it: a hand-over that nobody sees (swarm 20000303)."""
    qraft = leader_of(THREE)
    qraft.transfer(2, STARTED)
    last = qraft.last_index
    qraft.receive(say.Vote(CLUSTER, 2, qraft.term + 1, last, qraft.term, True), STARTED)
    output = qraft.take()
    assert [vote.granted for vote in sent(output, say.VoteReply, to=2)] == [True]
    qraft.tick(STARTED + SETTINGS.leader_voting_timeout - 0.1)
    assert qraft.role == "follower" and not sent(qraft.take(), say.PreVote)
    qraft.tick(STARTED + SETTINGS.leader_voting_timeout + SETTINGS.pre_voting_timeout)
    assert sent(qraft.take(), say.PreVote), "the successor was never heard"


def test_former_leader_whose_log_is_newer_stands_again_at_once() -> None:
    qraft = leader_of(THREE, 1)
    qraft.receive(say.Vote(CLUSTER, 2, qraft.term + 1, 1, 1, True), STARTED)
    assert [vote.granted for vote in sent(qraft.take(), say.VoteReply, to=2)] == [False]
    qraft.tick(STARTED + SETTINGS.pre_voting_timeout / 8)
    assert sent(qraft.take(), say.PreVote)


def test_target_that_does_not_catch_up_leaves_everything_as_it_was() -> None:
    qraft = leader_of(THREE)
    qraft.propose("command", b"x", STARTED)
    qraft.transfer(3, STARTED)
    beat(qraft, STARTED + 11, 2)
    assert (qraft.role, qraft.transferring) == ("leader", None)
    assert qraft.lease_until > STARTED + 11
    qraft.propose("command", b"x", STARTED + 11)


def test_word_that_brings_nothing_ends_the_office_and_never_gives_the_lease_back() -> None:
    """D1: the word may arrive late, and is obeyed then."""
    qraft = leader_of(THREE)
    qraft.transfer(3, STARTED)
    for second in range(1, 10):
        beat(qraft, STARTED + second, 2, 3)
        assert qraft.lease_until == -inf
    beat(qraft, STARTED + 11, 2, 3)
    assert qraft.role == "follower"
    assert qraft.wake_at < STARTED + 13, "it stands again at once, in a newer term"


def test_word_is_repeated_because_datagrams_are_lost() -> None:
    qraft = leader_of(THREE)
    qraft.transfer(3, STARTED)
    assert len(sent(qraft.take(), say.TimeoutNow, to=3)) == 1
    qraft.tick(STARTED + 2)
    assert len(sent(qraft.take(), say.TimeoutNow, to=3)) == 1


@pytest.mark.parametrize(
    ("target", "reason"), [(1, "leads already"), (4, "does not vote"), (9, "does not vote"), (3, "was not heard")]
)
def test_unfit_target_is_refused(target: int, reason: str) -> None:
    qraft = leader_of(voters(1, 2, 3, listeners=[4]))
    qraft._me.heard[3] = STARTED - 31
    with pytest.raises(TransferRefused, match=reason):
        qraft.transfer(target, STARTED)


def test_leader_that_has_committed_nothing_hands_nothing_over() -> None:
    with pytest.raises(TransferRefused, match="has not committed"):
        leader_of(THREE, ready=False).transfer(2, STARTED)


def test_leader_that_resigns_names_the_best_and_gives_the_lease_back() -> None:
    """B23, B26: the one with the newest log among those that are there."""
    qraft = leader_of(FIVE)
    index = qraft.propose("command", b"x", STARTED)[0]
    for node, match in ((2, index - 1), (3, index), (4, index), (5, index)):
        confirm(qraft, node, match, 0, STARTED)
    qraft._me.heard[3] = -inf
    qraft.take()
    qraft.resign(STARTED)
    output = qraft.take()
    assert sent(output, say.Goodbye, to=None) == [say.Goodbye(CLUSTER, 1, 2, 4)]
    assert (qraft.role, qraft.lease_until) == ("follower", -inf)
    assert qraft.wake_at > STARTED + 9, "it does not stand itself"


def test_node_that_led_before_its_restart_can_release_the_others() -> None:
    qraft = QRaft(1, SETTINGS, saved(1, log(THREE, 4), term=4, vote=1), Middle(0), STARTED)
    qraft.resign(STARTED)
    assert sent(qraft.take(), say.Goodbye, to=None) == [say.Goodbye(CLUSTER, 1, 4, 0)]
    other = QRaft(1, SETTINGS, saved(1, log(THREE, 4), term=4, vote=2), Middle(0), STARTED)
    other.resign(STARTED)
    assert sent(other.take(), say.Goodbye) == []


def test_founder_leads_alone_and_its_first_entry_is_the_list() -> None:
    qraft = Prompt.found(1, SETTINGS, saved(1, [], term=0), Middle(0), STARTED, voters(1))
    qraft.tick(STARTED)
    output = qraft.take()
    assert [(one.index, one.kind) for one in output.committed] == [(1, "members"), (2, "noop")]
    assert (qraft.role, qraft.ready, qraft.members.configured) == ("leader", True, 1)
