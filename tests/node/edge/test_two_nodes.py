"""Two hosts and an arbiter that remembers: either may go, the cable between them may go, and the arbiter may go.

The arbiter is the daemon of ours, where the clients are.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from edge.fault_world import Hosts, Ledger, obstacle, wait_for
from edge.qnetd_world import Running, running

LONG = pytest.mark.skipif(not os.environ.get("QLUSTER_FULL_TESTS"), reason="ten seconds or more: QLUSTER_FULL_TESTS=1")
PORT = 5403
SILENCE = 12.0
"""Seconds in which a lone node without an arbiter must acknowledge nothing: twice what a failover takes here."""


class Arbiter:
    """The daemon, which can be ended and started again with what it kept, or without."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self.daemon: Running | None = None
        self._lives = 0

    def start(self, memory: str = "memory") -> None:
        folder = self._folder / f"life{self._lives}"
        folder.mkdir()
        (self._folder / memory).mkdir(exist_ok=True)
        self._lives += 1
        more: dict[str, Any] = {"memory-dir": str(self._folder / memory)}
        self.daemon = self._stack.enter_context(running(folder, PORT, **more))

    def kill(self) -> None:
        assert self.daemon is not None
        self.daemon.child.kill()
        self.daemon.child.wait()

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[Hosts, Arbiter]]:
    if reason := obstacle():
        pytest.skip(reason)
    hosts = Hosts(2)
    (hosts.root / "arbiter").mkdir()
    arbiter = Arbiter(hosts.root / "arbiter")
    try:
        arbiter.start()
        device = {"host": f"{hosts.net}.254", "port": PORT, "tls": "off", "timeout": "3s"}
        for number in hosts.numbers:
            hosts.prepare(number, device=device, cluster__synchronous="quorum")
            hosts.start(number)
        wait_for("a whole cluster", lambda: well(hosts), 60)
        yield hosts, arbiter
    finally:
        arbiter.close()
        hosts.end()


def device(hosts: Hosts, number: int) -> dict[str, Any]:
    return hosts.own(number).get("device") or {}  # type: ignore[return-value]


def counted(hosts: Hosts) -> dict[str, Any]:
    """The device of the list of members."""
    return (hosts.map(1).get("cluster") or {}).get("device") or {}  # type: ignore[attr-defined, no-any-return]


def well(hosts: Hosts) -> bool:
    """Both stream, transactions wait for the replica, and both may count on the arbiter."""
    counts = [device(hosts, number).get("counts") for number in hosts.numbers]
    return hosts.whole() and hosts.covered(1) and counts == [True, True]


def in_order(hosts: Hosts, ledger: Ledger, changes: int) -> None:
    """Never two that acknowledge, and nothing of what was acknowledged is missing."""
    assert len(ledger.changes()) == changes, ledger.changes()
    [primary] = hosts.writable()
    assert not ledger.missing(primary)


def test_list_counts_the_arbiter_by_its_memory(world: tuple[Hosts, Arbiter]) -> None:
    hosts, _ = world
    assert (counted(hosts)["votes"], counted(hosts)["way"], counted(hosts)["reason"]) == (1, "memory", "")
    assert {device(hosts, number)["way"] for number in hosts.numbers} == {"memory"}


def test_writes_go_on_when_the_primary_loses_its_power_and_when_the_replica_does(
    world: tuple[Hosts, Arbiter],
) -> None:
    hosts, _ = world
    wait_for("a whole cluster", lambda: well(hosts), 60)
    [primary] = hosts.writable()
    with Ledger(hosts, "power") as ledger:
        ledger.wait_for_rows(primary)
        hosts.power_off(primary)
        wait_for("the other one as primary", lambda: ledger.last_by_others(primary), 40)
        hosts.start(primary)
        wait_for("a whole cluster again", lambda: well(hosts), 60)
        print(f"primary lost its power: no row was acknowledged for {ledger.gap():.2f} s")
        hosts.power_off(primary)  # which is the replica now
        ledger.wait_for_rows(3 - primary)
        ledger.wait_for_rows(3 - primary)
        hosts.start(primary)
        wait_for("a whole cluster again", lambda: well(hosts), 60)
    in_order(hosts, ledger, 1)


def test_one_half_goes_on_when_the_cable_between_them_is_cut(world: tuple[Hosts, Arbiter]) -> None:
    hosts, _ = world
    wait_for("a whole cluster", lambda: well(hosts), 60)
    with Ledger(hosts, "cable") as ledger:
        ledger.wait_for_rows()
        hosts.divide(1, 2)
        ended = time.monotonic() + 8
        while time.monotonic() < ended:
            ledger.wait_for_rows()
        for number in hosts.numbers:
            hosts.mend(number)
        wait_for("a whole cluster again", lambda: well(hosts), 60)
    assert len(ledger.changes()) <= 1, ledger.changes()
    in_order(hosts, ledger, len(ledger.changes()))


@LONG
def test_both_go_on_without_the_arbiter_and_one_alone_does_not(world: tuple[Hosts, Arbiter]) -> None:
    hosts, arbiter = world
    wait_for("a whole cluster", lambda: well(hosts), 60)
    uid = counted(hosts)["uid"]
    [primary] = hosts.writable()
    with Ledger(hosts, "lone") as ledger:
        ledger.wait_for_rows()
        arbiter.kill()
        wait_for("both to notice", lambda: all(not device(hosts, one)["counts"] for one in hosts.numbers), 20)
        ledger.wait_for_rows(primary)
        hosts.power_off(primary)
        began, seen = time.monotonic(), len(ledger.acknowledged)
        while time.monotonic() < began + SILENCE:
            assert len(ledger.acknowledged) == seen, "one of two without the arbiter's word"
            time.sleep(0.1)
        arbiter.start()
        wait_for("the other one as primary", lambda: ledger.last_by_others(primary), 40)
        hosts.start(primary)
        wait_for("a whole cluster again", lambda: well(hosts), 60)
    assert counted(hosts)["uid"] == uid, "it remembers"
    in_order(hosts, ledger, 1)


@LONG
def test_an_arbiter_that_lost_its_memory_counts_again_when_both_agreed_on_it(world: tuple[Hosts, Arbiter]) -> None:
    hosts, arbiter = world
    wait_for("a whole cluster", lambda: well(hosts), 60)
    uid = counted(hosts)["uid"]
    arbiter.kill()
    arbiter.start("empty")
    wait_for("another memory in the list", lambda: counted(hosts).get("uid") not in (uid, None) and well(hosts), 40)
    [primary] = hosts.writable()
    with Ledger(hosts, "forgot") as ledger:
        ledger.wait_for_rows(primary)
        hosts.power_off(primary)
        wait_for("the other one as primary", lambda: ledger.last_by_others(primary), 40)
        hosts.start(primary)
        wait_for("a whole cluster again", lambda: well(hosts), 60)
    in_order(hosts, ledger, 1)
