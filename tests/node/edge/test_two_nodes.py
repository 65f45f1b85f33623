"""Two hosts and an arbiter that remembers: either may go, the cable between them may go, and the arbiter may go.

The arbiter is the daemon of ours, where the clients are.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from edge.fault_world import Ledger, obstacle, wait_for
from edge.pair_world import LONG, PORT, Pair, in_order
from edge.qnetd_world import Running, running

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
def world() -> Iterator[tuple[Pair, Arbiter]]:
    if reason := obstacle():
        pytest.skip(reason)
    pair = Pair()
    arbiter = Arbiter(pair.root / "arbiter")
    try:
        arbiter.start()
        pair.join(host=f"{pair.net}.254", timeout="3s")
        yield pair, arbiter
    finally:
        arbiter.close()
        pair.end()


def test_list_counts_the_arbiter_by_its_memory(world: tuple[Pair, Arbiter]) -> None:
    pair, _ = world
    assert (pair.listed()["votes"], pair.listed()["way"], pair.listed()["reason"]) == (1, "memory", "")
    assert {pair.shown(number)["way"] for number in pair.numbers} == {"memory"}


def test_writes_go_on_when_the_primary_loses_its_power_and_when_the_replica_does(
    world: tuple[Pair, Arbiter],
) -> None:
    pair, _ = world
    primary = pair.wait_until_well()
    with Ledger(pair, "power") as ledger:
        ledger.wait_for_rows(primary)
        pair.power_off(primary)
        wait_for("the other one as primary", lambda: ledger.last_by_others(primary), 40)
        pair.start(primary)
        pair.wait_until_well()
        print(f"primary lost its power: no row was acknowledged for {ledger.gap():.2f} s")
        pair.power_off(primary)  # which is the replica now
        ledger.wait_for_rows(3 - primary)
        ledger.wait_for_rows(3 - primary)
        pair.start(primary)
        pair.wait_until_well()
    in_order(pair, ledger, 1)


def test_one_half_goes_on_when_the_cable_between_them_is_cut(world: tuple[Pair, Arbiter]) -> None:
    pair, _ = world
    pair.wait_until_well()
    with Ledger(pair, "cable") as ledger:
        ledger.wait_for_rows()
        pair.divide(1, 2)
        ended = time.monotonic() + 8
        while time.monotonic() < ended:
            ledger.wait_for_rows()
        for number in pair.numbers:
            pair.mend(number)
        pair.wait_until_well()
    assert len(ledger.changes()) <= 1, ledger.changes()
    in_order(pair, ledger, len(ledger.changes()))


@LONG
def test_both_go_on_without_the_arbiter_and_one_alone_does_not(world: tuple[Pair, Arbiter]) -> None:
    pair, arbiter = world
    pair.wait_until_well()
    uid = pair.listed()["uid"]
    [primary] = pair.writable()
    with Ledger(pair, "lone") as ledger:
        ledger.wait_for_rows()
        arbiter.kill()
        wait_for("both to notice", lambda: all(not pair.shown(one)["counts"] for one in pair.numbers), 20)
        ledger.wait_for_rows(primary)
        pair.power_off(primary)
        began, seen = time.monotonic(), len(ledger.acknowledged)
        while time.monotonic() < began + SILENCE:
            assert len(ledger.acknowledged) == seen, "one of two without the arbiter's word"
            time.sleep(0.1)
        arbiter.start()
        wait_for("the other one as primary", lambda: ledger.last_by_others(primary), 40)
        pair.start(primary)
        pair.wait_until_well()
    assert pair.listed()["uid"] == uid, "it remembers"
    in_order(pair, ledger, 1)


@LONG
def test_an_arbiter_that_lost_its_memory_counts_again_when_both_agreed_on_it(world: tuple[Pair, Arbiter]) -> None:
    pair, arbiter = world
    pair.wait_until_well()
    uid = pair.listed()["uid"]
    arbiter.kill()
    arbiter.start("empty")
    wait_for("another memory in the list", lambda: pair.listed().get("uid") not in (uid, None) and pair.well(), 40)
    [primary] = pair.writable()
    with Ledger(pair, "forgot") as ledger:
        ledger.wait_for_rows(primary)
        pair.power_off(primary)
        wait_for("the other one as primary", lambda: ledger.last_by_others(primary), 40)
        pair.start(primary)
        pair.wait_until_well()
    in_order(pair, ledger, 1)
