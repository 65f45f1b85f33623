"""Whom the pool was told to point at, when its clients wait, and who may be read from."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from math import inf

import pytest
from qluster.events import Address, CancelJob, HoldPool, JobEnded, Repoint
from qluster.pointing import HOLD_SECONDS, RETRY_INTERVAL, Hold, Pointing, Reading
from qluster.status import DatabaseStatus

FIRST: Address = ("192.0.2.1", 5432)
SECOND: Address = ("192.0.2.2", 5432)
THIRD: Address = ("192.0.2.3", 5432)
HOLD = Hold(40, 5.0)


def order(primary: Address | None, reign: int = 7) -> Repoint:
    return Repoint(primary=primary, reign=reign, founding=3)


def pointed(primary: Address | None = FIRST, reign: int = 7) -> Pointing:
    """A pool that points there."""
    pointing = Pointing()
    assert pointing.step(order(primary, reign), None, 1, 0.0) is not None and pointing.ended(JobEnded(1), 0.1)
    return pointing


def held() -> Pointing:
    """A pool that has come to rest for the switchover."""
    pointing = pointed()
    job = pointing.step(order(FIRST), HOLD, 2, 1.0)
    assert job is not None and job.order == HoldPool(40, 5.0)
    assert pointing.ended(JobEnded(2), 1.1) and pointing.status.held == 40
    return pointing


@pytest.mark.parametrize(
    ("primary", "target"),
    [(("192.0.2.1", 5432), "192.0.2.1:5432"), (("fd00::1", 5432), "[fd00::1]:5432"), (None, None)])
def test_target_is_written_as_urls_write_it(primary: Address | None, target: str | None) -> None:
    pointing = pointed(primary)
    assert (pointing.status.target, pointing.status.reign, pointing.status.error) == (target, 7, "")


def test_failed_order_is_tried_again_after_a_while() -> None:
    pointing = Pointing()
    assert pointing.step(order(FIRST), None, 1, 0.0) is not None
    assert pointing.step(order(FIRST), None, 2, 0.0) is None
    assert pointing.ended(JobEnded(1, error="no console"), 0.5)
    assert pointing.status.error == "no console" and pointing.wake_at == 0.5 + RETRY_INTERVAL
    assert pointing.step(order(FIRST), None, 2, 0.6) is None
    assert pointing.step(order(FIRST), None, 2, pointing.wake_at) is not None
    assert not pointing.ended(JobEnded(1), 2.0)


def test_pool_that_points_at_nobody_is_not_told_so_in_each_reign() -> None:
    pointing = pointed(None)
    assert pointing.step(order(None, 8), None, 2, 1.0) is None
    assert pointing.step(order(FIRST, 8), None, 2, 1.0) is not None


# --- holding ---------------------------------------------------------------------


def test_held_pool_waits_until_the_next_reign_takes_writes() -> None:
    pointing = held()
    assert pointing.step(order(None), HOLD, 3, 2.0) is None, "the primary has stopped, and clients wait already"
    assert pointing.step(order(None, 8), None, 3, 2.1) is None, "the next reign has begun, and takes no writes yet"
    assert pointing.status.held == 0
    job = pointing.step(order(SECOND, 8), None, 3, 2.2)
    assert job is not None and job.order == order(SECOND, 8)


def test_switchover_that_came_to_nothing_lets_clients_go_on() -> None:
    pointing = held()
    job = pointing.step(order(FIRST), None, 3, 2.0)
    assert job is not None and job.order == order(FIRST), "although it points there already"


def test_hold_of_a_leader_that_died_ends_by_itself() -> None:
    pointing = held()
    end = 1.0 + HOLD.patience + HOLD_SECONDS
    assert pointing.wake_at == end
    assert pointing.step(order(FIRST), HOLD, 3, end - 0.1) is None
    job = pointing.step(order(FIRST), HOLD, 3, end)
    assert job is not None and job.order == order(FIRST)
    assert pointing.ended(JobEnded(3), end + 0.1)
    assert pointing.step(order(FIRST), HOLD, 4, end + 1) is None, "the same hold is not taken up again"
    assert pointing.wake_at == inf


def test_reign_that_takes_no_writes_for_long_points_the_pool_at_nobody() -> None:
    pointing = held()
    late = 1.0 + HOLD.patience + HOLD_SECONDS
    assert pointing.step(order(None, 8), None, 3, late - 0.1) is None
    job = pointing.step(order(None, 8), None, 3, late)
    assert job is not None and job.order == order(None, 8)


def test_pool_that_does_not_come_to_rest_goes_on_and_says_why() -> None:
    pointing = pointed()
    assert pointing.step(order(FIRST), HOLD, 2, 1.0) is not None
    assert pointing.ended(JobEnded(2, error="a transaction is open"), 6.0)
    assert (pointing.status.held, pointing.status.error) == (0, "a transaction is open")
    job = pointing.step(order(FIRST), HOLD, 3, 6.0)
    assert job is not None and job.order == order(FIRST)


def test_hold_that_is_over_before_the_pool_came_to_rest_is_cancelled_once() -> None:
    pointing = pointed()
    assert pointing.step(order(FIRST), HOLD, 2, 1.0) is not None
    job = pointing.step(order(FIRST), None, 3, 2.0)
    assert job is not None and job.order == CancelJob(2)
    assert pointing.step(order(FIRST), None, 4, 2.0) is None
    assert pointing.ended(JobEnded(2, error="it was cancelled"), 2.1)
    job = pointing.step(order(FIRST), None, 4, 2.1)
    assert job is not None and job.order == order(FIRST)


def test_pool_that_points_at_nobody_is_at_rest() -> None:
    pointing = pointed(None)
    assert pointing.step(order(None), HOLD, 2, 1.0) is None
    assert pointing.status.held == 40


# --- reading -----------------------------------------------------------------------


def database(role: str = "replica", replayed: int = 1000, **more: object) -> DatabaseStatus:
    values = {"role": role, "position": replayed, "replayed": replayed, "streaming": role == "replica", **more}
    return DatabaseStatus(**values)  # type: ignore[arg-type]


PRIMARY = database("primary", 1000)


@pytest.mark.parametrize(
    ("databases", "fallback", "readers"),
    [
        pytest.param({FIRST: PRIMARY, SECOND: database(), THIRD: database()}, True, (SECOND, THIRD), id="two replicas"),
        pytest.param({FIRST: PRIMARY, SECOND: database(), THIRD: database(replayed=800)}, True, (SECOND,), id="lags"),
        pytest.param({FIRST: PRIMARY, SECOND: database(streaming=False)}, True, (FIRST,), id="does not stream"),
        pytest.param({FIRST: PRIMARY, SECOND: database(streaming=False)}, False, (), id="nobody, and no fallback"),
        pytest.param({FIRST: PRIMARY, SECOND: database("detached")}, True, (FIRST,), id="detached"),
        pytest.param({SECOND: database(), THIRD: database()}, True, (SECOND, THIRD), id="the primary is not heard"),
        pytest.param({FIRST: PRIMARY}, True, (FIRST,), id="no replica"),
        pytest.param(
            {FIRST: PRIMARY, SECOND: database(), ("192.0.2.4", 5433): database(), ("192.0.2.5", 5433): database()},
            True, (("192.0.2.4", 5433), ("192.0.2.5", 5433)), id="the port of most",
        ),
    ],
)  # fmt: skip
def test_who_streams_and_keeps_up_is_read_from(
    databases: dict[Address, DatabaseStatus], fallback: bool, readers: tuple[Address, ...]
) -> None:
    assert Pointing().readers(Reading(databases, FIRST, FIRST), 100, fallback=fallback) == readers


def test_replica_that_lagged_comes_back_when_it_is_well_below_the_limit() -> None:
    pointing = Pointing()

    def read(behind: int) -> bool:
        seen = Reading({FIRST: PRIMARY, SECOND: database(replayed=1000 - behind)}, FIRST, FIRST)
        return SECOND in pointing.readers(seen, 100, fallback=True)

    assert [read(behind) for behind in (0, 100, 101, 80, 51, 50, 100)] == [True, True, False, False, False, True, True]
