"""Whose votes and copies count, by brute force over small clusters."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, combinations

import pytest
from consensus.stage import voters
from consensus.world import member
from qluster.consensus.members import Members
from qluster.consensus.membership import Membership, next_promotion, next_removal, removal_floor

PAIRS = [
    (voters(1, 2, 3), voters(1, 2, 3, 4)),
    (voters(1, 2, 3), voters(1, 2)),
    (voters(1, 2, 3, 4), voters(1, 2, 3)),
    (voters(1, 2, 3), voters(3, 4, 5)),
    (voters(1), voters(1, 2)),
    (voters(1, 2, 3), voters(1, 2, 3, quorum_replication=False, replication_factor=1)),
    (voters(1, 2, 3, quorum_replication=False, replication_factor=1), voters(1, 2, 3)),
    (voters(1, 2, 3, quorum_replication=False, replication_factor=1), voters(1, 2, 3, 4, replication_factor=4)),
    (voters(1, 2, 3, 4, 5, replication_factor=4), voters(1, 2, 3, quorum_replication=False, replication_factor=1)),
]
NAMES = [f"{sorted(old.voters)} to {sorted(new.voters)} {place}" for place, (old, new) in enumerate(PAIRS)]


def subsets(nodes: frozenset[int]) -> Iterator[frozenset[int]]:
    return map(frozenset, chain.from_iterable(combinations(sorted(nodes), size) for size in range(len(nodes) + 1)))


def changing(old: Members, new: Members) -> Membership:
    """Two lists, the newer one at entry 5."""
    membership = Membership()
    membership.append(1, old)
    membership.append(5, new)
    return membership


@pytest.mark.parametrize(("old", "new"), PAIRS, ids=NAMES)
def test_through_a_change_every_election_meets_every_commit(old: Members, new: Members) -> None:
    """Before the change, during it, and after it; with any members and any commit rule (D4)."""
    before = Membership()
    before.append(1, old)
    membership = changing(old, new)
    old_alone, both, new_alone = before.configuration(4), membership.configuration(4), membership.configuration(5)
    nodes = old.voters | new.voters
    # Who elects by the old list alone has not the new list in its log, so it must meet what commits that list
    # and all before; who elects by both may have to meet what either list committed.
    for elects, commits in [
        (old_alone, old_alone), (old_alone, both), (both, old_alone), (both, both), (both, new_alone),
        (new_alone, both), (new_alone, new_alone),
    ]:  # fmt: skip
        electing = [nodes_ for nodes_ in subsets(nodes) if elects.elects(nodes_)]
        committing = [nodes_ for nodes_ in subsets(nodes) if commits.commits(nodes_)]
        assert electing and committing
        assert all(one & other for one in electing for other in committing)


@pytest.mark.parametrize(("old", "new"), PAIRS, ids=NAMES)
def test_index_that_counts_as_committed_is_on_a_commit_quorum(old: Members, new: Members) -> None:
    configuration = changing(old, new).configuration(4)
    nodes = sorted(old.voters | new.voters)
    for holders in subsets(frozenset(nodes)):
        index = configuration.committed(lambda node, holders=holders: 9 if node in holders else 3)
        assert (index == 9) == configuration.commits(holders)


def test_only_the_last_two_lists_can_matter() -> None:
    membership = changing(voters(1, 2, 3), voters(1, 2, 3, 4))
    membership.append(9, voters(1, 2, 3, 4, 5))
    assert [one.voters for one in membership.configuration(0).electorates] == [{1, 2, 3, 4}, {1, 2, 3, 4, 5}]
    assert [one.voters for one in membership.configuration(9).electorates] == [{1, 2, 3, 4, 5}]


def test_list_that_is_cut_gives_way_to_the_one_before() -> None:
    membership = changing(voters(1, 2, 3), voters(1, 2))
    membership.cut_from(5)
    assert (membership.latest.voters, membership.index) == ({1, 2, 3}, 1)
    assert [one.voters for one in membership.configuration(4).electorates] == [{1, 2, 3}]


def test_list_in_force_at_the_snapshot_is_kept() -> None:
    membership = changing(voters(1, 2, 3), voters(1, 2))
    membership.forget_up_to(4)
    assert membership.at(4).voters == {1, 2, 3}
    membership.forget_up_to(7)
    assert membership.at(7).voters == {1, 2}
    assert len(membership.at(4)) == 0


def test_nobody_is_elected_and_nothing_committed_where_no_list_has_come() -> None:
    configuration = Membership().configuration(0)
    assert not configuration.elects({1, 2, 3})
    assert not configuration.commits({1, 2, 3})


def test_lowest_steady_listener_that_may_vote_is_promoted() -> None:
    members = voters(1, listeners=[2, 4]).with_member(member(3, voter=False, role="listener"))
    assert next_promotion(members, {3, 4}) == members.get(4)
    assert next_promotion(members, {2, 4}) == members.get(2)
    assert next_promotion(members, {1, 3}) is None


@pytest.mark.parametrize(
    ("configured", "minimum", "factor", "floor"), [(5, 1, 0, 3), (5, 4, 0, 4), (3, 3, 0, 3), (7, 3, 5, 5), (6, 3, 0, 4)]
)
def test_removals_have_a_floor(configured: int, minimum: int, factor: int, floor: int) -> None:
    members = voters(1, 2, 3, 4, 5, configured=configured)
    members = Members(members.all, True, factor, configured)
    assert removal_floor(members, minimum) == floor
    gone = next_removal(members, minimum, {4, 5})
    assert (gone.node if gone else None) == (4 if len(members.voters) > floor else None)


def test_unreachable_listener_is_left_alone() -> None:
    """It lowers no quorum, and is there again when it is there again."""
    assert next_removal(voters(1, 2, 3, 4, 5, listeners=[6]), 3, {6}) is None
