"""Databases that stand still without ending: a strike of its own, for some seeds only."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from sim.choosing import running
from sim.strikes import Strike
from sim.world import World


def hang_database(world: World) -> None:
    """A server stands still and does not end: its postmaster is stopped, or its disk takes nothing."""
    found = [host for host in running(world, database=True) if host.database and host.database.running]
    if not found:
        return
    primary = world.primary()
    host = primary if primary in found and world.random.random() < 0.5 else world.random.choice(found)
    assert host is not None and host.database is not None, "found by its database"
    database, seconds = host.database, world.random.choice([1.0, 4.0, 9.0, 70.0])
    if database.hangs:
        return
    database.hangs, database.hangs_since = world.random.choice(["halted", "stalled"]), world.now
    world.tell(f"{host.name} its database is {database.hangs} for {seconds} s")
    world.disturbed()
    since = world.now

    def go_on() -> None:
        if database.hangs and database.hangs_since == since:
            database.hangs = ""

    world.at(world.now + seconds, go_on)


LATER: list[tuple[str, float, Strike]] = [
    ("database hangs", 3, hang_database),
]
"""For every fourth seed only: what others once showed stays what they show."""
