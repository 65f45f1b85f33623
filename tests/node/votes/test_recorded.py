"""The decisions that corosync's own votequorum was seen to take, replayed."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from qluster.votes.options import Options
from votes.model import Cluster, even

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "vectors/vqsim.json").read_text())["cases"]


def options(case: dict[str, Any]) -> Options:
    """The recorded section `quorum` as options."""
    words = {key: bool(value) for key, value in case["quorum"].items() if key != "last_man_standing_window"}
    window = case["quorum"].get("last_man_standing_window", 10_000) / 1000
    votes = case.get("votes") or [1] * case["nodes"]
    return Options(nodes=tuple(enumerate(votes, 1)), last_man_standing_window=window, **words)


def play(cluster: Cluster, event: str) -> None:
    """Do what the recording did."""
    word, *rest = event.split()
    match word:
        case "split":
            cluster.split({int(node): int(part) for part, _, node in (text.partition(":") for text in rest)})
        case "join":
            cluster.join(int(rest[0]), int(rest[1]))
        case "down":
            cluster.down(int(rest[0]))
        case "up":
            part, _, node = rest[0].partition(":")
            cluster.up(int(node), int(part))
        case "wait":
            cluster.wait(int(rest[0]) / 1000)
        case _:
            assert event == "all nodes started together"


def test_the_recording_has_every_case() -> None:
    assert len(CASES) == 8
    assert even(2) == ((1, 1), (2, 1))


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_decides_as_recorded(case: dict[str, Any]) -> None:
    cluster = Cluster(options(case))
    for event, nodes in case["steps"]:
        play(cluster, event)
        assert cluster.words() == nodes, event
