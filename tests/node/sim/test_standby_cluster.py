"""A standby cluster through faults of its own and of the installation that it follows: it never writes, and is promoted
once. `QLUSTER_FULL_TESTS=1` runs many more seeds."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest
from qluster.clients import SettingsChangeRequested
from qluster.cluster.reign import BRANCHES
from qluster.cluster.state import STANDBY_OF
from qluster.database.orders import Promote

from sim import strikes
from sim.checks import BEHIND_MAX, converged
from sim.runs import heal, weather
from sim.world import World

SEEDS = range(0, 200 if os.environ.get("QLUSTER_FULL_TESTS") == "1" else 6)
FAULT_SECONDS = 25.0


def cut_line(world: World) -> None:
    """The line between the sites is down, or up again."""
    assert world.outside is not None
    world.outside.cut = world.random.random() < 0.5
    world.tell(f"the line outside is {'down' if world.outside.cut else 'up'}")


def fail_over(world: World) -> None:
    """The installation outside has another primary."""
    assert world.outside is not None
    world.outside.fail_over()


STRIKES = (
    strikes.crash, strikes.crash, strikes.kill_database, strikes.kill_database, strikes.freeze, strikes.cut_host,
    strikes.cut_one_way, strikes.split, strikes.mend, strikes.mend, strikes.stop_cleanly, strikes.lag,
    strikes.pause, strikes.resume, strikes.hand_over, strikes.crash_all, cut_line, cut_line, fail_over, fail_over,
)  # fmt: skip


def following(world: World) -> str:
    """What is missing until every database follows the installation outside, "" when nothing is."""
    assert world.outside is not None
    primary, hosts = world.outside.primary, [host for host in world.hosts.values() if host.database is not None]
    for host in hosts:
        assert host.database is not None
        message = host.node.status(host.clock()).own.message if host.node is not None else "down"
        if host.node is None or not host.database.running or not host.database.fits(primary):
            return f"the database of {host.name} does not follow: {message}"
        if host.node.state.pause.active:
            return "it is paused"
        if len(host.database.wal) + BEHIND_MAX < len(primary.wal):
            return f"the database of {host.name} is far behind: {message}"
    leading = [host for host in hosts if host.node is not None and host.node.keeper.wanted.kind == "outside"]
    return "" if len(leading) == 1 else f"{len(leading)} nodes lead"


def nobody_wrote(world: World) -> None:
    """Nothing here was ever a primary."""
    for host in world.hosts.values():
        assert host.database is None or not host.database.served, f"{host.name} was a primary"
    assert world.primary() is None


def live(world: World) -> None:
    """Found, disturb, heal, promote."""
    random = world.random
    for host in world.hosts.values():
        world.at(world.now + random.uniform(0, 2), lambda host=host: host.start())  # type: ignore[misc]
    assert world.run(60.0, lambda: following(world) == ""), following(world)
    world.faults = weather(random)
    world.faults.job_hang = 0.0
    end = world.now + FAULT_SECONDS
    while world.now < end:
        strike = random.choice(STRIKES)
        world.tell(f"strike: {strike.__name__}")
        strike(world)
        world.run(random.uniform(0.05, 4.0))
        nobody_wrote(world)
    assert world.outside is not None
    world.outside.cut = False
    heal(world)
    assert world.run(120.0, lambda: following(world) == ""), following(world)
    nobody_wrote(world)
    promote(world)


def promote(world: World) -> None:
    """The installation outside is given up, and this site takes its place."""
    assert world.outside is not None
    world.outside.stop()
    world.run(1.0)
    hosts = [host for host in world.hosts.values() if host.database is not None]
    most = max(len(host.database.wal) for host in hosts if host.database is not None)
    leader = world.leader()
    assert leader is not None
    world.clients.ask(leader, SettingsChangeRequested(world.clients.ticket(), "", {STANDBY_OF: ""}))
    if world.random.random() < 0.5:
        world.run(world.random.uniform(0.0, 0.5))
        leader.crash()
    world.clients.write_always()
    done = world.run(60.0, lambda: converged(world) == "")
    reigns = {reign for host in hosts if host.database is not None for reign in host.database.served}
    if not done and not reigns:
        # Its leader died before it had the word from the others: the operator asks again.
        leader = world.leader()
        assert leader is not None
        world.clients.ask(leader, SettingsChangeRequested(world.clients.ticket(), "", {STANDBY_OF: ""}))
        done = world.run(60.0, lambda: converged(world) == "")
    assert done, converged(world)
    primary = world.primary()
    assert primary is not None and primary.database is not None
    records = primary.database.wal.records
    first = next(place for place, (_, value) in enumerate(records) if -1_000_000 < value < 0)
    assert first == most, f"promoted at {first}, {most} records had come"
    assert records[:first] == world.outside.primary.wal.records[:first]
    assert records[first][0] > world.outside.primary.timeline + BRANCHES, "no number that may be taken outside"


@pytest.mark.parametrize("seed", SEEDS)
def test_standby_cluster_never_writes_and_is_promoted_once(seed: int) -> None:
    world = World(seed, databases=(3, 3, 3, 2, 5)[seed % 5], synchronous=("off", "quorum")[seed % 2], outside=True)
    try:
        live(world)
    except AssertionError as failure:
        story = "\n".join(world.story[-60:])
        raise AssertionError(f"seed {seed}: {failure}\n{story}") from failure
    assert Promote.__name__ in "\n".join(world.story)
