"""Clients work while faults strike; afterwards all nodes agree and the history has an explanation."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from faults.campaign import Round, play

SECONDS = 8.0
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "round_",
    [Round(101, hosts=3, relayed=False, disks=True), Round(102, hosts=3, relayed=True, disks=True)],
    ids=["bridge", "relay"],
)
def test_history_under_mixed_faults_is_linearizable(
    round_: Round, hosts_possible: None, disks_possible: None
) -> None:
    played = play(round_, SECONDS, ROOT / ".cache/faults")
    assert not played.violations, "\n".join(played.violations)
    assert played.acknowledged > 20, played
