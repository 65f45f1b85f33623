"""What people are shown of fencing: what is wrong with it, and what came of the last time."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster.cli.show import _fencing_text
from qluster.fenced import FencedStatus, FencingStatus


def last(**changed: object) -> FencedStatus:
    usual = {"ago": 90.0, "by": 2, "reign": 4, "shots": 1, "success": True, "said": "fence_apc: off", "asked": False}
    return FencedStatus(**{**usual, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        (FencingStatus(), []),
        (FencingStatus(action="off", agents=("fence_apc",), well=True, checked_ago=3.0), []),
        (FencingStatus(well=False, said="level 1: no route"), ["could not be fenced from here: level 1: no route"]),
        (FencingStatus(last=last()), ["fenced by node 2 1 m 30 s ago for reign 4: fence_apc: off"]),
        (FencingStatus(last=last(success=False, said="no route")),
         ["NOT fenced by node 2 1 m 30 s ago for reign 4: no route"]),
        (FencingStatus(last=last(success=None, said="", asked=True)),
         ["ordered to be fenced by node 2, as an operator asked 1 m 30 s ago for reign 4"]),
        (FencingStatus(last=last(by=None, asked=True)),
         ["an operator confirmed 1 m 30 s ago for reign 4 that its host was off"]),
    ],
)  # fmt: skip
def test_fencing_in_words(status: FencingStatus, lines: list[str]) -> None:
    assert list(_fencing_text(status)) == lines
