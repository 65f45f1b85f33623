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
    """Seconds that only go forward; all waits and deadlines are in this time."""
    return time.monotonic()


def wall() -> float:
    """Seconds since 1970, for what people read and for entries of the log; it may jump."""
    return time.time()


def slept() -> float:
    """Seconds for which the host has slept since it was booted: the other clocks here stood still meanwhile."""
    least = inf
    for _ in range(SLEPT_TRIES):
        before = time.monotonic()
        booted = time.clock_gettime(time.CLOCK_BOOTTIME)
        after = time.monotonic()
        if after - before < SLEPT_GRAIN:
            return booted - after
        least = min(least, booted - after)
    return least


def seed() -> int:
    """Unpredictable, for the one ``random.Random`` of a daemon."""
    return int.from_bytes(os.urandom(SEED_SIZE), "big")
