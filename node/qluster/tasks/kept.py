"""Says how much is kept of tasks, and what is kept beside them.

Must not know what changes it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from msgspec import Struct

from qluster.tasks.bodies import Schedule

LIVE_MAX = 20_000
"""Tasks that are not over: each stands in the memory of each node with some two kilobytes, and in each snapshot."""

HISTORY_MAX = 100_000
"""Tasks that are over and still known; the oldest leave. An operator may keep fewer."""

HISTORY_BYTES_MAX = 32 << 20
"""Or their bytes: they stand in memory, and in the snapshot beside it."""

NAMES_MAX = 1000
"""Templates, and schedules: written by people."""


AHEAD_MAX = 3600.0
"""Seconds by which the last date of a schedule may be ahead of who leads: a clock that was set back a little, after
which no date comes a second time. What is more was said by a clock that was wrong."""


class Fired(Struct, array_like=True):
    """A schedule and what came of it."""

    schedule: Schedule
    last: float = 0.0
    """The last date that was seen to."""
    task: int = 0
    """The last task that it began; 0: none."""
    skipped: str = ""
    """Why that date passed without one."""


class Drained(Struct, frozen=True, array_like=True):
    """Since when a node gets no new tasks, and when it must be rid of those that it has (0: never)."""

    since: float
    by: str
    deadline: float = 0.0
