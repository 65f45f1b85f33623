"""Logical replication slots that a server copies to its standbys by itself (version 17 and later)."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from edge.postgres_world import Host, World, until, worlds
from edge.test_postgres_plan import cluster, reign, settle
from qluster.database.plan import Wanted

pytestmark = pytest.mark.unprivileged

PARAMETERS = {
    "shared_buffers": "16MB", "max_connections": "30", "wal_level": "logical", "sync_replication_slots": "on",
}  # fmt: skip


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    async for made in worlds():
        yield made


async def synced(host: Host) -> bool:
    rows = await host.sql(
        "SELECT 1 FROM pg_replication_slots WHERE slot_name = 'orders' AND synced AND NOT temporary", user="qluster"
    )
    return bool(rows)


async def test_a_subscriber_goes_on_at_the_new_primary(world: World) -> None:
    first = world.host(parameters=PARAMETERS)
    if await first.hand._site.programs.major() < 17:
        pytest.skip("servers before version 17 do not copy logical slots")
    second = world.host(parameters=PARAMETERS)
    system_id, _ = await cluster(world, made=[first, second])
    await first.sql("CREATE TABLE t (n int)")
    await first.sql(
        "SELECT pg_create_logical_replication_slot('orders', 'test_decoding', failover => true)", user="qluster"
    )

    async def copied() -> bool:
        # The copy is made once what the subscriber has seen has moved the slot on.
        await first.sql("SELECT pg_log_standby_snapshot()", user="qluster")
        await first.sql("SELECT pg_replication_slot_advance('orders', pg_current_wal_lsn())", user="qluster")
        return await synced(second)

    await until(copied, 60)
    await first.sql("INSERT INTO t VALUES (1)")
    reached = (await first.hand.read_facts()).position
    await second.facts_when(lambda facts: (facts.replayed or 0) >= reached)
    await first.hand.close()
    await settle(second, Wanted(kind="detached", system_id=system_id))
    await settle(second, reign(2, system_id))
    await second.sql("INSERT INTO t VALUES (2)")
    rows = await second.sql("SELECT data FROM pg_logical_slot_get_changes('orders', NULL, NULL)", user="qluster")
    changes = [row["data"] for row in rows if row["data"].startswith("table")]
    assert changes == ["table public.t: INSERT: n[integer]:1", "table public.t: INSERT: n[integer]:2"]
