"""A pause on real hosts: the primary outlives its daemon and its network, and nobody else writes before it is heard."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest
from edge.fault_world import Hosts, Ledger, obstacle, wait_for

NODE_TIMEOUT = 3.0


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


def pause_of(hosts: Hosts, number: int) -> dict[str, object]:
    cluster = hosts.map(number).get("cluster") or {}
    return cluster.get("pause") or {}  # type: ignore[attr-defined, no-any-return]


def paused(hosts: Hosts) -> int:
    """Pause, and wait until every database outlives its daemon; the primary."""
    [primary] = hosts.writable()
    operate(hosts, "/pause?reason=a%20new%20switch")
    for number in (1, 2, 3):
        wait_for(f"the sign of node {number}", lambda number=number: (hosts.place(number) / "state/paused").exists())
        assert pause_of(hosts, number)["reason"] == "a new switch"
    return primary


def operate(hosts: Hosts, path: str, numbers: tuple[int, ...] = (1, 2, 3)) -> None:
    """Ask whoever leads, as soon as somebody does."""
    answers: list[str] = []

    def done() -> bool:
        for number in numbers:
            answer = hosts.post(number, path)
            answers.append(f"{number}: {answer.status_code} {answer.text}")
            if answer.status_code == 200:
                return True
        return False

    try:
        wait_for(path, done)
    except AssertionError as failure:
        raise AssertionError(f"{failure}: {answers[-3:]}") from None


def test_primary_outlives_its_daemon_and_its_network_in_a_pause(hosts: Hosts) -> None:
    with Ledger(hosts) as ledger:
        primary = paused(hosts)
        server = hosts.postmaster(primary)
        hosts.kill(hosts.guard(primary), hosts.daemons[primary].pid)
        hosts.daemons[primary].wait()
        ledger.wait_for_rows(primary)
        hosts.start(primary)
        wait_for("the daemon's word for its database", lambda: hosts.writable() == [primary], 60)
        assert hosts.postmaster(primary) == server, "the daemon found it, and left it alone"

        clients = f"{hosts.net}.254"
        hosts.cut(primary, but=f"ip daddr {clients} accept; add rule inet cut input ip saddr {clients}")
        others = [number for number in (1, 2, 3) if number != primary]
        wait_for("another leader", lambda: hosts.leader(others[0]) in others, 60)
        leader = hosts.leader(others[0])
        assert leader is not None
        operate(hosts, "/resume", tuple(others))
        end = time.monotonic() + 3 * NODE_TIMEOUT
        while time.monotonic() < end:
            ledger.wait_for_rows(primary)
        assert not ledger.last_by_others(primary)
        waits = f"node {primary} may still run the primary"
        wait_for("the reason", lambda: all(waits in str(hosts.own(other).get("message")) for other in others))
        hosts.mend(primary)
        wait_for("a whole cluster again", hosts.whole, 60)
        ledger.wait_for_rows()
    [successor] = hosts.writable()
    assert not ledger.missing(successor), "the former primary was heard before anybody took over"


def test_second_primary_that_is_made_by_hand_in_a_pause_is_ended(hosts: Hosts) -> None:
    primary = paused(hosts)
    other = next(number for number in (1, 2, 3) if number != primary)
    pid = hosts.postmaster(other)
    assert pid is not None
    (hosts.data(other) / "promote").touch()
    os.kill(pid, signal.SIGUSR1)  # what `pg_ctl promote` does
    wait_for("its end", lambda: hosts.postmaster(other) is None, 10)
    assert hosts.writable() == [primary]
    operate(hosts, "/resume")
    wait_for("a whole cluster again", hosts.whole, 60)
    assert hosts.writable() == [primary], "and it is a replica again"
