"""What is kept of the reports of others."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from qluster.cluster.messages import Report
from qluster.reporting import RATE_SPAN_MIN, RATE_WINDOW, Reports
from qluster.status import DatabaseStatus


def report(node: int, position: int | None, role: str = "primary") -> Report:
    """A report of a database at a position."""
    return Report(1, node, "1", "", "", 1, True, DatabaseStatus(role=role, position=position), None)


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


def test_who_is_no_member_is_forgotten() -> None:
    reports = Reports()
    for at, position in ((0.0, 0), (1.0, 100)):
        reports.receive(report(2, position), at)
    reports.forget({1})
    assert reports.wal_rate(2) == 0.0 and reports.heard_at(2) is None and reports.last(2) is None
