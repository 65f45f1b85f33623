"""A whole cluster with fence agents: what neither guard nor lease can end is ended by the power switch.

Each host is a network namespace; its power is a file that an agent wishes to be `off`, and then every process of the
host is killed. Clients write to every node all the time, also to the former primary.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from edge import fence_agent
from edge.fault_world import Hosts, Ledger, obstacle, run, wait_for


class Switches:
    """The power of each host, and who presses its switch."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._over = threading.Event()
        self.cuts: list[int] = []
        self.program = hosts.root / "fence_test"
        self.program.write_text(f"#!{sys.executable}\n{Path(fence_agent.__file__).read_text()}")
        self.program.chmod(0o755)
        for number in (1, 2, 3):
            self.state(number).write_text("on")
        self._thread = threading.Thread(target=self._attend, daemon=True)
        self._thread.start()

    def state(self, number: int) -> Path:
        return self._hosts.root / f"power{number}.state"

    def section(self, number: int) -> dict[str, object]:
        """How a host fences the two others."""
        def device(other: int) -> dict[str, object]:
            parameters = {"state_file": str(self.state(other)), "temper": "ask"}
            return {"agent": str(self.program), "parameters": parameters, "time-limit": "25s"}

        hosts = {self._hosts.ip(other): {"levels": [device(other)]} for other in (1, 2, 3) if other != number}
        return {"when-failed": "wait", "hosts": hosts}

    def pids(self, number: int) -> list[int]:
        """Every process of a host."""
        return [int(word) for word in run("ip", "netns", "pids", self._hosts.namespace(number)).split()]

    def _attend(self) -> None:
        while not self._over.wait(0.02):
            for number in (1, 2, 3):
                wish = self.state(number).with_suffix(".wanted")
                if wish.exists():
                    wanted = wish.read_text()
                    wish.unlink()
                    self._switch(number, wanted)

    def _switch(self, number: int, wanted: str) -> None:
        if wanted == "off":
            self.cuts.append(number)
            while pids := self.pids(number):
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                self._hosts.daemons[number].wait(10)
        elif wanted == "on":
            self._hosts.mend(number)
            self._hosts.start(number)
        assert wanted in ("on", "off"), wanted
        begun = self.state(number).with_suffix(".new")
        begun.write_text(wanted)
        begun.replace(self.state(number))  # the agents look at it all the time

    def close(self) -> None:
        self._over.set()
        self._thread.join(20)


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[Hosts, Switches]]:
    if reason := obstacle():
        pytest.skip(reason)
    hosts = Hosts()
    switches = Switches(hosts)
    try:
        for number in (1, 2, 3):
            hosts.prepare(number, fencing=switches.section(number))
            hosts.start(number)
        wait_for("a whole cluster", hosts.whole, 60)
        yield hosts, switches
    finally:
        switches.close()
        hosts.end()


def stop_the_host(hosts: Hosts, switches: Switches, number: int) -> None:
    """Nothing on it moves, and everything of it would go on if it were let."""
    hosts.freeze(*switches.pids(number))


def leave_the_database_alone(hosts: Hosts, switches: Switches, number: int) -> None:
    """The worst there is: the daemon hangs, its guard is dead, and the server goes on serving its clients."""
    hosts.freeze(hosts.daemons[number].pid)
    hosts.kill(hosts.guard(number))


@pytest.mark.parametrize("strike", [stop_the_host, leave_the_database_alone])
def test_nobody_serves_beside_a_primary_that_gave_no_word(
    world: tuple[Hosts, Switches], strike: Callable[[Hosts, Switches, int], None]
) -> None:
    hosts, switches = world
    [primary] = hosts.writable()
    switches.cuts.clear()
    with Ledger(hosts, strike.__name__) as ledger:
        ledger.wait_for_rows(primary)
        strike(hosts, switches, primary)
        wait_for("another primary", lambda: ledger.last_by_others(primary), 60)
        ledger.wait_for_rows()
        wait_for("a whole cluster again", hosts.whole, 120)
    print(f"{strike.__name__}: no row was acknowledged for {ledger.gap():.2f} s")
    assert switches.cuts == [primary], "one shot, at nobody else"
    assert len(ledger.changes()) == 1, ledger.changes()
    [successor] = hosts.writable()
    [node] = [one for one in hosts.map(successor)["nodes"] if one["ip"] == hosts.ip(primary)]  # type: ignore[attr-defined]
    last = node["fencing"]["last"]
    assert last["success"] is True and last["shots"] == 1 and "status says so" in last["said"], last
