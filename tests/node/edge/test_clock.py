"""The daemon's clock goes on while its host sleeps; the clocks of its timers and of the processes beside it do not."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import time
from math import inf

import pytest
from qluster.edge import clock, guard, guard_process
from qluster.edge.guard import Guard

SLEPT = 3600.0


class Host:
    """Its clocks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.awake, self.slept, self.late = 1000.0, 0.0, 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.awake)
        monkeypatch.setattr(time, "clock_gettime", self._booted)

    def _booted(self, which: int) -> float:
        assert which == time.CLOCK_BOOTTIME
        self.awake += self.late  # this process is kept waiting before it sees what it asked for
        return self.awake - self.late / 2 + self.slept


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


def test_daemon_that_slept_has_lost_the_time(host: Host) -> None:
    until = clock.monotonic() + 10.0
    host.awake += 1.0
    host.slept += SLEPT
    assert clock.monotonic() > until
    assert clock.awake() < 1010.0 and clock.slept() == SLEPT


def test_deadline_of_others_is_nearer_by_the_sleep(host: Host) -> None:
    until = clock.monotonic() + 10.0
    assert clock.awake_at(until) == 1010.0
    host.slept += SLEPT
    assert clock.awake_at(until) == 1010.0 - SLEPT, "it has passed"
    assert clock.awake_at(clock.monotonic() + 10.0) == 1010.0
    assert clock.awake_at(inf) == inf and clock.awake_at(-inf) == -inf


@pytest.mark.parametrize("late", [0.0005, 0.2])
def test_who_is_kept_waiting_between_two_clocks_takes_no_deadline_for_later(host: Host, late: float) -> None:
    host.late, host.slept = late, SLEPT
    assert SLEPT - late <= clock.slept() <= SLEPT
    assert 9.0 <= clock.awake_at(SLEPT + 10.0) <= 10.0


def test_guard_is_told_by_its_own_clock(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(guard.Guard, "_say", lambda self, line: said.append(line))
    watch, end = guard_process.Watch(), Guard("/data")
    host.slept = SLEPT
    end.deadline(clock.monotonic() + 2.0)
    watch.take(said[-1].encode() + b"\n")
    assert watch.deadline == 1002.0 and not watch.overdue()
    host.awake += 3.0
    assert watch.overdue()
    end.deadline(inf)
    end.deadline(-inf)
    assert said[-2:] == ["deadline inf", "deadline -inf"]
