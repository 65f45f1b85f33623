"""Whom the pool was told to point at, as the status says it."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster.events import Address, JobEnded, Repoint
from qluster.pointing import RETRY_INTERVAL, Pointing


def order(primary: Address | None, reign: int = 7) -> Repoint:
    return Repoint(primary=primary, reign=reign, founding=3)


@pytest.mark.parametrize(
    ("primary", "target"),
    [(("192.0.2.1", 5432), "192.0.2.1:5432"), (("fd00::1", 5432), "[fd00::1]:5432"), (None, None)])
def test_target_is_written_as_urls_write_it(primary: Address | None, target: str | None) -> None:
    pointing = Pointing()
    job = pointing.step(order(primary), 1, 0.0)
    assert job is not None and pointing.ended(JobEnded(1), 0.1)
    assert (pointing.status.target, pointing.status.reign, pointing.status.error) == (target, 7, "")


def test_failed_order_is_tried_again_after_a_while() -> None:
    pointing = Pointing()
    assert pointing.step(order(("192.0.2.1", 5432)), 1, 0.0) is not None
    assert pointing.step(order(("192.0.2.1", 5432)), 2, 0.0) is None
    assert pointing.ended(JobEnded(1, error="no console"), 0.5)
    assert pointing.status.error == "no console" and pointing.wake_at == 0.5 + RETRY_INTERVAL
    assert pointing.step(order(("192.0.2.1", 5432)), 2, 0.6) is None
    assert pointing.step(order(("192.0.2.1", 5432)), 2, pointing.wake_at) is not None
    assert not pointing.ended(JobEnded(1), 2.0)
