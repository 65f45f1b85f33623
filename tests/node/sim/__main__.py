"""Run many seeds: ``python -m sim --seeds 0-999``; a seed that fails prints its story."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from sim.runs import Result, run

STORY_LINES = 120


def main() -> int:
    """Run the seeds; 1 when one failed."""
    parser = argparse.ArgumentParser(description="simulate whole clusters")
    parser.add_argument("--seeds", default="0-199", help="one seed, or FIRST-LAST")
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    first, _, last = chosen.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    began = time.monotonic()
    if chosen.workers > 1 and len(seeds) > 1:
        with ProcessPoolExecutor(chosen.workers) as pool:
            results = list(pool.map(run, seeds))
    else:
        results = [run(seed) for seed in seeds]
    return tell(results, time.monotonic() - began)


def tell(results: list[Result], seconds: float) -> int:
    """What the runs were."""
    failed = [result for result in results if result.fault]
    for result in failed[:3]:
        print(f"--- seed {result.seed}: {result.fault}")
        print("\n".join(result.story[-STORY_LINES:]))
    injected: Counter[str] = Counter()
    for result in results:
        injected.update(result.injected)
    hours = sum(result.seconds for result in results) / 3600
    turns, reigns = sum(result.turns for result in results), sum(result.reigns for result in results)
    print(
        f"{len(results)} seeds in {seconds:.1f} s ({len(results) / seconds:.1f}/s), {hours:.1f} simulated hours, "
        f"{turns} turns of nodes, {reigns} reigns, {sum(result.rows for result in results)} rows"
    )
    outcomes: Counter[str] = Counter()
    for result in results:
        outcomes.update(result.outcomes)
    print("answers: " + ", ".join(f"{name} {count}" for name, count in sorted(outcomes.items())))
    print("injected: " + ", ".join(f"{name} {count}" for name, count in sorted(injected.items())))
    if failed:
        print("failed seeds: " + " ".join(str(result.seed) for result in failed))
        print("faults: " + "; ".join(sorted({result.fault[:160] for result in failed})))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
