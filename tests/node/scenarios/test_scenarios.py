"""Every scenario leads to the answers written below its commands.

After a wanted change: `PYTHONPATH=node python tests/node/scenarios/player.py --rewrite`, and read the difference.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from scenarios.player import SCENARIOS, play


@pytest.mark.parametrize("name", sorted(path.stem for path in SCENARIOS.glob("*.txt")))
def test_scenario_plays_as_written(name: str) -> None:
    written = (SCENARIOS / f"{name}.txt").read_text()
    assert play(written) == written
