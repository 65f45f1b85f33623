"""Whom a node votes for, and when it stands itself. B numbers are known bugs of other implementations."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from consensus.stage import (
    NOW,
    SETTINGS,
    STARTED,
    append,
    confirm,
    follower,
    leader_of,
    log,
    newest_round,
    participant,
    saved,
    sent,
    voters,
    votes_saved,
)
from consensus.world import CLUSTER
from qluster.consensus import messages as say
from qluster.consensus.qraft import QRaft

THREE = voters(1, 2, 3)
LATER = NOW + 40
"""When the promise of a node that started at NOW is over."""


def test_node_that_starts_keeps_the_promise_it_may_have_given() -> None:
    """D1: a restart must not help somebody while the leader's lease lasts."""
    qraft = participant(1, log(THREE))
    qraft.receive(say.PreVote(CLUSTER, 2, 2, 1, 1), NOW + 29)
    qraft.receive(say.Vote(CLUSTER, 2, 2, 1, 1), NOW + 29)
    output = qraft.take()
    assert not sent(output, say.PreVoteReply)[0].granted
    assert not sent(output, say.VoteReply)[0].granted
    assert votes_saved(output) == []
    qraft.receive(say.Vote(CLUSTER, 2, 2, 1, 1), NOW + 31)
    assert sent(qraft.take(), say.VoteReply)[0].granted


def test_vote_is_saved_in_the_same_output_and_so_before_the_answer_leaves() -> None:
    qraft = participant(1, log(THREE))
    qraft.receive(say.Vote(CLUSTER, 2, 5, 1, 1), LATER)
    output = qraft.take()
    assert votes_saved(output) == [(5, 2)]
    assert sent(output, say.VoteReply, to=2) == [say.VoteReply(CLUSTER, 1, 5, True, 2)]


def test_restarted_node_remembers_its_vote() -> None:
    """B1."""
    qraft = participant(1, log(THREE), term=5, vote=2)
    qraft.receive(say.Vote(CLUSTER, 3, 5, 9, 5), LATER)
    qraft.receive(say.Vote(CLUSTER, 2, 5, 9, 5), LATER)
    output = qraft.take()
    assert [reply.granted for reply in sent(output, say.VoteReply)] == [False, True]


@pytest.mark.parametrize(
    ("last_index", "last_term", "granted"), [(3, 2, True), (9, 1, False), (2, 2, False), (1, 3, True), (4, 2, True)]
)
def test_vote_goes_to_no_older_log(last_index: int, last_term: int, granted: bool) -> None:
    """S5: first the term of the last entry counts, then its index."""
    qraft = participant(1, log(THREE, 2, 2))
    qraft.receive(say.Vote(CLUSTER, 2, 7, last_index, last_term), LATER)
    assert sent(qraft.take(), say.VoteReply)[0].granted is granted


def test_refused_vote_still_moves_the_term() -> None:
    qraft = participant(1, log(THREE, 2))
    qraft.receive(say.Vote(CLUSTER, 2, 7, 1, 1), LATER)
    output = qraft.take()
    assert (qraft.term, votes_saved(output)) == (7, [(7, None)])
    assert sent(output, say.VoteReply) == [say.VoteReply(CLUSTER, 1, 7, False, 2)]


def test_pre_vote_changes_nothing() -> None:
    """S17: neither durable state, nor the time-out, nor what it believes (B29)."""
    qraft = participant(1, log(THREE))
    wake_at = qraft.wake_at
    qraft.take()
    qraft.receive(say.PreVote(CLUSTER, 2, 9, 5, 5), NOW + 31)
    output = qraft.take()
    assert sent(output, say.PreVoteReply)[0].granted
    assert output.save == []
    assert (qraft.term, qraft.wake_at) == (1, wake_at)
    qraft.receive(say.PreVote(CLUSTER, 3, 9, 5, 5), NOW + 31)
    assert sent(qraft.take(), say.PreVoteReply)[0].granted, "a granted pre-vote is no vote"


def test_nobody_is_helped_while_a_leader_is_heard() -> None:
    qraft = follower(1, log(THREE), leader=2)
    for now in (NOW + 1, NOW + 29):
        qraft.receive(say.PreVote(CLUSTER, 3, 2, 9, 1), now)
        qraft.receive(say.Vote(CLUSTER, 3, 9, 9, 1), now)
        output = qraft.take()
        assert not sent(output, say.PreVoteReply)[0].granted
        assert not sent(output, say.VoteReply)[0].granted
        assert (qraft.term, qraft.leader) == (1, 2), "a node that was cut off disturbs nobody (B33, B42)"


def test_promise_lasts_as_long_as_the_leader_asked_for() -> None:
    """Two nodes with different node-timeouts: the longer one counts, or the lease would outlast the promise."""
    qraft = participant(1, log(THREE))
    qraft.receive(append(2, 1, 1, 1, promise=90.0), NOW)
    qraft.receive(say.Vote(CLUSTER, 3, 9, 9, 1), NOW + 89)
    assert not sent(qraft.take(), say.VoteReply)[0].granted


def test_former_leader_is_helped_by_those_who_promised_to_it() -> None:
    """B28: it stands because it does not lead any more."""
    qraft = follower(1, log(THREE), leader=2)
    qraft.receive(say.PreVote(CLUSTER, 2, 2, 9, 1), NOW + 1)
    assert sent(qraft.take(), say.PreVoteReply)[0].granted


def test_override_is_heard_although_a_leader_is() -> None:
    """B30: the leader itself asked for this election."""
    qraft = follower(1, log(THREE), leader=2)
    qraft.receive(say.Vote(CLUSTER, 3, 2, 9, 1, True), NOW + 1)
    assert sent(qraft.take(), say.VoteReply)[0].granted


def test_follower_waits_node_timeout_and_a_little_at_random() -> None:
    starts = set()
    for seed in range(30):
        qraft = QRaft(1, SETTINGS, saved(1, log(THREE)), Random(seed), NOW)
        qraft.receive(append(2, 1, 1, 1), NOW)
        qraft.receive(append(2, 1, 1, 1, number=0), NOW)
        now = NOW
        while qraft.role == "follower":
            now = max(now, qraft.wake_at)
            qraft.tick(now)
        starts.add(round(now - NOW, 2))
        assert 30 <= now - NOW <= 35
    assert len(starts) > 20


def candidate(*others: int, node: int = 1) -> QRaft:
    """A node that stands in term 2."""
    qraft = participant(node, log(voters(node, *others)))
    qraft.tick(LATER)
    for other in others:
        qraft.receive(say.PreVoteReply(CLUSTER, other, 1, 2, True), LATER)
    assert (qraft.role, qraft.term) == ("candidate", 2)
    return qraft


def test_candidate_votes_for_itself_durably_before_it_asks() -> None:
    output = candidate(2, 3).take()
    assert votes_saved(output)[-1] == (2, 1)
    assert sent(output, say.Vote, to=None) == [say.Vote(CLUSTER, 1, 2, 1, 1, False)]


def test_pre_votes_of_another_stage_do_not_count() -> None:
    qraft = participant(1, log(THREE))
    qraft.tick(LATER)
    qraft.receive(say.PreVoteReply(CLUSTER, 2, 1, 3, True), LATER)
    assert qraft.role == "pre-candidate"


def test_votes_of_another_term_do_not_count() -> None:
    """B9."""
    qraft = candidate(2, 3)
    qraft.tick(LATER + 11)
    qraft.tick(LATER + 30)
    qraft.receive(say.PreVoteReply(CLUSTER, 2, 2, 3, True), LATER + 30)
    assert (qraft.role, qraft.term) == ("candidate", 3)
    qraft.receive(say.VoteReply(CLUSTER, 2, 2, True, 1), LATER + 30)
    assert qraft.role == "candidate"


def test_one_voter_counts_once_and_others_than_voters_not_at_all() -> None:
    """S4, B25."""
    qraft = candidate(2, 3, 4, 5)
    for _ in range(3):
        qraft.receive(say.VoteReply(CLUSTER, 2, 2, True, 1), LATER)
        qraft.receive(say.VoteReply(CLUSTER, 9, 2, True, 1), LATER)
    assert qraft.role == "candidate"
    qraft.receive(say.VoteReply(CLUSTER, 3, 2, True, 1), LATER)
    assert qraft.role == "leader"


def test_vote_for_another_candidate_that_came_to_the_wrong_host_does_not_count() -> None:
    """Two hosts exchanged their addresses: what was meant for one reaches the other (S4, S5)."""
    qraft = candidate(2, 3)
    qraft.receive(say.VoteReply(CLUSTER, 3, 2, True, 2), LATER)
    assert qraft.role == "candidate"
    qraft.receive(say.VoteReply(CLUSTER, 3, 2, True, 1), LATER)
    assert qraft.role == "leader"


def test_candidate_asks_again_because_datagrams_are_lost() -> None:
    qraft = candidate(2, 3)
    qraft.take()
    qraft.tick(qraft.wake_at)
    assert len(sent(qraft.take(), say.Vote)) == 1


def test_candidate_that_cannot_win_any_more_does_not_wait_for_the_end() -> None:
    qraft = candidate(2, 3)
    for other in (2, 3):
        qraft.receive(say.VoteReply(CLUSTER, other, 2, False, 1), LATER)
    assert qraft.role == "follower"
    qraft.tick(LATER)
    assert LATER < qraft.wake_at < LATER + 10


def test_candidate_follows_the_leader_of_its_term() -> None:
    qraft = candidate(2, 3)
    qraft.receive(append(2, 2, 1, 1), LATER)
    assert (qraft.role, qraft.leader, qraft.term) == ("follower", 2, 2)
    qraft.receive(say.VoteReply(CLUSTER, 3, 2, True, 1), LATER)
    assert qraft.role == "follower"


def test_stepping_down_in_the_same_term_keeps_the_vote() -> None:
    """B22."""
    qraft = candidate(2, 3)
    qraft.receive(append(2, 2, 1, 1), LATER)
    qraft.receive(say.Vote(CLUSTER, 3, 2, 9, 2, True), LATER)
    assert not sent(qraft.take(), say.VoteReply)[0].granted


def test_node_with_a_lower_term_learns_the_term_from_a_refusal() -> None:
    """B27: else it could never help to elect anybody."""
    qraft = participant(1, log(THREE))
    qraft.tick(LATER)
    qraft.receive(say.PreVoteReply(CLUSTER, 2, 7, 2, False), LATER)
    assert (qraft.term, qraft.role) == (7, "follower")
    other = participant(2, log(THREE), term=7)
    other.receive(say.PreVote(CLUSTER, 1, 2, 1, 1), LATER)
    assert sent(other.take(), say.PreVoteReply) == [say.PreVoteReply(CLUSTER, 2, 7, 2, False)]


def test_leader_is_forgotten_when_the_term_moves() -> None:
    """B24."""
    qraft = follower(1, log(THREE), leader=2)
    qraft.receive(say.Vote(CLUSTER, 3, 2, 9, 1, True), NOW + 1)
    assert qraft.leader is None


def test_listener_answers_a_vote_request_and_never_stands() -> None:
    """It may be a voter already by a list that it has not seen."""
    qraft = participant(4, log(voters(1, 2, 3, listeners=[4])))
    qraft.tick(LATER + 1000)
    assert qraft.role == "listener"
    qraft.receive(say.Vote(CLUSTER, 2, 9, 9, 9), LATER + 1000)
    assert sent(qraft.take(), say.VoteReply)[0].granted


def test_only_voter_is_elected_at_once() -> None:
    qraft = participant(1, log(voters(1)))
    assert qraft.wake_at <= NOW
    qraft.tick(NOW)
    assert qraft.role == "leader" and not qraft.ready
    qraft.take()
    assert qraft.ready


def test_goodbye_lets_the_successor_stand_at_once() -> None:
    qraft = follower(3, log(THREE), leader=2)
    qraft.receive(say.Goodbye(CLUSTER, 2, 1, 3), NOW + 1)
    output = qraft.take()
    assert qraft.role == "candidate"
    assert sent(output, say.Vote)[0].override


def test_goodbye_lets_the_others_stand_soon_and_help_at_once() -> None:
    qraft = follower(1, log(THREE), leader=2)
    qraft.receive(say.Goodbye(CLUSTER, 2, 1, 3), NOW + 1)
    assert (qraft.role, qraft.leader) == ("follower", None)
    assert NOW + 1 < qraft.wake_at < NOW + 5
    qraft.receive(say.Vote(CLUSTER, 3, 2, 1, 1), NOW + 1)
    assert sent(qraft.take(), say.VoteReply)[0].granted


@pytest.mark.parametrize("message", [say.Goodbye(CLUSTER, 3, 1, 1), say.Goodbye(CLUSTER, 2, 0, 1)])
def test_goodbye_of_somebody_else_or_of_an_older_term_changes_nothing(message: say.Goodbye) -> None:
    """B26."""
    qraft = follower(1, log(THREE), leader=2)
    qraft.receive(message, NOW + 1)
    assert (qraft.role, qraft.leader) == ("follower", 2)


@pytest.mark.parametrize("message", [say.TimeoutNow(CLUSTER, 3, 1), say.TimeoutNow(CLUSTER, 2, 0)])
def test_word_to_take_over_counts_only_from_the_leader_of_the_term(message: say.TimeoutNow) -> None:
    qraft = follower(1, log(THREE), leader=2)
    qraft.receive(message, NOW + 1)
    assert qraft.role == "follower"


def test_leader_that_learns_of_a_newer_term_helps_nobody_until_its_lease_is_over() -> None:
    """D1: its database needs that time to stop."""
    qraft = leader_of(THREE)
    lease_until = qraft.lease_until
    assert lease_until == pytest.approx(STARTED + 20)
    qraft.receive(say.AppendRefusal(CLUSTER, 2, 9, 0, 0, 1, 0), STARTED + 1)
    assert (qraft.role, qraft.term) == ("follower", 9)
    for now, granted in ((lease_until - 1, False), (lease_until + 0.1, True)):
        qraft.receive(say.Vote(CLUSTER, 3, 10, 99, 9), now)
        assert sent(qraft.take(), say.VoteReply)[-1].granted is granted


def test_stranger_with_a_high_term_does_not_depose_the_leader() -> None:
    """B33."""
    qraft = leader_of(THREE)
    qraft.receive(say.AppendRefusal(CLUSTER, 9, 99, 0, 0, 1, 0), STARTED + 1)
    qraft.receive(say.PreVote(CLUSTER, 9, 99, 99, 99), STARTED + 1)
    qraft.receive(say.Vote(CLUSTER, 9, 99, 99, 99), STARTED + 1)
    assert (qraft.role, qraft.term) == ("leader", 2)


def test_deposed_leader_stands_again_soon() -> None:
    qraft = leader_of(THREE)
    qraft.receive(say.AppendRefusal(CLUSTER, 2, 9, 0, 0, 1, 0), STARTED + 1)
    assert qraft.wake_at < STARTED + 3


def test_two_leaders_in_one_term_stop_the_node() -> None:
    """S1: a broken invariant is not survived."""
    qraft = follower(1, log(THREE), leader=2)
    with pytest.raises(AssertionError, match="S1"):
        qraft.receive(append(3, 1, 1, 1), NOW)


@pytest.mark.parametrize("scale", [1.0, 0.01, 0.001])
def test_timers_scale_down_to_tens_of_milliseconds(scale: float) -> None:
    fast = replace(
        SETTINGS,
        node_timeout=30 * scale,
        heartbeat_interval=10 * scale,
        pre_voting_timeout=10 * scale,
        leader_voting_timeout=10 * scale,
        replication_retry_interval=scale,
    )
    qraft = leader_of(THREE, settings=fast)
    assert qraft.lease_until - STARTED == pytest.approx(20 * scale)
    qraft.tick(STARTED + 10 * scale)
    number = newest_round(qraft.take())
    confirm(qraft, 2, 2, number, STARTED + 10.1 * scale)
    assert qraft.lease_until - STARTED == pytest.approx(30 * scale)


def test_heartbeat_that_is_longer_than_node_timeout_is_refused() -> None:
    """B32."""
    with pytest.raises(AssertionError, match="heard within node-timeout"):
        replace(SETTINGS, heartbeat_interval=30.0)


def test_who_is_forbidden_to_stand_does_not_and_votes_for_others_all_the_same() -> None:
    qraft = participant(1, log(THREE))
    qraft.veto = "2 of 3 expected votes are here, and all are waited for"
    for seconds in range(0, 200, 5):
        qraft.tick(LATER + seconds)
        assert qraft.role == "follower" and not sent(qraft.take(), say.PreVote)
    qraft.receive(say.Vote(CLUSTER, 2, 5, 1, 1), LATER + 200)
    assert sent(qraft.take(), say.VoteReply)[0].granted
    qraft.veto = ""
    qraft.tick(LATER + 400)
    assert sent(qraft.take(), say.PreVote)


def test_candidate_that_is_forbidden_to_stand_gives_up() -> None:
    qraft = participant(1, log(THREE))
    qraft.tick(LATER + 100)
    assert qraft.role == "pre-candidate"
    qraft.veto = "all are waited for"
    qraft.receive(say.PreVoteReply(CLUSTER, 2, 1, 2, True), LATER + 100.1)
    qraft.tick(LATER + 100.1)
    assert qraft.role == "follower" and not sent(qraft.take(), say.Vote)


def test_who_is_forbidden_to_stand_takes_over_from_no_leader() -> None:
    qraft = follower(2, log(THREE), leader=1)
    assert qraft.leader == 1
    qraft.veto = "all are waited for"
    qraft.receive(say.TimeoutNow(CLUSTER, 1, qraft.term), NOW + 2)
    qraft.receive(say.Goodbye(CLUSTER, 1, qraft.term, 2), NOW + 2)
    assert qraft.role == "follower" and not sent(qraft.take(), say.Vote)
