"""A database that follows an installation outside its cluster: whom it takes, whom it refuses, what it gives up."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from edge.postgres_world import Host, World, free_port, until, worlds
from qluster.database.orders import (
    Clone,
    CloneOutside,
    Detach,
    FollowOutside,
    Initialise,
    Outside,
    Promote,
    RewindOutside,
    StartPrimary,
    StartStandby,
    StopImmediate,
    Terms,
)
from qluster.edge.postgres import PostgresFailed
from qluster.events import Address

pytestmark = pytest.mark.unprivileged


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    async for made in worlds():
        yield made


def far(host: Host, *addresses: Address) -> Terms:
    """What the terms of a node say that leads a standby of these."""
    return replace(host.terms, outside=Outside(tuple(sorted(addresses)), "beta", "site_b"))


async def primary(host: Host) -> Host:
    """A database of its own."""
    await host.hand.adopt()
    await host.hand.perform(Initialise(host.terms))
    await host.hand.perform(StartPrimary(1, host.terms))
    await host.sql("CREATE TABLE t AS SELECT 1 AS n")
    return host


async def has(host: Host, *rows: int) -> bool:
    return [row["n"] for row in await host.sql("SELECT n FROM t ORDER BY n")] == list(rows)


async def refusal(host: Host, *addresses: Address, system_id: int | None = None) -> PostgresFailed:
    """Why a copy is not made."""
    with pytest.raises(PostgresFailed) as found:
        await host.hand.perform(CloneOutside(system_id, far(host, *addresses)))
    assert not any(host.data.iterdir()), "nothing was put there"
    return found.value


async def test_foreign_databases_and_silent_ones_are_refused_and_nothing_is_touched(world: World) -> None:
    there, other, here = await primary(world.host()), await primary(world.host()), world.host()
    await here.hand.adopt()
    nobody = (there.ip, free_port(there.ip))
    silent = await refusal(here, nobody)
    assert silent.passing and f"{nobody[0]}:{nobody[1]}" in str(silent)
    several = await refusal(here, there.address, other.address)
    assert "several installations" in str(several) and str(other.address[1]) in str(several)
    foreign = await refusal(here, other.address, system_id=(await there.hand.read_facts()).system_id)
    assert "this cluster's has" in str(foreign)
    here.hand._site.programs._major = 14
    assert "the programs here are of 14" in str(await refusal(here, there.address))


async def test_primary_outside_goes_before_its_standby_and_is_found_again_after_a_failover(world: World) -> None:
    there, second, here = await primary(world.host()), world.host(), world.host()
    await second.hand.adopt()
    await second.hand.perform(Clone(there.address, None, second.terms))
    await second.hand.perform(StartStandby(there.address, second.terms))
    await here.hand.adopt()
    terms = far(here, there.address, second.address)
    system_id = await here.hand.perform(CloneOutside(None, terms))
    facts = await here.hand.read_facts()
    assert facts.fresh and facts.standby and facts.system_id == system_id, "it waits for its reign"
    await here.hand.perform(StartStandby(None, terms))
    await here.follow(FollowOutside(terms))
    facts = await here.facts_when(lambda facts: facts.receiver == "streaming")
    assert not facts.fresh and facts.upstream == f"{there.address[0]}:{there.address[1]}"
    slots = {row["slot_name"]: row["active"] for row in await there.sql("SELECT * FROM pg_replication_slots")}
    assert slots["site_b"] and "qluster_node3" not in slots
    names = await there.sql("SELECT application_name FROM pg_stat_replication", user="qluster")
    assert "beta.node3" in {row["application_name"] for row in names}
    await there.sql("INSERT INTO t VALUES (2)")
    await until(lambda: has(here, 1, 2))
    await here.facts_when(lambda facts: facts.ahead is not None and facts.replayed == facts.ahead)
    await until(lambda: has(second, 1, 2))
    # The second one takes over; the first stays where it is, and is a primary still.
    await second.hand.perform(Detach(second.terms))
    await second.hand.perform(Promote(2, second.terms, 2))
    await second.sql("INSERT INTO t VALUES (3)")
    await here.follow(FollowOutside(terms))
    await until(lambda: has(here, 1, 2, 3))
    assert (await here.hand.read_facts()).upstream == f"{second.address[0]}:{second.address[1]}"


async def test_what_the_installation_gave_up_is_given_up_here_too(world: World) -> None:
    there, second, here = await primary(world.host()), world.host(), world.host()
    await second.hand.adopt()
    await second.hand.perform(Clone(there.address, None, second.terms))
    await second.hand.perform(StartStandby(there.address, second.terms))
    await here.hand.adopt()
    terms = far(here, there.address, second.address)
    await here.hand.perform(CloneOutside(None, terms))
    await here.hand.perform(StartStandby(None, terms))
    await here.follow(FollowOutside(terms))
    await second.facts_when(lambda facts: facts.receiver == "streaming")
    await second.hand.perform(Detach(second.terms))
    await there.sql("INSERT INTO t VALUES (2)")
    await until(lambda: has(here, 1, 2))
    await there.hand.perform(StopImmediate())
    await second.hand.perform(Promote(2, second.terms, 2))
    with pytest.raises(PostgresFailed, match="WAL that the upstream does not have"):
        await here.hand.perform(FollowOutside(terms))
    facts = await here.hand.read_facts()
    assert facts.standing == "diverged" and facts.system_id is not None
    await here.hand.perform(RewindOutside(facts.system_id, terms))
    await here.hand.perform(StartStandby(None, terms))
    await here.follow(FollowOutside(terms))
    await until(lambda: has(here, 1))
    await second.sql("INSERT INTO t VALUES (7)")
    await until(lambda: has(here, 1, 7))
