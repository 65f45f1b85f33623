"""One run: a seed makes a cluster, faults for a while, then quiet, in which it must become well."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

import qluster.cluster.freezing
import qluster.compacting
import qluster.consensus.journal

from sim.arbiter import DEVICE, WITNESSED, sizes
from sim.checks import converged
from sim.electing import ELECTING, electing_of
from sim.hanging import LATER
from sim.stock import STOCKED, algorithm_of
from sim.strikes import STRIKES, end_pause, repair_host
from sim.task_strikes import TASK_STRIKES, TASKED
from sim.world import BEGINNING, Faults, Violated, World

FOUNDING_SECONDS = 60.0
FAULT_SECONDS = (10.0, 40.0)
QUIET_SECONDS = 90.0
"""Simulated seconds in which a cluster must be well again: the longest pause between two attempts at one
order is 30 s, and two of them may follow each other."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a run was."""

    seed: int
    fault: str
    seconds: float
    steps: int
    turns: int
    reigns: int
    rows: int
    injected: dict[str, int]
    outcomes: dict[str, int]
    story: list[str]


def run(seed: int, quorum: str = "") -> Result:
    """Run one seed; ``fault`` is "" when nothing was violated. ``quorum``: the section of that name, for a world that
    has no agents, no arbiter and no list that counts otherwise."""
    witness = seed in WITNESSED and not quorum
    stock = algorithm_of(seed) if seed in STOCKED and not quorum else ""
    electing = None if quorum else sizes(seed) if witness or stock else electing_of(seed)
    size = electing.databases if electing is not None else _size(seed)
    world = World(
        seed, databases=size, synchronous=_synchronous(seed), electing=electing,
        fencing="" if electing is not None or quorum else _fencing(seed), witness=witness, quorum=quorum,
        stock=stock, tasks=seed in TASKED and not quorum,
    )  # fmt: skip
    fault = ""
    with _compaction(seed):
        try:
            _live(world)
        except AssertionError as error:
            fault = f"{type(error).__name__}: {error}"
            if not isinstance(error, Violated):
                world.story.append(traceback.format_exc(limit=-6))
    hosts = world.hosts.values()
    states = [host.node.state for host in hosts if host.node is not None]
    reigns = max((state.reign.number for state in states if state.reign is not None), default=0)
    return Result(
        seed, fault, world.now - BEGINNING, world.steps, sum(host.turns for host in hosts), reigns,
        world.clients.acknowledged, world.injected, world.clients.outcomes, world.story,
    )  # fmt: skip


def _size(seed: int) -> int:
    """Three nodes mostly; one, two, four and five as well."""
    return Random(f"size {seed}").choice([1, 2, 3, 3, 3, 3, 4, 5])


def _synchronous(seed: int) -> str:
    """Half of the clusters lose nothing that was acknowledged, the others what their reigns say."""
    return Random(f"synchronous {seed}").choice(["off", "off", "quorum", "all"])


def _fencing(seed: int) -> str:
    """Some clusters have fence agents."""
    return Random(f"fencing {seed}").choice(["lease", "wait"]) if seed % 8 == 5 else ""


@contextmanager
def _compaction(seed: int) -> Iterator[None]:
    """Some runs take snapshots often and keep no tail, so that who was away needs one; some make them in pieces."""
    if seed % 3:
        yield
        return
    journal, compacting, freezing = qluster.consensus.journal, qluster.compacting, qluster.cluster.freezing
    kept = compacting.COMPACT_ENTRIES, journal.TAIL_ENTRIES_MAX, freezing.PIECE_SIZE
    compacting.COMPACT_ENTRIES, journal.TAIL_ENTRIES_MAX = 12, 4  # type: ignore[misc]
    freezing.PIECE_SIZE = 200 if seed % 2 else kept[2]  # type: ignore[misc]
    try:
        yield
    finally:
        compacting.COMPACT_ENTRIES, journal.TAIL_ENTRIES_MAX, freezing.PIECE_SIZE = kept  # type: ignore[misc]


def _live(world: World) -> None:
    random = world.random
    if random.random() < 0.5:
        for host in world.hosts.values():
            host.clock_rate, host.clock_offset = random.uniform(0.97, 1.03), random.uniform(-900.0, 900.0)
    for host in world.hosts.values():
        world.at(world.now + random.uniform(0, 2), lambda host=host: host.start())  # type: ignore[misc]
    if not world.run(FOUNDING_SECONDS, lambda: _well(world) == ""):
        raise Violated(f"not founded: {_well(world)}")
    world.clients.write_always()
    world.clients.ask_always()
    if world.tasks is not None:
        world.tasks.ask_always()
    disturb(world)
    heal(world)
    if not world.run(QUIET_SECONDS, lambda: _well(world) == ""):
        raise Violated(f"not well again: {_well(world)}")
    if world.tasks is not None:
        world.tasks.at_the_end()
    world.clients.at_the_end()


def _well(world: World) -> str:
    return converged(world) or (world.votes.missing() if world.votes is not None else "")


def weather(random: Random, *, fencing: bool = False) -> Faults:
    """How bad the world is between the strikes."""
    return Faults(
        loss=random.choice([0.0, 0.0, 0.02, 0.1]),
        duplication=random.choice([0.0, 0.1]),
        delay=random.choice([(0.0002, 0.002), (0.001, 0.05)]),
        late=random.choice([0.0, 0.0, 0.01]),
        crash_at_seam=random.choice([0.0, 0.002, 0.01]),
        slow_save=random.choice([0.0, 0.05, 0.5]),
        save_seconds=random.choice([0.02, 0.3, 1.5]),
        job_failure=random.choice([0.0, 0.0, 0.1]),
        job_hang=random.choice([0.0, 0.0, 0.05]),
        agent_fails=random.choice([0.0, 0.5]) if fencing else 0.0,
        agent_lies=random.choice([0.0, 0.2]) if fencing else 0.0,
    )


def disturb(world: World) -> None:
    """Strike after strike; some come close together."""
    random = world.random
    world.faults = weather(random, fencing=bool(world.fencing))
    world.tell(f"{world.faults}")
    end = world.now + random.uniform(*FAULT_SECONDS)
    pause = random.choice([1.0, 4.0, 8.0])
    chosen = random.sample(STRIKES, random.randint(3, len(STRIKES))) + (LATER if world.seed % 4 == 3 else [])
    chosen += DEVICE if world.arbiter is not None else ELECTING if world.electing is not None else []
    chosen += TASK_STRIKES if world.tasks is not None else []
    weights = [weight for _, weight, _ in chosen]
    while world.now < end:
        name, _, strike = random.choices(chosen, weights)[0]
        world.injected[name] = world.injected.get(name, 0) + 1
        strike(world)
        world.run(random.uniform(0.05, pause))


def heal(world: World) -> None:
    """All faults end; who was stopped is started, who left is repaired as its message says."""
    world.tell("faults end")
    world.faults = Faults()
    world.disturbed()
    world.network.cut.clear()
    if world.arbiter is not None:
        world.arbiter.heal()
    for host in world.hosts.values():
        host.lag = 1.0
        if host.database is not None:
            host.database.hangs = ""
        _see_to(world, host.ip)
    world.run(1.0)
    world.at(world.now + 10.0, lambda: _see_to_all(world))


def _see_to_all(world: World) -> None:
    for ip in world.hosts:
        _see_to(world, ip)
    end_pause(world)
    world.at(world.now + 5.0, lambda: _see_to_all(world))


def _see_to(world: World, ip: str) -> None:
    host = world.hosts[ip]
    if host.node is not None or not host.held:
        return
    if host.left:
        repair_host(world, host)
    else:
        host.start()
