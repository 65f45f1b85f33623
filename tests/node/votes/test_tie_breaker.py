"""Half of a cluster that goes on, by a rule that needs no arbiter."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster.votes.options import Options
from qluster.votes.tie import Mode, TieBreaker
from qluster.votes.view import Why
from votes.model import Cluster, even

ALL = {1, 2, 3, 4}


@pytest.mark.parametrize(("text", "here", "before", "chosen"), [
    ("lowest", {1, 2}, ALL, True),
    ("lowest", {3, 4}, ALL, False),
    ("highest", {3, 4}, ALL, True),
    ("highest", {1, 2}, ALL, False),
    ("3", {3, 4}, ALL, True),
    ("3", {1, 2}, ALL, False),
    ("3 1", {1, 2}, ALL, False),
    ("3 1", {1, 2}, {1, 2, 4}, True),
    ("1 3", {1, 3}, ALL, True),
    ("4 2", {1, 3}, ALL, False),
])
def test_rule(text: str, here: set[int], before: set[int], chosen: bool) -> None:
    assert TieBreaker.read(text).chooses(here, before, ALL) is chosen


def test_lowest_and_highest_are_those_of_the_last_quorate_partition() -> None:
    assert TieBreaker.read("lowest").chooses({2, 3}, {2, 3, 4}, {2, 3, 4, 5})
    assert not TieBreaker.read("lowest").chooses({1, 2}, {1, 2}, set())


@pytest.mark.parametrize(("text", "mode", "nodes"), [
    ("lowest", Mode.LOWEST, ()), ("highest", Mode.HIGHEST, ()), (" 3  1 ", Mode.LIST, (3, 1)),
])
def test_words(text: str, mode: Mode, nodes: tuple[int, ...]) -> None:
    breaker = TieBreaker.read(text)
    assert (breaker.mode, breaker.nodes) == (mode, nodes)
    assert TieBreaker.read(str(breaker)) == breaker


@pytest.mark.parametrize("text", ["", "lowest 1", "1,2", "0", "-1", "one", "²", "1 1"])
def test_no_words_of_a_rule(text: str) -> None:
    with pytest.raises(ValueError, match=r"Use one of these|Name each once"):
        TieBreaker.read(text)


@pytest.mark.parametrize(("text", "winners"), [("lowest", {1, 2}), ("highest", {3, 4}), ("4 1", {3, 4})])
def test_exactly_one_half_goes_on(text: str, winners: set[int]) -> None:
    cluster = Cluster(Options(nodes=even(4), auto_tie_breaker=True, auto_tie_breaker_node=text))
    cluster.split({3: 1, 4: 1})
    assert cluster.quorate() == winners
    assert cluster.view(min(winners)).why is Why.TIE_BREAKER
    assert "tie-breaker " + text in cluster.view(min(winners)).reason


def test_less_than_half_never_goes_on() -> None:
    cluster = Cluster(Options(nodes=even(4), auto_tie_breaker=True))
    cluster.split({1: 1})
    assert cluster.quorate() == {2, 3, 4}


def test_an_odd_cluster_goes_on_with_half_less_one_only_where_the_rest_cannot() -> None:
    """Five that lose two, then one more: two of five with the lowest; but not where three left at once."""
    options = Options(nodes=even(5), auto_tie_breaker=True, wait_for_all=True)
    cluster = Cluster(options)
    cluster.split({4: 1, 5: 2})
    cluster.split({3: 3})
    assert cluster.quorate() == {1, 2}
    other = Cluster(options)
    other.split({3: 1, 4: 1, 5: 1})
    assert other.quorate() == {3, 4, 5}


def test_corosync_lets_two_halves_be_quorate_when_all_start_anew() -> None:
    """After a restart without wait_for_all nobody remembers the lowest, so neither half goes on; with a list the first
    node of it that is here decides, and each side can hold one."""
    cluster = Cluster(Options(nodes=even(4), auto_tie_breaker=True, auto_tie_breaker_node="1 3"), start=False)
    for node, partition in ((1, 0), (2, 0), (3, 1), (4, 1)):
        cluster.up(node, partition)
    assert cluster.quorate() == {1, 2, 3, 4}
    lowest = Cluster(Options(nodes=even(4), auto_tie_breaker=True), start=False)
    for node, partition in ((1, 0), (2, 0), (3, 1), (4, 1)):
        lowest.up(node, partition)
    assert lowest.quorate() == frozenset()
