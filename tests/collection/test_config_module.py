"""Which settings differ in meaning, and what is refused while a cluster lives."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.qhb.qluster.plugins.module_utils._client import Answer
from ansible_collections.qhb.qluster.plugins.modules.qluster_config import (
    Refusal,
    differing,
    perform,
    without_lists,
)

PRESENT = {"cluster.name": "main", "cluster.node-timeout": "1m", "cluster.quorum-replication": "true",
           "udp.max-log-size": "64000", "udp.socket.group": "192.0.2.1:7400, 192.0.2.2:7400"}


@pytest.mark.parametrize(
    ("key", "value"),
    [("cluster.node-timeout", "60s"), ("cluster.node-timeout", "60000ms"), ("cluster.quorum-replication", True),
     ("cluster.quorum-replication", "yes"), ("udp.max-log-size", 64000),
     ("udp.socket.group", ["192.0.2.2:7400", "192.0.2.1:7400"])])
def test_two_ways_to_say_the_same_are_equal(key: str, value: Any) -> None:
    assert differing({key: value}, PRESENT) == {}


@pytest.mark.parametrize(
    ("key", "value", "after"),
    [("cluster.node-timeout", "61s", "61s"), ("cluster.quorum-replication", False, "false"),
     ("udp.max-log-size", 64001, "64001")])
def test_what_differs_is_told_before_and_after(key: str, value: Any, after: str) -> None:
    assert differing({key: value}, PRESENT) == {key: {"before": PRESENT[key], "after": after}}


PEERS_6 = {"udp.socket.group": "[fd00:10::1]:7400,[fd00:10::2]:7400"}


@pytest.mark.parametrize(
    ("value", "same"),
    [(["[FD00:10:0::2]:7400", "[fd00:10::1]:7400"], True), (["[fd00:10::1]:7400", "[fd00:10::3]:7400"], False),
     (["[fd00:10::1]:7400", "[fd00:10::2]:7401"], False), ("[ff15::76]:7400", False)])
def test_lists_of_ipv6_peers_are_compared_by_their_addresses(value: Any, same: bool) -> None:
    assert (differing({"udp.socket.group": value}, PEERS_6) == {}) == same


def test_unknown_setting_is_refused_with_those_there_are() -> None:
    cluster = Cluster()
    with pytest.raises(Refusal, match=r"cluster\.timeout: no replicated setting .* cluster\.node-timeout"):
        perform(cluster, {"cluster.timeout": "1s", "cluster.node-timeout": "2m"}, False)
    assert cluster.asked == [("GET", "/config", None)], "nothing was changed"


def test_setting_of_a_newer_version_is_left_to_the_files_where_that_is_asked_for() -> None:
    cluster = Cluster()
    changes, left = perform(cluster, {"cluster.novelty": "1s", "udp.max-log-size": 1000}, False, newer="leave")
    assert left == ["cluster.novelty"] and set(changes) == {"udp.max-log-size"}
    assert cluster.asked[1:] == [("POST", "/config", {"udp.max-log-size": "1000"})]


@pytest.mark.parametrize(
    ("present", "wanted", "left"),
    [("192.0.2.1:7400,192.0.2.2:7400", ["192.0.2.1:7400", "192.0.2.3:7400"], True),
     ("[fd00::1]:7400", ["[fd00::1]:7400", "[fd00::2]:7400"], True),
     ("192.0.2.1:7400", "239.19.76.1:7400", False), ("239.19.76.1:7400", ["192.0.2.1:7400"], False),
     ("239.19.76.1:7400", "239.19.76.2:7400", False)])
def test_list_of_peers_is_left_to_the_files_and_a_group_is_fixed(present: str, wanted: Any, left: bool) -> None:
    changes = without_lists(differing({"udp.socket.group": wanted}, {"udp.socket.group": present}))
    assert (changes == {}) == left


class Cluster:
    """A cluster that keeps what it is told."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []

    def ask(self, method: str, path: str, params: Any = None, body: Any = None) -> Answer:
        self.asked.append((method, path, body))
        return Answer("https://192.0.2.1:8080", 200, PRESENT)


def test_all_changes_go_in_one_request() -> None:
    cluster = Cluster()
    perform(cluster, {"cluster.node-timeout": "2m", "udp.max-log-size": 1000, "cluster.name": "main"}, False)
    body = {"cluster.node-timeout": "2m", "udp.max-log-size": "1000"}
    assert cluster.asked == [("GET", "/config", None), ("POST", "/config", body)]


def test_nothing_is_sent_when_nothing_differs_or_in_check_mode() -> None:
    cluster = Cluster()
    assert perform(cluster, {"cluster.node-timeout": "60s"}, False) == ({}, [])
    assert perform(cluster, {"cluster.node-timeout": "2m"}, True)[0] != {}
    assert {method for method, _, _ in cluster.asked} == {"GET"}


def test_what_is_fixed_is_refused_before_anything_is_changed() -> None:
    cluster = Cluster()
    with pytest.raises(Refusal, match=r"cluster\.name \(is main, wanted other\): this is fixed"):
        perform(cluster, {"cluster.name": "other", "cluster.node-timeout": "2m"}, False)
    assert [method for method, _, _ in cluster.asked] == ["GET"]
