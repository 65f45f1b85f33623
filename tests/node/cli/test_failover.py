"""Who would take over, as people read it, from the answer that the interface is known to give."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import msgspec
from qluster.api.shapes import FailoverAnswer
from qluster.cli.failover import lines

GOLDEN = Path(__file__).parents[2] / "golden/api"


def answer(**changes: object) -> FailoverAnswer:
    found = msgspec.json.decode((GOLDEN / "failover.json").read_bytes(), type=FailoverAnswer)
    return msgspec.structs.replace(found, **changes)


def test_successor_and_the_worst_case_stand_first() -> None:
    found = list(lines(answer(by_itself=True, reason="")))
    assert found[:3] == [
        "reign      3, primary node 1, which serves",
        "successor  node 2, by itself",
        "loss       0 B known of, 16.00 MiB at most",
    ]
    assert found[-2:] == ["2     yes   2         83886080  -", "3     no    -         -         it is not heard"]


def test_what_an_operator_may_do_stands_there_once_nobody_serves() -> None:
    accept = "accept     qluster failover --reign 3 --accept-data-loss"
    assert accept not in list(lines(answer()))
    found = list(lines(answer(serves=False, worst_loss_bytes=None)))
    assert accept in found
    assert "loss       0 B known of, nobody can tell" in found
    assert any(line.startswith("reason     nobody is known to have all that was acknowledged") for line in found)


def test_nobody_able_is_said_with_the_reason() -> None:
    found = list(lines(answer(successor=None, reason="no node has a database that can take over: no answer")))
    assert found[1] == "successor  nobody: no node has a database that can take over: no answer"
