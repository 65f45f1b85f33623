"""The long form: rounds of other seeds, one after the other, for some time. `make faults SECONDS=…`."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from faults import cables, disks
from faults.campaign import Round, drawn, play


def main() -> int:
    """Play rounds; 0 when nothing was wrong."""
    words = argparse.ArgumentParser(prog="make faults", description=__doc__)
    words.add_argument("--seconds", type=float, default=300.0, help="for all rounds together")
    words.add_argument("--round", type=float, default=30.0, help="seconds of faults in one round")
    words.add_argument("--seed", type=int, default=1, help="of the first round")
    words.add_argument("--keep", type=Path, default=Path(".cache/faults"), help="where failing rounds are kept")
    chosen = words.parse_args()
    # Whoever ends us wants hosts, mounts and daemons to be gone as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    reason = cables.obstacle() or disks.obstacle()
    if reason:
        print(f"not here: {reason}", file=sys.stderr)
        return 2
    rounds: list[Round] = []
    end = time.monotonic() + chosen.seconds
    while not rounds or time.monotonic() < end:
        round_ = play(drawn(chosen.seed + len(rounds)), chosen.round, chosen.keep)
        rounds.append(round_)
        _show(round_)
    return _sum_up(rounds, chosen.keep)


def _show(round_: Round) -> None:
    kind = f"{round_.hosts} hosts{', relay' if round_.relayed else ''}{', faulty disks' if round_.disks else ''}"
    print(
        f"seed {round_.seed}: {kind}: {round_.operations} operations ({round_.unknown} unknown), "
        f"{sum(round_.struck.values())} faults, {len(round_.endings)} daemons ended, term {round_.term}, "
        f"back after {round_.back_seconds:.1f} s, {len(round_.violations) or 'no'} violations", flush=True,
    )  # fmt: skip
    for violation in round_.violations:
        print("   ", violation[:4000].replace("\n", "\n    "), flush=True)


def _sum_up(rounds: list[Round], keep: Path) -> int:
    struck: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    for one in rounds:
        struck.update(one.struck)
        counts.update(one.counts)
        answers.update(one.answers)
    failing = [one.seed for one in rounds if one.violations]
    print(json.dumps({
        "rounds": len(rounds), "operations": sum(one.operations for one in rounds),
        "acknowledged_writes": sum(one.acknowledged for one in rounds), "unknown": sum(one.unknown for one in rounds),
        "faults": dict(sorted(struck.items())), "disks_and_network": dict(sorted(counts.items())),
        "answers": dict(sorted(answers.items())), "daemons_ended": sum(len(one.endings) for one in rounds),
        "failing_seeds": failing,
    }, indent=1))  # fmt: skip
    if failing:
        print(f"what explains them is in {keep}")
    return 1 if failing else 0


if __name__ == "__main__":
    sys.exit(main())
