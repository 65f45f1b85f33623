"""Daemons on hosts of their own with an arbiter that requires TLS, corosync's and ours: a division, a node's death, the
arbiter's death and return; and the real tool shows what the nodes show.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from edge.arbiter_world import authority_in
from edge.daemon_world import wait_for
from edge.qnetd_world import Authority, environment, run_program, write_config
from edge.released_arbiter import PROGRAM
from edge.segment_cluster import SegmentCluster
from edge.segment_world import Segment, need_segment
from edge.test_device_released import Program, database_of

NODES, ARBITER, PORT = (1, 2), 3, 5403
NAME = "trial"
TOOL = Path(PROGRAM).with_name("corosync-qnetd-tool") if PROGRAM else None
HEARD = 60.0
"""Seconds for what takes a few heartbeats of one."""


class Arbiter(Protocol):
    """One that runs on the third host."""

    def shows(self) -> str: ...

    def kill(self) -> None: ...


class Ours:
    """qluster-qnetd."""

    def __init__(self, folder: Path, authority: Authority, segment: Segment) -> None:
        certificate, key = authority.issue("Qnetd Server")
        files = {"certificate-file": str(certificate), "key-file": str(key), "ca-file": str(authority.file)}
        file = write_config(folder, PORT, {"tls": {"mode": "required", **files}})
        self.socket = folder / "q.sock"
        with (folder / "log").open("ab") as log:
            self.child = subprocess.Popen(
                [*segment.words(ARBITER), "env", f"PYTHONPATH={environment()['PYTHONPATH']}", sys.executable,
                 "-m", "qluster.qnetd", "--config", str(file), "--allow-root"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def shows(self) -> str:
        said = run_program("tool", "-p", str(self.socket), "-lv").stdout
        if TOOL is not None:
            theirs = subprocess.run([TOOL, "-p", self.socket, "-lv"], check=False, capture_output=True, text=True)
            assert facts(theirs.stdout) == facts(said)
        return said

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()


def facts(listing: str) -> dict[int, dict[str, str]]:
    """What a tool prints with -lv, by node; without the port of the connection."""
    found: dict[int, dict[str, str]] = {}
    for line in map(str.strip, listing.splitlines()):
        key, _, value = line.partition(":")
        if key.startswith("Node ID "):
            found[int(key.removeprefix("Node ID "))] = {}
        elif found and value:
            found[max(found)][key] = value.strip().rpartition(":")[0] if key == "Client address" else value.strip()
    return found


class World:
    """Two nodes and the arbiter's host."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.segment = Segment(3)
        self.folder, self.kind = folder, kind
        self.authority = authority_in(folder / "ca")
        self.database = database_of(folder, self.authority) if kind == "corosync-qnetd" else None
        self.cluster = SegmentCluster(folder, self.segment, "239.19.76.31:7431", hosts=2)
        certificate, key = self.authority.issue(NAME)
        for node in NODES:
            self.cluster.configure(
                node, device__host=self.segment.ip(ARBITER), device__port=PORT, device__tls="required",
                device__ca_file=str(self.authority.file), device__certificate_file=str(certificate),
                device__key_file=str(key), device__timeout="1250ms", device__sync_timeout="3s",
                quorum__provider="votequorum",
            )  # fmt: skip
        self.arbiter = self.start_arbiter()
        self.nodes: dict[int, subprocess.Popen[str]] = {}

    def start_arbiter(self) -> Arbiter:
        if self.kind == "qluster-qnetd":
            return Ours(self.folder, self.authority, self.segment)
        return Program(self.folder, PORT, "req", self.database, self.segment.ip(ARBITER), self.segment.words(ARBITER))

    def start(self, node: int) -> None:
        self.nodes[node] = self.cluster.command(node)
        self.cluster.children.append(self.nodes[node])

    def device(self, node: int) -> dict[str, Any]:
        own: Any = self.cluster.status(node).get("own")
        return (own or {}).get("device") or {}

    def answers(self) -> dict[int, tuple[str | None, bool]]:
        """What each node was told of its present ring, and whether it knows that it was."""
        shown = {node: self.device(node) for node in NODES}
        return {node: (one.get("answer"), one.get("vote_ring") == one.get("ring")) for node, one in shown.items()}

    def rings(self) -> list[str]:
        return [self.device(node)["ring"] for node in NODES]

    def until(self, what: str, *answers: str | None) -> None:
        """Each node has this answer for the ring that it is in; one ring where both have the same."""
        wait_for(what, lambda: [self.device(node).get("answer") for node in NODES] == list(answers), HEARD)

    def together(self, what: str) -> None:
        expected = {node: ("ack", True) for node in NODES}
        wait_for(what, lambda: self.answers() == expected and len(set(self.rings())) == 1, HEARD)

    def the_tool_shows_it(self) -> None:
        """The same ring, members and vote of each node that the arbiter knows."""
        shown = facts(self.arbiter.shows())
        for node, one in shown.items():
            device = self.device(node)
            assert one["TLS active"] == "Yes (client certificate verified)"
            assert one["Configured node list"] == "1, 2"
            assert one["Ring ID"] == device["ring"]
            assert one["Vote"].endswith(f"({device['vote'].upper()})")
            assert one["Client address"].endswith(self.segment.ip(node))
            assert one["HB interval"] == "1000ms"

    def part(self) -> None:
        """The nodes do not hear each other; both hear the arbiter."""
        for node in NODES:
            self.segment.drop(node, f"ip saddr {self.segment.ip(3 - node)}")

    def heal(self) -> None:
        for node in NODES:
            self.segment.heal(node)

    def close(self) -> None:
        self.arbiter.kill()
        self.cluster.end()
        self.segment.close()


@pytest.fixture(params=["corosync-qnetd", "qluster-qnetd"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    need_segment()
    if request.param == "qluster-qnetd" and not os.environ.get("QLUSTER_FULL_TESTS"):
        pytest.skip("20 seconds: QLUSTER_FULL_TESTS=1")
    if request.param == "corosync-qnetd" and (PROGRAM is None or not shutil.which("pk12util")):
        pytest.skip("corosync-qnetd or pk12util is not here (packages corosync-qnetd, libnss3-tools)")
    made = World(tmp_path, request.param)
    yield made
    made.close()


def test_nodes_have_their_vote_through_what_an_arbiter_is_for(world: World) -> None:
    for node in NODES:
        world.start(node)
    world.together("both have the vote of one ring")
    world.the_tool_shows_it()
    assert {one["Membership node list"] for one in facts(world.arbiter.shows()).values()} == {"1, 2"}

    world.part()
    world.until("node 1 has it alone, which is the tie-breaker", "ack", "nack")
    world.the_tool_shows_it()
    assert len(set(world.rings())) == 2
    world.heal()
    world.together("both have it again")

    world.nodes[1].send_signal(signal.SIGKILL)
    world.nodes[1].wait()
    alone = facts(world.arbiter.shows())
    wait_for("node 2 has it alone", lambda: world.device(2).get("answer") == "ack"
             and facts(world.arbiter.shows()).get(2, alone)["Membership node list"] == "2", HEARD)  # fmt: skip
    world.the_tool_shows_it()
    world.start(1)
    world.together("node 1 is back")

    world.arbiter.kill()
    world.until("both know that the arbiter is gone", None, None)
    assert all("no connection to the arbiter" in world.device(node)["reason"] for node in NODES)
    world.arbiter = world.start_arbiter()
    world.together("the arbiter is back")
    world.the_tool_shows_it()
