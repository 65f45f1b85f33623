"""Decides nothing: reads the clocks and the kernel's randomness, for everybody.

The only place for them; every other file is given times and a generator (law 4).
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import time
from math import inf
from typing import Final

SEED_SIZE: Final = 16
"""Bytes of a seed: enough that two daemons never draw the same chance."""

SLEPT_GRAIN: Final = 0.001
"""Seconds between two clocks that are compared: longer, and this process was kept waiting between them."""
SLEPT_TRIES: Final = 5


def monotonic() -> float:
    """Seconds that only go forward, also while the host sleeps: all waits and deadlines of a daemon are in this time,
    so that one whose host slept is one that stood still, and knows that its lease has passed."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def awake() -> float:
    """The same without the time for which the host slept: the clock of ``asyncio``, of waits in the kernel, and of the
    guard and the task runner, which mind sleep by themselves."""
    return time.monotonic()


def awake_at(at: float) -> float:
    """When :func:`awake` says what :func:`monotonic` says at this time, if the host sleeps no more until then; by less
    than a millisecond too early, never too late."""
    return at - _slept()[1]


def wall() -> float:
    """Seconds since 1970, for what people read and for entries of the log; it may jump."""
    return time.time()


def slept() -> float:
    """Seconds for which the host has slept since it was booted, no more than that."""
    return _slept()[0]


def _slept() -> tuple[float, float]:
    """The same, at least and at most."""
    least = most = inf
    for _ in range(SLEPT_TRIES):
        before = time.monotonic()
        booted = time.clock_gettime(time.CLOCK_BOOTTIME)
        after = time.monotonic()
        least, most = min(least, booted - after), min(most, booted - before)
        if after - before < SLEPT_GRAIN:
            return booted - after, booted - before
    return least, most


def seed() -> int:
    """Unpredictable, for the one ``random.Random`` of a daemon."""
    return int.from_bytes(os.urandom(SEED_SIZE), "big")
