"""Two nodes that go on alone by fencing: either survives the other, and they never go on side by side.

`QLUSTER_FULL_TESTS=1` plays many more.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest
from qluster.events import StopRequested

from sim.checks import Violated
from sim.host import Host
from sim.pairs import begin, boots_cut_off, founded, missing, play, started
from sim.planted_pairs import PLANTS
from sim.world import World

FULL = os.environ.get("QLUSTER_FULL_TESTS") == "1"
SEEDS = range(400 if FULL else 4)
PLANTED_MAX = 12
FOUND_FROM = {"seen-is-synced": 5}
"""Where the first play is known that shows it, plays begin there: before it they cost time alone."""


def both(world: World) -> tuple[Host, Host]:
    """The host of the primary, and the other one."""
    primary = world.primary()
    [other] = [host for host in world.hosts.values() if host is not primary and host.database is not None]
    assert primary is not None
    return primary, other


def serves(world: World, host: Host, seconds: float = 30.0) -> bool:
    if not world.run(seconds, lambda: world.primary() is host):
        return False
    before = world.clients.acknowledged
    world.run(2.0)
    return world.clients.acknowledged > before


@pytest.mark.parametrize("synchronous", ["off", "quorum"])
@pytest.mark.parametrize("of_primary", [True, False], ids=["primary", "replica"])
def test_either_survives_the_other_and_both_are_back_in_the_end(of_primary: bool, synchronous: str) -> None:
    world = founded(1, synchronous=synchronous)
    primary, other = both(world)
    dead, survivor = (primary, other) if of_primary else (other, primary)
    dead.unfenceable = False
    dead.crash(held=True, power=True)
    assert serves(world, survivor)
    assert survivor.node is not None and dead.last_off_at > 0, "it was shot before"
    begin(dead)
    assert world.run(90.0, lambda: not missing(world)), missing(world)


def test_host_that_could_not_be_switched_on_again_is_named_until_it_is_back() -> None:
    world = founded(5)
    primary, other = both(world)
    other.unrevivable = True
    other.crash(held=True, power=True)
    assert serves(world, primary) and primary.node is not None
    world.run(5.0)

    def seen() -> str:
        assert primary.node is not None
        nodes = primary.node.status(primary.clock()).nodes
        return next(one.fencing.left_off for one in nodes if one.ip == other.config.ip)

    assert seen() == "its power supply does not answer"
    other.switch_on()
    begin(other)
    assert world.run(90.0, lambda: not missing(world)), missing(world)
    assert seen() == ""


@pytest.mark.parametrize("of_primary", [True, False], ids=["primary", "replica"])
def test_who_is_stopped_in_order_says_goodbye_by_the_log_and_is_not_shot(of_primary: bool) -> None:
    """No shot is needed for what both have committed: the list counts the other one no more, also without
    allow-downscale. A primary says besides where it ended: nobody waits for node-timeout to learn that."""
    world = founded(6, synchronous="quorum")
    primary, other = both(world)
    stopped, left = (primary, other) if of_primary else (other, primary)
    stopped.give(StopRequested())
    assert serves(world, left, 1.0) and world.run(20.0, lambda: stopped.node is None)
    world.run(20.0)
    assert stopped.last_off_at < 0 and not any("begins Fence" in line for line in world.story)
    assert world.primary() is left and left.node is not None
    begin(stopped)
    assert world.run(90.0, lambda: not missing(world)), missing(world)


def test_primary_that_is_stopped_before_its_guarantee_is_settled_is_followed_without_its_answer() -> None:
    """What it acknowledged alone is proven by nobody else, and a database that is stopped answers no question: by the
    log the other one knows where it ended, and has all of that."""
    world = started(8, synchronous="quorum")
    world.clients.write_always()

    def changes() -> bool:
        primary = world.primary()
        return primary is not None and primary.node is not None and len(primary.node.state.guarantees) == 2

    assert world.run(90.0, changes, every=0.001)
    primary, other = both(world)
    primary.give(StopRequested())
    assert serves(world, other, 2.0)
    world.run(20.0)
    assert primary.last_off_at < 0 and not any("begins Fence" in line for line in world.story)
    begin(primary)
    assert world.run(90.0, lambda: not missing(world)), missing(world)


def test_both_may_be_stopped_at_once_and_are_well_when_both_are_started() -> None:
    world = founded(7)
    hosts = both(world)
    for host in hosts:
        host.give(StopRequested())
    assert world.run(20.0, lambda: all(host.node is None for host in hosts))
    assert not any("begins Fence" in line for line in world.story)
    for host in hosts:
        begin(host)
    assert world.run(90.0, lambda: not missing(world)), missing(world)


@pytest.mark.parametrize("seed", range(4))
def test_of_two_that_are_cut_from_each_other_who_led_shoots_and_goes_on(seed: int) -> None:
    world = founded(seed)
    primary, other = both(world)
    world.network.isolate(other)
    assert world.run(20.0, lambda: other.last_off_at > 0)
    assert serves(world, primary) and primary.last_off_at < 0
    assert primary.node is not None
    pair = primary.node.status(primary.clock()).cluster.two_node
    assert pair is not None and pair.claim == "alone" and pair.last is not None and pair.last.success
    world.network.cut.clear()
    world.disturbed()
    begin(other)
    assert world.run(90.0, lambda: not missing(world)), missing(world)


def test_nobody_goes_on_where_the_agents_fail_and_the_status_says_why() -> None:
    world = founded(2)
    primary, other = both(world)
    primary.unfenceable = other.unfenceable = True
    world.network.isolate(other)
    world.run(30.0)
    assert world.primary() is None
    for host in (primary, other):
        assert host.node is not None
        seen = host.node.status(host.clock())
        assert "could not be fenced: no route to the device" in seen.own.message
        pair = seen.cluster.two_node
        assert pair is not None and (pair.claim, pair.shots, pair.attempts, pair.next_in) == ("failed", 3, 3, None)
        assert pair.last is not None and not pair.last.success
        [silent] = [one.config.ip for one in (primary, other) if one is not host]
        assert f"qluster force-quorum --name sim --confirm-off {silent}" in pair.reason
    world.network.cut.clear()
    world.disturbed()
    assert world.run(60.0, lambda: not missing(world)), missing(world)


def test_who_has_started_anew_waits_for_the_other_and_shoots_nobody() -> None:
    world = founded(3)
    primary, other = both(world)
    for host in (primary, other):
        host.crash(held=True, power=True)
    begin(other)
    world.run(40.0)
    assert world.primary() is None and primary.last_off_at < 0
    assert other.node is not None
    pair = other.node.status(other.clock()).cluster.two_node
    assert pair is not None and (pair.claim, pair.able) == ("barred", False)
    assert "may have gone on alone before" in pair.reason and f"--confirm-off {primary.config.ip}" in pair.reason
    begin(primary)
    assert world.run(60.0, lambda: not missing(world)), missing(world)


@pytest.mark.parametrize("seen", [False, True], ids=["at once", "when it was just seen"])
def test_who_was_switched_off_and_is_cut_off_again_does_not_shoot_back(seen: bool) -> None:
    world = founded(4)
    primary, other = both(world)
    boots_cut_off(world, primary, seen=seen)
    assert world.primary() is other and other.last_off_at < 0
    world.network.cut.clear()
    world.disturbed()
    begin(primary)
    assert world.run(90.0, lambda: not missing(world)), missing(world)


@pytest.mark.parametrize("first", SEEDS[::4], ids=str)
def test_clusters_of_two_stay_sound_and_become_well(first: int) -> None:
    shots = sum("begins Fence" in line for seed in range(first, first + 4) for line in play(seed).story)
    assert shots, "somebody went on alone"


def unsound(seed: int) -> bool:
    try:
        play(seed)
    except (AssertionError, Violated):
        return True
    return False


@pytest.mark.parametrize("sentence", PLANTS)
def test_planted_fault_is_found(sentence: str) -> None:
    with PLANTS[sentence]():
        plays = range(FOUND_FROM.get(sentence.partition(":")[0], 0), PLANTED_MAX)
        assert any(map(unsound, plays)), f"{len(plays)} plays did not show: {sentence}"


def test_who_dies_in_the_moment_in_which_it_stops_is_needed_and_the_status_says_so() -> None:
    world = founded(3)
    leader = world.leader()
    assert leader is not None and leader.node is not None
    [other] = (host for host in world.hosts.values() if host is not leader)
    node, qraft = leader.node, leader.node.qraft
    assert qraft is not None
    other.give(StopRequested())
    assert world.run(6.0, lambda: qraft.members.voters == {node.me}, every=0.0)
    assert qraft.members_index > qraft.commit_index, "the other one has not confirmed that it is not counted"
    other.crash(held=True, power=True)
    world.run(30.0)
    shown = node.pairing.status(leader.clock())
    assert shown is not None and (shown.claim, leader.writes) == ("barred", False)
    assert "fell silent while it stopped" in shown.reason and "force-quorum" in shown.reason
    other.start()
    assert world.run(60.0, lambda: not missing(world)), missing(world)
