"""What load balancers are told in the course of a cluster's life: simulated hosts, the real node."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster.api.routes import Request, answer_probe, probe_of
from sim.host import Host
from sim.world import World

SETTLES = 60.0


def code(host: Host, target: str, at: float | None = None) -> int:
    """What a host answers, now or at a time of its own clock."""
    path, _, query = target.partition("?")
    probe = probe_of(Request("GET", path, tuple(tuple(each.split("=", 1)) for each in query.split("&") if each)))
    assert probe is not None and host.node is not None
    return answer_probe(probe, host.node.health(host.clock() if at is None else at)).code


def codes(world: World, target: str) -> list[int]:
    """What all hosts with a database that run answer, in order of the code."""
    return sorted(code(host, target) for host in world.hosts.values() if host.database is not None and host.node)


def whole(world: World) -> bool:
    return codes(world, "/is-leader") == [200, 417, 417] and codes(world, "/readiness") == [200, 200, 200]


def running(synchronous: str = "off") -> World:
    world = World(11, synchronous=synchronous)
    for host in world.hosts.values():
        host.start()
    assert world.run(SETTLES, lambda: whole(world)), world.story[-20:]
    world.run(5)
    return world


@pytest.fixture
def world() -> World:
    return running()


def primary(world: World) -> Host:
    found = world.primary()
    assert found is not None
    return found


def replicas(world: World) -> list[Host]:
    return [host for host in world.hosts.values() if host.database is not None and host is not primary(world)]


def test_whole_cluster_has_one_leader_and_its_replicas_follow_closely(world: World) -> None:
    assert codes(world, "/is-replica") == codes(world, "/is-replica?max-lag=16MiB") == [200, 200, 417]
    assert codes(world, "/is-replica?max-lag=5s") == codes(world, "/async") == [200, 200, 417]
    assert codes(world, "/is-readable?max-lag=16MiB") == codes(world, "/readiness?max-lag=5s") == [200, 200, 200]
    assert codes(world, "/is-synchronous") == [417, 417, 417]


def test_lease_that_ends_is_said_at_that_very_moment_without_any_event(world: World) -> None:
    host = primary(world)
    assert host.node is not None and host.node.qraft is not None
    ends = host.node.qraft.lease_until
    assert [code(host, "/is-leader", at) for at in (ends - 1e-6, ends, ends + 60.0)] == [200, 531, 531]
    assert [code(host, "/is-readable", at) for at in (ends - 1e-6, ends)] == [200, 531]


def test_replicas_the_primary_waits_for_are_named_by_every_guarantee() -> None:
    world = running("quorum")
    assert world.run(SETTLES, lambda: codes(world, "/is-synchronous") == [200, 200, 417])
    assert codes(world, "/async") == [417, 417, 417]
    gone = replicas(world)[0]
    gone.crash(held=True)
    assert world.run(SETTLES, lambda: codes(world, "/is-synchronous") == [200, 417])
    gone.start()
    assert world.run(SETTLES, lambda: codes(world, "/is-synchronous") == [200, 200, 417])


def test_replicas_serve_through_a_change_of_primary_and_the_former_one_only_when_it_has_rejoined(world: World) -> None:
    former = primary(world)
    assert former.node is not None
    patience = former.node.config.cluster.node_timeout
    world.network.isolate(former)
    seen: list[list[int]] = []

    def changed() -> bool:
        """Meanwhile nobody but the node in office may be read as the primary, and no primary as a replica."""
        seen.append(codes(world, "/is-leader"))
        if former.node is not None and former.database is not None and former.database.last_reign:
            assert code(former, "/is-replica") != 200
            assert code(former, "/is-readable") != 200 or code(former, "/is-leader") == 200
        return primary_elsewhere(world, former)

    assert world.run(10 * patience, changed, every=0.05)
    assert all(each.count(200) <= 1 for each in seen)
    world.network.cut.clear()
    assert world.run(SETTLES, lambda: whole(world) and codes(world, "/is-replica") == [200, 200, 417])


def primary_elsewhere(world: World, former: Host) -> bool:
    now = world.primary()
    return now is not None and now is not former


def test_replica_that_is_cut_off_serves_only_who_sets_no_limit(world: World) -> None:
    host = replicas(world)[0]
    assert host.node is not None
    now, patience = host.clock(), host.node.config.cluster.node_timeout
    # Its database answers at any time; nothing else comes in.
    host.node.keeper.looked_at = now + patience + 10
    assert [code(host, path, now + patience + 10) for path in ("/is-replica", "/is-readable", "/readiness")] == [
        531, 200, 531,
    ]  # fmt: skip
    late = now + 8
    host.node.keeper.looked_at = late
    assert code(host, "/is-readable?max-lag=1GiB", late) == 531
    assert [code(host, f"/is-readable?max-lag={limit}", late) for limit in ("5s", "30s")] == [531, 200]


def test_node_marked_down_is_no_replica_and_ready_all_the_same(world: World) -> None:
    host = replicas(world)[0]
    assert host.node is not None
    host.node.state.down.append(host.node.me)
    assert [code(host, path) for path in ("/is-replica", "/is-readable", "/readiness", "/liveness")] == [
        531, 531, 200, 200,
    ]  # fmt: skip


def test_database_that_is_silent_serves_nobody_after_three_seconds(world: World) -> None:
    host = replicas(world)[0]
    assert host.node is not None
    seen = host.node.keeper.looked_at
    assert [code(host, "/is-replica", seen + after) for after in (2.9, 3.1)] == [200, 531]
