"""Results as people read them: a line for each trial, a table of both systems with medians and ends.

Must not know how anything was measured: it reads what stands in the results.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.figures import Spread

Sample = dict[str, Any]
INTERRUPTED = ("switchover", "full")
"""Faults that do not end the service at a known moment: the gap between two acknowledgements counts."""


def figure(sample: Sample) -> float:
    """The client's outage in a trial, in seconds."""
    values = sample["values"]
    return float(values["gap" if sample["cell"].split("-")[0] in INTERRUPTED else "outage"])


def line(sample: Sample) -> str:
    """One trial as it comes."""
    head = f"{sample['cell']:<24} {sample['system']:<8} trial {sample['trial']:>2}: "
    if "failed" in sample:
        return f"{head}failed: {sample['failed']}"
    values = sample["values"]
    text = f"{head}outage {figure(sample):7.3f} s  whole after {values['redundancy']:7.3f} s  lost {values['lost']}"
    if values["lost"] or values.get("stated_bytes"):
        text += f" ({values.get('left_bytes', '?')} B, stated {values.get('bound_bytes', '?')} B at most)"
    return text + (f"  ACKNOWLEDGED BY BOTH {values['both']}" if values["both"] else "")


def table(results: dict[str, Any]) -> str:
    """Everything in Markdown: median (least to most)."""
    head = ["cell", "system", "trials", "outage s", "whole again s", "lost, rows", "beyond the stated bound, trials",
            "by two primaries, rows", "ratio"]
    lines = [head, ["---"] * len(head)]
    samples = results["samples"]
    for cell in dict.fromkeys(sample["cell"] for sample in samples):
        middles = {}
        for system in dict.fromkeys(one["system"] for one in samples if one["cell"] == cell):
            found = [one for one in samples if one["cell"] == cell and one["system"] == system]
            good = [one for one in found if "values" in one]
            if good:
                middles[system] = Spread.of([figure(one) for one in good]).median
            lines.append([cell, system, *_row(found, good), _ratio(middles, system)])
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


def _row(found: list[Sample], good: list[Sample]) -> list[str]:
    count = f"{len(good)}" + (f", {len(found) - len(good)} failed" if len(found) > len(good) else "")
    if not good:
        return [count, "", "", "", "", ""]
    return [
        count, _text(map(figure, good)), _text(one["values"]["redundancy"] for one in good),
        _whole(one["values"]["lost"] for one in good), _beyond(good), _whole(one["values"]["both"] for one in good),
    ]  # fmt: skip


def _beyond(good: list[Sample]) -> str:
    """Trials that lost more than the system's own record of the change says; "" where it keeps none."""
    stated = [one["values"] for one in good if one["values"].get("bound_bytes") is not None]
    if not stated:
        return ""
    return f"{sum(values['left_bytes'] > values['bound_bytes'] for values in stated)} of {len(stated)}"


def _text(values: Iterable[float]) -> str:
    spread = Spread.of(list(values))
    return f"{spread.median:.2f} ({spread.least:.2f} to {spread.most:.2f})"


def _whole(values: Iterable[int]) -> str:
    spread = Spread.of(list(values))
    if spread.least == spread.most:
        return f"{spread.most:,.0f}"
    return f"{spread.median:,.0f} ({spread.least:,.0f} to {spread.most:,.0f})"


def _ratio(middles: dict[str, float], system: str) -> str:
    """Of a peer's outage to the product's, of the same run."""
    own, peer = middles.get("qluster"), middles.get(system)
    return f"{peer / own:.1f}" if own and peer and system != "qluster" else ""


if __name__ == "__main__":
    print(table(json.loads(Path(sys.argv[1]).read_text())))
