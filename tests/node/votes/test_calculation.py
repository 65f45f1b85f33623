"""The formulas, and each step of the calculation on live nodes."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster.votes.calculation import is_half, next_quorum, quorum_of
from qluster.votes.options import DeviceOptions, Options
from qluster.votes.view import Why
from votes.model import Cluster, even


@pytest.mark.parametrize(("expected", "quorum"), list(enumerate((1, 2, 2, 3, 3, 4, 4, 5, 5), 1)))
def test_quorum_is_more_than_half(expected: int, quorum: int) -> None:
    assert quorum_of(expected, 0) == quorum
    assert quorum_of(0, expected) == quorum
    assert quorum_of(expected, expected) == expected // 2 + 1


@pytest.mark.parametrize(("before", "may_fall", "two_node", "voters", "quorum"), [
    (0, False, False, 4, 3),
    (4, False, False, 4, 4),
    (4, True, False, 4, 3),
    (4, False, True, 2, 1),
    (4, False, True, 3, 4),
])
def test_quorum_falls_only_when_it_may(before: int, may_fall: bool, two_node: bool, voters: int, quorum: int) -> None:
    assert next_quorum(5, 4, before=before, may_fall=may_fall, two_node=two_node, voters=voters) == quorum


@pytest.mark.parametrize(("total", "expected", "lost", "quorum", "half"), [
    (2, 4, 2, 3, True), (2, 5, 2, 3, True), (1, 4, 2, 3, False), (3, 4, 1, 3, False),
    (2, 5, 3, 3, False), (1, 2, 1, 2, True),
])
def test_half(total: int, expected: int, lost: int, quorum: int, half: bool) -> None:
    assert is_half(total, expected, lost, quorum) is half


def test_expected_votes_grow_with_those_that_come() -> None:
    """Step 1: more votes than were expected are a larger cluster."""
    cluster = Cluster(Options(expected_votes=2), start=False)
    for node in (1, 2, 3, 4, 5):
        cluster.up(node)
    assert [cluster.figures(node) for node in (1, 5)] == [(5, 5, 3, True)] * 2
    cluster.split({1: 1, 2: 1})
    assert cluster.figures(1) == (5, 2, 3, False)


def test_device_votes_are_expected_whether_cast_or_not() -> None:
    cluster = Cluster(Options(nodes=even(2), device=DeviceOptions(votes=1)))
    assert cluster.figures(1) == (3, 2, 2, True)


def test_the_member_that_expects_most_counts() -> None:
    """Step 2: a node that was configured for fewer takes part in the larger cluster."""
    cluster = Cluster(Options(nodes=even(3), expected_votes=7))
    assert cluster.figures(1) == (7, 3, 4, False)
    late = Cluster(Options(nodes=even(3)))
    late.nodes[3].set_expected(4, 0.0)
    late.deliver()
    assert [late.view(node).highest_expected for node in (1, 2, 3)] == [4, 4, 4]


def test_quorum_does_not_fall_when_nodes_leave() -> None:
    """Step 4: five that lose two still need three."""
    cluster = Cluster(Options(nodes=even(5)))
    cluster.split({4: 1, 5: 1})
    assert cluster.figures(1) == (5, 3, 3, True)
    cluster.split({3: 1})
    assert cluster.figures(1) == (5, 2, 3, False)


def test_two_node_needs_one_vote_of_two() -> None:
    """Step 5. Both halves of a divided pair are quorate: corosync leaves it to fencing who survives."""
    cluster = Cluster(Options(nodes=even(2), two_node=True))
    cluster.split({2: 1})
    assert cluster.figures(1) == (2, 1, 1, True)
    assert cluster.quorate() == {1, 2}


def test_wait_for_all_is_set_again_when_quorum_is_lost() -> None:
    """Step 10: three nodes, two die, one returns, and still all three are waited for."""
    cluster = Cluster(Options(nodes=even(3), wait_for_all=True))
    assert cluster.quorate() == {1, 2, 3}
    cluster.down(3)
    assert cluster.quorate() == {1, 2}
    cluster.down(2)
    assert cluster.view(1).why is Why.TOO_FEW
    cluster.up(2)
    assert cluster.figures(1) == (3, 2, 2, False)
    assert cluster.view(1).why is Why.WAITING
    assert cluster.view(1).reason == "2 of 3 expected votes are here, and all are waited for"
    cluster.up(3)
    assert cluster.quorate() == {1, 2, 3}


def test_a_node_that_returns_to_a_quorate_part_need_not_wait_for_all() -> None:
    cluster = Cluster(Options(nodes=even(5), wait_for_all=True))
    cluster.down(5)
    cluster.down(4)
    cluster.up(4)
    assert cluster.quorate() == {1, 2, 3, 4}


def test_members_that_change_at_once_are_no_loss_of_quorum() -> None:
    """While the newcomers are still to be heard nothing is lost yet, so nobody begins to wait for all."""
    cluster = Cluster(Options(nodes=even(5), wait_for_all=True))
    cluster.split({4: 1, 5: 1})
    cluster.split({1: 2, 2: 2, 4: 0, 5: 0})
    assert cluster.words() == {
        "1": "inquorate 1+2", "2": "inquorate 1+2",
        "3": "quorate 3+4+5", "4": "quorate 3+4+5", "5": "quorate 3+4+5",
    }


def test_cancelling_the_wait_is_for_all_members() -> None:
    cluster = Cluster(Options(nodes=even(3), wait_for_all=True), start=False)
    cluster.up(1)
    cluster.up(2)
    assert cluster.quorate() == frozenset()
    cluster.nodes[1].cancel_waiting(cluster.now)
    cluster.deliver()
    assert cluster.quorate() == {1, 2}


def test_a_node_without_votes_is_a_member_and_adds_nothing() -> None:
    cluster = Cluster(Options(nodes=((1, 1), (2, 1), (3, 0))))
    assert cluster.figures(3) == (2, 2, 2, True)
    cluster.down(2)
    assert cluster.words() == {"1": "inquorate 1+3", "3": "inquorate 1+3"}


def test_a_node_that_lost_quorum_takes_over_what_a_quorate_one_expects() -> None:
    cluster = Cluster(Options(nodes=even(5)))
    cluster.split({4: 1, 5: 1})
    assert cluster.nodes[1].set_expected(3, 0.0) == ""
    cluster.deliver()
    assert cluster.figures(1) == (3, 3, 2, True)
    cluster.split({4: 0})
    assert cluster.figures(4) == (4, 4, 3, True)
    assert cluster.figures(1) == (4, 4, 3, True)


def test_gained_and_lost_are_said_once_with_the_figures() -> None:
    cluster = Cluster(Options(nodes=even(3)))
    cluster.split({2: 1, 3: 2})
    said = [(event.quorate, event.why, event.reason) for node, event in cluster.events if node == 1]
    assert said == [
        (True, Why.VOTES, "3 of 3 expected votes are here and 2 are needed"),
        (False, Why.TOO_FEW, "1 of 3 expected votes are here and 2 are needed"),
    ]


def test_the_highest_expectation_is_kept_over_a_restart() -> None:
    options = Options(nodes=even(2), expected_votes_tracking=True)
    cluster = Cluster(options)
    cluster.options = Options(expected_votes=2, expected_votes_tracking=True)
    cluster.up(3)
    assert cluster.tracked == {1: 3, 2: 3, 3: 3}
    for node in (3, 2, 1):
        cluster.down(node)
    cluster.up(1)
    assert cluster.figures(1) == (3, 1, 2, False)
