"""Who goes on when partitions are decided one client at a time."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster.qnet.lms import Answer, decide
from qluster.qnet.names import Heuristics, Vote
from qluster.qnet.tlv import TieBreaker
from qluster.qnet.view import View
from qnet.shorthand import HIGHEST, LOWEST, naming, ring

ACK, NACK, WAIT = Answer(Vote.ACK), Answer(Vote.NACK), Answer(Vote.WAIT_FOR_REPLY, again=True)
NEWCOMER = Answer(Vote.NACK, remembered=False)
PASS, FAIL = Heuristics.PASS, Heuristics.FAIL


def client(
    node: int,
    at: str,
    members: tuple[int, ...] = (),
    last: Vote | None = Vote.ACK,
    heuristics: Heuristics = Heuristics.UNDEFINED,
) -> View:
    return View(node, ring(at), members=frozenset(members), heuristics=heuristics, last=last)


def asked(node: int, views: list[View], tie_breaker: TieBreaker = LOWEST, at: str | None = None) -> Answer:
    me = next(view for view in views if view.node_id == node)
    return decide(me, ring(at) if at else me.ring, views, tie_breaker)


def split(*rings: tuple[str, tuple[int, ...]], last: Vote | None = Vote.ACK, **checks: Heuristics) -> list[View]:
    """Partitions whose clients know of each other; ``n3=FAIL`` says how node 3's checks went."""
    return [
        client(node, at, members, last, checks.get(f"n{node}", Heuristics.UNDEFINED))
        for at, members in rings
        for node in members
    ]


APART = (("1.c", (1, 2)), ("3.c", (3,)))
HALVES = (("1.c", (1, 2)), ("3.c", (3, 4)))


@pytest.mark.parametrize(
    ("me", "at", "others", "expected"),
    [
        pytest.param(client(1, "1.8", (1, 2)), "1.8", [client(2, "1.8", (1, 2))], ACK, id="same ring"),
        pytest.param(client(1, "1.8", (1, 2)), "1.8", [client(2, "2.c", (2,))], WAIT, id="I see it on another ring"),
        pytest.param(client(1, "1.c", (1,)), "1.c", [client(2, "1.8", (1, 2))], WAIT, id="it sees me on another ring"),
        pytest.param(client(1, "1.8", (1, 2)), "1.c", [client(2, "1.8", (1, 2))], WAIT, id="my new ring is not its"),
        pytest.param(client(1, "1.c", (1,)), "1.c", [client(2, "2.c", (2,))], ACK, id="neither sees the other"),
        pytest.param(client(1, "1.8", (1, 2)), "1.c", [], ACK, id="nobody else is connected"),
        pytest.param(client(1, "1.0"), "1.0", [], WAIT, id="nobody is on a ring yet"),
        pytest.param(client(1, "1.0"), "1.0", [client(2, "1.8")], ACK, id="a ring that is none is not counted"),
    ],
)
def test_clients_wait_until_rings_agree(me: View, at: str, others: list[View], expected: Answer) -> None:
    assert decide(me, ring(at), [me, *others], LOWEST) == expected


@pytest.mark.parametrize(
    ("views", "acknowledged"),
    [
        pytest.param(split(*APART), {1, 2}, id="the larger one"),
        pytest.param(split(("1.c", (1,)), ("2.c", (2, 3))), {2, 3}, id="the larger one against the tie-breaker"),
        pytest.param(split(*APART, n3=PASS), {1, 2}, id="score 2 to 2: the larger one"),
        pytest.param(split(*APART, n1=FAIL, n2=FAIL), {3}, id="score 0 to 1"),
        pytest.param(split(*APART, n1=FAIL), {1, 2}, id="score 1 to 1: the larger one"),
        pytest.param(split(*APART, n1=FAIL, n3=PASS), {3}, id="score 1 to 2"),
        pytest.param(split(*HALVES), {1, 2}, id="halves: lowest"),
        pytest.param(split(*HALVES, n4=PASS), {3, 4}, id="halves: score"),
        pytest.param(split(*HALVES, n2=FAIL), {3, 4}, id="halves: somebody failed"),
        pytest.param(split(("1.c", (1,)), ("2.c", (2,)), ("3.c", (3,))), {1}, id="1:1:1"),
        pytest.param(split(("4.c", (4,)), ("2.c", (2, 5)), ("3.c", (3, 6))), {2, 5}, id="2:2:1"),
    ],
)
def test_best_partition_goes_on(views: list[View], acknowledged: set[int]) -> None:
    assert {view.node_id for view in views if asked(view.node_id, views) == ACK} == acknowledged
    assert all(asked(view.node_id, views) in (ACK, NACK) for view in views)


@pytest.mark.parametrize(
    ("tie_breaker", "acknowledged"),
    [
        pytest.param(LOWEST, {1, 4}, id="lowest"),
        pytest.param(HIGHEST, {2, 5}, id="highest"),
        # The released server acknowledges the nominated node alone.
        pytest.param(naming(4), {1, 4}, id="a node, and whoever is with it"),
        pytest.param(naming(2), {2, 5}, id="the other half's node"),
        pytest.param(naming(9), set(), id="a node that is not connected"),
    ],
)
def test_tie_is_decided_among_the_connected(tie_breaker: TieBreaker, acknowledged: set[int]) -> None:
    views = split(("1.c", (1, 4)), ("2.c", (2, 5)))
    assert {view.node_id for view in views if asked(view.node_id, views, tie_breaker) == ACK} == acknowledged


def test_lowest_node_may_have_a_number_made_of_an_address() -> None:
    """The released server looks for a node below 2^31 - 1, finds none and refuses everybody."""
    views = split(("c0a80101.c", (0xC0A80101,)), ("c0a80102.c", (0xC0A80102,)))
    assert [asked(view.node_id, views) for view in views] == [ACK, NACK]


def test_nominated_node_is_where_it_says_it_is_now() -> None:
    """Its partition is still counted by the ring that it left."""
    views = [client(1, "1.8", (1,)), client(2, "2.c", (2,))]
    assert asked(1, views, at="1.10") == ACK
    assert asked(1, views, HIGHEST, at="1.10") == NACK
    assert asked(2, views, at="2.10") == NACK


def test_newcomer_takes_the_vote_from_nobody() -> None:
    views = [client(2, "2.c", (2,)), client(3, "3.10", (3, 4), last=None), client(4, "3.10", (3, 4), last=None)]
    assert [asked(node, views) for node in (3, 4)] == [NEWCOMER, NEWCOMER]


def test_newcomer_with_the_tie_breaker_does_not_take_the_vote_from_who_is_asked_again() -> None:
    """The released server refuses both then, until their rings merge."""
    views = [client(1, "1.10", (1,), last=None), client(2, "2.c", (2,))]
    assert asked(1, views) == NEWCOMER
    assert asked(2, views) == ACK


def test_who_has_the_vote_keeps_it_against_newcomers_also_on_a_new_ring() -> None:
    views = [client(1, "1.10", (1,), last=None), client(2, "2.c", (2,))]
    assert asked(2, views, at="2.14") == ACK
    assert asked(2, [client(1, "1.10", (1,), last=None), client(2, "2.c", (2,), last=Vote.NACK)]) == NACK


@pytest.mark.parametrize("last", [Vote.NACK, Vote.WAIT_FOR_REPLY])
def test_who_has_been_answered_is_no_newcomer(last: Vote) -> None:
    views = [client(1, "1.10", (1,), last=last), client(2, "2.c", (2,))]
    assert [asked(node, views) for node in (1, 2)] == [ACK, NACK]


def test_newcomers_among_themselves_are_decided_like_all() -> None:
    views = split(("1.c", (1,)), ("2.c", (2,)), last=None)
    assert [asked(node, views) for node in (1, 2)] == [ACK, NACK]


def test_larger_partition_of_newcomers_wins_over_one_that_is_asked_again() -> None:
    """Only the tie-breaker is kept from newcomers: a better partition of them takes over, as in the released server."""
    views = [client(2, "2.c", (2,)), client(3, "3.10", (3, 4), last=None), client(4, "3.10", (3, 4), last=None)]
    assert asked(2, views) == NACK
