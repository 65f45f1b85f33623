"""The benchmark's command line: which cells, how often. Every trial is stored; what is stored is not done again."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench import programs
from bench.database import cell, report, trial
from bench.database.cell import Cell
from bench.database.hosts import CLIENT, NET, DatabaseHosts, DatabaseSite, obstacle, standing
from bench.database.systems.base import System
from bench.database.systems.patroni import TIMES, Patroni
from bench.database.systems.qluster import DatabaseQluster, times
from bench.processes import NotStarted
from bench.site import CALM

TRIALS = 10
BLOCK = 5
"""Trials of a cell at one system before the other one has its turn: a cluster is made for each block."""
FAILURES = (NotStarted, trial.NotWhole, OSError, RuntimeError, subprocess.SubprocessError, *trial.ERRORS)


@dataclass(frozen=True)
class Run:
    """What one call does."""

    cells: list[Cell]
    systems: list[str]
    trials: int
    block: int
    until: float
    source: Path
    folder: Path
    results: Path
    logs: bool
    etcd: programs.Program
    database: tuple[str, str]


def main(words: list[str]) -> int:
    """Do what is missing of the trials; 1 when one failed, 2 when nothing can be measured here."""
    chosen = _parser().parse_args(words)
    cells = cell.choose(chosen.cell, cell.all_cells()) if chosen.cell else cell.all_cells()
    if not cells:
        print(f"no cell is called {' '.join(chosen.cell)}. They are: "
              + " ".join(one.name for one in cell.all_cells()), file=sys.stderr)
        return 2
    if reason := obstacle():
        print(f"no hosts can be made here: {reason}", file=sys.stderr)
        return 2
    if chosen.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))  # whatever is started inherits it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = programs.CACHE / f"run-{os.getpid()}"
    try:
        run = _run(chosen, cells, folder)
        file = chosen.results / "results.json"
        machine = _machine(run)
        results = {
            "machine": machine, "earlier": earlier(file, machine), "plan": _plan(chosen),
            "samples": _former(file, run, chosen.anew),
        }  # fmt: skip
        with standing(folder, chosen.memory) as hosts:
            failed = sum(_do(run, hosts, results, file))
    except programs.Missing as missing:
        print(missing, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; what was measured is stored", file=sys.stderr)
        return 130
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(report.table(results))
    print(f"results: {file}")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench.database", description=__doc__)
    parser.add_argument("--cell", action="append", default=[], metavar="NAME",
                        help="only the cells of this name; * stands for anything (kill-quorum-fast, host-*)")
    parser.add_argument("--system", action="append", choices=cell.SYSTEMS, help="only this one")
    parser.add_argument("--trials", type=int, default=TRIALS, help="of each cell at each system")
    parser.add_argument("--block", type=int, default=BLOCK, help="trials of a cell at one system, then the other")
    parser.add_argument("--minutes", type=float, default=0.0, help="begin nothing new after so many; 0: no limit")
    parser.add_argument("--anew", action="store_true", help="forget what was measured of these cells and systems")
    parser.add_argument("--realtime", action="store_true",
                        help="run everything before all else on this machine, when it is not calm")
    parser.add_argument("--memory", action="store_true", help="databases in memory instead of on this disk")
    parser.add_argument("--logs", action="store_true", help="keep what the hosts said in each trial")
    parser.add_argument("--source", type=Path, default=programs.ROOT / "node", help="folder of the daemon's package")
    parser.add_argument("--results", type=Path, default=programs.CACHE / "failover", help="folder for the results")
    return parser


def _run(chosen: argparse.Namespace, cells: list[Cell], folder: Path) -> Run:
    until = time.monotonic() + chosen.minutes * 60 if chosen.minutes else float("inf")
    chosen.results.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True)
    return Run(
        cells, chosen.system or list(cell.SYSTEMS), chosen.trials, max(1, chosen.block), until,
        chosen.source.resolve(), folder, chosen.results, chosen.logs, programs.bring("etcd"), programs.database(),
    )  # fmt: skip


def _do(run: Run, hosts: DatabaseHosts, results: dict[str, Any], file: Path) -> Iterator[bool]:
    """All trials that are missing, in blocks, by turns; for each whether it failed."""
    for turn in itertools.count(1):
        missing = [
            (kind, system) for kind in dict.fromkeys(one.kind for one in run.cells) for system in run.systems
            if _open(run, kind, system, results, run.trials)
        ]
        if not missing or time.monotonic() > run.until:
            return
        # Each is first as often as the others: what the machine does beside hits all alike.
        for kind, system in missing if turn % 2 else sorted(missing, key=lambda one: run.systems.index(one[1])):
            if time.monotonic() < run.until:
                yield from _block(run, hosts, kind, system, results, file)


def _open(run: Run, kind: tuple[str, str], system: str, results: dict[str, Any], trials: int) -> list[Cell]:
    return [
        one for one in run.cells
        if one.kind == kind and system in cell.contenders(one) and len(_done(results, one, system)) < trials
    ]  # fmt: skip


def _done(results: dict[str, Any], one: Cell, system: str) -> list[dict[str, Any]]:
    return [found for found in results["samples"] if found["cell"] == one.name and found["system"] == system]


def _block(run: Run, hosts: DatabaseHosts, kind: tuple[str, str], name: str, results: dict[str, Any],
           file: Path) -> Iterator[bool]:
    """Some trials of all cells of a kind at one system; after one that failed the cluster is made anew."""
    least = min(len(_done(results, one, name)) for one in _open(run, kind, name, results, run.trials))
    goal = min(run.trials, least + run.block)
    system: System | None = None
    try:
        while time.monotonic() < run.until and (cells := _open(run, kind, name, results, goal)):
            one = min(cells, key=lambda each: len(_done(results, each, name)))
            sample: dict[str, Any] = {
                "cell": one.name, "system": name, "trial": len(_done(results, one, name)) + 1,
                "revision": results["machine"]["revision"], "kernel": results["machine"]["kernel"],
                "load": os.getloadavg()[0],
                "realtime": results["plan"]["realtime"], "memory": results["plan"]["memory"],
            }  # fmt: skip
            try:
                if system is None:
                    hosts.wipe()
                    system = _made(run, hosts, kind, name)
                    system.start()
                sample["values"] = trial.run(one, system, hosts, sample["trial"])
            except FAILURES as fault:
                sample["failed"] = f"{type(fault).__name__}: {_words(fault)}"
            _keep(run, sample, results, file)
            yield "failed" in sample
            if "failed" in sample and system is not None:
                _end(system, hosts)
                system = None
    finally:
        if system is not None:
            _end(system, hosts)


def _words(fault: BaseException) -> str:
    body = fault.read().decode(errors="replace") if isinstance(fault, urllib.error.HTTPError) else ""
    return f"{fault} {body}".strip()


def _end(system: System, hosts: DatabaseHosts) -> None:
    for number in hosts.numbers:
        hosts.kill(number)
    system.stop()


def _made(run: Run, hosts: DatabaseHosts, kind: tuple[str, str], name: str) -> System:
    databases = Cell("kill", *kind).databases
    site = DatabaseSite(run.folder / name, len(hosts.numbers), CALM, NET, hosts.interface, hosts.entering, hosts)
    if name == "qluster":
        return DatabaseQluster(site, databases, run.source, run.database, *kind)
    return Patroni(site, databases, run.etcd, run.database, *kind)


def _keep(run: Run, sample: dict[str, Any], results: dict[str, Any], file: Path) -> None:
    print(report.line(sample), flush=True)
    results["samples"].append(sample)
    results["samples"].sort(key=lambda one: _ORDER[one["cell"]])
    written = file.with_suffix(".new")
    written.write_text(json.dumps(results, indent=1))
    written.replace(file)
    if run.logs:
        place = run.results / "logs" / f"{sample['cell']}-{sample['system']}-{sample['trial']}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        shutil.copy(run.folder / "ledger", place / "ledger")
        for log in (run.folder / sample["system"]).glob("node*/*log"):
            shutil.copy(log, place / f"{log.parent.name}-{log.name}")
        (place / "sample.json").write_text(json.dumps(sample))


_ORDER = {one.name: number for number, one in enumerate(cell.all_cells())}


def _former(file: Path, run: Run, anew: bool) -> list[dict[str, Any]]:
    """What was measured before and counts."""
    known = json.loads(file.read_text())["samples"] if file.exists() else []
    names = {one.name for one in run.cells} if anew else set()
    return [one for one in known if one["cell"] not in names or one["system"] not in run.systems]


def earlier(file: Path, machine: dict[str, Any]) -> list[dict[str, Any]]:
    """Other machines that some of what is kept was measured on, by their kernel."""
    if not file.exists():
        return []
    known = json.loads(file.read_text())
    found = {one["kernel"]: one for one in [*known.get("earlier", []), known["machine"]]}
    return [one for kernel, one in found.items() if kernel != machine["kernel"]]


def _machine(run: Run) -> dict[str, Any]:
    postgres = subprocess.run([f"{run.database[0]}/postgres", "--version"], capture_output=True, text=True, check=True)
    revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=programs.ROOT, capture_output=True, text=True,
                              check=False)
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "kernel": platform.release(),
        "python": platform.python_version(), "cores": os.cpu_count(), "revision": revision.stdout.strip(),
        "postgres": postgres.stdout.strip(), "patroni": version("patroni"), "etcd": run.etcd.version(),
    }  # fmt: skip


def _plan(chosen: argparse.Namespace) -> dict[str, Any]:
    return {
        "memory": chosen.memory, "realtime": chosen.realtime, "client": CLIENT, "patroni": TIMES,
        "qluster": {setting: times(setting) for setting in cell.SETTINGS},
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
