"""What is done to the host that has the primary, and how it is undone. Must not know what is measured."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.database.client import ERRORS
from bench.database.hosts import DatabaseHosts
from bench.database.systems.base import System, postmaster, target

SWITCH_PAUSE = 0.05
SWITCHES_SECONDS = 10.0
"""For a server to need a new WAL segment on a full disk: it has some that it may use again."""

Undo = Callable[[], object]


@dataclass(frozen=True)
class Struck:
    """When it happened, and how to take it back; None: nothing is to be undone."""

    at: float
    wall: float
    undo: Undo | None = None


def strike(fault: str, system: System, hosts: DatabaseHosts, primary: int, replica: int) -> Struck:
    """Do it now."""
    match fault:
        case "kill":
            pid = postmaster(system.data(primary))
            assert pid is not None, "the primary has a server"
            struck = _now()
            os.kill(pid, signal.SIGKILL)
            return struck
        case "host":
            return _end_host(system, hosts, primary)
        case "cut" | "mute" | "deaf":
            struck = _now(lambda: hosts.mend(primary))
            hosts.cut(primary, hears=fault == "mute", speaks=fault == "deaf")
            return struck
        case "hang":
            pid = system.daemon(primary)
            struck = _now(lambda: os.kill(pid, signal.SIGCONT))
            os.kill(pid, signal.SIGSTOP)
            return struck
        case "full":
            struck = _now(lambda: hosts.clear(primary))
            hosts.fill(primary)
            asyncio.run(_use_up(system, primary))
            return struck
    assert fault == "switchover", fault
    struck = _now()
    system.switch(primary, replica)
    return struck


def _now(undo: Undo | None = None) -> Struck:
    return Struck(time.monotonic(), time.time(), undo)


def _end_host(system: System, hosts: DatabaseHosts, number: int) -> Struck:
    pids = hosts.processes(number)

    def boot() -> None:
        hosts.plug(number)
        system.revive(number)

    struck = _now(boot)
    hosts.unplug(number)  # first: nobody is told by a RST that processes ended
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    hosts.kill(number)
    return struck


async def _use_up(system: System, number: int) -> None:
    """Make the server need WAL segments that it does not have."""
    end = time.monotonic() + SWITCHES_SECONDS
    try:
        connection = await target(system.site, superuser=True).connect(number, 2)
        while time.monotonic() < end:
            await asyncio.wait_for(connection.execute("select pg_switch_wal()"), 2)
            await asyncio.sleep(SWITCH_PAUSE)
    except ERRORS:
        return  # it is what was wanted
