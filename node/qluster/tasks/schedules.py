"""Decides when a schedule's task is due: dates of a cron expression in a time zone.

Must not know what time it is: it is given dates as seconds since 1970, and may reckon with the calendar. Only the node
that leads reckons; what it finds becomes an entry of the log, which counts once (``submitting.py``).

What a change of the clocks does is defined by ``cronsim``, which does as Debian's cron: a time that does not exist on
a day is made up for at the next one that does, a time that there is twice counts once; an expression that begins its
minutes or hours with ``*`` goes by elapsed time.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from itertools import islice
from math import inf
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from qluster.tasks.bodies import ScheduleFired
from qluster.tasks.kept import AHEAD_MAX, Fired

MISSED_MAX = 100
"""Dates that are made up for at most with the rule ``all``: those before them are passed over."""

LATE = 60.0
"""Seconds after which a date has been missed: an election and the queue before it take less."""

FIRED_MAX = 16
"""Dates of all schedules that are seen to at a time: the others follow with the next entries."""

_FIELDS = 5


def fault(cron: str, zone: str, wall: float) -> tuple[str, str] | None:
    """The field that is wrong, and why; None when nothing is."""
    if zone == "localtime":
        return "zone", "'localtime' is another one on each host that was set so: use a name such as Europe/Berlin"
    try:
        _zone(zone)
    except (ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError, see _zone
        return "zone", f"{zone!r} is no time zone: use a name such as UTC or Europe/Berlin"
    if len(cron.split()) != _FIELDS:
        return "cron", f"{cron!r} has {len(cron.split())} fields: minute, hour, day, month and weekday are needed"
    try:
        CronSim(cron, datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError as found:
        return "cron", f"{cron!r} has a wrong field, or names a day that no month has: {found}"
    if following(cron, zone, wall) is None:
        return "cron", f"{cron!r} never comes: no such day in the next fifty years"
    return None


@lru_cache(maxsize=4096)
def following(cron: str, zone: str, after: float) -> float | None:
    """The first date after that one; None: there is none, or the expression is none."""
    return next(dates(cron, zone, after), None)


def dates(cron: str, zone: str, after: float) -> Iterator[float]:
    """All dates after that one, in their order."""
    try:
        found = CronSim(cron, datetime.fromtimestamp(after, _zone(zone)))
    except (CronSimError, ValueError, OSError, OverflowError):
        return
    last = after
    try:
        for moment in found:
            at = moment.timestamp()
            if at > last:  # a time that there is twice counts once, and so do two that are made up for at one moment
                last = at
                yield at
    except OverflowError:  # the end of the calendar
        return


def latest(cron: str, zone: str, after: float, until: float, count: int) -> list[float]:
    """The last dates after ``after`` up to ``until``, ``count`` at most, the oldest first: so that who was away for a
    year does not reckon with each minute of it."""
    try:
        back = CronSim(cron, datetime.fromtimestamp(until + 1, _zone(zone)), reverse=True)
        begin = after
        for moment in islice(back, count + 1):
            at = moment.timestamp() - 1
            begin = max(after, at)
            if at <= after:
                break
    except (CronSimError, ValueError, OSError, OverflowError):
        return []
    found: list[float] = []
    for at in dates(cron, zone, begin):
        if at > until:
            break
        found.append(at)
    return found[-count:]


@lru_cache(maxsize=256)
def _zone(name: str) -> tzinfo:
    """Raises ValueError or OSError for what is none."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except KeyError as missing:
        raise ValueError(str(missing)) from None


class Diary:
    """The next date of each schedule, on the node that leads."""

    def __init__(self, schedules: Mapping[str, Fired]) -> None:
        self._next: dict[str, float] = {}
        self._held: set[str] = set()
        """Schedules whose date has come, and waits for the task of the date before to be over."""
        self.wake_at = inf
        """The first of the dates that wait for nothing but their time."""
        self._since: dict[str, float] = {}
        self.refresh(schedules)

    def refresh(self, schedules: Mapping[str, Fired]) -> None:
        """Some have changed."""
        self._next, self._held = {}, set()
        self._since = {name: since(fired) for name, fired in schedules.items() if fired.schedule.enabled}
        for name, fired in schedules.items():
            at = following(fired.schedule.cron, fired.schedule.zone, since(fired)) if fired.schedule.enabled else None
            if at is not None:
                self._next[name] = at
        self._look_ahead()

    def _look_ahead(self) -> None:
        self.wake_at = min((at for name, at in self._next.items() if name not in self._held), default=inf)

    def ahead(self, wall: float) -> list[str]:
        """Schedules that say nothing for long, since a clock that was far ahead of this one has seen to their dates."""
        return [name for name, last in self._since.items() if last > wall + AHEAD_MAX][:FIRED_MAX]

    def due(self, schedules: Mapping[str, Fired], live: Container[int], wall: float) -> list[ScheduleFired]:
        """What the log is to be told now, :data:`FIRED_MAX` dates at most; ``live``: tasks that are not over."""
        if wall < self.wake_at and all(schedules[name].task in live for name in self._held):
            return []
        found: list[ScheduleFired] = []
        self._held.clear()
        for name, at in sorted(self._next.items(), key=lambda entry: (entry[1], entry[0])):
            if at > wall or len(found) >= FIRED_MAX:
                break
            if in_turn(schedules[name]) and schedules[name].task in live:
                self._held.add(name)
            else:
                found += _seen_to(name, schedules[name], wall)
        self._look_ahead()
        return found[:FIRED_MAX]


def in_turn(fired: Fired) -> bool:
    """Each date has its task, and none of them begins before the one before is over: it waits for that one."""
    return fired.schedule.missed == "all" and not fired.schedule.overlap


def silence(fired: Fired, wall: float) -> str:
    """Why a schedule says nothing for longer than its expression has it; "" when it does not."""
    last = since(fired)
    if not fired.schedule.enabled or last <= wall + AHEAD_MAX:
        return ""
    return (f"a clock that was {_span(last - wall)} ahead of this one has seen to its dates up to then: it goes on "
            f"when most nodes' clocks agree with the leader's, or when it is written again")


def _span(seconds: float) -> str:
    return f"{seconds / 86400:.0f} days" if seconds >= 2 * 86400 else f"{seconds / 3600:.0f} h"


def since(fired: Fired) -> float:
    """No date up to this one counts any more."""
    return max(fired.last, fired.schedule.since)


def _seen_to(name: str, fired: Fired, wall: float) -> list[ScheduleFired]:
    """The dates of one schedule that have come: those that were missed by its rule, and one that was not."""
    schedule = fired.schedule
    before = since(fired)
    if schedule.missed != "all":
        last = latest(schedule.cron, schedule.zone, before, wall, 1)
        if not last:
            return []
        late = schedule.missed == "skip" and last[0] + LATE < wall
        return [ScheduleFired(name, last[0], wall, _missed(last[0], wall) if late else "")]
    found = latest(schedule.cron, schedule.zone, before, wall, MISSED_MAX)
    return [ScheduleFired(name, at, wall) for at in (found[:1] if in_turn(fired) else found)]


def _missed(due: float, wall: float) -> str:
    return f"nobody could begin it when it was due, and {wall - due:.0f} s later that is not made up for"
