"""Whole clusters: daemons with real databases on hosts of their own, on file systems of a known size.

Nothing here knows what a fault should lead to.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from edge.daemon_world import wait_for
from edge.fault_world import NOBODY, kin, ticks
from edge.postgres_world import programs
from faults import cluster as faults_cluster
from faults.cables import run
from faults.cluster import UNREACHED, Cluster, Connection
from ledger.book import Book
from ledger.wire import Wire

DB_PORT = 5432
DATA_BYTES = 1 << 30
"""File system of a data directory, in memory; a round of ten minutes fills a third of it."""
PARAMETERS = {
    "shared_buffers": "32MB", "max_connections": "40", "max_wal_size": "160MB", "min_wal_size": "80MB",
    "wal_keep_size": "96MB", "autovacuum": "off", "checkpoint_timeout": "60s",
}  # fmt: skip
WAL_BYTES_MOST = 600 << 20
"""What may lie in pg_wal when all is calm: what is kept, a checkpoint's worth, and as much again."""
SEGMENT_BYTES = 16 << 20
"""One file of WAL: each promotion begins another, however little the former one holds."""


def obstacle() -> str:
    """Why there can be no such cluster here, "" when there can."""
    if programs() is None:
        return "no database programs"
    for name in ("nsenter", "unshare", "nft", "ip"):
        if shutil.which(name) is None:
            return f"{name} is not installed"
    return ""


class DatabaseCluster(Cluster):
    """Daemons, databases, and the clients' process."""

    def __init__(self, name: str, count: int, mode: str, node: Path | None = None) -> None:
        super().__init__(f"ledger-{name}", count, on_memory=os.access("/dev/shm", os.W_OK))
        self.mode = mode
        self._node = node or faults_cluster.PROGRAM
        self._kept: dict[int, Connection] = {}
        self._clients: subprocess.Popen[bytes] | None = None
        self.reigns: dict[int, dict[str, Any]] = {}
        """Every reign that somebody has shown, by its number."""
        self.root.chmod(0o755)
        self.secret("database.password", "superuser-of-the-test")
        self.secret("application.password", "application-of-the-test")
        (self.root / "wal").mkdir()
        self.book = Book(self.root / "book", create=True)
        # One for all: a daemon can look into a process of its own user namespace only, as it must after a restart.
        self._nobody = subprocess.Popen([*NOBODY, "sleep", "infinity"])
        mine = os.readlink("/proc/self/ns/user")
        wait_for("a user namespace", lambda: os.readlink(f"/proc/{self._nobody.pid}/ns/user") != mine)

    # --- hosts -----------------------------------------------------------------------

    def data(self, number: int) -> Path:
        """Data directory of a host."""
        return self.place(number) / "db/data"

    def prepare(self, number: int, **changes: Any) -> None:
        """A host with a database on a file system of its own."""
        found = programs()
        assert found is not None
        place = self.place(number)
        (place / "run").mkdir()
        (place / "db").mkdir()
        run("mount", "-t", "tmpfs", "-o", f"size={DATA_BYTES}", "qluster-ledger", str(place / "db"))
        self._mounted.append(place / "db")
        database = {
            "bin-dir": found[0], "library-dir": found[1], "data-dir": str(self.data(number)), "port": DB_PORT,
            "wal-archive-dir": str(self.root / "wal"), "socket-dir": str(place / "run"),
            "password-file": str(self.root / "database.password"), "superuser": "qluster",
            "application-user": "app", "application-password-file": str(self.root / "application.password"),
            "application-database": "app", "client-networks": [f"{self.net}.0/24"], "parameters": PARAMETERS,
        }
        super().prepare(number, database=database, cluster__synchronous=self.mode, **changes)

    def start(self, number: int) -> subprocess.Popen[str]:
        """Start a daemon as nobody: databases refuse to run as root."""
        with open(self.place(number) / "log", "a") as log:
            child = subprocess.Popen(
                ["ip", "netns", "exec", self.cables.namespace(number), "nsenter",
                 f"--user=/proc/{self._nobody.pid}/ns/user", "--preserve-credentials", *self.command(number)],
                env={**os.environ, "PYTHONPATH": str(self._node)}, stdin=subprocess.DEVNULL, text=True,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self.children.append(child)
        self.daemons[number] = child
        return child

    def found_databases(self, limit: float = 90.0) -> None:
        """Start all, and wait until one serves and all others follow."""
        for number in self.numbers:
            self.prepare(number)
            self.start(number)
        self.wait_served(limit)

    # --- processes ---------------------------------------------------------------------

    def family(self, number: int) -> list[int]:
        """The daemon and everything that it started."""
        if not self.runs(number):
            return []
        pid = self.daemons[number].pid
        return [pid, *kin(pid)]

    def guard(self, number: int) -> int | None:
        """Process of a host's guard."""
        for pid in self.family(number)[1:]:
            with contextlib.suppress(OSError):
                if b"guard_process" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
        return None

    def postmaster(self, number: int) -> int | None:
        """Process of a host's server."""
        try:
            pid = int((self.data(number) / "postmaster.pid").read_text().split("\n")[0])
        except (OSError, ValueError):
            return None
        return pid if ticks(pid) not in (None, "Z") else None

    def servers(self, number: int) -> list[int]:
        """All processes of a host's server."""
        pid = self.postmaster(number)
        return [] if pid is None else [pid, *kin(pid)]

    def signal(self, pids: list[int], what: signal.Signals) -> None:
        """Send a signal to whoever is still there."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, what)

    def kill_host(self, number: int) -> None:
        """Everything that runs there ends at once."""
        family = self.family(number)
        # Stopped first, or some of them would have time to see the others end.
        self.signal(family, signal.SIGSTOP)
        self.signal([*family, *self.servers(number)], signal.SIGKILL)
        if number in self.daemons:
            self.daemons[number].wait()

    # --- asking ----------------------------------------------------------------------------

    def status(self, number: int, limit: float = 1.0) -> dict[str, Any]:
        """What a node says of itself and all others, over a connection that is kept; {} when it says nothing."""
        if not self.runs(number):
            return {}
        connection = self._kept.setdefault(number, self.connect(number, limit))
        try:
            code, _, body = connection.ask("GET", "/map")
        except UNREACHED:
            return {}
        found: dict[str, Any] = json.loads(body) if code == 200 else {}
        reign = (found.get("cluster") or {}).get("reign")
        if reign:
            self.reigns[reign["number"]] = reign
        return found

    def primary(self) -> int | None:
        """The host that says that a client may write to it."""
        for number in self.numbers:
            if (self.status(number).get("own") or {}).get("may_write"):
                return number
        return None

    def served(self) -> str:
        """Why the cluster is not whole: one primary, all others stream from it and are waited for; "" when it is."""
        number = self.primary()
        if number is None:
            return "no primary"
        found = self.status(number)
        if not found:
            return f"host {number} does not answer"
        roles = {node["ip"]: node.get("database") or {} for node in found["nodes"] if node["role"] == "node"}
        if len(roles) != len(self.numbers):
            return f"{len(roles)} nodes of {len(self.numbers)}"
        for ip, database in roles.items():
            if ip != self.ip(number) and not (database.get("role") == "replica" and database.get("streaming")):
                return f"{ip} is {database.get('role')} {database.get('state')}: {database.get('error')}"
        guarantee = found["cluster"].get("guarantee")
        others = len(self.numbers) - 1
        if self.mode == "off":
            return "" if guarantee is None else f"waits for {guarantee}"
        if guarantee is None or len(guarantee["standbys"]) != others or not guarantee["settled"]:
            return f"waits for {guarantee}"
        return ""

    def members(self) -> list[int]:
        """Numbers of the nodes, as the primary knows them."""
        return [node["node"] for node in self.status(self.primary() or 1).get("nodes", [])]

    def wait_served(self, limit: float) -> None:
        """Wait until the cluster is whole."""
        why = [""]

        def whole() -> bool:
            why[0] = self.served()
            return not why[0]

        try:
            wait_for("a whole cluster", whole, limit)
        except AssertionError as error:
            raise AssertionError(f"{error}: {why[0]}") from None

    def sql(self, number: int, query: str) -> list[tuple[str, ...]]:
        """Ask a host's database as its superuser."""
        raw = self.cables.connect(number, DB_PORT, 5.0)
        raw.settimeout(60.0)
        wire = Wire(raw, "qluster", "superuser-of-the-test", "app")
        try:
            return wire.ask(query)
        finally:
            wire.close()

    # --- clients ---------------------------------------------------------------------------

    def begin_writing(self, rate: float) -> None:
        """Make the table and let the clients begin; so many commits in a second at most."""
        primary = self.primary()
        assert primary is not None
        self.sql(primary, "create table ledger (row bigint); grant all on ledger to app")
        places = [f"{one}={self.cables.namespace(one)}={self.ip(one)}:{DB_PORT}" for one in self.numbers]
        with open(self.root / "writers", "wb") as said:
            self._clients = subprocess.Popen(
                [sys.executable, "-m", "ledger.writers", str(self.root / "book"), str(rate), *places],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, stdin=subprocess.PIPE,
                stdout=said, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def end_writing(self) -> None:
        """The clients stop; what they were told is in the book."""
        if self._clients is not None:
            self._clients.kill()
            self._clients.wait()

    def end(self) -> None:
        """End every process and remove every namespace, mount and file."""
        self.end_writing()
        for connection in self._kept.values():
            connection.close()
        families = [pid for number in self.numbers for pid in (*self.family(number), *self.servers(number))]
        self.signal(families, signal.SIGKILL)
        for number in self.numbers:
            for word in run("ip", "netns", "pids", self.cables.namespace(number)).split():
                self.signal([int(word)], signal.SIGKILL)
        self.book.close()
        self._nobody.kill()
        self._nobody.wait()
        super().end()
