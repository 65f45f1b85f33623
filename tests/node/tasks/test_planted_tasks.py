"""The small worlds see: each fault planted into how tasks are given and begun is found within a few plays."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from tasks.planted_tasks import PLANTS
from tasks.small_plays import nights, play, siege

SEEDS_MAX = 40
"""Plays in which a planted fault must show, beginning with the seed that is known to show it."""

FIRST = {
    "leave is given to who has not read that its claim is over": 25,
    "leave is given while the end of a claim is on its way into the log": 120,
    "what is killed as another's says how this one's claims ended": 40,
    "after its start a daemon begins what it read of before, whatever stands behind": 0,
    "a run whose claim is not read of yet is taken for over": 20,
    "what was said to be over is begun when the runner is back": 60,
    "a node that begins nothing is given the same again at once": 60,
}

SIEGED = ("leave is given", "a node begins without")
"""What shows where claims end without a word again and again."""


@pytest.mark.parametrize("sentence", PLANTS)
def test_planted_fault_is_found(sentence: str) -> None:
    first, one = FIRST.get(sentence, 0), siege if sentence.startswith(SIEGED) else play
    one = nights if sentence.startswith("a host that slept") else one
    with PLANTS[sentence]():
        assert any(_violated(one, seed) for seed in range(first, first + SEEDS_MAX)), f"not seen: {sentence}"


def _violated(one: object, seed: int) -> bool:
    try:
        one(seed)  # type: ignore[operator]
    except AssertionError:
        return True
    return False
