"""Decides when this node reports on itself, and keeps what the others last reported.

Must not know what a report is used for. Reports are not replicated: they are
overwritten by newer ones, and a node that restarts hears all of them again within an interval.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

import msgspec

from qluster.cluster.messages import Report
from qluster.consensus.members import MEMBERS_MAX

REPORT_INTERVAL = 1.0
"""Seconds between two reports while nothing changes: what an operator's screen needs."""

HEARD_MAX = 4 * MEMBERS_MAX
"""Nodes whose last report is kept: members, former ones and those that join."""

CHANGE_INTERVAL = 0.02
"""Seconds between two reports while much changes, so that a busy second costs 50 datagrams at most."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A report and when it came."""

    report: Report
    at: float


@dataclass(slots=True)
class Reports:
    """What every member last said of itself."""

    heard: dict[int, Heard] = field(default_factory=dict)
    _sent: Report | None = None
    _sent_at: float = -inf
    _waiting: bool = False

    def receive(self, report: Report, now: float) -> None:
        """Keep a report of another member."""
        self.heard.pop(report.node, None)
        self.heard[report.node] = Heard(report, now)
        if len(self.heard) > HEARD_MAX:
            del self.heard[next(iter(self.heard))]

    def forget(self, members: set[int]) -> None:
        """Drop the reports of nodes that are no members any more."""
        self.heard = {node: heard for node, heard in self.heard.items() if node in members}

    def last(self, node: int) -> Report | None:
        """The last report of a member."""
        heard = self.heard.get(node)
        return heard.report if heard else None

    def due(self, report: Report, now: float, *, closely: bool = False) -> bool:
        """True when ``report`` is to be sent now; ``closely``: somebody waits for what changes all the time, too."""
        changed = self._sent is None or _lasting(report) != _lasting(self._sent) or (closely and report != self._sent)
        if now < self._sent_at + (CHANGE_INTERVAL if changed else REPORT_INTERVAL):
            self._waiting = changed
            return False
        self._sent, self._sent_at, self._waiting = report, now, False
        return True

    @property
    def wake_at(self) -> float:
        """When the next report is due."""
        return self._sent_at + (CHANGE_INTERVAL if self._waiting else REPORT_INTERVAL)


def _lasting(report: Report) -> Report:
    """The report without what changes all the time: WAL positions alone are no news."""
    database = report.database
    if database is not None:
        database = msgspec.structs.replace(database, position=None, replayed=None)
    return msgspec.structs.replace(report, database=database)
