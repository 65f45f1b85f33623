"""What else the machine did while something was measured: CPU of processes that are not ours.

A foreign process that computes delays every wake-up on its core by up to one tick of the kernel's
clock (4 ms at 250 Hz), which is a hundred times a flush of the disk: figures taken beside it say nothing.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import resource
import time
from pathlib import Path

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
CALM_CORES = 0.15
"""Foreign CPU below which a measurement counts as undisturbed: the kernel's own threads take some too."""
LOOK_SECONDS = 1.0
BUSY_FIELDS = (0, 1, 2, 5, 6, 7)
"""Of the first line of /proc/stat: user, nice, system, irq, softirq, steal; idle and waiting are left out."""


def _busy() -> float:
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    return sum(int(fields[number]) for number in BUSY_FIELDS) / TICKS_A_SECOND


def _own() -> float:
    """CPU of this process and of all its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


class Watch:
    """From its making on: how many cores foreign processes kept busy. All children must have ended by the question."""

    def __init__(self) -> None:
        self._busy, self._own, self._began = _busy(), _own(), time.monotonic()

    def foreign_cores(self) -> float:
        """Cores, on average."""
        foreign = (_busy() - self._busy) - (_own() - self._own)
        return max(0.0, foreign / (time.monotonic() - self._began))


def wait_until_calm(limit: float) -> float:
    """Wait for a second without neighbours, at most so long; the foreign cores of the last second."""
    end = time.monotonic() + limit
    while True:
        watch = Watch()
        time.sleep(LOOK_SECONDS)
        found = watch.foreign_cores()
        if found <= CALM_CORES or time.monotonic() >= end:
            return found
