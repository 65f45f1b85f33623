"""What travels between the hosts, and what is lost, repeated, late, or cut off in one direction."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import TYPE_CHECKING

from qluster.events import Address, DatagramReceived

from sim.database import SimDatabase

if TYPE_CHECKING:
    from sim.host import Host
    from sim.world import World

GROUP: Address = ("239.19.76.1", 7400)


class Network:
    """Datagrams, streams, and who reaches whom."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.cut: set[tuple[str, str]] = set()
        """(from, to): what the first says does not reach the second."""

    def connected(self, one: Host, other: Host) -> bool:
        """A connection (both directions) is possible."""
        return (one.ip, other.ip) not in self.cut and (other.ip, one.ip) not in self.cut

    def server(self, host: Host, address: Address) -> SimDatabase | None:
        """The database server at an address, when ``host`` reaches it."""
        if self._world.outside is not None and address in self._world.outside.databases:
            return self._world.outside.server(address)
        other = self._world.hosts.get(address[0])
        if other is None or not other.reachable or not self.connected(host, other):
            return None
        return other.database

    def send(self, host: Host, datagram: bytes, to: Address | None) -> None:
        """To one host, or to all others."""
        world = self._world
        targets = [other for other in world.hosts.values() if other is not host]
        if to is not None:
            targets = [other for other in targets if other.ip == to[0]]
        faults, random, source = world.faults, world.random, (host.ip, GROUP[1])
        for other in targets:
            if (host.ip, other.ip) in self.cut:
                continue
            copies = 2 if faults.duplication and random.random() < faults.duplication else 1
            for _ in range(copies):
                if not faults.loss or random.random() >= faults.loss:
                    event = DatagramReceived(datagram, source)
                    delay = random.uniform(*faults.delay)
                    if faults.late and random.random() < faults.late:
                        delay = random.uniform(0.1, 1.5)
                    world.at(world.now + delay, lambda other=other, event=event: other.give(event))  # type: ignore[misc]

    def isolate(self, one: Host) -> None:
        """Nobody hears it, it hears nobody."""
        for other in self._world.hosts:
            self.cut |= {(one.ip, other), (other, one.ip)}

    def split(self, side: list[Host]) -> None:
        """Two sides that do not hear each other."""
        inside = {host.ip for host in side}
        for one in self._world.hosts:
            for other in self._world.hosts:
                if (one in inside) != (other in inside):
                    self.cut.add((one, other))
