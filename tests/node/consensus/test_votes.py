"""Changes of how votes are counted: who may write them, when, and what is left as it was."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from consensus.stage import CLUSTER, STARTED, beat, follower, leader_of, log, participant, sent, voters
from consensus.world import member
from msgspec.structs import replace
from qluster.cluster.messages import COUNTING
from qluster.consensus import messages as say
from qluster.consensus.members import LEVEL_MAX, Members
from qluster.consensus.membership import fault_of_change, fault_of_version, tie_breaker
from qluster.consensus.remarks import remarks, resting, tie_in_force

THREE, FOUR = voters(1, 2, 3), voters(1, 2, 3, 4)


def with_votes(members: Members, **votes: int) -> Members:
    """With other votes, given as n1=3."""
    for name, count in votes.items():
        one = members.get(int(name[1:]))
        assert one is not None
        members = members.with_member(replace(one, votes=count))
    return members


@pytest.mark.parametrize(
    ("rule", "members", "expected"),
    [
        ("off", FOUR, 0),
        ("lowest", FOUR, 1),
        ("highest", FOUR, 4),
        ("9 3 1", FOUR, 3),
        ("9", FOUR, 0),
        ("lowest", with_votes(FOUR, n1=0), 2),
        ("lowest", FOUR.rested({1, 2}), 3),
        ("lowest", voters(1), 0),
        ("highest", THREE, 3),
    ],
)
def test_rule_names_a_voter_of_the_list(rule: str, members: Members, expected: int) -> None:
    assert tie_breaker(members, rule) == expected


def test_nobody_writes_votes_before_all_have_said_that_they_count_them() -> None:
    """A voter of a version that counts nodes would count another electorate, and so would its snapshots."""
    heavy = with_votes(THREE, n3=3)
    assert "nodes 2, 3 have not said" in fault_of_version(THREE, heavy, {1: 1})
    assert fault_of_version(THREE, heavy, {1: 1, 2: 1, 3: 1}) == ""
    assert fault_of_version(THREE, THREE.without(3), {1: 1}) == "", "nothing new is said"
    with_listener = voters(1, 2, 3, listeners=[4])
    voters_know = {1: 1, 2: 1, 3: 1}
    assert "nodes 4 have not said" in fault_of_version(with_listener, with_votes(with_listener, n3=3), voters_know)
    leaves = replace(THREE.without(3), tie=1)
    assert "nodes 3 have not said" in fault_of_version(THREE, leaves, {1: 1, 2: 3}), "it counts until that is committed"


def test_where_votes_are_counted_only_who_comes_is_asked() -> None:
    """The others have said so, or were not admitted: a leader that is new need not wait for who is away."""
    heavy = with_votes(FOUR, n3=3)
    assert fault_of_version(heavy, heavy.rested({4}), {1: 1}) == ""
    assert "nodes 4 have not" in fault_of_version(heavy.rested({4}), heavy, {1: 1, 2: 1, 3: 1})
    assert "nodes 5 have not" in fault_of_version(heavy, heavy.with_member(member(5, voter=False)), {1: 1, 2: 1, 3: 1})


OLDER, NEWER = {1: 4, 2: 4, 3: 1}, {1: 4, 2: 4, 3: 4}
"""Node 3 has a version that counts votes, and knows neither an arbiter nor two nodes with fencing."""


@pytest.mark.parametrize(("new", "level"), [
    (with_votes(THREE, n3=2), 1), (replace(with_votes(THREE, n3=2), tie=1), 1),
    (replace(with_votes(THREE, n3=2), way="memory", device_uid=7, device=1), 2),
    (replace(with_votes(THREE, n3=2), way="episode", device=1), 3), (replace(voters(1, 2), two_node=True), 3),
    (replace(with_votes(THREE, n3=2), way="episode", device=1, device_uid=7), 4),
], ids=["votes", "tie", "memory", "episode", "two-node", "which arbiter"])  # fmt: skip
def test_each_list_asks_for_the_level_that_it_needs_itself(new: Members, level: int) -> None:
    """Not for that of the newest feature: in an upgrade the list goes on to change as far as all understand it."""
    assert new.level == level and not new.fault()
    assert (fault_of_version(THREE, new, OLDER) == "") is (level == 1)
    assert fault_of_version(THREE, new, NEWER) == ""


def test_where_votes_are_counted_already_a_newer_rule_is_asked_of_everybody_all_the_same() -> None:
    """That they count votes says nothing of an arbiter: who does not know it would count another electorate."""
    heavy = with_votes(THREE, n3=2)
    with_memory = replace(heavy, way="memory", device_uid=7, device=1)
    assert "nodes 3 have not said that their version counts an arbiter's memory" in (
        fault_of_version(heavy, with_memory, OLDER))
    assert fault_of_version(with_memory, heavy, OLDER) == "", "to take it back is what an older version needs"


def test_level_is_what_nodes_say_of_themselves() -> None:
    assert LEVEL_MAX == COUNTING



@pytest.mark.parametrize(
    ("old", "new", "alive", "reason"),
    [
        (THREE, with_votes(THREE, n3=3), {1, 2}, "3 voters 2 with a weight of 2"),
        (THREE, with_votes(THREE, n3=3), {1, 3}, ""),
        (THREE, with_votes(THREE, n1=0, n2=0, n3=0), {1, 2, 3}, "no voter has a vote"),
        (with_votes(THREE, n3=3), THREE, {1, 2}, ""),
        (FOUR, replace(FOUR, tie=4), {1, 2, 3}, ""),
        (replace(FOUR, tie=1), replace(FOUR, tie=4), {1, 2}, "would be alive"),
        (replace(FOUR, tie=1), replace(FOUR.rested({3, 4}), tie=1), {1, 2}, ""),
        (FOUR, FOUR.rested({3, 4}), {1}, "needed to commit"),
        (replace(THREE, replication_factor=3), replace(THREE, replication_factor=3).rested({3}), {1, 2}, "lower it"),
    ],
)
def test_change_that_leaves_the_living_short_is_refused(
    old: Members, new: Members, alive: set[int], reason: str
) -> None:
    fault = fault_of_change(old, new, alive)
    assert reason in fault and bool(reason) == bool(fault), fault


def test_what_is_easily_overlooked_is_said() -> None:
    assert remarks(THREE, "off") == []
    (heavy,) = remarks(with_votes(THREE, n1=3), "off")
    assert "node 1 has 3 of 5 votes" in heavy and "replication-factor to 2" in heavy
    assert remarks(replace(with_votes(THREE, n1=3), replication_factor=2), "off") == []
    (odd,) = remarks(replace(THREE, tie=1), "lowest")
    assert "no effect" in odd and "odd (3)" in odd
    assert remarks(replace(FOUR, tie=1), "lowest") == []
    (other,) = remarks(FOUR, "lowest")
    assert "asks for node 1, and none is in force" in other
    assert "names no node that votes" in remarks(FOUR, "9")[0]
    assert remarks(voters(1), "lowest") == []


def test_half_is_enough_only_where_there_is_a_half() -> None:
    assert tie_in_force(replace(FOUR, tie=2)) == 2
    assert tie_in_force(replace(THREE, tie=2)) is None
    assert resting(FOUR.rested({3})) == [3]


# --- a veto ----------------------------------------------------------------------------------


def test_veto_keeps_a_node_from_standing_and_says_why_once() -> None:
    """What is calculated at run time, as wait_for_all is, may only forbid."""
    qraft = participant(2, log(THREE))
    qraft.veto = "waits for all"
    qraft.tick(STARTED)
    qraft.tick(STARTED + 60)
    output = qraft.take()
    assert sent(output, say.PreVote) == [] and qraft.role == "follower"
    assert output.log.count("does-not-stand reason='waits for all'") == 1
    qraft.veto = ""
    qraft.tick(STARTED + 120)
    assert len(sent(qraft.take(), say.PreVote)) == 1


def test_veto_keeps_nobody_from_granting_its_vote() -> None:
    """Its log counts for others."""
    qraft = participant(2, log(THREE))
    qraft.veto = "waits for all"
    qraft.receive(say.Vote(CLUSTER, 3, 2, 9, 2), STARTED)
    (reply,) = sent(qraft.take(), say.VoteReply)
    assert reply.granted


def test_veto_is_obeyed_when_a_leader_hands_over_or_leaves() -> None:
    for message in (say.TimeoutNow(CLUSTER, 3, 1), say.Goodbye(CLUSTER, 3, 1, 2)):
        qraft = follower(2, log(THREE), leader=3)
        qraft.veto = "waits for all"
        qraft.receive(message, STARTED)
        assert qraft.role == "follower" and sent(qraft.take(), say.Vote) == []


def test_veto_ends_no_office() -> None:
    qraft = leader_of(THREE)
    qraft.veto = "waits for all"
    beat(qraft, STARTED + 60, 2, 3)
    assert qraft.role == "leader"
