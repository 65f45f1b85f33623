"""Transactions that were prepared for a second phase outlive their server, with real ones."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from edge.postgres_world import Host, World, founded, worlds
from edge.test_backups import repository
from qluster.database.orders import StartPrimary
from qluster.edge.postgres.restoring import choose_from, restore, target_of
from qluster.edge.postgres.site import Site

pytestmark = pytest.mark.unprivileged


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    async for made in worlds():
        yield made


async def prepare(host: Host, row: int) -> None:
    """A transaction whose second phase is still to come."""
    connection = await asyncpg.connect(
        host=host.ip, port=host.database.port, user="app", password="app's secret", database="app", timeout=10
    )
    try:
        await connection.execute(f"BEGIN; INSERT INTO t VALUES ({row}); PREPARE TRANSACTION 'p{row}'")
    finally:
        connection.terminate()


async def test_prepared_transactions_come_back_with_a_backup(world: World) -> None:
    source = await founded(world, parameters={"max_prepared_transactions": "5"})
    await source.sql("CREATE TABLE t (n int)")
    await prepare(source, 1)
    repo = await repository(world, source)
    await repo.take()
    host = world.host(parameters={"max_prepared_transactions": "5"})
    site = Site(host.database, host.ip, str(host.root / "state"), host.pids.append, host.exits.append, host.backup)
    await restore(site, repo, await choose_from(repo, target_of(None), accept_gap=True))
    await host.hand.perform(StartPrimary(1, host.terms))
    assert [row["gid"] for row in await host.sql("SELECT gid FROM pg_prepared_xacts")] == ["p1"]
