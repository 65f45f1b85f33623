"""What is said of a number of requests: rate, percentiles, histogram; and of a number of rounds: median, spread.

Must not know where the numbers came from.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import floor, log10
from statistics import median

STEPS_A_DECADE = 20
"""Bars of a histogram in a tenfold of time: each is 12 % wide."""
FIRST_EDGE = 1e-5
"""Seconds; what took less is in the first bar: below it edges in whole microseconds would meet."""


@dataclass(frozen=True)
class Figures:
    """Seconds, and requests per second."""

    rate: float
    p50: float
    p99: float
    worst: float
    count: int
    refused: int = 0
    histogram: dict[str, int] = field(default_factory=dict)
    """Lower edge of the bar in microseconds → requests."""


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all does not exceed."""
    return ordered[max(0, min(len(ordered) - 1, -floor(-share * len(ordered)) - 1))]


def from_latencies(latencies: Sequence[float], seconds: float, refused: int = 0) -> Figures:
    """Figures of requests that ended within ``seconds``."""
    ordered = sorted(latencies)
    bars = Counter(floor(log10(max(one, FIRST_EDGE)) * STEPS_A_DECADE) for one in ordered)
    histogram = {f"{10 ** (bar / STEPS_A_DECADE) * 1e6:.0f}": count for bar, count in sorted(bars.items())}
    return Figures(
        rate=len(ordered) / seconds, p50=percentile(ordered, 0.5), p99=percentile(ordered, 0.99), worst=ordered[-1],
        count=len(ordered), refused=refused, histogram=histogram,
    )  # fmt: skip


@dataclass(frozen=True)
class Spread:
    """The middle of some rounds, and their ends."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(median(values), min(values), max(values))
