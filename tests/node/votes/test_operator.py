"""What an operator sets at run time, and what is refused."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest
from qluster.votes.information import Flag
from qluster.votes.options import DeviceOptions, Options
from votes.model import Cluster, even

FIVE = Options(nodes=even(5))


@pytest.mark.parametrize(("votes", "words"), [
    (2, "fewer than the 3 that are here. Use at least 3."),
    (6, "with 6 expected votes 4 are needed, and 3 are here: the cluster would lose its quorum. Use at most 5."),
    (0, "0 votes cannot be expected."),
    (10**9, "cannot be expected"),
])
def test_expected_votes_that_are_refused(votes: int, words: str) -> None:
    cluster = Cluster(FIVE)
    cluster.split({4: 1, 5: 1})
    assert words in cluster.nodes[1].set_expected(votes, 0.0)
    cluster.deliver()
    assert cluster.figures(1) == (5, 3, 3, True)


@pytest.mark.parametrize(("votes", "quorum"), [(3, 2), (4, 3), (5, 3)])
def test_expected_votes_that_are_set_on_all_members(votes: int, quorum: int) -> None:
    cluster = Cluster(FIVE)
    cluster.split({4: 1, 5: 1})
    assert cluster.nodes[2].set_expected(votes, 0.0) == ""
    cluster.deliver()
    assert {cluster.figures(node) for node in (1, 2, 3)} == {(votes, 3, quorum, True)}


def test_an_operator_makes_a_part_quorate_that_was_not() -> None:
    cluster = Cluster(FIVE)
    cluster.split({3: 1, 4: 2, 5: 3})
    assert cluster.quorate() == frozenset()
    assert cluster.nodes[1].set_expected(2, 0.0) == ""
    cluster.deliver()
    assert cluster.quorate() == {1, 2}


def test_a_part_without_quorum_may_expect_more() -> None:
    cluster = Cluster(FIVE)
    cluster.split({3: 1, 4: 2, 5: 3})
    assert cluster.nodes[1].set_expected(9, 0.0) == ""
    cluster.deliver()
    assert cluster.figures(2) == (9, 2, 5, False)


def test_expected_votes_rise_again_with_those_that_return() -> None:
    cluster = Cluster(FIVE)
    cluster.split({4: 1, 5: 1})
    cluster.nodes[1].set_expected(3, 0.0)
    cluster.deliver()
    cluster.join(0, 1)
    assert {cluster.figures(node) for node in cluster.nodes} == {(5, 5, 3, True)}


def test_tracked_votes_are_not_fallen_below_by_an_operator() -> None:
    cluster = Cluster(replace(FIVE, expected_votes_tracking=True))
    cluster.split({4: 1, 5: 1})
    assert cluster.nodes[1].set_expected(3, 0.0) == ""
    cluster.deliver()
    assert [cluster.figures(node)[:3] for node in (1, 2, 3)] == [(5, 3, 3)] * 3


@pytest.mark.parametrize(("node", "votes", "words"), [
    (9, 1, "node 9 is not known here. Name one of 1, 2, 3, 4, 5."),
    (1, -1, "Use 0 to 1000."),
    (1, 1001, "Use 0 to 1000."),
    (3, 0, "there are 2 here and 3 are needed: the cluster would lose its quorum. Lower the expected votes first."),
])
def test_votes_of_a_node_that_are_refused(node: int, votes: int, words: str) -> None:
    cluster = Cluster(FIVE)
    cluster.split({4: 1, 5: 1})
    assert words in cluster.nodes[1].set_votes(node, votes, 0.0)
    cluster.deliver()
    assert cluster.figures(1) == (5, 3, 3, True)


def test_votes_of_a_node_that_are_set_on_all_members() -> None:
    cluster = Cluster(FIVE)
    assert cluster.nodes[2].set_votes(1, 3, 0.0) == ""
    cluster.deliver()
    assert {cluster.figures(node) for node in cluster.nodes} == {(7, 7, 4, True)}
    cluster.split({2: 1, 3: 1, 4: 1, 5: 1})
    assert cluster.quorate() == {2, 3, 4, 5}


def test_two_node_can_lose_votes_of_one() -> None:
    cluster = Cluster(Options(nodes=even(2), two_node=True))
    assert cluster.nodes[1].set_votes(2, 0, 0.0) == ""
    cluster.deliver()
    assert cluster.figures(1) == (2, 1, 1, True)
    assert "less than half" in cluster.nodes[1].set_votes(1, 10, 0.0)


def test_a_clean_stop_lowers_what_is_expected_but_not_below_what_is_configured() -> None:
    cluster = Cluster(Options(nodes=even(3), allow_downscale=True))
    for node in (4, 5):
        cluster.up(node)
    assert cluster.figures(1) == (5, 5, 3, True)
    figures = []
    for node in (5, 4, 3):
        cluster.down(node, clean=True)
        figures.append(cluster.figures(1))
    assert figures == [(4, 4, 3, True), (3, 3, 2, True), (3, 2, 2, True)]
    assert cluster.view(1).nodes[4].state.name == "DEAD"


def test_a_clean_stop_without_downscale_is_like_any_other() -> None:
    cluster = Cluster(FIVE)
    cluster.down(5, clean=True)
    assert cluster.figures(1) == (5, 4, 3, True)


def test_a_node_in_the_configuration_more_is_expected_on_all_members() -> None:
    cluster = Cluster(Options(nodes=even(2)))
    assert cluster.nodes[1].reload(Options(nodes=even(3)), 0.0) == []
    cluster.deliver()
    assert [cluster.figures(node) for node in (1, 2)] == [(3, 2, 2, True)] * 2


def test_a_node_in_the_configuration_less_lowers_quorum() -> None:
    cluster = Cluster(FIVE)
    cluster.split({4: 1, 5: 1})
    cluster.nodes[1].reload(Options(nodes=even(3)), 0.0)
    cluster.deliver()
    assert [cluster.figures(node) for node in (1, 2, 3)] == [(3, 3, 2, True)] * 3


def test_other_votes_in_the_configuration_of_this_node_reach_all() -> None:
    cluster = Cluster(FIVE)
    cluster.nodes[1].reload(Options(nodes=((1, 3), *even(5)[1:])), 0.0)
    cluster.deliver()
    assert {cluster.figures(node) for node in cluster.nodes} == {(7, 7, 4, True)}


def test_a_configuration_with_faults_changes_nothing() -> None:
    cluster = Cluster(FIVE)
    found = cluster.nodes[1].reload(replace(FIVE, two_node=True, wait_for_all=True), 0.0)
    assert sorted(fault.key for fault in found) == ["two_node", "wait_for_all"]
    cluster.deliver()
    assert cluster.nodes[1].options == FIVE


def test_two_node_begins_and_ends_while_running() -> None:
    cluster = Cluster(Options(nodes=even(2)))
    for node in cluster.nodes:
        assert cluster.nodes[node].reload(Options(nodes=even(2), two_node=True), 0.0) == []
    cluster.deliver()
    assert cluster.view(1).flags == ("2Node", "Quorate", "WaitForAll")
    cluster.down(2)
    assert cluster.quorate() == {1}
    assert cluster.nodes[1].reload(Options(nodes=even(2)), 0.0) == []
    cluster.deliver()
    assert "WaitForAll" not in cluster.view(1).flags


def test_who_waits_for_all_ceases_to_when_two_node_ends() -> None:
    cluster = Cluster(Options(nodes=even(2), two_node=True), start=False)
    cluster.up(1)
    assert cluster.view(1).nodes[0].flags & Flag.WAITS_FOR_ALL
    assert cluster.nodes[1].reload(Options(nodes=even(2)), 0.0) == []
    assert not cluster.view(1).nodes[0].flags & Flag.WAITS_FOR_ALL


def test_a_device_in_use_is_not_taken_away_by_a_configuration() -> None:
    options = Options(nodes=even(2), device=DeviceOptions(votes=1))
    cluster = Cluster(options)
    cluster.register([1])
    without = Options(nodes=even(2))
    assert [fault.key for fault in cluster.nodes[1].reload(without, 0.0)] == ["device"]
    cluster.nodes[1].unregister(0.0)
    cluster.deliver()
    assert cluster.nodes[1].reload(without, 0.0) == []
    assert cluster.view(1).device_votes == 0
