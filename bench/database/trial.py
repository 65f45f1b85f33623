"""One fault to one cluster that is whole: clients before, during and after, and what they were told.

Must not know how results are kept or shown.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

from bench.database import client
from bench.database.cell import Cell
from bench.database.client import ERRORS, Acknowledged, Ledger, Target
from bench.database.faults import Struck, strike
from bench.database.hosts import DatabaseHosts
from bench.database.systems.base import System, target
from bench.processes import Server
from bench.programs import ROOT

WHOLE_SECONDS = 180.0
"""For all replicas to stream again."""
BACK_SECONDS = 180.0
"""For a write to be acknowledged after a fault; a system that takes longer has failed."""
REST = 1.0
"""Seconds, and up to one more by chance, of quiet writing: a fault may come at any point between two heartbeats."""
LINGER = 2.0
"""Seconds in which a former primary that lives still meets its clients beside the new one."""
BEFORE = 50
"""Rows that are acknowledged before a fault."""
LOOK_PAUSE, READ_PAUSE = 0.1, 0.02
LOOK_SECONDS = 1.0
LOOK = """select pg_is_in_recovery(), count(*) filter (where state = 'streaming'),
    count(*) filter (where state = 'streaming' and sync_state in ('sync', 'quorum')) from pg_stat_replication"""


class NotWhole(Exception):
    """A cluster did not become whole, or clients were not served: the message says what was seen."""


@dataclass(frozen=True)
class Seen:
    """What a database says of itself."""

    standby: bool
    streaming: int
    confirming: int


async def look(reached: Target) -> dict[int, Seen]:
    """All databases that answer."""
    async def one(number: int) -> Seen | None:
        try:
            connection = await reached.connect(number, LOOK_SECONDS)
            try:
                row = await asyncio.wait_for(connection.fetchrow(LOOK), LOOK_SECONDS)
            finally:
                connection.terminate()
        except ERRORS:
            return None
        assert row is not None, "a count is one row"
        return Seen(*row)

    found = await asyncio.gather(*(one(number) for number in reached.addresses))
    return {number: seen for number, seen in zip(reached.addresses, found, strict=True) if seen is not None}


def primary_of(found: dict[int, Seen], replication: str, databases: int = 3) -> int:
    """The primary of a cluster that is whole, 0 when it is not."""
    primaries = [number for number, seen in found.items() if not seen.standby]
    if len(found) != databases or len(primaries) != 1:
        return 0
    seen, replicas = found[primaries[0]], databases - 1
    enough = seen.streaming == replicas and (replication == "off" or seen.confirming == replicas)
    return primaries[0] if enough else 0


def wait_whole(system: System, replication: str, limit: float = WHOLE_SECONDS) -> int:
    """Wait until there is one primary and all replicas stream; the primary."""
    reached, end = target(system.site, superuser=True), time.monotonic() + limit
    while True:
        system.restart_ended(0)
        found = asyncio.run(look(reached))
        if primary := primary_of(found, replication, system.site.nodes):
            return primary
        if time.monotonic() > end:
            raise NotWhole(f"not whole within {limit:g} s: {found}")
        time.sleep(LOOK_PAUSE)


@contextmanager
def _writing(system: System, table: str, path: Path) -> Iterator[Ledger]:
    path.write_text("")
    words = client.words(target(system.site), table, path)
    writer = Server(words, path.with_suffix(".log"), {**os.environ, "PYTHONPATH": str(ROOT)})
    ledger = Ledger(path)
    try:
        yield ledger
    finally:
        writer.end()
    ledger.refresh()


def _wait(what: str, holds: Callable[[], object], limit: float) -> None:
    end = time.monotonic() + limit
    while not holds():
        if time.monotonic() > end:
            raise NotWhole(f"{what}: not within {limit:g} s")
        time.sleep(READ_PAUSE)


def run(cell: Cell, system: System, hosts: DatabaseHosts, seed: int) -> dict[str, Any]:
    """Strike once; the figures."""
    random, table = Random(f"{cell.name} {seed}"), f"trial_{time.monotonic_ns()}"
    primary = wait_whole(system, cell.replication)
    replica = random.choice([number for number in system.site.numbers if number != primary])
    asyncio.run(client.create(target(system.site), primary, table))
    with _writing(system, table, hosts.folder / "ledger") as ledger:
        _wait("clients write", lambda: ledger.refresh() and len(ledger.lines) >= BEFORE, 30)
        time.sleep(REST + random.random())
        ledger.refresh()
        known = {one.connection for one in ledger.lines}
        struck = strike(cell.fault, system, hosts, primary, replica)
        dead = primary if cell.fault == "host" else 0
        try:
            until = _wait_for_others(ledger, system, known, struck, dead) + LINGER
            if struck.undo is not None:
                time.sleep(LINGER)
        finally:
            undone = time.monotonic()
            if struck.undo is not None:
                struck.undo()
        successor = wait_whole(system, cell.replication)
        whole = time.monotonic()
    present = asyncio.run(client.rows(target(system.site), successor, table))
    values = judged(ledger.lines, struck.at, until, primary, present)
    values["redundancy"] = whole - (undone if struck.undo is not None else struck.at)
    values |= {"wall": struck.wall, "primary": primary, "successor": successor}
    return values | _stated(system, values)


def _wait_for_others(ledger: Ledger, system: System, known: set[int], struck: Struck, dead: int) -> float:
    """When first a write was acknowledged by a connection that none was acknowledged by before the fault."""
    found: list[float] = []

    def served() -> bool:
        system.restart_ended(dead)
        found.extend(one.at for one in ledger.refresh() if one.connection not in known and one.at > struck.at)
        return bool(found)

    _wait("no write was acknowledged by a new primary", served, BACK_SECONDS)
    return found[0]


def _stated(system: System, values: dict[str, Any]) -> dict[str, Any]:
    """What the system's record says is known to be left behind, what may be at most, and what was."""
    stated = system.stated()
    if not stated or values["successor"] == values["primary"]:
        return {}
    last = values["last_lost_position"]
    return {
        "stated_bytes": stated["lost_bytes"], "bound_bytes": stated.get("bound_bytes"),
        "left_bytes": max(0, last - stated["position"]) if last else 0,
    }


def judged(lines: list[Acknowledged], struck: float, until: float, former: int, present: set[int]) -> dict[str, Any]:
    """The figures that follow from what clients were told.

    The outage begins with the fault, and ends with the first row that is acknowledged by a connection that had
    none acknowledged before: the former primary's connections may go on for a while. Of two primaries: what the
    former one acknowledged between the first and the last row of the other one.
    """
    before = [one for one in lines if one.at <= struck]
    after = [one for one in lines if struck < one.at <= until]
    gap = max(later.at - one.at for one, later in pairwise([before[-1], *after]))
    known = {one.connection for one in before}
    first = next(one for one in after if one.connection not in known)
    lost = [one for one in lines if one.row not in present]
    others = [one.at for one in lines if one.node != former and one.at > struck]
    both = [one for one in lines if others and one.node == former and min(others) < one.at < max(others)]
    return {
        "outage": first.at - struck, "gap": gap, "acknowledged": len(lines), "lost": len(lost),
        "last_lost_position": max((one.position for one in lost), default=0), "both": len(both),
        "same": first.node == former,
    }  # fmt: skip
