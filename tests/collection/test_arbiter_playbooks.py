"""An arbiter on a real cluster of this machine: brought with it, added, left alone, taken away, refused."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from collection.playing import NETWORK, Played, Stage, copy_checkout

ARBITER = f"{NETWORK}.9"
FULL = pytest.mark.skipif(
    not os.environ.get("QLUSTER_FULL_TESTS"), reason="takes minutes; QLUSTER_FULL_TESTS=1 runs it")


class WithArbiter(Stage):
    """Two nodes, no pool, and the arbiter's host."""

    nodes = {"node1": f"{NETWORK}.1", "node2": f"{NETWORK}.2"}  # noqa: RUF012 - as in Stage
    pool: dict[str, str] = {}  # noqa: RUF012

    def give(self, *, arbiter: bool, **variables: Any) -> None:
        """The inventory, with the arbiter's host or without."""
        self.arbiters = {"arbiter1": ARBITER} if arbiter else {}
        self.write(variables)

    def run(self, playbook: str, *words: str) -> Played:
        played = self.play(playbook, *words, checkout=self.folder / "checkout")
        assert played.code == 0, played.output[-6000:]
        return played

    def said(self) -> dict[str, Any]:
        """What the arbiter says of itself."""
        folder = self.prefix / "arbiter1"
        tool, socket = folder / "usr/local/bin/qluster-qnetd-tool", self.socket_folder() / "qnetd.sock"
        done = subprocess.run([tool, "--json", "-p", socket], capture_output=True, text=True, timeout=20, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def socket_folder(self) -> Path:
        text = (self.prefix / "arbiter1/etc/qluster-qnetd/qnetd.yaml").read_text()
        line = next(line for line in text.splitlines() if line.startswith("socket-file:"))
        return Path(json.loads(line.partition(": ")[2])).parent

    def devices(self) -> list[dict[str, Any] | None]:
        return [self.ask(ip, "GET", "/status").json()["own"]["device"] for ip in self.nodes.values()]


@pytest.fixture(scope="module")
def stage() -> Iterator[WithArbiter]:
    folder = Path(tempfile.mkdtemp(prefix="qluster-arbiter-"))
    try:
        copy_checkout(folder / "checkout")
        made = WithArbiter(folder)
        yield made
        made.give(arbiter=True)
        made.play("playbooks/destroy.yml", "-e", "qluster_destroy_confirm=local", checkout=folder / "checkout")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@FULL
def test_arbiter_is_added_to_a_running_cluster(stage: WithArbiter) -> None:
    stage.run("deploy.yml")
    assert stage.devices() == [None, None]
    refused = stage.play("playbooks/add_arbiter.yml", checkout=stage.folder / "checkout")
    assert refused.code != 0 and "There is no arbiter to add" in refused.text()

    stage.give(arbiter=True)
    added = stage.run("playbooks/add_arbiter.yml")
    assert "does not count in elections" in added.text() or "Its vote counts" in added.text()
    cluster = stage.said()["clusters"][0]
    assert cluster["name"] == "local" and len(cluster["nodes"]) == 2 and cluster["algorithm"] == "ffsplit"
    assert all(node["tls"] and node["certificate_verified"] for node in cluster["nodes"])
    assert all(device is not None and device["connected"] for device in stage.devices())


@FULL
def test_second_run_changes_nothing_and_shows_it(stage: WithArbiter) -> None:
    assert set(stage.run("deploy.yml").changed.values()) == {0}
    assert set(stage.run("deploy.yml", "--check", "--diff").changed.values()) == {0}
    status = stage.run("playbooks/status.yml").text()
    assert "Arbiter arbiter1 at" in status and "local, ffsplit, tie-breaker lowest" in status


@FULL
def test_changed_setting_restarts_the_arbiter_alone_and_certificates_do_not(stage: WithArbiter) -> None:
    changed = stage.run("deploy.yml", "--diff", "-e", "qnetd_limits_clients=500")
    assert stage.said()["clients_max"] == 500 and changed.changed["node1"] == 0
    server = stage.prefix / "secrets/arbiter/server.crt"
    server.unlink()
    renewed = stage.run("deploy.yml", "--diff", "-e", "qnetd_limits_clients=500")
    assert renewed.changed["arbiter1"] > 0 and "PRIVATE KEY" not in renewed.output + changed.output
    installed = stage.prefix / "arbiter1/etc/qluster-qnetd/server.crt"
    assert installed.read_bytes() == server.read_bytes() and len(stage.said()["clusters"][0]["nodes"]) == 2


@FULL
def test_wrong_setting_is_refused_before_the_arbiter_is_touched(stage: WithArbiter) -> None:
    played = stage.play("deploy.yml", "-e", "qnetd_peers_heartbeat_minimum=10m", checkout=stage.folder / "checkout")
    assert played.code != 0 and "nothing was put in place" in played.text() and "heartbeat" in played.text()
    assert len(stage.said()["clusters"][0]["nodes"]) == 2


@FULL
def test_arbiter_is_taken_away_with_its_word_and_comes_back(stage: WithArbiter) -> None:
    refused = stage.play("playbooks/remove_arbiter.yml", checkout=stage.folder / "checkout")
    assert refused.code != 0 and "qluster_arbiter_confirm=local" in refused.text()
    stage.run("playbooks/remove_arbiter.yml", "-e", "qluster_arbiter_confirm=local")
    assert stage.devices() == [None, None] and not (stage.prefix / "arbiter1/etc/qluster-qnetd").exists()
    assert not (stage.prefix / "node1/etc/qluster/device.key").exists()
    stage.run("deploy.yml")
    assert all(device is not None and device["connected"] for device in stage.devices())
