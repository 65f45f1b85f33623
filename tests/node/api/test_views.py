"""What is shown of a status."""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from api import sample_status as sample
from msgspec.structs import replace
from qluster.api import views
from qluster.api.metrics import exposition
from qluster.consulted import VotingDevice
from qluster.status import DatabaseStatus, Status
from qluster.voted import VotesStatus


def with_database(number: int, database: DatabaseStatus | None) -> Status:
    status = sample.healthy()
    nodes = [replace(each, database=database) if each.node == number else each for each in status.nodes]
    return replace(status, nodes=nodes)


@pytest.mark.parametrize(
    ("position", "text"),
    [
        (None, None),
        (0, "0/0"),
        (0x3000060, "0/3000060"),
        (0x1_0500_0100, "1/5000100"),
        (2**64 - 1, "FFFFFFFF/FFFFFFFF"),
    ],
)
def test_position_is_written_as_postgresql_writes_it(position: int | None, text: str | None) -> None:
    assert views.position_text(position) == text


def test_lag_is_held_against_the_primary() -> None:
    shown = views.whole(sample.healthy())
    assert [node.database and node.database.lag_bytes for node in shown.nodes] == [0, 0, 0xD8, None]
    assert [node.primary for node in shown.nodes] == [True, False, False, False]


def test_replica_that_reported_later_is_not_behind_by_less_than_nothing() -> None:
    shown = views.replication(with_database(2, sample.database("replica", 0x1_0500_0200)))
    assert shown.nodes[1].lag_bytes == 0


@pytest.mark.parametrize(
    "database",
    [
        sample.database("replica", 0x1_0500_0000, timeline=1),
        DatabaseStatus(role="replica", timeline=2),
        DatabaseStatus(role="absent"),
    ],
    ids=["other timeline", "no position", "absent"],
)
def test_lag_is_unknown_where_positions_cannot_be_compared(database: DatabaseStatus) -> None:
    assert views.replication(with_database(2, database)).nodes[1].lag_bytes is None


def test_lag_is_unknown_while_the_reign_names_no_working_primary() -> None:
    shown = views.replication(with_database(1, sample.database("stopped", 0x1_0500_0100)))
    assert [node.lag_bytes for node in shown.nodes] == [None, None, None]


def test_node_that_has_not_reported_is_shown_as_unknown() -> None:
    shown = views.replication(with_database(3, None)).nodes[2]
    assert (shown.role, shown.position, shown.streaming) == ("unknown", None, False)


def test_durations_have_two_decimals() -> None:
    shown = views.whole(sample.healthy())
    assert (shown.own.uptime, shown.own.lease_left, shown.nodes[1].heard_ago) == (3600.99, 8.77, 0.12)


def test_quorum_counts_the_votes_it_hears() -> None:
    shown = views.quorum(sample.leaderless())
    assert (shown.expected_votes, shown.total_votes, shown.quorum) == (3, 2, 2)
    assert [member.votes for member in shown.members] == [1, 1, 1, 0]


def test_list_binds_and_where_votequorum_says_otherwise_is_said() -> None:
    same = views.quorum(sample.healthy())
    assert (same.binds, same.differs, same.votequorum.changes[0].at) == ("list", "", "2026-09-21T14:13:20Z")
    reason = "3 of 5 expected votes are here, all waited for"
    less = sample.votes(quorate=False, quorum=3, expected_votes=5, reason=reason)
    shown = views.quorum(replace(sample.healthy(), votes=less))
    assert shown.differs == (
        "by the list of members this node is quorate, by votequorum not quorate (3 of 5 expected votes are here, all "
        "waited for); by the list 2 votes of 3 are needed, by votequorum 3 of 5. The list decides who can be elected; "
        "votequorum only forbids."
    )


def test_votes_that_nobody_counts_are_no_contradiction() -> None:
    shown = views.quorum(replace(sample.healthy(), votes=VotesStatus(counted=False, reason="quorum.provider is none")))
    assert not shown.differs and not shown.votequorum.counted and shown.votequorum.reason == "quorum.provider is none"
    assert not views.quorum(replace(sample.healthy(), votes=None)).votequorum.counted


def test_quorum_counts_the_device_where_its_word_counts() -> None:
    status = sample.leaderless()
    for counts in (True, False):
        why = "" if counts else "no connection"
        device = VotingDevice(votes=1, way="memory", uid="00000000000000ab", counts=counts, reason=why)
        shown = views.quorum(replace(status, cluster=replace(status.cluster, votes=4, device=device)))
        assert (shown.expected_votes, shown.total_votes, shown.device) == (4, 3 if counts else 2, device)


def test_leader_and_primary_may_differ_for_a_while() -> None:
    status = sample.healthy(2)
    shown = views.leader(replace(status, cluster=replace(status.cluster, leader=2)))
    assert shown is not None and shown.primary is not None
    assert (shown.node, shown.primary.node) == (2, 1)


@pytest.mark.parametrize(
    "status", [sample.healthy(), sample.healthy(4), sample.leaderless(), sample.unjoined()]
)
def test_metrics_can_be_read_by_prometheus(status: Status) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    families = list(text_string_to_metric_families(exposition(status).decode()))
    found = {each.name: each.value for family in families for each in family.samples if not each.labels}
    assert found["qluster_joined"] == (status.cluster.cluster is not None)
    assert found["qluster_quorate"] == status.cluster.quorate
    assert ("qluster_lease_left_seconds" in found) == (status.own.lease_left is not None)
    assert all(family.name.startswith("qluster_") and family.documentation for family in families)


def test_metrics_show_the_arbiter_where_one_is_asked() -> None:
    text = exposition(sample.with_arbiter()).decode()
    assert "qluster_arbiter_connected 1.0" in text and "qluster_arbiter_vote 1.0" in text
    assert "qluster_arbiter" not in exposition(sample.healthy()).decode()


def test_metrics_show_each_database_and_counter() -> None:
    text = exposition(sample.healthy()).decode()
    assert 'qluster_database_lag_bytes{ip="10.0.0.3",node="3"} 216.0' in text
    assert 'qluster_database_role{ip="10.0.0.1",node="1",role="primary"} 1.0' in text
    assert 'qluster_events_total{event="elections"} 1.0' in text
    assert 'qluster_database_pending_parameters{ip="10.0.0.2",node="2"} 0.0' in text
    assert "qluster_database_parameters_version 40.0" in text and "qluster_databases_restarting 0.0" in text


def test_metrics_of_two_nodes_are_there_where_that_is_configured() -> None:
    text = exposition(sample.pair()).decode()
    assert "qluster_two_node_in_force 1.0" in text and "qluster_two_node_able 1.0" in text
    claims = [line for line in text.splitlines() if line.startswith("qluster_two_node_claim{")]
    assert [line for line in claims if line.endswith(" 1.0")] == ['qluster_two_node_claim{state="failed"} 1.0']
    assert "qluster_two_node" not in exposition(sample.healthy()).decode()


def test_metrics_say_when_a_quorum_was_forced_and_how_many_are_outside() -> None:
    text = exposition(sample.forced()).decode()
    assert "qluster_forced_quorums 1.0" in text and "qluster_forced_quorum_outside 1.0" in text
    assert "qluster_forced_quorum_timestamp_seconds 1.79000006525e+09" in text
    plain = exposition(sample.healthy()).decode()
    assert "qluster_forced_quorums 0.0" in plain and "qluster_forced_quorum_outside" not in plain


def test_metrics_say_how_many_tasks_wait_and_what_is_free_where() -> None:
    text = exposition(sample.with_tasks()).decode()
    assert 'qluster_tasks{state="waiting"} 7.0' in text and 'qluster_tasks{state="assigned"} 0.0' in text
    assert "qluster_tasks_known 120.0" in text and "qluster_tasks_here 2.0" in text
    assert 'qluster_task_slots_used{ip="10.0.0.1",node="1"} 2.0' in text
    assert 'qluster_task_slots{ip="10.0.0.3",node="3"} 4.0' in text
    assert "qluster_task_runner_fault 0.0" in text
    follower, listener = exposition(sample.with_tasks(3)).decode(), exposition(sample.with_tasks(4)).decode()
    assert "qluster_task_runner_fault 1.0" in follower and "qluster_task_slots" not in follower
    assert "qluster_task_runner_fault" not in listener and 'qluster_tasks{state="running"} 2.0' in listener
