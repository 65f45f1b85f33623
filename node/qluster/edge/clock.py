"""Decides nothing: reads the clocks and the kernel's randomness, for everybody.

The only place for them; every other file is given times and a generator (law 4).
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import time
from typing import Final

SEED_SIZE: Final = 16
"""Bytes of a seed: enough that two daemons never draw the same chance."""


def monotonic() -> float:
    """Seconds that only go forward; all waits and deadlines are in this time."""
    return time.monotonic()


def wall() -> float:
    """Seconds since 1970, for what people read and for entries of the log; it may jump."""
    return time.time()


def seed() -> int:
    """Unpredictable, for the one ``random.Random`` of a daemon."""
    return int.from_bytes(os.urandom(SEED_SIZE), "big")
