"""The client, a process of its own: one writer to each node all the time, each acknowledgement a line of a file.

What every node may acknowledge, whoever is primary, is in that file: outages, losses and two primaries
at once are read from it. A writer does not ask who is primary, it tries. Must not know the systems.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import asyncpg

WRITE_PAUSE = 0.005
"""Seconds between two attempts of one writer: the resolution of the results."""
CONNECT_SECONDS = 0.5
"""A connection that takes longer is tried anew."""
RETRY_PAUSE = 0.02
"""After a connection that failed."""
ANSWER_SECONDS = 3.0
"""For one write. Where a primary waits for replicas that are gone, the writer gives it up and connects anew."""
ERRORS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
REFUSALS = (asyncpg.ReadOnlySQLTransactionError, asyncpg.UndefinedTableError, asyncpg.DiskFullError)
"""The connection goes on: a standby, one that has not replayed the table yet, one whose data do not fit."""
FILLING = "x" * 100
INSERT = "insert into {} values ($1, $2) returning (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint"


@dataclass(frozen=True)
class Target:
    """How a database is reached, on whichever host it is."""

    addresses: dict[int, str]
    port: int
    user: str
    password: str
    database: str

    async def connect(self, number: int, limit: float = CONNECT_SECONDS) -> asyncpg.Connection:
        """A connection to one node."""
        return await asyncio.wait_for(asyncpg.connect(
            host=self.addresses[number], port=self.port, user=self.user, password=self.password,
            database=self.database, ssl=False,
        ), limit)  # fmt: skip


@dataclass(frozen=True)
class Acknowledged:
    """A row that a node said it has."""

    at: float
    node: int
    connection: int
    row: int
    position: int
    """Of the WAL, before the transaction's end: what is lost ends beyond it."""


def line(one: Acknowledged) -> str:
    """As it stands in the file."""
    return f"{one.at:.6f} {one.node} {one.connection} {one.row} {one.position}\n"


class Ledger:
    """The file, read while it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._rest = ""
        self.lines: list[Acknowledged] = []

    def refresh(self) -> list[Acknowledged]:
        """What came since the last question."""
        with self._path.open() as file:
            file.seek(self._read)
            text = self._rest + file.read()
            self._read = file.tell()
        *whole, self._rest = text.split("\n")
        news = []
        for words in map(str.split, whole):
            news.append(Acknowledged(float(words[0]), *map(int, words[1:])))
        self.lines += news
        return news


async def create(target: Target, number: int, table: str) -> None:
    """The table of a trial."""
    connection = await target.connect(number, 5)
    try:
        await connection.execute(f"drop table if exists {table}")
        await connection.execute(f"create table {table} (row bigint primary key, filling text)")
    finally:
        connection.terminate()


async def rows(target: Target, number: int, table: str) -> set[int]:
    """What a node has of it."""
    connection = await target.connect(number, 5)
    try:
        return {row[0] for row in await connection.fetch(f"select row from {table}")}
    finally:
        connection.terminate()


async def write(target: Target, table: str, path: Path) -> None:
    """Write to all nodes until the process is told to end."""
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    numbers, connections = itertools.count(1), itertools.count(1)
    with path.open("a", buffering=1) as file:
        async def writer(node: int) -> None:
            while not over.is_set():
                try:
                    connection = await target.connect(node)
                except ERRORS:
                    await asyncio.sleep(RETRY_PAUSE)
                    continue
                try:
                    await _write_by(connection, node, next(connections))
                except ERRORS:
                    pass
                finally:
                    connection.terminate()

        async def _write_by(connection: asyncpg.Connection, node: int, which: int) -> None:
            while not over.is_set():
                row = next(numbers)
                with contextlib.suppress(*REFUSALS):
                    asked = connection.fetchval(INSERT.format(table), row, FILLING)
                    position = await asyncio.wait_for(asked, ANSWER_SECONDS)
                    file.write(line(Acknowledged(time.monotonic(), node, which, row, position)))
                await asyncio.sleep(WRITE_PAUSE)

        await asyncio.gather(*(writer(node) for node in target.addresses))


def words(target: Target, table: str, path: Path) -> list[str]:
    """The command that starts it."""
    return [sys.executable, "-m", "bench.database.client", json.dumps(asdict(target)), table, str(path)]


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    given["addresses"] = {int(number): address for number, address in given["addresses"].items()}
    asyncio.run(write(Target(**given), sys.argv[2], Path(sys.argv[3])))
