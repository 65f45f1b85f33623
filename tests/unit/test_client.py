"""How nodes are asked, and when the next one is asked instead."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import socket
import time

import pytest
from ansible_collections.qhb.qluster.plugins.module_utils import _client
from ansible_collections.qhb.qluster.plugins.module_utils._client import Client, Unanswered, WrongAddress
from scripted_node import Says, golden


def free_url():
    """A URL on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def quick(*urls, **options):
    """A client that does not keep a test waiting."""
    return Client(urls, **{"request_timeout": 1.0, "total_timeout": 1.0, "pause": 0.05, **options})


# --- addresses ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://192.0.2.11:8080", "https://192.0.2.11:8080"),
        ("https://192.0.2.11:8080/", "https://192.0.2.11:8080"),
        (" https://db1.example ", "https://db1.example:443"),
        ("https://[2001:db8::1]:8080", "https://[2001:db8::1]:8080"),
        ("http://127.0.0.11:8080", "http://127.0.0.11:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://localhost:8080", "http://localhost:8080"),
    ],
)
def test_address_gets_one_form(text, url):
    assert _client.base_url(text, with_token=True) == url


@pytest.mark.parametrize(
    "text",
    ["192.0.2.11:8080", "https://", "ftp://192.0.2.11", "https://192.0.2.11:port", "https://192.0.2.11:99999",
     "https://192.0.2.11:8080/map", "https://192.0.2.11:8080?x=1", "https://name:word@192.0.2.11:8080",
     "http://192.0.2.11:8080", "http://db1.example:8080", ""],
)
def test_unusable_address_is_refused_with_a_good_one(text):
    with pytest.raises(WrongAddress) as refusal:
        _client.base_url(text, with_token=True)
    assert repr(text) in str(refusal.value)
    assert "https" in str(refusal.value)


def test_unencrypted_address_is_taken_without_a_token():
    assert _client.base_url("http://192.0.2.11:8080", with_token=False) == "http://192.0.2.11:8080"


def test_equal_addresses_count_once():
    assert _client.base_urls(["https://a:1", "https://b:1", "https://a:1/"], False) == ["https://a:1", "https://b:1"]


@pytest.mark.parametrize("texts", [[], [f"https://n{number}:1" for number in range(65)]], ids=["none", "too many"])
def test_number_of_addresses_has_limits(texts):
    with pytest.raises(WrongAddress):
        _client.base_urls(texts, False)


# --- one node ----------------------------------------------------------------


@pytest.mark.parametrize("code", [200, 400, 401, 403, 404, 409, 410, 412, 417, 420, 422, 429, 500, 530, 531])
def test_asked_node_may_say_anything(node, code):
    asked = node({"/map": Says(code, {"word": code})})
    answer = quick(asked.url).ask_node(asked.url, "/map")
    assert (answer.code, answer.document) == (code, {"word": code})
    assert answer.url == asked.url


def test_meaning_is_what_the_node_says_with_its_hint(node):
    asked = node({"/map": Says(531, golden("error_busy"))})
    meaning = quick(asked.url).ask_node(asked.url, "/map").meaning
    assert "an election is going on" in meaning and "Retry-After" in meaning


def test_meaning_without_words_comes_from_the_table(node):
    asked = node({"/map": Says(530, text=""), "/x": Says(599, text="gone")})
    assert quick(asked.url).ask_node(asked.url, "/map").meaning == "no leader is known"
    assert quick(asked.url).ask_node(asked.url, "/x").meaning == "HTTP status 599"


def test_token_is_sent_as_bearer_and_nothing_else_of_the_environment(node, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login mallory password secret\n", encoding="ascii")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    asked = node({"/map": Says(200, {})})
    assert quick(asked.url, token="read-me").ask_node(asked.url, "/map").code == 200
    assert asked.asked[0]["headers"]["Authorization"] == "Bearer read-me"


def test_redirection_is_not_followed(node):
    other = node({"/map": Says(200, {})})
    asked = node({"/map": Says(302, {}, headers={"Location": other.url + "/map"})})
    assert quick(asked.url, token="t").ask_node(asked.url, "/map").code == 302
    assert other.asked == []


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (Says(200, text="<html>"), "no JSON"),
        (Says(200, {}, pause=1.0), "no answer within"),
        (Says(200, {"long": "x" * 400}, drip=0.01), "not complete in time"),
        (Says(200, text='{"a": ', missing=9), "broke off|no JSON"),
    ],
    ids=["no JSON", "late", "in crumbs", "cut short"],
)
def test_unusable_answer_is_no_answer(node, said, reason):
    asked = node({"/map": said})
    began = time.monotonic()
    with pytest.raises(Unanswered, match=reason) as failure:
        Client([asked.url], request_timeout=0.3).ask_node(asked.url, "/map")
    assert time.monotonic() - began < 1.0
    assert failure.value.url == asked.url
    assert not failure.value.refused


def test_answer_has_a_largest_size(node):
    asked = node({"/map": Says(200, text=json.dumps("x" * _client.BODY_SIZE_MAX))})
    with pytest.raises(Unanswered, match="larger than 16777216 bytes"):
        Client([asked.url], request_timeout=20.0).ask_node(asked.url, "/map")


def test_closed_port_is_named_plainly():
    url = free_url()
    with pytest.raises(Unanswered) as failure:
        quick(url).ask_node(url, "/map")
    assert str(failure.value) == f"{url}: Failed to establish a new connection: [Errno 111] Connection refused"


def test_no_request_begins_after_the_deadline(node):
    asked = node({"/map": Says(200, {})})
    with pytest.raises(Unanswered, match="no time is left"):
        quick(asked.url).ask_node(asked.url, "/map", deadline=time.monotonic() - 1)
    assert asked.asked == []


# --- TLS ---------------------------------------------------------------------


@pytest.fixture
def ca_file(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def test_certificate_of_the_own_authority_is_trusted(node, authority, ca_file):
    asked = node({"/map": Says(200, {"a": 1})}, certificate=authority.issue_cert("127.0.0.1"))
    assert quick(asked.url, verify=ca_file).ask_node(asked.url, "/map").document == {"a": 1}


@pytest.mark.parametrize("wrong", ["authority", "address"])
def test_wrong_certificate_gets_no_token(node, authority, ca_file, wrong):
    host = "127.0.0.1" if wrong == "authority" else "127.0.0.9"
    asked = node({"/map": Says(200, {})}, certificate=authority.issue_cert(host))
    with pytest.raises(Unanswered, match="TLS certificate or handshake is refused") as failure:
        quick(asked.url, token="t", verify=True if wrong == "authority" else ca_file).ask_node(asked.url, "/map")
    assert failure.value.refused
    assert asked.asked == []


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_certificates_need_not_be_checked(node, authority):
    asked = node({"/map": Says(200, {})}, certificate=authority.issue_cert("other.example"))
    assert quick(asked.url, verify=False).ask_node(asked.url, "/map").code == 200


# --- the cluster -------------------------------------------------------------


@pytest.mark.parametrize("code", [410, 412, 420, 429, 500, 530, 531])
def test_next_node_is_asked_when_one_cannot_answer(node, code):
    first = node({"/config": Says(code, {})})
    second = node({"/config": Says(200, {"k": "v"})})
    answer = quick(first.url, second.url).ask("GET", "/config")
    assert (answer.url, answer.document) == (second.url, {"k": "v"})


def test_next_node_is_asked_when_one_is_gone(node):
    second = node({"/config": Says(200, {})})
    assert quick(free_url(), second.url).ask("GET", "/config").url == second.url


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 413, 415, 422])
def test_final_refusal_ends_the_asking(node, code):
    first = node({"/config": Says(code, {"message": "no"})})
    second = node({"/config": Says(200, {})})
    with pytest.raises(Unanswered, match=f"HTTP {code}, no") as failure:
        quick(first.url, second.url).ask("POST", "/config", body={"a": 1})
    assert failure.value.refused and failure.value.code == code
    assert second.asked == []


def test_leader_is_followed_once(node):
    leader = node({"/config": Says(200, {"from": "leader"})})
    named = {"leader": {"node": 1, "ip": "127.0.0.1", "api_port": leader.port}}
    asked = node({"/config": Says(417, named)})
    answer = quick(asked.url, leader.url).ask("GET", "/config", params={"consistency": "leader"})
    assert answer.url == leader.url
    assert leader.asked[0]["query"] == "consistency=leader"


def test_two_nodes_that_name_each_other_are_asked_only_until_time_is_up(node):
    one, two = node(), node()
    for asked, other in ((one, two), (two, one)):
        asked.script["/config"] = Says(417, {"leader": {"ip": "127.0.0.1", "api_port": other.port}})
    client = quick(one.url, two.url)
    with pytest.raises(Unanswered, match="HTTP 417, the node does not lead"):
        client.ask("GET", "/config")
    assert len(one.asked) <= 4 * _client.PASSES_MAX


def test_stranger_named_as_leader_is_not_followed_without_tls(node):
    stranger = node({"/config": Says(200, {})})
    asked = node({"/config": Says(417, {"leader": {"ip": "127.0.0.1", "api_port": stranger.port}})})
    with pytest.raises(Unanswered):
        quick(asked.url, token="t", total_timeout=0.2).ask("GET", "/config")
    assert stranger.asked == []


def test_leader_beyond_the_list_is_followed_with_checked_certificates(node, authority, ca_file):
    leader = node({"/config": Says(200, {})}, certificate=authority.issue_cert("127.0.0.1"))
    named = {"leader": {"ip": "127.0.0.1", "api_port": leader.port}}
    asked = node({"/config": Says(417, named)}, certificate=authority.issue_cert("127.0.0.1"))
    assert quick(asked.url, verify=ca_file).ask("GET", "/config").url == leader.url


@pytest.mark.parametrize("leader", [None, 7, {}, {"ip": "127.0.0.1"}, {"ip": "x", "api_port": "many"}])
def test_unusable_name_of_the_leader_is_passed_over(node, leader):
    asked = node({"/config": [Says(417, {"leader": leader}), Says(200, {})]})
    assert quick(asked.url).ask("GET", "/config").code == 200


def test_change_is_repeated_with_the_same_key(node):
    asked = node({"/config": [Says(420, {}), Says(531, {}), Says(200, {"index": 7})]})
    answer = quick(asked.url).ask("POST", "/config", body={"a": "1"})
    keys = {request["headers"]["Idempotency-Key"] for request in asked.asked}
    assert answer.document == {"index": 7}
    assert len(asked.asked) == 3 and len(keys) == 1
    assert [request["body"] for request in asked.asked] == [{"a": "1"}] * 3


def test_two_changes_have_different_keys(node):
    asked = node({"/config": Says(200, {})})
    client = quick(asked.url)
    client.ask("POST", "/config", body={})
    client.ask("POST", "/config", body={})
    first, second = (request["headers"]["Idempotency-Key"] for request in asked.asked)
    assert first != second


def test_read_carries_no_key(node):
    asked = node({"/config": Says(200, {})})
    quick(asked.url).ask("GET", "/config")
    assert "Idempotency-Key" not in asked.asked[0]["headers"]


def test_asking_ends_with_the_last_thing_that_a_node_said(node):
    asked = node({"/config": Says(530, {})})
    began = time.monotonic()
    with pytest.raises(Unanswered, match="HTTP 530, no leader is known") as failure:
        quick(asked.url, free_url(), total_timeout=1.0).ask("GET", "/config")
    assert failure.value.code == 530
    assert time.monotonic() - began < 3.0
    assert 1 < len(asked.asked) <= _client.PASSES_MAX
