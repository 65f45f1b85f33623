"""Participants of QRaft in a world of lost messages, cut links and dying hosts keep every rule."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from dataclasses import replace

import pytest
from consensus.world import FAST, Faults, World

SEEDS = int(os.environ.get("QRAFT_SEEDS", "12"))
"""Seeds of each kind of world; the long form is QRAFT_SEEDS=2000."""

WORLDS: dict[str, tuple[int, Faults]] = {
    "calm": (3, Faults()),
    "lossy": (3, Faults(loss=0.1, duplication=0.1, long_delay=0.05)),
    "crashing": (3, Faults(loss=0.02, crash=0.01, long_delay=0.02)),
    "cut": (5, Faults(loss=0.02, partition=0.5)),
    "compacting": (3, Faults(loss=0.05, crash=0.005, partition=0.3, snapshots=True, duplication=0.1)),
    "changing": (3, Faults(loss=0.02, crash=0.003, partition=0.3, membership=True, snapshots=True)),
    "stormy": (5, Faults(loss=0.1, partition=0.6, long_delay=0.1, crash=0.005, hang=0.4, weather_interval=0.3)),
    "restless": (5, Faults(loss=0.2, partition=0.9, long_delay=0.3, crash=0.02, hang=0.2, weather_interval=0.15)),
    "drifting": (3, Faults(loss=0.05, partition=0.4, long_delay=0.05, drift=0.05)),
}


def run_world(kind: str, seed: int) -> World:
    """Bad weather, then good weather in which everything must come right."""
    nodes, faults = WORLDS[kind]
    world = World(seed, nodes, replace(faults))
    world.run(8.0)
    world.heal()
    world.run(3.0, weather=False)
    world.propose(b"last")
    world.run(1.0, weather=False)
    return world


@pytest.mark.parametrize("kind", WORLDS)
def test_rules_hold_and_the_cluster_recovers(kind: str) -> None:
    for seed in range(SEEDS):
        world = run_world(kind, seed)
        assert world.settled() == "", f"seed {seed}"
        assert world.acknowledged > 2, f"seed {seed}: hardly anything was committed"


def test_same_seed_gives_the_same_run() -> None:
    logs = [[host.log for host in run_world("crashing", 3).hosts.values()] for _ in range(2)]
    assert logs[0] == logs[1]


def test_failover_takes_hardly_longer_than_node_timeout() -> None:
    waits = []
    for seed in range(20):
        world = World(seed, 3)
        world.run(2.0, weather=False)
        old = world.leader()
        assert old is not None
        world.stop(old)
        died_at = world.now
        while not (world.leader() and world.leader().qraft.ready):  # type: ignore[union-attr]
            world.run(0.01, weather=False)
            assert world.now < died_at + 5, f"seed {seed}: no new leader"
        waits.append(world.now - died_at)
    assert max(waits) < FAST.node_timeout + FAST.pre_voting_timeout + FAST.leader_voting_timeout
    assert sorted(waits)[10] < FAST.node_timeout + FAST.pre_voting_timeout / 2
