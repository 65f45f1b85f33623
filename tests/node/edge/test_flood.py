"""A host without the key floods the group: the leader stays, memory stays, the counters tell."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge.segment_cluster import Found, SegmentCluster
from edge.segment_world import Segment
from qluster.transport.envelope import HEADER_SIZE, Header, cluster_tag
from qluster.transport.envelope import MAGIC as OURS

GROUP: tuple[str, int] = ("239.19.77.61", 7461)
FLOOD_SECONDS = 3.0
SIZE = 372
ROW = 40
MEMORY_MAX = 4096
"""KiB that a daemon may grow in a flood: less than a second of it."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[SegmentCluster]:
    segment = Segment(4)
    try:
        made = SegmentCluster(tmp_path, segment, "239.19.77.61:7461")
        yield made
        made.end()
    finally:
        segment.close()


def noise() -> bytes:
    return os.urandom(SIZE)


def forged() -> bytes:
    """A header that only the seal betrays, of a new sender each time."""
    uid = int.from_bytes(os.urandom(8), "big")
    header = Header(0, 1, cluster_tag("trial"), uid, 1, 1, 1, 0, 1).encoded()
    assert header.startswith(OURS)
    return header + os.urandom(SIZE - HEADER_SIZE)


def flood(segment: Segment, rows: list[bytes], seconds: float) -> int:
    """Send as fast as the kernel takes them, from a host that is no node; the datagrams sent."""
    with segment.entered(4):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.bind((segment.ip(4), 0))
    sent, end = 0, time.monotonic() + seconds
    with one:
        while time.monotonic() < end:
            one.sendmsg([rows[sent // ROW % len(rows)]], [(socket.IPPROTO_UDP, 103, struct.pack("H", SIZE))], 0, GROUP)
            sent += ROW
    return sent


def memory(pid: int) -> int:
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1])


def led(status: Found) -> tuple[object, object]:
    cluster = status["cluster"]
    assert isinstance(cluster, dict)
    return cluster["leader"], cluster["term"]


@pytest.mark.parametrize(
    ("kind", "counter"), [(noise, "dropped_foreign"), (forged, "dropped_forged")], ids=["noise", "forged"]
)
def test_flood_from_a_host_without_the_key_changes_nothing(cluster: SegmentCluster, kind: object, counter: str) -> None:
    cluster.run_daemons()
    before, pids = led(cluster.status(2)), [child.pid for child in cluster.children]
    memory_before = [memory(pid) for pid in pids]
    assert callable(kind)
    sent = flood(cluster.segment, [b"".join(kind() for _ in range(ROW)) for _ in range(64)], FLOOD_SECONDS)
    assert sent > 30_000
    for number, pid in enumerate(pids, start=1):
        assert led(cluster.status(number)) == before, "the leader kept its lease"
        counters = cluster.counters(number)
        assert counters[counter] > 1000
        assert counters[counter] + counters["socket_drops"] > sent / ROW / 2
        assert memory(pid) - memory_before[number - 1] < MEMORY_MAX
