"""Tasks in whole simulated clusters: what runs, what the log says, and what clients were told agree."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from sim.runs import run
from sim.task_strikes import TASKED

SEEDS = TASKED[:6]


@pytest.mark.parametrize("first", SEEDS[::2], ids=str)
def test_cluster_with_tasks_stays_sound_and_becomes_well(first: int) -> None:
    for seed in range(first, first + 2):
        result = run(seed)
        story = "\n".join(result.story[-60:])
        assert not result.fault, f"seed {seed}: {result.fault}\n{story}"
        assert result.injected["runs of tasks"] > 0
