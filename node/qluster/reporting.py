"""Decides when this node reports on itself, and keeps what the others last reported.

Must not know what a report is used for. Reports are not replicated: they are
overwritten by newer ones, and a node that restarts hears all of them again within an interval.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import inf

import msgspec

from qluster.cluster.messages import Report
from qluster.cluster.published import End, Published
from qluster.consensus.members import MEMBERS_MAX

REPORT_INTERVAL = 1.0
"""Seconds between two reports while nothing changes: what an operator's screen needs."""

RATE_SPAN_MIN = 0.1
"""Seconds between two positions at least, to take a rate from them: datagrams come late now and then."""

RATE_WINDOW = 300.0
"""Seconds for which the fastest rate counts."""

WALL_SPAN = 10.0
"""Seconds for which what a report says of its node's clock holds: somebody may set it."""

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
class WalRate:
    """How fast a primary writes WAL, by what it reports."""

    _position: int = 0
    _at: float | None = None
    _rates: deque[tuple[float, float]] = field(default_factory=deque)

    def note(self, position: int, now: float) -> None:
        """It has written up to here."""
        if self._at is not None and now < self._at + RATE_SPAN_MIN:
            return
        if self._at is not None and position >= self._position:
            rate = (position - self._position) / (now - self._at)
            while self._rates and (self._rates[-1][1] <= rate or self._rates[0][0] < now - RATE_WINDOW):
                self._rates.pop() if self._rates[-1][1] <= rate else self._rates.popleft()
            self._rates.append((now, rate))
        self._position, self._at = position, now

    @property
    def fastest(self) -> float:
        """Bytes a second, of the last minutes."""
        return self._rates[0][1] if self._rates else 0.0


@dataclass(slots=True)
class Reports:
    """What every member last said of itself."""

    heard: dict[int, Heard] = field(default_factory=dict)
    published: Published = field(default_factory=Published)
    """What the primary last said of its position."""
    _rates: dict[int, WalRate] = field(default_factory=dict)
    _ends: dict[int, End] = field(default_factory=dict)
    _sent: Report | None = None
    _sent_at: float = -inf
    _waiting: bool = False

    def receive(self, report: Report, now: float) -> None:
        """Keep a report of another member."""
        self.heard.pop(report.node, None)
        database = report.database
        if database is not None and database.role == "primary" and database.position is not None:
            at = now - report.age
            self._rates.setdefault(report.node, WalRate()).note(database.position, at)
            self._ends[report.node] = End(report.reign, database.timeline or 0, database.position, at)
        self.heard[report.node] = Heard(report, now)
        if report.writable and database is not None and database.position is not None:
            self.published.note(report.reign, report.node, database.position, now)
        if len(self.heard) > HEARD_MAX:
            self._rates.pop(forgotten := next(iter(self.heard)), None)
            self._ends.pop(forgotten, None)
            del self.heard[forgotten]

    def forget(self, members: set[int]) -> None:
        """Drop the reports of nodes that are no members any more."""
        self.heard = {node: heard for node, heard in self.heard.items() if node in members}
        self._rates = {node: rate for node, rate in self._rates.items() if node in members}
        self._ends = {node: end for node, end in self._ends.items() if node in members}

    def heard_at(self, node: int) -> float | None:
        """When a member's last report came."""
        heard = self.heard.get(node)
        return heard.at if heard else None

    def end_of(self, node: int, since: int) -> End | None:
        """Where the WAL of a member ended when it last was primary in reign ``since`` or later; else by its last word.

        A server that is stopped, or does not answer its daemon, says less than it had: a checkpoint, or nothing.
        """
        end, heard = self._ends.get(node), self.heard.get(node)
        if end is not None and end.reign >= since:
            return end
        known = _end_in(heard.report) if heard is not None else None
        return End(heard.report.reign, *known, heard.at - heard.report.age) if heard and known else None

    def wal_rate(self, node: int) -> float:
        """Most bytes of WAL a second that a primary was lately seen to write."""
        rates = self._rates.get(node)
        return rates.fastest if rates is not None else 0.0

    def last(self, node: int) -> Report | None:
        """The last report of a member."""
        heard = self.heard.get(node)
        return heard.report if heard else None

    def wall_of(self, node: int, now: float) -> float | None:
        """What a member's clock says now by its last report; None: it has not said so lately."""
        heard = self.heard.get(node)
        if heard is None or not heard.report.wall or now > heard.at + WALL_SPAN:
            return None
        return heard.report.wall + now - heard.at

    @property
    def said(self) -> tuple[int, int] | None:
        """Timeline and position where the WAL here ended by this node's last word."""
        return _end_in(self._sent) if self._sent is not None else None

    def due(self, report: Report, now: float, *, closely: bool = False) -> bool:
        """True when ``report`` is to be sent now; ``closely``: somebody waits for what changes all the time, too."""
        told = _undated if closely else _lasting
        changed = self._sent is None or told(report) != told(self._sent)
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
        slots = tuple(msgspec.structs.replace(slot, held_bytes=0) for slot in database.slots)
        slots = tuple(sorted(slots, key=lambda slot: slot.name))
        database = msgspec.structs.replace(
            database, position=None, replayed=None, ahead=None, slots=slots, copied_bytes=None,
            room_bytes=None, room_error=bool(database.room_error),
            archive_waiting_bytes=None, archive_error=bool(database.archive_error),
        )  # fmt: skip
    return msgspec.structs.replace(_undated(report), database=database)


def _end_in(report: Report) -> tuple[int, int] | None:
    """Timeline and position of the database that is told of."""
    database = report.database
    if database is None or database.timeline is None or database.position is None:
        return None
    return database.timeline, database.position


def _undated(report: Report) -> Report:
    """The report without the age of what it says, and its own date."""
    return msgspec.structs.replace(report, age=0.0, wall=0.0)
