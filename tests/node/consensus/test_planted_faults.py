"""The simulated world sees: each rule, broken on purpose, is found within a few seeds.

What is broken here was broken in real implementations. Numbers such as B5 are those of a list of such
bugs; S and D numbers name the rule that is broken.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from consensus.test_world import WORLDS
from consensus.world import World
from planting import Plant, after, replaced
from qluster import quorum
from qluster.consensus import lease
from qluster.consensus.following import Following
from qluster.consensus.journal import Journal
from qluster.consensus.lease import Rounds
from qluster.consensus.membership import Configuration
from qluster.consensus.office import Office
from qluster.consensus.participant import Participant
from qluster.consensus.progress import Progress


def forget_vote(me: Participant) -> None:
    me.vote = None


def overwrite_match(self: Progress, index: int, now: float) -> None:
    self.match, self.verified, self.next = index, True, max(self.next, index + 1)


def commit_older_terms(self: Office) -> int:
    return int(self._me.configuration.committed(self.replication.match))


def cut_always(self: Journal, entries: Any, floor: int) -> list[Any]:
    if entries and entries[0].index > self.base_index:
        if entries[0].index <= self.last_index:
            self.cut_from(entries[0].index)
        self.append(entries)
        return list(entries)
    return []


def commit_own_last(following: Following) -> None:
    me = following._me
    me.commit_index = max(me.commit_index, me.journal.last_index - 1)


def one_copy_fewer(self: Configuration, match: Callable[[int], float]) -> float:
    return min(quorum.reached(map(match, one.voters), one.needs.commit - 1) for one in self.electorates)


def all_reads(self: Rounds, configuration: Any) -> list[int]:
    return self.abandon()


FAULTS: dict[str, tuple[str, int, Plant]] = {
    "B1 a restart forgets the vote": (
        "restless", 165, replaced(Participant, "__init__", after(Participant, "__init__", forget_vote))),
    "B5 match goes back": ("lossy", 0, replaced(Progress, "confirm", overwrite_match)),
    "B6 an older term is committed": ("stormy", 2, replaced(Office, "_committed", commit_older_terms)),
    "B7 an old append cuts the log": ("lossy", 0, replaced(Journal, "merge", cut_always)),
    "S5 the log is not asked for": ("cut", 2, replaced(Participant, "newer_here", lambda *_: False)),
    "S8 commit beyond what was verified": (
        "cut", 0, replaced(Following, "append", after(Following, "append", commit_own_last))),
    "S11 one copy too few commits": ("cut", 0, replaced(Configuration, "committed", one_copy_fewer)),
    "S18 votes are given while a leader is heard": (
        "cut", 269, replaced(Participant, "promised_to_another", lambda *_: False)),
    "D1 the lease is longer than the promise": (
        "stormy", 2, replaced(lease, "LEASE_FRACTION", 1.5)),
    "D1 the lease is kept after the word to take over": ("lossy", 14, replaced(Rounds, "give_up", lambda self: None)),
    "S13 reads are not confirmed": ("stormy", 20, replaced(Rounds, "confirmed", all_reads)),
}  # fmt: skip
"""What is broken, in which world it shows, and a seed that showed it; others are tried when that one no longer does."""

SEEDS_MAX = 600


def first_seed_that_fails(kind: str, likely: int, sends_first: bool = False) -> int | None:
    """A seed in which a rule is seen to be broken."""
    nodes, faults = WORLDS[kind]
    for seed in [likely, *range(SEEDS_MAX)]:
        world = World(seed, nodes, replace(faults))
        world.sends_first = sends_first
        try:
            world.run(8.0)
        except AssertionError:
            return seed
    return None


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_found(fault: str) -> None:
    kind, likely, plant = FAULTS[fault]
    with plant():
        assert first_seed_that_fails(kind, likely) is not None


def test_sending_before_saving_is_found() -> None:
    """B2. Only crashes between the two show it."""
    assert first_seed_that_fails("crashing", 0, sends_first=True) is not None
