"""The status as people read it, from the answers that the interface is known to give."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from qluster.api.shapes import Whole
from qluster.cli.show import lines, size_text, span_text, table
from qluster.consulted import VotingDevice
from qluster.status import GuaranteeStatus
from qluster.tasked import TasksStatus

GOLDEN = Path(__file__).parents[2] / "golden/api"


def answer(name: str) -> Whole:
    return msgspec.json.decode((GOLDEN / f"{name}.json").read_bytes(), type=Whole)


def test_healthy_cluster_fits_in_ten_lines() -> None:
    assert lines(answer("status")) == [
        "cluster   main, founding 1, led by node 1, term 3",
        "votes     quorate, 2 of 3 needed",
        "log       committed 42, applied 42, last 42, snapshot 30",
        "primary   node 1, reign 2, timeline 2 from 0/3000060, waits for 1 of nodes 2",
        "here      node 1, leader, lease 8.77 s, version 0.1.0, up 1 h 0 m",
        "",
        "node  address        role      state   database             timeline  position   lag    heard",
        "1*    10.0.0.1:8080  node      leader  primary              2         1/5000100  0 B    here",
        "2     10.0.0.2:8080  node      alive   replica, streaming   2         1/5000100  0 B    0.12 s",
        "3     10.0.0.3:8080  node      alive   replica, streaming   2         1/5000028  216 B  0.12 s",
        "4     10.0.0.4:8080  listener  alive   pool: 10.0.0.1:5432  -         -          -      0.12 s",
    ]


def test_node_that_has_not_joined_says_what_it_waits_for() -> None:
    assert lines(answer("status_unjoined")) == [
        "cluster   main, not joined",
        "here      10.0.0.2, joining, version 0.1.0, up 1 h 0 m",
        "",
        "here: no cluster 'main' answers its hello",
    ]


def test_an_arbiter_is_shown_with_what_it_says_and_why_that_does_not_count() -> None:
    text = lines(answer("status_arbiter"))
    assert "arbiter   ffsplit at 192.0.2.99:5403, connected, says ack to the membership 1.c" in text
    assert text[-1].startswith("arbiter: its vote does not count: it has restarted since it last was in sync")


def test_tasks_are_counted_and_a_host_that_begins_none_says_why() -> None:
    whole = answer("status_tasks")
    assert "tasks     7 waiting, 2 running, 2 of them here" in lines(whole)
    sick = replace(whole, tasks=TasksStatus(enabled=True, fault="the task runner has not been heard of yet"))
    said = "tasks     none waits or runs; NONE IS BEGUN HERE: the task runner has not been heard of yet"
    assert said in lines(sick)
    assert not any(line.startswith("tasks") for line in lines(answer("status")))


def test_standby_cluster_says_whom_it_follows() -> None:
    text = "\n".join(lines(answer("status_standby")))
    of = "198.51.100.11:5432, 198.51.100.12:5432"
    assert f"standby   of {of}: node 1 follows 198.51.100.11:5432, 768 B behind" in text
    assert "primary   none here, reign 2 of node 1" in text


def test_missing_leader_and_silent_nodes_are_seen_at_once() -> None:
    text = "\n".join(lines(answer("status_leaderless")))
    assert "without a leader" in text and "silent" in text


def test_what_is_wrong_somewhere_stands_below_the_table() -> None:
    whole = answer("status")
    first, second, third, pool = whole.nodes
    assert second.database is not None and third.database is not None and pool.pool is not None
    changed = [
        msgspec.structs.replace(first, settings_digest="other", version="0.2.0"),
        msgspec.structs.replace(second, down=True, database=msgspec.structs.replace(
            second.database, streaming=False, state="rewinding", error="pg_rewind failed")),
        msgspec.structs.replace(third, heard_ago=None, database=msgspec.structs.replace(
            third.database, pending_restart=True, pending={"max_connections": "100"}, overridden=("work_mem",),
            refused="no memory")),
        msgspec.structs.replace(pool, pool=msgspec.structs.replace(pool.pool, target=None, error="console closed")),
    ]
    assert whole.cluster.database_restart is not None
    restart = msgspec.structs.replace(whole.cluster.database_restart, state="running", node=3, waits_for="a replica")
    cluster = msgspec.structs.replace(whole.cluster, database_restart=restart)
    text = lines(msgspec.structs.replace(whole, cluster=cluster, nodes=changed))
    assert text[-8:] == [
        "the databases restart one after the other (entry 41), now node 3, waits: a replica",
        "node 2: pg_rewind failed",
        "node 3: its database must restart before all its parameters hold: max_connections",
        "node 3: its database runs with parameters of before: no memory",
        "node 3: its config.yaml says otherwise than the cluster's log: work_mem",
        "node 4: console closed",
        "nodes differ in their settings: 5f0c, other",
        "nodes differ in their version: 0.1.0, 0.2.0",
    ]
    assert any("down    replica, rewinding, not streaming" in line for line in text)
    assert any("pool: nobody" in line for line in text) and any(line.endswith("never") for line in text)


@pytest.mark.parametrize(("count", "text"), [
    (0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (1536, "1.50 KiB"), (5 * 1024**3, "5.00 GiB"),
    (3 * 1024**5, "3072.00 TiB"),
])
def test_sizes_have_units(count: int, text: str) -> None:
    assert size_text(count) == text


@pytest.mark.parametrize(("seconds", "text"), [
    (0.5, "0.50 s"), (61, "1 m 1 s"), (3600, "1 h 0 m"), (90061, "1 d 1 h")])
def test_spans_have_two_units(seconds: float, text: str) -> None:
    assert span_text(seconds) == text


def test_columns_are_as_wide_as_their_widest_text() -> None:
    assert table(("a", "bb"), [("ccc", "d"), ("e", "")]) == ["a    bb", "ccc  d", "e"]


@pytest.mark.parametrize(
    ("guarantee", "words"),
    [
        (None, "from 0/3000060"),
        (GuaranteeStatus(standbys=(2, 3), needed=1, settled=True), "0/3000060, waits for 1 of nodes 2, 3"),
        (GuaranteeStatus(standbys=(2,), needed=1, settled=False), "waits for 1 of nodes 2 (being changed)"),
        (GuaranteeStatus(standbys=(), needed=0, settled=True), "waits for no replica: none streams"),
    ],
    ids=["asynchronous", "two", "changing", "alone"],
)
def test_whom_the_primary_waits_for_stands_beside_it(guarantee: GuaranteeStatus | None, words: str) -> None:
    whole = answer("status")
    cluster = msgspec.structs.replace(whole.cluster, guarantee=guarantee)
    [line] = [line for line in lines(msgspec.structs.replace(whole, cluster=cluster)) if line.startswith("primary")]
    assert line.endswith(words)


def test_votes_are_shown_with_their_tie_breaker_and_what_is_to_be_known_of_them() -> None:
    found = answer("status")
    cluster = msgspec.structs.replace(
        found.cluster, voters=4, votes=4, quorum=3, tie_breaker=2, resting=(5, 6), remarks=("something is odd",)
    )
    shown = lines(msgspec.structs.replace(found, cluster=cluster))
    assert "votes     quorate, 3 of 4 needed, 2 with node 2" in shown
    assert "votes: something is odd" in shown
    assert "votes: not counted until they keep up: nodes 5, 6" in shown
    device = VotingDevice(votes=1, way="memory", uid="00000000000000ab", counts=False, reason="no connection")
    shown = lines(msgspec.structs.replace(found, cluster=msgspec.structs.replace(found.cluster, device=device)))
    assert "votes: those of the device (1) do not count for this node: no connection" in shown
