"""Two real nodes with fence agents: the primary's host stands still with all that runs there; the other goes on alone.

`QLUSTER_FULL_TESTS=1` runs it; the simulator plays the same in every run.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from edge.daemon_world import wait_for
from edge.fault_world import Hosts, Ledger, obstacle
from edge.test_fenced_cluster import Switches

pytestmark = pytest.mark.skipif(
    os.environ.get("QLUSTER_FULL_TESTS") != "1", reason="half a minute: QLUSTER_FULL_TESTS=1")


class Pair(Hosts):
    """Two hosts."""

    def whole(self, numbers: object = (1, 2)) -> bool:
        """Both databases, and either node could go on without the other."""
        maps = [self.map(number) for number in (1, 2)]
        return all(
            found and found["cluster"]["voters"] == 2 and not found["cluster"]["remarks"]  # type: ignore[index]
            for found in maps
        ) and all(self.roles(number) == ["primary", "replica streaming"] for number in (1, 2))


@pytest.fixture
def world() -> Iterator[tuple[Pair, Switches]]:
    if reason := obstacle():
        pytest.skip(reason)
    hosts = Pair(2)
    switches = Switches(hosts)
    try:
        for number in (1, 2):
            hosts.prepare(
                number, fencing=switches.section(number), cluster__two_node="fencing", cluster__synchronous="quorum")
            hosts.start(number)
        wait_for("two nodes", hosts.whole, 60)
        yield hosts, switches
    finally:
        switches.close()
        hosts.end()


def test_replica_goes_on_alone_once_the_primary_is_off_and_has_every_row(world: tuple[Pair, Switches]) -> None:
    hosts, switches = world
    [primary] = hosts.writable()
    other = 3 - primary
    with Ledger(hosts) as ledger:
        ledger.wait_for_rows(primary)
        hosts.freeze(*switches.pids(primary))
        wait_for("another primary", lambda: ledger.last_by_others(primary), 60)
        ledger.wait_for_rows()
        wait_for("both again", hosts.whole, 120)
    print(f"no row was acknowledged for {ledger.gap():.2f} s")
    assert switches.cuts == [primary], "one shot, at nobody else"
    assert len(ledger.changes()) == 1, ledger.changes()
    assert hosts.writable() == [other]
    assert "claims" in hosts.log(other) and not ledger.missing(other)


@pytest.mark.parametrize("of_primary", [False, True], ids=["replica", "primary"])
def test_who_is_stopped_in_order_is_not_shot_and_is_back_when_it_is_started(
    world: tuple[Pair, Switches], of_primary: bool
) -> None:
    hosts, switches = world
    [primary] = hosts.writable()
    stopped, left = (primary, 3 - primary) if of_primary else (3 - primary, primary)
    with Ledger(hosts) as ledger:
        ledger.wait_for_rows(primary)
        hosts.daemons[stopped].terminate()
        assert hosts.daemons[stopped].wait(30) == 0
        ledger.wait_for_rows(left)
        wait_for("it goes on alone", lambda: (
            hosts.map(left)["cluster"]["two_node"]["claim"] == "alone"), 30)  # type: ignore[index]
        assert hosts.map(left)["cluster"]["voters"] == 1  # type: ignore[index]
        hosts.start(stopped)
        wait_for("both again", hosts.whole, 120)
    print(f"no row was acknowledged for {ledger.gap():.2f} s")
    assert switches.cuts == [] and not ledger.missing(left)
