"""Strikes after which something that was confirmed is with few, or with nobody."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from random import Random

from qluster.clients import FailoverRequested

from sim.choosing import running, start_again
from sim.database import SimDatabase
from sim.world import Host, World


def lose_who_confirmed(world: World) -> None:
    """The primary's host dies, and the databases of the others too but for one that is behind."""
    primary = world.primary()
    others = [host for host in running(world, database=True) if host is not primary]
    if primary is None or len(others) < 2:
        return
    behind = world.random.choice(others)
    behind.lag = 0.02
    world.run(world.random.uniform(0.5, 1.5))
    if world.primary() is not primary:
        return
    # By a chance of its own: it leaves the other runs as they are.
    if Random(f"copied {world.seed} {world.now:.3f}").random() < 0.3:
        _copy_from(world, behind, [host for host in others if host is not behind])
    world.tell(f"{primary.name} dies, and the databases of all but {behind.name}")
    for host in others:
        if host is not behind and host.node is not None and host.database is not None and not host.database.owed:
            host.stuck_until = world.now + world.random.uniform(4.0, 12.0)
            host.database.kill()
            host.look()
    primary.crash(held=True, power=True)
    if world.random.random() < 0.3:
        world.at(world.now + 3.0, lambda: accept_loss(world))
    world.at(world.now + world.random.uniform(4.0, 12.0), lambda: start_again(primary))


def _copy_from(world: World, behind: Host, others: list[Host]) -> None:
    """The others lose their database directories, and have the one that is behind copied in their place."""
    world.count("copied from one that is behind")
    for host in others:
        if host.database is not None and host.database.running:
            lose_directory(host)
    world.run(3.0, lambda: all(host.database is None or host.database.owed for host in others), every=0.02)


def lose_directory(host: Host) -> None:
    """The database directory is lost, the daemon lives."""
    assert host.database is not None
    host.world.tell(f"{host.name} its database directory is lost")
    host.database = SimDatabase(served=host.database.served)
    host.look()


def accept_loss(world: World) -> None:
    """An operator would rather lose something than wait for those who are away."""
    host = world.leader()
    reign = host.node.state.reign if host is not None and host.node is not None else None
    if host is not None and reign is not None and world.primary() is None:
        world.tell(f"loss is accepted after reign {reign.number}")
        world.count("loss accepted")
        world.clients.ask(host, FailoverRequested(world.clients.ticket(), "", reign.number))


def lose_what_was_shown(world: World) -> None:
    """A server dies while its transactions wait for replicas that are behind; as soon as it serves again it is lost."""
    primary = world.primary()
    others = [host for host in world.hosts.values() if host.database is not None and host is not primary]
    if primary is None or not others:
        return
    for host in others:
        host.lag = 0.002
    world.run(world.random.uniform(0.1, 0.5))
    if world.primary() is primary and primary.database is not None:
        world.tell(f"{primary.name} its database is killed while all replicas are behind")
        primary.database.kill()
        primary.look()
        world.run(2.0, until=lambda: primary.writes, every=0.02)
        primary.crash(held=True)
        world.at(world.now + world.random.uniform(4.0, 12.0), lambda: start_again(primary))
    for host in others:
        host.lag = 1.0
