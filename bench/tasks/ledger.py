"""What running tasks write of themselves, and whether one of them ran twice at once.

Must not know how tasks are scheduled. A line is begun or ended by the program itself: number, fencing number, time.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

SCRIPT = (
    'echo "b $QLUSTER_TASK_ID $QLUSTER_TASK_FENCE $QLUSTER_NODE $(date +%s.%N)" >> {path}; sleep {seconds}; '
    'echo "e $QLUSTER_TASK_ID $QLUSTER_TASK_FENCE $QLUSTER_NODE $(date +%s.%N)" >> {path}'
)


@dataclass(frozen=True)
class Account:
    """What came of it."""

    tasks: int
    """Tasks that ran to their end."""
    runs: int
    twice: int
    """Tasks of which two runs overlapped in time."""
    again: int
    """Tasks that were begun more than once."""


def script(path: Path, seconds: float) -> str:
    """What a task runs."""
    return SCRIPT.format(path=path, seconds=seconds)


def account(lines: Iterable[str], dead: dict[int, float]) -> Account:
    """``dead``: node → when its tasks were killed with it, seconds since 1970."""
    begun: dict[int, dict[int, tuple[int, float]]] = {}
    ended: dict[tuple[int, int], float] = {}
    for line in lines:
        kind, task, fence, node, at = line.split()
        if kind == "b":
            begun.setdefault(int(task), {})[int(fence)] = int(node), float(at)
        else:
            ended[int(task), int(fence)] = float(at)
    twice = 0
    for task, runs in begun.items():
        spans = sorted((at, ended.get((task, fence), dead.get(node, float("inf"))))
                       for fence, (node, at) in runs.items())  # fmt: skip
        twice += any(later[0] < earlier[1] for earlier, later in pairwise(spans))
    done = {task for task, _ in ended}
    return Account(len(done), sum(map(len, begun.values())), twice, sum(len(runs) > 1 for runs in begun.values()))
