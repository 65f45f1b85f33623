"""Replication slots of real servers: what a replica needs is there when it comes back, also after a failover."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from edge.postgres_world import Host, World, until, worlds
from edge.test_postgres_plan import cluster, count, follow, reign, settle
from qluster.database.orders import KeepSlots, StopFast
from qluster.database.plan import Wanted
from qluster.database.slots import Reached

pytestmark = pytest.mark.unprivileged

FORGETFUL = {
    "shared_buffers": "16MB", "max_connections": "30", "wal_keep_size": "0", "min_wal_size": "32MB",
    "max_wal_size": "32MB",
}  # fmt: skip
"""Parameters of a server that keeps WAL for nobody but by its slots."""


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    async for made in worlds():
        yield made


async def slots(host: Host) -> dict[str, Any]:
    """The slots here that are ours, by name."""
    facts = await host.hand.read_facts()
    return {slot.name: slot for slot in facts.slots or () if slot.name.startswith("qluster_")}


async def write_much(host: Host, segments: int = 6) -> None:
    """So much WAL that a checkpoint removes what nobody needs."""
    for _ in range(segments):
        await host.sql("INSERT INTO t VALUES (0)")
        await host.sql("SELECT pg_switch_wal()", user="qluster")
    await host.sql("CHECKPOINT", user="qluster")


async def keep(host: Host, wanted: Wanted, *known: Host) -> list[str]:
    """Settle with what the others say of themselves."""
    reached = []
    for other in known:
        facts = await other.hand.read_facts()
        if facts.timeline is not None and facts.position is not None:
            reached.append(Reached(other.name, facts.timeline, facts.position))
    return await settle(host, replace(wanted, reached=tuple(reached)))


async def test_a_replica_that_was_away_during_a_failover_follows_by_its_slot(world: World) -> None:
    """Nothing is kept but by slots: without one on the successor the replica would have to be copied."""
    hosts = [world.host(parameters=FORGETFUL) for _ in range(3)]
    system_id, (first, second, third) = await cluster(world, made=hosts)
    await first.sql("CREATE TABLE t (n int)")
    await settle(first, reign(1, system_id))
    assert sorted(await slots(first)) == ["qluster_node2", "qluster_node3"]
    assert sorted(await slots(second)) == ["qluster_node1", "qluster_node3"]
    await third.hand.perform(StopFast())
    here = await third.hand.read_facts()
    await write_much(first)
    reached = (await first.hand.read_facts()).position
    await second.facts_when(lambda facts: (facts.replayed or 0) >= reached)
    # A restart point of the replica would remove its old WAL as well.
    await second.sql("CHECKPOINT", user="qluster")
    await keep(second, follow(first, 1, system_id), first, third)
    assert (await slots(second))["qluster_node3"].position <= here.position
    await first.hand.perform(StopFast())
    await settle(second, Wanted(kind="detached", system_id=system_id))
    await settle(second, reign(2, system_id))
    await write_much(second)
    assert await settle(third, follow(second, 2, system_id)) in (["StartStandby"], ["StartStandby", "Follow"])
    assert await settle(first, follow(second, 2, system_id)) == ["Rewind", "StartStandby"]
    for host in (first, third):
        await until(lambda host=host: _counts(host, 12))
    found = await slots(second)
    assert {name: slot.active for name, slot in found.items()} == {"qluster_node1": True, "qluster_node3": True}


async def test_a_slot_that_is_left_behind_fills_no_disk_and_is_made_anew(world: World) -> None:
    hosts = [world.host(parameters={**FORGETFUL, "max_slot_wal_keep_size": "48MB"}) for _ in range(2)]
    system_id, (first, second) = await cluster(world, made=hosts)
    await first.sql("CREATE TABLE t (n int)")
    await second.hand.perform(StopFast())
    for _ in range(3):
        await write_much(first, 4)
    # Its node has no word in it: the slot is lost, and is made anew without keeping anything.
    assert (await slots(first))["qluster_node2"].lost
    await settle(first, reign(1, system_id))
    found = (await slots(first))["qluster_node2"]
    assert (found.lost, found.position) == (False, None)
    size = (await first.sql("SELECT sum(size) AS n FROM pg_ls_waldir()", user="qluster"))[0]["n"]
    assert size < 160 << 20
    given = await settle(second, follow(first, 1, system_id))
    assert given[0] == "StartStandby" and given[-2:] == ["Clone", "StartStandby"]
    await until(lambda: _counts(second, 12))
    assert (await slots(first))["qluster_node2"].active


async def test_slots_of_former_members_go_and_those_of_users_stay(world: World) -> None:
    system_id, (first, second) = await cluster(world)
    await first.sql("SELECT pg_create_physical_replication_slot('node9')", user="qluster")
    await first.sql("SELECT pg_create_physical_replication_slot('qluster_node9', true)", user="qluster")
    await settle(first, reign(1, system_id))
    facts = await first.hand.read_facts()
    assert [slot.name for slot in facts.slots or ()] == ["node9", "qluster_node2", "qluster_node3"]
    # Slots that a server cannot make are said to be missing, and nothing else is the worse for it.
    await first.hand.perform(KeepSlots(drop=("never_made",)))
    assert (await second.facts_when(lambda facts: facts.receiver == "streaming")).in_recovery


async def test_slots_on_a_replica_are_moved_on(world: World) -> None:
    system_id, (first, second) = await cluster(world)
    await first.sql("CREATE TABLE t (n int)")
    before = (await slots(second))["qluster_node1"].position
    await write_much(first, 6)
    reached = (await first.hand.read_facts()).position
    await second.facts_when(lambda facts: (facts.replayed or 0) >= reached)
    await second.sql("CHECKPOINT", user="qluster")
    await keep(second, follow(first, 1, system_id), first)
    facts = await second.hand.read_facts()
    after = (await slots(second))["qluster_node1"].position
    assert before + (64 << 20) <= after <= facts.redo and facts.redo <= facts.position


async def test_a_replica_streams_without_a_slot_where_its_upstream_has_none_to_give(world: World) -> None:
    full = {"shared_buffers": "16MB", "max_replication_slots": "1"}
    hosts = [world.host(parameters=full), world.host()]
    for host in hosts:
        await host.hand.adopt()
    first, second = hosts
    await settle(first, Wanted(kind="found"))
    system_id = (await first.hand.read_facts()).system_id
    assert system_id is not None
    first_terms = replace(first.terms, others=())
    await settle(first, reign(1, system_id), terms=first_terms)
    await first.sql("SELECT pg_create_physical_replication_slot('mine', true)", user="qluster")
    assert await settle(second, follow(first, 1, system_id)) == ["Clone", "StartStandby"]
    facts = await second.facts_when(lambda facts: facts.receiver == "streaming")
    assert facts.in_recovery and not await slots(first)


async def _counts(host: Host, wanted: int) -> bool:
    return await count(host) == wanted
