"""Daemons and commands of the program on the hosts of a segment."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import requests
from edge.daemon_world import NODE, Site, wait_for
from edge.segment_world import Segment

Found = dict[str, object]
JOIN_SECONDS = 60.0


class SegmentCluster(Site):
    """Each host has a configuration and may run a daemon."""

    def __init__(self, root: Path, segment: Segment, group: str, version: int = 4, hosts: int = 3) -> None:
        self.segment = segment
        self.version = version
        super().__init__(root, group, "", hosts=hosts)
        for number in range(1, hosts + 1):
            self.configure(number)

    def ip(self, number: int) -> str:
        return self.segment.ip(number, self.version)

    def configure(self, number: int, **changes: object) -> Path:
        return super().configure(
            number, udp__socket__interface="eth0", udp__socket__loopback=False, **changes
        )

    def command(self, number: int, *words: str) -> subprocess.Popen[str]:
        """Start a command of the program on a host."""
        return subprocess.Popen(
            [*self.segment.words(number), sys.executable, "-m", "qluster", *words,
             "--config", str(self.place(number) / "config.yaml")],
            env={**os.environ, "PYTHONPATH": str(NODE)}, stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run_daemons(self) -> None:
        """Start one on each host and wait until all belong to one cluster."""
        self.children += [self.command(number) for number in range(1, self.hosts + 1)]
        wait_for(f"{self.hosts} nodes in the cluster", lambda: self._joined(self.status(self.hosts)), JOIN_SECONDS)

    def status(self, number: int) -> Found:
        """What the daemon of a host says of itself; empty when it says nothing."""
        try:
            with self.segment.entered(number):
                answer = requests.get(
                    f"https://{self.place_text(number)}/status", timeout=5, verify=str(self.root / "ca.crt"),
                    headers={"Authorization": "Bearer read-token-of-the-test"},
                )  # fmt: skip
        except requests.RequestException:
            return {}
        found: Found = answer.json() if answer.status_code == 200 else {}
        return found

    def place_text(self, number: int) -> str:
        """Address and port of a host's REST interface, as in a url."""
        return f"[{self.ip(number)}]:8080" if self.version == 6 else f"{self.ip(number)}:8080"

    def counters(self, number: int) -> dict[str, int]:
        own = self.status(number)["own"]
        assert isinstance(own, dict)
        counters: dict[str, int] = own["counters"]
        return counters

    def tried(self, *numbers: int, seconds: int = 3) -> dict[int, Found]:
        """What check-network found on these hosts, run at the same time; ``code`` is its exit code."""
        running = {number: self.command(number, "check-network", "--json", "--seconds", str(seconds))
                   for number in numbers}  # fmt: skip
        found = {}
        for number, child in running.items():
            said, _ = child.communicate(timeout=JOIN_SECONDS)
            assert said.startswith("{"), said
            found[number] = {**json.loads(said), "code": child.returncode}
        return found

    def _joined(self, status: Found) -> bool:
        nodes = status.get("nodes")
        return isinstance(nodes, list) and len(nodes) == self.hosts and all(node["role"] == "node" for node in nodes)
