"""Backups from a replica, and what can be recovered from them after everything else is gone, with real servers."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import os
import re
import shutil
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from edge.postgres_world import Host, World, founded, replica, until, worlds
from qluster.database.backups import NoBackup
from qluster.database.orders import Detach, Initialise, Promote, StartPrimary, StopImmediate
from qluster.edge.postgres import PostgresFailed
from qluster.edge.postgres.plain_repository import NOTE, PlainRepository
from qluster.edge.postgres.repository import Repository, RepositoryBusy, RepositoryFailed
from qluster.edge.postgres.restoring import choose_from, restore, target_of
from qluster.edge.postgres.site import Site
from qluster.edge.postgres.surveying import own_repository

pytestmark = pytest.mark.unprivileged


@pytest_asyncio.fixture
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async for made in worlds(getattr(request, "param", "plain")):
        yield made


both_tools = pytest.mark.parametrize("world", ["plain", "pgbackrest"], indirect=True)
LONG = pytest.mark.skipif(not os.environ.get("QLUSTER_FULL_TESTS"), reason="the second tool: QLUSTER_FULL_TESTS=1")
both_at_length = pytest.mark.parametrize("world", ["plain", pytest.param("pgbackrest", marks=LONG)], indirect=True)


async def repository(world: World, host: Host, **changes: object) -> PlainRepository:
    """The repository as a host sees it."""
    found = await seen_by(world, host, **changes)
    assert isinstance(found, PlainRepository)
    return found


async def seen_by(world: World, host: Host, **changes: object) -> Repository:
    """The repository of the world's tool as a host sees it."""
    site = Site(host.database, host.ip, str(host.root / "state"), print, print, world.settings(**changes))
    return await own_repository(site, host.ip)


class Ledger:
    """A writer whose acknowledged rows stand outside of the database."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.acknowledged: list[int] = []
        self._go = True

    async def write(self) -> None:
        """Write until told otherwise or cut off."""
        connection = await asyncpg.connect(
            host=self._host.ip, port=self._host.database.port, user="app", password="app's secret", database="app"
        )
        try:
            while self._go:
                number = len(self.acknowledged) + 1
                await connection.execute("INSERT INTO ledger VALUES ($1, now())", number)
                self.acknowledged.append(number)
        finally:
            connection.terminate()

    async def until(self, count: int) -> None:
        """Wait for so many more rows."""
        end = len(self.acknowledged) + count

        async def written() -> bool:
            return len(self.acknowledged) >= end

        await until(written)

    def end(self) -> None:
        """No more rows."""
        self._go = False


async def all_archived(world: World, host: Host) -> None:
    """Everything written so far is in the archive."""
    await host.sql("SELECT pg_create_restore_point('something to archive')", user="qluster")
    last = (await host.sql("SELECT pg_walfile_name(pg_switch_wal()) AS name", user="qluster"))[0]["name"]

    async def there() -> bool:
        return world.archived(last)

    await until(there)


async def recovered(world: World, repo: Repository, target: str | None = None, **how: bool) -> Host:
    """A host whose database comes from the repository, in its first reign."""
    host = world.host()
    site = Site(host.database, host.ip, str(host.root / "state"), host.pids.append, host.exits.append, host.backup)
    await restore(site, repo, await choose_from(repo, target_of(target), **how))
    facts = await host.hand.read_facts()
    assert facts.fresh and not facts.standby and facts.control_state == "shut down"
    await host.hand.perform(StartPrimary(1, host.terms))
    return host


async def rows(host: Host) -> list[int]:
    """What the ledger holds there."""
    return [row["n"] for row in await host.sql("SELECT n FROM ledger ORDER BY n")]


async def destroy(*hosts: Host) -> None:
    """The hosts are gone, with their disks."""
    for host in hosts:
        await host.hand.perform(StopImmediate())
        shutil.rmtree(host.data)


async def now_on(host: Host) -> str:
    """The server's time."""
    shown = await host.sql("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.USZ') AS t")
    return str(shown[0]["t"]).replace(" ", "T")


@both_tools
async def test_everything_acknowledged_comes_back_after_all_hosts_are_gone(world: World) -> None:
    primary = await founded(world)
    second = await replica(world, primary)
    await primary.sql("CREATE TABLE ledger (n int, at timestamptz)")
    ledger = Ledger(primary)
    writing = asyncio.create_task(ledger.write())
    await ledger.until(50)
    taker = second if world.tool == "plain" else primary
    repo = await seen_by(world, taker)
    backup = await repo.take()
    assert backup.node == taker.ip and backup.start < backup.stop and backup.timeline == 1 and backup.size > 100_000
    assert (await repo.shelf()).backups == (backup,) and await repo.check(backup) == []
    await ledger.until(50)
    if world.tool == "pgbackrest":
        backup = await repo.take()
        assert backup.kind == "incr" and len((await repo.shelf()).backups) == 2
    await ledger.until(50)
    ledger.end()
    await writing
    first, moment = len(ledger.acknowledged), await now_on(primary)
    await primary.sql("INSERT INTO ledger VALUES ($1, now())", first + 1)
    # A change of primary: the way leads over two timelines.
    await all_archived(world, primary)
    await second.hand.perform(Detach(second.terms))
    await second.hand.perform(Promote(2, second.terms))
    await second.sql("INSERT INTO ledger SELECT generate_series($1::int, $1 + 9), now()", first + 2)
    await all_archived(world, second)
    found = await repo.completeness(await repo.shelf())
    assert found.complete and found.timeline == 2 and found.newest == found.reaches and found.written > 0
    await destroy(primary, second)

    third = await recovered(world, repo)
    assert await rows(third) == list(range(1, first + 12))
    assert (await third.hand.read_facts()).timeline == 3
    await destroy(third)

    fourth = await recovered(world, repo, f"time {moment}")
    assert await rows(fourth) == ledger.acknowledged
    await fourth.sql("INSERT INTO ledger VALUES (0, now())")

    oldest = (await repo.shelf()).backups[0].label
    with pytest.raises(NoBackup, match=rf"time 2020-01-01 .* lies before the oldest backup, {oldest}"):
        await choose_from(repo, target_of("time 2020-01-01T00:00:00Z"))
    with pytest.raises(NoBackup, match="lies before the oldest backup"):
        await choose_from(repo, target_of("lsn 0/28"))


@both_at_length
async def test_a_gap_in_the_archive_is_told_and_no_recovery_ends_there_unasked(world: World) -> None:
    primary = await founded(world)
    repo = await seen_by(world, primary)
    await primary.sql("CREATE TABLE ledger (n int)")
    backup = await repo.take()
    for number in (1, 2, 3):
        await primary.sql("INSERT INTO ledger VALUES ($1)", number)
        await all_archived(world, primary)
    moment = await now_on(primary)
    files = world.segments("[0-9A-F]" * 24)
    segments = [path.name[:24] for path in files]
    files[-2].rename(world.root / "lost")
    found = await repo.completeness(await repo.shelf())
    assert not found.complete and [gap.first for gap in found.gaps] == [segments[-2]]
    assert found.reaches == segments[-3] and found.newest == segments[-1]
    await destroy(primary)
    with pytest.raises(NoBackup, match=f"{segments[-2]} is missing"):
        await choose_from(repo, target_of(None))
    site = world.host()
    with pytest.raises(PostgresFailed, match=f"before configured recovery target was reached; .* {segments[-3]}"):
        await restore(
            Site(site.database, site.ip, str(site.root / "state"), print, print, site.backup), repo,
            await choose_from(repo, target_of(f"time {moment}")),
        )  # fmt: skip
    assert (await site.hand.read_facts()).directory == "empty"
    assert await rows(await recovered(world, repo, accept_gap=True)) in ([1], [1, 2])
    assert backup.label


@both_at_length
async def test_a_founder_recovers_its_database_as_the_configuration_says(world: World) -> None:
    """With the passwords of its own cluster, and named restore points for a target."""
    source = await founded(world)
    repo = await seen_by(world, source)
    await source.sql("CREATE TABLE ledger (n int)")
    await repo.take()
    await source.sql("INSERT INTO ledger VALUES (1)")
    await source.sql("SELECT pg_create_restore_point('before the release')", user="qluster")
    await source.sql("INSERT INTO ledger VALUES (2)")
    await all_archived(world, source)

    host = world.host()
    own = world.root / "own archive"
    own.mkdir()
    places = {"found_archive_dir": str(world.archive)} if world.tool == "plain" else {"dir": str(own)}
    found = world.settings(found_from="newest", found_target="name before the release",
                           found_dir=str(world.root / "base"), **places)  # fmt: skip
    host.database = type(host.database)(**{
        **{name: getattr(host.database, name) for name in host.database.__struct_fields__},
        "wal_archive_dir": str(own), "application_database": "app2",
    })  # fmt: skip
    hand = type(host.hand)(host.database, host.ip, str(host.root / "state"), backup=found)
    host.hand = hand
    assert await hand.perform(Initialise(host.terms)) == repo.system_id
    (world.root / "application").write_text("another one\n")
    with pytest.raises(PostgresFailed, match="no database is made in a directory that is initialised"):
        await hand.perform(Initialise(host.terms))
    await hand.perform(StartPrimary(1, host.terms))
    assert await rows(host) == [1]
    assert await host.sql("SELECT 1 FROM pg_database WHERE datname = 'app2'")
    # What it writes goes into its own archive, with the history of its timeline.
    await host.sql("SELECT pg_switch_wal()", user="qluster")

    async def archived() -> bool:
        names = [path.name for path in own.rglob("*") if path.is_file()]
        return "00000002.history" in names and any(re.match("00000002[0-9A-F]{16}", name) for name in names)

    await until(archived)


async def test_a_founding_from_a_backup_that_is_not_there_says_what_there_is(world: World) -> None:
    host = world.host()
    host.hand = type(host.hand)(
        host.database, host.ip, str(host.root / "state"), backup=world.settings(found_from="20200101T000000Z")
    )
    with pytest.raises(PostgresFailed, match="has backups of 0 databases, none"):
        await host.hand.perform(Initialise(host.terms))
    assert (await host.hand.read_facts()).directory == "empty"


async def test_what_a_crash_left_is_no_backup_and_goes_with_the_next_one(world: World) -> None:
    primary = await founded(world)
    repo = await repository(world, primary, keep=1)
    place = world.root / "base" / str(repo.system_id)
    (place / ".part-20200101T000000Z").mkdir(parents=True)
    (place / ".part-20200101T000000Z" / "base.tar.gz").write_bytes(b"half")
    (place / "20210101T000000Z").mkdir()
    shelf = await repo.shelf()
    assert shelf.backups == () and len(shelf.broken) == 1 and "20210101T000000Z is no whole backup" in shelf.broken[0]
    backup = await repo.take()
    assert not (place / ".part-20200101T000000Z").exists() and (place / "20210101T000000Z").exists()
    (place / "20210101T000000Z").rmdir()
    with repo._locked(), pytest.raises(RepositoryBusy):
        await repo.take()
    primary.database = type(primary.database)(**{
        **{name: getattr(primary.database, name) for name in primary.database.__struct_fields__}, "port": 1,
    })  # fmt: skip
    with pytest.raises(RepositoryFailed, match="the backup failed"):
        await (await repository(world, primary)).take()
    shelf = await repo.shelf()
    assert shelf.backups == (backup,) and shelf.failure is not None and shelf.failure.node == primary.ip
    assert not list(place.glob(".part-*"))


async def test_a_replica_that_is_promoted_meanwhile_leaves_no_backup(world: World) -> None:
    primary = await founded(world)
    second = await replica(world, primary)
    # Large enough, and slow enough, for the promotion to come in between.
    await primary.sql("CREATE TABLE big AS SELECT n, md5(n::text) || repeat(md5((n + 1)::text), 20) AS t "
                      "FROM generate_series(1, 60000) AS n")  # fmt: skip
    position = (await primary.hand.read_facts()).position
    await second.facts_when(lambda facts: (facts.replayed or 0) >= (position or 0))
    repo = await repository(world, second, compression=9)
    await second.hand.perform(Detach(second.terms))
    taking = asyncio.create_task(repo.take())
    place = world.root / "base" / str(repo.system_id)

    async def begun() -> bool:
        return any(path.stat().st_size > 100_000 for path in place.glob(".part-*/base.tar.gz"))

    await until(begun)
    await second.hand.perform(Promote(2, second.terms))
    with pytest.raises(RepositoryFailed, match="promoted"):
        await taking
    assert (await repo.shelf()).backups == () and not list(place.glob(".part-*"))


@both_at_length
async def test_old_backups_and_their_wal_go_and_the_rest_still_recovers(world: World) -> None:
    primary = await founded(world)
    repo = await seen_by(world, primary, keep=1, full_interval=0.0)
    await primary.sql("CREATE TABLE ledger (n int)")
    labels = []
    for number in (1, 2):
        await primary.sql("INSERT INTO ledger VALUES ($1)", number)
        labels.append((await repo.take()).label)
        await all_archived(world, primary)
    gone, files = await repo.expire(await repo.shelf())
    shelf = await repo.shelf()
    assert gone == labels[:1] and files >= 1 and [each.label for each in shelf.backups] == labels[1:]
    assert (await repo.completeness(shelf)).complete
    assert await repo.expire(shelf) == ([], 0)
    await destroy(primary)
    assert await rows(await recovered(world, repo)) == [1, 2]


async def test_a_changed_byte_is_found_and_nothing_is_restored_from_it(world: World) -> None:
    primary = await founded(world)
    repo = await repository(world, primary, compression=0)
    backup = await repo.take()
    base = world.root / "base" / str(repo.system_id) / backup.label / "base.tar"
    with tarfile.open(base) as tar:
        offset = tar.getmember("PG_VERSION").offset_data
    with open(base, "r+b") as file:
        file.seek(offset)
        file.write(b"9")
    assert await repo.check(backup) == ["PG_VERSION was changed: its checksum is wrong"]
    host = world.host()
    with pytest.raises(RepositoryFailed, match="PG_VERSION was changed"):
        await repo.unpack(backup, Path(host.database.data_dir) / "x")
    os.unlink(base)
    assert "has no base.tar" in (await repo.check(backup))[0]
    (base.parent / NOTE).write_text("{}")
    assert (await repo.shelf()).backups == ()
