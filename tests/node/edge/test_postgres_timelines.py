"""Two servers that are promoted from the same place, because the second could not follow the first."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from edge.postgres_world import Host, World, until, worlds
from qluster.database.orders import (
    Clone,
    Detach,
    Follow,
    Initialise,
    Promote,
    Rewind,
    StartPrimary,
    StartStandby,
    StopImmediate,
)
from qluster.edge.postgres import PostgresFailed, copying, starting
from qluster.edge.postgres.reserving import reserve

pytestmark = pytest.mark.unprivileged


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    async for made in worlds():
        yield made


async def founded(world: World, replicas: int) -> list[Host]:
    """A primary with a table, and replicas that have it."""
    hosts = [world.host() for _ in range(replicas + 1)]
    first = hosts[0]
    await first.hand.adopt()
    await first.hand.perform(Initialise(first.terms))
    await first.hand.perform(StartPrimary(1, first.terms))
    await first.sql("CREATE TABLE t AS SELECT 1 AS n")
    for host in hosts[1:]:
        await host.hand.adopt()
        await host.hand.perform(Clone(first.address, None, host.terms))
        await host.hand.perform(StartStandby(first.address, host.terms))
        await host.facts_when(lambda facts: facts.receiver == "streaming")
    return hosts


async def has(host: Host, *rows: int) -> bool:
    return [row["n"] for row in await host.sql("SELECT n FROM t ORDER BY n")] == list(rows)


async def archived(world: World, pattern: str) -> bool:
    return any(world.archive.rglob(pattern))


async def test_their_timelines_differ_so_that_all_come_back(world: World) -> None:
    first, second, third, fourth = await founded(world, 3)
    await first.hand.perform(StopImmediate())
    for host in (second, third, fourth):
        await host.hand.perform(Detach(host.terms))
    assert (await second.hand.perform(Promote(2, second.terms, 2))).timeline == 2
    await fourth.follow(Follow(second.address, fourth.terms))
    await second.sql("INSERT INTO t SELECT generate_series(100, 2000)")
    await until(lambda: archived(world, "00000002.history"))
    behind = (await second.hand.read_facts()).position
    await fourth.facts_when(lambda facts: (facts.position or 0) >= behind)
    await second.hand.perform(StopImmediate())
    # As much as the second had when it was promoted, and nothing of what it wrote then.
    assert (await third.hand.perform(Promote(3, third.terms, 3))).timeline == 3
    await third.sql("INSERT INTO t VALUES (7)")
    await until(lambda: archived(world, "00000003.history"))
    with pytest.raises(PostgresFailed, match="has WAL that the upstream does not have"):
        await fourth.hand.perform(Follow(third.address, fourth.terms))
    for host in (second, fourth):
        facts = await host.hand.read_facts()
        await host.hand.perform(Rewind(third.address, facts.system_id, host.terms))
        await host.hand.perform(StartStandby(third.address, host.terms))
        await until(lambda host=host: has(host, 1, 7))
    await third.sql("SELECT pg_switch_wal()", user="qluster")
    await until(lambda: archived(world, "00000003" + 16 * "[0-9A-F]"))
    assert (await third.hand.read_facts()).archive_error == ""


async def test_numbers_of_reigns_that_promoted_nobody_are_left_out(world: World) -> None:
    first, second, third = await founded(world, 2)
    await first.hand.perform(StopImmediate())
    for host in (second, third):
        await host.hand.perform(Detach(host.terms))
    # A promotion that was called off after the numbers had been reserved, and a start after that.
    reserve(second.data, 1, 9)
    await second.hand.perform(StopImmediate())
    await second.hand.perform(StartStandby(None, second.terms))
    assert not list((second.data / "pg_wal").glob("*.history"))
    assert (await second.hand.perform(Promote(5, second.terms, 5))).timeline == 5
    await third.follow(Follow(second.address, third.terms))
    await second.sql("INSERT INTO t VALUES (2)")
    await until(lambda: has(third, 1, 2))
    for name in ("00000002.history", "00000004.history", "00000005.history"):
        await until(lambda name=name: archived(world, name))
    # Whoever has crossed them starts again, as a standby and as the next primary.
    for host in (third, second):
        await host.hand.perform(StopImmediate())
    await third.hand.perform(StartStandby(None, third.terms))
    assert (await third.hand.perform(Promote(6, third.terms, 6))).timeline == 6
    await third.sql("INSERT INTO t VALUES (3)")
    facts = await second.hand.read_facts()
    await second.hand.perform(Rewind(third.address, facts.system_id, second.terms))
    await second.hand.perform(StartStandby(third.address, second.terms))
    await until(lambda: has(second, 1, 2, 3))


async def test_a_promotion_that_was_taken_back_leaves_no_timeline_behind(world: World) -> None:
    """It would be told from a standby that is on it by nothing, and pass for the newest at the next failover."""
    first, second = await founded(world, 1)
    await second.hand.perform(Detach(second.terms))
    await second.hand.perform(Promote(2, second.terms, 2))
    await second.sql("INSERT INTO t VALUES (2)")
    await first.sql("INSERT INTO t VALUES (3)")
    facts = await second.hand.read_facts()
    assert facts.timeline == 2
    await second.hand.perform(StopImmediate())
    await second.hand.perform(Rewind(first.address, facts.system_id, second.terms))
    assert not list((second.data / "pg_wal").glob("00000002*"))
    await second.hand.perform(StartStandby(first.address, second.terms))
    await until(lambda: has(second, 1, 3))
    assert (await second.facts_when(lambda facts: facts.receiver == "streaming")).timeline == 1


async def parted_from_a_fresh_copy(world: World) -> tuple[Host, Host]:
    """A primary that is a fresh copy, and one who left its way before the first WAL that it has."""
    first, second, third = await founded(world, 2)
    await third.hand.perform(Detach(third.terms))
    await third.hand.perform(Promote(2, third.terms, 2))
    await third.sql("INSERT INTO t VALUES (2)")
    for _ in range(3):
        await first.sql("INSERT INTO t VALUES (3)")
        await first.sql("SELECT pg_switch_wal()", user="qluster")
    facts = await second.hand.read_facts()
    await second.hand.perform(Clone(first.address, facts.system_id, second.terms))
    await second.hand.perform(StartStandby(None, second.terms))
    await first.hand.perform(StopImmediate())
    await second.hand.perform(Promote(3, second.terms, 3))
    await third.hand.perform(StopImmediate())
    return second, third


async def test_whoever_parted_before_the_first_wal_of_the_upstream_is_copied(world: World) -> None:
    second, third = await parted_from_a_fresh_copy(world)
    facts = await third.hand.read_facts()
    with pytest.raises(PostgresFailed, match="never becomes consistent"):
        await third.hand.perform(Rewind(second.address, facts.system_id, third.terms))
    facts = await third.hand.read_facts()
    assert facts.standing == "outrun" and facts.directory == "initialised"
    await third.hand.perform(Clone(second.address, facts.system_id, third.terms))
    await third.hand.perform(StartStandby(second.address, third.terms))
    await until(lambda: has(third, 1, 3, 3, 3))


async def test_a_rewound_directory_whose_wal_has_a_gap_is_not_started(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the upstream had was removed during the rewind, or the daemon ended after one."""
    second, third = await parted_from_a_fresh_copy(world)
    facts = await third.hand.read_facts()
    monkeypatch.setattr(copying, "_check_reachable", lambda *_: None)
    await third.hand.perform(Rewind(second.address, facts.system_id, third.terms))
    for hand in (third.hand, third.new_hand()):
        await hand.adopt()
        with pytest.raises(PostgresFailed, match="before the database is consistent"):
            await hand.perform(StartStandby(second.address, third.terms))
        assert (await hand.read_facts()).standing == "outrun"
    # As it was found: a server had started and waited for ever.
    monkeypatch.setattr(starting, "check_whole", started_nevertheless)
    await third.hand.perform(StartStandby(None, third.terms))
    assert (await third.hand.read_facts()).in_recovery is None
    with pytest.raises(PostgresFailed, match="needs WAL that the upstream has removed"):
        await third.hand.perform(Follow(second.address, third.terms))
    assert (await third.hand.read_facts()).standing == "outrun"


async def started_nevertheless(site: object) -> None:
    """In the place of what keeps it from starting."""



async def test_file_of_a_timeline_that_begins_further_on_is_not_taken_for_its_content(world: World) -> None:
    """A standby that followed a new primary crashed before it had received as far as that one had been promoted."""
    _, second = await founded(world, 1)
    wal = second.data / "pg_wal"
    (wal / "00000002.history").write_text("1\t7/60\tno recovery target specified\n")
    (wal / "000000020000000700000000").touch()
    assert (await second.hand.read_facts()).timeline == 1
    (wal / "00000002.history").write_text("1\t0/60\tno recovery target specified\n")
    assert (await second.hand.read_facts()).timeline == 2
