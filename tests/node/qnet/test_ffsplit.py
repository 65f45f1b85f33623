"""Which half gets the vote, and when it is told."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as some
from msgspec.structs import replace
from qluster.qnet.ffsplit import Poll, announce, select, stable, together
from qluster.qnet.names import Heuristics, TieBreakerMode, Vote
from qluster.qnet.tlv import RingId, TieBreaker
from qluster.qnet.view import View
from qnet.shorthand import HIGHEST, LOWEST, naming, ring

PASS, FAIL, NONE = Heuristics.PASS, Heuristics.FAIL, Heuristics.UNDEFINED


def parts(
    of: int, *partitions: str, kap: bool = False, heuristics: str = "", gone: Sequence[int] = ()
) -> list[View]:
    """Clients of ``of`` configured nodes; each partition is written as its nodes: "12" and "34".

    ``heuristics``: one letter a node, P F or a dot. ``gone``: not connected, though its partition lists it.
    """
    views = []
    for partition in partitions:
        members = frozenset(map(int, partition))
        for node in sorted(members - set(gone)):
            letter = heuristics[node - 1 : node]
            views.append(
                View(
                    node_id=node,
                    ring=RingId(min(members), 8),
                    configured=frozenset(range(1, of + 1)),
                    members=members,
                    heuristics={"P": PASS, "F": FAIL}.get(letter, NONE),
                    kap=kap,
                )
            )
    return sorted(views, key=lambda view: view.node_id)


def chosen(views: list[View], tie_breaker: TieBreaker = LOWEST, before: str = "") -> str | None:
    assert stable(views)
    members = select(views, tie_breaker, frozenset(map(int, before)))
    return None if members is None else "".join(str(node) for node in sorted(members))


@pytest.mark.parametrize(
    ("views", "winner"),
    [
        pytest.param(parts(3, "12", "3"), "12", id="odd, majority wins"),
        pytest.param(parts(3, "1", "23"), "23", id="odd, majority wins against the tie-breaker"),
        pytest.param(parts(3, "1", "2", "3"), None, id="odd, no majority"),
        pytest.param(parts(3, "1"), None, id="odd, one alone"),
        pytest.param(parts(1, "1"), "1", id="one node is a majority of one"),
        pytest.param(parts(5, "123", "45"), "123", id="five, 3 to 2"),
        pytest.param(parts(5, "12", "345"), "345", id="five, 2 to 3"),
        pytest.param(parts(5, "12", "34", "5"), None, id="five, 2 to 2 to 1"),
        pytest.param(parts(4, "123", "4"), "123", id="even, majority wins"),
        pytest.param(parts(4, "1", "234"), "234", id="even, majority wins against the tie-breaker"),
        pytest.param(parts(4, "1", "234", heuristics="PFFF"), "234", id="even, majority wins against all checks"),
        pytest.param(parts(4, "1", "2", "3", "4"), None, id="1:1:1:1"),
        pytest.param(parts(4, "12", "3", "4"), "12", id="half and two quarters"),
        pytest.param(parts(4, "3", "4", "12"), "12", id="half and two quarters, however they are told"),
        pytest.param(parts(4, "1", "2", "34"), "34", id="two quarters and half"),
        pytest.param(parts(4, "12", "34"), "12", id="halves, lowest"),
        pytest.param(parts(2, "1", "2"), "1", id="two nodes, lowest"),
        pytest.param(parts(2, "1"), "1", id="two nodes, one alone: no rival, no tie"),
        pytest.param(parts(2, "2"), "2", id="two nodes, the other alone"),
        pytest.param(parts(2, "12"), "12", id="two nodes together"),
        pytest.param(parts(4, "12", "34", heuristics="..P."), "34", id="halves, one check more passed"),
        pytest.param(parts(4, "12", "34", heuristics="F..."), "34", id="halves, one check more failed"),
        pytest.param(parts(4, "12", "34", heuristics="PPPP"), "12", id="halves, all pass"),
        pytest.param(parts(4, "12", "34", heuristics="FFFF"), "12", id="halves, all fail"),
        pytest.param(parts(4, "12", "34", heuristics="PF.."), "12", id="halves, pass and fail add up to nothing"),
        pytest.param(parts(4, "12", "34", gone=[1]), "34", id="halves, more are connected"),
        pytest.param(parts(4, "12", "34", gone=[1], heuristics=".P.."), "34", id="score equal, more connected"),
        pytest.param(parts(4, "12", "34", gone=[3], heuristics="FF.."), "34", id="score decides before the number"),
        pytest.param(parts(8, "1234", "5678", gone=[2, 3, 4], heuristics="P...F..."), "5678", id="PDDD against FUUU"),
        pytest.param(parts(2, "1", "2", heuristics="FF"), "1", id="score 0 is still better than nobody"),
    ],
)
def test_partition_is_selected(views: list[View], winner: str | None) -> None:
    assert chosen(views) == winner


@pytest.mark.parametrize(
    ("tie_breaker", "winner"),
    [
        pytest.param(LOWEST, "13", id="lowest"),
        pytest.param(HIGHEST, "24", id="highest"),
        pytest.param(naming(1), "13", id="node 1"),
        pytest.param(naming(2), "24", id="node 2"),
        pytest.param(naming(3), "13", id="node 3"),
        pytest.param(naming(9), "13", id="a node in neither half: that with the lowest connected node stays"),
    ],
)
def test_equal_halves_are_decided_by_the_tie_breaker(tie_breaker: TieBreaker, winner: str) -> None:
    assert chosen(parts(4, "13", "24"), tie_breaker) == winner


def test_lowest_and_highest_are_looked_for_in_the_configuration_not_among_the_connected() -> None:
    assert chosen(parts(4, "12", "34", gone=[1, 3]), LOWEST) == "12"
    assert chosen(parts(4, "12", "34", gone=[2, 4]), HIGHEST) == "34"


def test_half_with_the_lowest_connected_node_is_not_that_with_the_lowest_node() -> None:
    assert chosen(parts(4, "14", "23", gone=[1, 3]), naming(9)) == "23"


@pytest.mark.parametrize(
    ("kap", "before", "winner"),
    [
        pytest.param(True, "34", "34", id="the active half stays against the tie-breaker"),
        pytest.param(True, "4", "34", id="one node of the half was active"),
        pytest.param(True, "23", "12", id="one of each was: tie-breaker"),
        pytest.param(True, "12", "12", id="the active half has the tie-breaker as well"),
        pytest.param(True, "1234", "12", id="both were active: tie-breaker"),
        pytest.param(True, "", "12", id="none was: tie-breaker"),
        pytest.param(False, "34", "12", id="not asked for"),
    ],
)
def test_active_partition_is_kept_in_a_tie(kap: bool, before: str, winner: str) -> None:
    assert chosen(parts(4, "12", "34", kap=kap), LOWEST, before) == winner


def test_active_partition_is_kept_only_if_all_ask_for_it() -> None:
    views = parts(2, "1", "2", kap=True)
    assert chosen(views, LOWEST, "2") == "2"
    views[0] = View(1, views[0].ring, views[0].configured, views[0].members, kap=False)
    assert chosen(views, LOWEST, "2") == "1"


def test_score_and_connected_nodes_come_before_the_active_partition() -> None:
    assert chosen(parts(4, "12", "34", kap=True, heuristics="P..."), LOWEST, "34") == "12"
    assert chosen(parts(4, "12", "34", kap=True, gone=[4]), LOWEST, "34") == "12"


A, B = ring("1.8"), ring("2.8")


def view(node: int, at: RingId, members: str, configured: str = "12") -> View:
    return View(node, at, frozenset(map(int, configured)), frozenset(map(int, members)))


@pytest.mark.parametrize(
    ("views", "expected"),
    [
        pytest.param([view(1, A, "12"), view(2, A, "12")], True, id="together"),
        pytest.param([view(1, A, "1"), view(2, B, "2")], True, id="apart"),
        pytest.param([view(1, A, "1"), view(2, A, "2")], True, id="apart on one ring id: nobody sees the other"),
        pytest.param([view(1, A, "12"), view(2, B, "12")], False, id="rings differ"),
        pytest.param([view(1, A, "12"), view(2, A, "2")], False, id="members differ"),
        pytest.param([view(1, A, "1"), view(2, B, "12")], False, id="one does not know yet that the other is gone"),
        pytest.param([view(1, A, "12")], True, id="the other is not connected"),
        pytest.param([view(1, A, "12", "123"), view(2, A, "12")], False, id="configurations differ, first has more"),
        pytest.param([view(1, A, "12"), view(2, A, "12", "123")], False, id="configurations differ, second has more"),
        pytest.param([view(1, A, "1"), view(2, B, "", "")], False, id="a configuration is still to come"),
        pytest.param([view(2, B, "", "")], False, id="the only configuration is still to come"),
        pytest.param([view(1, A, "1"), view(2, B, "")], True, id="members are to come, and nobody sees that node"),
        pytest.param([view(1, A, "12"), view(2, A, "")], False, id="members are to come of a node that is seen"),
    ],
)
def test_nothing_is_decided_while_clients_disagree(views: list[View], expected: bool) -> None:
    assert stable(views) is expected
    assert stable(views[::-1]) is expected


def plainly_stable(views: Sequence[View]) -> bool:
    """The rule as it is written down: node by node."""
    for one in views:
        for other in views:
            if one.configured != other.configured or not one.configured:
                return False
            if other.node_id in one.members and (one.ring != other.ring or not one.members <= other.members):
                return False
    return True


NODES = some.integers(1, 5)


@some.composite
def clusters(draw: some.DrawFn) -> list[View]:
    ids = draw(some.sets(NODES, min_size=1))
    configured = draw(some.sampled_from([frozenset(range(1, 6)), frozenset(range(1, 5))]))
    views = []
    for node in sorted(ids):
        seen = draw(some.sets(NODES)) | {node}
        members = draw(some.sampled_from([frozenset(seen), frozenset(), frozenset({1, 2, node}), frozenset({3, node})]))
        views.append(
            View(
                node_id=node,
                ring=RingId(draw(some.integers(1, 2)), 8),
                configured=configured if draw(some.integers(0, 9)) else frozenset({node}),
                members=members,
                heuristics=draw(some.sampled_from(Heuristics)),
                kap=draw(some.booleans()),
            )
        )
    return views


@given(clusters())
def test_agreement_is_what_the_rule_says_node_by_node(views: list[View]) -> None:
    assert stable(views) is plainly_stable(views)


@some.composite
def nearly_together(draw: some.DrawFn) -> list[View]:
    """Clients who say the same, but for one of them perhaps."""
    members, configured = draw(some.frozensets(NODES)), draw(some.frozensets(NODES))
    views = [View(node, A, configured, members) for node in sorted(draw(some.sets(NODES, min_size=1)))]
    odd = draw(some.integers(0, len(views) - 1))
    changes: dict[str, Any] = draw(
        some.sampled_from([{}, {}, {"ring": B}, {"members": members | {5}}, {"configured": configured | {5}}])
    )
    views[odd] = replace(views[odd], **changes)
    return views


@given(clusters() | nearly_together(), some.sampled_from([LOWEST, naming(3)]), some.frozensets(NODES))
def test_who_is_together_is_told_what_the_long_way_tells(
    views: list[View], tie_breaker: TieBreaker, before: frozenset[int]
) -> None:
    nodes = [view.node_id for view in views]
    members = together(views)
    if members is not None:
        assert stable(views) and select(views, tie_breaker, before) == members
        assert announce(nodes, members) == (Poll(), tuple((node, Vote.ACK) for node in nodes))
    else:
        said = {(view.ring, view.members, view.configured) for view in views}
        agreed = len(said) == 1 and 2 * len(views[0].members) > len(views[0].configured) > 0
        assert not (agreed and views[0].members.issuperset(nodes))


@given(clusters(), some.sampled_from([LOWEST, HIGHEST, naming(1), naming(3)]), some.frozensets(NODES))
def test_selected_partition_has_at_least_half_and_its_clients_agree(
    views: list[View], tie_breaker: TieBreaker, before: frozenset[int]
) -> None:
    assume(stable(views))
    members = select(views, tie_breaker, before)
    if members is None:
        return
    assert 2 * len(members) >= len(views[0].configured)
    inside = [one for one in views if one.node_id in members]
    assert inside and all(one.members == members and one.ring == inside[0].ring for one in inside)


def test_nobody_is_acknowledged_before_everybody_outside_has_confirmed() -> None:
    poll, now = announce([1, 2, 3, 4], frozenset({1, 2}))
    assert now == ((3, Vote.NACK), (4, Vote.NACK))
    poll, then = poll.confirm(4)
    assert then == ()
    poll, then = poll.confirm(4)
    assert then == ()
    poll, then = poll.confirm(1)
    assert then == (), "who is not refused confirms nothing"
    poll, then = poll.confirm(3)
    assert then == (1, 2)
    assert poll.confirm(3) == (Poll(), ()), "and only once"


def test_without_anybody_outside_all_are_acknowledged_at_once() -> None:
    assert announce([1, 2], frozenset({1, 2, 3})) == (Poll(), ((1, Vote.ACK), (2, Vote.ACK)))


def test_without_a_partition_all_are_refused_and_nobody_acknowledged_later() -> None:
    poll, now = announce([1, 2], None)
    assert now == ((1, Vote.NACK), (2, Vote.NACK))
    for node in (1, 2):
        poll, then = poll.confirm(node)
        assert then == ()


def test_tie_breaker_modes_are_all_tried() -> None:
    assert {one.mode for one in (LOWEST, HIGHEST, naming(1))} == set(TieBreakerMode)
