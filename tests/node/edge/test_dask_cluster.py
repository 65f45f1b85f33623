"""A Dask cluster on three nodes: scripts run on all of them, and again after the leader's host has died."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from edge.daemon_world import NODE, Site, wait_for
from edge.dask_world import dask_python

NODES = (1, 2, 3)
PORT = 28786
LIMIT = 90.0
"""Seconds for a script: three Pythons import Dask, on a machine that may have much else to do."""
SCRIPT = """
import os, sys, time

def hosts():
    return {worker["host"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()}

while len(hosts()) < int(sys.argv[1]):
    time.sleep(0.05)

def where(number):
    time.sleep(0.05)
    return number * number, os.environ["DASK_DISTRIBUTED__COMM__TLS__WORKER__CERT"]

done = client.gather(client.map(where, range(60)))
print("sum", sum(square for square, _ in done), "hosts", len({certificate for _, certificate in done}))
print(os.environ["DASK_ADDRESS"], os.environ["QLUSTER_TASK_ID"])
sys.exit(int(sys.argv[2]))
"""


class Cluster:
    """On each of three hosts a daemon, a runner, and a part of the Dask cluster."""

    def __init__(self, root: Path, python: str) -> None:
        self.site = Site(root, "239.77.41.12:5480", "127.41.12")
        token = str(self.site.secret("deploy.token", "deploy-token-of-the-test"))
        self.others: dict[int, list[subprocess.Popen[bytes]]] = {}
        self.daemons: dict[int, subprocess.Popen[str]] = {}
        for number in NODES:
            self.site.configure(number, tasks={"dask-python": python, "dask-port": PORT}, api__deploy_token_file=token)
            self.others[number] = [self.begin(number, word) for word in ("runner", "dask")]
            self.daemons[number] = self.site.start(number)

    def begin(self, number: int, word: str) -> subprocess.Popen[bytes]:
        """One of a host's services."""
        place = self.site.place(number)
        with open(place / f"{word}.log", "ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "qluster", word, "--config", str(place / "config.yaml")],
                env={**os.environ, "PYTHONPATH": str(NODE)}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def leader(self, *of: int) -> int:
        """Who leads, as all of these say; 0 when they do not. The number of a host is that of its node here."""
        leaders = {self._leader(number) for number in of or NODES}
        return leaders.pop() if len(leaders) == 1 else 0

    def _leader(self, number: int) -> int:
        with suppress(requests.RequestException):
            answer = self.site.get(number, "/leader")
            if answer.status_code == 200:
                return int(answer.json()["ip"].rpartition(".")[2])
        return 0

    def store(self, through: int, name: str, task: dict[str, object]) -> None:
        """Store a template."""
        with self.site.session() as session:
            session.headers["Authorization"] = "Bearer deploy-token-of-the-test"
            answer = session.put(f"{self.site.url(through)}/task-templates/{name}", timeout=10, json={
                "task": task, "parameters": {"hosts": {}, "code": {}}})  # fmt: skip
        assert answer.status_code in (200, 201), answer.text

    def result(self, through: int, **task: object) -> dict[str, Any]:
        """Submit, wait for the end: what the cluster says of it, with its output."""
        answer = self.site.post(through, "/tasks", task)
        assert answer.status_code in (200, 201, 202), answer.text
        number = answer.json()["tasks"][0]
        found: dict[str, Any] = {}

        def over() -> bool:
            found.update(self.site.get(through, f"/tasks/{number}").json())
            return found["state"] in ("succeeded", "failed", "lost", "cancelled")

        wait_for(f"task {number} is over", over, LIMIT)
        found["said"] = self.site.get(through, f"/tasks/{number}/output?stream=stdout").text
        return found

    def kill(self, number: int) -> None:
        """The host's power is gone; what is tied to its services goes with them."""
        for process in (self.daemons[number], *self.others[number]):
            process.send_signal(signal.SIGKILL)
            process.wait()

    def end(self) -> None:
        """All of it."""
        for processes in self.others.values():
            for process in processes:
                process.terminate()
        for process in (process for processes in self.others.values() for process in processes):
            process.wait(timeout=30)
        self.site.end()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three hosts."""
    one = Cluster(tmp_path, dask_python(tmp_path))
    try:
        wait_for("there is a leader", lambda: one.leader(), 60)
        yield one
    finally:
        one.end()


def heard(ip: str) -> bool:
    """Whether a scheduler listens there."""
    with socket.socket() as trial:
        return trial.connect_ex((ip, PORT)) == 0


def test_scripts_use_all_nodes_and_do_so_again_after_a_failover(cluster: Cluster) -> None:
    leader = cluster.leader()
    cluster.store(leader, "squares", {
        "script": SCRIPT, "arguments": ["{hosts}", "{code}"], "retry": {"attempts": 2, "delay": "1s"}})  # fmt: skip
    parameters = {"hosts": "3", "code": "0"}
    done = cluster.result(leader, template="squares", parameters=parameters)
    assert done["state"] == "succeeded", done
    assert done["said"].splitlines()[0] == "sum 70210 hosts 3", done
    assert done["said"].splitlines()[1].startswith(f"tls://{cluster.site.ip(leader)}:{PORT} "), done["said"]

    # Its exit code is the task's.
    wrong = cluster.result(leader, template="squares", parameters={**parameters, "code": "3"})
    assert wrong["state"] == "failed" and "exit code 3" in str(wrong), wrong

    # Without a template nobody runs a script.
    refused = cluster.site.post(leader, "/tasks", {"script": "print(1)"})
    assert refused.status_code >= 400 and "template" in refused.text

    # The scheduler goes where the leader goes, and the workers follow.
    cluster.kill(leader)
    killed_at = time.monotonic()
    left = [number for number in NODES if number != leader]
    wait_for("another one leads", lambda: cluster.leader(*left) in left, 60)
    wait_for("the dead host's scheduler is gone", lambda: not heard(cluster.site.ip(leader)), 10)
    new = cluster.leader(*left)
    again = cluster.result(new, template="squares", parameters={**parameters, "hosts": "2"})
    assert again["state"] == "succeeded", again
    assert again["said"].splitlines()[0] == "sum 70210 hosts 2", again
    assert again["said"].splitlines()[1].startswith(f"tls://{cluster.site.ip(new)}:{PORT} ")
    print(f"a script was done {time.monotonic() - killed_at:.1f} s after the leader's host had died")


def test_what_ends_a_service_leaves_nothing_behind(cluster: Cluster) -> None:
    leader = cluster.leader()
    ip = cluster.site.ip(leader)
    wait_for("a scheduler listens", lambda: heard(ip), LIMIT)
    (service,) = cluster.others[leader][1:]
    service.terminate()
    assert service.wait(timeout=30) == 0
    assert not heard(ip)
