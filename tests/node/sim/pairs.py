"""Clusters of two nodes that go on alone by fencing: cut, crashed, switched off, both at once, with agents that fail.

No agent lies here: what a fence device says is what the rule rests on.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from random import Random

from sim.checks import Violated, converged
from sim.electing import Electing
from sim.host import Host
from sim.world import Faults, World

TWO = Electing(2, (1, 1), two_node=True)
STRIKES_MAX = 8
QUIET_SECONDS = 180.0


def missing(world: World) -> str:
    """What is not as it should be: both vote, and either could go on without the other."""
    for host in world.hosts.values():
        if host.node is None or host.node.qraft is None:
            return f"{host.name} is down"
        if host.database is not None and not host.node.qraft.claimable:
            return f"{host.name} could not go on alone"
    return converged(world)


def started(seed: int, pools: int = 0, synchronous: str = "off") -> World:
    """Two nodes that found a cluster."""
    world = World(seed, databases=2, pools=pools, synchronous=synchronous, fencing="wait", electing=TWO)
    for host in world.hosts.values():
        host.start()
    return world


def founded(seed: int, pools: int = 0, synchronous: str = "off") -> World:
    """A cluster of two that serves."""
    world = started(seed, pools, synchronous)
    if not world.run(90.0, lambda: not missing(world)):
        raise Violated(f"not founded: {missing(world)}")
    world.clients.write_always()
    world.run(1.0)
    return world


def play(seed: int) -> World:
    """One cluster, struck again and again."""
    random = Random(f"pairs {seed}")
    world = founded(seed, synchronous=random.choice(["off", "quorum"]))
    world.clients.ask_always()
    world.faults = Faults(
        loss=random.choice([0.0, 0.05]), late=random.choice([0.0, 0.01]),
        crash_at_seam=random.choice([0.0, 0.002]), slow_save=random.choice([0.0, 0.2]), save_seconds=0.3,
        agent_fails=random.choice([0.0, 0.0, 0.4]),
    )  # fmt: skip
    for _ in range(random.randint(2, STRIKES_MAX)):
        strike(world, random)
        world.run(random.choice([0.2, 2.0, 6.0, 12.0]) * random.uniform(0.5, 1.5))
    world.faults = Faults()
    world.network.cut.clear()
    world.disturbed()
    for host in world.hosts.values():
        begin(host)
    if not world.run(QUIET_SECONDS, lambda: stir(world) or not missing(world)):
        raise Violated(f"not well again: {missing(world)}")
    world.clients.at_the_end()
    return world


def stir(world: World) -> bool:
    """An operator starts what lies still. False."""
    for host in world.hosts.values():
        begin(host)
    return False


def boots_cut_off(world: World, host: Host, *, seen: bool) -> None:
    """One dies, the other goes on alone, the first one boots and is cut off: at once, or when it was just seen."""
    if host.node is not None:
        host.crash(held=True, power=True)
    if not seen:
        world.network.isolate(host)
    world.run(14.0, lambda: host.node is not None, every=0.0001)  # the other one has it switched on again
    begin(host)
    others = [one for one in world.hosts.values() if one is not host]
    world.run(2.0, lambda: host.node is not None and any(
        one.node is not None and host.node.heard(one.node.me) is not None for one in others), every=0.0001)
    world.network.isolate(host)
    world.run(20.0)


def strike(world: World, random: Random) -> None:
    hosts = list(world.hosts.values())
    host = random.choice(hosts)
    match random.choice(["cut", "cut", "mend", "mend", "crash", "power", "start", "start", "freeze", "boots"]):
        case "boots":
            boots_cut_off(world, host, seen=random.random() < 0.5)
        case "cut":
            world.network.isolate(host)
        case "mend":
            world.network.cut.clear()
            world.disturbed()
        case "crash" if host.node is not None:
            host.crash()
        case "power" if host.node is not None:
            host.crash(held=True, power=True)
        case "start":
            for one in hosts:
                begin(one)
        case "freeze" if host.node is not None:
            host.freeze(random.uniform(0.5, 6.0), whole=True)


def begin(host: Host) -> None:
    """Somebody switches it on."""
    if host.node is None and not host.left:
        host.start()
