"""What meets an expectation and what does not. Views in, findings out: nobody is asked here."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy

import pytest
from ansible_collections.qhb.qluster.plugins.module_utils._client import Unanswered
from ansible_collections.qhb.qluster.plugins.module_utils._judgement import describe, fingerprint, judge
from ansible_collections.qhb.qluster.plugins.module_utils._member_rules import MEMBER_RULES
from ansible_collections.qhb.qluster.plugins.module_utils._reading import answer_of, merge
from ansible_collections.qhb.qluster.plugins.module_utils._rules import (
    RULES,
    WrongExpectation,
    check_expectations,
)
from ansible_collections.qhb.qluster.plugins.modules.qluster_status import EXPECT
from scripted_node import golden, map_seen_by

WELL = {
    "reachable": "all", "name": "main", "leader": "known", "primary": "writable", "paused": False, "quorate": True,
    "standby": False, "members": 4, "voters": 3, "listeners": 1, "alive": "all", "replicas_streaming": "2",
    "max_lag_bytes": 216, "same_settings": True, "no_errors": True, "no_pending_restart": True, "version": "0.1.0",
    "pool": "primary", "founding_above": 0, "reign_above": 1, "key_sending": 1, "key_newest": 2, "keys_known": 2,
    "backup_age": 3600, "archive_complete": True, "arbiter": False,
}
KEYS = {"key_sending": 1, "key_newest": 2, "keys_known": 2}
"""Counters of a node in the middle of a change of the cluster's key."""


class Cluster:
    """Three nodes and a listener as in the golden map, to be damaged by a test before it is judged."""

    def __init__(self):
        self.maps = {number: map_seen_by(number) for number in (1, 2, 3)}
        for document in self.maps.values():
            document["own"]["counters"].update(KEYS)
            document["backups"] = {**golden("backups"), "newest_age": 3600.0, "archive_complete": True,
                                   "archive_faults": []}
        self.codes = {1: 200, 2: 417, 3: 417}
        self.outside = {}
        self.silent = {}

    def url(self, number):
        return f"https://10.0.0.{number}:8080"

    def row(self, seen_by, number):
        return next(row for row in self.maps[seen_by]["nodes"] if row["node"] == number)

    def everywhere(self, number, part, **change):
        """Change a member's part in the maps of all nodes."""
        for seen_by in self.maps:
            row = self.row(seen_by, number)
            (row if part is None else row[part]).update(change)

    def view(self):
        found = {self.url(number): answer_of(self.url(number), self.codes[number], document)
                 for number, document in self.maps.items() if number not in self.silent}
        for number, reason in self.silent.items():
            found[self.url(number)] = Unanswered(self.url(number), reason)
        for number, message in self.outside.items():
            document = golden("status_unjoined")
            document["own"].update(ip=f"10.0.0.{number}", message=message)
            found[self.url(number)] = answer_of(self.url(number), 412, document)
        return copy.deepcopy(merge(found))

    def judged(self, **expect):
        return judge(self.view(), expect)

    def found(self, **expect):
        """What was found instead, with who says so, by the last digit of the address."""
        return {(finding["found"], "".join(url[len("https://10.0.0.")] for url in finding["says"]))
                for finding in self.judged(**expect)}


@pytest.fixture
def cluster():
    return Cluster()


def test_pause_is_expected_or_not(cluster):
    assert cluster.found(paused=True) == {(False, "123")}
    for document in cluster.maps.values():
        document["cluster"]["pause"] = {"active": True, "reason": "a disk", "node": 1, "since": 9}
    assert cluster.judged(paused=True) == [] and cluster.found(paused=False) == {(True, "123")}
    cluster.maps[2]["cluster"]["pause"]["active"] = False
    assert cluster.found(paused=True) == {(False, "2")}, "it has resumed, and waits for a node"


def test_arbiter_is_asked_by_every_voter_or_by_none(cluster):
    device = {"host": "10.0.0.9", "connected": True, "error": "", "state": "connected"}
    assert cluster.found(arbiter=True) == {("no arbiter", "123")}
    for document in cluster.maps.values():
        document["own"]["device"] = dict(device)
    assert cluster.judged(arbiter=True) == [] and cluster.found(arbiter=False) == {("asks 10.0.0.9", "123")}
    cluster.maps[2]["own"]["device"].update(connected=False, error="refused", state="waits")
    cluster.maps[3]["own"]["device"].update(connected=False, state="connecting")
    assert cluster.found(arbiter=True) == {("10.0.0.9: refused", "2"), ("10.0.0.9: connecting", "3")}
    for number in (2, 3):
        cluster.maps[number]["own"]["device"] = None
        cluster.row(number, number)["role"] = "listener"
    assert cluster.judged(arbiter=True) == []


def test_standby_cluster_is_expected_or_not(cluster):
    assert cluster.judged(standby=False) == [] and cluster.found(standby=True) == {(False, "123")}
    for document in cluster.maps.values():
        document["cluster"]["standby"] = {"of": "198.51.100.11:5432", "node": 1, "streaming": True}
        document["cluster"]["reign"]["standby"] = True
        fed = next(row for row in document["nodes"] if row["node"] == 1)["database"]
        fed.update(role="replica", streaming=True, ahead=fed["position"] + 5, position=fed["position"])
    assert cluster.judged(standby=True, replicas_streaming="all", max_lag_bytes=1000) == []
    assert cluster.judged(max_lag_bytes=4) != [], "behind the one outside"
    cluster.maps[2]["cluster"]["standby"]["streaming"] = False
    assert cluster.found(standby=True) == {(False, "2")}


def test_well_cluster_meets_everything(cluster):
    assert cluster.judged(**WELL) == []


def test_every_expectation_of_the_module_is_judged():
    assert set(EXPECT) == set(RULES) | set(MEMBER_RULES) | {"reachable", "term_stable"}
    assert set(WELL) == set(EXPECT) - {"term_stable"}


def test_without_expectations_one_answer_is_enough(cluster):
    cluster.silent = {2: "gone", 3: "gone"}
    assert cluster.judged() == []


def test_silence_is_told_once_whatever_was_expected(cluster):
    cluster.silent = {1: "gone", 2: "gone", 3: "late"}
    assert cluster.judged(**WELL) == [
        {"expectation": "reachable", "wanted": "all", "found": "0 of 3: gone",
         "says": [cluster.url(1), cluster.url(2)]},
        {"expectation": "reachable", "wanted": "all", "found": "0 of 3: late", "says": [cluster.url(3)]},
    ]


@pytest.mark.parametrize("name", sorted(set(WELL) - {"reachable"}))
def test_nothing_is_met_by_silence(cluster, name):
    cluster.silent = {1: "gone", 2: "gone", 3: "gone"}
    unmet = cluster.judged(reachable="0", **{name: WELL[name]})
    assert [finding["expectation"] for finding in unmet] == [name]


@pytest.mark.parametrize("name", sorted(set(WELL) - {"reachable"}))
def test_nothing_is_met_by_nodes_outside_a_cluster(cluster, name):
    cluster.maps = {}
    cluster.outside = {2: "no cluster answers"}
    unmet = cluster.judged(**{name: WELL[name]})
    assert {finding["expectation"] for finding in unmet} == {name}


# --- contradictions ----------------------------------------------------------


def test_two_nodes_that_accept_writes_are_always_unmet_and_said_loudly(cluster):
    cluster.codes[2] = 200
    unmet = cluster.judged()
    assert describe(unmet) == (
        "CONTRADICTION, one_primary: 2 NODES ACCEPT WRITES AT THE SAME TIME: 1, 2"
        " (says https://10.0.0.1:8080, https://10.0.0.2:8080)"
    )


def test_two_leaders_are_always_unmet(cluster):
    cluster.maps[3]["own"]["consensus_role"] = "leader"
    cluster.maps[3]["cluster"].update(term=4, leader=3)
    assert cluster.found() == {
        ("several nodes lead, here: node 1 in term 3", "1"), ("several nodes lead, here: node 3 in term 4", "3")}


def test_disagreement_about_the_leader_is_always_unmet(cluster):
    cluster.maps[3]["cluster"].update(term=4, leader=2)
    assert cluster.found() == {
        ("nodes disagree who leads, here: node 1 in term 3", "12"),
        ("nodes disagree who leads, here: node 2 in term 4", "3"),
    }


def test_not_knowing_a_leader_is_no_contradiction(cluster):
    cluster.maps[3]["cluster"]["leader"] = None
    assert cluster.judged() == []


@pytest.mark.parametrize("change", [{"cluster": 2}, {"name": "other"}], ids=["founding", "name"])
def test_nodes_of_two_clusters_are_always_unmet(cluster, change):
    cluster.maps[3]["cluster"].update(change)
    unmet = cluster.judged()
    assert {finding["expectation"] for finding in unmet} == {"one_cluster"}
    assert [finding["says"] for finding in unmet] == [[cluster.url(1), cluster.url(2)], [cluster.url(3)]]


# --- who answers -------------------------------------------------------------


def test_enough_answers_may_be_fewer_than_all(cluster):
    cluster.silent = {3: "gone"}
    assert cluster.judged(reachable="2") == []
    assert cluster.found(reachable="3") == cluster.found(reachable="all") == {("2 of 3: gone", "3")}


def test_more_answers_than_nodes_cannot_come(cluster):
    assert cluster.found(reachable="4") == {("3 nodes were given", "")}


def test_silence_can_be_wanted(cluster):
    assert cluster.found(reachable="none") == {("a node that answers", "123")}
    cluster.silent = {1: "gone", 2: "gone", 3: "gone"}
    assert cluster.judged(reachable="none", leader="known") == []


# --- the nodes' own words ----------------------------------------------------


@pytest.mark.parametrize(
    ("expect", "found"),
    [
        ({"name": "other"}, {("main", "123")}),
        ({"leader": "none"}, {(1, "123")}),
        ({"leader": "2"}, {("node 1 (10.0.0.1)", "123")}),
        ({"leader": "10.0.0.3"}, {("node 1 (10.0.0.1)", "123")}),
        ({"primary": "2"}, {("node 1 (10.0.0.1)", "1")}),
        ({"primary": "none"}, {("a node that accepts writes", "1")}),
        ({"quorate": False}, {(True, "123")}),
        ({"members": 3}, {(4, "123")}),
        ({"voters": 4}, {(3, "123")}),
        ({"listeners": 0}, {(1, "123")}),
        ({"founding_above": 1}, {(1, "123")}),
        ({"reign_above": 2}, {(2, "123")}),
    ],
    ids=str,
)
def test_every_node_is_held_against_the_wanted(cluster, expect, found):
    assert cluster.found(**expect) == found


@pytest.mark.parametrize("wanted", ["1", "10.0.0.1"])
def test_leader_and_primary_can_be_named_by_number_or_address(cluster, wanted):
    assert cluster.judged(leader=wanted, primary=wanted) == []


def test_number_of_a_node_is_not_a_part_of_its_address(cluster):
    assert cluster.judged(leader="10") != []
    assert cluster.judged(leader="10.0.0.11") != []


def test_only_the_node_that_differs_is_named(cluster):
    cluster.maps[3]["cluster"].update(leader=None, quorate=False)
    assert cluster.found(leader="known", quorate=True) == {("none", "3"), (False, "3")}


def test_one_of_two_without_a_leader_says_what_is_to_be_done(cluster):
    said = "node 2 (10.0.0.2) is silent and could not be fenced: no route. Start it"
    cluster.maps[3]["cluster"].update(leader=None, two_node={"claim": "failed", "reason": said})
    assert cluster.found(leader="known") == {(f"none: {said}", "3")}


def test_node_outside_meets_nothing_that_nodes_say(cluster):
    cluster.outside = {5: "waits for a welcome"}
    unmet = cluster.judged(name="main", leader="known", quorate=True, members=4, voters=3)
    assert [finding["expectation"] for finding in unmet] == ["name", "leader", "quorate", "members", "voters"]
    assert {finding["found"] for finding in unmet} == {"not joined: waits for a welcome"}


def test_no_leader_can_be_wanted(cluster):
    for document in cluster.maps.values():
        document["cluster"]["leader"] = None
    assert cluster.judged(leader="none") == []


# --- who accepts writes ------------------------------------------------------


def test_no_primary_is_told_with_each_reason(cluster):
    cluster.codes = {1: 530, 2: 417, 3: 531}
    assert cluster.found(primary="writable") == {
        ("no node that accepts writes (knows no leader)", "1"),
        ("no node that accepts writes (does not lead)", "2"),
        ("no node that accepts writes (cannot answer now)", "3"),
    }
    assert cluster.judged(primary="none") == []


def test_primary_without_the_reign_is_unmet(cluster):
    for document in cluster.maps.values():
        document["cluster"]["reign"]["node"] = 2
    assert cluster.found(primary="writable") == {("node 1 (10.0.0.1) accepts writes, the reign is that of node 2", "1")}


# --- members -----------------------------------------------------------------


def test_dead_member_is_named(cluster):
    cluster.everywhere(3, None, alive=False, heard_ago=12.345)
    cluster.silent = {3: "gone"}
    assert cluster.found(alive="all") == {("3 of 4: node 3 (10.0.0.3) not heard for 12.35 s", "1")}
    assert cluster.judged(alive="3") == []


def test_member_never_heard_of_is_named(cluster):
    cluster.everywhere(3, None, alive=False, heard_ago=None)
    assert cluster.found(alive="4") == {("3 of 4: node 3 (10.0.0.3) never heard of", "3")}


def test_more_members_alive_than_there_are(cluster):
    assert cluster.found(alive="5") == {("4 members", "1")}


@pytest.mark.parametrize(
    ("change", "state"),
    [({"streaming": False}, "replica, idle"), ({"role": "detached"}, "detached, idle"),
     ({"role": "stopped", "state": "failed", "error": "disk full"}, "stopped, failed, disk full"),
     ({"role": "absent", "state": "cloning"}, "absent, cloning")],
    ids=["no stream", "detached", "stopped", "cloning"],
)
def test_replica_that_does_not_stream_is_named_with_its_state(cluster, change, state):
    cluster.everywhere(3, "database", **change)
    assert cluster.found(replicas_streaming="2") == {(f"1 of 2: node 3 (10.0.0.3) is {state}", "3")}
    assert cluster.found(replicas_streaming="all") == {(f"1 of 2: node 3 (10.0.0.3) is {state}", "3")}
    assert cluster.judged(replicas_streaming="1") == []


def test_replica_that_has_not_reported_counts_as_one_that_does_not_stream(cluster):
    cluster.everywhere(3, None, database=None)
    assert cluster.found(replicas_streaming="all") == {("1 of 2: node 3 (10.0.0.3) is unknown", "3")}
    assert cluster.found(max_lag_bytes=1000) == {("node 3 (10.0.0.3): lag unknown (unknown)", "3")}


def test_cluster_of_one_database_has_all_its_replicas(cluster):
    for number in (2, 3):
        cluster.everywhere(number, "database", role="none", streaming=False)
        cluster.everywhere(number, None, db_port=None)
    assert cluster.judged(replicas_streaming="all", max_lag_bytes=0) == []
    assert cluster.found(replicas_streaming="1") == {("0 replicas", "1")}


def test_lag_over_the_limit_is_named(cluster):
    assert cluster.found(max_lag_bytes=215) == {("node 3 (10.0.0.3): 216 bytes behind", "3")}


def test_unknown_lag_is_over_every_limit(cluster):
    cluster.everywhere(2, "database", timeline=1)
    assert cluster.found(max_lag_bytes=10**15) == {("node 2 (10.0.0.2): lag unknown (replica)", "2")}


def test_the_newest_backup_that_any_host_sees_is_held_against_the_age():
    cluster = Cluster()
    cluster.maps[2]["backups"]["newest_age"] = 99.0
    assert cluster.judged(backup_age=99) == []
    assert cluster.found(backup_age=98) == {("the newest backup is 99 seconds old", "1")}
    for document in cluster.maps.values():
        document["backups"].update(newest_age=None, failure="10.0.0.2: no space left")
    assert {found for found, dummy in cluster.found(backup_age=98)} == {"10.0.0.2: no space left"}
    for document in cluster.maps.values():
        document["backups"] = None
    assert cluster.found(backup_age=98) == {("no host that keeps backups", "1")}
    assert cluster.found(archive_complete=True) == {("unknown: no host has seen the archive", "1")}


def test_a_gap_in_the_archive_is_told_in_its_own_words():
    cluster = Cluster()
    cluster.maps[3]["backups"].update(archive_complete=False, archive_faults=["segment 7 is missing"])
    assert cluster.found(archive_complete=True) == {("segment 7 is missing", "3")}


@pytest.mark.parametrize("digest", ["other", ""])
def test_different_settings_are_shown_for_all(cluster, digest):
    cluster.everywhere(3, None, settings_digest=digest)
    found = cluster.found(same_settings=True)
    assert len(found) == 4
    assert (f"node 3 (10.0.0.3) has settings {digest or 'unknown'}", "3") in found
    assert cluster.judged(same_settings=False) == []


@pytest.mark.parametrize(
    ("number", "part", "change", "found"),
    [(2, None, {"down": True}, "node 2 (10.0.0.2) is marked down"),
     (3, "database", {"error": "disk full"}, "node 3 (10.0.0.3), database: disk full"),
     (4, "pool", {"error": "no console"}, "node 4 (10.0.0.4), pool: no console")],
    ids=["down", "database", "pool"],
)
def test_trouble_of_a_member_is_an_error(cluster, number, part, change, found):
    cluster.everywhere(number, part, **change)
    assert {text for text, says in cluster.found(no_errors=True)} == {found}
    assert cluster.judged(no_errors=False) == []


def test_wal_that_is_not_archived_is_an_error(cluster):
    cluster.everywhere(1, "database", archive_error="no space left on device")
    found = {text for text, says in cluster.found(no_errors=True)}
    assert found == {"node 1 (10.0.0.1), WAL archive: no space left on device"}


def test_trouble_of_a_node_itself_is_an_error(cluster):
    cluster.maps[2]["own"]["message"] = "waits for its database"
    assert cluster.found(no_errors=True) == {("waits for its database", "2")}


def test_trouble_that_a_node_repeats_as_its_own_is_told_once(cluster):
    cluster.everywhere(2, "database", error="disk full")
    cluster.maps[2]["own"]["message"] = "disk full"
    cluster.maps[3]["own"]["message"] = "disk full"
    assert cluster.found(no_errors=True) == {("node 2 (10.0.0.2), database: disk full", "2"), ("disk full", "3")}


def test_pending_restart_is_named(cluster):
    cluster.everywhere(2, "database", pending_restart=True)
    assert cluster.found(no_pending_restart=True) == {("node 2 (10.0.0.2) waits for a restart of its database", "2")}
    assert cluster.judged(no_pending_restart=False) == []


def test_other_version_is_named_even_of_a_member_that_was_not_asked(cluster):
    cluster.everywhere(4, None, version="0.0.9")
    assert cluster.found(version="0.1.0") == {("node 4 (10.0.0.4) runs 0.0.9", "1")}


@pytest.mark.parametrize(
    ("change", "found"),
    [({"target": "10.0.0.2:5432"}, "node 4 (10.0.0.4) points at 10.0.0.2:5432, the primary is 10.0.0.1:5432"),
     ({"target": None}, "node 4 (10.0.0.4) points at nobody, the primary is 10.0.0.1:5432"),
     ({"error": "cannot reload"}, "node 4 (10.0.0.4): cannot reload")],
    ids=["old primary", "nobody", "error"],
)
def test_pool_that_does_not_lead_to_the_primary_is_named(cluster, change, found):
    cluster.everywhere(4, "pool", **change)
    assert cluster.found(pool="primary") == {(found, "1")}


def test_nodes_of_ipv6_are_recognised_in_any_writing(cluster):
    for number in (1, 2, 3, 4):
        cluster.everywhere(number, None, ip=f"fd00::{number}")
        if number in cluster.maps:
            cluster.maps[number]["own"]["ip"] = f"fd00::{number}"
    cluster.everywhere(4, "pool", target="[fd00::1]:5432")
    for wanted in ("fd00::1", "FD00:0:0::0001", "1"):
        assert cluster.judged(pool="primary", leader=wanted, primary=wanted) == []
    assert cluster.found(leader="fd00::2") == {("node 1 (fd00::1)", "123")}
    cluster.everywhere(4, "pool", target="[fd00::2]:5432")
    found = "node 4 (fd00::4) points at [fd00::2]:5432, the primary is [fd00::1]:5432"
    assert cluster.found(pool="primary") == {(found, "1")}


@pytest.mark.parametrize("name", sorted(KEYS))
def test_node_that_has_not_taken_a_step_of_the_change_of_keys_is_named(cluster, name):
    cluster.maps[2]["own"]["counters"][name] = 7
    assert cluster.found(**{name: KEYS[name]}) == {(7, "2")}
    # A daemon of an older version says nothing of its keys.
    del cluster.maps[2]["own"]["counters"][name]
    assert cluster.found(**{name: KEYS[name]}) == {("none", "2")}


def test_cluster_without_a_pool_does_not_meet_the_pool(cluster):
    cluster.everywhere(4, None, pool=None)
    assert cluster.found(pool="primary") == {("no member with a pool", "1")}


# --- words -------------------------------------------------------------------


def test_description_has_one_line_for_each_finding(cluster):
    cluster.maps[3]["cluster"]["leader"] = None
    lines = describe(cluster.judged(leader="known", voters=5)).splitlines()
    assert lines == [
        "leader: wanted known, found none (says https://10.0.0.3:8080)",
        "voters: wanted 5, found 3 (says https://10.0.0.1:8080, https://10.0.0.2:8080, https://10.0.0.3:8080)",
    ]


def test_fingerprint_changes_with_founding_term_leader_and_reign(cluster):
    seen = {fingerprint(cluster.view())}
    for change in ({"term": 4}, {"leader": 2}, {"cluster": 2}, {"reign": {"number": 3, "node": 1}}):
        for document in cluster.maps.values():
            document["cluster"].update(change)
        seen.add(fingerprint(cluster.view()))
    assert len(seen) == 5


@pytest.mark.parametrize(
    "expect",
    [{"reachable": "many"}, {"reachable": "-1"}, {"alive": "none"}, {"replicas_streaming": "1.5"},
     {"leader": "knwon"}, {"leader": "writable"}, {"primary": "known"}, {"primary": "10.0.0.300"}],
    ids=str,
)
def test_expectation_that_is_no_value_is_refused_with_the_good_ones(expect):
    name, value = next(iter(expect.items()))
    with pytest.raises(WrongExpectation, match=f"expect.{name} is '{value}'. Give "):
        check_expectations(expect)


def test_usable_expectations_are_taken():
    check_expectations(WELL)
    check_expectations({"reachable": "none", "leader": "none", "primary": "2001:db8::1"})
