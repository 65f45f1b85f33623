"""How voters that are lost, or stop in order, come to rest and are back: last man standing, and votes in an office."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest
from consensus.stage import (
    CLUSTER,
    FIVE,
    SETTINGS,
    STARTED,
    THREE,
    beat,
    confirm,
    entry,
    leader_of,
    log,
    participant,
    sent,
    voters,
)
from consensus.world import member
from msgspec.structs import replace as with_fields
from qluster.consensus import messages as say
from qluster.consensus.members import LEVEL_MAX, Members
from qluster.consensus.qraft import QRaft
from qluster.consensus.refusals import ChangeRefused

LASTING = replace(SETTINGS, last_man_standing=True, last_man_standing_window=60.0)
TIED = replace(SETTINGS, tie_breaker="lowest")


def all_count(qraft: QRaft) -> QRaft:
    """All members have said that their versions count votes."""
    for one in qraft.members:
        qraft.counts(one.node, LEVEL_MAX)
    return qraft


def heavy(**votes: int) -> Members:
    members = THREE
    for name, count in votes.items():
        members = members.with_member(with_fields(member(int(name[1:])), votes=count))
    return members


# --- last man standing -----------------------------------------------------------------------


def test_voters_that_nobody_hears_for_the_window_rest_together() -> None:
    qraft = leader_of(FIVE, settings=LASTING)
    beat(qraft, STARTED + 59, 2, 3, silent=(4, 5))
    assert qraft.members.voters == {1, 2, 3, 4, 5}
    beat(qraft, STARTED + 90, 2, 3, silent=(4, 5))
    assert qraft.members.voters == {1, 2, 3} and qraft.members.listeners == {4, 5}
    assert qraft.members.configured == 5
    assert qraft.commit_index >= qraft.members_index


def test_list_is_committed_by_those_of_before_and_those_who_are_left() -> None:
    """Fault shrink-by-new-rule: three are needed of five, and two of three, all three here."""
    qraft = leader_of(FIVE, settings=LASTING)
    beat(qraft, STARTED + 59, 2, 3, silent=(4, 5))
    before = qraft.members_index
    while qraft.members_index == before:
        now = max(qraft.wake_at, STARTED + 59)
        qraft.tick(now)
        output = qraft.take()
        if qraft.members_index != before:
            break
        number = max((message.round for message in sent(output, say.Append)), default=0)
        for node in (2, 3):
            if number:
                qraft.receive(say.AppendReply(CLUSTER, node, qraft.term, number, qraft.last_index, (4, 5)), now)
        qraft.take()
    confirm(qraft, 2, qraft.members_index, 0, now)
    assert qraft.commit_index < qraft.members_index
    confirm(qraft, 3, qraft.members_index, 0, now)
    assert qraft.commit_index >= qraft.members_index


def test_two_that_are_left_of_three_go_on_and_one_of_two_does_not() -> None:
    qraft = leader_of(THREE, settings=LASTING)
    beat(qraft, STARTED + 90, 2, silent=(3,))
    assert qraft.members.voters == {1, 2}
    beat(qraft, STARTED + 300, silent=(2, 3))
    assert qraft.role != "leader" and qraft.members.voters == {1, 2}


def test_with_a_tie_breaker_one_goes_on_alone() -> None:
    qraft = all_count(leader_of(THREE, settings=replace(LASTING, tie_breaker="lowest")))
    beat(qraft, STARTED + 100, 2, silent=(3,))
    assert (qraft.members.voters, qraft.members.tie) == ({1, 2}, 1)
    beat(qraft, STARTED + 250, silent=(2, 3))
    assert (qraft.members.voters, qraft.members.tie, qraft.role) == ({1}, 0, "leader")


def test_only_who_is_heard_by_nobody_rests() -> None:
    qraft = leader_of(FIVE, settings=LASTING)
    beat(qraft, STARTED + 150, 2, 3, 4)
    assert len(qraft.members.voters) == 5


def test_who_rests_is_a_voter_again_when_it_keeps_up() -> None:
    qraft = leader_of(FIVE, settings=LASTING)
    beat(qraft, STARTED + 90, 2, 3, 4, silent=(5,))
    assert qraft.members.voters == {1, 2, 3, 4}
    beat(qraft, STARTED + 150, 2, 3, 4, 5)
    assert qraft.members.voters == {1, 2, 3, 4, 5}


def test_nobody_rests_where_the_rest_could_not_commit() -> None:
    factor = replace(LASTING, replication_factor=4)
    qraft = leader_of(voters(1, 2, 3, 4, 5, replication_factor=4), settings=factor)
    beat(qraft, STARTED + 200, 2, 3, silent=(4, 5))
    assert len(qraft.members.voters) == 5, "four copies are asked for, and three nodes are left"


# --- stopping in order ------------------------------------------------------------------------


def test_voter_that_stops_rests_and_is_not_promoted_while_it_stops() -> None:
    qraft = leader_of(voters(1, 2))
    qraft.rest(2, STARTED)
    assert qraft.members.voters == {1}
    qraft.take()
    assert qraft.commit_index < qraft.members_index, "both of before must have it"
    confirm(qraft, 2, qraft.members_index, 0, STARTED)
    assert qraft.commit_index >= qraft.members_index
    beat(qraft, STARTED + 25, 2)
    assert qraft.members.voters == {1}
    beat(qraft, STARTED + 60, 2)
    assert qraft.members.voters == {1, 2}


def test_word_of_who_does_not_vote_changes_nothing() -> None:
    qraft = leader_of(voters(1, 2, listeners=[3]))
    before = qraft.members
    qraft.rest(3, STARTED)
    qraft.rest(9, STARTED)
    assert qraft.members == before


# --- votes ------------------------------------------------------------------------------------


def test_entry_counts_when_the_votes_of_its_holders_do() -> None:
    """Fault unweighted-commit: two of three nodes have it, with two of five votes."""
    members = heavy(n3=3)
    qraft = leader_of(members)
    index, _ = qraft.propose("command", b"x", STARTED)
    qraft.take()
    confirm(qraft, 2, index, 0, STARTED)
    assert qraft.commit_index < index
    confirm(qraft, 3, index, 0, STARTED)
    assert qraft.commit_index == index


def test_votes_elect_and_not_voters() -> None:
    members = heavy(n3=3)
    qraft = participant(1, log(members))
    qraft.tick(STARTED)
    qraft.receive(say.PreVoteReply(CLUSTER, 2, 1, 2, True), STARTED)
    assert qraft.role == "pre-candidate", "two of five votes"
    qraft.receive(say.PreVoteReply(CLUSTER, 3, 1, 2, True), STARTED)
    assert qraft.role == "candidate"


def test_change_of_votes_waits_for_the_votes_of_before() -> None:
    """Fault votes-without-log: node 3 alone would have three of five."""
    qraft = all_count(leader_of(THREE))
    index, _ = qraft.change_members(heavy(n3=3), STARTED)
    qraft.take()
    confirm(qraft, 2, index, 0, STARTED)
    assert qraft.commit_index < index, "two of three of before, two of five of after"
    confirm(qraft, 3, index, 0, STARTED)
    assert qraft.commit_index >= index


def test_nobody_writes_votes_while_a_node_has_not_said_that_it_counts_them() -> None:
    qraft = leader_of(THREE)
    qraft.counts(2, 1)
    with pytest.raises(ChangeRefused, match="nodes 3 have not said"):
        qraft.change_members(heavy(n3=3), STARTED)
    qraft.counts(3, 1)
    qraft.change_members(heavy(n3=3), STARTED)
    assert qraft.members.counted


# --- the tie-breaker --------------------------------------------------------------------------


def test_tie_breaker_comes_into_the_list_when_all_count_votes() -> None:
    qraft = leader_of(voters(1, 2, 3, 4), settings=TIED)
    beat(qraft, STARTED + 60, 2, 3, 4)
    assert qraft.members.tie == 0
    all_count(qraft)
    beat(qraft, STARTED + 120, 2, 3, 4)
    assert qraft.members.tie == 1
    assert qraft.commit_index >= qraft.members_index


def test_half_commits_with_the_tie_breaker_and_not_without() -> None:
    members = with_fields(voters(1, 2, 3, 4), tie=1)
    for node, other, committed in [(1, 2, True), (2, 3, False)]:
        qraft = leader_of(members, node=node, settings=TIED)
        index, _ = qraft.propose("command", entry(9, 1).payload, STARTED)
        qraft.take()
        confirm(qraft, other, index, 0, STARTED)
        assert (qraft.commit_index == index) == committed


def test_tie_breaker_that_is_removed_gives_way_in_the_same_list() -> None:
    qraft = all_count(leader_of(with_fields(voters(1, 2, 3, 4), tie=1), node=2, settings=TIED))
    qraft.change_members(qraft.members.without(1), STARTED)
    assert qraft.members.tie == 2


def test_version_that_does_not_count_yet_holds_up_no_other_change() -> None:
    qraft = leader_of(voters(1, 2, 3, 4), settings=TIED)
    qraft.change_members(qraft.members.without(4), STARTED)
    assert (qraft.members.voters, qraft.members.tie) == ({1, 2, 3}, 0)
