"""A quorum is forced by the playbook, on a real cluster of this machine that has lost two of three nodes."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from collection.playing import Played, Stage, copy_checkout

pytestmark = pytest.mark.skipif(
    not os.environ.get("QLUSTER_FULL_TESTS"), reason="takes minutes; QLUSTER_FULL_TESTS=1 runs it")
PLAYBOOK = "playbooks/force_quorum.yml"


class Lost(Stage):
    """Three nodes without a pool, two of which are lost."""

    pool: dict[str, str] = {}  # noqa: RUF012 - as in Stage

    def run(self, *words: str) -> Played:
        return self.play(*words, checkout=self.folder / "checkout")

    def switch_off(self, name: str) -> None:
        """The daemon of a host and its supervisor are gone."""
        daemon = self.daemon(name)
        parent = int(Path(f"/proc/{daemon}/stat").read_text().rpartition(")")[2].split()[1])
        assert b"supervisord" in Path(f"/proc/{parent}/cmdline").read_bytes()
        for pid in (parent, daemon):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def leaderless(self) -> bool:
        cluster = self.ask(self.nodes["node3"], "GET", "/status").json()["cluster"]
        return cluster["leader"] is None and not cluster["quorate"]


@pytest.fixture
def stage() -> Iterator[Lost]:
    folder = Path(tempfile.mkdtemp(prefix="qluster-force-"))
    try:
        copy_checkout(folder / "checkout")
        made = Lost(folder)
        yield made
        made.run("playbooks/destroy.yml", "-e", "qluster_destroy_confirm=local")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_last_host_goes_on_and_a_deploy_brings_the_others_back(stage: Lost) -> None:
    deployed = stage.run("deploy.yml")
    assert deployed.code == 0, deployed.output[-6000:]
    confirmed = ("-e", "qluster_force_confirm=local")
    hosts = ("-e", json.dumps({"qluster_force_host": "node3", "qluster_force_off": ["node1", "node2"]}))
    idle = stage.run(PLAYBOOK, *confirmed, *hosts)
    assert idle.code == 0 and "no quorum is missing" in idle.text() and set(idle.changed.values()) == {0}
    for name in ("node1", "node2"):
        stage.switch_off(name)
    stage.wait(stage.leaderless)

    refused = stage.run(PLAYBOOK, *hosts)
    assert refused.code != 0 and "qluster_force_confirm=local" in refused.text()
    refused = stage.run(PLAYBOOK, *confirmed, "-e", '{"qluster_force_host": "node3", "qluster_force_off": ["db9"]}')
    assert refused.code != 0 and "by their names in qluster_nodes" in refused.text()
    refused = stage.run(PLAYBOOK, *confirmed, "-e", '{"qluster_force_host": "node3", "qluster_force_off": ["node1"]}')
    assert refused.code != 0 and f"say so with --confirm-off {stage.nodes['node2']}" in refused.text()
    checked = stage.run(PLAYBOOK, *confirmed, *hosts, "--check")
    assert checked.code == 0 and "node3 goes on from its log" in checked.text(), checked.output[-3000:]
    assert stage.leaderless()

    forced = stage.run(PLAYBOOK, *confirmed, *hosts)
    assert forced.code == 0 and "node3 leads" in forced.text(), forced.output[-3000:]
    cluster = stage.ask(stage.nodes["node3"], "GET", "/status").json()["cluster"]
    assert len(cluster["forced"]) == 1 and cluster["leader"] is not None
    token = (stage.prefix / "secrets/operate.token").read_text().strip()
    assert token not in forced.output
    again = stage.run("deploy.yml")
    assert again.code == 0, again.output[-6000:]
