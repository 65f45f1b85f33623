"""Daemons of a cluster when a switch or a firewall takes multicast away from one of them, or lets none of it out."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from edge.daemon_world import wait_for
from edge.segment_cluster import SegmentCluster
from edge.segment_world import Segment

GROUP = "239.19.77.71"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[SegmentCluster]:
    segment = Segment(3)
    try:
        made = SegmentCluster(tmp_path, segment, f"{GROUP}:7471")
        yield made
        made.end()
    finally:
        segment.close()


def consensus(cluster: SegmentCluster, number: int) -> tuple[object, object]:
    status = cluster.status(number)["cluster"]
    assert isinstance(status, dict)
    return status["leader"], status["term"]


def test_follower_that_hears_no_multicast_is_served_by_unicast_and_nobody_is_elected(cluster: SegmentCluster) -> None:
    cluster.run_daemons()
    before = consensus(cluster, 1)
    deaf = next(number for number in (3, 2) if number != before[0])
    leader = int(str(before[0]))
    cluster.segment.drop(deaf, f"ip daddr {GROUP}")
    wait_for("copies for the deaf node", lambda: cluster.counters(leader)["unicast_peers"] == 1)
    with cluster.segment.entered(leader):
        assert cluster.post(leader, "/config", {"cluster.remove-interval": "90s"}).status_code == 200
    found = cluster.tried(leader, seconds=2)[leader]
    assert f"10.66.7.{deaf} hears nobody through the group" in str(found["findings"])
    wait_for("the node that is served follows", lambda: consensus(cluster, deaf) == before)
    assert consensus(cluster, leader) == before, "no election for a node that only lost the group"
    cluster.segment.heal(deaf)
    wait_for("no copies any more", lambda: cluster.counters(leader)["unicast_peers"] == 0)
    assert consensus(cluster, deaf) == before


def test_leader_whose_multicast_reaches_nobody_stays_in_office_by_unicast(cluster: SegmentCluster) -> None:
    """It hears the others, they hear only its unicast: heartbeats and entries must come as copies."""
    cluster.run_daemons()
    before = consensus(cluster, 1)
    leader = int(str(before[0]))
    others = {1, 2, 3} - {leader}
    for number in others:
        cluster.segment.drop(number, f"ip saddr 10.66.7.{leader} ip daddr {GROUP}")
    wait_for("copies for both", lambda: cluster.counters(leader)["unicast_peers"] == 2)
    with cluster.segment.entered(leader):
        assert cluster.post(leader, "/config", {"cluster.remove-interval": "90s"}).status_code == 200
    assert [consensus(cluster, number) for number in (1, 2, 3)] == [before] * 3
    for number in others:
        cluster.segment.heal(number)
    wait_for("no copies any more", lambda: cluster.counters(leader)["unicast_peers"] == 0)
    assert consensus(cluster, leader) == before


def test_node_that_no_multicast_reaches_or_leaves_joins_by_the_founder(cluster: SegmentCluster) -> None:
    for number in (1, 2):
        cluster.segment.drop(number, f"ip saddr 10.66.7.3 ip daddr {GROUP}")
    cluster.segment.drop(3, f"ip daddr {GROUP}")
    cluster.run_daemons()
    leader = int(str(consensus(cluster, 3)[0]))
    wait_for("copies for it", lambda: cluster.counters(leader)["unicast_peers"] == 1)
