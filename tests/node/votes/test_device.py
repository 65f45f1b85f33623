"""A device's votes: whose they are, when they count, and when they end."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest
from qluster.votes.information import Ring
from qluster.votes.options import DeviceOptions, Options
from qluster.votes.view import Why
from votes.model import Cluster, even

FFSPLIT = Options(nodes=even(2), device=DeviceOptions(votes=1))
LMS = Options(nodes=even(3), device=DeviceOptions())


def connected(options: Options, *, casting: bool = True) -> Cluster:
    """A cluster whose devices all vote."""
    cluster = Cluster(options)
    cluster.register()
    for node in cluster.nodes:
        cluster.poll(node, casting)
    return cluster


def answer(cluster: Cluster, votes: dict[int, bool]) -> None:
    for node, cast in votes.items():
        cluster.poll(node, cast)


@pytest.mark.parametrize(("number", "device", "expected", "quorum"), [
    (2, 1, 3, 2), (4, 1, 5, 3), (6, 1, 7, 4), (3, None, 5, 3), (4, None, 7, 4), (5, None, 9, 5),
])
def test_votes_and_quorum_of_both_algorithms(number: int, device: int | None, expected: int, quorum: int) -> None:
    cluster = connected(Options(nodes=even(number), device=DeviceOptions(votes=device)))
    assert cluster.figures(1) == (expected, expected, quorum, True)


def test_one_node_alone_with_a_given_vote_starts_with_two_expected() -> None:
    cluster = Cluster(FFSPLIT, start=False)
    cluster.up(1)
    cluster.register()
    cluster.poll(1, True)
    assert cluster.figures(1) == (2, 2, 2, True)
    cluster.up(2)
    answer(cluster, {1: True})
    assert cluster.figures(1) == (3, 3, 2, True)


def test_a_divided_pair_goes_on_where_the_device_votes() -> None:
    cluster = connected(FFSPLIT)
    cluster.split({2: 1})
    answer(cluster, {1: True, 2: False})
    assert cluster.words() == {"1": "quorate 1", "2": "inquorate 2"}
    assert cluster.view(2).reason == "1 of 3 expected votes are here and 2 are needed"


def test_a_lost_device_leaves_a_whole_cluster_quorate_and_nothing_less() -> None:
    cluster = connected(FFSPLIT)
    cluster.wait(10)
    assert [one.device for one in cluster.view(1).members] == ["NA,NV,NMW", "NA,NV,NMW"]
    assert cluster.figures(1) == (3, 2, 2, True)
    cluster.split({2: 1})
    assert cluster.quorate() == frozenset()


def test_one_of_three_goes_on_with_the_device_of_lms() -> None:
    cluster = connected(LMS)
    cluster.split({2: 1, 3: 2})
    answer(cluster, {1: True, 2: False, 3: False})
    assert cluster.figures(1) == (5, 3, 3, True)
    assert cluster.quorate() == {1}


def test_lms_without_the_device_survives_no_failure() -> None:
    cluster = Cluster(LMS)
    assert cluster.figures(1) == (5, 3, 3, True)
    cluster.down(3)
    assert cluster.quorate() == frozenset()


def test_the_larger_part_of_three_to_one_needs_no_device() -> None:
    cluster = connected(Options(nodes=even(4), device=DeviceOptions(votes=1)))
    cluster.split({4: 1})
    answer(cluster, {1: False, 2: False, 3: False, 4: True})
    assert cluster.words() == {
        "1": "quorate 1+2+3", "2": "quorate 1+2+3", "3": "quorate 1+2+3", "4": "inquorate 4",
    }


def test_the_vote_counts_on_the_node_whose_device_casts_it() -> None:
    cluster = connected(Options(nodes=even(4), device=DeviceOptions(votes=1)))
    cluster.split({3: 1, 4: 1})
    answer(cluster, {1: True, 2: False, 3: False, 4: False})
    assert cluster.quorate() == {1}


def test_registered_alive_and_cast_are_three_things() -> None:
    cluster = Cluster(FFSPLIT)
    states = [cluster.view(1).nodes[0].device]
    cluster.register([1])
    states.append(cluster.view(2).nodes[0].device)
    cluster.poll(1, True)
    states.append(cluster.view(2).nodes[0].device)
    cluster.poll(1, False)
    states.append(cluster.view(2).nodes[0].device)
    cluster.nodes[1].device(False, False, Ring(0, 0), cluster.now)
    cluster.deliver()
    states.append(cluster.view(2).nodes[0].device)
    cluster.nodes[1].unregister(cluster.now)
    cluster.deliver()
    states.append(cluster.view(2).nodes[0].device)
    assert states == ["NR", "NA,NV,NMW", "A,V,NMW", "A,NV,NMW", "NA,NV,NMW", "NR"]


def test_a_poll_begins_the_time_anew() -> None:
    cluster = connected(FFSPLIT)
    cluster.wait(9.9)
    answer(cluster, {1: True, 2: True})
    cluster.wait(9.9)
    assert cluster.view(1).device_casts
    cluster.wait(0.2)
    assert not cluster.view(1).device_casts


def test_a_vote_for_another_ring_does_not_count() -> None:
    cluster = connected(FFSPLIT)
    old = cluster.view(2).ring
    cluster.split({2: 1})
    refusal = cluster.nodes[2].device(True, True, old, cluster.now)
    assert refusal == f"the vote is for ring {old}, and the current one is {cluster.view(2).ring}: " \
                      "ask for a vote on that one"
    cluster.deliver()
    assert not cluster.view(2).settled


def test_a_change_waits_for_the_device_and_says_nothing_before() -> None:
    cluster = connected(FFSPLIT)
    before = len(cluster.events)
    cluster.split({2: 1})
    cluster.wait(29)
    assert len(cluster.events) == before
    assert [(cluster.view(node).quorate, cluster.view(node).settled) for node in (1, 2)] == [(True, False)] * 2
    cluster.wait(1)
    assert [(node, event.quorate) for node, event in cluster.events[before:]] == [(1, False), (2, False)]
    assert [one.device for one in cluster.view(1).members] == ["NA,NV,NMW"]


def test_all_members_wait_for_the_slowest_device() -> None:
    cluster = connected(Options(nodes=even(4), device=DeviceOptions(votes=1)))
    cluster.split({4: 1})
    answer(cluster, {1: True, 2: True})
    assert not cluster.view(1).settled
    answer(cluster, {3: True})
    assert [cluster.view(node).settled for node in (1, 2, 3, 4)] == [True, True, True, False]


def test_a_device_that_does_not_live_is_not_waited_for() -> None:
    cluster = Cluster(FFSPLIT)
    cluster.register()
    cluster.split({2: 1})
    assert cluster.view(1).settled


def test_there_is_one_device_a_cluster() -> None:
    cluster = Cluster(FFSPLIT)
    cluster.register([1])
    assert "there is one device a cluster" in cluster.nodes[2].register("Other", 0.0)
    cluster.nodes[1].unregister(0.0)
    cluster.deliver()
    assert cluster.nodes[2].register("Other", 0.0) == ""
    assert cluster.nodes[2].register("Other", 0.0) == ""


@pytest.mark.parametrize("name", ["", "x" * 255])
def test_a_device_has_a_name(name: str) -> None:
    assert "1 to 254 bytes" in Cluster(FFSPLIT).nodes[1].register(name, 0.0)


def test_what_is_not_registered_cannot_vote() -> None:
    cluster = Cluster(Options(nodes=even(2)))
    vq = cluster.nodes[1]
    assert "no device is configured" in vq.register("Qdevice", 0.0)
    assert "no device is registered" in vq.device(True, True, cluster.view(1).ring, 0.0)
    assert "no device is registered" in vq.master_wins(True, 0.0)


def test_master_wins_makes_a_partition_quorate_whatever_its_votes() -> None:
    cluster = connected(Options(nodes=even(5), device=DeviceOptions(votes=1), expected_votes=6))
    for node in cluster.nodes:
        assert cluster.nodes[node].master_wins(True, 0.0) == ""
    cluster.split({3: 1, 4: 1, 5: 1})
    answer(cluster, {1: True, 2: False, 3: False, 4: False, 5: False})
    assert cluster.quorate() == {1, 2}, "one device that casts is enough for its whole partition"
    assert cluster.view(2).why is Why.MASTER_WINS
    assert "lets its master win" in cluster.view(2).reason
    assert cluster.view(1).members[0].device == "A,V,MW"


def test_a_node_whose_own_device_does_not_let_masters_win_goes_by_votes() -> None:
    cluster = connected(Options(nodes=even(3), device=DeviceOptions(votes=1), expected_votes=8))
    assert cluster.nodes[1].master_wins(True, 0.0) == ""
    cluster.deliver()
    assert cluster.quorate() == {1}
    assert cluster.nodes[1].master_wins(False, 0.0) == ""
    cluster.deliver()
    assert cluster.quorate() == frozenset()


def test_the_votes_of_the_device_are_those_of_the_quorate_member() -> None:
    cluster = Cluster(FFSPLIT, start=False)
    cluster.options = replace(FFSPLIT, device=DeviceOptions(votes=3), nodes=((1, 2), (2, 3)))
    cluster.up(1)
    cluster.options = replace(FFSPLIT, nodes=((1, 2), (2, 3)))
    cluster.up(2)
    assert cluster.view(2).device_votes == 3
    assert cluster.figures(2) == (8, 5, 5, True)


def test_corosync_lets_two_parts_be_quorate_where_an_odd_cluster_gives_the_device_votes() -> None:
    """Given votes of a device are not expected at the start. Three that never met expect three of four."""
    options = Options(nodes=even(3), device=DeviceOptions(votes=1))
    cluster = Cluster(options, start=False)
    for node, partition in ((1, 0), (2, 0), (3, 1)):
        cluster.up(node, partition)
    cluster.register()
    answer(cluster, {1: False, 2: False, 3: True})
    assert cluster.quorate() == {1, 2, 3}
    said = Cluster(replace(options, expected_votes=4), start=False)
    for node, partition in ((1, 0), (2, 0), (3, 1)):
        said.up(node, partition)
    said.register()
    answer(said, {1: False, 2: False, 3: True})
    assert said.quorate() == frozenset()
