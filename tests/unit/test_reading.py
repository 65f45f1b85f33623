"""How the answers of all nodes become one view."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import time

import pytest
from ansible_collections.qhb.qluster.plugins.module_utils._client import Client, Unanswered
from ansible_collections.qhb.qluster.plugins.module_utils._reading import (
    answer_of,
    is_map,
    merge,
    read_cluster,
    writable_nodes,
)
from scripted_node import Says, golden, map_seen_by


def reader(*nodes, **options):
    return Client([each.url for each in nodes], **{"request_timeout": 2.0, "total_timeout": 4.0, **options})


def url_of(number):
    return f"https://10.0.0.{number}:8080"


def view_of(*documents, is_leader=None):
    """The merged view of these maps; who leads answers 200 on /is-leader unless the test says otherwise."""
    found = {}
    for document in documents:
        number = document["own"]["node"]
        leads = document["own"]["consensus_role"] == "leader"
        code = (is_leader or {}).get(number, 200 if leads else 417)
        found[url_of(number)] = answer_of(url_of(number), code, document)
    return merge(found)


def row(document, number):
    return next(each for each in document["nodes"] if each["node"] == number)


# --- over real connections ---------------------------------------------------


def test_whole_cluster_is_read(node):
    nodes = [node().lead(map_seen_by(1)), node().follow(map_seen_by(2)), node().follow(map_seen_by(3))]
    view = read_cluster(reader(*nodes))
    assert view["cluster"] == golden("map")["cluster"]
    assert view["reported_by"] == nodes[0].url
    assert [each["node"] for each in view["nodes"]] == [1, 2, 3, 4]
    assert [each["url"] for each in view["nodes"]] == [*(each.url for each in nodes), None]
    assert view["leader"]["ip"] == view["primary"]["ip"] == "10.0.0.1"
    assert view["primary"]["db_port"] == 5432
    assert view["reign"]["number"] == 2
    assert view["unreached"] == []
    assert [each["map"] for each in view["answers"]] == [map_seen_by(number) for number in (1, 2, 3)]


def test_node_outside_a_cluster_says_who_it_is(node):
    outside = node().wait_outside()
    view = read_cluster(reader(outside))
    answer = view["answers"][0]
    assert not answer["joined"] and answer["ip"] == "10.0.0.2"
    assert answer["message"] == "no cluster 'main' answers its hello"
    assert view["cluster"] is None and view["leader"] is None and view["nodes"] == []


def test_node_outside_a_cluster_without_a_status_still_counts_as_an_answer(node):
    refusal = Says(412, golden("error_not-joined"))
    outside = node({"/is-leader": refusal, "/map": refusal})
    answer = read_cluster(reader(outside))["answers"][0]
    assert answer["is_leader"] == 412 and answer["map"] is None
    assert "does not belong to a cluster yet" in answer["message"]


def test_busy_node_is_asked_for_its_status(node):
    busy = node({"/is-leader": Says(531, {}), "/map": Says(531, {}), "/status": Says(200, map_seen_by(2))})
    answer = read_cluster(reader(busy))["answers"][0]
    assert answer["joined"] and answer["node"] == 2 and not answer["writable"]


def test_silent_nodes_are_listed_with_the_reason(node):
    well = node().lead(map_seen_by(1))
    late = node({"/is-leader": Says(417, {}, pause=3.0)})
    other = node({"/is-leader": Says(200, {}), "/map": Says(200, {"hello": "world"})})
    faulty = node({"/is-leader": Says(500, {}), "/map": Says(500, golden("error_fault"))})
    refusing = node({"/is-leader": Says(417, {}), "/map": Says(401, golden("error_wrong-token"))})
    began = time.monotonic()
    view = read_cluster(reader(well, late, other, faulty, refusing, request_timeout=0.5))
    assert time.monotonic() - began < 2.0
    assert [each["url"] for each in view["answers"]] == [well.url]
    reasons = {each["url"]: each for each in view["unreached"]}
    assert "no answer within" in reasons[late.url]["reason"]
    assert "no map of a cluster" in reasons[other.url]["reason"]
    assert reasons[faulty.url]["code"] == 500 and not reasons[faulty.url]["refused"]
    assert reasons[refusing.url]["code"] == 401 and reasons[refusing.url]["refused"]
    assert "the token sent is not one of this node's" in reasons[refusing.url]["reason"]


def test_total_time_ends_the_reading_even_when_single_requests_may_go_on(node):
    slow = node({"/is-leader": Says(200, {}, pause=0.4), "/map": Says(200, map_seen_by(1), pause=5.0)})
    began = time.monotonic()
    view = read_cluster(reader(slow, request_timeout=3.0, total_timeout=0.8))
    assert time.monotonic() - began < 2.0
    assert len(view["unreached"]) == 1


def test_two_writing_nodes_are_asked_again_before_it_is_believed(node):
    moved = node().lead(map_seen_by(1))
    moved.script["/is-leader"] = [Says(200, {}), Says(417, {})]
    new = node().lead(map_seen_by(2))
    view = read_cluster(reader(moved, new))
    assert writable_nodes(view) == ["2"]
    assert moved.paths().count("/is-leader") == 2


def test_two_writing_nodes_that_insist_are_believed(node):
    nodes = [node().lead(map_seen_by(number)) for number in (1, 2)]
    view = read_cluster(reader(*nodes))
    assert writable_nodes(view) == ["1", "2"]
    assert view["primary"] is None


def test_one_node_under_two_addresses_is_one_node(node):
    nodes = [node().lead(map_seen_by(1)), node().lead(map_seen_by(1))]
    assert writable_nodes(read_cluster(reader(*nodes))) == ["1"]


def test_reading_sends_nothing_but_get(node):
    asked = node().lead(map_seen_by(1))
    read_cluster(reader(asked, token="t"))
    assert {request["method"] for request in asked.asked} == {"GET"}


# --- merging -----------------------------------------------------------------


def test_leader_is_believed_before_a_follower_that_applied_more():
    follower = map_seen_by(2)
    follower["cluster"]["applied_index"] = 99
    assert view_of(follower, map_seen_by(1))["reported_by"] == url_of(1)


def test_later_term_is_believed_before_a_leader_of_an_older_one():
    follower = map_seen_by(2)
    follower["cluster"].update(term=4, leader=3)
    assert view_of(map_seen_by(1), follower)["leader"]["node"] == 3


def test_later_founding_is_believed_before_a_later_term():
    anew = map_seen_by(2)
    anew["cluster"].update(cluster=2, term=1, leader=2)
    assert view_of(map_seen_by(1), anew)["cluster"]["cluster"] == 2


def test_own_word_about_a_database_goes_before_hearsay():
    follower = map_seen_by(3)
    row(follower, 3)["database"].update(position=row(follower, 1)["database"]["position"] - 16)
    view = view_of(map_seen_by(1), follower)
    assert row(view, 3)["lag_bytes"] == 16
    assert row(view, 3)["reported_by"] == url_of(3)
    assert row(view, 2)["reported_by"] == url_of(1)


def test_lag_is_the_distance_to_the_primary():
    view = view_of(map_seen_by(1))
    assert [each["lag_bytes"] for each in view["nodes"]] == [None, 0, 216, None]


@pytest.mark.parametrize(
    ("number", "change"),
    [(3, {"timeline": 1}), (3, {"position": None}), (3, {"role": "stopped"}), (1, {"role": "stopped"}),
     (1, {"position": None})],
    ids=["other timeline", "no position", "stopped", "primary stopped", "primary without position"],
)
def test_lag_that_cannot_be_known_is_none(number, change):
    document = map_seen_by(1)
    row(document, number)["database"].update(change)
    assert row(view_of(document), 3)["lag_bytes"] is None


def test_replica_asked_later_is_not_behind_by_less_than_nothing():
    document = map_seen_by(1)
    row(document, 3)["database"]["position"] += 100_000
    assert row(view_of(document), 3)["lag_bytes"] == 0


def test_cluster_without_a_reign_has_no_primary():
    document = map_seen_by(1)
    document["cluster"]["reign"] = None
    view = view_of(document, is_leader={1: 417})
    assert view["reign"] is None and view["primary"] is None
    assert row(view, 2)["lag_bytes"] is None


def test_nobody_answers():
    view = merge({url_of(1): Unanswered(url_of(1), "gone")})
    assert view["cluster"] is None and view["answers"] == []
    assert view["unreached"] == [{"url": url_of(1), "reason": "gone", "code": None, "refused": False}]


@pytest.mark.parametrize("name", ["map", "status", "status_follower", "status_leaderless", "status_listener",
                                  "status_unjoined"])
def test_documents_of_the_daemon_are_maps(name):
    assert is_map(golden(name))


@pytest.mark.parametrize("other", [None, [], "map", {}, {"own": {}, "cluster": {}}, golden("quorum"),
                                   {"own": {}, "cluster": {}, "nodes": [1]},
                                   {"own": {}, "cluster": {}, "nodes": [{"node": 1}]}])
def test_other_documents_are_no_maps(other):
    assert not is_map(other)
