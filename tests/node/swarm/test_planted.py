"""The fast world sees: each planted fault is found from the seed that is written down, by the same rule."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest
from swarm.hunt import FOUND, PAGE, first_seed, page, try_seed
from swarm.planted import PLANTS

KNOWN = json.loads(FOUND.read_text())

SEEDS_MAX = 150
"""Runs in which a fault must show whose seed no longer shows it: a change of the product changes every run."""


@pytest.mark.parametrize("sentence", PLANTS)
def test_planted_fault_is_found(sentence: str) -> None:
    seed, first = KNOWN[sentence]["seed"], first_seed(sentence)
    found = any(try_seed(sentence, one).fault for one in [seed, *range(first, first + SEEDS_MAX)])
    assert found, f"{SEEDS_MAX} runs did not show: {sentence}; make planted hunts it anew"


def test_fault_is_replayed_from_its_seed() -> None:
    for sentence in list(PLANTS)[::8]:
        one, again = (try_seed(sentence, KNOWN[sentence]["seed"]) for _ in range(2))
        assert (one.fault, one.digest, one.story) == (again.fault, again.digest, again.story)


def test_at_least_forty_are_planted_and_the_page_has_them() -> None:
    assert len(PLANTS) >= 40
    assert set(KNOWN) == set(PLANTS)
    assert PAGE.read_text() == page(KNOWN), "make planted writes the page"
