"""Transactions that were prepared for a second phase outlive their server, with real ones."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from edge.postgres_world import Host, World, founded, replica, worlds
from edge.test_backups import repository
from qluster.database.orders import Detach, Promote, Rewind, StartPrimary, StartStandby, StopFast, StopImmediate
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


async def prepared(host: Host) -> list[str]:
    return [row["gid"] for row in await host.sql("SELECT gid FROM pg_prepared_xacts ORDER BY gid")]


async def test_prepared_transactions_outlive_a_failover_and_the_way_back(world: World) -> None:
    first = await founded(world, parameters={"max_prepared_transactions": "5"})
    await first.sql("CREATE TABLE t (n int)")
    second = await replica(world, first)
    for row in (1, 2):
        await prepare(first, row)
    ahead = (await first.hand.read_facts()).position
    assert ahead is not None
    await second.facts_when(lambda facts: (facts.position or 0) >= ahead)
    await second.hand.perform(Detach(second.terms))
    await second.hand.perform(Promote(2, second.terms))
    assert await prepared(second) == ["p1", "p2"]
    await second.sql("COMMIT PREPARED 'p1'")
    await prepare(second, 3)
    # The former primary goes on alone for a moment: what it ends and prepares then is taken back.
    await first.sql("COMMIT PREPARED 'p2'")
    await prepare(first, 4)
    await first.hand.perform(StopImmediate())
    facts = await first.hand.read_facts()
    await first.hand.perform(Rewind(second.address, facts.system_id, first.terms))
    await first.hand.perform(StartStandby(second.address, first.terms))
    await first.facts_when(lambda facts: facts.receiver == "streaming")
    await second.hand.perform(StopFast())
    await first.hand.perform(Detach(first.terms))
    await first.hand.perform(Promote(3, first.terms))
    assert await prepared(first) == ["p2", "p3"]
    for row in (2, 3):
        await first.sql(f"COMMIT PREPARED 'p{row}'")
    assert [row["n"] for row in await first.sql("SELECT n FROM t ORDER BY n")] == [1, 2, 3]
