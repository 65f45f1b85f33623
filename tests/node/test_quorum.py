"""Vote arithmetic, against a slow and obvious second implementation."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from itertools import combinations

import pytest
from qluster.quorum import commit_quorum, contact_quorum, election_quorum, majority, reached

RULES = [(by_quorum, factor) for by_quorum in (True, False) for factor in range(9)]


@pytest.mark.parametrize(("n", "expected"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)])
def test_majority_is_more_than_half(n: int, expected: int) -> None:
    assert majority(n) == expected


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
    assert commit_quorum(n, by_quorum, factor) == commit
    assert election_quorum(n, commit) == election


def always_meet(n: int, one: int, other: int) -> bool:
    nodes = range(n)
    return all(set(a) & set(b) for a in combinations(nodes, one) for b in combinations(nodes, other))


@pytest.mark.parametrize("n", range(1, 8))
def test_every_election_meets_every_commit_election_and_contact(n: int) -> None:
    """D4, for every rule that can be configured."""
    for rule in RULES:
        commit = commit_quorum(n, *rule)
        election = election_quorum(n, commit)
        assert always_meet(n, election, commit), rule
        assert always_meet(n, election, election), rule
        assert always_meet(n, election, contact_quorum(n, commit)), rule


@pytest.mark.parametrize("n", range(1, 8))
def test_no_quorum_is_larger_than_safety_and_the_rule_demand(n: int) -> None:
    for by_quorum, factor in RULES:
        commit = commit_quorum(n, by_quorum, factor)
        election = election_quorum(n, commit)
        if election > majority(n):
            assert not always_meet(n, election - 1, commit)
        assert contact_quorum(n, commit) <= max(commit, majority(n))
        if by_quorum:
            assert commit >= majority(n)


def test_leader_that_waits_for_a_further_copy_still_leads() -> None:
    """Three copies of three are wanted and one node is gone: nothing is committed, and nobody steps down."""
    assert contact_quorum(3, commit_quorum(3, True, 3)) == 2


@pytest.mark.parametrize(("values", "quorum", "expected"), [([5, 9, 7], 2, 7), ([5, 9, 7], 3, 5), ([4], 1, 4)])
def test_reached_is_the_highest_value_that_a_quorum_has(values: list[int], quorum: int, expected: int) -> None:
    assert reached(values, quorum) == expected


def test_reached_does_not_depend_on_the_order() -> None:
    """B18: a list that was not sorted again committed without a quorum."""
    assert {reached(order, 2) for order in ([1, 2, 3], [3, 2, 1], [2, 3, 1], [2, 1, 3])} == {2}


def test_quorum_of_nobody_is_refused() -> None:
    with pytest.raises(AssertionError):
        majority(0)
    with pytest.raises(AssertionError):
        reached([1, 2], 3)
