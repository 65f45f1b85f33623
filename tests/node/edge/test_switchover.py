"""A whole cluster with a pool: the primary moves while clients write, and they notice a pause.

`make bench-switchover` moves it more often, and says how long that takes.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import asyncpg
import pytest
from edge.fault_world import DB_PORT, obstacle, wait_for
from edge.pool_world import PGBOUNCER
from edge.pooled_world import POOL_PORT, Load, Pooled, switched


@pytest.fixture(scope="module")
def hosts() -> Iterator[Pooled]:
    if reason := obstacle() or ("" if PGBOUNCER else "pgbouncer is not installed"):
        pytest.skip(reason)
    made = Pooled(pools=1)
    try:
        made.begin(synchronous="quorum")
        yield made
    finally:
        made.end()


def test_clients_of_the_pool_see_a_pause_and_no_error(hosts: Pooled) -> None:
    with Load((hosts.ip(4), POOL_PORT), table="seen") as load:
        for _ in range(2):
            [primary] = hosts.writable()
            successor = next(number for number in (1, 2, 3) if number != primary)
            done = switched(hosts, load, successor)
            assert done.code == 200, done.answer
            assert done.errors == [] and hosts.writable() == [successor]
            assert {"pause", "stop", "promote", "resume"} <= set(done.detail["phases_ms"])
            wait_for("the former primary follows", hosts.whole, 30)
            assert "rewind=not-needed" in hosts.log(primary) and "database-rewound" not in hosts.log(primary)
    assert len(load.acknowledged) > 100 and load.missing((hosts.ip(successor), DB_PORT)) == []
    last = hosts.map(successor)["cluster"]["switchover"]["last"]  # type: ignore[index]
    assert last["reason"] == "" and last["reign"] == done.detail["reign"]


async def test_open_transaction_is_not_broken_off_unless_that_is_asked_for(hosts: Pooled) -> None:
    [primary] = await asyncio.to_thread(hosts.writable)
    successor = next(number for number in (1, 2, 3) if number != primary)
    busy = await Load((hosts.ip(4), POOL_PORT)).connect()
    await busy.execute("create table if not exists held (row int)")
    await busy.execute("begin")
    await busy.execute("insert into held values (1)")
    refused = await asyncio.to_thread(hosts.move, successor, "&patience=1")
    assert refused.status_code == 409, refused.text
    assert "did not come to rest within 1 s" in refused.json()["message"]
    await busy.execute("commit")
    other = await Load((hosts.ip(4), POOL_PORT)).connect()
    assert await asyncio.wait_for(other.fetchval("select count(*) from held"), 10) == 1, "the pool goes on"
    await busy.execute("begin")
    await busy.execute("insert into held values (2)")
    forced = await asyncio.to_thread(hosts.move, successor, "&patience=1&force=true")
    assert forced.status_code == 200, forced.text
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await busy.execute("commit")
    assert await asyncio.wait_for(other.fetchval("select count(*) from held"), 10) == 1
    busy.terminate()
    other.terminate()
    await asyncio.to_thread(wait_for, "a whole cluster", hosts.whole, 30)


def test_switchover_happens_at_its_time_and_can_be_cancelled(hosts: Pooled) -> None:
    [primary] = hosts.writable()
    later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    assert hosts.post(primary, f"/leader?at={later}").status_code == 200
    assert hosts.map(4)["cluster"]["switchover"]["planned"]["at"] == later  # type: ignore[index]
    again = hosts.post(primary, f"/leader?at={later}")
    assert again.status_code == 409 and "scheduled already" in again.json()["message"]
    assert hosts.session().delete(f"{hosts.url(primary)}/leader").status_code == 200
    wait_for("no plan", lambda: hosts.map(4)["cluster"]["switchover"]["planned"] is None)  # type: ignore[index]
    past = hosts.post(primary, "/leader?at=2001-01-01T00:00:00Z")
    assert past.status_code == 409 and "past" in past.json()["message"]
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2.5))
    assert hosts.post(primary, f"/leader?at={soon}").status_code == 200
    wait_for("another primary", lambda: hosts.writable() not in ([], [primary]), 30)
    assert hosts.writable() != [primary]


@pytest.mark.parametrize(
    ("node", "code", "reason"), [(99, 404, "there is no node 99"), (0, 409, "node 4 cannot lead: it is a listener")]
)
def test_node_that_is_not_fit_is_refused_with_the_reason(hosts: Pooled, node: int, code: int, reason: str) -> None:
    wait_for("a whole cluster", hosts.whole, 30)
    [primary] = hosts.writable()
    refused = hosts.post(primary, f"/leader?node={node or hosts.number(4)}")
    assert refused.status_code == code
    assert reason.replace("node 4", f"node {hosts.number(4)}") in refused.json()["message"]
    assert hosts.writable() == [primary]
