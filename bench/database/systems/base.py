"""What the benchmark asks of a system with databases, and what all systems give their databases alike.

Must not know what is measured.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Protocol

from bench.database.client import Target
from bench.database.hosts import DatabaseSite
from bench.processes import Server

DB_PORT = 5432
SUPERUSER, SUPERUSER_PASSWORD = "bench_super", "superuser-of-the-benchmark"
APPLICATION, APPLICATION_PASSWORD = "bench", "application-of-the-benchmark"
PARAMETERS = {
    "shared_buffers": "32MB", "max_connections": "60", "max_wal_size": "256MB", "min_wal_size": "64MB",
    "wal_keep_size": "384MB", "wal_log_hints": "on", "recovery_init_sync_method": "syncfs",
    # Two writers ask a standby to write all the time, and each refusal would be some lines of log.
    "log_min_messages": "log", "log_min_error_statement": "panic",
}  # fmt: skip
"""Of every database here, whoever cares for it."""
RESTART_SECONDS = 1.0
"""After which the service manager starts a process again that ended."""


class System(Protocol):
    """A cluster of three hosts."""

    name: str
    site: DatabaseSite
    """Its nodes are the hosts that have a database."""

    def start(self) -> None:
        """Until a client can write."""

    def daemon(self, number: int) -> int:
        """Process that cares for a host's database."""

    def data(self, number: int) -> Path:
        """A host's data directory."""

    def revive(self, number: int) -> None:
        """A host boots: start everything on it."""

    def switch(self, old: int, new: int) -> None:
        """Ask for a planned change of primary."""

    def restart_ended(self, but: int) -> None:
        """What a service manager does, on all hosts but one."""

    def stated(self) -> dict[str, int]:
        """What the system's own record says of the newest change of primary: number, position, lost bytes; or {}."""

    def stop(self) -> None:
        """End everything."""


def target(site: DatabaseSite, *, superuser: bool = False) -> Target:
    """How clients reach the databases, or the benchmark itself."""
    user, password = (SUPERUSER, SUPERUSER_PASSWORD) if superuser else (APPLICATION, APPLICATION_PASSWORD)
    addresses = {number: site.ip(number) for number in site.numbers}
    return Target(addresses, DB_PORT, user, password, "postgres" if superuser else APPLICATION)


def postmaster(data: Path) -> int | None:
    """Process of a host's database server, None when none runs."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n")[0])
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, ValueError, IndexError):
        return None
    return pid if state != "Z" else None


class Watched:
    """A process that a service manager starts again."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._ended = 0.0

    def due(self) -> bool:
        """Whether it ended so long ago that it is to be started again."""
        if self.server.alive:
            return False
        self._ended = self._ended or time.monotonic()
        return time.monotonic() - self._ended > RESTART_SECONDS


def library_path(libraries: str) -> dict[str, str]:
    """The environment with the database's libraries."""
    former = os.environ.get("LD_LIBRARY_PATH", "")
    return {"LD_LIBRARY_PATH": ":".join(part for part in (libraries, former) if part)} if libraries else {}


def reap(server: Server) -> None:
    """Take note that a process was killed."""
    with contextlib.suppress(ProcessLookupError):
        server.kill()
