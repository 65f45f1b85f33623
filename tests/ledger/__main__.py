"""The long form: rounds of other seeds until the time is over; results accumulate. `make ledger SECONDS=3600`."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from faults import cables
from ledger import cluster, results
from ledger.campaign import Round, drawn, play
from ledger.strokes import BY_NAME


def main() -> int:
    """Play rounds; 0 when nothing was wrong."""
    words = argparse.ArgumentParser(prog="make ledger", description=__doc__)
    words.add_argument("--seconds", type=float, default=600.0, help="for all rounds together")
    words.add_argument("--round", type=float, default=240.0, help="seconds of faults in one round")
    words.add_argument("--seed", type=int, help="of the first round; else the one after the last that was played")
    words.add_argument("--mode", choices=("quorum", "all", "off"), help="instead of the one that is drawn")
    words.add_argument("--hosts", type=int, choices=(3, 5), help="instead of what is drawn")
    words.add_argument("--rate", type=float, default=4000.0, help="commits in a second, at most")
    words.add_argument("--fault", action="append", choices=sorted(BY_NAME), help="only these, in this order")
    words.add_argument("--keep", type=Path, default=Path(".cache/ledger"), help="where results are kept")
    words.add_argument("--report", action="store_true", help="only sum up what was played")
    chosen = words.parse_args()
    if chosen.report:
        print(results.report(results.read(chosen.keep)))
        return 0
    # Whoever ends us wants hosts, mounts and daemons to be gone as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if reason := cables.obstacle() or cluster.obstacle():
        print(f"not here: {reason}", file=sys.stderr)
        return 2
    seed = chosen.seed if chosen.seed is not None else results.following_seed(chosen.keep)
    strokes = [BY_NAME[name] for name in chosen.fault or ()]
    failed, end = False, time.monotonic() + chosen.seconds
    while (left := end - time.monotonic()) > 0:
        round_ = drawn(seed)
        round_.mode, round_.hosts = chosen.mode or round_.mode, chosen.hosts or round_.hosts
        round_.rate = chosen.rate
        play(round_, min(left, chosen.round), keep=chosen.keep, strokes=strokes)
        results.append(chosen.keep, round_)
        _show(round_)
        failed = failed or bool(round_.violations)
        seed += 1
    return 1 if failed else 0


def _show(round_: Round) -> None:
    worst = max(round_.struck, key=lambda one: one.outage, default=None)
    print(
        f"seed {round_.seed}: {round_.mode}, {round_.hosts} hosts, {len(round_.struck)} faults, {round_.failovers} "
        f"failovers, {round_.commits} commits, {sum(one.missing for one in round_.struck)} missing, worst outage "
        f"{f'{worst.outage:.1f} s ({worst.kind})' if worst else ''}, {round_.seconds:.0f} s, "
        f"{len(round_.violations) or 'no'} violations", flush=True,
    )  # fmt: skip
    for text in (*round_.violations, *round_.left_out):
        print("   ", text[:2000], flush=True)


if __name__ == "__main__":
    sys.exit(main())
