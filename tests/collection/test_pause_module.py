"""What the module for pauses asks of a cluster, and when it asks nothing."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.qhb.qluster.plugins.module_utils._client import Answer
from ansible_collections.qhb.qluster.plugins.modules.qluster_pause import line, perform

PAUSED = {"active": True, "reason": "a switch", "node": 1, "since": 9}
WAITS = {"active": False, "reason": "", "node": 1, "since": 11}


class Cluster:
    """A cluster that keeps what it is told."""

    def __init__(self, pause: Any) -> None:
        self.pause = pause
        self.asked: list[tuple[str, Any]] = []

    def ask(self, method: str, path: str, params: Any = None, body: Any = None) -> Answer:
        if method == "POST":
            self.asked.append((path, params))
            self.pause = {"active": True, "reason": params["reason"], "node": 1} if path == "/pause" else None
        return Answer("https://192.0.2.1:8080", 200, {"cluster": {"pause": self.pause}})


@pytest.mark.parametrize(
    ("pause", "state", "reason", "abandon", "asked"),
    [
        pytest.param(None, "present", "a switch", None, [("/pause", {"reason": "a switch"})], id="pause"),
        pytest.param(None, "present", None, None, [("/pause", {"reason": ""})], id="pause without a reason"),
        pytest.param(PAUSED, "present", "a switch", None, [], id="paused already"),
        pytest.param(PAUSED, "present", None, None, [], id="paused for whatever reason"),
        pytest.param(PAUSED, "present", "a disk", None, [("/pause", {"reason": "a disk"})], id="another reason"),
        pytest.param(WAITS, "present", "a switch", None, [("/pause", {"reason": "a switch"})], id="again at once"),
        pytest.param(None, "absent", None, None, [], id="not paused"),
        pytest.param(PAUSED, "absent", None, None, [("/resume", {})], id="resume"),
        pytest.param(WAITS, "absent", None, None, [], id="resumed, and its node is waited for"),
        pytest.param(WAITS, "absent", None, 1, [("/resume", {"abandon": 1})], id="its node is given up"),
        pytest.param(PAUSED, "absent", None, 1, [("/resume", {"abandon": 1})], id="resume and give up"),
        pytest.param(None, "absent", None, 1, [], id="given up already"),
    ],
)
def test_what_differs_is_asked_for(pause: Any, state: str, reason: Any, abandon: Any, asked: list[Any]) -> None:
    cluster = Cluster(pause)
    before, after, changed = perform(cluster, state, reason, abandon, False)
    assert cluster.asked == asked and changed == bool(asked)
    checked = Cluster(pause)
    said = perform(checked, state, reason, abandon, True)
    assert checked.asked == [] and (said[0], said[2]) == (before, changed)
    assert bool(said[1]["active"]) == bool(after["active"]), "the check says what comes of it"


def test_pause_is_said_in_one_line() -> None:
    assert [line(found) for found in (PAUSED, WAITS, {"active": None, "reason": None, "node": None})] == [
        "paused: a switch\n", "not paused, node 1 is waited for\n", "not paused\n"]
