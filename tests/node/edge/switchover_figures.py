"""How long nobody can write when the primary moves by plan: rounds on a real cluster under load, as a table.

`make bench-switchover ROUNDS=12` runs it for each way of replication. Clients write through the pool and, beside
them, to the databases directly; the first must see no error, the second see the stop of a server.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from itertools import pairwise

from edge.fault_world import DB_PORT, Ledger, obstacle, wait_for
from edge.pool_world import PGBOUNCER
from edge.pooled_world import POOL_PORT, Load, Pooled, Switched, switched

MODES = ("off", "quorum", "all")
HEAD = (
    "| replication | through the pool: median, worst | errors there | directly: median, worst "
    "| the answer's own figure: median | of it stop, promote | rows written, missing |"
)


def rounds(mode: str, number: int, pools: int) -> str:
    """One row of the table; raises AssertionError when a client of the pool saw an error or a row is missing."""
    hosts = Pooled(pools=pools)
    try:
        hosts.begin(synchronous=mode)
        found: list[Switched] = []
        direct: list[float] = []
        with Load((hosts.ip(4), POOL_PORT)) as load, Ledger(hosts, "direct") as ledger:
            for place in range(number):
                [primary] = hosts.writable()
                successor = [one for one in (1, 2, 3) if one != primary][place % 2]
                ledger.wait_for_rows(primary)
                seen = len(ledger.acknowledged)
                done = switched(hosts, load, successor)
                assert done.code == 200 and not done.errors, (done.answer, done.errors)
                ledger.wait_for_rows(successor)
                times = sorted(at for at, _, _ in ledger.acknowledged[max(0, seen - 5):])
                direct.append(max(later - at for at, later in pairwise(times)))
                found.append(done)
                print(f"  {mode} {place + 1}/{number}: {done.gap * 1000:.0f} ms {done.detail}", file=sys.stderr)
                wait_for("a whole cluster", hosts.whole, 60)
        place = (hosts.ip(hosts.writable()[0]), DB_PORT)
        missing = load.missing(place)
        assert not missing, f"{len(missing)} acknowledged rows are missing"
        return _row(mode, found, direct, len(load.acknowledged))
    finally:
        hosts.end()


def _row(mode: str, found: Sequence[Switched], direct: Sequence[float], rows: int) -> str:
    gaps = [one.gap for one in found]
    own = [one.detail["write_gap_ms"] for one in found]
    phases = [[one.detail["phases_ms"][name] for one in found] for name in ("stop", "promote")]
    errors = sum(len(one.errors) for one in found)
    return (
        f"| `{mode}` | {_two(gaps)} | {errors} | {_two(direct)} | {statistics.median(own) / 1000:.2f} s "
        f"| {', '.join(f'{statistics.median(one):.0f} ms' for one in phases)} | {rows}, 0 |"
    )


def _two(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.2f} s, {max(seconds):.2f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--pools", type=int, default=2)
    parser.add_argument("--mode", action="append", choices=MODES)
    parser.add_argument("--realtime", action="store_true", help="run before all else on this machine (as root)")
    chosen = parser.parse_args()
    if chosen.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))  # whatever is started inherits it
    if reason := obstacle() or ("" if PGBOUNCER else "pgbouncer is not installed"):
        sys.exit(reason)
    rows = [rounds(mode, chosen.rounds, chosen.pools) for mode in chosen.mode or MODES]
    print(
        f"{chosen.rounds} rounds each, {chosen.pools} pool hosts, {len(os.sched_getaffinity(0))} processors for all "
        f"hosts and clients, Linux {platform.release()}, load {os.getloadavg()[0]:.1f}"
        f"{', run before all else' if chosen.realtime else ''}\n\n{HEAD}"
    )
    print("|---" * (HEAD.count("|") - 1) + "|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
