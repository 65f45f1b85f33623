"""The life of a database, with real servers."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from edge.postgres_world import Host, World, founded, replica, until, worlds
from edge.runner_world import alive
from qluster.database.orders import (
    Adjust,
    Clone,
    Detach,
    Follow,
    Initialise,
    Promote,
    Rewind,
    StartPrimary,
    StartStandby,
    StopFast,
    StopImmediate,
)
from qluster.edge.postgres import PostgresFailed

pytestmark = pytest.mark.unprivileged


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    async for made in worlds():
        yield made


async def test_a_new_database_has_the_role_and_database_of_the_application(world: World) -> None:
    host = world.host()
    assert (await host.hand.read_facts()).directory == "empty"
    system_id = await host.hand.perform(Initialise(host.terms))
    facts = await host.hand.read_facts()
    assert (facts.directory, facts.system_id, facts.server) == ("initialised", system_id, "stopped")
    assert facts.fresh and not facts.standby and facts.control_state == "shut down" and facts.position
    opened = await host.hand.perform(StartPrimary(1, host.terms))
    facts = await host.hand.read_facts()
    assert (facts.server, facts.in_recovery, facts.last_reign, facts.fresh) == ("running", False, 1, False)
    assert facts.timeline == opened.timeline == 1 and facts.position >= opened.position
    await host.sql("CREATE TABLE t (n int)")
    assert (await host.sql("SELECT current_user::text AS u, current_database()::text AS d"))[0]["u"] == "app"
    shown = await host.sql(
        "SELECT name, setting FROM pg_settings WHERE name IN ('data_checksums', 'wal_log_hints', 'jit')"
    )
    assert dict(shown) == {"data_checksums": "on", "wal_log_hints": "on", "jit": "off"}


async def test_a_database_is_founded_with_what_was_chosen(world: World) -> None:
    host = await founded(world, locale="C", encoding="LATIN1", wal_segment_size="1", data_checksums=False)
    shown = await host.sql(
        "SELECT name, setting FROM pg_settings WHERE name IN ('data_checksums', 'wal_segment_size', 'server_encoding')"
    )
    assert dict(shown) == {"data_checksums": "off", "wal_segment_size": "1048576", "server_encoding": "LATIN1"}
    other = world.host(locale="xx_XX.UTF-8")
    with pytest.raises(PostgresFailed, match=r'initdb failed: .*invalid locale name "xx_XX.UTF-8"'):
        await other.hand.perform(Initialise(other.terms))
    assert (await other.hand.read_facts()).directory == "empty"


async def test_no_password_reaches_a_log_or_a_setting(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    primary = await founded(world, parameters={"log_statement": "all", "log_connections": "on"})
    second = await replica(world, primary)
    settings = await second.sql("SELECT setting FROM pg_settings", user="qluster")
    texts = [row["setting"] or "" for row in settings]
    texts += [path.read_text() for path in second.data.glob("*.conf")]
    said = capfd.readouterr()
    assert "database system is ready" in said.err
    assert not [text for text in (*texts, said.err, said.out) if "app's" in text or "ecret" in text]


async def test_a_clone_streams_and_a_detached_one_has_a_final_position(world: World) -> None:
    primary = await founded(world)
    second = await replica(world, primary)
    await primary.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n")
    before = await primary.hand.read_facts()
    assert [(r.name, r.state) for r in before.replicas] == [("node2", "streaming")]
    facts = await second.facts_when(lambda facts: (facts.position or 0) >= before.position)
    assert facts.upstream == f"{primary.ip}:{primary.database.port}" and facts.in_recovery
    assert (facts.last_reign, facts.fresh, facts.standby) == (0, False, True)
    assert (facts.paused, facts.halted) == (False, False)
    await second.sql("SELECT pg_wal_replay_pause()", user="qluster")
    os.kill(second.hand.pid or 0, signal.SIGSTOP)
    facts = await second.facts_when(lambda facts: facts.halted)
    os.kill(second.hand.pid or 0, signal.SIGCONT)
    assert facts.paused and (facts.server, facts.receiver) == ("running", "streaming")
    await second.sql("SELECT pg_wal_replay_resume()", user="qluster")
    await second.facts_when(lambda facts: not facts.paused and not facts.halted)
    await second.hand.perform(Detach(second.terms))
    facts = await second.hand.read_facts()
    assert (facts.upstream, facts.receiver, facts.timeline) == (None, "none", 1)
    assert facts.position >= before.position
    await primary.sql("INSERT INTO t SELECT generate_series(1, 1000)")
    assert (await second.hand.read_facts()).position == facts.position
    await second.follow(Follow(primary.address, second.terms))
    assert (await second.hand.read_facts()).receiver == "streaming"


async def test_a_detached_standby_stays_detached_over_a_crash(world: World) -> None:
    primary = await founded(world)
    second = await replica(world, primary)
    await primary.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n")
    await second.hand.perform(Detach(second.terms))
    final = (await second.hand.read_facts()).position
    await second.hand.perform(StopImmediate())
    facts = await second.hand.read_facts()
    assert (facts.server, facts.upstream, facts.standby) == ("stopped", None, True)
    await second.hand.perform(StartStandby(None, second.terms))
    facts = await second.facts_when(lambda facts: facts.position is not None)
    assert facts.position == final and facts.receiver == "none"


async def test_failover_and_the_return_of_the_former_primary(world: World) -> None:
    first = await founded(world)
    second, third = await replica(world, first), await replica(world, first)
    await first.sql("CREATE TABLE t (n int)")
    await first.sql("INSERT INTO t VALUES (1)")
    reached = (await first.hand.read_facts()).position
    for host in (second, third):
        await host.facts_when(lambda facts: (facts.position or 0) >= reached)
    os.kill(first.hand.pid or 0, signal.SIGKILL)
    await until(lambda: _exited(first))
    position = 0
    for host in (second, third):
        await host.hand.perform(Detach(host.terms))
        position = max(position, (await host.hand.read_facts()).position)
    opened = await second.hand.perform(Promote(2, second.terms))
    assert opened.timeline == 2 and opened.position >= position
    facts = await second.hand.read_facts()
    assert (facts.in_recovery, facts.timeline, facts.last_reign) == (False, 2, 2)
    await third.follow(Follow(second.address, third.terms))
    await second.sql("INSERT INTO t VALUES (2)")
    # The former primary is written on alone: what nobody else has must be taken back.
    await first.hand.perform(StartPrimary(1, first.terms))
    await first.sql("INSERT INTO t SELECT generate_series(100, 2000)")
    await first.hand.perform(StopImmediate())
    facts = await first.hand.read_facts()
    assert facts.last_reign == 1
    await first.hand.perform(Rewind(second.address, facts.system_id, first.terms))
    facts = await first.hand.read_facts()
    assert (facts.last_reign, facts.standby, facts.directory) == (0, True, "initialised")
    await first.hand.perform(StartStandby(second.address, first.terms))
    await first.facts_when(lambda facts: facts.receiver == "streaming" and facts.timeline == 2)
    for host in (first, third):
        await until(lambda host=host: _rows(host, [1, 2]))


async def test_a_standby_ahead_of_the_fork_is_diverged_and_is_rewound(world: World) -> None:
    first = await founded(world)
    second, third = await replica(world, first), await replica(world, first)
    await second.hand.perform(Detach(second.terms))
    await first.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n")
    ahead = (await first.hand.read_facts()).position
    await third.facts_when(lambda facts: (facts.position or 0) >= ahead)
    await first.hand.perform(StopImmediate())
    await second.hand.perform(Promote(2, second.terms))
    await second.sql("CREATE TABLE t AS SELECT 7 AS n")
    with pytest.raises(PostgresFailed, match="has WAL that the upstream does not have"):
        await third.hand.perform(Follow(second.address, third.terms))
    facts = await third.hand.read_facts()
    assert facts.standing == "diverged" and facts.upstream == f"{first.ip}:{first.database.port}"
    await third.hand.perform(Rewind(second.address, facts.system_id, third.terms))
    await third.hand.perform(StartStandby(second.address, third.terms))
    assert (await third.facts_when(lambda facts: facts.receiver == "streaming")).standing == ""
    await until(lambda: _rows(third, [7]))


async def test_a_switchover_loses_nothing_and_needs_no_rewind(world: World) -> None:
    first = await founded(world)
    second = await replica(world, first)
    await first.sql("CREATE TABLE t AS SELECT 1 AS n")
    await first.hand.perform(StopFast())
    await second.hand.perform(Detach(second.terms))
    stopped, detached = await first.hand.read_facts(), await second.hand.read_facts()
    assert detached.position > stopped.position and stopped.control_state == "shut down"
    await second.hand.perform(Promote(2, second.terms))
    await second.sql("INSERT INTO t VALUES (2)")
    await first.hand.perform(Rewind(second.address, stopped.system_id, first.terms))
    await first.hand.perform(StartStandby(second.address, first.terms))
    await until(lambda: _rows(first, [1, 2]))


async def test_a_clone_over_a_database_keeps_what_was_there_until_it_is_whole(world: World) -> None:
    first = await founded(world)
    second = await replica(world, first)
    facts = await second.hand.read_facts()
    await second.hand.perform(StopFast())
    await first.hand.perform(StopFast())
    with pytest.raises(PostgresFailed) as failure:
        await second.hand.perform(Clone(first.address, facts.system_id, second.terms))
    assert failure.value.passing
    assert (await second.hand.read_facts()).directory == "initialised"
    await first.hand.perform(StartPrimary(1, first.terms))
    await first.sql("CREATE TABLE t AS SELECT 5 AS n")
    await second.hand.perform(Clone(first.address, facts.system_id, second.terms))
    await second.hand.perform(StartStandby(first.address, second.terms))
    await until(lambda: _rows(second, [5]))
    assert sorted(path.name for path in second.data.glob(".qluster*")) == []


async def test_another_database_is_never_copied_nor_followed(world: World) -> None:
    first, other = await founded(world), await founded(world)
    mine = (await first.hand.read_facts()).system_id
    await first.hand.perform(StopFast())
    for order in (Clone(other.address, mine, first.terms), Rewind(other.address, mine or 0, first.terms)):
        with pytest.raises(PostgresFailed, match="this cluster's has"):
            await first.hand.perform(order)
    facts = await first.hand.read_facts()
    assert (facts.directory, facts.system_id, facts.last_reign) == ("initialised", mine, 1)


async def test_a_foreign_directory_is_not_touched(world: World) -> None:
    host = world.host()
    (host.data / "photos").mkdir()
    facts = await host.hand.read_facts()
    assert facts.directory == "foreign" and "holds photos and no database" in facts.error
    with pytest.raises(PostgresFailed, match="foreign"):
        await host.hand.perform(Initialise(host.terms))
    assert [path.name for path in host.data.iterdir()] == ["photos"]


async def test_a_directory_that_is_absent_is_made(world: World) -> None:
    host = world.host()
    host.data.rmdir()
    assert (await host.hand.read_facts()).directory == "absent"
    await host.hand.perform(Initialise(host.terms))
    assert (await host.hand.read_facts()).directory == "initialised"


async def test_a_server_left_by_an_earlier_daemon_is_stopped(world: World) -> None:
    host = await founded(world)
    left = host.hand.pid
    assert left is not None
    hand = host.new_hand()
    await hand.adopt()
    assert not alive(left), "its parent, the daemon before, may not have asked for its corpse yet"
    facts = await hand.read_facts()
    assert (facts.server, facts.control_state, facts.last_reign) == ("stopped", "shut down", 1)


async def test_the_end_of_the_server_is_told_and_seen(world: World) -> None:
    host = await founded(world)
    assert host.pids == [host.hand.pid] and host.exits == []
    os.kill(host.hand.pid or 0, signal.SIGKILL)
    await until(lambda: _exited(host))
    assert host.exits == [-signal.SIGKILL]
    facts = await host.hand.read_facts()
    assert (facts.server, facts.control_state) == ("stopped", "in production")
    await host.hand.perform(StartPrimary(1, host.terms))
    assert (await host.hand.read_facts()).server == "running"


async def test_what_alter_system_did_to_safety_is_taken_back(world: World) -> None:
    host = await founded(world)
    for setting in ("fsync = off", "archive_command = 'true'", "work_mem = '5MB'"):
        await host.sql(f"ALTER SYSTEM SET {setting}", user="qluster")
    await host.hand.perform(StopFast())
    await host.hand.perform(StartPrimary(1, host.terms))
    shown = dict(
        await host.sql(
            "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'work_mem', 'archive_command')",
            user="qluster",
        )
    )
    assert shown["fsync"] == "on" and shown["work_mem"] == "5120" and "archive.py" in shown["archive_command"]


async def test_detach_wins_over_alter_system(world: World) -> None:
    first = await founded(world)
    second = await replica(world, first)
    await second.sql(
        f"ALTER SYSTEM SET primary_conninfo = 'host={first.ip} port={first.database.port} user=qluster'",
        user="qluster",
    )
    await second.hand.perform(Detach(second.terms))
    facts = await second.hand.read_facts()
    assert (facts.upstream, facts.receiver) == (None, "none")


async def test_a_look_that_cannot_see_still_knows_whether_a_server_runs(world: World) -> None:
    host = await founded(world)
    assert (await host.hand.read_facts()).server == "running"
    os.rename(host.data, f"{host.data}.away")
    facts = await host.hand.read_facts()
    assert facts.directory == "absent" and facts.server != "stopped"
    os.rename(f"{host.data}.away", host.data)
    assert (await host.facts_when(lambda facts: facts.server == "running")).in_recovery is False


async def test_terms_are_adjusted_by_a_reload(world: World) -> None:
    host = await founded(world)
    terms = type(host.terms)(name="node1", members=("127.0.0.99",), standbys=("node2",), needed=1)
    await host.hand.perform(Adjust(terms, 4))
    facts = await host.hand.read_facts()
    assert (facts.terms, facts.last_reign) == (terms, 4)

    async def shown() -> bool:
        rows = await host.sql("SHOW synchronous_standby_names", user="qluster")
        return rows[0][0] == "ANY 1 (node2)"

    await until(shown)
    assert "127.0.0.99/32" in (host.data / "qluster_hba.conf").read_text()


async def test_finished_wal_reaches_the_archive(world: World) -> None:
    host = await founded(world)
    await host.sql("SELECT pg_switch_wal()", user="qluster")

    async def archived() -> bool:
        return any(len(path.name) == 24 for path in world.archive.glob("*/*"))

    await until(archived)


async def test_an_archive_that_fails_is_seen_and_its_recovery_too(world: World) -> None:
    host = await founded(world)
    world.archive.rename(world.root / "away")
    await host.sql("SELECT pg_switch_wal()", user="qluster")
    facts = await host.facts_when(lambda facts: facts.archive_error)
    assert "000000010000000000000001 is not archived" in facts.archive_error
    assert facts.archive_waiting == facts.segment_size and (facts.room or 0) > facts.segment_size
    (world.root / "away").rename(world.archive)
    await host.facts_when(lambda facts: not facts.archive_error and facts.archive_waiting == 0, limit=90)
    assert world.archived("000000010000000000000001")


async def test_a_rewind_saves_wal_that_was_not_archived(world: World) -> None:
    """pg_rewind removes files that the upstream does not have: they would be missing in the archive for good."""
    first = await founded(world)
    second = await replica(world, first)
    await second.hand.perform(Detach(second.terms))
    world.archive.rename(world.root / "away")
    await first.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n")
    last = (await first.sql("SELECT pg_walfile_name(pg_switch_wal()) AS name", user="qluster"))[0]["name"]
    await first.facts_when(lambda facts: facts.archive_error)
    await first.hand.perform(StopImmediate())
    (world.root / "away").rename(world.archive)
    await second.hand.perform(Promote(2, second.terms))
    facts = await first.hand.read_facts()
    await first.hand.perform(Rewind(second.address, facts.system_id or 0, first.terms))
    assert world.archived(str(last))


async def test_a_rewind_reads_what_it_needs_from_the_archive(world: World) -> None:
    """The node's own WAL since the fork may be gone from its directory."""
    first = await founded(world)
    second = await replica(world, first)
    await second.hand.perform(Detach(second.terms))
    await second.hand.perform(Promote(2, second.terms))
    await second.sql("CREATE TABLE t AS SELECT 7 AS n")
    for _ in range(3):
        await first.sql("SELECT pg_switch_wal()", user="qluster")
        await first.sql("CREATE TABLE IF NOT EXISTS other AS SELECT generate_series(1, 1000) AS n")
    names = sorted(path.name for path in first.data.glob("pg_wal/0000*"))[:-1]
    await until(lambda: _archived(world, names))
    await first.hand.perform(StopFast())
    for name in names:
        (first.data / "pg_wal" / name).unlink()
    facts = await first.hand.read_facts()
    await first.hand.perform(Rewind(second.address, facts.system_id or 0, first.terms))
    await first.hand.perform(StartStandby(second.address, first.terms))
    await until(lambda: _rows(first, [7]))


async def test_a_wrong_parameter_fails_with_its_name(world: World) -> None:
    host = world.host(parameters={"fsync": "off"})
    await host.hand.perform(Initialise(host.terms))
    with pytest.raises(PostgresFailed, match=r"database\.parameters\.fsync cannot be set to 'off'"):
        await host.hand.perform(StartPrimary(1, host.terms))


async def test_a_server_that_refuses_its_configuration_is_reported(world: World) -> None:
    host = world.host(parameters={"no_such_parameter": "1"})
    await host.hand.perform(Initialise(host.terms))
    with pytest.raises(PostgresFailed, match="ended with code 1 instead of starting"):
        await host.hand.perform(StartPrimary(1, host.terms))
    assert (await host.hand.read_facts()).server == "stopped"


async def test_a_primary_is_not_promoted_nor_a_following_standby(world: World) -> None:
    first = await founded(world)
    second = await replica(world, first)
    with pytest.raises(PostgresFailed, match="a primary already"):
        await first.hand.perform(Promote(2, first.terms))
    with pytest.raises(PostgresFailed, match="still has an upstream"):
        await second.hand.perform(Promote(2, second.terms))
    assert (await second.hand.read_facts()).in_recovery


async def test_facts_of_a_frozen_server_come_in_time(world: World) -> None:
    host = await founded(world)
    await host.hand.read_facts()
    pids = [int(line) for line in _children(host.hand.pid or 0)] + [host.hand.pid or 0]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        facts = await host.hand.read_facts()
        assert facts.server == "starting" and "did not answer within 2 seconds" in facts.error
        assert (facts.directory, facts.in_recovery, facts.last_reign) == ("initialised", None, 1)
        assert facts.silent > 1.9
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    assert (await host.facts_when(lambda facts: facts.server == "running")).in_recovery is False


async def _archived(world: World, names: list[str]) -> bool:
    return all(world.archived(name) for name in names)


def _children(pid: int) -> list[str]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
        return children.read().split()


async def _exited(host: Host) -> bool:
    return bool(host.exits)


async def _rows(host: Host, wanted: list[int]) -> bool:
    try:
        rows = await host.sql("SELECT n FROM t ORDER BY n")
    except (OSError, asyncpg.PostgresError):
        return False
    return [row["n"] for row in rows] == wanted


async def test_a_copy_is_started_whatever_happened_to_the_server_before(world: World) -> None:
    first = await founded(world)
    second = await replica(world, first)
    for crash in range(1, 4):
        os.kill(second.hand.pid or 0, signal.SIGKILL)
        await second.facts_when(lambda facts, crash=crash: facts.server == "stopped" and facts.crashes == crash)
        await second.hand.perform(StartStandby(first.address, second.terms))
    await second.hand.perform(Clone(first.address, (await first.hand.read_facts()).system_id, second.terms))
    assert (await second.hand.read_facts()).crashes == 0


async def test_a_promotion_that_is_called_off_never_happens(world: World) -> None:
    first = await founded(world)
    second = await replica(world, first)
    await second.hand.perform(StopFast())
    await second.hand.perform(StartStandby(None, second.terms))
    startup = _process(second.hand.pid, b"startup")
    os.kill(startup, signal.SIGSTOP)
    promotion = asyncio.create_task(second.hand.perform(Promote(2, second.terms)))
    await until(lambda: _is_promoting(second))
    while not promotion.done():
        promotion.cancel()
        await asyncio.sleep(0.01)
    assert promotion.cancelled()
    assert second.hand.pid is None, "it would leave recovery as soon as it can, and nobody would expect it"
    facts = await second.hand.read_facts()
    assert (facts.server, facts.control_state) == ("stopped", "in archive recovery")


async def _is_promoting(host: Host) -> bool:
    return (host.data / "promote").exists()


def _process(postmaster: int | None, title: bytes) -> int:
    """A process of the server by what it calls itself."""
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    return next(int(pid) for pid in children if title in Path(f"/proc/{pid}/cmdline").read_bytes())


async def test_a_replica_whose_replay_is_paused_or_delayed_says_so(world: World) -> None:
    first = await founded(world)
    second = await replica(world, first)
    assert (await second.hand.read_facts()).barred == ""
    await second.sql("SELECT pg_wal_replay_pause()", user="qluster")
    assert "replay is paused" in (await second.hand.read_facts()).barred
    with pytest.raises(PostgresFailed, match="cannot be detached while its replay is paused"):
        await second.hand.perform(Detach(second.terms))
    await second.sql("SELECT pg_wal_replay_resume()", user="qluster")
    await second.hand.perform(Detach(second.terms))
    await second.sql("ALTER SYSTEM SET recovery_min_apply_delay = '5min'", user="qluster")
    await second.sql("SELECT pg_reload_conf()", user="qluster")
    assert "delayed by recovery_min_apply_delay, 5min" in (await second.facts_when(lambda facts: facts.barred)).barred
