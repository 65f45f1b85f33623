"""``make bench-tasks``: the product beside Celery with Redis, in turns within one run.

The peer keeps its queue in one process on one host: with ``fsync`` (appendfsync always) what it acknowledged survives
that process, and is gone with the host's disk; without, the last second or all is gone with the process. The product
answers when a majority of three hosts has flushed it.

What was measured is kept after each measurement; ``--resume`` goes on after the last of them. A measurement that does
not come to its end says how far it came, counts as failed, and the next one is taken.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from bench import neighbours, programs
from bench.load import LoadFailed
from bench.processes import NotStarted
from bench.tasks import cells

Values = dict[str, Any]
Found = dict[str, dict[str, list[Values]]]
CELLS = ("submit", "start", "history", "failover")
CONTESTED = ("submit", "start")
"""The peer takes part in these."""
FAILED = "failed"
"""Stands in the place of figures, with the reason."""


def measure(cell: str, folder: Path, chosen: Namespace) -> Values:
    """The product, once."""
    match cell:
        case "submit":
            found: Values = {}
            h2load = programs.bring("h2load")
            for form in ("single", "batch"):
                with cells.cluster(folder) as running:
                    found[form] = cells.submission(running, h2load, form, 1 if form == "batch" else chosen.seconds)
            return found
        case "start":
            with cells.cluster(folder) as running:
                cells.start(running, 10, 0.05)
                return cells.start(running, chosen.starts, 0.05)
        case "history":
            with cells.cluster(folder) as running:
                return cells.history(running, programs.bring("h2load"), chosen.history, chosen.seconds)
        case _:
            with cells.cluster(folder, chosen.running, cells.CROWDED) as running:
                return cells.failover(running, chosen.running)


def contest(cell: str, folder: Path, chosen: Namespace, *, fsync: bool) -> Values:
    """The peer, once."""
    with cells.peer(folder, fsync=fsync) as site:
        if cell == "start":
            cells.celery_start(site, 10, 0.05)
            return cells.celery_start(site, chosen.starts, 0.05)
        return {form: cells.celery_submission(site, form, chosen.seconds) for form in ("single", "batch")}


def run(chosen: Namespace) -> Found:
    """Every cell: system → its rounds."""
    found: Found = json.loads(chosen.results.read_text()) if chosen.resume and chosen.results.exists() else {}
    for number in range(chosen.rounds):
        for cell in chosen.cells:
            systems: dict[str, Callable[[Path], Values]] = {"qluster": lambda folder, cell=cell: measure(
                cell, folder, chosen)}  # type: ignore[misc]
            if cell in CONTESTED:
                systems |= {
                    "celery, fsync": lambda folder, cell=cell: contest(cell, folder, chosen, fsync=True),  # type: ignore[misc]
                    "celery": lambda folder, cell=cell: contest(cell, folder, chosen, fsync=False),  # type: ignore[misc]
                }
            for name, once in systems.items():
                rounds = found.setdefault(cell, {}).setdefault(name, [])
                if len(rounds) > number and FAILED not in rounds[number]:
                    continue
                rounds[number:] = [_once(once)]
                print(f"round {number + 1}: {cell}, {name}: {rounds[number]}", file=sys.stderr, flush=True)
                chosen.results.write_text(json.dumps(found, indent=1))
    return found


def _once(measured: Callable[[Path], Values]) -> Values:
    """One measurement in a folder of its own; what went wrong with it where it found nothing."""
    with tempfile.TemporaryDirectory(dir=programs.CACHE) as folder:
        watch = neighbours.Watch()
        try:
            values = measured(Path(folder))
        except (cells.NotReached, LoadFailed, NotStarted, OSError) as fault:
            values = {FAILED: f"{type(fault).__name__}: {fault}"}
    return values | {"foreign_cores": round(watch.foreign_cores(), 2)}


def table(found: Found) -> list[str]:
    """Medians of the rounds."""
    failed = [f"{cell}, {name}: {values[FAILED]}" for cell, systems in found.items()
              for name, rounds in systems.items() for values in rounds if FAILED in values]  # fmt: skip
    found = {cell: {name: good for name, rounds in systems.items()
                    if (good := [values for values in rounds if FAILED not in values])}
             for cell, systems in found.items()}  # fmt: skip
    lines = []
    for form in ("single", "batch"):
        for name, rounds in found.get("submit", {}).items():
            each = [values[form] for values in rounds]
            rate, p50, p99 = (median(one[field] for one in each) for field in ("tasks_a_second", "p50", "p99"))
            lines.append(f"| submit, {form} | {name} | {rate:,.0f} tasks/s | {p50 * 1e3:.1f} ms | {p99 * 1e3:.1f} ms |")
    for name, rounds in found.get("start", {}).items():
        p50, p99 = (median(values[field] for values in rounds) for field in ("p50", "p99"))
        lines.append(f"| start | {name} | | {p50 * 1e3:.1f} ms | {p99 * 1e3:.1f} ms |")
    head = ["| | | rate | p50 | p99 |", "|---|---|---|---|---|"] if lines else []
    for values in found.get("history", {}).get("qluster", []):
        lines.append(
            f"{values['tasks']:,} tasks that are over: {values['grown_mib']:.0f} MiB a node more; submissions "
            f"{values['before']['tasks_a_second']:,.0f} a second before and {values['after']['tasks_a_second']:,.0f} "
            f"after ({values['slower']:.1%} slower), p99 {values['before']['p99'] * 1e3:.0f} and "
            f"{values['after']['p99'] * 1e3:.0f} ms"
        )
    for values in found.get("failover", {}).get("qluster", []):
        lines.append(
            f"failover with {values['tasks']:,} running, begun within {values['all_begun']:.0f} s: {values['hit']} on "
            f"the dead host, {values['again']} begun again, half of them after {values['elsewhere_p50']:.1f} s and all "
            f"after {values['elsewhere_worst']:.1f} s, {values['twice']} twice at once; ends: {values['ended']}"
        )
    return head + lines + failed


def main(words: list[str]) -> int:
    """Measure, print, keep."""
    parser = ArgumentParser(prog="bench-tasks", description=__doc__)
    parser.add_argument("--cell", dest="cells", action="append", choices=CELLS, help="only these")
    parser.add_argument("--rounds", type=int, default=1, help="of everything")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--starts", type=int, default=300, help="tasks whose start is timed")
    parser.add_argument("--history", type=int, default=cells.HISTORY, help="tasks of the history")
    parser.add_argument("--running", type=int, default=1000, help="tasks that run when the leader dies")
    parser.add_argument("--realtime", action="store_true", help="run everything before all else on this machine")
    parser.add_argument("--resume", action="store_true", help="go on after what the results have")
    parser.add_argument("--results", type=Path, default=programs.CACHE / "results" / "tasks.json")
    chosen = parser.parse_args(words)
    chosen.cells = chosen.cells or list(CELLS)
    if chosen.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))  # whatever is started inherits it
    programs.CACHE.mkdir(parents=True, exist_ok=True)
    neighbours.wait_until_calm(10.0)
    chosen.results.parent.mkdir(parents=True, exist_ok=True)
    found = run(chosen)
    print("\n".join(table(found)))
    print(f"results: {chosen.results}")
    return int(any(FAILED in values for systems in found.values() for each in systems.values() for values in each))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
