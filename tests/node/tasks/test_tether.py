"""Until when what is tied to a lease may go on."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from qluster.tasks.tether import Tether


def test_without_a_lease_nothing_goes_on() -> None:
    assert Tether(10, 0).passed(0, 0)


def test_it_ends_when_it_says_and_a_longer_one_takes_its_place() -> None:
    tether = Tether(10, 5)
    tether.take(110, 100, 5)
    assert not tether.passed(109.9, 5) and tether.passed(110, 5)
    tether.take(112, 101, 5)
    tether.take(105, 102, 5)  # an older one that came late takes nothing away
    assert not tether.passed(111, 5)


def test_sleep_ends_it_although_the_clock_stood_still() -> None:
    tether = Tether(10, 5)
    tether.take(110, 100, 5)
    assert not tether.passed(101, 5.04)
    assert tether.passed(101, 3605)
    assert tether.passed(101, 3605)


def test_what_was_asked_for_before_a_sleep_holds_no_longer() -> None:
    tether = Tether(10, 5)
    tether.take(110, 100, 5)
    tether.take(111, 101, 3605)  # granted for an asking at 101 at the latest, before anybody saw the sleep
    assert not tether.passed(101.1, 3605)
    tether = Tether(10, 5)
    tether.take(110.9, 101, 3605)
    assert tether.passed(101.1, 3605)


def test_sleep_in_small_pieces_is_seen_too() -> None:
    tether = Tether(10, 5)
    tether.take(110, 100, 5)
    assert not tether.passed(101, 5.03)
    assert tether.passed(102, 5.06)
