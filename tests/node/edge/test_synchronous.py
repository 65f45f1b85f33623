"""A cluster that waits for its replicas: whatever befalls the primary, nothing that was acknowledged is missing.

The former primary stays alive and reachable by clients wherever the fault allows it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from edge.fault_world import ERRORS, Hosts, Ledger, kin, obstacle, wait_for
from edge.test_faults import STROKES, Stroke, written_through

NUMBERS = (1, 2, 3)
NO_ENTRY = "InvalidAuthorizationSpecificationError"


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    if reason := obstacle():
        pytest.skip(reason)
    made = Hosts()
    try:
        for number in NUMBERS:
            made.prepare(number, cluster__synchronous="quorum")
            made.start(number)
        wait_for("a whole cluster", made.whole, 60)
        wait_for("a guarantee", lambda: made.covered(2), 30)
        yield made
    finally:
        made.end()


@pytest.mark.parametrize("strike", STROKES, ids=[stroke.__name__ for stroke in STROKES])
def test_nothing_acknowledged_is_missing_after_a_failover(hosts: Hosts, strike: Stroke) -> None:
    wait_for("a guarantee", lambda: hosts.whole() and hosts.covered(2), 60)
    [primary] = hosts.writable()
    ledger = written_through(hosts, primary, strike)
    assert len(ledger.changes()) == 1, ledger.changes()
    [successor] = hosts.writable()
    assert len(ledger.acknowledged) > 50 and ledger.missing(successor) == []


def test_leader_says_who_would_take_over_and_forces_nothing_while_it_serves(hosts: Hosts) -> None:
    wait_for("a guarantee", lambda: hosts.whole() and hosts.covered(2), 60)
    [primary] = hosts.writable()
    found = hosts.get(primary, "/failover").json()
    assert found["by_itself"] and found["successor"] and found["worst_loss_bytes"] == 0, found
    refused = hosts.post(primary, f"/failover?reign={found['reign']}&accept=data-loss")
    assert refused.status_code == 409 and "POST /leader" in refused.json()["message"], refused.text
    elsewhere = hosts.get(next(number for number in NUMBERS if number != primary), "/failover")
    assert elsewhere.status_code == 417


def test_nothing_acknowledged_is_missing_after_the_database_died(hosts: Hosts) -> None:
    wait_for("a guarantee", lambda: hosts.whole() and hosts.covered(2), 60)
    [primary] = hosts.writable()
    with Ledger(hosts, "died") as ledger:
        ledger.wait_for_rows(primary)
        postmaster = hosts.postmaster(primary)
        assert postmaster is not None
        hosts.kill(postmaster)
        ledger.wait_for_rows()
        wait_for("a whole cluster again", hosts.whole, 60)
        ledger.wait_for_rows()
    [now] = hosts.writable()
    assert ledger.missing(now) == []


def test_restarted_primary_shows_nothing_that_no_replica_has(hosts: Hosts) -> None:
    """I10: a transaction that waited when the database died is visible after recovery, and could still be lost."""
    wait_for("a guarantee", lambda: hosts.whole() and hosts.covered(2), 60)
    [primary] = hosts.writable()
    replicas = [number for number in NUMBERS if number != primary]
    postmasters = [hosts.postmaster(number) or 0 for number in replicas]
    stopped = postmasters + [pid for postmaster in postmasters for pid in kin(postmaster)]
    asyncio.run(read(hosts, primary, "create table waits (row bigint)"))
    hosts.freeze(*stopped)
    try:
        with pytest.raises(TimeoutError):
            asyncio.run(read(hosts, primary, "insert into waits values (1)"))
        hosts.kill(hosts.postmaster(primary) or 0)
        refusals: list[str] = []

        def turned_away() -> bool:
            refusals.append(refusal(hosts, primary))
            return refusals[-1] == NO_ENTRY

        wait_for("clients that are turned away", turned_away)
        assert "" not in refusals and not hosts.writable()
    finally:
        hosts.thaw(*stopped)
    wait_for("clients that are admitted", lambda: not refusal(hosts, primary))
    assert asyncio.run(read(hosts, primary, "select * from waits")) == [(1,)]
    assert any(asyncio.run(read(hosts, number, "select * from waits")) == [(1,)] for number in replicas)


def refusal(hosts: Hosts, number: int) -> str:
    """Why a host lets no client read, "" when it does."""
    try:
        asyncio.run(read(hosts, number, "select 1"))
    except ERRORS as error:
        return type(error).__name__
    return ""


async def read(hosts: Hosts, number: int, statement: str) -> list[tuple[object, ...]]:
    """What a client of the application gets."""
    connection = await Ledger(hosts).connect(number)
    try:
        return [tuple(row) for row in await asyncio.wait_for(connection.fetch(statement), 1)]
    finally:
        connection.terminate()


def test_replica_that_is_gone_is_waited_for_no_longer_and_then_again(hosts: Hosts) -> None:
    wait_for("a guarantee", lambda: hosts.whole() and hosts.covered(2), 60)
    [primary] = hosts.writable()
    gone = next(number for number in NUMBERS if number != primary)
    with Ledger(hosts, "gone") as ledger:
        ledger.wait_for_rows(primary)
        hosts.kill(hosts.guard(gone), hosts.daemons[gone].pid)
        hosts.daemons[gone].wait()
        wait_for("one replica less", lambda: hosts.covered(1), 30)
        ledger.wait_for_rows(primary)
        hosts.start(gone)
        wait_for("a guarantee", lambda: hosts.whole() and hosts.covered(2), 60)
        ledger.wait_for_rows(primary)
    assert ledger.missing(primary) == []
