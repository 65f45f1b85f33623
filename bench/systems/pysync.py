"""PySyncObj with its journal and its own default timers, loaded from within the leader's process.

Must not know what is measured. It is not durable: nothing flushes its journal.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess
import sys

from bench import inside
from bench.load import Outcome
from bench.processes import Server, wait_for
from bench.site import Site
from bench.systems.qluster import environment

PORT = 4321
"""And the node's number: nodes of one port on several addresses find no leader."""


class PySync:
    """A cluster of PySyncObj."""

    name = "pysyncobj"

    def __init__(self, site: Site) -> None:
        self.site = site
        self.servers: dict[int, Server] = {}

    def start(self) -> None:
        """Start all nodes and wait until each knows the leader."""
        self.site.make()
        addresses = {number: f"{self.site.ip(number)}:{PORT + number}" for number in self.site.numbers}
        for number in self.site.numbers:
            others = [address for other, address in addresses.items() if other != number]
            place = self.site.place(number)
            module = "bench.systems.pysync_node"
            words = [sys.executable, "-m", module, str(place / "journal"), addresses[number], *others]
            self.servers[number] = Server(words, place / "log", environment(), subprocess.PIPE, subprocess.PIPE)
        wait_for("pysyncobj has a leader", self._ready, list(self.servers.values()))

    def _ready(self) -> bool:
        return all(inside.ask(server, {})["ready"] for server in self.servers.values()) and bool(self.leader())

    def leader(self) -> int:
        """The node that leads."""
        alive = [number for number, server in self.servers.items() if server.alive]
        return next((number for number in alive if inside.ask(self.servers[number], {})["leads"]), 0)

    def commits(self) -> int:
        """Entries applied on the leader."""
        return int(inside.ask(self.servers[self.leader()], {})["applied"])

    def run(self, task: inside.Task) -> Outcome:
        """Load it from within the leader."""
        return inside.run(self.servers[self.leader()], task)

    def stop(self) -> None:
        """End all nodes and remove their journals."""
        for server in self.servers.values():
            server.end()
        self.site.remove()
