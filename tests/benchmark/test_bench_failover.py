"""The failover benchmark: what follows from what clients were told, cells, tables; and that a quick run works."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import programs
from bench.database import cell, hosts, report, trial
from bench.database.__main__ import earlier
from bench.database.client import Acknowledged, Ledger, line
from bench.database.trial import Seen, judged, primary_of

LIMIT = 280


def acknowledged(*told: tuple[float, int]) -> list[Acknowledged]:
    """Rows 1, 2, … that were acknowledged at a time by a node; 11 is node 1 by another connection."""
    return [Acknowledged(at, node % 10, node, row, row * 100) for row, (at, node) in enumerate(told, 1)]


def test_outage_begins_with_the_fault_and_ends_where_somebody_new_acknowledges() -> None:
    lines = acknowledged((0.9, 1), (1.0, 1), (1.4, 1), (2.5, 2), (3.9, 2), (9.0, 2))
    found = judged(lines, struck=1.2, until=4.0, former=1, present={1, 2, 3, 4, 5, 6})
    assert found["outage"] == pytest.approx(1.3) and found["gap"] == pytest.approx(1.4)
    assert found["lost"] == found["both"] == 0 and not found["same"]


def test_row_that_was_acknowledged_and_is_not_there_is_lost() -> None:
    found = judged(acknowledged((0.9, 1), (1.1, 1), (3.0, 2)), 1.0, 4.0, former=1, present={1, 3})
    assert found["lost"] == 1 and found["last_lost_position"] == 200


def test_two_primaries_show_in_what_the_former_one_acknowledges_beside_the_new_one() -> None:
    told = (0.9, 1), (1.1, 1), (2.0, 2), (2.1, 1), (2.2, 1), (2.3, 2)
    assert judged(acknowledged(*told), 1.0, 4.0, former=1, present=set(range(7)))["both"] == 2
    assert judged(acknowledged(*told[:3], told[5]), 1.0, 4.0, former=1, present=set(range(7)))["both"] == 0


def test_primary_that_serves_again_itself_is_the_same() -> None:
    found = judged(acknowledged((0.9, 1), (1.3, 11), (1.4, 11)), 1.0, 4.0, former=1, present={1, 2, 3})
    assert found["same"] and found["outage"] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("found", "replication", "primary"),
    [
        ({1: Seen(True, 0, 0), 2: Seen(False, 2, 0), 3: Seen(True, 0, 0)}, "off", 2),
        ({1: Seen(True, 0, 0), 2: Seen(False, 2, 1), 3: Seen(True, 0, 0)}, "quorum", 0),
        ({1: Seen(True, 0, 0), 2: Seen(False, 2, 2), 3: Seen(True, 0, 0)}, "quorum", 2),
        ({1: Seen(True, 0, 0), 2: Seen(False, 1, 1), 3: Seen(True, 0, 0)}, "off", 0),
        ({1: Seen(False, 0, 0), 2: Seen(False, 2, 2), 3: Seen(True, 0, 0)}, "off", 0),
        ({2: Seen(False, 2, 2), 3: Seen(True, 0, 0)}, "off", 0),
    ],
)
def test_cluster_is_whole_with_one_primary_and_all_replicas(
    found: dict[int, Seen], replication: str, primary: int
) -> None:
    assert primary_of(found, replication) == primary


def test_pair_is_whole_with_one_replica() -> None:
    found = {1: Seen(False, 1, 1), 2: Seen(True, 0, 0)}
    assert primary_of(found, "quorum", 2) == 1 and primary_of(found, "quorum") == 0
    assert {one.databases for one in cell.all_cells() if one.setting == "pair"} == {2}


def test_ledger_reads_whole_lines_only(tmp_path: Path) -> None:
    path, rows = tmp_path / "ledger", acknowledged((1.5, 1), (2.5, 3))
    path.write_text(line(rows[0]) + line(rows[1])[:5])
    ledger = Ledger(path)
    assert ledger.refresh() == rows[:1] and ledger.refresh() == []
    path.write_text(line(rows[0]) + line(rows[1]))
    assert ledger.refresh() == rows[1:] and ledger.lines == rows


def test_names_of_cells_differ_and_choose_themselves() -> None:
    cells = cell.all_cells()
    assert len({one.name for one in cells}) == len(cells) == 8 * 5
    assert all(cell.choose([one.name], cells) == [one] for one in cells)
    assert cell.choose(["nonsense-*"], cells) == []


def test_table_has_both_systems_with_their_ratio_and_what_failed() -> None:
    values = {"gap": 0.1, "redundancy": 1.0, "lost": 0, "both": 0}
    samples = [
        {"cell": "kill-off-default", "system": system, "trial": number, "values": {**values, "outage": outage}}
        for system, outages in (("qluster", (0.1, 0.2, 0.3)), ("patroni", (3.0, 4.0, 5.0)))
        for number, outage in enumerate(outages, 1)
    ]
    samples.append({"cell": "kill-off-default", "system": "patroni", "trial": 4, "failed": "NotWhole: no"})
    text = report.table({"samples": samples})
    assert "| kill-off-default | qluster | 3 | 0.20 (0.10 to 0.30) | 1.00 (1.00 to 1.00) | 0 |  | 0 |  |" in text
    assert "| kill-off-default | patroni | 3, 1 failed | 4.00 (3.00 to 5.00) |" in text and "| 20.0 |" in text
    assert "failed: NotWhole: no" in report.line(samples[-1])


def test_table_counts_the_trials_that_lost_more_than_was_stated() -> None:
    values = {"outage": 1.0, "gap": 1.0, "redundancy": 1.0, "lost": 3, "both": 0}
    samples = [
        {"cell": "cut-off-default", "system": "qluster", "trial": number,
         "values": {**values, "left_bytes": left, "bound_bytes": bound}}
        for number, (left, bound) in enumerate(((500, 600), (700, 600), (700, None)), 1)
    ]
    assert "| 3 | 1 of 2 | 0 |" in report.table({"samples": samples})


def test_machines_that_earlier_trials_ran_on_are_kept(tmp_path: Path) -> None:
    file, here = tmp_path / "results.json", {"kernel": "c", "at": "now"}
    assert earlier(file, here) == []
    kept = [{"kernel": "a"}, {"kernel": "b"}]
    file.write_text(json.dumps({"machine": {"kernel": "c", "at": "then"}, "earlier": kept}))
    assert earlier(file, here) == kept
    assert [one["kernel"] for one in earlier(file, {"kernel": "d"})] == ["a", "b", "c"]


def test_unknown_cell_is_refused_with_the_names_of_all() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.database", "--cell", "nonsense"], cwd=programs.ROOT, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and "switchover-quorum-default" in done.stderr


@pytest.mark.parametrize("system", cell.SYSTEMS)
def test_trial_is_stored_and_not_done_again(tmp_path: Path, system: str) -> None:
    if not os.environ.get("QLUSTER_FULL_TESTS"):
        pytest.skip("most of a minute: QLUSTER_FULL_TESTS=1")
    if reason := hosts.obstacle():
        pytest.skip(reason)
    words = [sys.executable, "-m", "bench.database", "--cell", "kill-quorum-fast", "--system", system, "--trials", "1",
             "--results", str(tmp_path)]
    for _ in range(2):
        done = subprocess.run(words, cwd=programs.ROOT, capture_output=True, text=True, timeout=LIMIT, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        [sample] = json.loads((tmp_path / "results.json").read_text())["samples"]
        assert sample["values"]["lost"] == sample["values"]["both"] == 0
        assert 0 < sample["values"]["outage"] < trial.BACK_SECONDS
        assert sample["values"]["acknowledged"] > trial.BEFORE
    assert "trial  1" not in done.stdout, "the second run found it done"
