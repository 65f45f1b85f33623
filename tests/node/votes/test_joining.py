"""What a node takes over from another whose words arrive: the rules of joining, one by one."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster.votes.information import Flag, NodeInformation, Ring
from qluster.votes.options import DeviceOptions, Options
from qluster.votes.votequorum import Votequorum
from votes.model import Cluster, even

RING = Ring(1, 5)
FIVE = Options(nodes=even(5))


def meets(options: Options, flags: Flag, *, expected: int, device_votes: int = 0, tracked: int = 0) -> Votequorum:
    """Node 1 alone, without quorum, in one ring with node 2 that says this of itself."""
    vq = Votequorum(options, 1, 0.0, tracked=tracked)
    vq.membership(RING, {1, 2}, 0.0)
    assert vq.heard(NodeInformation(RING, 2, 1, expected, int(flags), device_votes), 0.0) == ""
    assert vq.settled
    return vq


@pytest.mark.parametrize(("options", "flags", "expected", "theirs", "highest"), [
    (FIVE, Flag(0), 9, 5, 5),
    (FIVE, Flag.QUORATE, 9, 9, 9),
    (FIVE, Flag.QUORATE, 2, 2, 2),
    (Options(nodes=even(5), expected_votes_tracking=True), Flag(0), 9, 9, 9),
], ids=["not quorate", "quorate, expects more", "quorate, expects less", "not quorate, tracking"])
def test_expected_votes_of_another(
    options: Options, flags: Flag, expected: int, theirs: int, highest: int
) -> None:
    view = meets(options, flags, expected=expected).view()
    assert (view.nodes[1].expected, view.highest_expected) == (theirs, highest)


def test_quorum_falls_to_that_of_a_quorate_member() -> None:
    vq = meets(FIVE, Flag.QUORATE, expected=2)
    assert (vq.view().quorum, vq.view().expected, vq.quorate) == (2, 2, True)


def test_quorum_does_not_fall_for_a_member_that_has_none() -> None:
    vq = meets(FIVE, Flag(0), expected=2)
    assert (vq.view().quorum, vq.view().expected, vq.quorate) == (3, 5, False)


@pytest.mark.parametrize(("flags", "expected", "quorate"), [
    (Flag.QUORATE, 3, True),
    (Flag.QUORATE | Flag.WAITS_FOR_ALL, 3, False),
    (Flag.WAITS_FOR_ALL, 3, False),
    (Flag(0), 3, False),
])
def test_the_wait_for_all_ends_for_who_hears_one_that_need_not_wait(flags: Flag, expected: int, quorate: bool) -> None:
    vq = meets(Options(nodes=even(3), wait_for_all=True), flags, expected=expected)
    assert vq.quorate is quorate


@pytest.mark.parametrize(("flags", "theirs", "votes"), [
    (Flag(0), 1, 3), (Flag(0), 5, 5), (Flag.QUORATE, 5, 5), (Flag.QUORATE | Flag.FIRST, 1, 1),
], ids=["fewer", "more", "more, quorate", "fewer, quorate"])
def test_votes_of_the_device(flags: Flag, theirs: int, votes: int) -> None:
    options = Options(nodes=even(5), device=DeviceOptions(votes=3), expected_votes=8)
    assert meets(options, flags, expected=8, device_votes=theirs).view().device_votes == votes


def test_a_node_is_first_until_it_meets_another() -> None:
    vq = Votequorum(FIVE, 1, 0.0)
    vq.membership(Ring(1, 1), {1}, 0.0)
    assert vq.view().nodes[0].flags & Flag.FIRST
    vq.membership(RING, {1, 2}, 0.0)
    vq.membership(Ring(1, 9), {1}, 0.0)
    assert not vq.view().nodes[0].flags & Flag.FIRST


def test_no_window_opens_where_too_few_are_left() -> None:
    """Else one that returns within it would find a cluster of three."""
    cluster = Cluster(Options(nodes=even(5), last_man_standing=True))
    cluster.split({3: 1, 4: 1, 5: 2})
    cluster.wait(5)
    cluster.split({3: 0})
    cluster.wait(11)
    assert cluster.figures(1) == (5, 3, 3, True)


def test_a_clean_stop_does_not_go_below_what_an_operator_set() -> None:
    cluster = Cluster(Options(nodes=even(3), allow_downscale=True))
    for node in (4, 5):
        cluster.up(node)
    assert cluster.nodes[1].set_expected(5, cluster.now) == ""
    cluster.deliver()
    cluster.down(5, clean=True)
    assert cluster.figures(1) == (5, 4, 3, True)
