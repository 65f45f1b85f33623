"""Whose votes and copies are enough: every electorate of up to five voters, by brute force.

The second implementation below knows only what the rules say in words; sets are bit masks.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product

import pytest
from consensus.world import member
from msgspec.structs import replace
from qluster.consensus.electorate import Electorate
from qluster.consensus.members import Members
from qluster.consensus.membership import Configuration

VOTES_MAX = 3
RULES = [(True, 0), (True, 2), (True, 4), (False, 1), (False, 2), (False, 3)]


def listed(votes: dict[int, int], tie: int = 0, rule: tuple[bool, int] = (True, 0)) -> Members:
    """A list of voters with these votes."""
    return Members(tuple(replace(member(node), votes=count) for node, count in votes.items()), *rule, tie=tie)


def electorates(n: int, most: int = VOTES_MAX) -> Iterator[tuple[dict[int, int], int]]:
    """All votes of ``n`` voters up to their order, without a tie-breaker and with each."""
    for counts in product(range(most + 1), repeat=n):
        if any(counts) and list(counts) == sorted(counts):
            votes = dict(enumerate(counts, start=1))
            yield from ((votes, tie) for tie in range(n + 1))


class Sets:
    """All sets of the voters of a list, by what a list says of them."""

    def __init__(self, members: Members, nodes: list[int]) -> None:
        one = Electorate.of(members)
        every = [frozenset(chosen) for size in range(len(nodes) + 1) for chosen in combinations(nodes, size)]
        self.electing = [mask(each) for each in every if one.elects(each)]
        self.committing = [mask(each) for each in every if one.commits(each)]
        self.keeping = [mask(each) for each in every if one.keeps(each)]


def mask(nodes: frozenset[int]) -> int:
    return sum(1 << node for node in nodes)


def meet(some: list[int], others: list[int]) -> bool:
    """Whether every one of them has a node in common with every other."""
    return all(one & other for one in least(some) for other in least(others))


def least(sets: list[int]) -> list[int]:
    """Those that contain no smaller one."""
    found: list[int] = []
    for one in sorted(sets, key=int.bit_count):
        if not any(one & other == other for other in found):
            found.append(one)
    return found


@pytest.mark.parametrize("n", range(1, 6))
def test_every_election_meets_every_election_commit_and_contact(n: int) -> None:
    """S1, D4, D1: with any votes, any tie-breaker and any rule of commit."""
    for votes, tie in electorates(n):
        for rule in RULES if n < 5 or max(votes.values()) < VOTES_MAX else RULES[::3]:
            sets = Sets(listed(votes, tie, rule), list(votes))
            assert sets.electing and sets.committing and sets.keeping, (votes, tie, rule)
            for others in (sets.electing, sets.committing, sets.keeping):
                assert meet(sets.electing, others), (votes, tie, rule)


@pytest.mark.parametrize("n", range(1, 6))
def test_votes_mean_what_they_say(n: int) -> None:
    """More than half of the votes elects and commits; half does with the tie-breaker; nothing else does."""
    for votes, tie in electorates(n):
        one, total = Electorate.of(listed(votes, tie)), sum(votes.values())
        for size in range(n + 1):
            for chosen in map(frozenset, combinations(votes, size)):
                twice = 2 * sum(votes[node] for node in chosen)
                enough = twice > total or (twice == total and tie in chosen)
                assert one.elects(chosen) == one.commits(chosen) == one.keeps(chosen) == enough, (votes, tie, chosen)


@pytest.mark.parametrize("n", range(2, 5))
def test_copies_are_counted_as_nodes_whatever_they_weigh(n: int) -> None:
    for votes, tie in electorates(n):
        total = sum(votes.values())
        for factor in range(1, n + 1):
            both, alone = (Electorate.of(listed(votes, tie, (by_quorum, factor))) for by_quorum in (True, False))
            for size in range(n + 1):
                for chosen in map(frozenset, combinations(votes, size)):
                    twice = 2 * sum(votes[node] for node in chosen)
                    enough = twice > total or (twice == total and tie in chosen)
                    assert both.commits(chosen) == (enough and size >= factor)
                    assert both.elects(chosen) == both.keeps(chosen) == enough
                    assert alone.commits(chosen) == (size >= factor)
                    assert alone.elects(chosen) == (enough and size >= n - factor + 1)
                    assert alone.keeps(chosen) == (enough or size >= factor)


def test_an_odd_number_of_votes_leaves_the_tie_breaker_without_effect() -> None:
    for votes, tie in electorates(4):
        if sum(votes.values()) % 2:
            with_it, without = Electorate.of(listed(votes, tie)), Electorate.of(listed(votes))
            for size in range(5):
                for chosen in combinations(votes, size):
                    assert with_it.elects(chosen) == without.elects(chosen)


CHANGES = [
    (listed({1: 1, 2: 1, 3: 1}), listed({1: 1, 2: 1, 3: 3})),
    (listed({1: 3, 2: 1, 3: 1}), listed({1: 1, 2: 1, 3: 1})),
    (listed({1: 1, 2: 1, 3: 1, 4: 1}, tie=1), listed({1: 1, 2: 1, 3: 1, 4: 1}, tie=2)),
    (listed({1: 1, 2: 1}, tie=1), listed({1: 1, 2: 1}, tie=2)),
    (listed({1: 1, 2: 1, 3: 1, 4: 1, 5: 1}), listed({1: 1, 2: 1, 3: 1})),
    (listed({1: 1, 2: 1, 3: 1, 4: 1}, tie=1), listed({1: 1, 2: 1}, tie=1)),
    (listed({1: 1, 2: 1}, tie=2), listed({2: 1}, tie=2)),
    (listed({1: 2, 2: 0, 3: 1}, rule=(False, 1)), listed({1: 0, 2: 2, 4: 1}, tie=4)),
]


def test_through_any_change_every_election_meets_every_commit_and_contact() -> None:
    """Whoever elects by the old list alone has not the new one, and must meet what commits that; see S14."""
    some = [listed(votes, tie) for n in (2, 3, 4) for votes, tie in electorates(n, 2)][::5]
    pairs = [*CHANGES, *((one, other) for one in some[::4] for other in some[::3])]
    for old, new in pairs:
        nodes = sorted(old.voters | new.voters)
        before, after = Electorate.of(old), Electorate.of(new)
        every = [frozenset(chosen) for size in range(len(nodes) + 1) for chosen in combinations(nodes, size)]
        alone, both, later = (Configuration(found) for found in ((before,), (before, after), (after,)))
        for elects, commits in [(alone, both), (both, alone), (both, both), (both, later), (later, both)]:
            electing = [mask(each) for each in every if elects.elects(each)]
            committing = [mask(each) for each in every if commits.commits(each)]
            keeping = [mask(each) for each in every if all(one.keeps(each) for one in commits.electorates)]
            assert electing and committing
            assert meet(electing, committing), (old, new)
            assert meet(electing, keeping), (old, new)


@pytest.mark.parametrize("n", range(1, 5))
def test_what_a_leader_calls_committed_or_contacted_is_on_such_a_set(n: int) -> None:
    for votes, tie in electorates(n):
        for rule in RULES:
            one = Electorate.of(listed(votes, tie, rule))
            for size in range(n + 1):
                for chosen in map(frozenset, combinations(votes, size)):
                    value = {node: 9 if node in chosen else 3 for node in votes}
                    assert (one.committed(value.__getitem__) == 9) == one.commits(chosen)
                    assert (one.contacted(value.__getitem__) == 9) == one.keeps(chosen)


def test_who_does_not_vote_weighs_nothing() -> None:
    members = listed({1: 1, 2: 1, 3: 1}).with_member(replace(member(4, voter=False), votes=3))
    one = Electorate.of(members)
    assert one.weight({1, 4, 9}) == 1
    assert not one.elects({1, 4, 9})
