"""One run: a seed makes a cluster, faults for a while, then quiet, in which it must become well."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sim.checks import converged
from sim.world import Faults, Violated, World

FOUNDING_SECONDS = 60.0
FAULT_SECONDS = 60.0
QUIET_SECONDS = 60.0
"""Simulated seconds in which a cluster must be well again: thirty node-timeouts of the simulated clusters."""
WRITE_INTERVAL = 0.1


@dataclass(frozen=True, slots=True)
class Result:
    """What a run was."""

    seed: int
    fault: str
    seconds: float
    steps: int
    reigns: int
    injected: dict[str, int]
    story: list[str]


def run(seed: int) -> Result:
    """Run one seed; ``fault`` is "" when nothing was violated."""
    world = World(seed, databases=1 + seed % 5 if seed % 7 else 3)
    fault = ""
    try:
        for ip in world.hosts:
            world.at(world.now + world.random.uniform(0, 2), lambda ip=ip: world.start(ip))  # type: ignore[misc]
        if not world.run(FOUNDING_SECONDS, lambda: converged(world) == ""):
            raise Violated(f"not founded: {converged(world)}")
        _write_always(world)
        _disturb(world)
        _heal(world)
        if not world.run(QUIET_SECONDS, lambda: converged(world) == ""):
            raise Violated(f"not well again: {converged(world)}")
    except AssertionError as error:
        fault = f"{type(error).__name__}: {error}"
    reigns = max((len(host.node.state.reigns) for host in world.hosts.values() if host.node), default=0)
    return Result(seed, fault, world.now - 1000.0, world.steps, reigns, world.injected, world.story)


def _write_always(world: World) -> None:
    def again() -> None:
        world.write()
        world.at(world.now + WRITE_INTERVAL, again)

    again()


def _disturb(world: World) -> None:
    random = world.random
    world.faults = Faults(
        loss=random.choice([0.0, 0.02, 0.1]),
        duplication=random.choice([0.0, 0.1]),
        delay=random.choice([(0.0002, 0.002), (0.001, 0.05)]),
        crash_at_seam=random.choice([0.0, 0.002]),
    )
    end = world.now + FAULT_SECONDS
    while world.now < end:
        name, strike = random.choice(STRIKES)
        world.injected[name] = world.injected.get(name, 0) + 1
        strike(world)
        world.run(random.uniform(0.2, 8.0))


def _crash(world: World) -> None:
    up = [ip for ip, host in world.hosts.items() if host.node is not None]
    if up:
        world.crash(world.random.choice(up))


def _kill_database(world: World) -> None:
    running = [host for host in world.hosts.values() if host.database is not None and host.database.running]
    if running:
        host = world.random.choice(running)
        world.tell(f"{host.name} its database is killed")
        assert host.database is not None
        host.database.kill()
        host.look_at = world.now


def _cut_host(world: World) -> None:
    one = world.random.choice(list(world.hosts))
    world.tell(f"{world.hosts[one].name} is cut off")
    world.cut |= {(one, other) for other in world.hosts} | {(other, one) for other in world.hosts}


def _cut_one_way(world: World) -> None:
    one, other = world.random.sample(list(world.hosts), 2)
    world.tell(f"{world.hosts[one].name} is not heard by {world.hosts[other].name}")
    world.cut.add((one, other))


def _mend(world: World) -> None:
    world.tell("all links mended")
    world.cut.clear()


def _stop_cleanly(world: World) -> None:
    from qluster.events import StopRequested

    up = [host for host in world.hosts.values() if host.node is not None]
    if up:
        host = world.random.choice(up)
        world.tell(f"{host.name} is asked to stop")
        world.give(host, StopRequested())
        world.at(world.now + 5.0, lambda: world.start(host.ip) if host.node is None and host.held else None)


def _hand_over(world: World) -> None:
    from qluster.events import LeaderChangeRequested

    first = world.primary()
    if first is not None and first.node is not None and first.node.qraft is not None:
        voters = sorted(first.node.qraft.members.voters)
        world.give(first, LeaderChangeRequested(1, "", world.random.choice(voters)))


STRIKES: list[tuple[str, Callable[[World], None]]] = [
    ("crash", _crash),
    ("database killed", _kill_database),
    ("host cut off", _cut_host),
    ("one-way cut", _cut_one_way),
    ("links mended", _mend),
    ("clean stop", _stop_cleanly),
    ("switchover", _hand_over),
]


def _heal(world: World) -> None:
    world.tell("faults end")
    world.faults = Faults()
    world.cut.clear()
    for host in world.hosts.values():
        if host.node is None and host.held:
            if host.left not in ("", "stopped"):
                raise Violated(f"{host.name} left for good: {host.left}")
            world.start(host.ip)
