"""The simulator sees: each fault planted into the node is found within a few runs."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from sim.planted_votes import PLANTS, SEEDS
from sim.runs import run

SEEDS_MAX = 40
"""Runs in which a planted fault must show, beginning with the seed that showed it last."""

FIRST = {
    "a node founds although a cluster answers": 63,
    "another node takes over after a pause without the word of the one that ran without a lease": 10,
    "an attempt that failed is the last one": 109,
    "fencing that failed counts": 109,
    "nobody is fenced who gave no word": 13,
    "a primary is chosen without the proof that it has what was acknowledged": 91,
    "a restarted primary shows what its standbys do not have yet": 24,
}
"""Where to begin; 0 for all others."""

RARE = {
    "the primary is handed over without its last record": "needs a successor that lags at the very end; held by "
    "test_without_proof_the_primary_goes_back of tests/node/test_switching.py, and by test_planned_switchover.py",
    "a node counts as bound as soon as it has heard of the resume": "needs a takeover in the moment in which the guard "
    "ends the server; held by test_node_that_hears_of_the_resume_late… in tests/node/test_pausing.py",
    "positions are answered while WAL still comes in": "needs rows between an answer and the promotion; held by "
    "test_position_is_final_only_without_upstream of tests/node/test_keeper.py",
    "the file add_node is ignored": "shows only while the founder's whole disk is lost and it is cut off",
    "the log forgets a guarantee before its successor covers what was acknowledged": "needs a failover within a "
    "second of such a change; held by the walks of tests/node/cluster/test_synchronous.py",
    "a primary goes on in a reign whose end it has proposed": "needs a leader that fails between that entry and the "
    "transfer and dies later, before another reign; held by tests/node/test_switching.py",
    "a copy of a replica that was behind proves what the lost database had confirmed": "needs the death of the primary "
    "before the copy has caught up; held by tests/node/test_guarantee_seams.py and the walks of tests/node/cluster",
    "fencing that was ordered before the last contact counts": "needs a datagram that arrives after the shot at its "
    "sender; held by test_success_is_forgotten_on_contact of tests/node/cluster/test_fencing.py",
    "timeline and position alone choose the primary": "needs a branch of equal length; held by tests/node/cluster",
}
"""Planted faults that need more runs than a test has time for: ``make simulate`` with more seeds finds them."""


@pytest.mark.parametrize("sentence", [sentence for sentence in PLANTS if sentence not in RARE])
def test_planted_fault_is_found(sentence: str) -> None:
    first = FIRST.get(sentence, 0)
    seeds = SEEDS.get(sentence, range(first, first + SEEDS_MAX))[:SEEDS_MAX]
    with PLANTS[sentence]():
        found = any(run(seed).fault for seed in seeds)
    assert found, f"{SEEDS_MAX} runs did not show: {sentence}"
