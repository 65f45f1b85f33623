"""Clusters with an arbiter that remembers keep every rule, go on after the death of half; planted faults are found."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from dataclasses import replace

import pytest
from consensus.planted_witness import PLANTS
from consensus.world import FAST, Faults, Host, World

SEEDS = int(os.environ.get("QRAFT_SEEDS", "6"))
"""Seeds of each kind of world; the long form is QRAFT_SEEDS=500."""

WORLDS: dict[str, tuple[int, Faults]] = {
    "two-lossy": (2, Faults(loss=0.1, duplication=0.1, long_delay=0.05, weather_interval=1.0)),
    "two-crashing": (2, Faults(loss=0.02, crash=0.005, long_delay=0.02, partition=0.3, weather_interval=1.0)),
    "two-cut": (2, Faults(loss=0.02, partition=0.5, hang=0.1, weather_interval=0.8)),
    "two-drifting": (2, Faults(loss=0.05, partition=0.4, drift=0.05, crash=0.003, snapshots=True)),
    "four-cut": (4, Faults(loss=0.02, partition=0.5, crash=0.003, weather_interval=0.8)),
    "four-stormy": (4, Faults(loss=0.1, partition=0.6, long_delay=0.1, crash=0.003, hang=0.3, weather_interval=0.6)),
    "changing": (3, Faults(loss=0.02, crash=0.003, partition=0.3, membership=True, snapshots=True)),
}


def run_world(kind: str, seed: int) -> World:
    """Bad weather, then good weather in which everything must come right."""
    nodes, faults = WORLDS[kind]
    world = World(seed, nodes, replace(faults), witness=True)
    world.run(8.0)
    world.heal()
    world.run(3.0, weather=False)
    world.propose(b"last")
    world.run(1.0, weather=False)
    return world


@pytest.mark.parametrize("kind", WORLDS)
def test_rules_hold_and_the_cluster_recovers(kind: str) -> None:
    votes = shown = 0
    for seed in range(SEEDS):
        world = run_world(kind, seed)
        assert world.settled() == "", f"seed {seed}"
        assert world.acknowledged > 2 and world.arbiter is not None, f"seed {seed}: hardly anything was committed"
        votes, shown = votes + world.arbiter.counts["votes"], shown + world.arbiter.counts["shown"]
    assert votes and shown, "the device decided nothing"


@pytest.mark.parametrize("fault", PLANTS)
def test_planted_fault_is_found(fault: str) -> None:
    factor = 2 if "holder" in fault else 0
    nodes, faults = WORLDS["two-cut"]

    def fails(seed: int) -> bool:
        world = World(seed, nodes, replace(faults), replace(FAST, replication_factor=factor), witness=True)
        try:
            world.run(8.0)
        except AssertionError:
            return True
        return False

    with PLANTS[fault]():
        assert any(map(fails, range(60))), "60 runs did not show it"


# --- what it is for ----------------------------------------------------------------------------


def whole(seed: int, nodes: int) -> tuple[World, Host]:
    """A cluster in good weather whose list has the device, and its leader."""
    world = World(seed, nodes, witness=True)
    world.run(2.0, weather=False)
    assert world.arbiter is not None
    world.arbiter.see_to_list()
    world.run(1.0, weather=False)
    leader = world.leader()
    assert leader is not None and leader.qraft is not None
    assert leader.qraft.members.device == 1 and leader.qraft.members.device_uid == world.arbiter.uid
    return world, leader


def goes_on(world: World, seconds: float = 2.0) -> bool:
    """Whether something new is committed by a leader with a lease."""
    world.run(seconds, weather=False)
    before, leader = world.acknowledged, world.leader()
    world.propose()
    world.run(0.5, weather=False)
    leads = leader is not None and leader.qraft is not None
    return leads and world.acknowledged > before and leader.qraft.lease_until > leader.clock(world.now)  # type: ignore[union-attr]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("leads", [True, False])
def test_two_nodes_go_on_after_the_death_of_either(seed: int, leads: bool) -> None:
    world, leader = whole(seed, 2)
    other = next(host for host in world.hosts.values() if host is not leader)
    world.stop(leader if leads else other)
    assert goes_on(world)


@pytest.mark.parametrize("seed", range(4))
def test_two_nodes_go_on_without_the_arbiter_and_one_of_them_does_not(seed: int) -> None:
    world, leader = whole(seed, 2)
    assert world.arbiter is not None
    world.arbiter.crash(down=100.0)
    assert goes_on(world)
    world.stop(leader)
    assert not goes_on(world)


@pytest.mark.parametrize("seed", range(4))
def test_half_of_four_goes_on_with_the_device_and_the_other_half_does_not(seed: int) -> None:
    world, leader = whole(seed, 4)
    beside = next(node for node in world.hosts if node != leader.node)
    side = {leader.node, beside}
    world.cut = {(one, other) for one in world.hosts for other in world.hosts if (one in side) != (other in side)}
    assert goes_on(world)
    assert [host.node for host in world.leaders()] == [leader.node], "whoever leads keeps the promise of the device"


def test_lost_memory_is_replaced_only_by_those_who_hold_the_log() -> None:
    """Its successor knows nothing: with one of two nodes it would elect a log that lacks what was committed."""
    world, leader = whole(1, 2)
    arbiter, qraft = world.arbiter, leader.qraft
    assert arbiter is not None and qraft is not None
    other = next(host for host in world.hosts.values() if host is not leader)
    before = arbiter.uid
    world.stop(other)
    assert goes_on(world)
    arbiter.crash(lost=True, down=0.1)
    assert not goes_on(world)
    arbiter.see_to_list()
    assert not goes_on(world) and qraft.members.device_uid == before
    world.start(other)
    world.run(2.0, weather=False)
    arbiter.see_to_list()
    world.run(1.0, weather=False)
    assert world.leader() is not None and world.leader().qraft.members.device_uid == arbiter.uid  # type: ignore[union-attr]
    world.stop(world.leader())  # type: ignore[arg-type]
    assert goes_on(world)
