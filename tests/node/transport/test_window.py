"""The window against a slow and obvious second implementation."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qluster.transport.window import WINDOW_SIZE, Window


class Remembering:
    """Keeps every number for ever."""

    def __init__(self) -> None:
        self.seen: set[int] = set()

    def fresh(self, number: int) -> bool:
        return number not in self.seen and number > max(self.seen, default=0) - WINDOW_SIZE


STEPS = st.lists(st.integers(-2 * WINDOW_SIZE, 2 * WINDOW_SIZE) | st.integers(-3, 3), max_size=200)


@given(st.integers(1, 2**64), STEPS)
def test_window_knows_what_perfect_memory_knows(start: int, steps: list[int]) -> None:
    window, memory = Window(), Remembering()
    number = start
    for step in steps:
        number = max(1, number + step)
        assert window.fresh(number) == memory.fresh(number)
        if window.fresh(number):
            window.mark(number)
            memory.seen.add(number)
        assert not window.fresh(number)


def test_numbers_may_come_in_any_order_within_the_window() -> None:
    window = Window()
    window.mark(WINDOW_SIZE)
    for number in range(1, WINDOW_SIZE):
        assert window.fresh(number)
        window.mark(number)
    assert not any(window.fresh(number) for number in range(1, WINDOW_SIZE + 1))


@pytest.mark.parametrize(("number", "fresh"), [(10_000 - WINDOW_SIZE, False), (10_001 - WINDOW_SIZE, True)])
def test_window_ends_after_its_size(number: int, fresh: bool) -> None:
    window = Window()
    window.mark(10_000)
    assert window.fresh(number) is fresh


def test_asking_changes_nothing() -> None:
    window = Window()
    window.mark(5)
    assert window.fresh(2**40) and window.fresh(2**40)
    assert window.highest == 5
