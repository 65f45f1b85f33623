"""A primary that stands still without ending, and disks that are full, with real servers: the others go on.

Whatever happens to a host, nothing that was acknowledged is missing, and it comes back by itself when that is over.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator

import pytest
from edge.fault_world import Ledger, kin, wait_for
from edge.full_world import DiskHosts, obstacle

NODE_TIMEOUT = 1.5
PATIENCE = 5.0
"""For so long at least a primary may stand still before it is given up."""
LONG = pytest.mark.skipif(not os.environ.get("QLUSTER_FULL_TESTS"), reason="ten seconds each: QLUSTER_FULL_TESTS=1")
Stroke = Callable[[DiskHosts, int], Callable[[], object]]


@pytest.fixture(scope="module")
def hosts() -> Iterator[DiskHosts]:
    if reason := obstacle():
        pytest.skip(reason)
    made = DiskHosts()
    timers = {"cluster__node_timeout": f"{NODE_TIMEOUT * 1000:.0f}ms", "cluster__heartbeat_interval": "300ms"}
    try:
        for number in (1, 2, 3):
            made.prepare(number, cluster__synchronous="quorum", **timers)
            made.start(number)
        yield made
    finally:
        made.end()


def stop_the_postmaster(hosts: DiskHosts, number: int) -> Callable[[], object]:
    """Who is connected goes on, nobody else is let in."""
    pid = hosts.postmaster(number)
    assert pid is not None, "it has a server"
    return _stopped(hosts, pid)


def stop_all_its_processes(hosts: DiskHosts, number: int) -> Callable[[], object]:
    """Nobody is answered."""
    pid = hosts.postmaster(number)
    assert pid is not None, "it has a server"
    return _stopped(hosts, pid, *kin(pid))


def _stopped(hosts: DiskHosts, *pids: int) -> Callable[[], object]:
    hosts.freeze(*pids)
    return lambda: hosts.thaw(*pids)


def make_its_disk_hang(hosts: DiskHosts, number: int) -> Callable[[], object]:
    """Who writes sleeps in the kernel, and SIGKILL does not wake him; questions are answered all the while."""
    hosts.hang_disk(number)
    return lambda: hosts.free_disk(number)


def fill_its_disk(hosts: DiskHosts, number: int) -> Callable[[], object]:
    """Not a byte is left: rows are refused, and WAL goes on for as long as old files of it can be used again."""
    hosts.fill(number)
    return lambda: hosts.clear(number)


def error(hosts: DiskHosts, number: int) -> str:
    """What a host says is wrong with its database."""
    return str(hosts.own(number).get("message") or "")


@pytest.mark.parametrize(("strike", "said"), [
    pytest.param(stop_the_postmaster, "the postmaster is stopped", marks=LONG),
    pytest.param(stop_all_its_processes, "did not answer", marks=LONG),
    pytest.param(make_its_disk_hang, "the disk does not take WAL"),
    pytest.param(fill_its_disk, "are left on the disk"),
])  # fmt: skip
def test_another_takes_over_from_a_primary_that_stands_still(hosts: DiskHosts, strike: Stroke, said: str) -> None:
    wait_for("a cluster in which another may take over", lambda: hosts.whole() and hosts.covered(2), 60)
    [primary] = hosts.writable()
    before = len(hosts.log(primary))
    with Ledger(hosts, strike.__name__) as ledger:
        ledger.wait_for_rows(primary)
        undo = strike(hosts, primary)
        try:
            wait_for("another primary", lambda: ledger.last_by_others(primary), 6 * PATIENCE)
        finally:
            undo()
        wait_for("a whole cluster again", hosts.whole, 60)
        ledger.wait_for_rows()
    told = [line for line in hosts.log(primary)[before:].splitlines() if "successor=" in line]
    assert told and said in told[0], "who gives a primary up says why"
    assert len(ledger.changes()) == 1, ledger.changes()
    [successor] = hosts.writable()
    assert successor != primary and not ledger.missing(successor)


@LONG
def test_a_replica_whose_disk_is_full_ends_and_comes_back_when_there_is_room(hosts: DiskHosts) -> None:
    wait_for("a whole cluster", hosts.whole, 60)
    [primary] = hosts.writable()
    struck = next(number for number in (1, 2, 3) if number != primary)
    before = len(hosts.log(struck))
    with Ledger(hosts, "full_replica") as ledger:
        undo = fill_its_disk(hosts, struck)
        try:
            wait_for("the word for it", lambda: "are left on the disk" in error(hosts, struck))
            asyncio.run(write_much(ledger, primary))
            wait_for("its end", lambda: hosts.postmaster(struck) is None)
            ledger.wait_for_rows(primary)
        finally:
            undo()
        wait_for("a whole cluster again", hosts.whole, 60)
    assert hosts.writable() == [primary] and not ledger.missing(primary)
    said = hosts.log(struck)[before:]
    assert "given up" not in said and "order=Clone" not in said


async def write_much(ledger: Ledger, primary: int) -> None:
    """More WAL than the files of it that a server of these hosts has to use again."""
    connection = await ledger.connect(primary)
    await connection.execute("create table much (t bytea); alter table much alter t set storage external")
    for _ in range(4):
        await connection.execute("insert into much select decode(repeat(md5(random()::text), 32768), 'hex') "
                                 "from generate_series(1, 20)")  # fmt: skip
    await connection.execute("drop table much")
    connection.terminate()
