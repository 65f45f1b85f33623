"""A cluster whose nodes speak IPv6 only: found, joined, led, read and written."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge.daemon_world import NODE, Site, wait_for
from edge.segment_world import Segment


class Cluster(Site):
    segment: Segment

    def ip(self, number: int) -> str:
        return f"fd66::{number}"

    def command(self, number: int, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.segment.words(number), sys.executable, "-m", "qluster", *words,
             "--config", str(self.place(number) / "config.yaml")],
            env={**os.environ, "PYTHONPATH": str(NODE)}, stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def status(self, number: int) -> dict[str, object]:
        said, _ = self.command(number, "status", "--json").communicate(timeout=60)
        return json.loads(said) if said.startswith("{") else {}  # type: ignore[no-any-return]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    segment = Segment(3)
    try:
        made = Cluster(tmp_path, "[ff15::77:51]:7451", "fd66:", hosts=3)
        made.segment = segment
        for number in (1, 2, 3):
            segment.on(number, "ip", "address", "flush", "dev", "eth0", "scope", "global")
            segment.on(number, "ip", "address", "add", f"fd66::{number}/64", "dev", "eth0", "nodad")
            made.configure(number, udp__socket__interface="eth0", udp__socket__loopback=False)
            made.children.append(made.command(number))
        yield made
        made.end()
    finally:
        segment.close()


def joined(status: dict[str, object]) -> bool:
    nodes = status.get("nodes")
    return isinstance(nodes, list) and len(nodes) == 3 and all(node["role"] == "node" for node in nodes)


def test_cluster_of_three_is_founded_and_joined_over_ipv6(cluster: Cluster) -> None:
    wait_for("three nodes in the cluster", lambda: joined(cluster.status(3)), 60.0)
    nodes = cluster.status(2)["nodes"]
    assert isinstance(nodes, list)
    assert {node["ip"] for node in nodes} == {"fd66::1", "fd66::2", "fd66::3"}
    said, _ = cluster.command(2, "check-network", "--seconds", "2").communicate(timeout=60)
    assert "All is well." in said, said
    assert "1500 bytes" in said, said
