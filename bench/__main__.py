"""The benchmark's command line: which cells, how often; the results go to a file, a table and a plot."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench import cell, contest, neighbours, programs, report
from bench.cell import Cell
from bench.contest import Plan, Skipped
from bench.failover import NotBack
from bench.load import LoadFailed
from bench.processes import NotStarted

ROUNDS, TRIALS = 3, 10
"""Of a cell; of the failover, whose single results differ most."""
ONCE = ("million",)
"""Cells that are too long to be repeated."""


def main(words: list[str]) -> int:
    """Run the cells; 1 when one of them failed."""
    chosen = _parser().parse_args(words)
    cells = cell.choose(chosen.cell, cell.all_cells()) if chosen.cell else (
        cell.quick_cells() if chosen.quick else cell.all_cells())
    if not cells:
        print(f"no cell is called {' '.join(chosen.cell)}. They are: "
              + " ".join(one.name for one in cell.all_cells()), file=sys.stderr)
        return 2
    if chosen.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))  # whatever is started inherits it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = programs.CACHE / f"run-{os.getpid()}"
    folder.mkdir(parents=True)
    try:
        plan = _plan(chosen, folder)
        results: dict[str, Any] = {"machine": _machine(plan), "plan": _settings(plan, chosen), "samples": []}
        if chosen.add:
            results["samples"] = _former(chosen.results / "results.json", cells)
        failed = sum(_run(one, plan, _rounds(one, chosen), results, chosen.results) for one in cells)
    except programs.Missing as missing:
        print(missing, file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(report.table(results))
    report.plot(results, chosen.results)
    print(f"results: {chosen.results / 'results.json'}")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--cell", action="append", default=[], metavar="NAME",
                        help="only the cells of this name; * stands for anything (http-64-256, bytes-*)")
    parser.add_argument("--rounds", type=int, default=0, help=f"of each cell (default {ROUNDS}, failover {TRIALS})")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load, after the warming-up")
    parser.add_argument("--commits", type=int, default=1_000_000, help="of the cell million")
    parser.add_argument("--add", action="store_true", help="keep what the results have of other cells")
    parser.add_argument("--patience", type=float, default=20.0,
                        help="seconds to wait for a calm machine before each measurement; 0: do not wait")
    parser.add_argument("--attempts", type=int, default=3, help="at a measurement that neighbours disturb")
    parser.add_argument("--realtime", action="store_true",
                        help="run everything before all else on this machine (as root), when it is not calm")
    parser.add_argument("--quick", action="store_true", help="few cells, one round, one second: does it work?")
    parser.add_argument("--source", type=Path, default=programs.ROOT / "node", help="folder of the daemon's package")
    parser.add_argument("--results", type=Path, default=programs.CACHE / "results", help="folder for the results")
    return parser


def _plan(chosen: argparse.Namespace, folder: Path) -> Plan:
    plan = Plan(
        folder, chosen.source.resolve(), programs.bring("etcd"), programs.bring("h2load"), chosen.seconds, warm=1.0,
        idle_seconds=60.0, commits=chosen.commits, patience=chosen.patience, attempts=max(1, chosen.attempts),
    )  # fmt: skip
    if chosen.quick:
        plan = replace(plan, seconds=1.0, idle_seconds=3.0, commits=min(chosen.commits, 3000),
                       patience=0.0, attempts=1)
    chosen.results.mkdir(parents=True, exist_ok=True)
    return plan


def _rounds(one: Cell, chosen: argparse.Namespace) -> int:
    if one.kind in ONCE or chosen.quick:
        return 1
    return int(chosen.rounds) or (TRIALS if one.kind == "failover" else ROUNDS)


def _run(one: Cell, plan: Plan, rounds: int, results: dict[str, Any], folder: Path) -> int:
    """All rounds of a cell, the contenders by turns; how many measurements failed."""
    failed = 0
    names = contest.contenders(one)
    for number in range(1, rounds + 1):
        # Each is first as often as the others: what a neighbour of the machine does hits all alike.
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            sample = {"cell": one.name, "system": name, "round": number, **_sample(one, name, plan)}
            failed += "failed" in sample
            results["samples"].append(sample)
            print(report.line(sample), flush=True)
            (folder / "results.json").write_text(json.dumps(results, indent=1))
    return failed


def _sample(one: Cell, name: str, plan: Plan) -> dict[str, Any]:
    """One measurement; repeated when neighbours disturbed it, and the calmest of all is what counts."""
    found: list[dict[str, Any]] = []
    for _ in range(plan.attempts):
        neighbours.wait_until_calm(plan.patience)
        watch = neighbours.Watch()
        try:
            sample: dict[str, Any] = {"values": contest.measure(one, name, plan)}
        except Skipped as reason:
            return {"skipped": str(reason)}
        except (LoadFailed, NotStarted, NotBack, OSError, RuntimeError) as fault:
            return {"failed": f"{type(fault).__name__}: {fault}"}
        sample["foreign_cores"] = watch.foreign_cores()
        found.append(sample)
        if sample["foreign_cores"] <= neighbours.CALM_CORES:
            break
    return min(found, key=lambda sample: float(sample["foreign_cores"]))


def _machine(plan: Plan) -> dict[str, Any]:
    models = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
              if line.startswith("model name")]
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "kernel": platform.release(),
        "python": platform.python_version(), "processor": models[0] if models else platform.machine(),
        "cores": os.cpu_count(), "load_at_start": os.getloadavg()[0], "etcd": plan.etcd.version(),
        "h2load": plan.h2load.version(), "pysyncobj": version("pysyncobj"),
    }  # fmt: skip


def _former(file: Path, cells: list[Cell]) -> list[dict[str, Any]]:
    """What was measured before, without the cells that are measured anew."""
    anew = {one.name for one in cells}
    known = json.loads(file.read_text())["samples"] if file.exists() else []
    return [sample for sample in known if sample["cell"] not in anew]


def _settings(plan: Plan, chosen: argparse.Namespace) -> dict[str, Any]:
    return {
        "seconds": plan.seconds, "warm": plan.warm, "idle_seconds": plan.idle_seconds, "commits": plan.commits,
        "realtime": chosen.realtime,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
