"""Which parameters differ in meaning, what is asked for, and when a restart has ended."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from ansible_collections.qhb.qluster.plugins.module_utils._client import Answer
from ansible_collections.qhb.qluster.plugins.modules import qluster_db_config as module
from ansible_collections.qhb.qluster.plugins.modules.qluster_db_config import Refusal, differing, perform

PRESENT: dict[str, Any] = {
    "max_connections": {"value": "200", "source": "cluster log", "file": "100", "index": 9},
    "work_mem": {"value": "8MB", "source": "cluster log", "file": "8MB", "index": 9},
    "shared_buffers": {"value": "1GB", "source": "config.yaml", "file": "1GB", "index": 0},
    "jit": {"value": "off", "source": "daemon", "file": None, "index": 0},
    "wal_sender_timeout": {"value": "10s", "source": "daemon", "file": None, "index": 0},
}
GIVEN = {"parameters": {}, "instead_of_files": False, "restart": "none", "primary": "switchover", "limit": 60,
         "wait": True, "version": None, "by": "ansible"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_connections", 200), ("Max_Connections", "200.0"), ("shared_buffers", "1024MB"), ("jit", False),
     ("jit", "no"), ("wal_sender_timeout", "10000ms"), ("shared_buffers", None)])
def test_two_ways_to_say_the_same_are_equal(name: str, value: Any) -> None:
    assert differing({name: value}, PRESENT, False) == {}


@pytest.mark.parametrize(
    ("name", "value", "before", "after"),
    [("max_connections", 300, "200", "300"), ("max_connections", None, "200", None), ("jit", True, "off", "on"),
     ("shared_buffers", "1GiB", "1GB", "1GiB"), ("random_page_cost", 1.1, None, "1.1")])
def test_what_differs_is_told_before_and_after(name: str, value: Any, before: Any, after: Any) -> None:
    assert differing({name: value}, PRESENT, False) == {name: {"before": before, "after": after}}


def test_what_the_inventory_gave_up_is_taken_out_of_the_log_and_what_an_operator_set_stays() -> None:
    assert differing({}, PRESENT, True) == {"work_mem": {"before": "8MB", "after": None}}
    assert differing({"work_mem": "8MB"}, PRESENT, True) == {}


def test_value_of_no_kind_is_refused() -> None:
    with pytest.raises(Refusal, match="no value of a parameter"):
        differing({"search_path": ["a", "b"]}, PRESENT, False)


class Cluster:
    """Says what it was told to say, and keeps what it was asked."""

    def __init__(self, *states: str, pending: bool = False) -> None:
        self.asked: list[tuple[str, str, Any, Any]] = []
        self.states = list(states)
        node = {"version": 9, "pending": {"max_connections": "100"} if pending else {}}
        nodes = {"1": {**node, "pending": {}}, "2": node}
        self.document: Any = {"version": 9, "parameters": PRESENT, "restart": None, "nodes": nodes}

    def ask(self, method: str, path: str, params: Any = None, body: Any = None) -> Answer:
        document = deepcopy(self.document)
        if method != "GET":
            self.asked.append((method, path, params, body))
            document = {"index": 12, "detail": {}}
        elif self.asked and self.states:
            state = self.states.pop(0)
            document["restart"] = {"begun": 12, "state": state, "node": 2, "waits_for": "", "turns": [2, 1],
                                   "reason": "node 2 has not restarted" if state == "failed" else ""}
        return Answer("https://192.0.2.1:8080", 200, document)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_PAUSE", 0.0)


def test_all_changes_go_in_one_request_and_the_end_of_the_restart_is_waited_for() -> None:
    cluster = Cluster("running", "running", "done")
    wanted = {"max_connections": 300, "work_mem": None, "jit": False}
    result = perform(cluster, {**GIVEN, "parameters": wanted, "restart": "rolling", "version": 9}, False)
    [(method, path, params, body)] = cluster.asked
    assert (method, path, body) == ("POST", "/db-config", {"max_connections": "300", "work_mem": None})
    assert params == {"restart": "rolling", "primary": "switchover", "limit": 60, "by": "ansible", "cas": 9}
    assert result["changed"] and result["restarted"] == [2, 1]


def test_nothing_is_asked_for_in_check_mode_nor_when_nothing_differs() -> None:
    for parameters, check in (({"max_connections": 300}, True), ({"max_connections": 200}, False)):
        cluster = Cluster()
        result = perform(cluster, {**GIVEN, "parameters": parameters, "restart": "rolling"}, check)
        assert cluster.asked == [] and result["changed"] == check and result["restarted"] == []


def test_servers_that_wait_for_a_restart_get_one_when_that_is_wanted() -> None:
    cluster = Cluster("done", pending=True)
    assert perform(cluster, {**GIVEN, "restart": "none"}, False)["pending"] == {"2": {"max_connections": "100"}}
    assert cluster.asked == []
    assert perform(cluster, {**GIVEN, "restart": "rolling"}, False)["changed"]
    assert cluster.asked[0][:3] == (
        "POST", "/db-restart", {"only": "pending", "primary": "switchover", "limit": 60, "by": "ansible"})


def test_restart_that_does_not_get_to_its_end_fails_with_the_reason() -> None:
    given = {**GIVEN, "parameters": {"max_connections": 7}, "restart": "rolling"}
    with pytest.raises(Refusal, match="node 2 has not restarted"):
        perform(Cluster("running", "failed"), given, False)


def test_other_version_and_older_nodes_are_refused_before_anything_is_asked_for() -> None:
    cluster = Cluster()
    with pytest.raises(Refusal, match="is 9, not 8"):
        perform(cluster, {**GIVEN, "parameters": {"max_connections": 7}, "version": 8}, False)
    cluster.document = {"max_connections": "100"}
    with pytest.raises(module.Older, match="keeps no parameters"):
        perform(cluster, GIVEN, False)
    assert cluster.asked == []
