"""Electorates with a device that remembers: every one of up to four voters, by brute force; and which lists may be.

The device is a voter like the others, but that it holds no copy: sets that meet in it alone meet in somebody who knows.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import combinations

import pytest
from consensus.stage import voters
from consensus.test_electorate import RULES, electorates, listed, mask, meet
from msgspec.structs import replace
from qluster.consensus import settings
from qluster.consensus.electorate import Electorate, device_key
from qluster.consensus.members import Members
from qluster.consensus.membership import (
    Configuration,
    fault_of_change,
    tie_breaker,
    usual_votes,
    with_device,
    with_usual_votes,
)
from qluster.qnet import memory

UID = 3
DEVICE = device_key(UID)
OTHER = device_key(4)


def with_devices(n: int, most: int = 3) -> Iterator[tuple[dict[int, int], int]]:
    """All votes of the voters, with each number of votes that a device may have beside them."""
    for votes, tie in electorates(n, most):
        if not tie:
            yield from ((votes, device) for device in range(1, sum(votes.values())))


def subsets(everybody: Collection[int]) -> list[frozenset[int]]:
    return [frozenset(chosen) for size in range(len(everybody) + 1) for chosen in combinations(everybody, size)]


def counted(votes: dict[int, int], device: int, rule: tuple[bool, int] = (True, 0), uid: int = UID) -> Members:
    members = replace(listed(votes, 0, rule), way="memory", device=device, device_uid=uid)
    assert not members.fault()
    return members


@pytest.mark.parametrize("n", range(1, 5))
def test_every_election_meets_every_election_commit_and_contact(n: int) -> None:
    for votes, device in with_devices(n):
        for rule in RULES:
            one = Electorate.of(counted(votes, device, rule))
            every = subsets([*votes, DEVICE])
            electing = [mask(small(each)) for each in every if one.elects(each)]
            committing = [mask(small(each)) for each in every if one.commits(each)]
            keeping = [mask(small(each)) for each in every if one.keeps(each)]
            assert electing and committing and keeping
            assert all(meet(electing, others) for others in (electing, committing, keeping)), (votes, device, rule)


def small(nodes: frozenset[int]) -> frozenset[int]:
    """With small numbers for the devices: sets are bit masks."""
    return frozenset({DEVICE: 20, OTHER: 21}.get(node, node) for node in nodes)


@pytest.mark.parametrize("n", range(1, 5))
def test_votes_mean_what_they_say_and_somebody_holds_the_entry(n: int) -> None:
    for votes, device in with_devices(n):
        total = sum(votes.values()) + device
        for factor in range(n + 1):
            one = Electorate.of(counted(votes, device, (True, factor)))
            for chosen in subsets([*votes, DEVICE]):
                nodes = chosen - {DEVICE}
                enough = 2 * (sum(votes[node] for node in nodes) + device * (DEVICE in chosen)) > total
                assert one.elects(chosen) == one.keeps(chosen) == enough
                assert one.commits(chosen) == (enough and len(nodes) >= max(1, factor))
                assert not enough or nodes, "the device alone decides nothing"
            assert one.elects(votes) and one.commits(votes) and one.keeps(votes), "nor do the nodes need it"


@pytest.mark.parametrize("n", range(1, 5))
def test_what_a_leader_calls_committed_or_contacted_is_on_such_a_set(n: int) -> None:
    for votes, device in with_devices(n, 2):
        for rule in RULES:
            one = Electorate.of(counted(votes, device, rule))
            for chosen in subsets([*votes, DEVICE]):
                value = {node: 9 if node in chosen else 3 for node in (*votes, DEVICE)}
                assert (one.committed(value.__getitem__) == 9) == one.commits(chosen)
                assert (one.contacted(value.__getitem__) == 9) == one.keeps(chosen)


CHANGES = [
    (listed({1: 1, 2: 1}), counted({1: 1, 2: 1}, 1)),
    (counted({1: 1, 2: 1}, 1), counted({1: 1, 2: 1}, 1, uid=4)),
    (counted({1: 1, 2: 1}, 1), listed({1: 1, 2: 1, 3: 1})),
    (counted({1: 1, 2: 1}, 1), listed({1: 1})),
    (counted({1: 1, 2: 1, 3: 1, 4: 1}, 1), counted({1: 1, 2: 1, 3: 1, 4: 1}, 3)),
    (counted({1: 1, 2: 1, 3: 1, 4: 1}, 1), counted({1: 1, 2: 1}, 1, uid=4)),
    (counted({1: 2, 2: 0, 3: 1}, 2), counted({1: 0, 2: 2, 3: 1}, 2, uid=4)),
]


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_through_any_change_every_election_meets_every_commit_and_contact(old: Members, new: Members) -> None:
    """Another memory is another voter: what meets in the former one does not meet in its successor."""
    every = subsets([*sorted(old.voters | new.voters), DEVICE, OTHER])
    before, after = Electorate.of(old), Electorate.of(new)
    alone, both, later = (Configuration(found) for found in ((before,), (before, after), (after,)))
    for elects, commits in [(alone, both), (both, alone), (both, both), (both, later), (later, both)]:
        electing = [mask(small(each)) for each in every if elects.elects(each)]
        committing = [mask(small(each)) for each in every if commits.commits(each)]
        keeping = [mask(small(each)) for each in every if commits.keeps(each)]
        assert electing and committing
        assert meet(electing, committing) and meet(electing, keeping)


def test_an_election_is_lost_only_when_the_device_cannot_win_it_either() -> None:
    one = Configuration((Electorate.of(counted({1: 1, 2: 1}, 1)),))
    assert one.may_elect({2}) and one.may_elect({DEVICE})
    assert not one.may_elect({2, DEVICE})
    assert one.devices == {DEVICE} and one.voters == {1, 2}


# --- which lists may be --------------------------------------------------------------------------


TWO, THREE, FOUR = voters(1, 2), voters(1, 2, 3), voters(1, 2, 3, 4)


def test_device_usually_breaks_ties_and_nothing_else() -> None:
    assert [usual_votes(one) for one in (voters(1), TWO, THREE, FOUR)] == [0, 1, 0, 1]
    two = with_device(TWO, UID, None)
    assert (two.device, two.device_uid, two.way) == (1, UID, "memory")
    three = with_usual_votes(two, two.with_member(voters(3).all[0]))
    assert three.device == 0 and three.device_uid == UID and not three.fault()
    assert with_usual_votes(three, three.without(3)).device == 1
    told = with_device(FOUR, UID, 3)
    assert with_usual_votes(told, told).device == 3, "what an operator said stays"
    assert with_usual_votes(told, told.without(4)).device == 2, "but the nodes must have more"
    assert with_device(two, 0, None) == TWO


def test_list_with_and_without_a_device_is_read_as_it_was_written() -> None:
    for members in (TWO, with_device(TWO, 2**64 - 1, None), with_device(THREE, UID, None)):
        assert Members.decode(members.encode()) == members
    assert with_device(TWO, UID, None).counted and with_device(THREE, UID, 0).counted, "no earlier version may read it"


def test_device_with_votes_takes_the_place_of_a_tie_breaker() -> None:
    assert tie_breaker(with_device(TWO, UID, None), "lowest") == 0
    assert tie_breaker(with_device(THREE, UID, None), "lowest") == 1
    assert with_device(replace(TWO, tie=1), UID, None).tie == 0


@pytest.mark.parametrize(
    ("old", "new", "alive", "fault"),
    [
        (TWO, with_device(TWO, UID, None), {1, 2, DEVICE}, ""),
        (TWO, with_device(TWO, UID, None), {1, 2, OTHER}, ""),
        (TWO, with_device(TWO, UID, None), {1, OTHER}, "1 with a weight of 1 (of 3) would be alive"),
        (with_device(TWO, UID, None), with_device(TWO, 4, None), {1, 2, OTHER}, ""),
        (with_device(TWO, UID, None), with_device(TWO, 4, None), {1, OTHER}, "needed to let the device go"),
        (with_device(TWO, UID, None), TWO, {1, DEVICE}, "of 2 voters 1 would be alive"),
        (with_device(TWO, UID, None), voters(1), {1, DEVICE}, ""),
        (with_device(TWO, UID, None), voters(1), {1}, "needed to let the device go"),
    ],
)  # fmt: skip
def test_change_needs_the_living_and_a_lost_device_those_who_hold_the_log(
    old: Members, new: Members, alive: set[int], fault: str
) -> None:
    found = fault_of_change(old, new, alive)
    assert fault in found and bool(fault) == bool(found), found


def test_longest_promise_that_counts_is_the_longest_that_is_given() -> None:
    assert settings.DEVICE_PROMISE_MAX * 1000 == memory.PROMISE_MAX
