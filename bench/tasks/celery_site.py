"""Celery with Redis on this host: the broker, one worker process for each core of a cluster's node, and a client.

Must not know what is measured. With ``fsync`` Redis flushes each write before it answers, as the product does on a
majority of three hosts; without, what the last second acknowledged may be lost with the process, and all of it with
the host.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.processes import Server, wait_for
from bench.programs import ROOT, Program, bring
from bench.systems.qluster import environment

NOBODY_LISTENS = "later"
"""The queue of what is submitted and not run."""


class CelerySite:
    """One broker and one worker."""

    def __init__(self, folder: Path, *, fsync: bool, workers: int = 4) -> None:
        self._folder, self._fsync, self._workers = folder, fsync, workers
        self._servers: list[Server] = []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Redis answers, and a worker waits."""
        self._folder.mkdir(parents=True, exist_ok=True)
        redis: Program = bring("redis-server")
        kept = ["--appendonly", "yes", "--appendfsync", "always"] if self._fsync else ["--appendonly", "no"]
        words = [redis.path, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]
        self._servers.append(Server([*words, *kept], self._folder / "redis.log", redis.environment))
        wait_for("Redis answers", lambda: _listens(self.port), self._servers)
        settings = {**environment(), "QLUSTER_BENCH_BROKER": self.url}
        worker = [sys.executable, "-m", "celery", "-A", "bench.tasks.celery_app", "worker", "--loglevel=ERROR",
                  f"--concurrency={self._workers}", "--without-gossip", "--without-mingle", "-Q", "celery"]  # fmt: skip
        self._servers.append(Server(worker, self._folder / "worker.log", settings))
        app = self.app()
        wait_for("the worker answers", lambda: bool(app.control.ping(timeout=0.5)), self._servers)

    def app(self) -> Any:
        """A client's side of it."""
        from bench.tasks.celery_app import make

        return make(self.url)

    def stop(self) -> None:
        """End both, the worker first."""
        for server in reversed(self._servers):
            server.end()
        subprocess.run(["rm", "-rf", "--", str(self._folder)], check=False, cwd=ROOT)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
