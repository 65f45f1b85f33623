"""Three nodes that run tasks, each with its task runner; no database.

Must not know what is measured.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from typing import Any

from bench.processes import Server, wait_for
from bench.site import OPERATE_TOKEN, Site
from bench.systems.qluster import PORT, Qluster, environment

COMMANDS = ["/bin/", "/usr/bin/"]


class TaskCluster(Qluster):
    """A cluster of the product whose hosts run what they are told."""

    def __init__(self, site: Site, slots: int) -> None:
        super().__init__(site)
        self._slots = slots
        self.runners: dict[int, Server] = {}

    def start(self) -> None:
        """All nodes vote, and each says that it runs tasks."""
        super().start()
        for number in self.site.numbers:
            file = self.site.place(number) / "config.yaml"
            words = [sys.executable, "-m", "qluster", "runner", "--config", str(file)]
            self.runners[number] = Server(words, self.site.place(number) / "runner.log", environment())
        wait_for("all nodes run tasks", self._ready, [*self.servers.values(), *self.runners.values()])

    def _config(self, number: int) -> dict[str, object]:
        tasks = {"slots": self._slots, "commands": COMMANDS, "shell": True}
        return {**super()._config(number), "tasks": tasks}

    def _ready(self) -> bool:
        found = self.ask("GET", "/tasks/summary", node=self.leader() or 1)
        nodes = found.get("nodes", [])
        return len(nodes) == self.site.nodes and all(node["ready"] for node in nodes)

    def ask(self, method: str, path: str, body: object = None, node: int = 0, seconds: float = 15.0) -> dict[str, Any]:
        """An answer of the leader, or of ``node``; {} where nobody answers well."""
        try:
            found: dict[str, Any] = json.loads(self.read(method, path, body, node, seconds) or b"{}")
            return found
        except urllib.error.HTTPError as error:
            return {"error": error.code, "said": error.read().decode(errors="replace")}
        except OSError:
            return {}

    def read(self, method: str, path: str, body: object = None, node: int = 0, seconds: float = 15.0) -> bytes:
        """The same as it comes; raises OSError."""
        url = f"https://{self.site.ip(node or self.leader())}:{PORT}{path}"
        headers = {"Authorization": f"Bearer {OPERATE_TOKEN}", "Content-Type": "application/json"}
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(url, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=seconds, context=self._context) as answer:
            said: bytes = answer.read()
            return said

    def summary(self) -> dict[str, Any]:
        """How many tasks are in which state."""
        return self.ask("GET", "/tasks/summary")

    def settle(self, ended: int, seconds: float) -> None:
        """Wait until so many tasks have ended since the founding."""
        end = time.monotonic() + seconds
        while sum(self.summary().get("ended", {}).values()) < ended:
            if time.monotonic() > end:
                raise TimeoutError(f"after {seconds:g} s {self.summary()} instead of {ended} ended tasks")
            time.sleep(0.2)

    def lose(self, number: int) -> None:
        """As a host that loses its power: its daemon and its runner, whose tasks die with it."""
        self.servers[number].kill()
        self.runners[number].kill()

    def resident(self) -> list[int]:
        """Memory of each node's daemon, in bytes."""
        return [server.resident_bytes() for server in self.servers.values() if server.alive]

    def stop(self) -> None:
        """End all of it."""
        for runner in self.runners.values():
            runner.end()
        super().stop()
