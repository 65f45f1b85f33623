"""Dates of schedules: clocks that change, dates that were missed, expressions that never come."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from qluster.tasks.board import Board
from qluster.tasks.bodies import (
    Assigned,
    Ended,
    Schedule,
    ScheduleFired,
    ScheduleWritten,
    Submission,
    TasksMoved,
    Verdict,
)
from qluster.tasks.kept import Fired
from qluster.tasks.schedules import FIRED_MAX, MISSED_MAX, Diary, dates, fault, following, latest
from qluster.tasks.spec import Command, Spec

BERLIN = ZoneInfo("Europe/Berlin")
TRUE = Submission(Spec(Command(("/bin/true",))))
YEAR = datetime(2026, 1, 1, tzinfo=BERLIN).timestamp(), datetime(2027, 1, 1, tzinfo=BERLIN).timestamp()


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def year(cron: str) -> list[datetime]:
    """All dates of 2026 in Berlin, found one after the other as a leader does."""
    found, last = [], YEAR[0] - 1
    while (date := following(cron, "Europe/Berlin", last)) is not None and date < YEAR[1]:
        found.append(datetime.fromtimestamp(date, BERLIN))
        last = date
    return found


def test_a_year_of_nights_has_each_of_them_once() -> None:
    found = year("30 2 * * *")
    assert [one.date() for one in found] == [(datetime(2026, 1, 1) + timedelta(days=n)).date() for n in range(365)]
    odd = [one.isoformat() for one in found if (one.hour, one.minute) != (2, 30)]
    assert odd == ["2026-03-29T03:00:00+02:00"]  # 02:30 does not exist: made up for at the next time that does
    twice = [one.isoformat() for one in found if one.month == 10 and one.day == 25]
    assert twice == ["2026-10-25T02:30:00+02:00"]  # 02:30 comes twice: the first counts


def test_a_year_of_hours_goes_by_elapsed_time() -> None:
    found = year("0 * * * *")
    assert len(found) == 365 * 24
    steps = {(later.astimezone(UTC) - one.astimezone(UTC)).total_seconds() for one, later in pairwise(found)}
    assert steps == {3600.0}


def test_two_dates_that_are_made_up_for_at_one_moment_are_one() -> None:
    found = [one.isoformat() for one in year("0,30 2 29 3 *")]
    assert found == ["2026-03-29T03:00:00+02:00"]


@pytest.mark.parametrize("cron", ["30 2 * * *", "*/20 2 * * *", "15 */6 * * MON-FRI", "0,30 1-3 * 3,10 SUN"])
@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_whoever_asks_in_between_hears_the_same(cron: str, day: str) -> None:
    """Each moment of the days of change gives the same next date as the list does."""
    begin = at(f"{day}T00:00:00+01:00") - 7200
    listed = _until(cron, begin - 86400, begin + 8 * 86400)
    after = following(cron, "Europe/Berlin", begin + 8 * 86400)
    for minutes in range(0, 8 * 60, 7):
        now = begin + minutes * 60
        assert following(cron, "Europe/Berlin", now) == next((date for date in listed if date > now), after)


@pytest.mark.parametrize("cron", ["30 2 * * *", "* * * * *", "0 3 29 2 *", "*/20 2 * * *", "0,30 2 * * *"])
@pytest.mark.parametrize("until", [
    "2026-03-29T12:00:00+02:00", "2026-10-25T02:45:00+02:00", "2026-10-25T02:45:00+01:00", "2026-10-25T12:00:00+01:00",
    "2026-07-01T02:30:00+02:00",
])  # fmt: skip
def test_the_last_dates_are_the_end_of_all(cron: str, until: str) -> None:
    after = at(until) - 2 * 86400
    every = _until(cron, after, at(until))
    assert latest(cron, "Europe/Berlin", after, at(until), 3) == every[-3:]
    assert latest(cron, "Europe/Berlin", after, at(until), 10_000) == every


def _until(cron: str, after: float, until: float) -> list[float]:
    found = []
    for date in dates(cron, "Europe/Berlin", after):
        if date > until:
            break
        found.append(date)
    return found


@pytest.mark.parametrize(("cron", "zone", "field"), [
    ("0 0 30 2 *", "UTC", "cron"), ("0 0 31 4,6 *", "UTC", "cron"), ("61 * * * *", "UTC", "cron"),
    ("* * * *", "UTC", "cron"), ("* * * * * *", "UTC", "cron"), ("", "UTC", "cron"), ("a b c d e", "UTC", "cron"),
    ("*/0 * * * *", "UTC", "cron"), ("0 0 * * *", "Mars/Base", "zone"), ("0 0 * * *", "", "zone"),
    ("0 0 * * *", "../etc/passwd", "zone"), ("0 0 * * *", "/etc/passwd", "zone"), ("0 0 * * *", "a\0b", "zone"),
    ("0 0 * * *", "Europe", "zone"),
])  # fmt: skip
def test_what_never_comes_is_refused_with_a_reason(cron: str, zone: str, field: str) -> None:
    found = fault(cron, zone, 2e9)
    assert found is not None and found[0] == field


def test_a_rare_day_is_none_that_never_comes() -> None:
    assert fault("0 0 29 2 *", "Europe/Berlin", 2e9) is None
    assert fault("0 0 LW * FRI#5", "UTC", 2e9) is None


def schedule(**others: object) -> Schedule:
    return Schedule("*/5 * * * *", TRUE, since=1000.0, **others)  # type: ignore[arg-type]


def due(fired: Fired, wall: float, live: Collection[int] = ()) -> list[ScheduleFired]:
    return Diary({"s": fired}).due({"s": fired}, live, wall)


def test_a_date_comes_once_and_not_before() -> None:
    fired = Fired(schedule(), 1000.0)
    diary = Diary({"s": fired})
    assert diary.wake_at == 1200.0
    assert diary.due({"s": fired}, (), 1199.9) == []
    assert diary.due({"s": fired}, (), 1200.0) == [ScheduleFired("s", 1200.0, 1200.0)]
    fired.last = 1200.0
    diary.refresh({"s": fired})
    assert diary.wake_at == 1500.0
    assert diary.due({"s": fired}, (), 1100.0) == []  # the clock was set back


def test_what_was_missed_follows_the_rule() -> None:
    skip, one = (Fired(schedule(missed=rule), 1000.0) for rule in ("skip", "one"))
    every = Fired(schedule(missed="all", overlap=True), 1000.0)
    assert [(each.due, bool(each.skipped)) for each in due(skip, 2200.0)] == [(2100.0, True)]
    assert [(each.due, bool(each.skipped)) for each in due(skip, 2150.0)] == [(2100.0, False)]
    assert [(each.due, bool(each.skipped)) for each in due(one, 2200.0)] == [(2100.0, False)]
    assert [each.due for each in due(every, 2200.0)] == [1200.0, 1500.0, 1800.0, 2100.0]
    assert due(Fired(schedule(enabled=False), 1000.0), 2200.0) == []


@pytest.mark.parametrize("overlap", [True, False])
def test_a_year_of_absence_is_made_up_for_in_parts_and_not_whole(overlap: bool) -> None:
    fired = Fired(schedule(missed="all", overlap=overlap), 1000.0)
    wall, seen = 1000.0 + 365 * 86400, []
    for _ in range(2 * MISSED_MAX):
        found = due(fired, wall)
        assert len(found) <= FIRED_MAX
        if not found:
            break
        seen += [each.due for each in found]
        fired.last = found[-1].due
    assert len(seen) == MISSED_MAX and seen[-1] <= wall < seen[-1] + 300


def test_all_missed_dates_are_made_up_for_one_after_the_other() -> None:
    """Where a second task must not begin beside the first, no date is passed over for that: each waits its turn."""
    board = Board()
    board.apply(ScheduleWritten("s", schedule(missed="all"), 1000.0), 1)
    diary, index, begun = Diary(board.schedules), 1, []
    for wall in (2200.0, 2201.0, 2202.0, 2203.0, 2500.0):
        found = diary.due(board.schedules, board.live, wall)
        assert len(found) <= 1 and diary.due(board.schedules, board.live, wall) == found
        for body in found:
            index += 1
            board.apply(body, index)
            begun.append(body.due)
            diary.refresh(board.schedules)
            # It is not over: the next one is not begun, and nobody looks for it again and again.
            assert diary.due(board.schedules, board.live, wall) == [] and diary.wake_at > wall
        assert board.schedules["s"].skipped == ""
        (running,) = board.live
        index += 2
        board.apply(TasksMoved(wall, (Assigned(running, 1),)), index - 1)
        board.apply(TasksMoved(wall, (Ended(running, index - 1, Verdict.DONE, wall),)), index)
    assert begun == [1200.0, 1500.0, 1800.0, 2100.0, 2400.0]
    assert diary.due(board.schedules, board.live, 2501.0) == []


def test_a_schedule_that_a_wrong_clock_has_put_off_for_years_counts_when_it_is_written_anew() -> None:
    board = Board()
    board.apply(ScheduleWritten("s", schedule(), 1000.0), 1)
    board.apply(ScheduleFired("s", 3e8, 3e8), 2)  # by a clock that was ten years ahead
    assert due(board.schedules["s"], 1801.0) == []
    board.apply(ScheduleWritten("s", schedule(), 1802.0, anew=True), 3)
    assert [each.due for each in due(board.schedules["s"], 2101.0)] == [2100.0]
    board.apply(ScheduleFired("s", 5400.0, 5400.0), 4)  # an hour ahead: no date comes a second time
    board.apply(ScheduleWritten("s", schedule(), 2102.0), 5)
    assert due(board.schedules["s"], 5399.0) == []


def test_two_leaders_fire_a_date_once() -> None:
    board = Board()
    board.apply(ScheduleWritten("s", schedule(overlap=True), 1000.0), 1)
    assert 0 in board.touched
    first = due(board.schedules["s"], 1201.0)
    other = due(board.schedules["s"], 1202.0)  # a new leader that has not read what its predecessor said
    for index, body in enumerate([*first, *other], 2):
        board.apply(body, index)
    assert len(board.live) == 1 and board.schedules["s"].last == 1200.0
    assert due(board.schedules["s"], 1203.0) == []


def test_a_date_is_passed_over_while_the_task_before_is_not_over() -> None:
    board = Board()
    board.apply(ScheduleWritten("s", schedule(), 1000.0), 1)
    for index, wall in enumerate((1200.0, 1500.0), 2):
        for body in due(board.schedules["s"], wall):
            board.apply(body, index)
    assert len(board.live) == 1
    assert board.schedules["s"].skipped == "task 1 of the date before is not over"


def test_a_date_brings_the_task_that_the_template_made_then() -> None:
    board = Board()
    board.apply(ScheduleWritten("s", schedule(template="t"), 1000.0), 1)
    board.apply(ScheduleFired("s", 1200.0, 1200.0, spec=Spec(Command(("/bin/other",)), template="t")), 2)
    assert board.live[1].spec.work == Command(("/bin/other",))
    assert board.live[1].schedule == "s"
