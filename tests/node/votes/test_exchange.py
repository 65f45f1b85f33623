"""What nodes tell each other: in any order, lost, early, foreign or malformed."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from itertools import permutations

import msgspec
import pytest
from qluster.votes.information import Change, Kind, NodeInformation, Ring
from qluster.votes.options import DeviceOptions, Options
from qluster.votes.votequorum import RETELL, Votequorum
from votes.model import Cluster, even

RING = Ring(1, 5)
THREE = Options(nodes=even(3))


def three() -> dict[int, Votequorum]:
    nodes = {node: Votequorum(THREE, node, 0.0) for node in (1, 2, 3)}
    for vq in nodes.values():
        vq.membership(RING, {1, 2, 3}, 0.0)
    return nodes


def words(vq: Votequorum) -> list[NodeInformation]:
    return [message for message in vq.take().tell if isinstance(message, NodeInformation)]


@pytest.mark.parametrize("order", list(permutations((2, 3))))
def test_quorum_comes_when_all_members_were_heard(order: tuple[int, ...]) -> None:
    nodes = three()
    for node in order:
        assert not nodes[1].settled
        assert nodes[1].heard(words(nodes[node])[0], 0.0) == ""
    assert nodes[1].quorate
    assert nodes[1].settled


def test_what_was_lost_is_told_again() -> None:
    nodes = three()
    for node in nodes:
        nodes[node].take()
    assert nodes[1].wake_at == RETELL
    nodes[1].tick(RETELL / 2)
    assert words(nodes[1]) == []
    nodes[1].tick(RETELL)
    assert [message.asking for message in words(nodes[1])] == [True]


def test_a_node_that_knows_all_answers_one_that_does_not() -> None:
    nodes = three()
    first = {node: words(vq)[0] for node, vq in nodes.items()}
    for other in (2, 3):
        nodes[1].heard(first[other], 0.0)
    nodes[1].take()
    nodes[2].tick(RETELL)
    nodes[1].heard(words(nodes[2])[0], RETELL)
    answer = words(nodes[1])
    assert [(message.node, message.asking) for message in answer] == [(1, False)]
    nodes[2].heard(answer[0], RETELL)
    nodes[2].heard(first[3], RETELL)
    assert nodes[2].settled
    assert words(nodes[2]) == []


def test_what_comes_before_the_membership_waits_for_it() -> None:
    nodes = three()
    late = Votequorum(THREE, 1, 0.0)
    for other in (2, 3):
        assert late.heard(words(nodes[other])[0], 0.0) == ""
    late.membership(RING, {1, 2, 3}, 1.0)
    assert late.quorate


def test_no_flood_of_memberships_to_come_is_kept() -> None:
    vq = Votequorum(THREE, 1, 0.0)
    said = [vq.heard(NodeInformation(Ring(1, 9), node, 1, 3, 0), 0.0) for node in range(2, 68)]
    assert [bool(text) for text in said] == [False] * 64 + [True] * 2


@pytest.mark.parametrize(("message", "refusal"), [
    (NodeInformation(Ring(1, 4), 2, 1, 3, 0), "it is about ring 1.4, and the current one is 1.5"),
    (NodeInformation(RING, 1, 1, 3, 0), "node 1 is no other member of ring 1.5"),
    (NodeInformation(RING, 9, 1, 3, 0), "node 9 is no other member of ring 1.5"),
    (NodeInformation(RING, 0, 1, 3, 0), "node 0, not 1 to"),
    (NodeInformation(RING, 2, -1, 3, 0), "votes -1, not 0 to 1000"),
    (NodeInformation(RING, 2, 1001, 3, 0), "votes 1001"),
    (NodeInformation(RING, 2, 1, 2**40, 0), "expected votes"),
    (NodeInformation(RING, 2, 1, 3, -1), "flags -1"),
    (NodeInformation(RING, 2, 1, 3, 0, 2**40), "device votes"),
    (NodeInformation(RING, 2, 1, 3, 0, 0, "x" * 255), "longer than 254 bytes"),
    (NodeInformation(Ring(-1, 5), 2, 1, 3, 0), "ring -1.5"),
    (NodeInformation(Ring(1, 2**64), 2, 1, 3, 0), "one of 64 bits"),
    (Change(RING, Kind.VOTES, 2, 5000), "node-votes 5000 for node 2"),
    (Change(RING, Kind.EXPECTED, 0, 0), "expected-votes 0"),
    (Change(Ring(1, 4), Kind.EXPECTED, 0, 4), "it is about ring 1.4"),
    (Change(Ring(1, 6), Kind.EXPECTED, 0, 4), "it is about ring 1.6"),
])
def test_what_cannot_be_changes_nothing(message: NodeInformation | Change, refusal: str) -> None:
    vq = three()[1]
    before = vq.view()
    assert refusal in vq.heard(message, 0.0)
    assert vq.view() == before


def test_votes_of_a_node_that_is_not_known_change_nothing() -> None:
    vq = three()[1]
    assert vq.heard(Change(RING, Kind.VOTES, 9, 3), 0.0) == ""
    assert [one.node for one in vq.view().nodes] == [1]


def test_the_same_membership_twice_is_one() -> None:
    vq = three()[1]
    vq.take()
    vq.membership(RING, {1, 2, 3}, 1.0)
    assert vq.take().tell == ()


@pytest.mark.parametrize(("ring", "members", "words"), [
    (Ring(1, 4), {1, 2}, "ring 1.4 after 1.5"), (Ring(2, 5), {1, 2}, "ring 2.5 after 1.5"),
    (Ring(2, 6), {2, 3}, "no member of its own membership"),
])
def test_a_membership_that_cannot_be_ends_the_node(ring: Ring, members: set[int], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        three()[1].membership(ring, members, 0.0)


def test_a_device_that_was_waited_for_elsewhere_ends_the_wait_even_if_that_word_was_lost() -> None:
    options = Options(nodes=even(2), device=DeviceOptions(votes=1))
    cluster = Cluster(options)
    cluster.register()
    cluster.poll(1, True)
    cluster.poll(2, True)
    cluster.down(2)
    cluster.poll(1, True)
    cluster.up(2)
    assert not cluster.view(2).settled
    one, two = cluster.nodes[1], cluster.nodes[2]
    one.device(True, True, cluster.view(1).ring, cluster.now)
    assert [message.ready for message in words(one)] == [True], "and it is lost"
    assert one.settled
    cluster.wait(RETELL)
    assert two.settled
    assert two.quorate


@pytest.mark.parametrize("message", [
    NodeInformation(RING, 2, 1, 3, 113, 1, "Qdevice", False, True), Change(RING, Kind.VOTES, 2, 5),
])
def test_messages_keep_their_form_on_the_way(message: NodeInformation | Change) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=type(message)) == message


def test_a_highest_number_is_kept_before_it_is_told() -> None:
    vq = Votequorum(Options(expected_votes=2, expected_votes_tracking=True), 1, 0.0, tracked=4)
    assert (vq.view().expected, vq.take().track) == (4, None)
    vq.membership(RING, {1, 2}, 0.0)
    vq.heard(NodeInformation(RING, 2, 5, 4, 0), 0.0)
    assert vq.take().track == 6
    assert vq.take().track is None
