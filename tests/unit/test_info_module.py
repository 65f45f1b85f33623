"""The module qluster_info, run against nodes over real connections."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.qhb.qluster.plugins.modules import qluster_info, qluster_status
from scripted_node import Says, golden, map_seen_by


@pytest.fixture
def trio(node):
    """Three well nodes, the first one leading."""
    return [node().lead(map_seen_by(1)), node().follow(map_seen_by(2)), node().follow(map_seen_by(3))]


@pytest.fixture
def information(run):
    def read(nodes, **arguments):
        return run(qluster_info, nodes=[each.url for each in nodes], **arguments)

    return read


def test_cluster_is_read(information, trio):
    result = information(trio)
    assert result["changed"] is False
    assert result["cluster"] == golden("map")["cluster"]
    assert result["settings"] == golden("map")["settings"]
    assert result["db_config"] == golden("map")["db_config"]
    assert result["primary"]["db_port"] == 5432
    assert len(result["answers"]) == 3 and result["unreached"] == []


def test_both_modules_return_one_shape(information, run, trio):
    mine = set(information(trio))
    judged = set(run(qluster_status, nodes=[each.url for each in trio]))
    assert judged - mine == {"unmet", "elapsed", "looks"}
    assert mine <= judged


def test_disagreement_and_silence_are_no_failure(information, trio, node):
    trio[1].script["/is-leader"] = Says(200, {})
    gone = node()
    gone.close()
    result = information([*trio, gone])
    assert "failed" not in result
    assert [answer["writable"] for answer in result["answers"]] == [True, True, False]
    assert result["primary"] is None
    assert [failure["url"] for failure in result["unreached"]] == [gone.url]


def test_silence_does_not_make_the_host_unreachable_for_ansible(information, node):
    gone = node()
    gone.close()
    assert "unreachable" not in information([gone]), "Ansible takes this key for the state of the host"


def test_refused_token_is_warned_of(information, trio):
    trio[2].script["/map"] = Says(401, golden("error_wrong-token"))
    result = information(trio, token="old")
    assert any(trio[2].url in str(warning) and "token" in str(warning) for warning in result["warnings"])


def test_documents_are_asked_once_of_the_cluster(information, trio):
    for each in trio:
        each.script["/quorum"] = Says(200, golden("quorum"))
    result = information(trio, documents=["quorum"])
    assert result["documents"] == {"quorum": golden("quorum")}
    assert [each.paths().count("/quorum") for each in trio] == [1, 0, 0]
    assert [request["query"] for request in trio[0].asked if request["path"] == "/quorum"] == ["consistency=local"]


def test_documents_come_from_the_leader_where_wanted(information, node):
    leader = node().lead(map_seen_by(1))
    follower = node().follow(map_seen_by(2))
    leader.script["/db-config"] = Says(200, {"max_connections": "100"})
    named = {"leader": {"node": 1, "ip": "127.0.0.1", "api_port": leader.port}}
    follower.script["/db-config"] = Says(417, named)
    result = information([follower, leader], documents=["db-config"], consistency="leader")
    assert result["documents"] == {"db-config": {"max_connections": "100"}}
    assert [request["query"] for request in leader.asked if request["path"] == "/db-config"] == ["consistency=leader"]


def test_document_that_cannot_be_had_is_a_failure(information, trio):
    result = information(trio, documents=["config"])
    assert result["failed"]
    assert result["msg"].startswith(f"The document config cannot be read. Last asked: {trio[0].url}: HTTP 404")


def test_unknown_document_is_refused(information, trio):
    result = information(trio, documents=["secrets"])
    assert result["failed"] and "secrets" in result["msg"]
    assert trio[0].asked == []


def test_check_mode_reads_the_same(information, trio):
    assert information(trio, _ansible_check_mode=True)["cluster"] == information(trio)["cluster"]
