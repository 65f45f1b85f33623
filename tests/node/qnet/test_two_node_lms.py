"""Two nodes: together both, apart one of them."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster.qnet.lms import Answer
from qluster.qnet.names import Heuristics, Vote
from qluster.qnet.tlv import TieBreaker
from qluster.qnet.two_node_lms import asked, configured_rightly, decide
from qluster.qnet.view import View
from qnet.shorthand import HIGHEST, LOWEST, naming, ring

ACK, NACK, NEWCOMER = Answer(Vote.ACK), Answer(Vote.NACK), Answer(Vote.NACK, remembered=False)
UNDEFINED, PASS, FAIL = Heuristics.UNDEFINED, Heuristics.PASS, Heuristics.FAIL


def client(
    node: int, at: str = "1.8", last: Vote | None = Vote.ACK, heuristics: Heuristics = Heuristics.UNDEFINED
) -> View:
    return View(node, ring(at), heuristics=heuristics, last=last)


def alone(
    me: View, *others: View, at: str = "1.c", heuristics: Heuristics = UNDEFINED, tie_breaker: TieBreaker = LOWEST
) -> Answer:
    """The client says that it is alone on this ring."""
    views = sorted([me, *others], key=lambda view: view.node_id)
    return decide(me, ring(at), frozenset({me.node_id}), heuristics, views, tie_breaker)


@pytest.mark.parametrize(("nodes", "right"), [({1, 2}, True), ({1}, False), ({1, 2, 3}, False), (set(), False)])
def test_it_is_for_two_nodes(nodes: set[int], right: bool) -> None:
    assert configured_rightly(frozenset(nodes)) is right


def test_together_both_go_on() -> None:
    one, two = client(1, last=None), client(2, last=None)
    for me in (one, two):
        assert decide(me, ring("1.8"), frozenset({1, 2}), UNDEFINED, [one, two], LOWEST) == ACK


def test_last_one_goes_on() -> None:
    assert alone(client(2)) == ACK


def test_newcomer_takes_the_vote_from_nobody_even_if_it_says_that_both_are_there() -> None:
    new, old = client(1, "1.c", last=None), client(2, "2.8")
    assert alone(new, old) == NEWCOMER
    assert decide(new, ring("1.c"), frozenset({1, 2}), UNDEFINED, [new, old], LOWEST) == NEWCOMER


@pytest.mark.parametrize("last", [None, Vote.NACK])
def test_newcomer_is_like_all_where_nobody_else_has_the_vote(last: Vote | None) -> None:
    assert alone(client(1, last=None), client(2, "2.c", last=last)) == ACK


def test_newcomer_on_the_ring_of_who_has_the_vote_is_welcome() -> None:
    assert alone(client(1, last=None), client(2, "1.c"), at="1.c") == ACK


ORDER = [FAIL, UNDEFINED, PASS]


@pytest.mark.parametrize("mine", ORDER)
@pytest.mark.parametrize("theirs", ORDER)
def test_better_checks_win_before_the_tie_breaker(mine: Heuristics, theirs: Heuristics) -> None:
    better = ORDER.index(mine) - ORDER.index(theirs)
    expected = {1: ACK, -1: NACK}.get((better > 0) - (better < 0))
    for node, if_equal in ((1, ACK), (2, NACK)):
        answer = alone(client(node, heuristics=FAIL), client(3 - node, "2.c", heuristics=theirs), heuristics=mine)
        assert answer == (expected or if_equal)


@pytest.mark.parametrize(
    ("tie_breaker", "winner"), [(LOWEST, 1), (HIGHEST, 2), (naming(1), 1), (naming(2), 2), (naming(9), None)]
)
def test_tie_is_decided(tie_breaker: TieBreaker, winner: int | None) -> None:
    for node in (1, 2):
        answer = alone(client(node), client(3 - node, "2.c"), tie_breaker=tie_breaker)
        assert answer == (ACK if node == winner else NACK)


@pytest.mark.parametrize(
    ("last", "vote"), [(None, Vote.ASK_LATER), (Vote.ACK, Vote.ACK), (Vote.NACK, Vote.NACK)]
)
def test_who_asks_without_news_is_told_the_same_again(last: Vote | None, vote: Vote) -> None:
    assert asked(client(1, last=last)) == vote
