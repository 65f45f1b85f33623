"""Plan and hand together: from what is there to what is wanted, with real servers."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import logging
import math
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import asyncpg
import pytest
import pytest_asyncio
from edge.postgres_world import Host, World, until, worlds
from qluster.database.failures import Failures
from qluster.database.orders import Clone, KeepSlots, Order, Promote, StartStandby, StopFast, StopImmediate, Terms
from qluster.database.plan import Wanted, next_order, reason
from qluster.edge.guard import Guard
from qluster.edge.postgres import PostgresFailed
from qluster.edge.process import start_ticks

pytestmark = pytest.mark.unprivileged
log = logging.getLogger(__name__)


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    async for made in worlds():
        yield made


async def settle(host: Host, wanted: Wanted, limit: float = 60.0, terms: Terms | None = None) -> list[str]:
    """Do what the plan says until it says nothing more; the orders that were given, but for those on slots.

    One that is tried again as it was, because what had kept it from being done passes, is the same order still.
    """
    wanted = replace(wanted, terms=terms or host.terms)
    failures, given = Failures(), []
    again: Order | None = None
    until_time = time.monotonic() + limit
    while True:
        facts = await host.hand.read_facts()
        now = time.monotonic()
        assert now < until_time, f"{given} {facts} {reason(facts, wanted, failures)}"
        order = next_order(facts, wanted, failures, now)
        if order is None:
            if failures.next_at == float("inf") and facts.server in ("running", "stopped"):
                return given
            await asyncio.sleep(0.05)
            continue
        if not isinstance(order, KeepSlots) and order != again:
            given.append(type(order).__name__)
        try:
            await host.hand.perform(order)
            failures.succeeded(order)
            again = None
        except PostgresFailed as failure:
            log.warning("%s failed: %s", order, failure)
            failures.failed(order, str(failure), now, passing=failure.passing)
            again = order if failure.passing else None
            if failure.passing and (await host.hand.read_facts()).standing in ("diverged", "outrun"):
                failures.succeeded(order)


async def cluster(
    world: World, replicas: int = 1, made: Sequence[Host] | None = None
) -> tuple[int, list[Host]]:
    """A primary and some replicas, made by the plan alone."""
    hosts = list(made or [world.host() for _ in range(replicas + 1)])
    for host in hosts:
        await host.hand.adopt()
    assert await settle(hosts[0], Wanted(kind="found")) == ["Initialise"]
    system_id = (await hosts[0].hand.read_facts()).system_id
    assert system_id is not None
    assert await settle(hosts[0], reign(1, system_id)) == ["StartPrimary"]
    for host in hosts[1:]:
        assert await settle(host, follow(hosts[0], 1, system_id)) == ["Clone", "StartStandby"]
    return system_id, hosts


def reign(number: int, system_id: int) -> Wanted:
    return Wanted(kind="primary", reign=number, system_id=system_id)


def follow(host: Host, number: int, system_id: int) -> Wanted:
    return Wanted(kind="follow", reign=number, upstream=host.address, system_id=system_id)


async def count(host: Host) -> int:
    try:
        return int((await host.sql("SELECT count(*) AS n FROM t"))[0]["n"])
    except (OSError, asyncpg.PostgresError):
        return -1


async def test_a_primary_that_crashed_goes_on_in_its_next_reign(world: World) -> None:
    system_id, (host, other) = await cluster(world)
    await host.sql("CREATE TABLE t AS SELECT generate_series(1, 100) AS n")
    os.kill(host.hand.pid or 0, signal.SIGKILL)
    await until(lambda: _stopped(host))
    assert await settle(host, reign(2, system_id)) == ["StartPrimary"]
    facts = await host.hand.read_facts()
    assert (facts.timeline, facts.last_reign, await count(host)) == (1, 2, 100)
    assert await settle(other, follow(host, 2, system_id)) in ([], ["Follow"])


async def test_the_cluster_survives_its_primary_and_takes_it_back(world: World) -> None:
    system_id, (first, second) = await cluster(world)
    await first.sql("CREATE TABLE t AS SELECT generate_series(1, 100) AS n")
    reached = (await first.hand.read_facts()).position
    await second.facts_when(lambda facts: (facts.position or 0) >= reached)
    os.kill(first.hand.pid or 0, signal.SIGKILL)
    await until(lambda: _stopped(first))
    assert await settle(second, Wanted(kind="detached", system_id=system_id)) == ["Detach"]
    assert await settle(second, reign(2, system_id)) == ["Promote"]
    assert await settle(first, follow(second, 2, system_id)) == ["Rewind", "StartStandby"]
    await second.sql("INSERT INTO t SELECT generate_series(1, 11)")
    await until(lambda: _counts(first, 111))


async def test_a_former_primary_of_an_older_reign_gets_a_timeline_of_its_own(world: World) -> None:
    """Another node reigned in between: what is here may lack its writes, so no start on the old timeline."""
    system_id, (first, _) = await cluster(world)
    await first.hand.perform(StopFast())
    assert await settle(first, reign(5, system_id)) == ["StartStandby", "Promote"]
    assert (await first.hand.read_facts()).timeline == 2


async def test_a_damaged_former_primary_is_copied_anew(world: World) -> None:
    system_id, (first, second) = await cluster(world)
    await first.sql("CREATE TABLE t AS SELECT generate_series(1, 100) AS n")
    reached = (await first.hand.read_facts()).position
    await second.facts_when(lambda facts: (facts.position or 0) >= reached)
    os.kill(first.hand.pid or 0, signal.SIGKILL)
    await until(lambda: _stopped(first))
    shutil.rmtree(first.data / "pg_wal")
    await settle(second, Wanted(kind="detached", system_id=system_id))
    await settle(second, reign(2, system_id))
    given = await settle(first, follow(second, 2, system_id))
    assert given == ["Rewind", "Rewind", "Clone", "StartStandby"]
    await until(lambda: _counts(first, 100))


async def test_a_damaged_standby_is_copied_anew(world: World) -> None:
    system_id, (first, second) = await cluster(world)
    await first.sql("CREATE TABLE t AS SELECT generate_series(1, 100) AS n")
    await second.hand.perform(StopFast())
    shutil.rmtree(second.data / "pg_wal")
    given = await settle(second, follow(first, 1, system_id))
    assert given[-2:] == ["Clone", "StartStandby"] and given[:-2] in (["StartStandby"] * n for n in range(1, 7))
    await until(lambda: _counts(second, 100))


async def test_a_standby_that_lost_its_wal_upstream_is_copied_anew(world: World) -> None:
    system_id, (first, second) = await cluster(world)
    await second.hand.perform(StopFast())
    await first.sql("CREATE TABLE t AS SELECT generate_series(1, 100) AS n")
    await first.sql("ALTER SYSTEM SET wal_keep_size = 0", user="qluster")
    for name in ("min_wal_size = '32MB'", "max_wal_size = '32MB'", "max_slot_wal_keep_size = '16MB'"):
        await first.sql(f"ALTER SYSTEM SET {name}", user="qluster")
    # Our own file names wal_keep_size, and what ALTER SYSTEM says of it is stronger.
    await first.sql("SELECT pg_reload_conf()", user="qluster")
    for _ in range(6):
        await first.sql("SELECT pg_switch_wal()", user="qluster")
        await first.sql("INSERT INTO t VALUES (0)")
        await first.sql("CHECKPOINT", user="qluster")
    await until(lambda: _oldest_gone(first))
    given = await settle(second, follow(first, 1, system_id))
    assert given[0] == "StartStandby" and given[-2:] == ["Clone", "StartStandby"]
    await until(lambda: _counts(second, 106))


async def test_a_standby_that_missed_two_promotions_within_one_wal_file_is_copied_anew(world: World) -> None:
    """The primary cannot send the end of the standby's timeline any more, and the server never heals by itself."""
    system_id, (first, second) = await cluster(world)
    await first.sql("CREATE TABLE t AS SELECT generate_series(1, 100) AS n")
    await until(lambda: _counts(second, 100))
    await second.hand.perform(StopFast())
    await first.sql("INSERT INTO t VALUES (0)")
    for number in (2, 3):
        await first.hand.perform(StopImmediate())
        await first.hand.perform(StartStandby(None, first.terms))
        await first.hand.perform(Promote(number, first.terms))
        await first.sql("INSERT INTO t VALUES (0)")
    given = await settle(second, follow(first, 3, system_id))
    assert given[-2:] == ["Clone", "StartStandby"], given
    await until(lambda: _counts(second, 103))


async def test_a_clone_that_is_cancelled_begins_again(world: World) -> None:
    system_id, (first, _) = await cluster(world)
    third = world.host()
    await third.hand.adopt()
    await first.sql("CREATE TABLE t AS SELECT n, repeat('x', 500) FROM generate_series(1, 60000) AS n")
    task = asyncio.create_task(third.hand.perform(Clone(first.address, system_id, third.terms)))
    await until(lambda: _any(third))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await third.hand.read_facts()).directory == "empty"
    third.new_hand()
    await third.hand.adopt()
    assert list(third.data.iterdir()) == []
    assert await settle(third, follow(first, 1, system_id)) == ["Clone", "StartStandby"]
    await until(lambda: _counts(third, 60000))


async def test_the_guard_ends_a_real_database_in_time(world: World) -> None:
    system_id, (host, _) = await cluster(world)
    guard = Guard(host.database.data_dir)
    await guard.start()
    try:
        took = []
        for number in (2, 3):
            pid = host.hand.pid
            assert pid is not None
            guard.server(pid)
            deadline = time.monotonic() + 0.2
            guard.deadline(deadline)
            await until(lambda pid=pid: _gone(pid))
            took.append(time.monotonic() - deadline)
            await until(lambda: _stopped(host))
            guard.deadline(math.inf)  # as the next reign brings with it
            assert await settle(host, reign(number, system_id)) == ["StartPrimary"]
        assert min(took) < 1.0, "0.05 s measured on an idle host"
    finally:
        await guard.stop()


async def _gone(pid: int) -> bool:
    return start_ticks(pid) is None


async def _stopped(host: Host) -> bool:
    return host.hand.pid is None


async def _counts(host: Host, wanted: int) -> bool:
    return await count(host) == wanted


async def _any(host: Host) -> bool:
    return any(host.data.glob(".qluster-new/*"))


async def _oldest_gone(host: Host) -> bool:
    rows = await host.sql(
        "SELECT min(name) AS oldest FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'", user="qluster"
    )
    return str(rows[0]["oldest"]) > "000000010000000000000004"
