"""Parameters against a real server: what it says of them, restarts, and values with which it does not start."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from edge.postgres_world import Host, World, until, worlds
from qluster.database.orders import (
    Adjust,
    Checked,
    CheckSettings,
    Clone,
    Initialise,
    Restart,
    StartPrimary,
    StartStandby,
    StopFast,
    Terms,
)
from qluster.edge.postgres.trial import sentences

pytestmark = pytest.mark.unprivileged


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async for made in worlds():
        yield made


async def primary(world: World) -> Host:
    """A host whose server takes writes."""
    host = world.host()
    await host.hand.perform(Initialise(host.terms))
    await host.hand.perform(StartPrimary(1, host.terms))
    return host


async def standby(world: World, of: Host) -> Host:
    """A host that follows another one."""
    host = world.host()
    await host.hand.perform(Clone(of.address, None, host.terms))
    await host.hand.perform(StartStandby(of.address, host.terms))
    await host.facts_when(lambda facts: facts.receiver == "streaming")
    return host


def with_parameters(host: Host, version: int, restart: int = 0, **parameters: str) -> Terms:
    return replace(host.terms, version=version, parameters=tuple(sorted(parameters.items())), restart=restart)


async def shown(host: Host, name: str) -> str:
    [row] = await host.sql("SELECT current_setting($1) AS value", name, user="qluster")
    return str(row["value"])


async def test_server_is_asked_what_it_says_of_a_change(world: World) -> None:
    host = await primary(world)

    async def checked(**changes: str | None) -> Checked:
        said = await host.hand.perform(CheckSettings(tuple(changes.items()), host.terms))
        assert isinstance(said, Checked)
        return said

    good = await checked(
        work_mem="8MB", max_connections="40", random_page_cost="1.1", default_transaction_isolation="serializable"
    )
    assert good == Checked((), ("max_connections",))
    assert (await checked(work_mem=None, shared_buffers=None)) == Checked((), ("shared_buffers",))
    assert not (await checked(**{"some_extension.limit": "7"})).faults
    wrong = {
        "work_mem": ("lots", "invalid value"),
        "worc_mem": ("8MB", "there is work_mem"),
        "block_size": ("4096", "only be read"),
        "transaction_isolation": ("serializable", "single session"),
        "checkpoint_timeout": ("2d", "outside the valid range"),
        "wal_compression": ("perhaps", "invalid value"),
        "max_connections": ("3", "must be less than"),
        "shared_preload_libraries": ("no_such_library", "no_such_library"),
        "default_text_search_config": ("klingon", "klingon"),
        "shared_buffers": ("7000GB", "shared memory"),
    }
    for name, (value, sentence) in wrong.items():
        if await major(host) < 15 and name in ("max_connections", "shared_preload_libraries", "shared_buffers"):
            continue
        faults = dict((await checked(**{name: value})).faults)
        assert sentence in faults.get(name, ""), (name, value, faults)
    several = dict((await checked(work_mem="8MB", log_destination="nowhere", timezone="Mars")).faults)
    assert several and "work_mem" not in several, several
    assert not (host.root / "state" / "trial").exists()


async def major(host: Host) -> int:
    return int((await shown(host, "server_version_num"))[:2])


async def test_change_is_in_force_by_a_reload_or_waits_for_a_restart_and_is_in_force_after_it(world: World) -> None:
    host = await primary(world)
    terms = with_parameters(host, 7, work_mem="9MB", max_connections="45", max_worker_processes="9")
    await host.hand.perform(Adjust(terms, 1))
    facts = await host.facts_when(lambda facts: len(facts.pending) == 2)
    assert dict(facts.pending) == {"max_connections": "30", "max_worker_processes": "8"}
    assert await shown(host, "work_mem") == "9MB" and facts.proven == 0 and facts.terms == terms
    await host.hand.perform(Restart(None, 1, replace(terms, restart=12)))
    facts = await host.facts_when(lambda facts: facts.in_recovery is False)
    assert (facts.pending, facts.started, facts.proven, facts.refused) == ((), 12, 7, "")
    assert await shown(host, "max_connections") == "45"
    await host.hand.perform(Adjust(with_parameters(host, 15, 12, work_mem="9MB", max_worker_processes="9"), 1))
    facts = await host.facts_when(lambda facts: facts.pending)
    assert dict(facts.pending) == {"max_connections": "45"}, "what config.yaml says is wanted again"
    back = with_parameters(host, 16, 12, max_connections="45", max_parallel_workers="7")
    await host.hand.perform(Adjust(back, 1))
    facts = await host.facts_when(lambda facts: "max_connections" not in dict(facts.pending))
    assert dict(facts.pending) == {"max_worker_processes": "9"}
    # A daemon that starts does not know yet what the log says: its server has the newest parameters nevertheless.
    await host.hand.close()
    await host.new_hand().perform(StartPrimary(1, host.terms))
    assert await shown(host, "max_parallel_workers") == "7" and await shown(host, "max_connections") == "45"


async def test_server_that_would_not_start_is_not_stopped_and_one_that_was_starts_as_before(world: World) -> None:
    host = await primary(world)
    bad = with_parameters(host, 7, 8, work_mem="9MB", shared_preload_libraries="no_such_library")
    await host.hand.perform(Adjust(bad, 1))
    pid = host.hand.pid
    if await major(host) >= 15:
        await host.hand.perform(Restart(None, 1, bad))
        facts = await host.hand.read_facts()
        assert host.hand.pid == pid and facts.refused_version == 7 and "no_such_library" in facts.refused
    await host.hand.perform(StopFast())
    await host.hand.perform(StartPrimary(1, bad))
    facts = await host.facts_when(lambda facts: facts.pending)
    assert facts.refused_version == 7 and facts.proven == 0 and "shared_preload_libraries" in dict(facts.pending)
    assert await shown(host, "shared_preload_libraries") == "" and await shown(host, "work_mem") == "9MB"
    good = with_parameters(host, 9, 8, work_mem="9MB")
    await host.hand.perform(Adjust(good, 1))
    facts = await host.facts_when(lambda facts: not facts.pending)
    assert facts.refused == ""


async def test_replica_keeps_what_it_needs_as_large_as_its_primary_until_that_has_less(world: World) -> None:
    first = await primary(world)
    second = await standby(world, first)
    lower = with_parameters(second, 7, 8, max_connections="20")
    await second.hand.perform(Restart(first.address, 0, lower))
    facts = await second.facts_when(lambda facts: facts.receiver == "streaming")
    assert facts.held == ("max_connections",) and dict(facts.pending) == {"max_connections": "30"}
    await first.hand.perform(Restart(None, 1, with_parameters(first, 7, 9, max_connections="20")))
    await second.facts_when(lambda facts: facts.receiver == "streaming")
    await second.hand.perform(Restart(first.address, 0, replace(lower, restart=10)))
    facts = await second.facts_when(lambda facts: facts.receiver == "streaming")
    assert facts.held == () and facts.pending == () and await shown(second, "max_connections") == "20"
    # A primary that comes back with more than its replica has: the replica says that it starves.
    await first.hand.perform(Restart(None, 1, with_parameters(first, 11, 9, max_connections="50")))
    await first.sql("SELECT pg_switch_wal()", user="qluster")
    if await major(first) >= 14:
        await second.facts_when(lambda facts: facts.starved)
        await second.hand.perform(StopFast())
    await until(lambda: _stopped(second))
    await second.hand.perform(StartStandby(first.address, lower))
    facts = await second.facts_when(lambda facts: facts.receiver == "streaming" and not facts.starved)
    assert await shown(second, "max_connections") == "50"


async def _stopped(host: Host) -> bool:
    return (await host.hand.read_facts()).server == "stopped"


def test_complaints_are_sentences_without_time_and_place() -> None:
    said = (
        '2026-11-22 07:54:02.324 UTC [17570] LOG:  invalid value for parameter "log_destination": "nowhere"\n'
        '2026-11-22 07:54:02.324 UTC [17570] DETAIL:  Unrecognized key word: "nowhere".\n'
        '2026-11-22 07:54:02.296 GMT [1] LOG:  unrecognized configuration parameter "nosuch" in file "/q" line 2\n'
        '2026-11-22 07:54:02.325 UTC [17570] FATAL:  configuration file "/a/q.conf" contains errors\n'
        'postgres: "superuser_reserved_connections" (3) must be less than "max_connections" (3)\n'
    )
    assert sentences(said) == [
        'invalid value for parameter "log_destination": "nowhere" (Unrecognized key word: "nowhere")',
        'unrecognized configuration parameter "nosuch"',
        '"superuser_reserved_connections" (3) must be less than "max_connections" (3)',
    ]
