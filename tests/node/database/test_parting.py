"""Which timeline followed that of a primary that was shut down."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster.database.wal import Control, Course, Fork
from qluster.edge.postgres.parting import following_timeline

SIZE = 16 << 20
PLACE = 5 * SIZE


def control(timeline: int, position: int) -> Control:
    return Control(7, "shut down", timeline, position, SIZE, True, True)


@pytest.mark.parametrize(
    ("mine", "upstream", "expected"),
    [
        pytest.param((1, PLACE + 40), Course(2, PLACE + 900, (Fork(1, PLACE + 160),)), 2, id="its record is there"),
        pytest.param((1, PLACE + 160), Course(2, PLACE + 900, (Fork(1, PLACE + 160),)), None, id="its record is not"),
        pytest.param((1, PLACE + 300), Course(2, PLACE + 900, (Fork(1, PLACE + 160),)), None, id="it went further"),
        pytest.param(
            (1, PLACE + 40), Course(3, PLACE + 900, (Fork(1, PLACE + 160), Fork(2, PLACE + 500))), 2, id="two later"
        ),
        pytest.param((3, PLACE + 40), Course(2, PLACE + 900, (Fork(1, PLACE + 160),)), None, id="another way"),
        pytest.param((2, PLACE + 40), Course(2, PLACE + 900, (Fork(1, 160),)), None, id="the same timeline"),
        pytest.param((1, PLACE - 40), Course(2, PLACE + 900, (Fork(1, PLACE + 160),)), None, id="another segment"),
        pytest.param((1, PLACE - 40), Course(2, PLACE, (Fork(1, PLACE - 8),)), None, id="at the end of a segment"),
    ],
)
def test_way_goes_on_after_the_last_record(mine: tuple[int, int], upstream: Course, expected: int | None) -> None:
    assert following_timeline(control(*mine), upstream) == expected
