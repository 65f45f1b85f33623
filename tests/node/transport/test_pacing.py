"""The bucket: never more than the rate and the burst, never less than the rate when there is demand."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from math import ulp

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qluster.transport.pacing import (
    CAREFUL_FROM,
    CAREFUL_TO,
    CHARGE_MIN,
    FRAME_SIZE,
    GRACE,
    RATE_FLOOR,
    SLOWING_PAUSE,
    Bucket,
    Throttle,
    burst_size,
    charge,
)

RATES = st.integers(64 * 1024, 12_500_000_000)
SIZES = st.lists(st.integers(CHARGE_MIN, 1600), min_size=1, max_size=200)


def slack(rate: int, now: float) -> float:
    """Bytes by which a computed time may be off: the grace, and what a float of this size cannot tell apart."""
    return 1 + rate * (GRACE + 4 * ulp(now))


@given(RATES, st.floats(0, 1e7), SIZES)
def test_sender_that_sleeps_until_ready_keeps_exactly_the_rate(
    rate: int, start: float, sizes: list[int]
) -> None:
    bucket = Bucket(rate, 1600, start)
    now, taken = start, 0
    for size in sizes:
        tries = 0
        while not bucket.take(size, now):
            later = bucket.ready_at(size)
            assert later > now, "a wait that does not advance would spin"
            now = later
            tries += 1
            assert tries <= 2, "what was ready was not to be had"
        taken += size
        assert taken <= 1600 + (now - start) * rate + slack(rate, now)
    assert (now - start) * rate <= taken + slack(rate, now)


def test_idle_time_saves_up_one_burst_and_no_more() -> None:
    bucket = Bucket(1000, 2000, 0.0)
    assert bucket.take(2000, 0.0)
    assert not bucket.take(2000, 1.9)
    assert bucket.take(2000, 100.0)
    assert not bucket.take(500, 100.0)


def test_what_did_not_wait_is_paid_for_later() -> None:
    bucket = Bucket(1000, 2000, 0.0)
    assert bucket.take(2000, 0.0)
    bucket.spend(1000, 0.0)
    assert bucket.ready_at(1000) == pytest.approx(2.0)
    assert not bucket.take(1000, 1.9)
    assert bucket.take(1000, 2.0)


def test_clock_reading_of_before_is_no_new_time() -> None:
    bucket = Bucket(1000, 2000, 10.0)
    assert bucket.take(2000, 10.0)
    assert not bucket.take(1000, 9.0)
    assert bucket.take(1000, 11.0)


def test_small_datagrams_are_charged_for_their_space_in_buffers() -> None:
    assert charge(80) == CHARGE_MIN
    assert charge(1472) == 1472 + FRAME_SIZE


@pytest.mark.parametrize(
    ("rate", "buffer_size", "burst"),
    [
        pytest.param(64 * 1024, 1048576, charge(1472), id="slowest: one datagram"),
        pytest.param(100_000_000, 1048576, 200_000, id="usual: two milliseconds"),
        pytest.param(5_000_000, 1048576, 50_000, id="slow: ten milliseconds"),
        pytest.param(20_000_000, 1048576, 65_536, id="between: a small burst"),
        pytest.param(1_000_000_000, 1048576, 524_288, id="fast: half the buffer"),
        pytest.param(1_000_000_000, 2048, charge(1472), id="tiny buffer: one datagram"),
    ],
)
def test_burst_fits_rate_and_buffer(rate: int, buffer_size: int, burst: int) -> None:
    assert burst_size(rate, 1472, buffer_size) == burst


def throttled(*losses: int, sent: int = 1000) -> Throttle:
    """One interval after the other, with so many of the datagrams lost at the slowest receiver."""
    throttle = Throttle(100e6, 0.0)
    for number, lost in enumerate(losses, start=1):
        throttle.sent(sent)
        throttle.lost(("10.0.0.2", 1), lost // 2)
        throttle.lost(("10.0.0.3", 1), lost)
        throttle.step(number * 0.2)
    return throttle


def test_few_losses_change_nothing() -> None:
    assert throttled(40, 40, 40).rate == 100e6


def test_many_losses_halve_the_rate_each_time_but_not_below_what_anybody_takes() -> None:
    assert throttled(200).rate == 50e6
    assert throttled(200, 200).rate == 25e6
    assert throttled(*[200] * 20).rate == RATE_FLOOR


def test_losses_of_the_rate_before_count_once() -> None:
    throttle = throttled(200)
    throttle.lost(("10.0.0.3", 1), 500)
    throttle.step(0.2 + SLOWING_PAUSE / 2)
    assert throttle.rate == 50e6


def test_few_datagrams_prove_nothing() -> None:
    assert throttled(5, 5, sent=5).rate == 100e6


def test_rate_recovers_when_losses_end() -> None:
    throttle = throttled(200, 200, 200)
    rates = []
    for step in range(1, 250):
        throttle.step(0.6 + step * 0.02)
        rates.append(throttle.rate)
    assert rates == sorted(rates)
    assert rates[-1] == 100e6
    near = [rate for rate in rates if 25e6 * CAREFUL_FROM <= rate <= 25e6 * CAREFUL_TO]
    assert len(near) > 80, "where much was lost last it goes carefully"
    assert len(set(rates)) - len(near) < 60, "and quickly elsewhere"


def test_rate_is_back_after_a_long_pause() -> None:
    throttle = throttled(*[200] * 20)
    throttle.step(10.0)
    assert throttle.rate == 100e6


def test_rate_configured_below_the_floor_is_kept() -> None:
    throttle = Throttle(70_000, 0.0)
    throttle.lost(("10.0.0.3", 1), 1000)
    throttle.step(1.0)
    assert throttle.rate == 70_000
