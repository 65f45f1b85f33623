"""What synchronous replication promises, where steps meet: runs that once lost something, or stood still."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster.clients import (
    Done,
    FailoverRequested,
    FailoverShown,
    PauseRequested,
    Refused,
    SettingsChangeRequested,
)
from sim.checks import converged
from sim.clients import Outcomes
from sim.host import Host
from sim.losing import lose_directory
from sim.planted import PLANTS
from sim.world import Faults, Violated, World

TICKET = 900
PATIENCE = 30.0


def running(seed: int, databases: int, synchronous: str = "quorum") -> tuple[World, Host, list[Host]]:
    """A whole cluster whose clients write, its primary and the others."""
    world = World(seed, databases=databases, pools=0, synchronous=synchronous)
    world.clients = Outcomes(world)
    for host in world.hosts.values():
        host.start()
    assert world.run(60, lambda: converged(world) == "")
    world.clients.write_always()
    world.run(2.0)
    primary = world.primary()
    assert primary is not None
    return world, primary, [host for host in world.hosts.values() if host is not primary]


@pytest.mark.parametrize("seed", range(4))
def test_a_guarantee_that_the_server_obeys_is_not_dropped_by_the_next_change_while_the_log_is_slow(seed: int) -> None:
    world, _, others = running(seed, 5)
    world.faults = Faults(slow_save=1.0, save_seconds=1.5)
    for host in others[1:]:
        host.stuck_until = world.now + 10.0
        assert host.database is not None
        host.database.kill()
        host.look()
        world.run(0.5)
    world.run(15.0)  # the checks look at each acknowledgement


@pytest.mark.parametrize(("databases", "synchronous"), [(5, "quorum"), (3, "all")])
def test_what_a_promoted_server_shows_outlives_it(databases: int, synchronous: str) -> None:
    world, primary, (first, *others) = running(1, databases, synchronous)
    for host in others:
        host.lag = 0.0
    world.run(0.5)
    assert first.database is not None and primary.database is not None
    if databases == 3:
        primary.database.directory = "absent"  # its daemon votes on
    primary.crash(held=True, power=True)
    for host in others:
        host.lag = 1.0
    assert world.run(PATIENCE, lambda: first.writes, every=0.005)
    first.crash(held=True, power=True)
    if databases == 3:
        primary.start()
    assert world.run(PATIENCE, lambda: any(host.writes for host in others))


def test_nobody_waits_for_a_primary_that_was_chosen_and_never_served() -> None:
    world, primary, (first, second) = running(1, 3)
    second.lag = 0.0
    world.run(0.2)
    primary.crash(held=True, power=True)

    def chosen() -> bool:
        reign = first.node.state.reign if first.node is not None else None
        return reign is not None and reign.number == 2

    assert world.run(PATIENCE, chosen, every=0.0) and first.node is not None
    reign = first.node.state.reign
    assert reign is not None and reign.node == first.node.me and first.database is not None
    assert first.database.last_reign == 0, "not yet promoted"
    first.crash(held=True, power=True)
    world.run(0.1)
    second.lag = 1.0
    first.start()
    assert world.run(PATIENCE, lambda: first.writes or second.writes, every=0.05)


def test_a_loss_is_not_accepted_in_advance_while_a_primary_restarts_where_it_was() -> None:
    world, primary, _ = running(1, 3)
    assert primary.database is not None and primary.node is not None
    primary.database.kill()
    primary.look()
    assert world.run(2.0, lambda: primary.node is not None and not primary.node.keeper.serving, every=0.0)
    reign = primary.node.state.reign
    assert reign is not None and primary.node.hosting.reigns()
    world.clients.ask(primary, FailoverRequested(TICKET, "", reign.number))
    assert isinstance(world.clients, Outcomes)
    outcome = world.clients.told[TICKET]
    assert isinstance(outcome, Refused) and "serves reign 1" in outcome.reason
    assert world.run(PATIENCE, lambda: primary.writes)
    assert primary.node.state.loss_accepted == 0


def test_what_a_failover_would_lose_is_held_against_what_the_primary_that_serves_has() -> None:
    world, primary, others = running(1, 3, "off")
    for host in others:
        host.lag = 0.0
    world.run(3.0)
    assert primary.database is not None
    behind = len(primary.database.wal) - max(len(host.database.wal) for host in others if host.database is not None)
    world.clients.ask(primary, FailoverShown(TICKET))
    assert isinstance(world.clients, Outcomes)
    outcome = world.clients.told[TICKET]
    assert isinstance(outcome, Done) and outcome.detail["serves"]
    known = outcome.detail["known_loss_bytes"]
    assert isinstance(known, int) and 0 < known <= behind and outcome.detail["worst_loss_bytes"] is None


def test_a_server_that_lets_nobody_in_yet_does_so_under_the_next_daemon_of_a_pause() -> None:
    world, primary, others = running(1, 3)
    for host in others:
        host.lag = 0.0
    world.run(0.2)
    assert primary.database is not None and primary.node is not None
    primary.database.kill()
    primary.look()
    database = primary.database
    assert world.run(2.0, lambda: database.serves, every=0.005)
    assert not primary.writes, "the standbys lack what it shows"
    world.clients.ask(primary, PauseRequested(TICKET, "", "a new version"))
    assert world.run(5.0, lambda: primary.untied, every=0.02)
    primary.crash(held=True)
    primary.start()
    assert database.serves, "it outlived its daemon"
    world.run(1.0)
    assert not primary.writes
    for host in others:
        host.lag = 1.0
    assert world.run(PATIENCE, lambda: primary.writes)


def test_switched_on_it_covers_what_was_acknowledged_before_or_says_who_alone_has_it() -> None:
    world, primary, others = running(1, 3, "off")
    for host in others:
        host.lag = 0.0
    world.run(1.0)
    assert primary.node is not None and primary.database is not None
    world.clients.ask(primary, SettingsChangeRequested(TICKET, "", {"cluster.synchronous": "quorum"}))
    node = primary.node
    assert world.run(5.0, lambda: bool(node.state.guarantees and node.state.guarantees[-1].needed), every=0.0)
    written = len(primary.database.wal)
    primary.crash(held=True, power=True)
    for host in others:
        host.lag = 1.0
    assert not world.run(10.0, lambda: any(host.writes for host in others)), "rows of before are on one disk alone"
    primary.start()
    assert world.run(PATIENCE, lambda: world.primary() is not None)
    now = world.primary()
    assert now is not None and now.database is not None and len(now.database.wal) > written


def test_death_of_a_replicas_host_holds_transactions_up_for_two_node_timeouts() -> None:
    world, primary, (first, second) = running(1, 3, "all")
    database, node = primary.database, primary.node
    assert database is not None and node is not None
    world.network.isolate(second)
    cut_at, stood_at = world.now, database.acknowledged(world.replicas(primary))
    assert stood_at
    limit = 2 * node.config.cluster.node_timeout + 1.0
    assert world.run(limit, lambda: database.acknowledged(world.replicas(primary)) > stood_at + 5, every=0.02)
    assert world.now > cut_at + 1.0, "until then it may come back"
    assert [set(one.standbys) for one in node.state.guarantees[-1:]] == [{first.node.me}]  # type: ignore[union-attr]


def test_daemon_that_starts_in_a_pause_tells_its_server_nothing_before_it_knows_the_log_to_its_end() -> None:
    world, primary, (first, second) = running(1, 3)
    assert primary.database is not None and primary.node is not None
    assert first.node is not None and second.database is not None
    world.clients.ask(primary, PauseRequested(TICKET, "", "a new version"))
    assert world.run(5.0, lambda: primary.untied, every=0.02)
    second.crash(held=True, power=True)
    alone = (f"node{first.node.me}",)
    database = primary.database
    assert world.run(PATIENCE, lambda: database.terms is not None and database.terms.standbys == alone)
    node = primary.node
    assert world.run(PATIENCE, lambda: len(node.state.guarantees) == 1)
    primary.crash(held=True)
    world.network.isolate(primary)
    primary.start()
    for _ in range(20):
        world.run(0.1)
        assert database.terms is not None and database.terms.standbys == alone, "what the log said last"
    world.network.cut.clear()
    assert world.run(PATIENCE, lambda: not database.adopted), "then it is told, the same"
    assert database.terms is not None and database.terms.standbys == alone


def copied_from_one_behind(seed: int) -> tuple[World, Host, list[Host]]:
    """The replica that confirmed loses its database and copies the one that is behind; then the primary dies."""
    world, primary, (behind, confirmed) = running(seed, 3)
    behind.lag = 0.0
    world.run(0.5)
    lose_directory(confirmed)
    copy = confirmed.database
    assert copy is not None
    assert world.run(PATIENCE, lambda: copy.directory == "initialised", every=0.005)
    assert primary.database is not None and behind.database is not None
    assert len(copy.wal) == len(behind.database.wal) < len(primary.database.wal)
    primary.crash(held=True, power=True)
    return world, primary, [behind, confirmed]


@pytest.mark.parametrize("seed", range(3))
def test_a_copy_of_a_replica_that_was_behind_is_no_proof_of_what_was_confirmed_before_it(seed: int) -> None:
    world, primary, others = copied_from_one_behind(seed)
    assert not world.run(10.0, lambda: any(host.writes for host in others), every=0.05)
    leader = world.leader()
    assert leader is not None and leader.node is not None
    copied = others[1].node.me if others[1].node is not None else 0
    reason = leader.node.governing.reason
    assert "nobody is known to have all that was acknowledged" in reason and f"(not counted: {copied}," in reason
    primary.start()
    assert world.run(PATIENCE, lambda: world.primary() is not None), "and nothing is missing: the checks look"
    for host in others:
        host.lag = 1.0
    assert world.run(PATIENCE, lambda: converged(world) == "")


def test_a_primary_that_serves_says_that_nobody_would_take_over_while_the_copy_is_behind() -> None:
    world, primary, (behind, confirmed) = running(1, 3)
    behind.lag = 0.0
    world.run(0.5)
    confirmed.lag = 0.0
    lose_directory(confirmed)
    copy = confirmed.database
    assert copy is not None
    assert world.run(PATIENCE, lambda: copy.running, every=0.02)
    world.run(1.5)
    world.clients.ask(primary, FailoverShown(TICKET))
    assert isinstance(world.clients, Outcomes)
    outcome = world.clients.told[TICKET]
    assert isinstance(outcome, Done) and outcome.detail["serves"] and not outcome.detail["by_itself"]
    assert "(not counted:" in str(outcome.detail["reason"])
    behind.lag = 1.0
    world.run(2.5)
    world.clients.ask(primary, FailoverShown(TICKET + 1))
    outcome = world.clients.told[TICKET + 1]
    assert isinstance(outcome, Done) and outcome.detail["by_itself"], "the other has what the lost one confirmed"


def test_a_copy_that_has_caught_up_proves_as_much_as_any() -> None:
    world, primary, (behind, confirmed) = running(1, 3)
    behind.lag = 0.0
    world.run(0.5)
    lose_directory(confirmed)
    copy = confirmed.database
    assert copy is not None
    assert world.run(PATIENCE, lambda: copy.owed is not None and len(copy.wal) > copy.owed[1], every=0.005)
    primary.crash(held=True, power=True)
    assert world.run(PATIENCE, lambda: behind.writes or confirmed.writes)


def test_the_simulation_sees_a_copy_that_is_taken_for_what_was_lost() -> None:
    planted = PLANTS["a copy of a replica that was behind proves what the lost database had confirmed"]
    with planted(), pytest.raises(Violated, match="D2"):
        world, *_ = copied_from_one_behind(1)
        world.run(PATIENCE)
