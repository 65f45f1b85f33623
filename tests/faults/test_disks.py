"""Disks that lose power, fail, lie, stall, fill up or rot below a real daemon."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge.daemon_world import wait_for
from faults.clients import stored
from faults.cluster import NODE_TIMEOUT, Cluster, eventually_writes

pytestmark = pytest.mark.usefixtures("disks_possible")


def others(cluster: Cluster, number: int) -> list[int]:
    return [other for other in cluster.numbers if other != number]


def follower(cluster: Cluster) -> int:
    return others(cluster, cluster.leader_host())[0]


def cut_power(cluster: Cluster, numbers: list[int], seed: int | None = None) -> None:
    """The hosts go dark at once; what they had not flushed is gone."""
    for number in numbers:
        cluster.daemons[number].kill()
    for number in numbers:
        cluster.kill(number)
        cluster.disks[number].cut_power(seed)


def log_file(cluster: Cluster, number: int) -> Path:
    """The newest segment."""
    return max((cluster.place(number) / "disk/state/current/log").glob("*.log"))


@pytest.fixture(scope="module")
def on_disks(hosts_possible: None, disks_possible: None) -> Iterator[Cluster]:
    made = Cluster("disks")
    try:
        made.found(disk=True)
        yield made
    finally:
        made.end()


@pytest.fixture
def trio(on_disks: Cluster) -> Cluster:
    """Three daemons on disks that are well before each test."""
    on_disks.recover()
    for number in on_disks.numbers:
        on_disks.listen(number)
    return on_disks


def test_cluster_keeps_its_state_through_a_power_cut_right_after_founding(trio: Cluster) -> None:
    founding = trio.map(1)["cluster"]["cluster"]
    nodes = {number: trio.own(number)["node"] for number in trio.numbers}
    assert trio.write(trio.leader_host(), "kept", "yes") == 200
    cut_power(trio, trio.numbers)
    for number in trio.numbers:
        trio.start(number)
    trio.wait_whole()
    assert trio.map(1)["cluster"]["cluster"] == founding
    assert {number: trio.own(number)["node"] for number in trio.numbers} == nodes
    assert trio.read(trio.leader_host(), "kept", "leader") == "yes"


def test_power_cut_everywhere_with_torn_writes_loses_nothing_acknowledged(trio: Cluster) -> None:
    acknowledged: list[str] = []
    for seed in range(2):
        leader = trio.leader_host()
        for number in range(15):
            key = f"torn{seed}.{number}"
            assert trio.write(leader, key, key) == 200
            acknowledged.append(key)
        # What is under way when the power goes is written and not flushed.
        for number in trio.numbers:
            trio.disks[number].tell(stall=1.0)
        assert trio.write(leader, f"torn{seed}.under-way", "x" * 3000, 0.3) == 0
        cut_power(trio, trio.numbers, seed)
        for number in trio.numbers:
            trio.disks[number].behave()
            trio.start(number)
        trio.wait_whole()
        for number in trio.numbers:
            assert stored(trio, number, acknowledged) == {key: key for key in acknowledged}
            assert not trio.said(number, "damaged")


@pytest.mark.parametrize("fault", [{"flush": "EIO"}, {"write": "EIO"}], ids=["flush", "write"])
@pytest.mark.parametrize("leads", [True, False], ids=["leader", "follower"])
def test_daemon_ends_when_its_disk_fails_and_others_go_on(trio: Cluster, leads: bool, fault: dict[str, str]) -> None:
    leader = trio.leader_host()
    struck = leader if leads else follower(trio)
    trio.disks[struck].tell(**fault)
    name = f"failed.{leads}.{next(iter(fault))}"
    # Where the leader is struck, the copies of the two others may be enough to acknowledge it.
    began = time.monotonic()
    trio.write(leader, name, "first", 15.0)
    assert trio.wait_ended(struck) not in (0, -9)
    assert time.monotonic() - began < 4.0, "a client that waits for an answer may not keep it from ending"
    assert trio.said(struck, "flushing failed" if "flush" in fault else "writing failed")
    eventually_writes(trio, others(trio, struck), name, "second")
    trio.disks[struck].behave()
    trio.start(struck)
    trio.wait_whole()
    assert {trio.read(number, name) for number in trio.numbers} == {"second"}


def test_leader_whose_disk_stalls_gives_way(trio: Cluster) -> None:
    leader = trio.leader_host()
    trio.disks[leader].tell(stall=30.0)
    began = time.monotonic()
    trio.write(leader, "stalled", "by the leader", 0.4 * NODE_TIMEOUT)
    eventually_writes(trio, others(trio, leader), "stalled", "by another")
    assert time.monotonic() - began < 12 * NODE_TIMEOUT
    assert trio.read(leader, "stalled", "lease") in (None, "by another")
    trio.disks[leader].behave()
    trio.wait_whole()
    assert {trio.read(number, "stalled") for number in trio.numbers} == {"by another"}


def test_follower_whose_disk_stalls_holds_nobody_up(trio: Cluster) -> None:
    leader = trio.leader_host()
    term = trio.map(leader)["cluster"]["term"]
    slow = follower(trio)
    trio.disks[slow].tell(stall=1.5 * NODE_TIMEOUT)
    end, times = time.monotonic() + 4 * NODE_TIMEOUT, []
    while time.monotonic() < end:
        began = time.monotonic()
        if trio.write(leader, "slow", str(len(times))) != 200:
            leader = trio.leader_host(others(trio, slow))
            continue
        times.append(time.monotonic() - began)
    assert sorted(times)[len(times) // 2] < 0.2 * NODE_TIMEOUT, "the two others are enough"
    assert trio.map(leader)["cluster"]["term"] <= term + 1
    trio.disks[slow].behave()
    trio.wait_whole()
    assert trio.read(slow, "slow") == str(len(times) - 1)


@pytest.mark.parametrize("leads", [True, False], ids=["leader", "follower"])
def test_full_disk_is_named_and_the_node_is_back_when_there_is_space(trio: Cluster, leads: bool) -> None:
    leader = trio.leader_host()
    struck = leader if leads else follower(trio)
    trio.disks[struck].tell(write="ENOSPC")
    name = f"full.{leads}"
    trio.write(leader, name, "first", 2.0)
    eventually_writes(trio, trio.numbers, name, "second")
    wait_for("the word for a full disk", lambda: trio.said(struck, "no space left"))
    assert trio.runs(struck), "a full disk is no reason to end"
    trio.disks[struck].behave()
    wait_for("the word for space", lambda: trio.said(struck, "space-back"))
    # Until the leader has heard that, it may refuse what a majority could not keep.
    eventually_writes(trio, trio.numbers, name, "third")
    trio.wait_whole()
    assert {trio.read(number, name) for number in trio.numbers} == {"third"}


def test_lie_of_one_disk_costs_no_acknowledged_write_while_the_others_live(trio: Cluster) -> None:
    """Its node comes back with less than it had confirmed; the leader must notice and bring it up again."""
    leader = trio.leader_host()
    liar = follower(trio)
    trio.disks[liar].tell(flush="lies")
    for number in range(20):
        assert trio.write(leader, f"lie{number}", str(number)) == 200
    cut_power(trio, [liar])
    trio.disks[liar].behave()
    trio.start(liar)
    assert trio.write(leader, "lie.after", "yes") == 200
    trio.wait_whole()
    keys = [f"lie{number}" for number in range(20)]
    for number in trio.numbers:
        assert list(stored(trio, number, keys).values()) == [str(one) for one in range(20)]


def test_damage_in_the_middle_of_a_log_is_found_and_the_node_comes_back_as_another(trio: Cluster) -> None:
    leader, struck = trio.leader_host(), follower(trio)
    keys = [f"rot{number}" for number in range(10)]
    for key in keys:
        assert trio.write(leader, key, key) == 200
    node = trio.own(struck)["node"]
    trio.kill(struck)
    assert trio.disks[struck].rot("state/current/log/*.log", 0.5)
    log = log_file(trio, struck)
    content = log.read_bytes()
    trio.start(struck)
    wait_for("another identity", lambda: trio.own(struck).get("node") not in (None, node))
    assert trio.said(struck, "damaged at byte") and not trio.said(struck, "Traceback")
    aside = trio.place(struck) / "disk/state/old.1/log" / log.name
    assert aside.read_bytes() == content, "nothing is repaired by guessing, nothing is thrown away"
    trio.wait_whole()
    assert trio.own(struck)["node"] > node
    assert stored(trio, struck, keys) == {key: key for key in keys}


def test_node_with_a_new_disk_takes_the_place_of_the_former_one(trio: Cluster) -> None:
    leader, struck = trio.leader_host(), trio.numbers[-1]
    node = trio.own(struck)["node"]
    assert trio.write(leader, "disk", "kept") == 200
    trio.kill(struck)
    trio.disks[struck].replace()
    trio.start(struck)
    trio.wait_whole()
    assert trio.own(struck)["node"] > node
    assert trio.read(struck, "disk") == "kept"
