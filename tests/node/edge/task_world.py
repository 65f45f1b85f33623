"""Hosts that run tasks: on each a daemon and a task runner as processes on loopback, without databases."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests
from edge.daemon_world import NODE, Site, wait_for

OPERATE, DEPLOY = "operate-token-of-the-test", "deploy-token-of-the-test"
OVER = ("succeeded", "failed", "cancelled", "expired", "lost")


class TaskHosts:
    """So many of them; ``tasks`` is the section of their configurations."""

    def __init__(self, root: Path, group: str, net: str, numbers: Sequence[int], **tasks: object) -> None:
        self.site, self.numbers = Site(root, group, net), numbers
        self.daemons: dict[int, subprocess.Popen[str]] = {}
        self.runners: dict[int, subprocess.Popen[str]] = {}
        deploy = self.site.secret("deploy.token", "deploy-token-of-the-test")
        for number in numbers:
            self.site.configure(number, tasks=tasks, api__deploy_token_file=str(deploy))
            self.start(number)

    def start(self, number: int) -> None:
        """Both of a host."""
        self.start_runner(number)
        self.start_daemon(number)

    def start_daemon(self, number: int) -> None:
        """The daemon alone."""
        self.daemons[number] = self._start(number, "daemon.log")

    def start_runner(self, number: int) -> None:
        """The runner alone."""
        self.runners[number] = self._start(number, "runner.log", "runner")

    def _start(self, number: int, log: str, *words: str) -> subprocess.Popen[str]:
        with open(self.site.place(number) / log, "a", encoding="utf-8") as told:
            return subprocess.Popen(
                [sys.executable, "-m", "qluster", *words, "--config", str(self.config(number))],
                env={**os.environ, "PYTHONPATH": str(NODE)}, stdin=subprocess.DEVNULL, stdout=told, stderr=told,
                text=True,
            )  # fmt: skip

    def config(self, number: int) -> Path:
        """A host's configuration."""
        return self.site.place(number) / "config.yaml"

    def logged(self, number: int, log: str = "daemon.log") -> str:
        """What a daemon or a runner has said."""
        return (self.site.place(number) / log).read_text(encoding="utf-8")

    def kill(self, number: int) -> None:
        """The host's power is gone."""
        for process in (self.daemons[number], self.runners[number]):
            process.send_signal(signal.SIGKILL)
            process.wait()

    def end(self) -> None:
        """All of it."""
        for process in (*self.runners.values(), *self.daemons.values()):
            process.kill()
            process.wait()
        self.site.end()

    def leader(self, *of: int) -> int:
        """Who leads, as all of these say; 0 when they do not."""
        leaders = {self.site.leader(number) for number in of or self.numbers}
        return (leaders.pop() or 0) if len(leaders) == 1 else 0

    def task(self, number: int, through: int = 1) -> dict[str, Any]:
        """What the cluster says of a task; {} when it does not."""
        with suppress(requests.RequestException):
            answer = self.site.get(through, f"/tasks/{number}")
            if answer.status_code == 200:
                return dict(answer.json())
        return {}

    def until(self, number: int, *states: str, through: int = 1, limit: float = 60.0) -> dict[str, Any]:
        """A task once it is in one of these states, or (none) over."""
        wanted = states or OVER
        wait_for(f"task {number} is {' or '.join(wanted)}: {self.task(number, through)}",
                 lambda: self.task(number, through).get("state") in wanted, limit)  # fmt: skip
        return self.task(number, through)


class Lone(TaskHosts):
    """A cluster of one host."""

    def ask(self, method: str, path: str, body: Any = None, token: str = OPERATE, **more: Any) -> requests.Response:
        """A request; ``body`` as JSON, or as it is where it is bytes."""
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        return requests.request(method, self.site.url(1) + path, data=data, headers=headers, timeout=30,
                                verify=str(self.site.root / "ca.crt"), **more)  # fmt: skip

    def submit(self, **task: Any) -> int:
        """The number of a task that is taken on."""
        answer = self.ask("POST", "/tasks", task)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["tasks"][0])

    def work(self, task: dict[str, Any], name: str) -> Path:
        """A file in the directory in which a task runs."""
        return self.site.place(1) / f"state/tasks/runs/{task['task']}-{task['fence']}/work/{name}"

    def unharmed(self) -> None:
        """It runs tasks, and neither daemon nor runner has met what nobody thought of."""
        assert self.until(self.submit(command=["/bin/true"]))["state"] == "succeeded"
        for log in ("daemon.log", "runner.log"):
            said = self.logged(1, log)
            assert "Traceback" not in said and "CRITICAL" not in said, said[-5000:]

    def memory(self) -> int:
        """Bytes of the daemon."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.daemons[1].pid}/status").read_text())
        assert found is not None
        return int(found[1]) * 1024


@contextmanager
def lone(root: Path, group: str, net: str, **tasks: object) -> Iterator[Lone]:
    """One that leads and runs whatever it is asked for."""
    found = Lone(root, group, net, [1], **{"shell": True, "commands": ["/"], "slots": 50, **tasks})
    try:
        wait_for("there is a leader", found.leader, 60)
        wait_for("it runs tasks", lambda: [
            node["ready"] for node in found.ask("GET", "/tasks/summary").json()["nodes"]] == [True], 60)
        yield found
        found.unharmed()
    finally:
        found.end()
