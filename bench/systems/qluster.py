"""The product: daemons with sealed multicast, TLS to clients, every write flushed; no database.

Must not know what is measured.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench import inside, wire
from bench.load import Order, Outcome
from bench.processes import Server, wait_for
from bench.programs import ROOT
from bench.rest import Line
from bench.site import OPERATE_TOKEN, READ_TOKEN, Site

PORT = 8080
UDP_PORT = 7946
PATH = "/kv/bench"
NODE = ROOT / "node"
FOUNDER = 1
"""It leads from the start, and nothing takes that from it: the one that is loaded from within."""


class Qluster:
    """A cluster of the product."""

    name = "qluster"

    def __init__(self, site: Site, source: Path = NODE, inside: bool = False) -> None:
        self.site = site
        self._source = source
        self._inside = inside
        self.servers: dict[int, Server] = {}
        self._lines: dict[int, Line] = {}

    def start(self) -> None:
        """Start the founder, then the others; wait until all are voters."""
        self.site.make()
        context = ssl.create_default_context(cafile=str(self.site.folder / "ca.crt"))
        self._lines = {number: Line(self.site.ip(number), PORT, context) for number in self.site.numbers}
        for number in self.site.numbers:
            (self.site.place(number) / "config.yaml").write_text(json.dumps(self._config(number)))
        for number in self.site.numbers:
            self.servers[number] = self.launch(number)
        wait_for("all nodes vote", self._complete, list(self.servers.values()))

    def launch(self, number: int) -> Server:
        """Start one node."""
        place = self.site.place(number)
        within = self._inside and number == FOUNDER
        module = "bench.systems.proposer" if within else "qluster"
        words = [*self.site.prefix(number), sys.executable, "-m", module, "--config", str(place / "config.yaml")]
        pipe = subprocess.PIPE if within else None
        return Server(words, place / "log", environment(self._source), pipe or subprocess.DEVNULL, pipe)

    def _config(self, number: int) -> dict[str, object]:
        site, timers = self.site, self.site.timers
        stage = f"{round(timers.timeout * 300)}ms"
        return {
            "ip": site.ip(number), "api-port": PORT, "state-dir": str(site.place(number) / "state"),
            "udp": {"socket": {
                "group": self._group(), "interface": site.interface, "loopback": site.interface == "lo",
            }},
            "cluster": {
                "name": "bench", "founder": site.ip(1), "key-file": str(site.folder / "cluster.key"),
                "node-timeout": f"{round(timers.timeout * 1000)}ms",
                "heartbeat-interval": f"{round(timers.heartbeat * 1000)}ms",
                "pre-voting-timeout": stage, "leader-voting-timeout": stage,
                "replication-retry-interval": f"{min(1000, round(timers.timeout * 200))}ms",
            },
            "hello-retry-interval": "300ms",
            "api": {
                "certificate-file": str(site.folder / "server.crt"), "key-file": str(site.folder / "server.key"),
                "ca-file": str(site.folder / "ca.crt"), "read-token-file": str(site.folder / "read.token"),
                "operate-token-file": str(site.folder / "operate.token"),
            },
        }  # fmt: skip

    def _group(self) -> str:
        """A multicast group of this cluster's own, as its addresses are."""
        return f"239.{'.'.join(self.site.net.split('.')[1:])}.1:{UDP_PORT}"

    def map(self, number: int) -> dict[str, Any]:
        """What a node says of its cluster; {} when it does not answer."""
        try:
            status, said = self._lines[number].ask("GET", "/map", READ_TOKEN)
        except OSError:
            return {}
        found: dict[str, Any] = json.loads(said) if status == 200 else {}
        return found

    def _complete(self) -> bool:
        return all(self._knows_all(self.map(number)) for number in self.site.numbers)

    def _knows_all(self, found: dict[str, Any]) -> bool:
        voters = [node for node in found.get("nodes", []) if node.get("role") == "node"]
        return len(voters) == self.site.nodes and bool(found["cluster"]["leader"])

    def leader(self) -> int:
        """The node that leads, as those that live say."""
        said = [self.map(number) for number, server in self.servers.items() if server.alive]
        known = [found["cluster"]["leader"] for found in said if found]
        return next((number for number in known if number and self.servers[number].alive), 0)

    def commits(self) -> int:
        """Index of the newest committed entry, as the leader says."""
        return int(self.map(self.leader())["cluster"]["commit_index"])

    def run(self, task: inside.Task) -> Outcome:
        """Load it from within the leader."""
        assert self._inside and self.leader() == FOUNDER, "the founder leads"
        return inside.run(self.servers[FOUNDER], task)

    def http(self, size: int) -> Order:
        """A write through REST."""
        url = f"https://{self.site.ip(self.leader())}:{PORT}{PATH}"
        return Order(url, wire.value(size), {**_headers(), ":method": "PUT"})

    def writes(self) -> list[wire.Endpoint]:
        """Where a client that looks for the new leader sends its writes: those that do not lead refuse at once."""
        return [
            wire.Endpoint(number, self.site.ip(number), PORT, "PUT", PATH, tuple(_headers().items()), wire.value(256))
            for number in self.site.numbers
        ]

    def stop(self) -> None:
        """End all nodes and remove their state."""
        for line in self._lines.values():
            line.close()
        for server in self.servers.values():
            server.end()
        self.site.remove()


def _headers() -> dict[str, str]:
    return {"Authorization": f"Bearer {OPERATE_TOKEN}", "Content-Type": "application/octet-stream"}


def environment(source: Path = NODE) -> dict[str, str]:
    """What a program of the checkout needs to find the daemon's package and this one."""
    return {**os.environ, "PYTHONPATH": f"{source}:{ROOT}"}
