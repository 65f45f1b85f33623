"""A cluster whose nodes speak IPv6 only: found, joined, led, read and written."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from edge.segment_cluster import SegmentCluster
from edge.segment_world import Segment


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[SegmentCluster]:
    segment = Segment(3)
    try:
        made = SegmentCluster(tmp_path, segment, "[ff15::77:51]:7451", version=6)
        for number in (1, 2, 3):
            segment.on(number, "ip", "address", "del", f"{segment.ip(number)}/24", "dev", "eth0")
        yield made
        made.end()
    finally:
        segment.close()


def test_cluster_of_three_is_founded_and_joined_over_ipv6(cluster: SegmentCluster) -> None:
    cluster.run_daemons()
    nodes = cluster.status(2)["nodes"]
    assert isinstance(nodes, list)
    assert {node["ip"] for node in nodes} == {"fd66::1", "fd66::2", "fd66::3"}
    said, _ = cluster.command(2, "check-network", "--seconds", "2").communicate(timeout=60)
    assert "All is well." in said, said
    assert "1500 bytes" in said, said
