"""One run of the fast world: a seed makes a cluster, its settings and its storms."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from random import Random
from time import process_time

from qluster.consensus.journal import JournalDamaged
from qluster.consensus.settings import Settings
from swarm.aimed import Deposed, Few
from swarm.clients import Clients
from swarm.counted import Counted
from swarm.rules import Violated
from swarm.storms import Storms, crowded, drawn
from swarm.world import World

CYCLES = 6
"""Storms in one run."""

YEAR = 365.25 * 86400

CROWDED = range(20_000_000, 30_000_000)
"""Seeds of runs with many busy clients: thousands of operations a storm."""

FEW = range(30_000_000, 40_000_000)
"""Seeds of runs in which a cluster has no more nodes than it needs after each storm."""

DEPOSED = range(40_000_000, 50_000_000)
"""Seeds of runs in which leaders are cut off, take on more than the others commit, and come back.

Like those of busy clients these runs have no quiet hours.
"""

VOTES = range(50_000_000, 60_000_000)
"""Seeds of runs in which nodes have votes, one may break ties, and voters rest; all of it changes in the storms.

Like those of busy clients these runs have no quiet hours.
"""


@dataclass(slots=True)
class Result:
    """What a run was; ``fault`` is "" when no rule was broken."""

    seed: int
    nodes: int
    fault: str = ""
    cpu: float = 0.0
    stepped: float = 0.0
    skipped: float = 0.0
    jumps: int = 0
    events: int = 0
    elections: int = 0
    crashes: int = 0
    changes: int = 0
    operations: int = 0
    unknown: int = 0
    acknowledged: int = 0
    undecided: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    digest: str = ""
    story: list[str] = field(default_factory=list)


def settings_of(random: Random, nodes: int) -> Settings:
    """The seed's timers; other commit rules now and then."""
    rule = random.random()
    if rule < 0.1 and nodes > 2:
        return Settings(quorum_replication=False, replication_factor=random.randint(1, nodes // 2))
    if rule < 0.2 and nodes > 2:
        return Settings(replication_factor=random.randint(2, nodes - 1))
    return Settings(autoremove_enabled=random.random() < 0.15)


def world_of(seed: int) -> tuple[World, Storms]:
    """The cluster of this seed, with its clients and storms."""
    if seed in VOTES:
        return counted_world_of(seed)
    if seed in FEW or seed in DEPOSED:
        return aimed_world_of(seed)
    random = Random(f"swarm {seed}")
    nodes = random.choice([1, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 7, 8, 9])
    listeners = random.choice([0, 0, 0, 1])
    world = World(seed, nodes, listeners, settings_of(random, nodes))
    if seed in CROWDED:
        mix, demand, world.compaction = crowded(random)
        world.clients = Clients(world, demand)
        return world, Storms(world, mix, nodes)
    world.clients = Clients(world)
    world.compaction = random.choice([0, 0, 6, 30])
    return world, Storms(world, drawn(random), nodes)


def aimed_world_of(seed: int) -> tuple[World, Storms]:
    """The cluster of a seed whose storms have a certain shape; nobody is removed from it."""
    random = Random(f"swarm {seed}")
    nodes = random.choice([3, 3, 3, 4, 5, 5, 7])
    world = World(seed, nodes, 0, replace(settings_of(random, nodes), autoremove_enabled=False))
    world.clients = Clients(world)
    if seed in FEW:
        return world, Few(world, drawn(random), nodes)
    world.compaction = random.choice([6, 12])
    return world, Deposed(world, drawn(random), nodes)


def counted_world_of(seed: int) -> tuple[World, Storms]:
    """A cluster that does not count nodes. No disk lies: what is promised then is promised where nodes are counted."""
    random = Random(f"swarm {seed}")
    nodes = random.choice([2, 2, 3, 3, 4, 4, 5, 6])
    votes = tuple(random.choice([0, 1, 1, 1, 2, 3]) for _ in range(nodes)) if random.random() < 0.7 else (1,) * nodes
    votes = votes if any(votes) else (1,) * nodes
    settings = replace(
        settings_of(random, nodes), autoremove_enabled=False,
        tie_breaker=random.choice(["off", "lowest", "highest", "2 1"]),
        last_man_standing=random.random() < 0.6, last_man_standing_window=random.choice([32.0, 60.0]),
    )  # fmt: skip
    world = World(seed, nodes, 0, settings, votes)
    world.clients = Clients(world)
    world.compaction = random.choice([0, 6, 30])
    mix = drawn(random)
    strikes = tuple(one for one in mix.strikes if one != "lying disk") or ("crash",)
    return world, Counted(world, replace(mix, strikes=strikes), nodes)


def run(seed: int, cycles: int = CYCLES, quiet: bool = True, plant: Callable[[World], None] | None = None) -> Result:
    """Run one seed. ``quiet`` false: storms only, for hunting planted faults (``plant`` changes the world)."""
    began = process_time()
    world, storms = world_of(seed)
    if plant is not None:
        plant(world)
    result = Result(seed, len(world.hosts))
    try:
        storms.clear()
        for _ in range(cycles):
            storms.storm()
            storms.clear()
            if quiet and seed < CROWDED.start:
                storms.quiet()
            else:
                storms.pause()
    except (AssertionError, JournalDamaged) as error:
        result.fault = f"{type(error).__name__}: {error}"
        if not isinstance(error, Violated):
            world.story.append(traceback.format_exc(limit=-5))
    _gather(result, world)
    result.cpu = process_time() - began
    return result


def _gather(result: Result, world: World) -> None:
    counts, clients = world.counts, world.clients
    for name in ("stepped", "skipped", "jumps", "events", "elections", "crashes", "changes", "faults"):
        setattr(result, name, getattr(counts, name))
    for name in ("operations", "unknown", "acknowledged", "undecided"):
        setattr(result, name, getattr(clients, name))
    result.story = world.story
    result.digest = sha256("\n".join(world.story).encode()).hexdigest()[:16]
