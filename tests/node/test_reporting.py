"""What is kept of the reports of others."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from msgspec.structs import replace
from qluster.cluster.messages import Report
from qluster.cluster.published import End
from qluster.reporting import RATE_SPAN_MIN, RATE_WINDOW, REPORT_INTERVAL, WALL_SPAN, Reports
from qluster.status import DatabaseStatus


def report(node: int, position: int | None, role: str = "primary", *, reign: int = 1, age: float = 0.0) -> Report:
    """A report of a database at a position."""
    database = DatabaseStatus(role=role, position=position, timeline=1)
    return Report(1, node, "1", "", "", reign, True, database, None, age=age)


def test_fastest_writing_of_the_last_minutes_is_known() -> None:
    reports = Reports()
    for at, position in ((0.0, 0), (1.0, 1000), (2.0, 9000), (3.0, 9500)):
        reports.receive(report(2, position), at)
    assert reports.wal_rate(2) == 8000.0
    reports.receive(report(2, 9600), RATE_WINDOW + 2.5)
    assert reports.wal_rate(2) < 8000.0
    assert reports.heard_at(2) == RATE_WINDOW + 2.5


def test_positions_close_together_and_of_replicas_give_no_rate() -> None:
    reports = Reports()
    reports.receive(report(2, 0), 1.0)
    reports.receive(report(2, 1 << 30), 1.0 + RATE_SPAN_MIN / 2)
    reports.receive(report(3, 0, "replica"), 1.0)
    reports.receive(report(3, 1000, "replica"), 2.0)
    reports.receive(report(2, None), 2.0)
    assert reports.wal_rate(2) == reports.wal_rate(3) == reports.wal_rate(9) == 0.0


def test_what_went_back_is_another_branch_and_no_rate() -> None:
    reports = Reports()
    for at, position in ((0.0, 9000), (1.0, 100), (2.0, 200)):
        reports.receive(report(2, position), at)
    assert reports.wal_rate(2) == 100.0


def test_end_of_a_primary_is_of_when_its_database_answered() -> None:
    reports = Reports()
    for at, position, age in ((1.0, 1000, 0.0), (2.0, 1000, 1.0), (4.0, 2000, 2.0)):
        reports.receive(report(2, position, reign=5, age=age), at)
    assert reports.end_of(2, 5) == End(5, 1, 2000, 2.0)
    assert reports.wal_rate(2) == 1000.0, "of when it was there, not of when it was said"


def test_end_of_a_primary_outlasts_what_a_stopped_server_says() -> None:
    reports = Reports()
    reports.receive(report(2, 2000, reign=5), 4.0)
    reports.receive(report(2, None, reign=5), 5.0)
    reports.receive(report(2, 700, "stopped", reign=5), 6.0)
    assert reports.end_of(2, 4) == reports.end_of(2, 5) == End(5, 1, 2000, 4.0), "700 is its last checkpoint"
    assert reports.end_of(2, 6) == End(5, 1, 700, 6.0), "in that reign it was none"
    assert reports.end_of(3, 5) is None


def test_age_of_what_is_said_is_no_news() -> None:
    reports = Reports()
    assert reports.due(report(1, 5), 1.0)
    assert not reports.due(report(1, 5, age=0.5), 1.5, closely=True)


def test_who_is_no_member_is_forgotten() -> None:
    reports = Reports()
    for at, position in ((0.0, 0), (1.0, 100)):
        reports.receive(report(2, position), at)
    reports.forget({1})
    assert reports.wal_rate(2) == 0.0 and reports.heard_at(2) is None and reports.last(2) is None
    assert reports.end_of(2, 1) is None


def test_clock_of_a_member_is_known_for_as_long_as_its_report_is_new() -> None:
    reports = Reports()
    reports.receive(replace(report(2, 700), wall=1e9), 5.0)
    assert reports.wall_of(2, 8.0) == 1e9 + 3.0
    assert reports.wall_of(2, 5.1 + WALL_SPAN) is None and reports.wall_of(3, 5.0) is None
    reports.receive(report(2, 700), 6.0)
    assert reports.wall_of(2, 6.0) is None, "its version does not say"


def test_time_that_passes_is_no_news() -> None:
    reports = Reports()
    assert reports.due(replace(report(1, 700), wall=1e9), 5.0)
    assert not reports.due(replace(report(1, 700), wall=1e9 + 0.5), 5.5)
    assert reports.due(replace(report(1, 700), wall=1e9 + 1.0), 5.0 + REPORT_INTERVAL)
