"""The benchmark of the arbiter: its clients get their votes from ours, and its table compares."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from bench import qnetd


def test_clients_of_the_benchmark_get_their_votes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(programs_root() / "node"))
    flood, steady = qnetd.measure("qluster", 3, 0.3, tmp_path)
    assert (flood.load, steady.load, flood.clusters, flood.server) == ("flood", "steady", 3, "qluster")
    assert flood.votes_a_second > 50 and 0 < flood.p50 <= flood.p99 <= flood.worst
    assert 20 < steady.votes_a_second <= 2 * qnetd.STEADY + 20


def programs_root() -> Path:
    return Path(qnetd.__file__).parents[1]


def test_table_has_medians_and_ratios() -> None:
    figures = [
        qnetd.Figure(server, load, 1, rate, p50, 2 * p50, 3 * p50, 10.0, 0.0)
        for load in ("flood", "steady")
        for server, rate, p50 in (
            ("qluster", 100, 20.0), ("qluster", 300, 40.0), ("qluster", 200, 30.0), ("corosync", 400, 10.0),
        )
    ]  # fmt: skip
    lines = qnetd.table(figures)
    assert lines[1] == "| flood | 1 | qluster | 200 | 30 µs | 60 µs | 90 µs | 10 µs |"
    assert lines[3] == "| | | ratio | × 0.50 | × 3.00 | × 3.00 | × 3.00 | × 1.00 |"
    assert all(line.count("|") == 9 for line in lines[1:])
