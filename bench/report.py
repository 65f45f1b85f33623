"""Results as people read them: a line for each measurement, a table with medians and spread, a plot.

Must not know how anything was measured: it reads what stands in the results.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.figures import Spread

Sample = dict[str, Any]
Text = Callable[[float], str]


def _milliseconds(value: float) -> str:
    return f"{value * 1e3:.2f}"


def _whole(value: float) -> str:
    return f"{value:,.0f}"


COLUMNS: dict[str, tuple[str, Text]] = {
    "rate": ("commits/s", _whole),
    "p50": ("p50 ms", _milliseconds),
    "p99": ("p99 ms", _milliseconds),
    "cpu_per_1000": ("CPU s/1000", lambda value: f"{value:.3f}"),
    "bytes_per_commit": ("bytes/commit", _whole),
    "seconds": ("seconds", lambda value: f"{value:.3f}"),
    "share": ("busiest, % of a core", lambda value: f"{value * 100:.2f}"),
    "resident": ("largest, MiB", lambda value: f"{value / 2**20:.1f}"),
    "foreign_cores": ("cores of others", lambda value: f"{value:.2f}"),
    "growth": ("memory, times", lambda value: f"{value:.3f}"),
}
COLORS = {"qluster": "tab:blue", "etcd": "tab:orange", "pysyncobj": "tab:green"}


def flat(sample: Sample) -> dict[str, float]:
    """The plain numbers of a measurement; the disk's are by size."""
    values = {**sample.get("values", {}), "foreign_cores": sample.get("foreign_cores", 0.0)}
    if sample["cell"] != "disk":
        return {key: number for key, number in values.items() if isinstance(number, int | float)}
    return {f"{key} B: {COLUMNS['rate'][0]}": found["rate"] for key, found in sample.get("values", {}).items()}


def line(sample: Sample) -> str:
    """One measurement as it comes."""
    head = f"{sample['cell']:<16} {sample['system']:<18} round {sample['round']}: "
    for word in ("skipped", "failed"):
        if word in sample:
            return f"{head}{word}: {sample[word]}"
    values = flat(sample)
    known = [f"{COLUMNS[key][0]} {COLUMNS[key][1](values[key])}" for key in COLUMNS if key in values]
    return head + "  ".join(known or [f"{key} {number:,.0f}" for key, number in values.items()])


def spreads(results: dict[str, Any]) -> dict[tuple[str, str], dict[str, Spread]]:
    """(cell, system) → name of a figure → its median and ends over all rounds."""
    gathered: dict[tuple[str, str], dict[str, list[float]]] = {}
    for sample in results["samples"]:
        place = gathered.setdefault((sample["cell"], sample["system"]), {})
        for key, number in flat(sample).items():
            place.setdefault(key, []).append(number)
    return {place: {key: Spread.of(numbers) for key, numbers in keys.items()} for place, keys in gathered.items()}


def table(results: dict[str, Any]) -> str:
    """Everything in Markdown: median (least to most)."""
    found = spreads(results)
    shown = [key for key in COLUMNS if any(key in keys for keys in found.values())]
    rows = [["cell", "system", *(COLUMNS[key][0] for key in shown)], ["---"] * (len(shown) + 2)]
    for (cell, system), keys in found.items():
        if cell == "disk":
            continue
        rows.append([cell, system, *(_text(keys.get(key), COLUMNS[key][1]) for key in shown)])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines += [
        f"{system} {key}: {_text(spread, _whole)}"
        for (cell, system), keys in found.items() if cell == "disk" for key, spread in keys.items()
    ]  # fmt: skip
    return "\n".join(lines)


def _text(spread: Spread | None, text: Text) -> str:
    if spread is None:
        return ""
    if spread.least == spread.most:
        return text(spread.median)
    return f"{text(spread.median)} ({text(spread.least)} to {text(spread.most)})"


def plot(results: dict[str, Any], folder: Path) -> None:
    """Rate and latency of all loads as a picture; nothing when there was no load."""
    found = spreads(results)
    kinds = [kind for kind in ("http", "entry") if any(cell.startswith(f"{kind}-") for cell, _ in found)]
    sizes = sorted({int(cell.split("-")[2]) for cell, _ in found if cell.split("-")[0] in kinds})
    if not kinds:
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [(kind, key) for kind in kinds for key in ("rate", "p50", "p99")]
    figure, places = pyplot.subplots(len(rows), len(sizes), figsize=(4.2 * len(sizes), 2.6 * len(rows)), squeeze=False)
    for row, (kind, key) in enumerate(rows):
        for column, size in enumerate(sizes):
            _draw(places[row][column], found, kind, size, key)
    places[0][0].legend(fontsize="small")
    figure.suptitle("three nodes, durable commits (pysyncobj: nothing flushes its journal); median and spread")
    figure.tight_layout()
    for form in ("png", "svg"):
        figure.savefig(folder / f"loads.{form}", dpi=80)
    pyplot.close(figure)


def _draw(place: Any, found: dict[tuple[str, str], dict[str, Spread]], kind: str, size: int, key: str) -> None:
    scale = 1.0 if key == "rate" else 1e3
    for system, color in COLORS.items():
        points = sorted(
            (int(cell.split("-")[1]), keys[key]) for (cell, name), keys in found.items()
            if name == system and cell.startswith(f"{kind}-") and cell.endswith(f"-{size}") and key in keys
        )
        if not points:
            continue
        middle = [spread.median * scale for _, spread in points]
        ends = [[(spread.median - spread.least) * scale for _, spread in points],
                [(spread.most - spread.median) * scale for _, spread in points]]
        place.errorbar([clients for clients, _ in points], middle, yerr=ends, label=system, color=color, marker="o",
                       capsize=3, markersize=4)
    place.set_xscale("log", base=2)
    place.set_yscale("log")
    place.set_title(f"{kind}, {size:,} B: {COLUMNS[key][0]}", fontsize="small")
    place.set_xlabel("clients", fontsize="small")
    place.tick_params(labelsize="small")


if __name__ == "__main__":
    print(table(json.loads(Path(sys.argv[1]).read_text())))
