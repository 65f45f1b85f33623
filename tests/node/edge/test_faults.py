"""A whole cluster with databases on hosts of their own, struck by faults while clients write to every node.

Whatever is struck: from the first row that the new primary acknowledges, the former one acknowledges none.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from edge.fault_world import Hosts, Ledger, obstacle, wait_for

Stroke = Callable[[Hosts, int], Callable[[], object]]
"""Strikes a host; what it returns undoes that."""


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    if reason := obstacle():
        pytest.skip(reason)
    made = Hosts()
    try:
        for number in (1, 2, 3):
            made.prepare(number)
            made.start(number)
        wait_for("a whole cluster", made.whole, 60)
        yield made
    finally:
        made.end()


def hang_the_daemon(hosts: Hosts, number: int) -> Callable[[], object]:
    """The daemon stands still; the guard must end the database before anybody else is elected."""
    hosts.freeze(hosts.daemons[number].pid)
    return lambda: hosts.thaw(hosts.daemons[number].pid)


def kill_daemon_and_guard(hosts: Hosts, number: int) -> Callable[[], object]:
    """One stroke takes the daemon and who watches it; nobody is left to end the database."""
    hosts.kill(hosts.guard(number), hosts.daemons[number].pid)
    hosts.daemons[number].wait()
    return lambda: hosts.start(number)


def silence_the_host(hosts: Hosts, number: int) -> Callable[[], object]:
    """The host hears everything and is heard by nobody but its clients."""
    hosts.cut(number, hears=True, but=f"ip daddr {hosts.net}.254")
    return lambda: hosts.mend(number)


STROKES = [hang_the_daemon, kill_daemon_and_guard, silence_the_host]


def written_through(hosts: Hosts, primary: int, strike: Stroke) -> Ledger:
    """What clients were told while a primary was struck, another one took over, and all were well again."""
    with Ledger(hosts, strike.__name__) as ledger:
        ledger.wait_for_rows(primary)
        undo = strike(hosts, primary)
        try:
            wait_for("another primary", lambda: ledger.last_by_others(primary), 40)
            ledger.wait_for_rows()
        finally:
            undo()
        wait_for("a whole cluster again", hosts.whole, 60)
        ledger.wait_for_rows()
    return ledger


@pytest.mark.parametrize("strike", STROKES, ids=[stroke.__name__ for stroke in STROKES])
def test_former_primary_acknowledges_nothing_once_another_does(hosts: Hosts, strike: Stroke) -> None:
    wait_for("a whole cluster", hosts.whole, 60)
    [primary] = hosts.writable()
    ledger = written_through(hosts, primary, strike)
    assert len(ledger.changes()) == 1, ledger.changes()
    [successor] = hosts.writable()
    lost = [row for row in ledger.missing(successor) if row[1] != primary]
    assert not lost, f"the new primary never failed, and misses rows of its own: {lost[:3]}"
    wait_for("what the former primary took back", lambda: reign(hosts, successor)["left_bytes"] is not None, 20)
    after = reign(hosts, successor)
    assert after["left_bytes"] <= after["bound_bytes"] and not after["accepted"], after


def reign(hosts: Hosts, number: int) -> dict[str, int]:
    """The reign in force as a host shows it."""
    return hosts.map(number)["cluster"]["reign"]  # type: ignore[index, no-any-return]
