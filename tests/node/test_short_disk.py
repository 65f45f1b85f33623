"""A full disk: nothing new is taken on, nothing is lost, somebody else leads; all is well when there is space."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from consensus.stage import NOW, append, entries_saved, entry, follower, log, sent, voters
from consensus.world import CLUSTER
from fuzz import lone
from qluster.clients import SettingsChangeRequested, ValueWriteRequested
from qluster.consensus import messages as say
from qluster.consensus.settings import SHORT_BYTES_MAX, SHORT_MESSAGE_BYTES_MAX
from qluster.events import SpaceChanged
from qluster.overview import headline
from sim.host import Host
from sim.world import World

THREE = voters(1, 2, 3)
LARGE = bytes(SHORT_MESSAGE_BYTES_MAX)
FULL = "no space left for the log"
PATIENCE = 60.0


def test_node_that_is_not_in_a_cluster_yet_says_that_its_disk_is_full() -> None:
    """Its identity cannot be saved: what it waits for is space, not the others."""
    node = lone.outside()
    waits = node.node.status(node.now).own.message
    node.tell(SpaceChanged(FULL))
    assert node.node.status(node.now).own.message == FULL and FULL in headline(node.node, node.now)
    node.tell(SpaceChanged(""))
    assert waits and node.node.status(node.now).own.message == waits


# --- one follower -----------------------------------------------------------------


def test_short_follower_confirms_what_it_has_and_takes_on_nothing() -> None:
    qraft = follower(1, log(THREE, 1))
    qraft.short = True
    qraft.receive(append(2, 1, 2, 1, [entry(3, 1, LARGE)], commit=3, number=7), NOW)
    output = qraft.take()
    assert entries_saved(output) == [] and qraft.commit_index == 2
    assert [(reply.round, reply.match) for reply in sent(output, say.AppendReply)] == [(7, 2)]


def test_short_follower_takes_on_a_bounded_number_of_small_entries() -> None:
    """A new leader must be able to say that it leads."""
    qraft = follower(1, log(THREE, 1))
    qraft.short = True
    index, payload = 2, bytes(1000)
    for _ in range(2 * SHORT_BYTES_MAX // len(payload)):
        qraft.receive(append(2, 1, index, 1, [entry(index + 1, 1, payload)], number=1), NOW)
        index = qraft.last_index
    assert 0.9 * SHORT_BYTES_MAX < (index - 2) * len(payload) <= SHORT_BYTES_MAX
    qraft.short = False
    qraft.receive(append(2, 1, index, 1, [entry(index + 1, 1, LARGE)], number=1), NOW)
    assert qraft.last_index == index + 1


def test_short_follower_cuts_nothing_either() -> None:
    qraft = follower(1, log(THREE, 1, 1))
    qraft.short = True
    qraft.receive(append(3, 2, 2, 1, [entry(3, 2, LARGE)], number=1), NOW)
    assert qraft.last_index == 3 and [reply.match for reply in sent(qraft.take(), say.AppendReply)] == [2]


def test_short_follower_confirms_entries_that_are_here() -> None:
    qraft = follower(1, log(THREE, 1, 1))
    qraft.short = True
    qraft.receive(append(2, 1, 1, 1, [entry(2, 1), entry(3, 1)], commit=3, number=1), NOW)
    assert [reply.match for reply in sent(qraft.take(), say.AppendReply)] == [3] and qraft.commit_index == 3


def test_short_follower_still_votes() -> None:
    qraft = follower(1, log(THREE, 1))
    qraft.short = True
    qraft.receive(say.Vote(CLUSTER, 3, 2, 2, 1, True), NOW)
    assert [reply.granted for reply in sent(qraft.take(), say.VoteReply)] == [True]


def test_short_follower_fetches_no_snapshot_until_there_is_space() -> None:
    qraft = follower(1, log(THREE, 1))
    qraft.short = True
    qraft.receive(say.SnapshotOffer(CLUSTER, 2, 1, 50), NOW)
    assert qraft.take().fetch is None
    qraft.short = False
    qraft.receive(say.SnapshotOffer(CLUSTER, 2, 1, 50), NOW)
    assert qraft.take().fetch is not None


# --- a cluster ----------------------------------------------------------------------


@pytest.fixture
def world() -> World:
    made = World(9)
    for host in made.hosts.values():
        host.start()
    assert made.run(PATIENCE, lambda: well(made))
    made.clients.write_always()
    made.run(2)
    return made


def well(world: World) -> bool:
    leader = world.leader()
    if leader is None or leader.node is None or world.primary() is None:
        return False
    applied = leader.node.state.applied
    streaming = [
        host for host in world.hosts.values()
        if host.node is not None and host.database is not None and host.node.keeper.status().streaming
    ]  # fmt: skip
    level = all(host.node is not None and host.node.state.applied == applied for host in world.hosts.values())
    return level and len(streaming) == 2 and len(leader.node.settled.voters) == 3


def change(world: World, host: Host, number: int) -> None:
    host.give(SettingsChangeRequested(900 + number, f"change-{number}", {"cluster.remove-interval": f"{90 + number}s"}))


def applied(host: Host, number: int) -> bool:
    return host.node is not None and host.node.state.values()["cluster.remove-interval"] == f"{90 + number}s"


def test_full_disk_of_a_follower_stops_nobody_and_it_catches_up_by_itself(world: World) -> None:
    leader = world.leader()
    assert leader is not None
    full = next(host for host in world.hosts.values() if host is not leader and host.database is not None)
    full.give(SpaceChanged(FULL))
    world.run(1)
    term = leader.node.qraft.term if leader.node and leader.node.qraft else 0
    leader.give(ValueWriteRequested(900, "k", "large", LARGE, None))
    change(world, leader, 1)
    assert world.run(PATIENCE, lambda: applied(leader, 1))
    world.run(10)
    assert not applied(full, 1) and full.node is not None and full.node.status(full.clock()).own.message == FULL
    assert leader.node is not None and leader.node.qraft is not None and leader.node.qraft.term == term
    full.give(SpaceChanged(""))
    assert world.run(PATIENCE, lambda: applied(full, 1) and well(world))


def test_leader_whose_disk_is_full_hands_over_to_a_node_with_space(world: World) -> None:
    leader = world.leader()
    assert leader is not None
    leader.give(SpaceChanged(FULL))
    assert world.run(PATIENCE, lambda: world.leader() not in (None, leader) and world.primary() not in (None, leader))
    successor = world.leader()
    assert successor is not None
    change(world, successor, 1)
    assert world.run(PATIENCE, lambda: applied(successor, 1))
    leader.give(SpaceChanged(""))
    assert world.run(PATIENCE, lambda: well(world))


def test_leader_stays_while_too_few_have_space_and_says_so_to_clients(world: World) -> None:
    leader = world.leader()
    assert leader is not None and leader.node is not None
    full = [host for host in world.hosts.values() if host.database is not None and host is not leader]
    for host in full:
        host.give(SpaceChanged(FULL))
    world.run(3)
    assert "are full: free some space there" in leader.node.governing.no_room()
    change(world, leader, 3)
    world.run(5)
    assert not applied(leader, 3)
    leader.give(SpaceChanged(FULL))
    world.run(20)
    assert world.leader() is leader and world.primary() is leader


def test_primary_can_still_be_replaced_while_all_disks_are_full(world: World) -> None:
    """What a new leader must say is small, and has its place in the reserve."""
    for host in world.hosts.values():
        host.give(SpaceChanged(FULL))
    world.run(2)
    leader = world.leader()
    assert leader is not None
    leader.crash(held=True)
    assert world.run(PATIENCE, lambda: world.primary() not in (None, leader))


def test_client_of_a_leader_whose_disk_is_full_is_told_so(world: World) -> None:
    leader = world.leader()
    assert leader is not None and leader.node is not None
    for host in world.hosts.values():
        if host is not leader:
            host.give(SpaceChanged(FULL))
    world.run(2)
    leader.give(SpaceChanged(FULL))
    assert leader.node.governing.no_room() == FULL
    change(world, leader, 3)
    world.run(5)
    assert not applied(leader, 3)
    for host in (leader, *world.hosts.values()):
        host.give(SpaceChanged(""))
    world.run(3)
    change(world, leader, 2)
    assert world.run(PATIENCE, lambda: applied(leader, 2) and well(world))
