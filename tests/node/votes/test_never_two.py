"""Never two disjoint quorate parts, whatever falls apart in whatever order, where corosync's rules promise it; and the
shortest runs to two where they do not."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qluster.votes.options import DeviceOptions, Options
from votes.model import Cluster, even

EXAMPLES = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

VOTES = st.lists(st.integers(0, 3), min_size=1, max_size=6).filter(any)
STEP = st.one_of(
    st.lists(st.integers(0, 2), min_size=6, max_size=6),
    st.tuples(st.sampled_from(["down", "up"]), st.integers(1, 6), st.integers(0, 2)),
)
STEPS = st.lists(STEP, max_size=12)
Step = list[int] | tuple[str, int, int]


def take(cluster: Cluster, step: Step) -> None:
    """A new division of all nodes, or one node that stops or starts."""
    if isinstance(step, list):
        cluster.split({node: step[node - 1] for node in cluster.nodes})
        return
    word, node, partition = step
    if word == "down" and node in cluster.nodes:
        cluster.down(node)
    elif word == "up" and node not in cluster.nodes and node in dict(cluster.options.nodes):
        cluster.up(node, partition)


def quorate_parts(cluster: Cluster) -> set[int]:
    """The partitions with a quorate node."""
    assert all(vq.settled for vq in cluster.nodes.values())
    return {cluster.partition[node] for node in cluster.quorate()}


@EXAMPLES
@given(VOTES, STEPS, st.booleans(), st.booleans(), st.integers(0, 3))
def test_without_special_rules_there_are_never_two(
    votes: list[int], steps: list[Step], waits: bool, tracks: bool, more: int
) -> None:
    options = Options(nodes=tuple(enumerate(votes, 1)), wait_for_all=waits, expected_votes_tracking=tracks,
                      expected_votes=sum(votes) + more)
    cluster = Cluster(options)
    for step in steps:
        take(cluster, step)
        assert len(quorate_parts(cluster)) <= 1


@pytest.mark.parametrize("number", range(1, 7))
def test_every_division_has_a_quorate_part_if_and_only_if_it_has_a_majority(number: int) -> None:
    for places in product(range(2), repeat=number):
        cluster = Cluster(Options(nodes=even(number)))
        cluster.split(dict(enumerate(places, 1)))
        larger = max(places.count(0), places.count(1))
        assert len(quorate_parts(cluster)) == (larger > number / 2), places


def decide(cluster: Cluster, chosen: int) -> None:
    """The arbiter refuses all partitions but one, then acknowledges that one."""
    for node in cluster.nodes:
        if not cluster.nodes[node].register("Qdevice", cluster.now):
            cluster.deliver()
    for node in sorted(cluster.nodes, key=lambda one: cluster.partition[one] == chosen):
        cluster.poll(node, cluster.partition[node] == chosen)
        acting = {cluster.partition[one] for one in cluster.quorate() if cluster.nodes[one].settled}
        assert len(acting) <= 1, "two act while the devices are still being asked"


def fitting(number: int, lms: bool) -> Options:
    """A device's votes as its algorithm wants them."""
    if lms:
        return Options(nodes=even(number), device=DeviceOptions())
    # An odd cluster must say how many votes it expects: see test_device.
    expected = number + 1 if number % 2 else None
    return Options(nodes=even(number), device=DeviceOptions(votes=1), expected_votes=expected)


@EXAMPLES
@given(st.integers(2, 6), st.booleans(), st.lists(st.tuples(STEP, st.integers(0, 2)), max_size=12))
def test_with_a_device_that_acknowledges_one_part_there_are_never_two(
    number: int, lms: bool, steps: list[tuple[Step, int]]
) -> None:
    cluster = Cluster(fitting(number, lms))
    decide(cluster, 0)
    for step, chosen in steps:
        take(cluster, step)
        decide(cluster, chosen)
        assert len(quorate_parts(cluster)) <= 1


def two_halves(cluster: Cluster) -> None:
    cluster.split({2: 1})


def both_restart(cluster: Cluster) -> None:
    """Nobody remembers who was quorate."""
    for node in (1, 2):
        cluster.down(node)
    cluster.up(1, 0)
    cluster.up(2, 1)


def one_leaves_and_finds_another(cluster: Cluster) -> None:
    """1 is cut off, and still holds itself for the lowest of a quorate partition when 4 joins it."""
    cluster.split({1: 1})
    cluster.split({4: 1})


def lost_one_by_one(cluster: Cluster) -> None:
    """1 and 2 saw the others go one by one, who then meet: the one that was quorate ends their wait for all."""
    cluster.split({4: 1, 5: 1})
    cluster.split({3: 1})


def shrunk_member_joins_the_rest(cluster: Cluster) -> None:
    """1, 2, 3 shrink to a cluster of three; 3 takes that number to 4 and 5."""
    cluster.split({4: 1, 5: 1})
    cluster.wait(11)
    cluster.split({3: 1})


def restarted_majority(cluster: Cluster) -> None:
    """1 and 2 shrink to a cluster of two, while 3, 4 and 5 restart."""
    for node in (5, 4):
        cluster.down(node)
        cluster.wait(11)
    cluster.down(3)
    cluster.wait(11)
    cluster.up(3, 1)
    cluster.up(4, 1)
    cluster.up(5, 1)


def operator_in_one_part(cluster: Cluster) -> None:
    """An operator lowers what is expected where the majority is not."""
    cluster.split({3: 1})
    assert cluster.nodes[3].set_expected(1, cluster.now) == ""
    cluster.deliver()


def operator_gives_votes(cluster: Cluster) -> None:
    """An operator gives the node of the smaller part more votes."""
    cluster.split({3: 1})
    assert cluster.nodes[3].set_votes(3, 3, cluster.now) == ""
    cluster.deliver()


TWICE: dict[str, tuple[Options, Callable[[Cluster], None]]] = {
    "two_node without fencing": (Options(nodes=even(2), two_node=True), two_halves),
    "two_node without wait_for_all": (Options(nodes=even(2), two_node=True, wait_for_all=False), both_restart),
    "tie-breaker lowest": (Options(nodes=even(4), auto_tie_breaker=True), one_leaves_and_finds_another),
    "tie-breaker of an odd number": (
        Options(nodes=even(5), auto_tie_breaker=True, wait_for_all=True), lost_one_by_one),
    "last_man_standing": (
        Options(nodes=even(5), last_man_standing=True, wait_for_all=True), shrunk_member_joins_the_rest),
    "last_man_standing without wait_for_all": (Options(nodes=even(5), last_man_standing=True), restarted_majority),
    "an operator's number": (Options(nodes=even(3)), operator_in_one_part),
    "an operator's votes": (Options(nodes=even(3)), operator_gives_votes),
}


@pytest.mark.parametrize(("options", "run"), TWICE.values(), ids=TWICE)
def test_corosync_lets_two_parts_be_quorate(options: Options, run: Callable[[Cluster], None]) -> None:
    """None of these may elect by itself: what uses quorum for a log needs more."""
    cluster = Cluster(options)
    run(cluster)
    assert len(quorate_parts(cluster)) == 2


def test_wait_for_all_keeps_a_restarted_pair_and_a_restarted_majority_apart() -> None:
    pair = Cluster(Options(nodes=even(2), two_node=True))
    both_restart(pair)
    assert quorate_parts(pair) == set()
    five = Cluster(replace(TWICE["last_man_standing"][0]))
    restarted_majority(five)
    assert quorate_parts(five) == {0}
