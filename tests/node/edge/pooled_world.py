"""A whole cluster with databases and pool hosts, each in a network namespace, and clients that count what they see.

The pool hosts run a listener daemon and a real PgBouncer. The clients stand outside; what a client is told is noted
with the time: each acknowledged row, each error and each wait.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import asyncpg
import requests
from edge.fault_world import DB_PORT, ERRORS, NOBODY, Hosts, wait_for
from edge.pool_world import PGBOUNCER

POOL_PORT = 6432
APPLICATION_PASSWORD = "application-of-the-test"


class Pooled(Hosts):
    """Three databases and so many pool hosts, numbered from 4."""

    def __init__(self, pools: int = 1, mode: str = "transaction") -> None:
        self.pools = tuple(range(4, 4 + pools))
        self.mode = mode
        self.bouncers: dict[int, subprocess.Popen[bytes]] = {}
        super().__init__(hosts=3 + pools)
        self.secret("pool.password", "admin-of-the-test")

    @property
    def machines(self) -> tuple[int, ...]:
        return (1, 2, 3, *self.pools)

    def prepare_pool(self, number: int, **changes: object) -> None:
        """Write the configuration of a pool host: the daemon's and PgBouncer's."""
        place = self.place(number)
        place.chmod(0o755)
        pool = {
            "databases-file": str(place / "databases.ini"), "host": self.ip(number), "port": POOL_PORT,
            "admin-user": "qluster", "admin-password-file": str(self.root / "pool.password"),
            "application-database": "app",
        }
        self.configure(number, role="listener", pool=pool, **self.network(), **changes)
        (place / "databases.ini").write_text("[databases]\napp = host=127.0.0.1 port=1\n")
        (place / "users").write_text(f'"app" "{APPLICATION_PASSWORD}"\n"qluster" "admin-of-the-test"\n')
        (place / "pool.ini").write_text(
            f"%include {place / 'databases.ini'}\n[pgbouncer]\nlisten_addr = {self.ip(number)}\n"
            f"listen_port = {POOL_PORT}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {place / 'users'}\n"
            f"admin_users = qluster\npool_mode = {self.mode}\nserver_login_retry = 0.2\nserver_connect_timeout = 3\n"
            f"server_fast_close = 1\nlogfile = {place / 'pool.log'}\n"
        )

    def start_bouncer(self, number: int) -> None:
        """Start the PgBouncer of a host."""
        assert PGBOUNCER is not None
        self.bouncers[number] = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace(number), *NOBODY, PGBOUNCER, str(self.place(number) / "pool.ini")],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def begin(self, synchronous: str = "off") -> None:
        """Start everything, and wait until it is whole."""
        for number in (1, 2, 3):
            self.prepare(number, cluster__synchronous=synchronous)
            self.start(number)
        for number in self.pools:
            self.prepare_pool(number, cluster__synchronous=synchronous)
            self.start_bouncer(number)
            self.start(number)
        wait_for("a whole cluster", self.whole, 60)
        wait_for("pools that point at the primary", lambda: self.pointed(*self.writable()), 60)

    def level(self) -> bool:
        """All databases are on one timeline, which replicas tell when its first WAL has come, and are waited for."""
        [primary] = self.writable() or [0]
        seen: dict[str, Any] = self.map(primary) if primary else {}
        found = {node["database"]["timeline"] for node in seen.get("nodes", []) if node["database"]}
        guarantee = seen["cluster"]["guarantee"] if seen else None
        covered = guarantee is None or (len(guarantee["standbys"]) == 2 and guarantee["settled"])
        return len(found) == 1 and covered and self.whole()

    def number(self, host: int) -> int:
        """Number of the node that a host is."""
        nodes = self.map(host)["nodes"]
        return next(int(node["node"]) for node in nodes if node["ip"] == self.ip(host))  # type: ignore[attr-defined]

    def move(self, successor: int, more: str = "") -> requests.Response:
        """Ask for another primary; the answer comes when it is one."""
        [primary] = self.writable()
        return self.post(primary, f"/leader?node={self.number(successor)}{more}")

    def console(self, number: int, command: str) -> list[dict[str, object]]:
        """What the console of a pool answers."""
        async def asked() -> list[dict[str, object]]:
            connection = await asyncpg.connect(
                host=self.ip(number), port=POOL_PORT, user="qluster", password="admin-of-the-test",
                database="pgbouncer", statement_cache_size=0, timeout=5,
            )  # fmt: skip
            try:
                rows = await connection._protocol.query(command, 5)  # the console knows simple queries only
                return [dict(row) for row in rows] if isinstance(rows, list) else []
            finally:
                connection.terminate()

        return asyncio.run(asked())

    def pool(self, number: int) -> dict[str, object]:
        """What a pool host says of its pool."""
        nodes = self.map(number).get("nodes") or []
        found = [node["pool"] for node in nodes if node["ip"] == self.ip(number)]  # type: ignore[attr-defined]
        return found[0] or {} if found else {}

    def pointed(self, primary: int = 0, *_: int) -> bool:
        """All pools point at this host, by their own word."""
        wanted = f"{self.ip(primary)}:{DB_PORT}"
        return all(self.pool(number).get("target") == wanted for number in self.pools)

    def end(self) -> None:
        for child in self.bouncers.values():
            child.kill()
            child.wait()
        super().end()


@dataclass
class Load:
    """Clients that write one row after another at one place, or read there; errors are kept, not forgiven."""

    place: tuple[str, int]
    clients: int = 4
    table: str = "load"
    pause: float = 0.002
    database: str = "app"
    acknowledged: list[tuple[float, int]] = field(default_factory=list)
    errors: list[tuple[float, str]] = field(default_factory=list)
    _next: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Load:
        asyncio.run(self._prepare())
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join(30)

    async def connect(self) -> asyncpg.Connection:
        """A client of the application."""
        return await asyncpg.connect(
            host=self.place[0], port=self.place[1], user="app", password=APPLICATION_PASSWORD, database=self.database,
            statement_cache_size=0, timeout=30,
        )  # fmt: skip

    async def _prepare(self) -> None:
        connection = await self.connect()
        await connection.execute(f"create table if not exists {self.table} (row bigint primary key, note text)")
        await connection.close()

    async def _run(self) -> None:
        await asyncio.gather(*(self._client(number) for number in range(self.clients)))

    async def _client(self, number: int) -> None:
        connection: asyncpg.Connection | None = None
        while not self._stop.is_set():
            self._next += 1
            row = self._next
            try:
                connection = connection or await self.connect()
                if number % 2:
                    await connection.execute(f"insert into {self.table} values ({row}, 'alone')")
                else:
                    async with connection.transaction():
                        await connection.execute(f"insert into {self.table} values ({row}, 'first')")
                        await connection.execute(f"update {self.table} set note = 'second' where row = {row}")
                self.acknowledged.append((time.monotonic(), row))
                await asyncio.sleep(self.pause)
            except ERRORS as error:
                self.errors.append((time.monotonic(), f"{type(error).__name__}: {error}"))
                if connection is not None:
                    connection.terminate()
                connection = None
                await asyncio.sleep(0.02)
        if connection is not None:
            connection.terminate()

    # --- what it says -------------------------------------------------------------------

    def gap_since(self, began: float) -> float:
        """The longest time without any acknowledgement from then on, and the moments around it."""
        times = sorted(at for at, _ in self.acknowledged)
        times = [at for at in times if at >= began - 0.5]
        return max((later - at for at, later in pairwise(times)), default=0.0)

    def missing(self, place: tuple[str, int]) -> list[int]:
        """Rows that were acknowledged and are not there."""
        async def read() -> set[int]:
            connection = await asyncpg.connect(
                host=place[0], port=place[1], user="app", password=APPLICATION_PASSWORD, database=self.database,
            )  # fmt: skip
            try:
                return {row[0] for row in await connection.fetch(f"select row from {self.table}")}
            finally:
                connection.terminate()

        there = asyncio.run(read())
        return [row for _, row in self.acknowledged if row not in there]


@dataclass
class Switched:
    """What came of asking for another primary, and what clients saw of it."""

    code: int
    answer: dict[str, Any]
    took: float
    gap: float
    """Seconds without any acknowledgement."""
    errors: list[str]

    @property
    def detail(self) -> dict[str, Any]:
        detail: dict[str, Any] = self.answer.get("detail") or {}
        return detail


def switched(hosts: Pooled, load: Load, successor: int) -> Switched:
    """Move the primary while clients write; wait until they do again."""
    hosts_of_now = len(load.acknowledged)
    wait_for("clients that write", lambda: len(load.acknowledged) > hosts_of_now + 20)
    wait_for("replicas on the primary's timeline", hosts.level)
    before, began = len(load.errors), time.monotonic()
    answer = hosts.move(successor)
    took, seen = time.monotonic() - began, len(load.acknowledged)
    wait_for("clients that write again", lambda: len(load.acknowledged) > seen + 20)
    errors = [text for _, text in load.errors[before:]]
    return Switched(answer.status_code, answer.json(), took, load.gap_since(began), errors)
