"""Vote arithmetic, against a slow and obvious second implementation."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from itertools import combinations

import pytest
from qluster.quorum import Quorums, majority, quorums, reached, reached_by_weight, weights

RULES = [(by_quorum, factor) for by_quorum in (True, False) for factor in range(9)]


@pytest.mark.parametrize(("n", "expected"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)])
def test_majority_is_more_than_half(n: int, expected: int) -> None:
    assert majority(n) == expected


def one_each(n: int, by_quorum: bool, factor: int) -> Quorums:
    """The quorums where every voter has one vote."""
    return quorums(n, n, by_quorum, factor).plain


@pytest.mark.parametrize(
    ("n", "by_quorum", "factor", "commit", "election"),
    [
        (3, True, 0, 2, 2),
        (3, False, 0, 2, 2),
        (3, True, 1, 2, 2),
        (3, True, 3, 3, 2),
        (3, False, 1, 1, 3),
        (5, False, 2, 2, 4),
        (5, False, 4, 4, 3),
        (4, True, 0, 3, 3),
        (2, True, 3, 2, 2),
        (1, True, 3, 1, 1),
    ],
)
def test_rule_gives_quorums(n: int, by_quorum: bool, factor: int, commit: int, election: int) -> None:
    found = one_each(n, by_quorum, factor)
    assert (found.commit, found.election) == (commit, election)
    assert (found.copies, found.electors, found.contacts) == (0, 0, 0)


@pytest.mark.parametrize("n", range(1, 10))
def test_where_each_has_one_vote_nodes_are_counted_as_ever(n: int) -> None:
    """The arithmetic of the versions before, word by word."""
    for by_quorum, factor in RULES:
        copies = n // 2 + 1 if factor == 0 else min(n, max(n // 2 + 1 if by_quorum else 1, factor))
        election = max(n // 2 + 1, n - copies + 1)
        contact = max(n - election + 1, min(copies, n // 2 + 1))
        assert one_each(n, by_quorum, factor) == Quorums(election, 0, copies, 0, contact, 0)


def always_meet(n: int, one: int, other: int) -> bool:
    nodes = range(n)
    return all(set(a) & set(b) for a in combinations(nodes, one) for b in combinations(nodes, other))


@pytest.mark.parametrize("n", range(1, 8))
def test_every_election_meets_every_commit_election_and_contact(n: int) -> None:
    """D4, for every rule that can be configured."""
    for rule in RULES:
        found = one_each(n, *rule)
        assert always_meet(n, found.election, found.commit), rule
        assert always_meet(n, found.election, found.election), rule
        assert always_meet(n, found.election, found.contact), rule


@pytest.mark.parametrize("n", range(1, 8))
def test_no_quorum_is_larger_than_safety_and_the_rule_demand(n: int) -> None:
    for by_quorum, factor in RULES:
        found = one_each(n, by_quorum, factor)
        if found.election > majority(n):
            assert not always_meet(n, found.election - 1, found.commit)
        assert found.contact <= max(found.commit, majority(n))
        if by_quorum:
            assert found.commit >= majority(n)


def test_leader_that_waits_for_a_further_copy_still_leads() -> None:
    """Three copies of three are wanted and one node is gone: nothing is committed, and nobody steps down."""
    assert one_each(3, True, 3).contact == 2


def test_tie_breaker_is_half_a_vote_more() -> None:
    assert weights({1: 1, 2: 1}) == {1: 1, 2: 1}
    assert weights({1: 1, 2: 1}, 2) == {1: 2, 2: 3}
    assert weights({1: 1, 2: 1}, 3) == {1: 1, 2: 1}, "who does not vote breaks no tie"


@pytest.mark.parametrize(("values", "quorum", "expected"), [([5, 3, 9], 1, 9), ([5, 3, 9], 2, 5), ([5, 3, 9], 3, 3)])
def test_highest_value_that_a_quorum_has_reached(values: list[int], quorum: int, expected: int) -> None:
    assert reached(values, quorum) == expected
    assert reached_by_weight([(value, 1) for value in values], quorum) == expected


@pytest.mark.parametrize(("quorum", "expected"), [(1, 9), (2, 5), (4, 5), (5, 3), (6, 3)])
def test_heavy_values_count_by_their_weight(quorum: int, expected: int) -> None:
    assert reached_by_weight([(3, 2), (9, 1), (5, 3), (11, 0)], quorum) == expected


def test_order_of_values_does_not_matter() -> None:
    """B18: a list that was not sorted again committed without a quorum."""
    assert {reached(order, 2) for order in ([1, 2, 3], [3, 2, 1], [2, 3, 1], [2, 1, 3])} == {2}


def test_impossible_questions_are_refused() -> None:
    with pytest.raises(AssertionError, match="nobody"):
        majority(0)
    with pytest.raises(AssertionError, match="3 of 2"):
        reached([1, 2], 3)
    with pytest.raises(AssertionError, match="more than all"):
        reached_by_weight([(1, 2)], 3)
