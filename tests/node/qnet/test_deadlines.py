"""Which moment comes next, against a list that is searched each time."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some
from qluster.qnet.deadlines import SLACK, Deadlines

WHAT = some.sampled_from(["set", "set", "clear", "pop"])
STEPS = some.lists(some.tuples(WHAT, some.integers(0, 4), some.integers(0, 30)))


@given(STEPS)
def test_next_is_always_the_earliest(steps: list[tuple[str, int, int]]) -> None:
    deadlines: Deadlines[tuple[int]] = Deadlines()
    plain: dict[tuple[int], float] = {}
    for what, number, at in steps:
        key = (number,)
        match what:
            case "set":
                deadlines.set(key, at)
                plain[key] = at
            case "clear":
                deadlines.clear(key)
                plain.pop(key, None)
            case "pop":
                due = sorted((moment, one) for one, moment in plain.items() if moment <= at)
                popped = deadlines.pop(at)
                assert popped == (due[0][1] if due else None)
                if popped is not None:
                    del plain[popped]
        assert deadlines.next() == min(plain.values(), default=None)


def test_what_is_told_without_sorting_is_never_too_late() -> None:
    deadlines: Deadlines[tuple[int]] = Deadlines()
    assert deadlines.none_before(0.0) and deadlines.none_before(float("inf"))
    deadlines.set((1,), 5.0)
    assert deadlines.none_before(5.0) and not deadlines.none_before(5.1)
    deadlines.set((1,), 9.0)
    assert not deadlines.none_before(6.0), "it was sorted in at 5"
    assert deadlines.next() == 9.0 and deadlines.none_before(9.0)
    deadlines.set((2,), 3.0)
    assert not deadlines.none_before(9.0) and deadlines.none_before(3.0)


def test_moments_that_are_moved_to_and_fro_take_no_more_room() -> None:
    deadlines: Deadlines[tuple[int]] = Deadlines()
    for step in range(100_000):
        deadlines.set((1,), step + (180 if step % 2 else 1))
        if step % 3 == 0:
            deadlines.pop(step)
        assert len(deadlines._sorted) <= SLACK + 3


def test_moments_that_only_come_closer_take_no_more_room_either() -> None:
    deadlines: Deadlines[tuple[int]] = Deadlines()
    deadlines.set((2,), 5_000)
    for at in range(10_000, 0, -1):
        deadlines.set((1,), at)
        assert len(deadlines._sorted) <= SLACK + 5
    assert deadlines.pop(10_000) == (1,)
    assert deadlines.next() == 5_000
    assert [deadlines.pop(10_000), deadlines.pop(10_000)] == [(2,), None]
