"""The short form: clients write to every host of a cluster with real databases while its primary is struck."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from pathlib import Path

import pytest
from faults import cables
from ledger import cluster
from ledger.campaign import Round, play
from ledger.planted import PLANTED, Planted, search
from ledger.strokes import cut_off, daemon_and_guard_killed, postmaster_killed

SECONDS = 25.0
"""For the faults of the short form; all three need half of it on a quiet machine."""


@pytest.fixture(autouse=True, scope="module")
def hosts_possible() -> None:
    """Network namespaces, nftables and database programs."""
    if reason := cables.obstacle() or cluster.obstacle():
        pytest.skip(reason)


def test_nothing_that_was_acknowledged_is_missing_after_failovers(tmp_path: Path) -> None:
    strokes = (cut_off, postmaster_killed, daemon_and_guard_killed)
    played = play(Round(1, "quorum", rate=2000.0), SECONDS, keep=tmp_path, strokes=strokes, faults=len(strokes))
    assert not played.violations, "\n".join(played.violations)
    assert played.failovers >= 1 and played.commits > 1000, played


@pytest.mark.skipif(not os.environ.get("QLUSTER_FULL_TESTS"), reason="QLUSTER_FULL_TESTS=1 hunts planted faults, too")
@pytest.mark.parametrize("planted", PLANTED, ids=[planted.name for planted in PLANTED])
def test_planted_fault_is_found(planted: Planted) -> None:
    found, how = search(planted)
    assert found, how
