"""Whole clusters with an arbiter that remembers nothing: by episode two databases survive either, seeds stay sound.

`QLUSTER_FULL_TESTS=1` runs many more seeds, and the planted faults.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest
from consensus.planted_ways import PLANTS

from sim.checks import converged
from sim.runs import run
from sim.stock import STOCKED
from sim.world import Host, World

FULL = os.environ.get("QLUSTER_FULL_TESTS") == "1"
SEEDS = STOCKED[: 400 if FULL else 5]
PLANTED_MAX = 40


def founded(seed: int, algorithm: str = "ffsplit") -> tuple[World, Host]:
    """A cluster of two databases whose list counts the arbiter, and the host of its primary."""
    world = World(seed, databases=2, stock=algorithm)
    for host in world.hosts.values():
        world.at(world.now + world.random.uniform(0, 2), lambda host=host: host.start())  # type: ignore[misc]
    assert world.run(90.0, lambda: converged(world) == ""), converged(world)
    primary = world.primary()
    assert primary is not None
    world.clients.write_always()
    world.run(2.0)
    return world, primary


def serves(world: World, seconds: float = 20.0) -> bool:
    """Whether there is a primary within this time, that clients write to."""
    if not world.run(seconds, lambda: world.primary() is not None):
        return False
    before = world.clients.acknowledged
    world.run(3.0)
    return world.clients.acknowledged > before


@pytest.mark.parametrize("of_primary", [True, False], ids=["primary", "standby"])
def test_two_databases_go_on_by_episode_after_the_death_of_either(of_primary: bool) -> None:
    world, primary = founded(1)
    other = next(host for host in world.hosts.values() if host.database is not None and host is not primary)
    dead, left = (primary, other) if of_primary else (other, primary)
    reigns = primary.node.state.reign.number  # type: ignore[union-attr]
    dead.crash(held=True, power=True)
    assert serves(world) and world.primary() is left
    assert left.node is not None and left.node.state.reign is not None
    assert left.node.state.reign.number == reigns + of_primary, "the death of a standby is no reason to change"
    device = left.node.status(left.clock()).cluster.device
    assert device is not None and (device.votes, device.way, device.counts, device.reason) == (1, "episode", True, "")
    dead.start()
    assert world.run(60.0, lambda: converged(world) == ""), converged(world)


def test_who_comes_back_alone_stays_closed_and_says_why() -> None:
    world, primary = founded(2)
    other = next(host for host in world.hosts.values() if host.database is not None and host is not primary)
    other.crash(held=True, power=True)
    assert serves(world)
    primary.crash(held=True, power=True)
    other.start()
    world.run(30.0)
    assert world.primary() is None and other.node is not None
    shown = other.node.status(other.clock()).own.device
    assert shown is not None and (shown.way, shown.counts) == ("episode", False) and "restarted" in shown.reason


def test_by_formula_a_lone_survivor_takes_no_writes() -> None:
    world, primary = founded(3, "lms")
    primary.crash(held=True, power=True)
    world.run(30.0)
    assert world.primary() is None
    primary.start()
    assert world.run(60.0, lambda: converged(world) == ""), converged(world)


@pytest.mark.parametrize("seed", SEEDS)
def test_seed_is_sound(seed: int) -> None:
    result = run(seed)
    assert result.fault == "", "\n".join(result.story[-40:])


@pytest.mark.skipif(not FULL, reason="each fault takes many seeds: QLUSTER_FULL_TESTS=1")
@pytest.mark.parametrize("sentence", [one for one in PLANTS if "log holder" in one or "forgotten" in one])
def test_planted_fault_is_found(sentence: str) -> None:
    with PLANTS[sentence]():
        assert any(run(seed).fault for seed in STOCKED[:PLANTED_MAX]), f"{PLANTED_MAX} seeds did not show it"
