"""Which host is struck, and how one that was stopped comes back."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from sim.world import Host, World


def running(world: World, *, database: bool = False) -> list[Host]:
    """Hosts whose daemon runs."""
    return [host for host in world.hosts.values() if host.node is not None and (host.database or not database)]


def one_of(world: World, hosts: list[Host]) -> Host | None:
    """One of these; the primary and the leader are struck more often than others."""
    if not hosts:
        return None
    special = [host for host in (world.primary(), world.leader()) if host in hosts]
    return world.random.choice(special if special and world.random.random() < 0.4 else hosts)  # type: ignore[arg-type]


def start_again(host: Host) -> None:
    """Start a host that was stopped."""
    if host.node is None and host.held and not host.left:
        host.start()
