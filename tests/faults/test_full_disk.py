"""A file system that is really full, below a leader and below a follower."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge.daemon_world import wait_for
from faults.clients import stored
from faults.cluster import UNREACHED, Cluster, eventually_writes

SPACE = 40 << 20
"""Room for a segment of the log, the next one, and the reserve."""
VALUE = "x" * 60_000
WRITES = 330
"""More than a segment of the log holds."""


@pytest.fixture(scope="module")
def small(hosts_possible: None) -> Iterator[Cluster]:
    made = Cluster("full")
    try:
        made.found(space=SPACE)
        yield made
    finally:
        made.end()


def fill(place: Path) -> Path:
    """Take all space that is left."""
    filler = place / "filler"
    with open(filler, "wb") as file:
        left = os.statvfs(place)
        os.posix_fallocate(file.fileno(), 0, left.f_bavail * left.f_frsize)
    return filler


def write_much(cluster: Cluster, leader: int, keys: list[str]) -> None:
    """To the leader while it takes it, to any other after that."""
    connection = cluster.connect(leader, 5.0)
    status = 200
    for number in range(WRITES):
        key = keys[number % len(keys)]
        if status == 200:
            with contextlib.suppress(*UNREACHED):
                status, _, _ = connection.ask("PUT", f"/kv/{key}", VALUE.encode(), token="operate",
                                              Content_Type="application/octet-stream")  # fmt: skip
                if status == 200:
                    continue
            status = 0
        eventually_writes(cluster, cluster.numbers, key, VALUE)
    connection.close()


@pytest.mark.parametrize("leads", [True, False], ids=["leader", "follower"])
def test_full_file_system_stops_its_node_only_and_space_brings_it_back(small: Cluster, leads: bool) -> None:
    small.recover()
    leader = small.leader_host()
    struck = leader if leads else next(one for one in small.numbers if one != leader)
    small.listen(struck)
    filler = fill(small.place(struck) / "small")
    keys = [f"full{leads}.{number}" for number in range(4)]
    write_much(small, leader, keys)
    wait_for("the word for a full disk", lambda: small.said(struck, "space-short") or small.said(struck, "disk-full"))
    assert small.runs(struck), "a full disk is no reason to end"
    eventually_writes(small, small.numbers, keys[0], "last")
    filler.unlink()
    small.wait_whole()
    assert small.own(struck)["message"] == "" or "space" not in small.own(struck)["message"]
    for number in small.numbers:
        assert stored(small, number, keys) == {key: "last" if key == keys[0] else VALUE for key in keys}
