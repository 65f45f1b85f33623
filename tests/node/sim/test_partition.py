"""A part without quorum: its database stops by the lease, and votequorum says so on either side.

A node that is told to wait for all does not stand before it has seen all; what votequorum permits elects nobody.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster.clients import SettingsChangeRequested
from qluster.config import Quorum
from qluster.consulting import Consulting
from qluster.votes.information import State

from sim.checks import converged
from sim.host import GUARD_DELAY, Host
from sim.world import World

NODE_TIMEOUT = 2.0


def well(databases: int, more: str = "", seed: int = 1) -> World:
    """A cluster that counts votes, with a primary and all nodes in one ring."""
    world = World(seed, databases=databases, pools=0, quorum=f"provider: votequorum{more}")
    for host in world.hosts.values():
        host.start()
    assert world.run(60.0, lambda: not missing(world)), missing(world)
    return world


def missing(world: World) -> str:
    assert world.votes is not None
    return converged(world) or world.votes.missing()


def quorate(host: Host) -> bool:
    view = host.node.voting.view if host.node is not None else None
    return view is not None and view.settled and view.quorate


def writers(world: World) -> list[Host]:
    return [host for host in world.hosts.values() if host.writes]


@pytest.mark.parametrize("seed", range(3))
def test_database_of_a_part_without_quorum_stops_before_another_writes(seed: int) -> None:
    world = well(3, seed=seed)
    [primary] = writers(world)
    others = [host for host in world.hosts.values() if host is not primary]
    world.network.isolate(primary)
    cut_at = world.now

    def two() -> bool:
        assert len(writers(world)) <= 1, f"two databases write at once: {writers(world)}"
        return not primary.writes

    assert world.run(30.0, two, every=0.01)
    assert world.now - cut_at <= NODE_TIMEOUT + 2 * GUARD_DELAY, "the lease, and what the guard takes"
    assert primary.database is not None and not primary.database.running
    assert world.run(30.0, lambda: len(writers(world)) == 1 and writers(world)[0] in others)
    assert world.run(10.0, lambda: all(map(quorate, others)) and not quorate(primary))
    assert primary.node is not None and "1 of 3 expected votes" in primary.node.voting.veto
    assert [change.quorate for change in primary.node.voting.changes][-1] is False
    world.network.cut.clear()
    assert world.run(60.0, lambda: not missing(world)), missing(world)
    assert [change.quorate for change in primary.node.voting.changes][-2:] == [False, True]


def test_two_nodes_that_votequorum_calls_quorate_each_alone_elect_nobody_and_write_nowhere() -> None:
    world = well(2, ", two_node: true, wait_for_all: false")
    one, other = world.hosts.values()
    world.network.split([one])
    world.run(20.0)
    assert quorate(one) and quorate(other), "the rule of two nodes, without fencing"
    assert not writers(world) and world.leader() is None
    world.network.cut.clear()
    assert world.run(60.0, lambda: not missing(world)), missing(world)


@pytest.mark.parametrize("waits", [True, False])
def test_majority_that_starts_without_the_third_waits_only_if_it_is_told_to(waits: bool) -> None:
    world = well(3, ", wait_for_all: true" if waits else "")
    for host in world.hosts.values():
        host.crash(held=True, power=True)
    first, second, third = world.hosts.values()
    first.start()
    second.start()
    elected = world.run(40.0, lambda: world.leader() is not None)
    assert elected is not waits
    if waits:
        assert first.node is not None and "all are waited for" in first.node.voting.veto
        assert not quorate(first) and first.node.status(first.clock()).votes.why == "waiting-for-all"  # type: ignore[union-attr]
    third.start()
    assert world.run(60.0, lambda: not missing(world)), missing(world)


def test_last_nodes_that_stand_are_all_that_votequorum_expects_and_the_list_still_binds() -> None:
    world = well(3, ", last_man_standing: true, last_man_standing_window: 3s")
    gone = next(host for host in world.hosts.values() if not host.writes)
    gone.crash(held=True)
    rest = [host for host in world.hosts.values() if host is not gone]

    def shrunk() -> bool:
        views = [host.node.voting.view for host in rest if host.node is not None]
        return all(view is not None and view.settled and view.expected == 2 for view in views)

    assert world.run(20.0, shrunk)
    [primary] = writers(world)
    [last] = [host for host in rest if host is not primary]
    primary.crash(held=True)
    world.run(20.0)
    assert last.node is not None and last.node.status(last.clock()).cluster.voters == 3
    assert not quorate(last) and not writers(world)


def test_settings_that_do_not_fit_the_members_are_refused_and_votes_are_switched_on_and_off_while_nodes_run() -> None:
    world = well(3)
    leader = world.leader()
    assert leader is not None and leader.node is not None
    fault = leader.node.voting.fault(Quorum(provider="votequorum", two_node=True))
    assert "It is for two nodes with one vote each" in fault
    assert "Use at least 3" in leader.node.voting.fault(Quorum(provider="votequorum", expected_votes=2))
    assert not leader.node.voting.fault(Quorum(two_node=True)), "nothing looks at it"
    seq = max(ring.seq for _, ring in world.votes.made)  # type: ignore[union-attr]
    for provider in ("none", "votequorum"):
        leader.give(SettingsChangeRequested(10**9, f"switch {provider}", {"quorum.provider": provider}))
        counted = provider == "votequorum"
        assert world.run(20.0, lambda counted=counted: all(  # type: ignore[misc]
            (host.node.voting.view is not None) is counted for host in world.hosts.values() if host.node))
    assert world.run(20.0, lambda: not missing(world)), missing(world)
    assert max(ring.seq for _, ring in world.votes.made) > seq  # type: ignore[union-attr]


def test_arbiter_is_told_of_each_ring_and_of_quorum_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[object, ...]] = []
    monkeypatch.setattr(Consulting, "membership", lambda self, ring, members, now: told.append((ring, set(members))))
    monkeypatch.setattr(Consulting, "quorum", lambda self, quorate, nodes, now: told.append((quorate, dict(nodes))))
    world = well(3)
    gone = world.hosts["10.0.0.3"]
    rest = [host for host in world.hosts.values() if host is not gone]
    assert gone.node is not None and rest[0].node is not None
    number = gone.node.me
    told.clear()
    gone.crash(held=True)
    assert world.run(20.0, lambda: all(
        host.node is not None and (view := host.node.voting.view) is not None and view.settled
        and len(view.members) == 2 for host in rest))
    view = rest[0].node.voting.view
    assert view is not None
    others = {host.node.me for host in rest if host.node is not None}
    assert told.count((view.ring, others)) == 2, "each of the two tells its own arbiter once"
    states = {node: State.MEMBER for node in others} | {number: State.DEAD}
    assert told.count((True, states)) == 2
