"""``python -m swarm --seeds 0-199`` runs seeds; ``--hours 8`` is a campaign that goes on where it was left.

``--operations 10000000`` is a campaign of busy clients until the histories of so many operations were checked.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from math import inf
from pathlib import Path

from swarm.runs import CROWDED, YEAR, Result, run

STORY_LINES = 120
SUMS = (
    "cpu", "stepped", "skipped", "jumps", "events", "elections", "crashes", "changes", "operations", "unknown",
    "acknowledged", "undecided",
)  # fmt: skip
BATCH = 40
"""Seeds between two writes of a campaign's result."""

FAILED_MAX = 50


def main() -> int:
    """Run; 1 when a rule was broken."""
    parser = argparse.ArgumentParser(prog="swarm", description="QRaft at the seed's timers, years at a time")
    parser.add_argument("--seeds", default="0-199", help="one seed, or FIRST-LAST")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--hours", type=float, help="a campaign of so many hours")
    parser.add_argument("--operations", type=int, default=0, help="a campaign of busy clients until so many")
    parser.add_argument("--file", type=Path, help="the campaign's result; .cache/campaign.json, .cache/operations.json")
    parser.add_argument("--story", action="store_true", help="print the story of a single seed also when all is well")
    chosen = parser.parse_args()
    if chosen.hours or chosen.operations:
        file = chosen.file or Path(".cache/operations.json" if chosen.operations else ".cache/campaign.json")
        return campaign(chosen.hours or inf, file, chosen.workers, chosen.operations)
    first, _, last = chosen.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    began, total = time.monotonic(), Total()
    for result in results(seeds, chosen.workers):
        total.add(result)
        if result.fault or (chosen.story and len(seeds) == 1):
            tell_story(result)
    total.wall = time.monotonic() - began
    print(total.text())
    return 1 if total.failed else 0


def results(seeds: range, workers: int) -> Iterable[Result]:
    """The runs, in the order of their seeds."""
    if workers == 1 or len(seeds) == 1:
        yield from map(run, seeds)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(run, seeds)


def tell_story(result: Result) -> None:
    """What happened before it failed."""
    print(f"--- seed {result.seed}, {result.nodes} nodes, digest {result.digest}: {result.fault or 'all is well'}")
    print("\n".join(result.story[-STORY_LINES:]), flush=True)


class Total:
    """What many runs were together."""

    def __init__(self) -> None:
        self.seeds = 0
        self.wall = 0.0
        self.sums: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.failed: dict[str, str] = {}
        """Seed → what it broke."""

    def add(self, result: Result) -> None:
        """One more run."""
        self.seeds += 1
        for name in SUMS:
            self.sums[name] += getattr(result, name)
        self.faults.update(result.faults)
        if result.fault and len(self.failed) < FAILED_MAX:
            self.failed[str(result.seed)] = result.fault[:400]

    def text(self) -> str:
        """The figures, for people."""
        sums, seconds = self.sums, self.sums["stepped"] + self.sums["skipped"]
        speed = seconds / max(sums["cpu"], 1e-9)
        lines = [
            f"{self.seeds} seeds in {self.wall:.1f} s ({self.seeds / max(self.wall, 1e-9):.1f}/s), "
            f"{seconds / YEAR:.2f} cluster-years: {sums['stepped'] / 3600:.1f} hours stepped, "
            f"{sums['skipped'] / 3600:.1f} hours of quiet jumped over in {sums['jumps']} jumps",
            f"speed: {speed:,.0f} times real time a core ({sums['stepped'] / max(sums['cpu'], 1e-9):,.0f} stepped), "
            f"{seconds / YEAR / max(self.wall, 1e-9) * 86400:,.0f} cluster-years a day as it ran",
            f"{sums['events']} events, {sums['elections']} elections, {sums['crashes']} crashes, "
            f"{sums['changes']} changes of members",
            f"clients: {sums['operations']} operations checked, {sums['acknowledged']} writes acknowledged, "
            f"{sums['unknown']} of unknown outcome, {sums['undecided']} keys undecided",
            "injected: " + ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items())),
        ]
        if self.failed:
            lines.append("failed seeds: " + "; ".join(f"{seed}: {fault}" for seed, fault in self.failed.items()))
        return "\n".join(lines)

    def to_json(self, next_seed: int) -> dict[str, object]:
        """What is kept."""
        seconds = self.sums["stepped"] + self.sums["skipped"]
        return {
            "next_seed": next_seed, "seeds": self.seeds, "wall_seconds": round(self.wall, 3),
            "cluster_years": round(seconds / YEAR, 3),
            "cluster_years_a_day": round(seconds / YEAR / max(self.wall, 1e-9) * 86400, 1),
            **{name: round(float(self.sums[name]), 3) for name in SUMS},
            "faults": dict(sorted(self.faults.items())), "failed": self.failed,
        }  # fmt: skip

    @classmethod
    def from_json(cls, kept: dict[str, object]) -> Total:
        """What :meth:`to_json` gave."""
        total = cls()
        total.seeds, total.wall = int(str(kept["seeds"])), float(str(kept["wall_seconds"]))
        total.sums.update({name: float(str(kept[name])) for name in SUMS})  # type: ignore[arg-type]
        total.faults.update(kept["faults"])  # type: ignore[arg-type]
        total.failed.update(kept["failed"])  # type: ignore[call-overload]
        return total


def campaign(hours: float, file: Path, workers: int, operations: int = 0) -> int:
    """Seed after seed for so long; the result is written now and then, and a later campaign adds to it.

    With ``operations`` the seeds are those of busy clients, and it is over when so many were checked in all.
    """
    total, seed = Total(), CROWDED.start if operations else 1_000_000
    if file.exists():
        kept = json.loads(file.read_text())
        total, seed = Total.from_json(kept), int(kept["next_seed"])
        assert (seed in CROWDED) == bool(operations), f"{file} is of a campaign of the other kind: name another file"
        print(f"going on from seed {seed} of {file}", flush=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    began, before = time.monotonic(), total.wall
    with ProcessPoolExecutor(workers) as pool:
        while time.monotonic() < began + hours * 3600 and not 0 < operations <= total.sums["operations"]:
            for result in pool.map(run, range(seed, seed + BATCH)):
                total.add(result)
                if result.fault:
                    tell_story(result)
            seed += BATCH
            total.wall = before + time.monotonic() - began
            fresh = file.with_suffix(".new")
            fresh.write_text(json.dumps(total.to_json(seed), indent=1) + "\n")
            fresh.replace(file)
            checked = f"{total.sums['operations']:.0f} operations checked"
            print(f"{total.text().splitlines()[0]}; {checked}, failed {len(total.failed)}", flush=True)
    print(total.text())
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
