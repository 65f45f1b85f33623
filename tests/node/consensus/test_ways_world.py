"""Clusters with an arbiter that remembers nothing keep every rule, by episode and by formula; faults are found."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from unittest.mock import patch

import pytest
from consensus import stock
from consensus.invariants import Violated
from consensus.planted_ways import PLANTS
from consensus.stock import Seat
from consensus.world import Faults, Host, World
from qluster.consensus.members import SLOTS
from qluster.consensus.messages import Append
from qluster.votes.information import Ring

SEEDS = int(os.environ.get("QRAFT_SEEDS", "2"))
"""Seeds of each kind of world; the long form is QRAFT_SEEDS=500."""

WORLDS: dict[str, tuple[int, Faults]] = {
    "two-lossy": (2, Faults(loss=0.1, duplication=0.1, long_delay=0.05, weather_interval=1.0)),
    "two-crashing": (2, Faults(loss=0.02, crash=0.005, long_delay=0.02, partition=0.3, weather_interval=1.0)),
    "two-cut": (2, Faults(loss=0.02, partition=0.5, hang=0.1, weather_interval=0.8)),
    "two-drifting": (2, Faults(loss=0.05, partition=0.4, drift=0.05, crash=0.003, snapshots=True)),
    "two-aimed": (2, Faults(loss=0.01, partition=0.2, weather_interval=1.2)),
    "four-cut": (4, Faults(loss=0.02, partition=0.5, crash=0.003, weather_interval=0.8)),
    "four-stormy": (4, Faults(loss=0.1, partition=0.6, long_delay=0.1, crash=0.003, hang=0.3, weather_interval=0.6)),
    "changing": (3, Faults(loss=0.02, crash=0.003, partition=0.3, membership=True, snapshots=True)),
}

FINDERS = {"device-by-follower": "four-cut", "weighs in commits": "four-cut", "without-arbiter": "two-aimed"}
"""Which world shows a fault soonest; the others are found wherever two nodes are cut."""

LATE = "episode: late-sync: whatever a leader once said shows that a node is in sync"
HALF = "episode: half-open: elected without a node of the membership"
ANOTHER = "episode: another-arbiter: whichever a node asks counts, whatever the list says"
"""Chance does not show these within minutes: each has a run of its own."""


def run_world(kind: str, seed: int, algorithm: str) -> World:
    """Bad weather, then good weather in which everything must come right."""
    nodes, faults = WORLDS[kind]
    world = World(seed, nodes, replace(faults), stock=algorithm)
    world.run(8.0)
    world.heal()
    world.run(3.0, weather=False)
    world.propose(b"last")
    world.run(1.0, weather=False)
    return world


@pytest.mark.parametrize("algorithm", ["ffsplit", "lms"])
@pytest.mark.parametrize("kind", WORLDS)
def test_rules_hold_and_the_cluster_recovers(kind: str, algorithm: str) -> None:
    votes = 0
    for seed in range(SEEDS):
        world = run_world(kind, seed, algorithm)
        assert world.settled() == "", f"seed {seed}"
        assert world.acknowledged > 2 and world.stock is not None, f"seed {seed}: hardly anything was committed"
        votes += world.stock.counts["votes"]
    assert votes, "the arbiter never said yes"


@pytest.mark.parametrize("fault", [fault for fault in PLANTS if fault not in (LATE, HALF, ANOTHER)])
def test_planted_fault_is_found(fault: str) -> None:
    algorithm = "ffsplit" if fault.startswith("episode") else "lms"
    nodes, faults = WORLDS[next((kind for word, kind in FINDERS.items() if word in fault), "two-cut")]

    def fails(seed: int) -> bool:
        world = World(seed, nodes, replace(faults), stock=algorithm)
        try:
            world.run(8.0)
        except AssertionError:
            return True
        return False

    with PLANTS[fault]():
        assert any(map(fails, range(80))), "80 runs did not show it"


# --- what it is for ----------------------------------------------------------------------------


def whole(seed: int, nodes: int, algorithm: str = "ffsplit") -> tuple[World, Host]:
    """A cluster in good weather whose list has the device, and its leader."""
    world = World(seed, nodes, stock=algorithm)
    world.run(2.0, weather=False)
    assert world.stock is not None
    world.stock.see_to_list()
    world.run(1.0, weather=False)
    leader = world.leader()
    assert leader is not None and leader.qraft is not None
    assert leader.qraft.members.device == (1 if algorithm == "ffsplit" else nodes - 1)
    assert all(host.qraft and not host.qraft.device_fault(host.clock(world.now)) for host in world.hosts.values())
    return world, leader


def goes_on(world: World, seconds: float = 2.0) -> bool:
    """Whether something new is committed by a leader with a lease."""
    world.run(seconds, weather=False)
    before, leader = world.acknowledged, world.leader()
    world.propose()
    world.run(0.5, weather=False)
    leads = leader is not None and leader.qraft is not None
    return leads and world.acknowledged > before and leader.qraft.lease_until > leader.clock(world.now)  # type: ignore[union-attr]


@pytest.mark.parametrize("leads", [True, False])
def test_one_of_two_goes_on_by_episode_after_the_death_of_the_other(leads: bool) -> None:
    for seed in range(3):
        world, leader = whole(seed, 2)
        other = next(host for host in world.hosts.values() if host is not leader)
        dead, left = (leader, other) if leads else (other, leader)
        world.stop(dead)
        assert goes_on(world)
        world.start(dead)
        assert goes_on(world) and world.settled() == ""
        world.stop(left)
        assert goes_on(world), "who came back is in sync by now"


def test_who_comes_back_alone_does_not_go_on_by_episode() -> None:
    world, leader = whole(1, 2)
    other = next(host for host in world.hosts.values() if host is not leader)
    world.stop(other)
    assert goes_on(world)
    world.stop(leader)
    world.start(other)
    assert not goes_on(world)
    assert other.qraft is not None and "restarted" in other.qraft.device_fault(other.clock(world.now))


def test_two_go_on_without_the_arbiter_and_one_of_them_does_not() -> None:
    world, leader = whole(1, 2)
    assert world.stock is not None
    world.stock.crash(down=100.0)
    assert goes_on(world)
    world.stop(leader)
    assert not goes_on(world)


def test_leader_of_one_leaves_office_when_its_arbiter_is_gone() -> None:
    world, leader = whole(1, 2)
    world.stop(next(host for host in world.hosts.values() if host is not leader))
    assert goes_on(world) and world.stock is not None
    world.stock.crash(down=100.0)
    world.run(0.2, weather=False)
    assert not world.leaders()


def test_half_of_four_goes_on_by_episode_and_the_other_half_does_not() -> None:
    world, _ = whole(1, 4)
    world.cut = {(one, other) for one in world.hosts for other in world.hosts if (one > 2) != (other > 2)}
    assert goes_on(world)
    assert {host.node for host in world.leaders()} < {1, 2}, "the arbiter prefers the lowest node"


def test_lone_survivor_by_formula_is_elected_in_a_term_of_its_own_and_commits_nothing() -> None:
    world, leader = whole(1, 2, "lms")
    assert leader.qraft is not None
    other = next(host for host in world.hosts.values() if host is not leader)
    world.stop(leader)
    assert not goes_on(world)
    assert world.leader() is other and other.qraft is not None
    assert other.qraft.term % SLOTS == next(one.slot for one in other.qraft.members if one.node == other.node)


def late_word(world: World, leader: Host) -> None:
    """The leader's half loses the arbiter, the other half elects and commits, the arbiter restarts and acknowledges the
    first half; then a word of the former leader arrives that was under way all the time."""
    assert world.stock is not None and leader.qraft is not None
    beside, *others = (host for host in world.hosts.values() if host is not leader)
    half = {leader.node, beside.node}
    journal = leader.qraft._me.journal
    word = Append(77, leader.node, leader.qraft.term, 0, 0.3, journal.last_index, journal.last_term, 0)
    world.cut = {(one, other) for one in world.hosts for other in world.hosts if (one in half) != (other in half)}
    world.stock.wires.cut = set(half)
    world.run(1.5, weather=False)
    assert world.leader() in others
    world.propose(b"committed by the other half")
    world.run(0.3, weather=False)
    assert world.checks.committed[max(world.checks.committed)][2] == b"committed by the other half"
    world.stock.crash(down=0.01)
    world.stock.wires.cut = {host.node for host in others}
    world.run(0.5, weather=False)
    assert beside.qraft is not None and beside.qraft._me.standing.broken
    beside.qraft.receive(word, beside.clock(world.now))
    world.perform(beside)
    world.run(1.5, weather=False)


def test_late_word_of_a_former_leader_mends_nothing() -> None:
    world, leader = whole(1, 4)
    late_word(world, leader)
    world.heal()
    assert goes_on(world)


def test_late_word_of_a_former_leader_would_lose_an_entry() -> None:
    """``late-sync``, planted: this run is what the rule is for."""
    with PLANTS[LATE]():
        world, leader = whole(1, 4)
        with pytest.raises(Violated):
            late_word(world, leader)


def half_open(world: World, leader: Host) -> None:
    """The other node is cut off from everybody and learns neither that nor its new ring; the arbiter takes it for dead
    and acknowledges the leader alone, which commits. The other's acknowledgement still stands, for both of them."""
    arbiter = world.stock
    assert arbiter is not None
    [other] = (host for host in world.hosts.values() if host is not leader)
    install = arbiter._install_after

    def late(delay: float, seat: Seat, ring: Ring, members: tuple[int, ...]) -> None:
        if seat.host is not other:
            install(delay, seat, ring, members)

    with patch.object(arbiter, "_install_after", late):
        world.isolate(other.node)
        arbiter.wires.cut.add(other.node)
        arbiter.wires.forget(other.node)
        world.run(0.2, weather=False)
        world.propose(b"committed alone")
        world.run(1.0, weather=False)
    assert world.checks.committed[max(world.checks.committed)][2] == b"committed alone"
    assert other.qraft is not None and other.qraft.standing.by_episode(other.qraft.members.voters)


@pytest.mark.parametrize("planted", [False, True])
def test_vote_over_a_connection_that_is_dead_for_the_arbiter_alone_elects_nobody(planted: bool) -> None:
    with ExitStack() as stack:
        stack.enter_context(patch.object(stock, "TIMEOUT", 100.0))
        world, leader = whole(1, 2)
        if planted:
            stack.enter_context(PLANTS[HALF]())
            stack.enter_context(pytest.raises(Violated, match="leader completeness"))
        half_open(world, leader)


def two_arbiters(world: World, leader: Host) -> None:
    """An arbiter is replaced by another one, node after node; in the midst of that the cable between the nodes is cut.
    Each of the two arbiters sees one half alone, and says yes to it."""
    [other] = (host for host in world.hosts.values() if host is not leader)
    goes_over(world, other)
    world.isolate(other.node)
    for _ in range(8):
        world.run(0.25, weather=False)
        world.propose()


def goes_over(world: World, host: Host) -> None:
    """A host is restarted with a file that names the second arbiter."""
    assert world.stock is not None
    world.stock.elsewhere.add(host.node)
    world.stop(host)
    world.start(host)
    world.run(1.0, weather=False)


@pytest.mark.parametrize("planted", [False, True])
def test_each_of_two_arbiters_elects_nobody_beside_the_other(planted: bool) -> None:
    with ExitStack() as stack:
        world, leader = whole(1, 2)
        if planted:
            stack.enter_context(PLANTS[ANOTHER]())
            stack.enter_context(pytest.raises(Violated))
        two_arbiters(world, leader)
    if not planted:
        assert leader.qraft is not None and leader.qraft.role == "leader", "the one that the list names counts"
        world.heal()
        assert goes_on(world)


@pytest.mark.parametrize("nodes", [2, 4])
def test_all_go_over_to_another_arbiter_one_after_the_other(nodes: int) -> None:
    world, leader = whole(2, nodes)
    for host in sorted(world.hosts.values(), key=lambda host: host is leader):
        goes_over(world, host)
        assert goes_on(world)
    assert world.stock is not None
    world.stock.see_to_list()
    assert goes_on(world)
    world.stock.wires.crash()
    leader = world.leader() or leader
    for _ in range(nodes // 2):
        world.stop(next(one for one in world.hosts.values() if one is not leader and one.qraft is not None))
    assert goes_on(world), "the new one counts"
