"""Clusters that lose their majority for good, and an operator who forces a quorum on who is left.

He is right in these: whom he gives up is off until he has done it. So all invariants hold over both foundings; and
where synchronous replication guarantees something, who goes on without his accepting a loss has all of it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from random import Random

from qluster.clients import ForceQuorumRequested

from sim.checks import Violated, converged
from sim.host import Host
from sim.world import Faults, World

TASKED = range(1000, 2000)
"""Plays in which hosts run tasks."""
ASK_PAUSE = 1.0
"""Seconds after which he asks again: hosts that fell silent just now still count as heard."""
FORCED_SECONDS = 90.0
QUIET_SECONDS = 240.0


def play(seed: int) -> World:
    """One cluster, from its founding to the end."""
    random = Random(f"forced {seed}")
    world = World(
        seed, databases=random.choice([2, 3, 4, 5]), pools=random.choice([0, 1]),
        synchronous=random.choice(["off", "quorum", "all"]), tasks=seed in TASKED,
    )  # fmt: skip
    for host in world.hosts.values():
        host.start()
    if not world.run(90.0, lambda: not converged(world)):
        raise Violated(f"not founded: {converged(world)}")
    world.clients.write_always()
    world.clients.ask_always()
    if world.tasks is not None:
        world.tasks.ask_always()
    world.faults = weather(random)
    world.run(random.uniform(1.0, 6.0))
    left, gone = lose_majority(world, random)
    forces(world, random, left, gone)
    come_back(world, random, gone)
    world.faults = Faults()
    if not world.run(QUIET_SECONDS, lambda: not converged(world)):
        raise Violated(f"not well again: {converged(world)}")
    if world.tasks is not None:
        world.tasks.at_the_end()
    world.clients.at_the_end()
    return world


def weather(random: Random) -> Faults:
    """How bad the world is meanwhile."""
    return Faults(
        loss=random.choice([0.0, 0.02, 0.1]), duplication=random.choice([0.0, 0.1]),
        late=random.choice([0.0, 0.01]), crash_at_seam=random.choice([0.0, 0.0, 0.002]),
        slow_save=random.choice([0.0, 0.1]), save_seconds=random.choice([0.02, 0.5]),
        job_failure=random.choice([0.0, 0.05]),
    )  # fmt: skip


def lose_majority(world: World, random: Random) -> tuple[list[Host], list[Host]]:
    """So many hosts lose their power that the others cannot elect."""
    hosts = [host for host in world.hosts.values() if host.database is not None]
    random.shuffle(hosts)
    keep = random.randint(1, max(1, (len(hosts) - 1) // 2))
    left, gone = hosts[:keep], hosts[keep:]
    if random.random() < 0.5:
        for host in left:
            host.lag = 0.02
        world.run(1.0)
    for host in gone:
        if host.node is not None:
            host.crash(held=True, power=True)
        host.held = True
        world.run(random.choice([0.0, 0.05, 0.5]))
    for host in left:
        host.lag = 1.0
    return left, gone


def forces(world: World, random: Random, left: list[Host], gone: list[Host]) -> None:
    """He asks again and again until it is done; the node that he asks may crash in between."""
    chosen = random.choice(left)
    before = max(host.disk.identity.cluster for host in left if host.disk.identity is not None)
    world.run(random.uniform(0.0, 5.0))
    promised = world.checks._promised.get(before)
    end = world.now + FORCED_SECONDS
    if random.random() < 0.3:
        world.at(world.now + random.uniform(0.0, 6.0), lambda: chosen.crash() if chosen.node is not None else None)
    while world.now < end and not done(chosen, before):
        off = tuple(host.ip for host in gone)
        world.clients.ask(chosen, ForceQuorumRequested(world.clients.ticket(), "", "sim", None, off, False))
        world.run(ASK_PAUSE, lambda: done(chosen, before), every=0.05)
    if not done(chosen, before):
        raise Violated(f"no quorum could be forced: {chosen.node and chosen.node.forcing.outcome}")
    world.run(random.uniform(0.0, 30.0), lambda: world.primary() is not None, every=0.05)
    nothing_is_lost(world, promised)


def done(host: Host, before: int) -> bool:
    identity = host.disk.identity
    forced = host.node is not None and bool(host.node.state.forced)
    return forced or (identity is not None and identity.cluster > before)


def nothing_is_lost(world: World, promised: tuple[int, int] | None) -> None:
    """D2 over a forced quorum: who serves has what was guaranteed, unless somebody accepted a loss."""
    primary = world.primary()
    if primary is None or promised is None or primary.database is None or primary.node is None:
        return
    reign = primary.node.state.reign
    if reign is not None and not reign.accepted and primary.database.wal.digest(promised[0]) != promised[1]:
        raise Violated(f"D2: {primary.name} serves after a forced quorum without what was acknowledged")
    world.count("served after a forced quorum", fault=False)


def come_back(world: World, random: Random, gone: list[Host]) -> None:
    """Those who were given up are switched on after all, one after the other; somebody dies meanwhile."""
    for host in gone:
        world.at(world.now + random.uniform(0.0, 20.0), lambda host=host: start(host))  # type: ignore[misc]
    world.run(random.uniform(5.0, 25.0))
    if random.random() < 0.4 and (leader := world.leader()) is not None:
        leader.crash()
    world.run(20.0)
    for host in world.hosts.values():
        start(host)


def start(host: Host) -> None:
    if host.node is None and not host.left:
        host.start()
