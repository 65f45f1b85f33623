"""The arithmetic of the benchmark of load balancers' routes."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

from bench import health


def test_every_answer_of_the_log_counts_whatever_its_code(tmp_path: Path) -> None:
    log = tmp_path / "requests.log"
    # Start in microseconds of the epoch, code, microseconds until the end of the answer.
    log.write_text("1000000\t200\t500\n1000100\t531\t2500\n1500000\t200\t1000\n2999000\t200\t1000\n")
    took, codes, span = health.read(log)
    assert (took, codes, span) == ([0.5, 1.0, 1.0, 2.5], {"200": 3, "531": 1}, 2.0)


def test_share_of_the_answers_came_within_its_time() -> None:
    took = [float(number) for number in range(1, 101)]
    assert [health.at(took, share) for share in (0.5, 0.99, 1.0)] == [51.0, 100.0, 100.0]
    assert health.at([3.0], 0.5) == 3.0


def test_line_of_the_table_has_all_codes() -> None:
    codes = {"531": 9, "200": 1}
    figure = health.Figure("/is-leader", "primary", "hangs", 16, 20729, 0.8, 1.66, 8.57, codes, 48.2, 0.6)
    assert health.line(figure) == (
        "| `/is-leader` | primary | hangs | 16 | 20,729 | 0.80 ms | 1.66 ms | 8.57 ms "
        "| 48 µs | 0.60 | 1 × 200, 9 × 531 |"
    )
    assert health.HEAD.count("|") == 2 * health.line(figure).count("|")
