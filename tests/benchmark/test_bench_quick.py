"""The benchmark runs: a few cells in their quick form, whose figures are not judged."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import programs

CELLS = ("http-8-256", "entry-8-256", "bytes-3-1-256")
"""Not the failover: with its time-out of 100 ms a busy machine changes leaders by itself."""
LIMIT = 280


def _obstacle() -> str:
    for name in programs.PACKAGES:
        try:
            programs.bring(name)
        except (programs.Missing, OSError, subprocess.SubprocessError) as missing:
            return str(missing)
    absent = [name for name in ("pysyncobj", "matplotlib") if importlib.util.find_spec(name) is None]
    return f"not installed: {' '.join(absent)} (requirements/bench.txt; make bench-consensus does)" if absent else ""


def test_quick_form_measures_every_contender(tmp_path: Path) -> None:
    reason = _obstacle()
    if reason:
        pytest.skip(reason)
    words = [word for cell in CELLS for word in ("--cell", cell)]
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--results", str(tmp_path), *words], cwd=programs.ROOT,
        capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    samples = json.loads((tmp_path / "results.json").read_text())["samples"]
    measured = {(sample["cell"], sample["system"]) for sample in samples if "values" in sample}
    skipped = {(sample["cell"], sample["system"]) for sample in samples if "skipped" in sample}
    assert {cell for cell, _ in skipped} <= {"bytes-3-1-256"}
    assert measured | skipped == {
        *((cell, system) for cell in CELLS for system in ("qluster", "etcd")), ("entry-8-256", "pysyncobj")
    }  # fmt: skip
    assert all(sample["values"]["committed"] >= sample["values"]["done"] for sample in samples
               if sample["cell"].startswith("http") and "values" in sample)
    assert (tmp_path / "loads.png").stat().st_size > 0
    assert not list(programs.CACHE.glob("run-*")) or all(
        Path(f"/proc/{folder.name.removeprefix('run-')}").exists() for folder in programs.CACHE.glob("run-*")
    )


def test_unknown_cell_is_refused_with_the_names_of_all() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--cell", "nonsense"], cwd=programs.ROOT, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and "http-64-256" in done.stderr
