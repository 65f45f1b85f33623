"""Runs every stage of the tests, two side by side, and says what passed, failed and was skipped.

Stages that need a machine they do not find here (root, namespaces, systemd) skip
themselves with a reason; the reasons are printed and counted, so a green line never hides them.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import host_packages
import nobody

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"
LOGS = ROOT / ".cache" / "test-logs"
STAGE_LIMIT = 1800
"""Seconds for one stage: twice what the slowest takes on two busy cores."""

PYTEST = [str(BIN / "pytest"), "-ra", "--durations=5"]


SHARED = ["-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider"]
"""Two files at a time: such tests wait for disks, clocks and other processes more than they compute."""


@dataclass
class Stage:
    """One command; ``needs`` are stages that must end first, because both use the same ports."""

    name: str
    command: list[str]
    needs: tuple[str, ...] = ()
    code: int | None = None
    seconds: float = 0.0
    output: str = field(default="", repr=False)


def stages() -> list[Stage]:
    """All stages, the longest first, so that the short ones fill the gaps."""
    make = ["make", "--no-print-directory"]
    return [
        Stage("lab", [*PYTEST, "tests/lab"]),
        Stage("cluster", [*PYTEST, "tests/local"]),
        Stage("collection", [*PYTEST, "tests/collection"], needs=("cluster",)),
        Stage("edge", [*PYTEST, *SHARED, "-m", "not unprivileged", "tests/node/edge"], needs=("cluster",)),
        Stage("database", [*nobody.prefix(), *PYTEST, *SHARED, "-m", "unprivileged", "tests/node/edge"]),
        Stage("sanity", [str(BIN / "python"), "tests/collection/sanity.py"]),
        Stage("faults", [*PYTEST, *SHARED, "tests/faults", "tests/ledger"]),
        Stage("benchmark", [*PYTEST, "tests/benchmark"]),
        Stage("simulation", [*PYTEST, "tests/node/sim", "tests/node/swarm"]),
        Stage(
            "unit",
            [
                *PYTEST, "tests/node", "tests/unit", "tests/fuzz",
                "--ignore=tests/node/edge", "--ignore=tests/node/sim", "--ignore=tests/node/swarm",
            ],
        ),
        Stage("types", [*make, "types"]),
        Stage("floors", [*make, "floors"]),
        Stage("lint", [*make, "lint"]),
    ]


def run(stage: Stage) -> None:
    """Run one stage; its output goes to a file and is shown when it fails."""
    began = time.monotonic()
    child = subprocess.Popen(
        stage.command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", start_new_session=True,
    )  # fmt: skip
    try:
        stage.output, _ = child.communicate(timeout=STAGE_LIMIT)
        stage.code = child.returncode
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        stage.output = child.communicate()[0] + f"\nnot done after {STAGE_LIMIT} seconds\n"
        stage.code = 124
    stage.seconds = time.monotonic() - began
    (LOGS / f"{stage.name}.log").write_text(stage.output)
    word = "ok  " if stage.code == 0 else "FAIL"
    print(f"{word} {stage.name:<12} {stage.seconds:6.1f} s  {summary(stage)}", flush=True)


def summary(stage: Stage) -> str:
    """The last line of pytest's output, or nothing."""
    found = re.findall(r"^.*\b(?:passed|failed|error|skipped)\b.* in [\d.]+s.*$", stage.output, re.M)
    return found[-1].strip("= ") if found else ""


def run_all(waiting: list[Stage], side_by_side: int = 2) -> None:
    """Run the stages, each when those it needs have ended."""
    ended: set[str] = set()
    changed = threading.Condition()

    def work() -> None:
        while True:
            with changed:
                while waiting and not any(set(stage.needs) <= ended for stage in waiting):
                    changed.wait()
                if not waiting:
                    return
                stage = next(stage for stage in waiting if set(stage.needs) <= ended)
                waiting.remove(stage)
            run(stage)
            with changed:
                ended.add(stage.name)
                changed.notify_all()

    threads = [threading.Thread(target=work) for _ in range(side_by_side)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main(names: list[str]) -> int:
    """Run the named stages, or all."""
    LOGS.mkdir(parents=True, exist_ok=True)
    for number in (signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)  # a shell that starts this in the background has every child ignore them
    chosen = [stage for stage in stages() if not names or stage.name in names]
    known = {stage.name for stage in chosen}
    for stage in chosen:
        stage.needs = tuple(name for name in stage.needs if name in known)
    began = time.monotonic()
    lacking = host_packages.bring()
    if lacking:
        print(f"not installed, so some tests are skipped: {lacking}", flush=True)
    run_all(list(chosen))
    failed = [stage for stage in chosen if stage.code != 0]
    for stage in failed:
        print(f"\n----- {stage.name} (whole output: {LOGS / (stage.name + '.log')})\n{stage.output[-8000:]}")
    skipped = [line for stage in chosen for line in re.findall(r"^SKIPPED .*$", stage.output, re.M)]
    for line in sorted(set(skipped)):
        print(line)
    print(f"\n{len(chosen) - len(failed)} of {len(chosen)} stages passed, {len(skipped)} kinds of tests skipped, "
          f"{time.monotonic() - began:.0f} s in all")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
