"""Whole clusters in one process: kept seeds and a range of others. `make simulate SEEDS=0-999` runs more."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from sim.electing import VOTES_FROM
from sim.runs import run
from sim.seeds import KEPT

FRESH = range(5000, 5030)
BATCH = 10
COUNTED = range(VOTES_FROM, VOTES_FROM + 8)


def _well(seed: int) -> None:
    result = run(seed)
    story = "\n".join(result.story[-60:])
    assert not result.fault, f"seed {seed}: {result.fault}\n{story}"
    assert result.rows and result.turns, f"seed {seed} did nothing"


@pytest.mark.parametrize("seed", KEPT, ids=str)
def test_seed_that_once_failed_is_well(seed: int) -> None:
    _well(seed)


@pytest.mark.parametrize("first", FRESH[::BATCH], ids=str)
def test_cluster_stays_sound_and_becomes_well(first: int) -> None:
    for seed in range(first, first + BATCH):
        _well(seed)


@pytest.mark.parametrize("first", COUNTED[::4], ids=str)
def test_cluster_that_counts_votes_stays_sound_and_becomes_well(first: int) -> None:
    """One of each kind: votes, a tie-breaker, voters that rest, all of it."""
    for seed in range(first, first + 4):
        _well(seed)


def test_seed_replays_exactly() -> None:
    one, again = run(7), run(7)
    assert one.story == again.story and one.turns == again.turns and one.outcomes == again.outcomes
