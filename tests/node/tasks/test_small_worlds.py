"""Tasks through crashes, cuts, and hosts that stand still: never twice at once, none lost, all at an end.

`QLUSTER_FULL_TESTS=1` plays many more.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest
from tasks.small_plays import nights, play, siege

FULL = os.environ.get("QLUSTER_FULL_TESTS") == "1"
SEEDS = range(2000 if FULL else 24)
BATCH = 8


@pytest.mark.parametrize("first", SEEDS[::BATCH], ids=str)
def test_tasks_run_once_at_a_time_and_all_end(first: int) -> None:
    ran = 0
    for seed in range(first, first + BATCH):
        ran += play(seed).tasks.ledger.all
    assert ran > BATCH


@pytest.mark.parametrize("seed", range(200 if FULL else 4))
def test_claims_that_end_without_a_word_are_given_to_others_in_time(seed: int) -> None:
    assert siege(seed).tasks.ledger.all > 0


@pytest.mark.parametrize("seed", range(100 if FULL else 2))
def test_hosts_that_sleep_for_longer_than_a_lease_run_nothing_that_others_have_begun(seed: int) -> None:
    assert nights(seed).tasks.ledger.all > 0
