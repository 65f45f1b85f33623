"""Decides how planted faults are hunted, and what the table of them says.

``python -m swarm.hunt`` hunts them all, writes the seeds that found them to ``found.json`` and the table to the
documentation; ``python -m swarm.hunt B5`` hunts those whose sentence contains the words.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from time import process_time

from consensus import planted_ways, planted_witness
from sim import planted_force, planted_pairs
from sim import planted_witness as whole_witness
from swarm.planted import ABSENT, AIMED, PLANTS
from swarm.runs import CROWDED, DEPOSED, FEW, Result, run

RUNS_MAX = 3000
SECONDS_MAX = 30.0
"""Of one core; a fault that hides for longer is held by a directed test as well."""
STORMS = 2
"""Storms of one run of a hunt: a fault that shows at all shows soon, and another seed is another mix."""

OF_VOTES: dict[str, list[str]] = {
    "consensus/test_ways_world.py": list(planted_ways.PLANTS),
    "consensus/test_witness_world.py": list(planted_witness.PLANTS),
    "sim/test_witness.py": list(whole_witness.PLANTS),
    "sim/test_pairs.py": list(planted_pairs.PLANTS),
    "sim/test_force.py": [*planted_force.PLANTS, *planted_force.DIRECTED, *planted_force.RUNS],
}
"""Test → what it plants."""

FOUND = Path(__file__).with_name("found.json")
PAGE = Path(__file__).parents[3] / "docs" / "planted-faults.md"


def try_seed(sentence: str, seed: int) -> Result:
    """One run with the fault planted."""
    with PLANTS[sentence]():
        try:
            return run(seed, STORMS, quiet=False)
        except Exception as error:  # noqa: BLE001 - a planted fault may break anything; that is found, too
            return Result(seed, 0, f"{type(error).__name__}: {error}")


def first_seed(sentence: str) -> int:
    """Where its hunt begins: at runs of the kind that it takes."""
    return AIMED[sentence].start if sentence in AIMED else 0


def hunt(sentence: str) -> dict[str, object] | None:
    """The first seed that shows it."""
    began, first = process_time(), first_seed(sentence)
    for count, seed in enumerate(range(first, first + RUNS_MAX), start=1):
        result = try_seed(sentence, seed)
        seconds = process_time() - began
        if result.fault:
            again = try_seed(sentence, seed)
            same = (again.fault, again.digest) == (result.fault, result.digest)
            return {
                "seed": seed, "runs": count, "seconds": round(seconds, 2), "found": _short(result.fault),
                "digest": result.digest, "replayed": same,
            }  # fmt: skip
        if seconds > SECONDS_MAX:
            break
    return None


def _short(fault: str) -> str:
    """Which rule it was: the words before the facts."""
    kind, _, rest = fault.partition(": ")
    rule = rest.split(": ")[0] if kind == "Violated" else "the node's own assertion"
    return rule if kind in ("Violated", "AssertionError") else kind


def main(words: list[str]) -> int:
    """Hunt; 1 when one was not found or not replayed."""
    found: dict[str, dict[str, object]] = json.loads(FOUND.read_text()) if FOUND.exists() else {}
    missed = []
    chosen = [sentence for sentence in PLANTS if not words or any(word in sentence for word in words)]
    with ProcessPoolExecutor(2) as pool:
        for sentence, row in zip(chosen, pool.map(hunt, chosen), strict=True):
            if row is None or not row["replayed"]:
                missed.append(sentence)
                found.pop(sentence, None)
                print(f"NOT FOUND OR NOT REPLAYED {sentence}: {row}", flush=True)
                continue
            found[sentence] = row
            print(f"{row['seed']:>5} {row['runs']:>5} {row['seconds']:>7}s {sentence}: {row['found']}", flush=True)
            _keep(found)
    print(f"{len(found)} found, {len(missed)} missed: {missed}")
    return 1 if missed else 0


def _keep(found: dict[str, dict[str, object]]) -> None:
    ordered = {one: found[one] for one in PLANTS if one in found}
    FOUND.write_text(json.dumps(ordered, indent=1) + "\n")
    PAGE.write_text(page(ordered))


def page(found: dict[str, dict[str, object]]) -> str:
    """The table, as it stands in the documentation."""
    seconds = sorted(float(str(row["seconds"])) for row in found.values())
    lines = [
        "# Planted faults",
        "",
        "<!-- made by `make planted`; do not edit -->",
        "",
        "A simulation that finds nothing may be blind.",
        "So faults are planted into QRaft, one at a time, and each must be found: bugs of real implementations (B),",
        "and each rule (S, D) broken on purpose.",
        "`seed` is the first one, counted from 0, whose run breaks a rule; `runs` and `seconds` (of one core) are what",
        "that took. Every one was run a second time from its seed and gave the same story, line by line.",
        "Some faults take runs of a certain kind, and are counted from where such seeds begin:",
        f"from {CROWDED.start} many clients ask all the time,",
        f"from {FEW.start} no more nodes are there after a storm than a cluster needs,",
        f"from {DEPOSED.start} leaders are cut off with entries that nobody wants, and come back.",
        "",
        f"{len(found)} faults, all found; median {seconds[len(seconds) // 2]:.2f} s, longest {seconds[-1]:.2f} s.",
        "",
        "| fault | source | seed | runs | seconds | found by |",
        "|---|---|---|---|---|---|",
    ]
    for sentence, row in found.items():
        source, _, what = sentence.partition(": ")
        cells = [what, source, row["seed"], row["runs"], row["seconds"], row["found"]]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    lines += ["", "## Bugs of the list without a row", "", "| source | why |", "|---|---|"]
    lines += [f"| {source} | {why} |" for source, why in ABSENT.items()]
    lines += [
        "",
        "Faults of the whole node (database, joining, reigns, answers to clients) are planted in",
        "`tests/node/sim/planted.py` and demanded by `tests/node/sim/test_planted_faults.py`.",
        "",
        "## Faults of arbiters, of two nodes, and of a forced quorum",
        "",
        "Each is demanded by the test beside it, with worlds of its own kind or a run of its own.",
        "",
        "| fault | demanded by |",
        "|---|---|",
    ]
    lines += [f"| {fault} | `tests/node/{test}` |" for test, plants in OF_VOTES.items() for fault in plants]
    lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
