"""Replicas that are copied or followed in the primary's place, with real servers."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from edge.postgres_world import World, until, worlds
from edge.test_postgres_plan import cluster, count, follow, reign, settle
from qluster.database.orders import Clone, Detach, StartPrimary, StopFast
from qluster.database.plan import Wanted
from qluster.edge.postgres import PostgresFailed
from qluster.edge.postgres.following import point, streams_within

pytestmark = pytest.mark.unprivileged


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    async for made in worlds():
        yield made


async def test_a_replica_is_copied_with_progress_and_the_copy_follows_the_primary(world: World) -> None:
    system_id, (first, second) = await cluster(world)
    await first.sql("CREATE TABLE t AS SELECT n, repeat('x', 500) FROM generate_series(1, 20000) AS n")
    reached = (await first.hand.read_facts()).position
    await second.facts_when(lambda facts: (facts.replayed or 0) >= reached)
    third = world.host(clone_rate=12 << 20)
    await third.hand.adopt()
    order = Clone(first.address, system_id, third.terms, second.address)
    copying = asyncio.create_task(third.hand.perform(order))
    facts = await third.facts_when(lambda facts: facts.copied)
    assert 0 < facts.copied <= facts.copy_size and facts.copy_size > 20 << 20
    assert (await second.hand.read_facts()).senders > 0
    # What is written meanwhile, and the WAL of it that the primary no longer needs, is kept for the copy.
    await first.sql("INSERT INTO t SELECT n, '' FROM generate_series(1, 11) AS n")
    await first.sql("SELECT pg_switch_wal()", user="qluster")
    await copying
    assert (await third.hand.read_facts()).copied is None
    assert await settle(third, follow(first, 1, system_id)) == ["StartStandby"]
    facts = await third.facts_when(lambda facts: facts.receiver == "streaming")
    assert facts.upstream == f"{first.ip}:{first.database.port}"

    async def whole() -> bool:
        return await count(third) == 20011

    await until(whole)


async def test_a_replica_that_is_not_good_enough_is_left_for_the_primary(world: World) -> None:
    system_id, (first, second) = await cluster(world)
    await second.hand.perform(Detach(second.terms))
    third = world.host()
    await third.hand.adopt()
    with pytest.raises(PostgresFailed, match="does not stream timeline 1: it is left alone") as failure:
        await third.hand.perform(Clone(first.address, system_id, third.terms, second.address))
    assert failure.value.passing
    other = world.host()
    await other.hand.adopt()
    await settle(other, Wanted(kind="found"))
    await other.hand.perform(StartPrimary(1, other.terms))
    with pytest.raises(PostgresFailed, match="this cluster's has"):
        await third.hand.perform(Clone(first.address, system_id, third.terms, other.address))
    assert (await third.hand.read_facts()).directory == "empty"
    wanted = replace(follow(first, 1, system_id), source=second.address)
    assert await settle(third, wanted) == ["Clone", "Clone", "StartStandby"]


async def test_a_copy_knows_how_far_the_primary_was_until_it_is_there_itself(world: World) -> None:
    system_id, (first, second) = await cluster(world)
    reached = (await first.hand.read_facts()).position
    await second.facts_when(lambda facts: (facts.replayed or 0) >= reached)
    (receiver,) = await second.sql("SELECT pid FROM pg_stat_wal_receiver", user="qluster")
    third = world.host()
    await third.hand.adopt()
    os.kill(receiver["pid"], signal.SIGSTOP)
    try:
        await first.sql("CREATE TABLE t AS SELECT n FROM generate_series(1, 1000) AS n")
        written = (await first.hand.read_facts()).position
        await third.hand.perform(Clone(first.address, system_id, third.terms, second.address))
    finally:
        os.kill(receiver["pid"], signal.SIGCONT)
    assert await settle(third, Wanted(kind="detached", system_id=system_id)) == ["StartStandby"]
    behind = await third.facts_when(lambda facts: facts.position is not None)
    assert behind.owed is not None and behind.owed[0] == 1 and behind.position < written <= behind.owed[1]
    await third.hand.perform(StopFast())
    assert (await third.hand.read_facts()).owed == behind.owed, "noted, as long as the copy is there"
    await settle(third, follow(first, 1, system_id))
    facts = await third.facts_when(lambda facts: (facts.replayed or 0) >= behind.owed[1])
    assert facts.owed == behind.owed <= (facts.timeline, facts.position)
    await settle(third, Wanted(kind="detached", system_id=system_id))
    await first.hand.perform(StopFast())
    await settle(third, reign(2, system_id))
    assert (await third.hand.read_facts()).owed is None, "what it has is what there is"


async def test_a_replica_of_a_replica_goes_with_it_over_a_failover(world: World) -> None:
    system_id, (first, second, third) = await cluster(world, replicas=2)
    await first.sql("CREATE TABLE t (n int)")
    via = replace(follow(first, 1, system_id), via=second.address)
    assert await settle(third, via) == ["Follow"]
    facts = await third.facts_when(lambda facts: facts.receiver == "streaming")
    assert facts.upstream == f"{second.ip}:{second.database.port}"
    slots = {slot.name: slot.active for slot in (await second.hand.read_facts()).slots or ()}
    assert slots["qluster_node3"]
    await first.sql("INSERT INTO t VALUES (1)")
    reached = (await first.hand.read_facts()).position
    await third.facts_when(lambda facts: (facts.replayed or 0) >= reached)
    await first.facts_when(lambda facts: [one.name for one in facts.replicas] == ["node2"])
    # Its replica is cut off from the primary, and with it whoever follows it: each says where it is after its own cut.
    await settle(third, Wanted(kind="detached", system_id=system_id))
    await first.sql("INSERT INTO t VALUES (2)")
    assert (await third.hand.read_facts()).position >= reached
    await settle(second, Wanted(kind="detached", system_id=system_id))
    await first.hand.perform(StopFast())
    await settle(second, reign(2, system_id))
    await settle(third, follow(second, 2, system_id))
    assert await settle(first, follow(second, 2, system_id)) == ["Rewind", "StartStandby"]
    assert await settle(first, replace(follow(second, 2, system_id), via=third.address)) == ["Follow"]
    await second.sql("INSERT INTO t VALUES (3)")

    async def there() -> bool:
        return await count(first) == await count(third) == await count(second)

    await until(there)
    facts = await first.hand.read_facts()
    assert (facts.timeline, facts.upstream) == (2, f"{third.ip}:{third.database.port}")
    assert facts.owed is not None and facts.owed <= (facts.timeline, facts.position)


async def test_a_stream_from_the_upstream_of_before_is_none_from_the_new_one(world: World) -> None:
    _, (_, second, third) = await cluster(world, replicas=2)
    site, server = third.hand._site, third.hand.pid
    assert await streams_within(site, 30) and server is not None
    os.kill(server, signal.SIGSTOP)  # its processes go on, and none of them is told to read the configuration
    try:
        await point(site, second.address, third.terms)
        assert not await streams_within(site, 0.5)
    finally:
        os.kill(server, signal.SIGCONT)
    assert await streams_within(site, 30)
    facts = await third.hand.read_facts()
    assert (facts.upstream, facts.receiver) == (f"{second.ip}:{second.database.port}", "streaming")
