"""How votes, a tie-breaker and rest come from configurations into the list: simulated hosts, the real node."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

import pytest
from msgspec.structs import replace
from qluster.cluster.messages import Hello, Report
from qluster.consensus.members import Members
from qluster.entering import Entering
from qluster.events import StopRequested
from qluster.hosting import Hosting
from sim.checks import converged
from sim.electing import Electing
from sim.host import Host
from sim.world import World


def leader(world: World) -> Host:
    found = world.leader()
    assert found is not None and found.node is not None
    return found


def settled(world: World) -> Members:
    """The list of members as the leader has it, committed."""
    host = world.leader()
    return host.node.settled if host is not None and host.node is not None else Members(())


def votes(world: World) -> dict[int, int]:
    return {member.node: member.votes for member in settled(world) if member.voter}


def running(electing: Electing) -> World:
    """A cluster that counts so, whole."""
    world = World(7, databases=electing.databases, pools=0, electing=electing)
    for host in world.hosts.values():
        host.start()
    until(world, lambda: len(votes(world)) == electing.databases and world.primary() is not None)
    return world


def until(world: World, what: Callable[[], bool], seconds: float = 60) -> None:
    assert world.run(seconds, what), "\n".join(world.story[-30:])


def host_of(world: World, node: int) -> Host:
    return next(host for host in world.hosts.values() if host.node is not None and host.node.me == node)


def test_what_the_files_say_comes_into_the_list_and_a_change_of_them_too() -> None:
    world = running(Electing(3, (3, 1, 0)))
    by_address = {member.ip: member.votes for member in settled(world)}
    assert by_address == {"10.0.0.1": 3, "10.0.0.2": 1, "10.0.0.3": 0}
    host = world.hosts["10.0.0.3"]
    host.crash(held=True)
    host.config = host.proper = replace(host.config, votes=2)
    host.start()
    until(world, lambda: sorted(votes(world).values()) == [1, 2, 3])


def test_founder_without_a_vote_founds_with_one_and_gives_it_up_when_others_have_some() -> None:
    world = running(Electing(2, (0, 1)))
    until(world, lambda: sorted(votes(world).values()) == [0, 1])


def test_tie_breaker_lets_half_go_on_and_only_that_half() -> None:
    world = running(Electing(4, (1,) * 4, "lowest"))
    until(world, lambda: settled(world).tie == 1)
    side = [host_of(world, 1), host_of(world, 2)]
    others = [host for host in world.hosts.values() if host not in side]
    world.network.split(side)
    until(world, lambda: world.primary() in side)
    world.run(20)
    assert world.primary() in side
    assert all(host.node is not None and not host.node.hosting.may_write(host.clock()) for host in others)


def test_status_says_who_is_not_counted_and_with_whom_half_is_enough() -> None:
    world = running(Electing(5, (1,) * 5, "highest", last_man_standing=True))
    lost = next(host for host in world.hosts.values() if host is not world.leader())
    assert lost.node is not None
    number = lost.node.me
    world.network.isolate(lost)
    until(world, lambda: number not in settled(world).voters)
    first = leader(world)
    assert first.node is not None
    cluster = first.node.status(first.clock()).cluster
    assert (cluster.voters, cluster.votes, cluster.quorum, cluster.resting) == (4, 4, 3, (number,))
    assert cluster.tie_breaker == max(settled(world).voters)
    world.network.cut.clear()
    until(world, lambda: len(votes(world)) == 5)


def test_last_of_five_and_its_neighbour_go_on_after_the_others_were_lost_one_by_one() -> None:
    world = running(Electing(5, (1,) * 5, last_man_standing=True))
    for left in (4, 3, 2):
        lost = next(host for host in world.hosts.values() if host.node is not None and host is not world.leader())
        lost.crash(held=True)
        until(world, lambda left=left: len(votes(world)) == left and world.primary() is not None)  # type: ignore[misc]


def test_of_two_the_one_that_is_not_stopped_goes_on_alone() -> None:
    """With allow-downscale; without it nobody could be elected."""
    world = running(Electing(2, (1, 1), allow_downscale=True))
    until(world, lambda: converged(world) == "")
    stopped = leader(world)
    stopped.give(StopRequested())
    until(world, lambda: stopped.node is None and len(votes(world)) == 1 and world.primary() is not None)
    assert world.primary() is not stopped
    stopped.start()
    until(world, lambda: len(votes(world)) == 2)


def older(world: World, host: Host) -> None:
    """The daemon there is of a version that counts nodes: it says nothing of counting, and knows no votes."""
    assert host.node is not None
    hello, report = Entering.hello, Hosting.report

    def said(entering: Entering) -> Hello:
        found = hello(entering)
        return replace(found, votes=1, counting=0) if entering._node is host.node else found

    def reported(hosting: Hosting, now: float) -> Report:
        found = report(hosting, now)
        return replace(found, counting=0, rings=False) if hosting._node is host.node else found

    patch.object(Entering, "hello", said).start()
    patch.object(Hosting, "report", reported).start()


@pytest.fixture(autouse=True)
def _unpatched() -> object:
    yield
    patch.stopall()


def test_no_tie_breaker_while_one_node_has_an_older_version_and_one_when_it_has_not() -> None:
    world = World(7, databases=2, pools=0, electing=Electing(2, (1, 1), "lowest"))
    for host in world.hosts.values():
        host.start()
    older(world, world.hosts["10.0.0.2"])
    until(world, lambda: len(votes(world)) == 2)
    world.run(20)
    assert settled(world).tie == 0
    patch.stopall()
    until(world, lambda: settled(world).tie == 1)


def test_node_of_an_older_version_is_not_admitted_where_votes_are_counted() -> None:
    world = World(7, databases=2, pools=0, electing=Electing(2, (3, 1)))
    for host in world.hosts.values():
        host.start()
    older(world, world.hosts["10.0.0.2"])
    until(world, lambda: bool(world.hosts["10.0.0.2"].left))
    assert "its version counts nodes, and this cluster counts votes" in world.hosts["10.0.0.2"].left
