"""When one of two may go on without the other."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from msgspec.structs import replace
from qluster.consensus.claim import Claim, as_two, other_of
from qluster.consensus.members import Member, Members


def member(node: int, *, voter: bool = True, votes: int = 1) -> Member:
    return Member(node, 50 + node, "10.0.0.9", 8080, 7400, voter=voter, votes=votes)


TWO = Members((member(1), member(2)), two_node=True)


def test_list_of_two_equal_voters_may_say_so_and_no_other() -> None:
    plain = replace(TWO, two_node=False)
    assert not TWO.fault() and TWO.counted, "only versions that know it are shown such a list"
    assert as_two(plain, wanted=True) == TWO and as_two(TWO, wanted=False) == plain
    three = Members((member(1), member(2), member(3)))
    others = [
        three, Members((member(1), member(2, votes=2))), Members((member(1),)), replace(plain, tie=1),
        replace(plain, way="memory", device=1, device_uid=9), replace(plain, quorum_replication=False),
        Members((member(1), member(2, voter=False))),
    ]  # fmt: skip
    for members in others:
        assert not as_two(members, wanted=True).two_node
        assert "two_node is for two voters" in replace(members, two_node=True).fault()
    assert not as_two(replace(plain, replication_factor=2), wanted=True).two_node, "alone it would have one copy"
    assert as_two(replace(plain, replication_factor=1), wanted=True).two_node
    listening = Members((member(1), member(2), member(3, voter=False)))
    assert as_two(listening, wanted=True).two_node, "who only listens decides nothing"
    assert Members.decode(TWO.encode()) == TWO


@pytest.mark.parametrize(
    ("list_at", "commit", "unbroken"),
    [(5, 20, False), (5, 21, True), (21, 21, False), (21, 22, True)],
    ids=["had it before", "confirmed since", "the list itself", "an entry behind the list"],
)
def test_episode_begins_with_an_entry_that_was_confirmed_after_the_start(
    list_at: int, commit: int, unbroken: bool
) -> None:
    claim = Claim(last_index=20)
    assert claim.unbroken(TWO, list_at, commit) is unbroken
    assert not claim.unbroken(replace(TWO, two_node=False), list_at, commit)


def test_snapshot_proves_nothing_of_this_node() -> None:
    claim = Claim(last_index=20)
    claim.taken_over(40)
    assert not claim.unbroken(TWO, 5, 40) and claim.unbroken(TWO, 5, 41)


def test_fencing_counts_until_the_other_one_is_heard() -> None:
    claim = Claim(0)
    assert not claim.off(2, None)
    claim.fenced(2, 10.0)
    assert claim.off(2, None) and claim.off(2, 9.5) and claim.off(2, 10.0)
    assert not claim.off(2, 10.1), "it lives, or came back"
    assert not claim.off(1, None)


def test_other_one_of_two() -> None:
    assert (other_of(TWO, 1), other_of(TWO, 2), other_of(TWO, 3)) == (2, 1, 0)
    assert other_of(Members((member(1), member(2), member(3))), 1) == 0
    assert other_of(Members((member(1), member(2, voter=False))), 1) == 0
