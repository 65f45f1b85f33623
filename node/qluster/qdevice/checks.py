"""When this node's own checks run, and what their last result was.

Must not know what is checked, nor who is told. At most one runs at a time: a newer reason voids an older one.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from enum import StrEnum
from math import inf

from qluster.qdevice.orders import Check, Checked, StopCheck
from qluster.qdevice.settings import Settings
from qluster.qnet.names import Heuristics

GRACE = 5.0
"""Seconds beyond its limit after which a check that does not come back has failed: its hands hang."""


class Reason(StrEnum):
    """Why a check runs."""

    START = "start"
    MEMBERSHIP = "membership"
    CONNECT = "connect"
    REGULAR = "regular"


class Checks:
    """The heuristics of one node."""

    def __init__(self, settings: Settings, first: int = 0) -> None:
        self._settings = settings
        self.number = first
        """Of the last check."""
        self._running: tuple[Reason, int] | None = None
        self._ends_at = inf
        self._regular_at = inf
        self.result = Heuristics.UNDEFINED
        """Of the last check."""
        self.fault = ""
        """Why it failed."""

    @property
    def enabled(self) -> bool:
        """Whether there is anything to check."""
        return self._settings.heuristics != "off"

    @property
    def running(self) -> Reason | None:
        """Why one runs just now."""
        return self._running[0] if self._running is not None else None

    @property
    def wake_at(self) -> float:
        """When ``tick`` has something to do."""
        return min(self._ends_at, self._regular_at if self._running is None else inf)

    def begin(self, reason: Reason, now: float) -> list[Check | StopCheck]:
        """Check now; nothing where nothing is to be checked."""
        if not self.enabled:
            return []
        orders = self.stop()
        self.number += 1
        limit = self._settings.sync_check_limit if reason is Reason.MEMBERSHIP else self._settings.check_limit
        self._running, self._ends_at = (reason, self.number), now + limit + GRACE
        self._plan(now)
        return [*orders, Check(self.number, limit)]

    def stop(self) -> list[Check | StopCheck]:
        """Nobody waits for the one that runs."""
        if self._running is None:
            return []
        number, self._running, self._ends_at = self._running[1], None, inf
        return [StopCheck(number)]

    def ended(self, checked: Checked, now: float) -> Reason | None:
        """A check came to its end; None when nobody waited for it any more."""
        if self._running is None or self._running[1] != checked.number:
            return None
        reason, self._running, self._ends_at = self._running[0], None, inf
        self.result, self.fault = Heuristics.FAIL if checked.fault else Heuristics.PASS, checked.fault
        self._plan(now)
        return reason

    def tick(self, now: float) -> tuple[Checked | None, bool]:
        """So late it is: a check that has to be given up, and whether a regular one is due."""
        if now >= self._ends_at:
            assert self._running is not None
            return Checked(self._running[1], "the commands neither ended nor could be ended in time"), False
        return None, self._running is None and now >= self._regular_at

    def _plan(self, now: float) -> None:
        regular = self._settings.heuristics == "on"
        self._regular_at = now + self._settings.check_interval if regular else inf
