"""What the module asks for, when it asks for nothing, and what it makes of an answer that was lost."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.qhb.qluster.plugins.module_utils._client import Answer, Unanswered
from ansible_collections.qhb.qluster.plugins.modules import qluster_switchover
from ansible_collections.qhb.qluster.plugins.modules.qluster_switchover import Refusal, perform

URL = "https://192.0.2.1:8080"
AT = "2030-01-31T02:30:00Z"
GIVEN = {"node": None, "at": None, "patience": 5, "force": False, "state": "present"}
PLANNED = {"node": 2, "at": AT, "force": False, "patience": 5.0}


class Cluster:
    """A cluster that node 1 leads; ``lost``: the answer to a change never comes."""

    def __init__(self, planned: Any = None, lost: bool = False, becomes: Any = None) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.leader = {"node": 1, "primary": {"node": 1},
                       "switchover": {"planned": planned, "under_way": None, "last": None}}
        self.lost = lost
        self.becomes = becomes

    def ask(self, method: str, path: str, params: Any = None, body: Any = None) -> Answer:
        assert path == "/leader"
        if method != "GET":
            self.asked.append((method, params))
        return Answer(URL, 200, self.leader)

    def ask_leader_once(self, method: str, path: str, params: Any = None, limit: float = 0) -> Answer:
        self.asked.append((method, params))
        assert limit > 100
        if self.becomes is not None:
            switchover = {"planned": None, "under_way": None, "last": self.becomes}
            self.leader = {**self.leader, "switchover": switchover}
        if self.lost:
            raise Unanswered(URL, "the answer broke off")
        detail = {"leader": 2, "changed": True, "write_gap_ms": 250, "phases_ms": {"stop": 90}}
        return Answer(URL, 200, {"detail": detail})


@pytest.fixture(autouse=True)
def at_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qluster_switchover, "WAIT_PAUSE", 0.0)
        yield


def done(cluster: Cluster, check: bool = False, **given: Any) -> dict[str, Any]:
    return perform(cluster, {**GIVEN, **given}, check)  # type: ignore[no-any-return]


def test_primary_is_moved_and_the_gap_told() -> None:
    cluster = Cluster()
    assert done(cluster, node=2, force=True) == {
        "changed": True, "scheduled": None, "leader": 2, "write_gap_ms": 250, "phases_ms": {"stop": 90}
    }
    assert cluster.asked == [("POST", {"node": 2, "patience": 5, "force": "true"})]


def test_node_that_leads_already_is_left_alone() -> None:
    cluster = Cluster()
    assert done(cluster, node=1)["changed"] is False and cluster.asked == []


@pytest.mark.parametrize(
    ("given", "changed"), [({"node": 2}, True), ({"node": 1}, False), ({}, True), ({"at": AT}, True),
                           ({"state": "absent"}, False)])
def test_check_mode_asks_for_nothing(given: dict[str, Any], changed: bool) -> None:
    cluster = Cluster()
    assert done(cluster, check=True, **given)["changed"] is changed and cluster.asked == []


@pytest.mark.parametrize("at", [AT, "2030-01-31T05:30:00+03:00", "2030-01-31T02:30:00.25Z"])
def test_what_is_scheduled_so_already_is_left_alone(at: str) -> None:
    cluster = Cluster(PLANNED)
    assert done(cluster, node=2, at=at)["changed"] is False and cluster.asked == []


def test_another_plan_is_not_overwritten() -> None:
    with pytest.raises(Refusal, match="to node 2 is scheduled at 2030"):
        done(Cluster(PLANNED), node=3, at=AT)


def test_plan_is_cancelled_once() -> None:
    cluster = Cluster(PLANNED)
    assert done(cluster, state="absent")["changed"] is True and cluster.asked == [("DELETE", None)]
    assert done(Cluster(), state="absent")["changed"] is False


@pytest.mark.parametrize("at", ["2030-01-31T02:30:00", "tomorrow", "2030-13-31T02:30:00Z", "2030-01-31 02:30:00Z"])
def test_time_without_zone_or_sense_is_refused(at: str) -> None:
    with pytest.raises(Refusal, match="give a time with its zone"):
        done(Cluster(), at=at)


def test_lost_answer_is_looked_up_and_the_request_not_repeated() -> None:
    cluster = Cluster(lost=True, becomes={"node": 2, "reign": 4, "at": AT, "reason": ""})
    assert done(cluster, node=2) == {"changed": True, "scheduled": None, "leader": 2}
    assert len(cluster.asked) == 1


def test_switchover_that_came_to_nothing_is_a_failure_also_when_its_answer_was_lost() -> None:
    cluster = Cluster(lost=True, becomes={"node": 2, "reign": 3, "at": AT, "reason": "node 2 did not show"})
    with pytest.raises(Refusal, match="was not moved: node 2 did not show"):
        done(cluster, node=2)


def test_older_version_is_named() -> None:
    cluster = Cluster()
    del cluster.leader["switchover"]
    with pytest.raises(Refusal, match="Upgrade them first"):
        done(cluster, node=2)
