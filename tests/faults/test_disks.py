"""Disks that lose power, fail, lie, stall, fill up or rot below a real daemon."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from faults.cluster import Cluster

pytestmark = pytest.mark.usefixtures("disks_possible")


def cut_power(cluster: Cluster, numbers: list[int], seed: int | None = None) -> None:
    """The hosts go dark at once; what they had not flushed is gone."""
    for number in numbers:
        cluster.daemons[number].kill()
    for number in numbers:
        cluster.kill(number)
        cluster.disks[number].cut_power(seed)


def test_cluster_keeps_its_state_through_a_power_cut_right_after_founding(cluster: Cluster) -> None:
    cluster.found(disk=True)
    founding = cluster.map(1)["cluster"]["cluster"]
    nodes = {number: cluster.own(number)["node"] for number in cluster.numbers}
    assert cluster.write(cluster.leader_host(), "kept", "yes") == 200
    cut_power(cluster, cluster.numbers)
    for number in cluster.numbers:
        cluster.start(number)
    cluster.wait_whole()
    assert cluster.map(1)["cluster"]["cluster"] == founding
    assert {number: cluster.own(number)["node"] for number in cluster.numbers} == nodes
    assert cluster.read(cluster.leader_host(), "kept", "leader") == "yes"
