"""Servers that an operator starts, stops and promotes by hand, in a pause and outside: with real servers."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from edge.postgres_world import Host, World, until, worlds
from edge.test_postgres_plan import cluster, follow, reign, settle
from qluster.database.failures import Failures
from qluster.database.orders import Adjust, StopFast
from qluster.database.plan import next_order, reason
from qluster.edge.postgres.programs import Programs
from qluster.edge.process import start_ticks
from qluster.keeper import Keeper

pytestmark = pytest.mark.unprivileged


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    async for made in worlds():
        yield made


def by_hand(host: Host, *words: str) -> None:
    """What an operator types."""
    programs = Programs(host.database)
    log = host.root / "by hand.log"
    done = subprocess.run(
        [programs.path("pg_ctl"), "-D", str(host.data), "-l", str(log), "-w", "-t", "30", *words],
        env=programs.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr + (log.read_text() if log.exists() else "")


def started_with_other_settings(host: Host) -> None:
    """As somebody does who does not know of the daemon: none of its settings holds."""
    by_hand(host, "-o", f"-k {host.root}/run -c listen_addresses='' -c archive_mode=off", "start")


async def _gone(pid: int) -> bool:
    return start_ticks(pid) is None


async def test_in_a_pause_a_server_outlives_its_daemon_and_the_next_one_goes_on_with_it(world: World) -> None:
    system_id, (host, _) = await cluster(world)
    pid = host.hand.pid
    assert pid is not None
    host.hand.let_go(True)
    await host.hand.close()
    assert not await _gone(pid), "the daemon ends, and the server does not"
    await host.new_hand().adopt(let_go=True)
    facts = await host.hand.read_facts()
    assert (host.hand.pid, facts.server, facts.in_recovery, facts.last_reign) == (pid, "running", False, 1)
    assert not facts.stray and host.pids[-1] == pid, "the guard is told of it"
    wanted = replace(reign(1, system_id), terms=host.terms, paused=True)
    assert next_order(facts, wanted, Failures()) == Adjust(host.terms, 1)
    host.hand.let_go(False)
    assert await settle(host, reign(1, system_id)) == ["Adjust"], "no restart when the pause ends"
    assert host.hand.pid == pid
    exits = len(host.exits)
    await host.hand.perform(StopFast())
    assert await _gone(pid) and set(host.exits[exits:]) == {0}, "both hands say so, that of the test's first daemon too"


async def test_server_that_lets_no_clients_in_is_known_as_such_to_the_next_daemon(world: World) -> None:
    system_id, (host, _) = await cluster(world)
    waiting = replace(host.terms, standbys=("node9",), needed=1)
    closed = replace(waiting, admits=False)
    await host.hand.perform(Adjust(closed, 1))
    wanted = replace(reign(1, system_id), terms=waiting, paused=True)
    for known in (True, False):
        facts = await host.hand.read_facts()
        assert (facts.terms == closed, facts.closed) == (known, not known)
        assert next_order(facts, wanted, Failures()) == (None if known else Adjust(closed, 1))
        host.hand.let_go(True)
        await host.hand.close()
        await host.new_hand().adopt(let_go=True)
    await host.hand.perform(Adjust(waiting, 1))
    facts = await host.hand.read_facts()
    assert facts.terms == waiting and not facts.closed


async def test_without_a_pause_the_server_of_an_earlier_daemon_is_ended(world: World) -> None:
    _, (host, _) = await cluster(world)
    pid = host.hand.pid
    assert pid is not None
    await host.new_hand().adopt()
    assert await _gone(pid) and host.hand.pid is None


async def test_in_a_pause_what_an_operator_stops_and_starts_is_left_alone(world: World) -> None:
    system_id, (host, _) = await cluster(world)
    host.hand.let_go(True)
    wanted = replace(reign(1, system_id), terms=host.terms, paused=True)
    by_hand(host, "stop")
    facts = await host.facts_when(lambda facts: facts.server == "stopped")
    assert next_order(facts, wanted, Failures()) is None and facts.crashes == 0
    # With the options of before, which pg_ctl remembers in postmaster.opts.
    by_hand(host, "restart")
    facts = await host.facts_when(lambda facts: facts.server == "running")
    assert not facts.stray and facts.in_recovery is False
    assert next_order(facts, wanted, Failures()) in (None, Adjust(host.terms, 1))
    assert next_order(await host.hand.read_facts(), replace(wanted, paused=False), Failures()) in (
        None, Adjust(host.terms, 1)), "and it need not be restarted when the pause ends"


async def test_server_with_other_settings_is_left_alone_in_a_pause_and_replaced_after_it(world: World) -> None:
    system_id, (host, _) = await cluster(world)
    host.hand.let_go(True)
    by_hand(host, "stop")
    started_with_other_settings(host)
    facts = await host.facts_when(lambda facts: facts.stray)
    wanted = replace(reign(1, system_id), terms=host.terms, paused=True)
    assert next_order(facts, wanted, Failures()) is None
    assert "it is left alone until the resume" in reason(facts, wanted, Failures())
    host.hand.let_go(False)
    assert await settle(host, reign(1, system_id)) == ["StopFast", "StartPrimary"]
    facts = await host.hand.read_facts()
    assert (facts.server, facts.stray) == ("running", False)


async def test_server_that_somebody_starts_outside_of_a_pause_is_seen_and_ended(world: World) -> None:
    system_id, (first, second) = await cluster(world)
    await second.hand.perform(StopFast())
    (second.data / "standby.signal").unlink()  # the worst that can be done: a second primary
    started_with_other_settings(second)
    facts = await second.hand.read_facts()
    assert facts.stray and second.hand.pid is None
    keeper = Keeper(follow(first, 1, system_id))
    keeper.look(facts, 0.0)
    assert keeper.primary_possible and not keeper.stopped, "no lease allows it: the guard ends it at once"
    assert "that the daemon did not start" in reason(facts, follow(first, 1, system_id), Failures())
    stray = int((second.data / "postmaster.pid").read_text().split("\n")[0])
    assert (await settle(second, follow(first, 1, system_id)))[0] == "StopFast"
    assert await _gone(stray)
    await until(lambda: _streams(second))


async def test_server_that_an_operator_stops_outside_of_a_pause_is_started_again(world: World) -> None:
    system_id, (host, _) = await cluster(world)
    by_hand(host, "stop")
    await until(lambda: _stopped(host))
    assert await settle(host, reign(1, system_id)) == ["StartPrimary"]


@pytest.mark.parametrize(("name", "value"), [("synchronous_standby_names", "node9"), ("fsync", "off")])
async def test_setting_of_safety_that_somebody_alters_is_taken_back_at_once(
    world: World, name: str, value: str
) -> None:
    system_id, (host, _) = await cluster(world)
    await host.sql(f"ALTER SYSTEM SET {name} = {value}", user="qluster")
    await host.sql("ALTER SYSTEM SET work_mem = '5MB'", user="qluster")
    await host.sql("SELECT pg_reload_conf()", user="qluster")
    terms = (await host.hand.read_facts()).terms
    assert terms is not None and terms != host.terms
    # In a pause too: it is a reload, and what is acknowledged depends on it.
    wanted = replace(reign(1, system_id), terms=host.terms, paused=True)
    assert isinstance(next_order(await host.hand.read_facts(), wanted, Failures()), Adjust)
    assert await settle(host, reign(1, system_id)) == ["Adjust"]

    async def taken_back() -> bool:
        rows = await host.sql("SELECT name, setting FROM pg_settings WHERE name IN ($1, 'work_mem')", name)
        found = {row["name"]: row["setting"] for row in rows}
        return found[name] != value and found["work_mem"] == "5120"

    await until(taken_back)
    assert await settle(host, reign(1, system_id)) == []


async def test_replica_whose_control_file_is_zeroed_is_copied_anew(world: World) -> None:
    system_id, (first, second) = await cluster(world)
    await second.hand.perform(StopFast())
    zeroed(second)
    facts = await second.hand.read_facts()
    assert facts.system_id == system_id and "pg_control is damaged" in facts.error, "nothing of it is believed"
    given = await settle(second, follow(first, 1, system_id))
    assert given[-2:] == ["Clone", "StartStandby"] and set(given[:-2]) == {"StartStandby"}


async def test_directory_whose_control_file_was_zeroed_before_the_daemon_came_is_left_to_people(world: World) -> None:
    system_id, (first, second) = await cluster(world)
    await second.hand.perform(StopFast())
    zeroed(second)
    second.new_hand()
    await second.hand.adopt()
    facts = await second.hand.read_facts()
    wanted = follow(first, 1, system_id)
    assert next_order(facts, wanted, Failures()) is None
    said = reason(facts, wanted, Failures())
    assert said.startswith("the data directory cannot be read") and "pg_control is damaged" in said


async def test_open_directory_and_a_strangers_number_in_the_lock_keep_no_server_from_starting(world: World) -> None:
    system_id, (first, second) = await cluster(world)
    await second.hand.perform(StopFast())
    second.data.chmod(0o777)
    (second.data / "postmaster.pid").write_text(f"{os.getpid()}\n{second.data}\n0\n{second.database.port}\n")
    assert await settle(second, follow(first, 1, system_id)) == ["StartStandby"]
    assert second.data.stat().st_mode & 0o777 == 0o750


def zeroed(host: Host) -> None:
    control = host.data / "global/pg_control"
    control.write_bytes(bytes(control.stat().st_size))


async def test_backend_that_is_killed_takes_the_server_with_it_which_comes_back_where_it_was(world: World) -> None:
    system_id, (host, _) = await cluster(world)
    before = host.hand.pid
    rows = await host.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'", user="qluster")
    os.kill(int(rows[0]["pid"]), signal.SIGKILL)  # as the kernel does that is out of memory
    facts = await host.facts_when(lambda facts: facts.server == "stopped")
    assert host.exits != [] and facts.crashes == 1, "no server of its own accord decides that it is still the primary"
    assert await settle(host, reign(1, system_id)) == ["StartPrimary"]
    facts = await host.hand.read_facts()
    assert host.hand.pid not in (None, before) and (facts.timeline, facts.in_recovery) == (1, False)


async def _streams(host: Host) -> bool:
    return (await host.hand.read_facts()).receiver == "streaming"


async def _stopped(host: Host) -> bool:
    return host.hand.pid is None
