"""Real corosync with corosync-qdevice under our arbiter, with TLS required: what happens to nodes and arbiter.

The certificates are those of corosync's own tools, and what it shows is held against what ours show.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge.corosync_world import ARBITER, NODES, Corosync, lacking
from edge.qnetd_world import Running
from qluster.votes import display
from qluster.votes.options import DeviceOptions, Options
from votes.model import Cluster as Votes
from votes.model import even

pytestmark = [
    pytest.mark.skipif(lacking() != "", reason=lacking()),
    # corosync's own tool writes PKCS#12 in BER.
    pytest.mark.filterwarnings("ignore:PKCS#12 bundle could not be parsed as DER"),
]

FULL = bool(os.environ.get("QLUSTER_FULL_TESTS"))
"""Deaths under lms too: 10 seconds more."""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Corosync:
    made = Corosync(Path(tmp_path_factory.mktemp("certificates")), "ffsplit")
    try:
        made.make_certificates()
    finally:
        made.close()
    return made


@pytest.fixture
def cluster(certificates: Corosync, tmp_path: Path, algorithm: str) -> Iterator[Corosync]:
    made = Corosync(tmp_path, algorithm)
    try:
        made.take_certificates(certificates)
        yield made
    finally:
        made.close()


NAME_AT = 33
"""Where names stand behind three columns."""


def printed(text: str) -> dict[str, str]:
    """What corosync-quorumtool prints or ours: fields, and lines of nodes by number. Without the date, names, and the
    number of the ring."""
    found = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon and key not in ("Date", "Quorum provider", "Ring ID"):
            found[key] = value.strip()
        elif line[:10].strip().isdigit():
            node, *cells = line[:NAME_AT].split()
            found[f"node {node}"] = " ".join([*cells, "".join(line[NAME_AT:].partition("(")[1:])])
    return found


class Beside:
    """Our votequorum, in the same situations as corosync's."""

    def __init__(self, algorithm: str) -> None:
        device = DeviceOptions(votes=1 if algorithm == "ffsplit" else None, timeout=2.0, sync_timeout=4.0)
        self.nodes = Votes(Options(nodes=even(2), device=device))
        self.nodes.register()

    def polled(self, **votes: bool) -> Beside:
        """Who is asked now says this; n1 and n2."""
        for node, cast in votes.items():
            self.nodes.poll(int(node[1:]), cast)
        return self

    def shows(self, cluster: Corosync, *nodes: int) -> None:
        """Of these nodes the real tool prints what ours does."""
        for node in nodes:
            ours = printed(display.status(self.nodes.view(node), {}, ""))
            assert len(ours) >= 10
            cluster.until(lambda node=node, ours=ours: printed(cluster.quorum(node)) == ours,
                          f"node {node} is shown as {ours}, not as {printed(cluster.quorum(node))}")  # fmt: skip


def shown_votes(arbiter: Running) -> dict[int, str]:
    [cluster] = arbiter.json()["clusters"]
    return {node["node"]: node["vote_yes_no"] for node in cluster["nodes"]}


@pytest.mark.parametrize("algorithm", ["ffsplit", "lms"])
def test_real_cluster_survives_what_an_arbiter_is_for(cluster: Corosync, algorithm: str) -> None:
    arbiter = cluster.start_arbiter()
    for node in NODES:
        cluster.start_node(node)
    cluster.until(cluster.together, "both have the vote of the device")
    assert "Total votes:      3" in cluster.quorum(1) and "Flags:            Quorate Qdevice" in cluster.quorum(1)
    beside = Beside(algorithm)
    beside.polled(n1=True, n2=True).shows(cluster, *NODES)
    [shown] = arbiter.json()["clusters"]
    assert (shown["name"], shown["algorithm"]) == ("qlab", algorithm)
    assert all(node["certificate_verified"] and node["members"] == [1, 2] for node in shown["nodes"])
    for words in (["-s"], ["-sv"], ["-l"], ["-lv"]):
        theirs = cluster.say(ARBITER, "corosync-qnetd-tool", "-p", str(arbiter.socket), *words)
        assert arbiter.tool(*words).stdout == theirs and "Error" not in theirs

    cluster.part()
    cluster.until(lambda: not cluster.quorate(2), "node 2 loses quorum when the cluster is divided")
    cluster.until(lambda: cluster.has_device_vote(1), "node 1 has the vote: it is the tie-breaker")
    assert shown_votes(arbiter) == {1: "ack", 2: "nack"}
    beside.nodes.split({2: 1})
    beside.polled(n1=True, n2=False).shows(cluster, *NODES)
    cluster.heal()
    beside.nodes.join(0, 1)
    cluster.until(cluster.together, "both have it again when they are together")

    if algorithm == "lms" and not FULL:
        return
    cluster.kill(1, "corosync", "corosync-qdevice")
    cluster.until(
        lambda: cluster.has_device_vote(2) and "Nodes:            1" in cluster.quorum(2), "node 2 lives on alone"
    )
    beside.polled(n1=True, n2=True).nodes.down(1)
    beside.polled(n2=True).shows(cluster, 2)
    cluster.start_node(1)
    beside.nodes.up(1)
    beside.nodes.register([1])
    cluster.until(cluster.together, "node 1 is back")
    beside.polled(n1=True, n2=True).shows(cluster, *NODES)

    cluster.kill_arbiter()
    cluster.until(lambda: not any(cluster.has_device_vote(node) for node in NODES), "the device's vote is gone")
    assert all(cluster.quorate(node) for node in NODES)
    if algorithm == "ffsplit":
        beside.polled(n1=False, n2=False).shows(cluster, *NODES)
    arbiter = cluster.start_arbiter()
    cluster.until(cluster.together, "the arbiter is back")
    assert shown_votes(arbiter) == {1: "ack", 2: "ack"}
