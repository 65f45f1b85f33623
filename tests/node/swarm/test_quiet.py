"""A span that is jumped over ends exactly as if it had been lived through."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from random import Random

import pytest
from qluster.consensus.following import QUERY_PATIENCE
from swarm.quiet import GRAIN, LONG_AGO, LOOKED_BACK, digest, grid_after, on_grid
from swarm.runs import run, settings_of, world_of
from swarm.world import World

HOURS = 3


def calm_world(seed: int, jumping: bool) -> World:
    """After a storm, then some hours in which nothing happens."""
    world, storms = world_of(seed)
    world.jumps = False
    storms.clear()
    storms.storm()
    storms.clear()
    world.run(world.now + 1.0)
    world.disturbed()
    world.jumps = jumping
    world.run(on_grid(world.now) + HOURS * 3600.0)
    return world


@pytest.mark.parametrize("seed", [0, 1, 4, 5, 8, 11, 13, 20])
def test_jumping_over_a_quiet_span_is_living_through_it(seed: int) -> None:
    """Every field of every participant, relative to the time and the newest round, and what happens afterwards."""
    lived, jumped = calm_world(seed, False), calm_world(seed, True)
    assert lived.counts.skipped == 0
    assert jumped.counts.skipped > 0.9 * HOURS * 3600
    assert lived.now == jumped.now and lived.flying == jumped.flying
    assert lived.digest() == lived.digest()
    for node, host in lived.hosts.items():
        other = jumped.hosts[node]
        assert (host.qraft is None) == (other.qraft is None)
        if host.qraft is not None and other.qraft is not None:
            assert told(digest(host.qraft, host.clock(lived.now))) == told(digest(other.qraft, other.clock(jumped.now)))
            assert host.wake == other.wake
            assert rounds(lived, node) == rounds(jumped, node)
    for world in (lived, jumped):
        world.clients.ask()
        world.run(world.now + 300.0)
    assert lived.story[-1] == jumped.story[-1]
    assert lived.rules.newest == jumped.rules.newest


@pytest.mark.parametrize("seed", [2, 9, 23])
def test_run_with_jumps_tells_the_story_of_a_run_without(seed: int) -> None:
    """Every line with its time, over hours with clients and changes of leaders; in seed 23 silent nodes are removed."""
    jumped, lived = run(seed, 1), run(seed, 1, plant=live_through)
    assert lived.jumps == 0 and jumped.jumps > 0
    assert (jumped.story, jumped.operations, jumped.unknown) == (lived.story, lived.operations, lived.unknown)
    assert jumped.stepped + jumped.skipped == lived.stepped
    assert not jumped.fault and not lived.fault


def live_through(world: World) -> None:
    """Nothing is jumped over."""
    world.jumps = False


def test_what_is_long_ago_is_longer_ago_than_anything_is_asked_for() -> None:
    for settings in (settings_of(Random(draw), 5) for draw in range(40)):
        asked = [settings.node_timeout, QUERY_PATIENCE * settings.heartbeat_interval, settings.remove_interval]
        asked += [2 * settings.heartbeat_interval, settings.pre_voting_timeout, settings.leader_voting_timeout]
        assert max(asked) < LONG_AGO
        assert max(settings.replication_retry_interval, settings.heartbeat_interval) < min(LOOKED_BACK.values())


def rounds(world: World, node: int) -> int:
    """How many rounds the leader has opened."""
    qraft = world.hosts[node].qraft
    return qraft._office.rounds.newest.number if qraft is not None and qraft._office is not None else 0


def told(found: object) -> str:
    """Two worlds have objects of their own; what is in them must be the same."""
    return repr(found) if not isinstance(found, tuple) else "(" + " ".join(map(told, found)) + ")"


def test_disturbed_cluster_is_not_jumped_over() -> None:
    world, storms = world_of(3)
    storms.clear()
    storms.storm()
    assert world.counts.skipped == 0


def test_two_participants_that_differ_in_one_field_have_two_digests() -> None:
    world, storms = world_of(2)
    storms.clear()
    host = next(iter(world.hosts.values()))
    assert host.qraft is not None
    before = digest(host.qraft, host.clock(world.now))
    assert digest(host.qraft, host.clock(world.now)) == before
    me = host.qraft._me
    for name, other in [("commit_index", me.commit_index + 1), ("vote", 77), ("expelled_at", 3), ("leader", None)]:
        kept = getattr(me, name)
        setattr(me, name, other)
        assert (digest(host.qraft, host.clock(world.now)) == before) == (kept == other), name
        setattr(me, name, kept)
    host.qraft._election.at += 1.0
    assert digest(host.qraft, host.clock(world.now)) != before


def test_moments_between_two_of_the_grid_count_as_the_later_one() -> None:
    assert grid_after(1.0) == 1.0
    assert grid_after(1.0 + GRAIN / 3) == 1.0 + GRAIN
    assert on_grid(5 / 3) % GRAIN == 0


