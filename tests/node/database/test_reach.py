"""How far WAL goes on without a gap, and what is read to know it."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster.database.reach import label_start, parted_at, unbroken
from qluster.database.wal import Fork, segment_name

SIZE = 16
"""Bytes of a segment here."""
HISTORY = (Fork(1, 20), Fork(2, 40), Fork(3, 44), Fork(5, 70))
"""Timeline 1 left at 20, 2 at 40, 3 at 44 and 5 at 70; then 6."""
END = (6, 90)


def files(*names: tuple[int, int]) -> set[str]:
    return {segment_name(timeline, number * SIZE, SIZE) for timeline, number in names}


WHOLE = files((1, 0), (2, 1), (5, 2), (5, 3), (6, 4), (6, 5))


@pytest.mark.parametrize(("here", "first", "reached"), [
    pytest.param(WHOLE, 0, END, id="all is here"),
    pytest.param(WHOLE | files((1, 1), (2, 2), (3, 2), (5, 4)), 0, END, id="older files of the same segments, too"),
    pytest.param(WHOLE - files((1, 0)), 16, END, id="what is before the beginning is not needed"),
    pytest.param(WHOLE - files((1, 0)), 15, (1, 0), id="the segment of the beginning is"),
    pytest.param(WHOLE - files((6, 5)), 50, (6, 80), id="the last is missing"),
    pytest.param(WHOLE - files((5, 3)), 33, (5, 48), id="one in the middle is missing"),
    pytest.param(WHOLE - files((6, 4)), 50, (5, 64), id="one with a change of timelines: where it begins"),
    pytest.param(WHOLE - files((6, 4)) | files((5, 4)), 50, (5, 70), id="only the older part of it is here"),
    pytest.param(WHOLE - files((5, 2)) | files((2, 2)), 17, (2, 40), id="only the oldest of three parts is here"),
    pytest.param(WHOLE - files((5, 2)) | files((3, 2)), 17, (3, 44), id="only the middle one is here"),
    pytest.param(WHOLE - files((5, 2)) | files((9, 2)), 17, END, id="one that came after them all has it"),
    pytest.param(WHOLE - files((5, 2)), 39, (2, 32), id="none of three"),
    pytest.param(set(), 90, (6, 80), id="what begins at the end needs the segment that it stands in"),
])  # fmt: skip
def test_wal_reaches_to_the_first_gap(here: set[str], first: int, reached: tuple[int, int]) -> None:
    assert unbroken(first, END, HISTORY, here, SIZE) == reached


def test_without_its_history_nothing_is_said_of_a_timeline() -> None:
    assert unbroken(0, (2, 30), (), files((1, 0)), SIZE) == (2, 30)


def test_an_end_on_a_border_needs_nothing_beyond_it() -> None:
    assert unbroken(0, (1, 32), (), files((1, 0), (1, 1)), SIZE) == (1, 32)
    assert unbroken(0, (2, 33), (Fork(1, 32),), files((1, 0), (1, 1)), SIZE) == (2, 32)


def test_a_label_says_where_recovery_begins() -> None:
    text = "START WAL LOCATION: 0/7289A08 (file 000000040000000000000007)\nCHECKPOINT LOCATION: 0/7289A60\n"
    assert label_start(text) == 0x7289A08
    assert label_start("") is None


def test_what_a_rewind_says_of_the_parting_is_read() -> None:
    said = "pg_rewind: servers diverged at WAL location 1/73CCB28 on timeline 5; pg_rewind: Done!"
    assert parted_at(said) == (5, (1 << 32) + 0x73CCB28)
    assert parted_at("pg_rewind: no rewind required") is None
