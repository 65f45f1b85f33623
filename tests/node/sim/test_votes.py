"""Whole clusters that also count votes by votequorum's rules: rings under every fault, and a veto that only forbids."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest

from sim.runs import run

FULL = bool(os.environ.get("QLUSTER_FULL_TESTS"))
SECTIONS = (
    "provider: votequorum",
    "provider: votequorum, wait_for_all: true",
    "provider: votequorum, last_man_standing: true, last_man_standing_window: 3s",
    "provider: votequorum, allow_downscale: true, expected_votes_tracking: true",
)
SEEDS = range(7000, 7200 if FULL else 7006)


@pytest.mark.parametrize("seed", SEEDS)
def test_cluster_that_counts_votes_stays_sound_and_becomes_well(seed: int) -> None:
    section = SECTIONS[seed % len(SECTIONS)]
    result = run(seed, section)
    story = "\n".join(result.story[-60:])
    assert not result.fault, f"seed {seed}, {section}: {result.fault}\n{story}"
    assert result.rows and result.turns, f"seed {seed} did nothing"
