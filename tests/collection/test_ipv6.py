"""The playbooks on a cluster that speaks IPv6 only, by multicast and by a list of peers."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from collection.playing import BIN, Played, Stage, copy_checkout

SPACE = f"qluster-six-{os.getpid()}"
VARIABLES = {"node_udp_socket_interface": "net0", "database_client_networks": ["fd76::/64"]}
NODES = {f"node{number}": f"fd76::{number}" for number in (1, 2, 3)}
PEERS = [f"[fd76::{number}]:7477" for number in (1, 2, 3, 4)]
POOL = {"pool1": "fd76::4"}
ASK = """
import asyncio, sys, asyncpg
async def ask():
    connection = await asyncpg.connect(sys.argv[1], password=open(sys.argv[2]).read().strip(), statement_cache_size=0)
    print(await connection.fetchval("select host(inet_server_addr())"))
    await connection.close()
asyncio.run(asyncio.wait_for(ask(), 30))
"""

pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not os.environ.get("QLUSTER_FULL_TESTS"), reason="takes minutes; QLUSTER_FULL_TESTS=1 runs it"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a network namespace with addresses of its own"),
    pytest.mark.skipif(not os.path.exists("/proc/net/if_inet6"), reason="this machine has no IPv6"),
]  # fmt: skip


class Stage6(Stage):
    """All hosts on one interface of a network of its own, without any address of IPv4 on it."""

    nodes = NODES
    pool = POOL
    where = ("ip", "netns", "exec", SPACE)

    def played(self, playbook: str, *words: str) -> Played:
        return self.play(playbook, "-e", json.dumps(VARIABLES), *words, checkout=self.folder / "checkout")

    def run(self, playbook: str, *words: str) -> str:
        played = self.played(playbook, *words)
        assert played.code == 0, played.output[-6000:]
        return played.output

    def ask(self, url: str) -> str:
        """Which server answers through a connection string."""
        password = self.prefix / "secrets/application.password"
        command = [*self.where, BIN / "python", "-c", ASK, url, password]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


@pytest.fixture
def network() -> Iterator[None]:
    subprocess.run(["ip", "netns", "add", SPACE], check=True)
    try:
        lines = ["link set lo up", "link add net0 type veth peer name net1", "link set net0 up", "link set net1 up",
                 *(f"addr add fd76::{number}/64 dev net0 nodad" for number in (1, 2, 3, 4, 5))]
        subprocess.run(["ip", "-n", SPACE, "-batch", "-"], input="\n".join(lines), text=True, check=True)
        yield
    finally:
        subprocess.run(["ip", "netns", "delete", SPACE], check=True)


@pytest.fixture
def stage(request: pytest.FixtureRequest, network: None) -> Iterator[Stage6]:
    folder = Path(tempfile.mkdtemp(prefix="qluster-six-"))
    Stage6.group = request.param
    try:
        copy_checkout(folder / "checkout")
        made = Stage6(folder)
        yield made
        made.played("playbooks/destroy.yml", "-e", "qluster_destroy_confirm=local")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("stage", ["[ff15::76:77]:7477", PEERS], indirect=True, ids=["multicast", "peers"])
def test_cluster_of_ipv6_is_deployed_asked_changed_and_begun_anew(stage: Stage6) -> None:
    said = stage.run("deploy.yml")
    assert "REST      https://[fd76::1]:8080 https://[fd76::2]:8080" in said
    pool = "postgresql://application@[fd76::4]:6432/application"
    assert f"Pool      {pool}" in said
    assert stage.ask(pool) in NODES.values()

    again = stage.played("deploy.yml")
    assert again.code == 0 and set(again.changed.values()) == {0}, again.output[-6000:]

    state = stage.run("playbooks/status.yml")
    assert "-> [fd76::" in state and all(f" {ip} " in state for ip in NODES.values())

    words = ["-e", "qluster_reinit_confirm=local", "-e", "qluster_reinit_leader=node2"]
    assert "primary [fd76::2]:5432" in stage.run("reinit.yml", *words)
    configuration = (stage.prefix / "node1/etc/qluster/config.yaml").read_text()
    assert 'founder: "fd76::2"' in configuration
    # Whom the hosts know as founder, the next deployment keeps.
    kept = stage.played("deploy.yml")
    assert kept.code == 0 and set(kept.changed.values()) == {0}, kept.output[-6000:]
    assert stage.ask(pool) == "fd76::2"


@pytest.mark.parametrize("stage", [PEERS], indirect=True, ids=["peers"])
def test_host_is_listed_by_those_that_are_there_and_then_comes(stage: Stage6) -> None:
    stage.run("deploy.yml")
    stage.group = [*PEERS, "[fd76::5]:7477"]
    stage.write()
    longer = stage.played("deploy.yml")
    assert longer.code == 0 and longer.changed["node1"] > 0, longer.output[-6000:]
    stage.nodes = {**NODES, "node4": "fd76::5"}
    stage.write()
    assert "The cluster local is whole: 4 nodes" in stage.run("deploy.yml")
    assert " fd76::5 " in stage.run("playbooks/status.yml")
