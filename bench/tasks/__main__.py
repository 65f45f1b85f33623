"""``make bench-tasks``: the product beside Celery with Redis, in turns within one run.

The peer keeps its queue in one process on one host: with ``fsync`` (appendfsync always) what it acknowledged survives
that process, and is gone with the host's disk; without, the last second or all is gone with the process. The product
answers when a majority of three hosts has flushed it.
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
from bench.tasks import cells

Values = dict[str, Any]
CELLS = ("submit", "start", "history", "failover")
CONTESTED = ("submit", "start")
"""The peer takes part in these."""


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
            with cells.cluster(folder, slots=chosen.running) as running:
                return cells.failover(running, chosen.running, 20.0)


def contest(cell: str, folder: Path, chosen: Namespace, *, fsync: bool) -> Values:
    """The peer, once."""
    with cells.peer(folder, fsync=fsync) as site:
        if cell == "start":
            cells.celery_start(site, 10, 0.05)
            return cells.celery_start(site, chosen.starts, 0.05)
        return {form: cells.celery_submission(site, form, chosen.seconds) for form in ("single", "batch")}


def run(chosen: Namespace) -> dict[str, dict[str, list[Values]]]:
    """Every cell: system → its rounds."""
    found: dict[str, dict[str, list[Values]]] = {}
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
                with tempfile.TemporaryDirectory(dir=programs.CACHE) as folder:
                    watch = neighbours.Watch()
                    values = once(Path(folder))
                values["foreign_cores"] = round(watch.foreign_cores(), 2)
                found.setdefault(cell, {}).setdefault(name, []).append(values)
                print(f"round {number + 1}: {cell}, {name}: {values}", file=sys.stderr, flush=True)
    return found


def table(found: dict[str, dict[str, list[Values]]]) -> list[str]:
    """Medians of the rounds."""
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
            f"{values['tasks']:,} tasks that are over: {values['grown_mib']:.0f} MiB a node more, submissions "
            f"{values['before']:,.0f} then {values['after']:,.0f} a second ({values['slower']:.0%} slower)"
        )
    for values in found.get("failover", {}).get("qluster", []):
        lines.append(
            f"failover with {values['tasks']:,} running: {values['states']}, {values['runs']} runs, "
            f"{values['again']} tasks begun again, {values['twice']} twice at once, "
            f"over after {values['seconds']:.0f} s"
        )
    return head + lines


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
    parser.add_argument("--results", type=Path, default=programs.CACHE / "results" / "tasks.json")
    chosen = parser.parse_args(words)
    chosen.cells = chosen.cells or list(CELLS)
    if chosen.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))  # whatever is started inherits it
    programs.CACHE.mkdir(parents=True, exist_ok=True)
    neighbours.wait_until_calm(10.0)
    found = run(chosen)
    print("\n".join(table(found)))
    chosen.results.parent.mkdir(parents=True, exist_ok=True)
    chosen.results.write_text(json.dumps(found, indent=1))
    print(f"results: {chosen.results}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
