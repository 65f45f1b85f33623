"""How a leader hands its office over, and how it resigns."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from math import inf

import pytest
from consensus.stage import (
    FIVE,
    SETTINGS,
    STARTED,
    THREE,
    Middle,
    Prompt,
    beat,
    confirm,
    leader_of,
    log,
    saved,
    sent,
    voters,
)
from consensus.world import CLUSTER
from qluster.consensus import messages as say
from qluster.consensus.qraft import ChangeRefused, NotLeading, QRaft, TransferRefused


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
