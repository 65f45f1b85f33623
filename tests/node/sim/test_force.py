"""A quorum that an operator forces: what holds when he was right, and what when he was not."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from qluster.clients import Done, FailoverRequested, ForceQuorumRequested, Outcome, PauseRequested, Refused

from sim.checks import Violated, converged
from sim.clients import Outcomes
from sim.forced import play
from sim.host import Host
from sim.planted_force import DIRECTED, PLANTS, RUNS
from sim.world import World

FULL = os.environ.get("QLUSTER_FULL_TESTS") == "1"
SEEDS = range(400 if FULL else 4)
PLANTED_MAX = 16
FOUND_FROM = {"guarantees-forgotten": 4}
"""Where the first play is known that shows it, plays begin there: before it they cost time alone."""


def founded(seed: int = 1, databases: int = 3, pools: int = 0, synchronous: str = "off") -> tuple[World, Host]:
    """A cluster that serves, and the host of its primary."""
    world = World(seed, databases=databases, pools=pools, synchronous=synchronous)
    world.clients = Outcomes(world)
    for host in world.hosts.values():
        host.start()
    assert world.run(60.0, lambda: not converged(world)), converged(world)
    primary = world.primary()
    assert primary is not None
    world.clients.write_always()
    world.run(2.0)
    return world, primary


def others(world: World, host: Host) -> list[Host]:
    return [one for one in world.hosts.values() if one is not host and one.database is not None]


def force(
    world: World, host: Host, *off: Host, name: str = "sim", nodes: tuple[int, ...] | None = None, check: bool = False
) -> Outcome:
    """What an operator is told who forces a quorum there and says that these are off."""
    ticket = world.clients.ticket() + 10**6
    host.give(ForceQuorumRequested(ticket, "", name, nodes, tuple(one.ip for one in off), check, "anna"))
    assert isinstance(world.clients, Outcomes)
    told = world.clients.told
    assert world.run(5.0, lambda: ticket in told, every=0.01)
    return told[ticket]


def settle(world: World, seconds: float = 60.0) -> None:
    assert world.run(seconds, lambda: not converged(world)), converged(world)


@pytest.mark.parametrize("synchronous", ["off", "quorum"])
@pytest.mark.parametrize("seed", range(3))
def test_last_node_goes_on_and_those_who_come_back_follow_it(seed: int, synchronous: str) -> None:
    world, primary = founded(seed, synchronous=synchronous)
    gone = others(world, primary)
    assert primary.node is not None
    before, number = primary.node.cluster, primary.node.me
    for host in gone:
        host.crash(held=True, power=True)
    world.run(8.0)
    assert world.primary() is None
    assert isinstance(force(world, primary, *gone), Done)
    assert world.run(20.0, lambda: world.primary() is primary), primary.node.status(primary.clock()).own.message
    assert primary.node is not None and primary.node.cluster > before and primary.node.me == number
    [forced] = primary.node.state.forced
    assert (forced.former, forced.node) == (before, number) and {ip for _, ip in forced.left_out} == {
        host.ip for host in gone}

    def outside() -> set[str]:
        assert primary.node is not None
        [shown] = primary.node.status(primary.clock()).cluster.forced
        assert shown.by == "anna"
        return {one.ip for one in shown.outside}

    assert outside() == {host.ip for host in gone}
    world.run(3.0)
    for host in gone:
        host.start()
    settle(world)
    assert outside() == set()
    assert world.primary() is primary
    assert all(host.node is not None and host.node.cluster == primary.node.cluster for host in gone)
    world.clients.at_the_end()


def test_replica_that_is_left_goes_on_where_nothing_was_guaranteed() -> None:
    world, primary = founded()
    last, *gone = others(world, primary)
    for host in (*gone, primary):
        host.crash(held=True, power=True)
    world.run(8.0)
    assert isinstance(force(world, last, *gone, primary), Done)
    assert world.run(20.0, lambda: world.primary() is last)
    world.run(2.0)
    primary.start()
    gone[0].start()
    settle(world)
    assert world.primary() is last
    assert any(f"{primary.name} ended Rewind" in line for line in world.story), "it took back what only it had"


def test_replica_that_may_lack_what_was_acknowledged_waits_for_an_operator_to_accept_that() -> None:
    world, primary = founded(synchronous="quorum")
    last, *gone = others(world, primary)
    for host in (*gone, primary):
        host.crash(held=True, power=True)
    world.run(8.0)
    assert isinstance(force(world, last, *gone, primary), Done)
    assert world.run(20.0, lambda: world.leader() is last)
    world.run(10.0)
    assert world.primary() is None and last.node is not None
    assert "nobody is known to have all that was acknowledged" in last.node.status(last.clock()).own.message
    assert last.node.state.reign is not None
    world.clients.ask(last, FailoverRequested(world.clients.ticket(), "", last.node.state.reign.number))
    assert world.run(20.0, lambda: world.primary() is last)


def test_nodes_that_are_counted_on_keep_their_numbers_and_the_best_database_takes_over() -> None:
    world, primary = founded(databases=5, pools=1)
    here, there, *gone = others(world, primary)
    here.lag = 0.001
    world.run(3.0)
    for host in (*gone, primary):
        host.crash(held=True, power=True)
    here.lag = 1.0
    world.run(8.0)
    numbers = {host.name: host.node.me for host in (here, there) if host.node}
    assert isinstance(force(world, here, *gone, primary), Done)
    assert world.run(30.0, lambda: world.primary() is not None)
    assert world.primary() is there, "it has more of what was written"
    assert {host.name: host.node.me for host in (here, there) if host.node} == numbers
    for host in (*gone, primary):
        host.start()
    settle(world)


def test_what_contradicts_it_is_refused_and_all_of_it_is_said() -> None:
    world, primary = founded()
    last, gone = others(world, primary)
    told = force(world, last, name="other")
    assert isinstance(told, Refused)
    assert "this cluster is called sim, not other" in told.reason and "leads: no quorum is missing" in told.reason
    gone.crash(held=True, power=True)
    primary.crash(held=True, power=True)
    world.run(8.0)
    told = force(world, last, gone)
    assert isinstance(told, Refused) and f"say so with --confirm-off {primary.ip}" in told.reason
    told = force(world, last, gone, primary, nodes=(9,))
    assert isinstance(told, Refused) and "node 9 is no member that could vote" in told.reason
    assert gone.node is None and last.node is not None
    told = force(world, last, gone, primary, last)
    assert isinstance(told, Refused) and f"{last.ip} is the address of no node that would be given up" in told.reason
    checked = force(world, last, gone, primary, check=True)
    assert isinstance(checked, Done) and checked.detail["against"] == []
    founding = last.node.cluster
    world.run(10.0)
    assert last.node.cluster == founding, "a check changes nothing"
    gone.start()
    world.run(1.0)
    told = force(world, last, gone, primary, nodes=(last.node.me,))
    assert isinstance(told, Refused) and "enough to elect" in told.reason and "is heard" in told.reason


def test_attempt_ends_when_somebody_who_was_given_up_is_heard() -> None:
    world, primary = founded(databases=5)
    last, *gone = others(world, primary)
    for host in (*gone, primary):
        host.crash(held=True, power=True)
    world.run(8.0)
    assert isinstance(force(world, last, *gone, primary), Done)
    gone[0].start()
    world.run(15.0)
    assert last.node is not None and not last.node.state.forced and "was heard" in last.node.forcing.outcome
    for host in (*gone[1:], primary):
        host.start()
    settle(world)


@pytest.mark.parametrize("seed", range(3))
def test_majority_that_was_alive_all_the_while_gives_in_when_it_hears_of_it(seed: int) -> None:
    """The operator was wrong: two databases take writes until the link is back. Then there is one history again."""
    world, primary = founded(seed)
    last, other = others(world, primary)
    world.network.isolate(last)
    world.run(6.0)
    assert world.primary() is primary
    assert isinstance(force(world, last, primary, other), Done)
    with pytest.raises(Violated, match=r"D1|both say"):
        world.run(30.0)
    # Whoever is wrong about that has two primaries: nothing that the nodes know could have told.
    world.checks.one_writer = lambda: None  # type: ignore[method-assign]
    world.checks.one_claims_to_be_written_to = lambda host, node: None  # type: ignore[method-assign]
    world.run(20.0)
    assert last.writes and primary.writes
    world.network.cut.clear()
    world.disturbed()
    assert world.run(5.0, lambda: not primary.writes), "the former founding ends as soon as it hears of the later one"
    settle(world)
    assert world.primary() is last
    assert any(f"{primary.name} ended Rewind" in line for line in world.story), "it took back what only it had"


def forced_on_both_sides() -> None:
    """Quorum is forced on either side of a cut; then the link is back."""
    world, primary = founded(databases=4)
    first, *_ = others(world, primary)
    half = [primary, others(world, primary)[1]]
    rest = [first, others(world, primary)[2]]
    world.network.split(half)
    world.run(6.0)
    world.checks.one_writer = lambda: None  # type: ignore[method-assign]
    world.checks.one_claims_to_be_written_to = lambda host, node: None  # type: ignore[method-assign]
    assert isinstance(force(world, primary, *rest), Done)
    world.run(5.0)
    assert isinstance(force(world, first, *half), Done)
    world.run(40.0)
    assert primary.writes and any(host.writes for host in rest)
    former, later = primary.node, rest[0].node
    assert former is not None and former.state.reign is not None and later is not None and later.state.reign is not None
    assert former.state.reign.number < later.state.reign.number
    assert former.state.reign.branch != later.state.reign.branch, "of one number nobody could tell them apart"
    world.network.cut.clear()
    world.disturbed()
    settle(world)
    winner = world.primary()
    assert winner in rest and winner is not None and winner.node is not None
    assert len({host.node.cluster for host in world.hosts.values() if host.node}) == 1


def test_of_two_quorums_that_were_forced_the_later_one_goes_on() -> None:
    forced_on_both_sides()


@pytest.mark.parametrize("algorithm", ["lms", "ffsplit"])
def test_quorum_is_forced_beside_an_arbiter_that_helps_to_elect_and_not_to_write(algorithm: str) -> None:
    """By formula the last of two is elected and can commit nothing; by episode it is not when it has restarted."""
    world = World(4, databases=2, pools=0, stock=algorithm)
    world.clients = Outcomes(world)
    for host in world.hosts.values():
        host.start()
    assert world.run(60.0, lambda: not converged(world)), converged(world)
    primary = world.primary()
    assert primary is not None
    [other] = others(world, primary)
    primary.crash(held=True, power=True)
    other.crash(held=True)
    other.start()
    world.run(20.0)
    assert world.primary() is None
    assert isinstance(force(world, other, primary), Done)
    assert world.run(30.0, lambda: world.primary() is other and other.writes)
    primary.start()
    settle(world, 120.0)


def went_on_with_the_memory() -> None:
    """Two nodes and an arbiter: the cable between the nodes is cut, and one of them goes on by the arbiter's vote. It
    loses its power, and quorum is forced on the other one. Then it is switched on again, and the cable is still cut."""
    world = World(3, databases=2, pools=0, witness=True, synchronous="quorum")
    world.clients = Outcomes(world)
    for host in world.hosts.values():
        host.start()
    assert world.run(60.0, lambda: not converged(world)), converged(world)
    primary = world.primary()
    assert primary is not None and world.arbiter is not None
    [other] = others(world, primary)
    world.clients.write_always()
    world.network.isolate(primary)
    world.run(20.0)
    assert world.primary() is primary and primary.writes, "by the vote of the arbiter"
    primary.crash(held=True, power=True)
    world.run(10.0)
    assert isinstance(force(world, other, primary), Done)
    assert world.run(20.0, lambda: world.primary() is other and other.writes)
    primary.start()
    world.run(60.0)
    assert not primary.writes and other.writes
    world.network.cut.clear()
    world.disturbed()
    settle(world, 120.0)
    assert world.primary() is other and other.node is not None and other.node.settled.way == "memory"


def test_who_was_given_up_does_not_go_on_with_the_memory_of_the_former_founding() -> None:
    went_on_with_the_memory()


@pytest.mark.parametrize(
    ("fault", "play_it"), [*zip(RUNS, [forced_on_both_sides, went_on_with_the_memory], strict=True)]
)
def test_fault_is_found_by_a_run_of_its_own(fault: str, play_it: Callable[[], None]) -> None:
    with RUNS[fault](), pytest.raises(AssertionError):
        play_it()


def beside_a_lease(seed: int) -> bool:
    """The former majority loses itself in the moment of the order: its leader's lease still runs."""
    world, primary = founded(seed)
    last, other = others(world, primary)
    world.network.isolate(last)
    world.run(5.0 + seed * 0.07)
    world.network.isolate(other)
    try:
        assert isinstance(force(world, last, primary, other), Done)
        world.run(10.0)
    except Violated as violated:
        return "D1" in str(violated) or "both say" in str(violated)
    assert world.primary() is last
    return False


@pytest.mark.parametrize("seed", range(4))
def test_lease_of_the_former_majority_runs_out_first(seed: int) -> None:
    assert not beside_a_lease(seed)


@pytest.mark.parametrize("sentence", DIRECTED)
def test_lease_that_is_not_waited_for_is_seen(sentence: str) -> None:
    with DIRECTED[sentence]():
        assert any(map(beside_a_lease, range(8)))


@pytest.mark.parametrize("first", SEEDS[::4], ids=str)
def test_clusters_stay_sound_over_a_forced_quorum(first: int) -> None:
    served = sum(play(seed).injected.get("served after a forced quorum", 0) for seed in range(first, first + 4))
    assert served, "somebody serves before the others are back"


def unsound(seed: int) -> bool:
    try:
        play(seed)
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize("sentence", PLANTS)
def test_planted_fault_is_found(sentence: str) -> None:
    with PLANTS[sentence]():
        plays = range(FOUND_FROM.get(sentence.partition(":")[0], 0), PLANTED_MAX)
        assert any(map(unsound, plays)), f"{len(plays)} plays did not show: {sentence}"


def alone(world: World, last: Host) -> list[Host]:
    """All other hosts with databases lose their power."""
    gone = others(world, last)
    for host in gone:
        host.crash(held=True, power=True)
    world.run(8.0)
    assert world.primary() in (None, last)
    return gone


@pytest.mark.parametrize("of_primary", [True, False], ids=["primary", "replica"])
def test_pause_ends_with_the_founding_that_was_paused(of_primary: bool) -> None:
    world, primary = founded()
    leader = world.leader()
    assert leader is not None
    world.clients.ask(leader, PauseRequested(world.clients.ticket(), "", "works"))
    world.run(3.0)
    last = primary if of_primary else others(world, primary)[0]
    gone = alone(world, last)
    assert primary.writes == of_primary, "in a pause the primary goes on without a lease"
    assert isinstance(force(world, last, *gone), Done)
    assert world.run(30.0, lambda: bool(last.node is not None and last.node.state.forced and last.writes))
    assert last.node is not None and not last.node.state.pause.active and world.primary() is last
    for host in gone:
        host.start()
    settle(world)


def test_cluster_with_an_arbiter_goes_on_without_it_and_counts_it_again_when_it_is_back() -> None:
    world = World(3, databases=2, pools=0, witness=True)
    world.clients = Outcomes(world)
    for host in world.hosts.values():
        host.start()
    assert world.run(60.0, lambda: not converged(world)), converged(world)
    primary = world.primary()
    assert primary is not None and world.arbiter is not None
    world.arbiter.crash(lost=True, down=60.0)
    gone = alone(world, primary)
    assert isinstance(force(world, primary, *gone), Done)
    assert world.run(20.0, lambda: world.primary() is primary)
    assert primary.node is not None and not primary.node.settled.way
    gone[0].start()
    settle(world, 120.0)
    assert primary.node.settled.way == "memory"


@pytest.mark.parametrize("more", [", wait_for_all: true", ", expected_votes: 3", ", last_man_standing: true"])
def test_what_votequorum_expected_in_the_former_founding_holds_nobody_up(more: str) -> None:
    world = World(1, databases=3, pools=0, quorum=f"provider: votequorum{more}")
    world.clients = Outcomes(world)
    for host in world.hosts.values():
        host.start()
    assert world.run(60.0, lambda: not converged(world)), converged(world)
    primary = world.primary()
    assert primary is not None
    gone = alone(world, primary)
    assert isinstance(force(world, primary, *gone), Done)
    assert world.run(30.0, lambda: world.primary() is primary), primary.node and primary.node.voting.veto
    assert primary.node is not None
    assert world.run(10.0, lambda: primary.node is not None and not primary.node.voting.veto), primary.node.voting.veto
    for host in gone:
        host.start()
    settle(world)


def test_standby_cluster_goes_on_following_the_installation_outside() -> None:
    world = World(1, databases=3, pools=0, outside=True)
    world.clients = Outcomes(world)
    for host in world.hosts.values():
        host.start()

    def follows(hosts: list[Host]) -> bool:
        return all(host.database is not None and host.database.running and host.node is not None
                   and host.node.state.reign is not None and host.node.status(host.clock()).cluster.standby is not None
                   and host.node.status(host.clock()).cluster.standby.streaming for host in hosts)  # type: ignore[union-attr]

    everybody = list(world.hosts.values())
    assert world.run(90.0, lambda: follows(everybody))
    last = everybody[1]
    gone = alone(world, last)
    assert isinstance(force(world, last, *gone), Done)
    assert world.run(60.0, lambda: world.leader() is last and follows([last]))
    assert not last.writes
    for host in gone:
        host.start()
    assert world.run(90.0, lambda: follows(everybody))


def fenced(seed: int = 1) -> tuple[World, Host, list[Host]]:
    """A cluster with fence agents, of which one replica is cut off: the others go on."""
    world = World(seed, databases=3, pools=0, fencing="lease")
    world.clients = Outcomes(world)
    for host in world.hosts.values():
        host.start()
    assert world.run(60.0, lambda: not converged(world)), converged(world)
    primary = world.primary()
    assert primary is not None
    world.clients.write_always()
    last, *_ = others(world, primary)
    world.network.isolate(last)
    world.run(6.0)
    return world, last, others(world, last)


@pytest.mark.parametrize("seed", range(3))
def test_majority_that_nobody_has_seen_off_is_fenced_before(seed: int) -> None:
    world, last, majority = fenced(seed)
    assert world.primary() in majority
    checked = force(world, last, check=True)
    assert isinstance(checked, Done) and all(one["fenced"] for one in checked.detail["gives_up"])  # type: ignore[attr-defined]
    assert world.primary() in majority, "a check shoots nobody"
    assert isinstance(force(world, last), Done)
    assert world.run(30.0, lambda: world.primary() is last), "one database writes at any time: the checks look"
    assert all(host.off_at is not None for host in majority) and last.node is not None
    assert len(last.node.state.forced[-1].fenced) == 2
    world.network.cut.clear()
    for host in majority:
        host.switch_on()
    settle(world)


def test_attempt_ends_when_a_host_cannot_be_fenced_and_names_what_to_do() -> None:
    world, last, majority = fenced()
    majority[0].unfenceable = True
    assert isinstance(force(world, last), Done)
    world.run(15.0)
    assert last.node is not None and not last.node.state.forced
    assert f"say so with --confirm-off {majority[0].ip}" in last.node.forcing.outcome
    assert "quorum was not forced" in last.node.status(last.clock()).cluster.forcing
    assert majority[1].off_at is not None, "what was fenced stays off"
    assert "still off" in last.node.forcing.outcome and f"({majority[1].ip})" in last.node.forcing.outcome
    assert isinstance(force(world, last, majority[0]), Done), "his word is asked for where no agent succeeds"
