"""Clusters of one to nine nodes at the seed's timers keep every rule through storms, and are whole after them."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
from collections import Counter
from math import inf
from pathlib import Path
from unittest.mock import patch

import pytest
from swarm.__main__ import Total, campaign
from swarm.registers import Registers
from swarm.runs import CROWDED, DEPOSED, FEW, VOTES, run

SEEDS = int(os.environ.get("SWARM_SEEDS", "40"))
"""Fresh seeds; the long form is `make campaign`."""

MOMENT = 0.1 / 3600
"""Hours of a campaign that is over after its first batch."""

KEPT: dict[int, str] = {
    46: "objects told apart by their place in memory made two different states equal",
    67: "two memories lost at once: one lost, one of a disk that lied",
    232: "a removed node that restarted from a snapshot was never told so, and followed for ever",
    236: "a node that was admitted by an entry that was cut followed for ever: it is welcomed by committed lists only",
    399: "a crash between a snapshot and the log that it replaces",
    480: "a leader notices that a node lost what it had confirmed",
    20000303: "a former leader that had voted for its successor won the others back",
    20000557: "two nodes that drew nearly the same again and again divided the votes for ever",
    20000390: "the power loss of a disk that lied came after the storm",
}
"""Seeds that once failed, and what they showed."""


@pytest.mark.parametrize("seed", KEPT, ids=str)
def test_seed_that_once_failed_is_well(seed: int) -> None:
    result = run(seed, 2, quiet=False)
    assert not result.fault, result.fault + "\n" + "\n".join(result.story[-60:])


def test_rules_hold_and_every_cluster_recovers() -> None:
    total = Total()
    for seed in range(5000, 5000 + SEEDS):
        result = run(seed)
        total.add(result)
        assert not result.fault, f"seed {seed}: {result.fault}\n" + "\n".join(result.story[-60:])
    print(total.text())
    assert total.sums["skipped"] > 5 * total.sums["stepped"]
    assert total.sums["operations"] > 100 * SEEDS
    assert total.sums["elections"] > 5 * SEEDS
    rare = {"torn between snapshot and log", "lying disk", "snapshot lost on its way", "tail lost by a lying disk"}
    assert set(total.faults) > {"crash", "partition", "disk lost", "transfer", "slow save", "clock drift"} - rare


@pytest.mark.parametrize("kind", [FEW, DEPOSED], ids=["few", "deposed"])
def test_storms_of_a_certain_shape_are_survived(kind: range) -> None:
    for seed in kind[:12]:
        result = run(seed, 2)
        assert not result.fault, f"seed {seed}: {result.fault}\n" + "\n".join(result.story[-60:])
        assert result.elections > 0 and result.operations > 0
    assert any("stay away" in line or "cut off with a tail" in line for line in result.story)


def test_storms_in_which_what_counts_changes_are_survived() -> None:
    faults: Counter[str] = Counter()
    for seed in VOTES[:12]:
        result = run(seed, 2)
        assert not result.fault, f"seed {seed}: {result.fault}\n" + "\n".join(result.story[-60:])
        faults += result.faults
    assert faults["votes changed"] > 5 and faults["voter rests"] > 5 and faults["sides changed"] > 20


def test_what_busy_clients_were_told_is_linearizable() -> None:
    total = Total()
    for seed in CROWDED[:6]:
        result = run(seed, 1)
        total.add(result)
        assert not result.fault, f"seed {seed}: {result.fault}\n" + "\n".join(result.story[-60:])
    assert total.sums["operations"] > 5000
    assert total.sums["acknowledged"] > 500 and total.sums["unknown"] > 0 and total.sums["undecided"] == 0


def test_histories_of_busy_clients_show_a_compare_and_set_that_does_not_compare() -> None:
    """All nodes agree and no rule sees it: only what clients were told contradicts itself."""
    sound = Registers.apply

    def apply(registers: Registers, payload: bytes) -> bool:
        return sound(registers, payload.replace(b"|cas|", b"|write|"))

    with patch.object(Registers, "apply", apply):
        faults = [run(seed, 1).fault for seed in CROWDED[:4]]
    assert any("linearizability: key" in fault for fault in faults), faults


def test_seed_replays_exactly() -> None:
    one, again = run(7, 3), run(7, 3)
    assert (one.story, one.events, one.operations) == (again.story, again.events, again.operations)
    assert one.digest == again.digest


def test_campaign_goes_on_where_it_was_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarm.__main__.BATCH", 2)
    monkeypatch.setattr("swarm.runs.CYCLES", 1)
    file = tmp_path / "campaign.json"
    assert campaign(MOMENT, file, 1) == 0
    first = file.read_text()
    assert campaign(MOMENT, file, 1) == 0
    assert '"seeds": 2' in first and '"seeds": 4' in file.read_text()
    assert '"failed": {}' in file.read_text()


def test_campaign_of_operations_ends_when_enough_were_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarm.__main__.BATCH", 2)
    monkeypatch.setattr("swarm.runs.CYCLES", 1)
    file = tmp_path / "operations.json"
    assert campaign(inf, file, 1, operations=1) == 0
    kept = json.loads(file.read_text())
    assert kept["operations"] >= 1 and kept["seeds"] % 2 == 0 and kept["next_seed"] == CROWDED.start + kept["seeds"]
    before = file.read_text()
    assert campaign(inf, file, 1, operations=1) == 0
    assert file.read_text() == before, "there were enough already"
    with pytest.raises(AssertionError, match="of the other kind"):
        campaign(MOMENT, file, 1)


def test_total_counts_what_runs_were() -> None:
    total = Total()
    result = run(3, 1)
    total.add(result)
    total.add(result)
    assert total.seeds == 2 and total.sums["events"] == 2 * result.events
    assert total.faults == Counter({name: 2 * count for name, count in result.faults.items()})
    kept = Total.from_json(total.to_json(9))
    assert (kept.seeds, kept.faults, kept.failed) == (total.seeds, total.faults, total.failed)
    assert kept.sums["stepped"] == pytest.approx(total.sums["stepped"], abs=0.01)
