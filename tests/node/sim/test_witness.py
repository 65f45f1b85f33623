"""Whole clusters with an arbiter that remembers: two databases survive either, seeds stay sound, planted faults show.

`QLUSTER_FULL_TESTS=1` runs many more seeds, and the planted faults.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest
from config.test_device_section import config as device_config
from msgspec.structs import replace
from qluster.clients import NodeRemoveRequested

from sim.arbiter import WITNESSED
from sim.checks import converged
from sim.planted_witness import PLANTS
from sim.runs import run
from sim.world import Host, Violated, World

FULL = os.environ.get("QLUSTER_FULL_TESTS") == "1"
SEEDS = WITNESSED[: 400 if FULL else 12]
PLANTED_MAX = 40


def founded(seed: int, databases: int = 2, quorum: str = "") -> tuple[World, Host]:
    """A cluster whose list counts the device, and the host of its primary."""
    world = World(seed, databases=databases, witness=True, quorum=quorum)
    for host in world.hosts.values():
        world.at(world.now + world.random.uniform(0, 2), lambda host=host: host.start())  # type: ignore[misc]
    assert world.run(60.0, lambda: converged(world) == ""), converged(world)
    primary = world.primary()
    assert primary is not None and world.arbiter is not None
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


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("of_primary", [True, False], ids=["primary", "standby"])
def test_two_databases_go_on_after_the_death_of_either(seed: int, of_primary: bool) -> None:
    world, primary = founded(seed)
    other = next(host for host in world.hosts.values() if host.database is not None and host is not primary)
    dead = primary if of_primary else other
    dead.crash(held=True, power=True)
    assert serves(world)
    survivor = world.primary()
    assert survivor is not None and survivor is not dead and survivor.node is not None
    device = survivor.node.status(survivor.clock()).cluster.device
    assert device is not None and (device.votes, device.way, device.counts, device.reason) == (1, "memory", True, "")
    dead.start()
    assert world.run(60.0, lambda: converged(world) == ""), converged(world)


@pytest.mark.parametrize("quorum", ["", "provider: votequorum"])
def test_the_last_of_two_leads_again_after_its_restart_and_after_that_of_the_arbiter(quorum: str) -> None:
    """Votequorum knows nothing of the arbiter's vote: that must not forbid what the list allows."""
    world, primary = founded(1, quorum=quorum)
    other = next(host for host in world.hosts.values() if host.database is not None and host is not primary)
    primary.crash(held=True, power=True)
    assert serves(world, 40.0) and world.arbiter is not None
    world.arbiter.crash(down=8.0)
    world.run(10.0)
    assert serves(world, 40.0)
    other.crash(held=True, power=True)
    other.start()
    assert serves(world, 40.0)
    world.arbiter.crash(down=1000.0)
    other.crash(held=True, power=True)
    other.start()
    world.run(20.0)
    assert world.primary() is None and other.node is not None
    assert bool(other.node.voting.veto) == bool(quorum), "without the arbiter it is short of votes by either count"


def test_two_databases_go_on_without_the_arbiter_and_then_neither_alone() -> None:
    world, primary = founded(1)
    assert world.arbiter is not None
    world.arbiter.crash(down=1000.0)
    world.run(5.0)
    assert serves(world) and primary.node is not None
    status = primary.node.status(primary.clock()).cluster
    assert status.device is not None and "no connection" in status.device.reason and status.votes == 3
    primary.crash(held=True, power=True)
    world.run(30.0)
    assert world.primary() is None


def test_memory_that_was_lost_is_replaced_while_both_are_there() -> None:
    world, primary = founded(2)
    assert world.arbiter is not None and primary.node is not None
    before = world.arbiter.uid(primary.node.cluster)
    world.arbiter.crash(lost=True, down=0.5)
    assert world.run(30.0, lambda: converged(world) == ""), converged(world)
    assert world.arbiter.uid(primary.node.cluster) not in (0, before)
    primary.crash(held=True, power=True)
    assert serves(world)


def test_of_three_the_last_goes_on_with_lms() -> None:
    world = World(5, databases=3, witness=True)
    for host in world.hosts.values():
        host.config = replace(host.config, device=device_config("algorithm: lms").device)
        host.start()
    assert world.run(60.0, lambda: device_votes(world) == 2 and world.primary() is not None)
    for _ in range(2):
        primary = world.primary()
        assert primary is not None
        world.clients.write_always()
        primary.crash(held=True, power=True)
        assert serves(world)
    [last] = [host for host in world.hosts.values() if host.node is not None and host.database is not None]
    assert world.primary() is last


def device_votes(world: World) -> int:
    leader = world.leader()
    return leader.node.settled.device if leader is not None and leader.node is not None else 0


def test_list_lets_the_arbiter_go_when_no_node_is_told_of_one() -> None:
    world, _ = founded(3)
    assert world.arbiter is not None
    world.arbiter.crash(down=1000.0)
    world.run(10.0)
    leader = world.leader()
    assert leader is not None and leader.node is not None and leader.node.settled.way == "memory"
    for host in list(world.hosts.values()):
        if host.node is not None:
            host.node.consulting.asks = False
    assert world.run(20.0, lambda: all(
        host.node is not None and host.node.settled.way == "" for host in world.hosts.values()))  # fmt: skip


@pytest.mark.parametrize("removed_first", [False, True], ids=["as it is", "after the lost node"])
def test_arbiter_of_lms_can_be_taken_away_beside_a_lost_node_only_after_that_one(removed_first: bool) -> None:
    """Of three nodes and two votes of the arbiter two nodes are too few: remove_arbiter.yml refuses the former way."""
    world = World(5, databases=3, pools=0, witness=True)
    for host in world.hosts.values():
        host.config = replace(host.config, device=device_config("algorithm: lms").device)
        host.start()
    assert world.run(60.0, lambda: device_votes(world) == 2 and world.primary() is not None)
    world.clients.write_always()
    lost = next(host for host in world.hosts.values() if host.database is not None and host is not world.primary())
    assert lost.node is not None and world.arbiter is not None
    number = lost.node.me
    lost.crash(held=True, power=True)
    assert serves(world)
    if removed_first:
        leader = world.leader()
        assert leader is not None
        world.clients.ask(leader, NodeRemoveRequested(world.clients.ticket(), "", number))
        assert world.run(20.0, lambda: device_votes(world) == 1), "all but one of two"
    world.arbiter.crash(down=1000.0)
    for host in world.hosts.values():
        if host.node is not None:
            host.node.consulting.asks = False
    world.run(30.0)
    assert serves(world) is removed_first
    if removed_first:
        leader = world.leader()
        assert leader is not None and leader.node is not None and leader.node.settled.way == ""


PROMISES = [sentence for sentence in PLANTS if "promise" in sentence]
"""Planted faults that need an election in the second in which the former leader's lease still runs: rare in seeds."""


def elected_beside_a_lease(seed: int) -> bool:
    """The arbiter restarts while the leader has nobody but it, and then only the other node reaches it."""
    world, _ = founded(seed)
    leader = world.leader()
    assert leader is not None and world.arbiter is not None
    world.network.isolate(leader)
    try:
        world.run(3.0)
        world.arbiter.cut(leader, to=True, back=True)
        world.arbiter.crash(down=0.01)
        world.run(4.0)
    except Violated as violated:
        return "has its lease" in str(violated)
    other = world.leader()
    assert other is not None and other is not leader, "the other node leads when the promise is over"
    return False


@pytest.mark.parametrize("seed", range(2))
def test_arbiter_that_restarts_keeps_what_it_promised(seed: int) -> None:
    assert not elected_beside_a_lease(seed)


@pytest.mark.parametrize("sentence", PROMISES)
def test_promise_that_is_not_kept_is_seen(sentence: str) -> None:
    with PLANTS[sentence]():
        assert any(map(elected_beside_a_lease, range(3)))


@pytest.mark.parametrize("first", SEEDS[::4], ids=str)
def test_cluster_stays_sound_and_becomes_well(first: int) -> None:
    for seed in range(first, first + 4):
        result = run(seed)
        story = "\n".join(result.story[-60:])
        assert not result.fault, f"seed {seed}: {result.fault}\n{story}"
        assert result.rows and result.turns, f"seed {seed} did nothing"


@pytest.mark.skipif(not FULL, reason="minutes: QLUSTER_FULL_TESTS=1; tests/node/consensus plants the same")
@pytest.mark.parametrize("sentence", [sentence for sentence in PLANTS if sentence not in PROMISES])
def test_planted_fault_is_found(sentence: str) -> None:
    with PLANTS[sentence]():
        found = any(run(seed).fault for seed in WITNESSED[:PLANTED_MAX])
    assert found, f"{PLANTED_MAX} runs did not show: {sentence}"
