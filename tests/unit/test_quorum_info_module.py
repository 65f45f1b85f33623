"""The module qluster_quorum_info, run against nodes over real connections."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.qhb.qluster.plugins.modules import qluster_quorum_info
from scripted_node import Says, golden


def seen_by(number, term=3, ring="1.1a", nodes=(1, 2, 3), quorate=True):
    """The golden answer, as member `number` would give it."""
    said = golden("quorum")
    said.update(node=number, term=term)
    votes = said["votequorum"]
    votes["ring"]["text"], votes["quorate"] = ring, quorate
    for row in votes["nodes"]:
        row.update(member=row["node"] in nodes, local=row["node"] == number)
    return said


@pytest.fixture
def votes(run):
    def read(*nodes, **arguments):
        return run(qluster_quorum_info, nodes=[each.url for each in nodes], **arguments)

    return read


def test_leader_of_the_latest_term_is_believed_and_one_ring_is_one(votes, node):
    trio = [node({"/quorum": Says(200, seen_by(number))}) for number in (2, 1, 3)]
    result = votes(*trio)
    assert result["changed"] is False and result["unreached"] == []
    assert result["quorum"] == seen_by(1) and result["reported_by"] == trio[1].url
    assert result["rings"] == [
        {"ring": "1.1a", "nodes": [1, 2, 3], "quorate": True, "reported_by": [each.url for each in trio]}
    ]
    assert [each["quorum"]["node"] for each in result["answers"]] == [2, 1, 3]


def test_two_parts_are_two_rings(votes, node):
    alone = node({"/quorum": Says(200, seen_by(3, term=2, ring="3.a", nodes=(3,), quorate=False))})
    result = votes(alone, node({"/quorum": Says(200, seen_by(1, term=4, ring="1.b", nodes=(1, 2)))}))
    assert [(ring["ring"], ring["nodes"], ring["quorate"]) for ring in result["rings"]] == [
        ("1.b", [1, 2], True), ("3.a", [3], False),
    ]
    assert result["quorum"]["term"] == 4


def test_node_that_counts_no_votes_has_no_ring(votes, node):
    said = seen_by(1)
    said["votequorum"] = {"counted": False, "reason": "quorum.provider is none"}
    before = {key: value for key, value in seen_by(2).items() if key not in ("votequorum", "node", "binds", "differs")}
    result = votes(node({"/quorum": Says(200, said)}), node({"/quorum": Says(200, before)}))
    assert result["rings"] == [] and len(result["answers"]) == 2


def test_silent_node_is_told_of_and_a_refused_token_is_warned_of(votes, node):
    gone = node()
    gone.close()
    strict = node({"/quorum": Says(401, golden("error_wrong-token"))})
    result = votes(node({"/quorum": Says(200, seen_by(1))}), gone, strict)
    assert [(each["url"], each["refused"]) for each in result["unreached"]] == [(gone.url, False), (strict.url, True)]
    assert result["warnings"]


@pytest.mark.parametrize("said", [Says(200, []), Says(200, {"ok": True}), Says(412, golden("error_not-joined"))])
def test_no_usable_answer_is_a_failure_with_the_reason(votes, node, said):
    one = node({"/quorum": said})
    result = votes(one)
    assert result["failed"] and one.url in result["msg"] and result["unreached"][0]["reason"]


def test_one_of_two_and_a_forced_quorum_are_given_as_the_node_says_them(votes, node):
    said = golden("quorum_pair")
    result = votes(node({"/quorum": Says(200, said)}))
    assert result["quorum"]["two_node"] == said["two_node"] and said["two_node"]["claim"] == "failed"
    result = votes(node({"/quorum": Says(200, golden("quorum_forced"))}))
    [forced] = result["quorum"]["forced"]
    assert (forced["by"], [one["ip"] for one in forced["outside"]]) == ("anna", ["10.0.0.2"])
