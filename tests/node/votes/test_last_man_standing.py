"""What is left becomes what is expected, after a window without further change."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from qluster.votes.options import Options
from votes.model import Cluster, even

LMS = Options(nodes=even(8), last_man_standing=True, wait_for_all=True)


def test_cascade() -> None:
    cluster = Cluster(LMS)
    figures = []
    for gone in ((8, 7, 6), (5, 4), (3,)):
        cluster.split({node: node for node in gone})
        cluster.wait(11)
        figures.append(cluster.figures(1))
    assert figures == [(5, 5, 3, True), (3, 3, 2, True), (2, 2, 2, True)]
    cluster.split({2: 2})
    cluster.wait(11)
    assert cluster.figures(1) == (2, 1, 2, False)


def test_a_failure_within_the_window_counts_against_the_old_quorum() -> None:
    cluster = Cluster(LMS)
    cluster.split({8: 8, 7: 7, 6: 6})
    cluster.wait(9.9)
    cluster.split({5: 5})
    assert cluster.figures(1) == (8, 4, 5, False)
    cluster.wait(30)
    assert cluster.figures(1) == (8, 4, 5, False)


def test_a_further_change_begins_the_window_anew() -> None:
    cluster = Cluster(LMS)
    cluster.split({8: 8})
    cluster.wait(9)
    cluster.split({7: 7})
    cluster.wait(9)
    assert cluster.view(1).expected == 8
    cluster.wait(1)
    assert cluster.view(1).expected == 6


def test_with_the_tie_breaker_down_to_one() -> None:
    options = Options(nodes=even(3), last_man_standing=True, wait_for_all=True, auto_tie_breaker=True)
    cluster = Cluster(options)
    cluster.down(3)
    cluster.wait(11)
    assert cluster.figures(1) == (2, 2, 2, True)
    cluster.down(2)
    assert cluster.figures(1) == (2, 1, 2, True)
    cluster.wait(11)
    assert cluster.figures(1) == (1, 1, 1, True)


def test_a_node_with_more_than_one_vote_ends_it() -> None:
    cluster = Cluster(Options(nodes=even(3), last_man_standing=True))
    assert "LastManStanding" in cluster.view(1).flags
    assert cluster.nodes[3].set_votes(3, 2, 0.0) == ""
    cluster.deliver()
    cluster.split({2: 1})
    cluster.wait(11)
    assert "LastManStanding" not in cluster.view(1).flags
    assert cluster.view(1).expected == 4


def test_nodes_that_return_are_expected_again() -> None:
    cluster = Cluster(Options(nodes=even(5), last_man_standing=True))
    cluster.split({4: 1, 5: 1})
    cluster.wait(11)
    assert cluster.figures(1) == (3, 3, 2, True)
    cluster.join(0, 1)
    assert {cluster.figures(node) for node in range(1, 6)} == {(5, 5, 3, True)}


def test_corosync_lets_two_parts_be_quorate_when_the_others_restart_without_wait_for_all() -> None:
    """Two of five shrank to a cluster of their own; three that restart know nothing of it."""
    options = Options(nodes=even(5), last_man_standing=True)
    cluster = Cluster(options)
    cluster.split({4: 1, 5: 1})
    cluster.wait(11)
    cluster.split({3: 1})
    assert cluster.quorate() == {1, 2, 3, 4, 5}, "even without a restart: three of five against two of three"
    waiting = Cluster(LMS)
    for node in (8, 7, 6):
        waiting.down(node)
    waiting.wait(11)
    for node in (8, 7, 6):
        waiting.up(node, 1)
    assert waiting.quorate() == {1, 2, 3, 4, 5}
