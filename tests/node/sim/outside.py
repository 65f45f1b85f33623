"""The installation that a simulated standby cluster follows: two databases, one of which writes, until it fails over.

It must not know who follows it. What its former primary had beyond its successor it gives up, as an installation
without synchronous replication does: who followed closely must give it up as well.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import TYPE_CHECKING

from qluster.events import Address

from sim.database import SimDatabase

if TYPE_CHECKING:
    from sim.world import World

PLACES: tuple[Address, ...] = (("192.0.2.1", 5432), ("192.0.2.2", 5432))
WRITE_INTERVAL = 0.05
LAG_MOST = 4
"""Records by which its standby may be behind when it takes over."""


class Outside:
    """Two databases, as the cluster reaches them."""

    def __init__(self, world: World) -> None:
        self._world = world
        system_id = world.random.getrandbits(60)
        self.databases = {place: SimDatabase(directory="initialised", system_id=system_id, running=True)
                          for place in PLACES}  # fmt: skip
        self._writer = PLACES[0]
        self._next = 0
        self.cut = False
        """The line between the two sites is down."""
        self.stopped = False
        self.server_at(PLACES[1]).in_recovery = True
        self._write()

    @property
    def text(self) -> str:
        """As the configuration names them."""
        return ",".join(f"{host}:{port}" for host, port in PLACES)

    @property
    def primary(self) -> SimDatabase:
        """Who writes there."""
        return self.databases[self._writer]

    def server_at(self, place: Address) -> SimDatabase:
        """The database at a place, reached or not."""
        return self.databases[place]

    def server(self, place: Address) -> SimDatabase | None:
        """The database at a place, when it is reached."""
        database = self.databases[place]
        return database if database.running and not self.cut and not self.stopped else None

    def _write(self) -> None:
        world = self._world
        if not self.stopped and self.primary.running:
            self._next += 1
            self.primary.wal.append((self.primary.timeline, 1_000_000 + self._next))
            other = self._other
            if other.running and other.fits(self.primary) and len(other.wal) + LAG_MOST < len(self.primary.wal):
                other.wal, other.timeline = self.primary.wal.copy(), self.primary.timeline
        world.at(world.now + WRITE_INTERVAL, self._write)

    @property
    def _other(self) -> SimDatabase:
        return next(database for place, database in self.databases.items() if place != self._writer)

    def fail_over(self) -> None:
        """The one that writes dies; the other goes on without what it does not have; the first comes back as a copy."""
        before, after = self.primary, self._other
        if not after.running or self.stopped:
            return
        self._world.tell("the installation outside fails over")
        self._writer = next(place for place, database in self.databases.items() if database is after)
        before.running = False
        after.in_recovery, after.timeline = False, before.timeline + 1
        after.wal.append((after.timeline, -1_000_000 - self._next))
        self._world.at(self._world.now + 5.0, lambda: self._rejoin(before, after))

    def _rejoin(self, former: SimDatabase, primary: SimDatabase) -> None:
        former.wal, former.timeline = primary.wal.copy(), primary.timeline
        former.running, former.in_recovery = True, True

    def stop(self) -> None:
        """It is given up."""
        self._world.tell("the installation outside is stopped")
        self.stopped = True
