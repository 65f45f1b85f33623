"""The module qluster_status, run against nodes over real connections."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.qhb.qluster.plugins.modules import qluster_status
from scripted_node import Says, golden, map_seen_by


@pytest.fixture
def trio(node):
    """Three well nodes, the first one leading."""
    return [node().lead(map_seen_by(1)), node().follow(map_seen_by(2)), node().follow(map_seen_by(3))]


@pytest.fixture
def status(run):
    def judged(nodes, **arguments):
        return run(qluster_status, nodes=[getattr(each, "url", each) for each in nodes], **arguments)

    return judged


def leaderless(number):
    document = map_seen_by(number)
    document["cluster"]["leader"] = None
    return document


def in_term(number, term):
    document = map_seen_by(number)
    document["cluster"]["term"] = term
    return document


def test_well_cluster_is_met_at_the_first_look(status, trio):
    result = status(trio, expect={
        "reachable": "all", "leader": "known", "primary": "writable", "quorate": True, "voters": 3,
        "replicas_streaming": 2, "max_lag_bytes": 1000, "pool": "primary", "no_errors": True,
    })
    assert "failed" not in result
    assert result["unmet"] == [] and result["looks"] == 1 and result["changed"] is False
    assert result["leader"]["ip"] == "10.0.0.1" and result["reign"]["number"] == 2
    assert [answer["map"]["own"]["node"] for answer in result["answers"]] == [1, 2, 3]


def test_unmet_expectations_fail_with_the_list_and_a_line_for_each(status, trio):
    trio[2].follow(leaderless(3))
    result = status(trio, expect={"leader": "known", "voters": 5})
    assert result["failed"]
    assert [finding["expectation"] for finding in result["unmet"]] == ["leader", "voters"]
    assert result["unmet"][0] == {
        "expectation": "leader", "wanted": "known", "found": "none", "says": [trio[2].url]}
    title, first, second = result["msg"].splitlines()
    assert title.startswith("The cluster is not as expected, after 0.")
    assert first == f"leader: wanted known, found none (says {trio[2].url})"
    assert second.startswith("voters: wanted 5, found 3")
    assert result["cluster"]["name"] == "main", "a failure returns the same shape"
    assert all("map" not in answer for answer in result["answers"])


def test_two_writing_nodes_fail_even_when_nothing_is_expected(status, trio):
    trio[1].script["/is-leader"] = Says(200, {})
    result = status(trio)
    assert result["failed"]
    assert "CONTRADICTION, one_primary: 2 NODES ACCEPT WRITES AT THE SAME TIME" in result["msg"]


def test_check_mode_judges_the_same(status, trio):
    assert status(trio, expect={"voters": 5}, _ansible_check_mode=True)["failed"]
    assert "failed" not in status(trio, expect={"voters": 3}, _ansible_check_mode=True)


def test_nothing_but_get_is_sent(status, trio):
    status(trio, expect={"leader": "known"}, wait={"timeout": 1})
    assert {request["method"] for each in trio for request in each.asked} == {"GET"}


# --- waiting -----------------------------------------------------------------


def test_waiting_ends_when_all_is_met(status, trio):
    trio[0].script["/map"] = [Says(200, leaderless(1)), Says(200, leaderless(1)), Says(200, map_seen_by(1))]
    result = status(trio, expect={"leader": "known"}, wait={"timeout": 20, "delay": 0.1})
    assert result["unmet"] == [] and result["looks"] == 3
    assert 0.2 <= result["elapsed"] < 5


class Clock:
    """Time that passes while it is waited for, and at no other time."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_waiting_ends_with_its_time(status, trio, monkeypatch):
    monkeypatch.setattr(qluster_status, "time", Clock())
    result = status(trio, expect={"voters": 5}, wait={"timeout": 0.5, "delay": 0.2})
    assert result["failed"] and (result["looks"], result["elapsed"]) == (4, 0.5)


def test_waiting_for_silence(status, trio, node):
    gone = node()
    gone.close()
    result = status([gone], expect={"reachable": "none"}, wait={"timeout": 5})
    assert result["unmet"] == [] and result["unreached"][0]["url"] == gone.url


def test_met_once_is_not_enough_where_it_must_be_stable(status, trio):
    trio[0].script["/map"] = [Says(200, map_seen_by(1)), Says(200, leaderless(1)), Says(200, map_seen_by(1))]
    result = status(trio, expect={"leader": "known"}, wait={"timeout": 20, "delay": 0.1, "stable_for": 0.5})
    assert result["unmet"] == [] and result["looks"] >= 5
    assert result["elapsed"] >= 0.7, "time before the disturbance must not count"


def test_one_look_that_takes_long_is_not_enough_where_it_must_be_stable(status, node):
    slow = node().lead(map_seen_by(1))
    slow.script["/map"] = [Says(200, map_seen_by(1), pause=0.6), Says(200, map_seen_by(1))]
    result = status([slow], expect={"leader": "known"}, wait={"timeout": 20, "delay": 0.1, "stable_for": 0.5})
    assert result["unmet"] == [] and result["looks"] > 1


def test_stability_that_is_not_reached_in_time_says_so(status, trio):
    states = [Says(200, map_seen_by(1)), Says(200, leaderless(1))]
    trio[0].script["/map"] = states * 20
    result = status(trio[:1], expect={"leader": "known"}, wait={"timeout": 0.85, "delay": 0.1, "stable_for": 0.5})
    assert result["failed"]
    assert result["unmet"][0]["expectation"] in ("leader", "stable")


@pytest.mark.parametrize(("stable", "least"), [(True, 0.9), (False, 0.5)], ids=["asked for", "not asked for"])
def test_moving_term_restarts_the_time_of_stability(status, node, stable, least):
    moving = node().lead(map_seen_by(1))
    moving.script["/map"] = [Says(200, in_term(1, term)) for term in (3, 3, 4)]
    result = status([moving], expect={"leader": "known", "term_stable": stable},
                    wait={"timeout": 20, "delay": 0.2, "stable_for": 0.5})
    assert result["unmet"] == []
    assert result["elapsed"] >= least


def test_wrong_token_ends_the_waiting_at_once(status, node):
    refusal = Says(401, golden("error_wrong-token"))
    refusing = node({"/is-leader": Says(417, {}), "/map": refusal})
    result = status([refusing], expect={"leader": "known"}, wait={"timeout": 60}, token="wrong")
    assert result["failed"] and result["looks"] == 1 and result["elapsed"] < 5
    assert "the token sent is not one of this node's" in result["msg"]


def test_untrusted_certificates_end_the_waiting_at_once(status, node, authority):
    strange = node(certificate=authority.issue_cert("127.0.0.1")).lead(map_seen_by(1))
    result = status([strange], wait={"timeout": 60})
    assert result["failed"] and result["looks"] == 1
    assert "certificate" in result["msg"] and strange.asked == []


# --- secrets and files -------------------------------------------------------


def test_token_file_and_ca_file_are_used(status, node, authority, tmp_path):
    (tmp_path / "token").write_text("from-a-file\n", encoding="ascii")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    leader = node(certificate=authority.issue_cert("127.0.0.1")).lead(map_seen_by(1))
    result = status([leader], ca_file=str(tmp_path / "ca.pem"), token_file=str(tmp_path / "token"))
    assert result["unmet"] == []
    assert leader.asked[0]["headers"]["Authorization"] == "Bearer from-a-file"


@pytest.mark.parametrize("origin", ["token", "token_file"])
def test_token_is_never_printed(status, node, tmp_path, origin):
    (tmp_path / "token").write_text("s3cr3t-word\n", encoding="ascii")
    document = map_seen_by(1)
    document["own"]["message"] = "somebody sent s3cr3t-word"
    given = {"token": "s3cr3t-word"} if origin == "token" else {"token_file": str(tmp_path / "token")}
    result = status([node().lead(document)], expect={"no_errors": True}, **given)
    assert result["failed"] and "s3cr3t-word" not in str(result)


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "cannot be read on this host: "), (b"", "is empty"), (b"two words\n", "holds no token"),
     (b"\xff\xfe", "cannot be read on this host: "), (b"x" * 5000, "holds no token"),
     ("ключ".encode(), "holds no token")],
    ids=["missing", "empty", "two words", "binary", "large", "not ASCII"],
)
def test_unusable_token_file_is_named(status, tmp_path, content, problem):
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    result = status(["https://127.0.0.1:1"], token_file=str(path))
    assert result["failed"] and str(path) in result["msg"] and problem in result["msg"]


def test_missing_ca_file_is_named(status):
    result = status(["https://127.0.0.1:1"], ca_file="/nowhere/ca.pem")
    assert result["failed"] and "ca_file: /nowhere/ca.pem is not there" in result["msg"]


# --- wrong arguments ---------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"nodes": ["192.0.2.11:8080"]}, "nodes: '192.0.2.11:8080' is no base URL of a node"),
        ({"nodes": ["http://192.0.2.11:8080"], "token": "some-token"}, "would carry the token unencrypted"),
        ({"nodes": []}, "nodes: the list of nodes is empty"),
        ({"request_timeout": 0}, "request_timeout is 0.0. Give a number from 0.1 to 3600.0"),
        ({"total_timeout": 1}, "total_timeout is 1.0. Give a number from 5.0"),
        ({"wait": {"timeout": -1}}, "wait.timeout is -1.0"),
        ({"wait": {"delay": 0}}, "wait.delay is 0.0"),
        ({"wait": {"timeout": 5, "stable_for": 6}}, "wait.stable_for is 6.0. Give a number from 0.0 to 5.0"),
        ({"expect": {"voters": -1}}, "expect.voters is -1"),
        ({"expect": {"leader": "knwon"}}, "expect.leader is 'knwon'"),
        ({"expect": {"term_stable": True}}, "expect.term_stable needs wait.stable_for"),
        ({"expect": {"leeder": "known"}}, "leeder"),
        ({"expect": {"quorate": "perhaps"}}, "quorate"),
    ],
    ids=str,
)
def test_wrong_argument_is_refused_before_anybody_is_asked(run, arguments, words):
    result = run(qluster_status, **{"nodes": ["https://127.0.0.1:1"], **arguments})
    assert result["failed"] and words in result["msg"]
    assert "looks" not in result
