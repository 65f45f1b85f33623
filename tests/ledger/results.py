"""What rounds came to: kept in a file, one line a round, and summed up in tables."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from ledger.campaign import Round

NAME = "results.jsonl"


def append(folder: Path, round_: Round) -> None:
    """Add a round."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / NAME, "a") as file:
        file.write(json.dumps({"version": _version(), **round_.summary()}) + "\n")


def _version() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True)
    return done.stdout.strip()


def read(folder: Path) -> list[dict[str, Any]]:
    """All rounds that were played."""
    path = folder / NAME
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def following_seed(folder: Path) -> int:
    """The first that was not played."""
    return max((found["seed"] for found in read(folder)), default=0) + 1


def report(rounds: list[dict[str, Any]]) -> str:
    """Tables: all in all for each mode, then each fault."""
    lines = [
        "| synchronous | rounds | faults | failovers | acknowledged commits | missing | woke late, and acknowledged "
        "| rounds with a violation |", "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for mode in ("quorum", "all", "off"):
        found = [one for one in rounds if one["mode"] == mode]
        if found:
            struck = [one for each in found for one in each["struck"]]
            lines.append(
                f"| {mode} | {len(found)} | {len(struck)} | {sum(one['changes'] for one in struck):,} "
                f"| {sum(one['commits'] for one in found):,} | {sum(one['missing'] for one in struck):,} "
                f"| {sum(len(one['left_out']) for one in found)} | {sum(bool(one['violations']) for one in found)} |"
            )
    return "\n".join([*lines, "", *_matrix(rounds)])


def _matrix(rounds: list[dict[str, Any]]) -> list[str]:
    """For each fault: with replicas that are waited for, and without."""
    by_kind: dict[str, tuple[list[Any], list[Any]]] = defaultdict(lambda: ([], []))
    for each in rounds:
        for one in each["struck"]:
            by_kind[one["kind"]][each["mode"] == "off"].append(one)
    lines = [
        "| fault | struck | failovers | missing | outage | worst | after its end | worst "
        "| `off`: struck | missing | outage |", "|---|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for kind, (on, off) in sorted(by_kind.items()):
        words = [kind.replace("_", " "), str(len(on)), str(sum(one["changes"] for one in on))]
        words += [str(sum(one["missing"] for one in on)), *_times(on, "outage"), *_times(on, "after")]
        words += [str(len(off)), f"{sum(one['missing'] for one in off):,}", _times(off, "outage")[0]]
        lines.append(f"| {' | '.join(words)} |")
    return lines


def _times(struck: list[Any], word: str) -> list[str]:
    """Median and worst."""
    found = [one[word] for one in struck]
    return [f"{median(found):.2f} s", f"{max(found):.1f} s"] if found else ["", ""]
