"""Three nodes that run tasks, each with its task runner; no database.

Must not know what is measured.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import sys
from typing import Any

from bench.processes import Server, wait_for
from bench.site import OPERATE_TOKEN, Site
from bench.systems.qluster import Qluster, environment

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
            status, said = self._lines[node or self.leader()].ask(method, path, OPERATE_TOKEN, body, seconds)
        except (OSError, KeyError):  # nobody leads just now
            return {}
        found: dict[str, Any] = json.loads(said or b"{}")
        return found if status < 300 else {"error": status, "said": found}

    def output(self, task: int, seconds: float = 10.0) -> bytes:
        """What a task said, when it has said something; raises OSError."""
        status, said = self._lines[self.leader()].ask(
            "GET", f"/tasks/{task}/output?wait={seconds:g}", OPERATE_TOKEN, seconds=2 * seconds)  # fmt: skip
        if status != 200:
            raise OSError(f"output of task {task}: {status} {said!r}")
        return said

    def summary(self) -> dict[str, Any]:
        """How many tasks are in which state."""
        return self.ask("GET", "/tasks/summary")

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
