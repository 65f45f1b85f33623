"""The first reign after a forced quorum, and what the log keeps of it: others may have reigned, and nobody knows."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from msgspec.structs import replace as with_fields
from qluster.cluster import commands
from qluster.cluster.commands import Forced, Reign
from qluster.cluster.messages import PositionReply
from qluster.cluster.reign import BRANCHES, LANE, REIGNS_SKIPPED, Ask, Begin, Succession, View
from qluster.cluster.state import FORCED_MAX, State, decode, encode
from qluster.events import Entry

SYSTEM = 77
LAST = Reign(7, 1, 8, 5, 500, SYSTEM, branch=5)
FORCED = Forced(2000, 1000, 1, 40, 8, 7, ((2, "10.0.0.2"),), (), (), 1.8e9)


def view(
    me: int, *reigns: Reign, forced: tuple[Forced, ...] = (FORCED,), own: PositionReply | None = None
) -> View:
    return View(
        now=20.0, term=9, me=me, reign=reigns[-1], own=own, intact=True, system_id=SYSTEM, asked=frozenset(),
        patience=3.0, retry=0.5, reigns=reigns, forced=forced,
    )  # fmt: skip


def answer(node: int, position: int, timeline: int, served: int = 0) -> PositionReply:
    return PositionReply(2000, node, 9, SYSTEM, timeline, position, True, "", served)


def test_primary_that_is_left_does_not_go_on_as_if_nobody_had_reigned_since() -> None:
    own = answer(1, 900, 5, served=7)
    assert isinstance(Succession(9, 10.0).decide(view(1, LAST, forced=())), Begin)
    assert isinstance(Succession(9, 10.0).decide(view(1, LAST)), Ask), "its last position first"
    begun = Succession(9, 10.0).decide(view(1, LAST, own=own))
    assert isinstance(begun, Begin)
    assert begun.reign.number == 7 + 1000 * REIGNS_SKIPPED and begun.reign.branch == 5 + BRANCHES + 1
    assert begun.reign.position == 900


def test_two_that_were_forced_from_one_founding_begin_reigns_and_timelines_of_different_numbers() -> None:
    """Else a rewind of one to the other sees nothing to do, and a standby of one goes on with the WAL of the other."""
    other = Forced(2003, 1000, 2, 40, 8, 7, ((1, "10.0.0.1"),), (), (), 1.8e9)
    found = [
        Succession(9, 10.0).decide(view(node, LAST, forced=forced, own=answer(node, 900, 5)))
        for node, forced in [(1, (FORCED,)), (2, (other,)), (2, (FORCED, with_fields(other, former=2000)))]
    ]
    first, second, twice = (one.reign for one in found if isinstance(one, Begin))
    assert first.number + 1000 < second.number == twice.number, "the later founding goes on, and has the higher numbers"
    assert first.branch + LANE == second.branch


def test_standby_of_another_side_has_nothing_of_the_line_here() -> None:
    reigns = LAST, Reign(1_000_007, 1, 9, 5, 900, SYSTEM, branch=70)
    succession = Succession(10, 10.0)
    succession.receive(with_fields(answer(4, 5000, 70 + LANE), term=10))
    succession.receive(with_fields(answer(3, 950, 70), term=10))
    decided = succession.decide(
        View(now=20.0, term=10, me=5, reign=reigns[-1], own=with_fields(answer(5, 10, 70), term=10), intact=True,
             system_id=SYSTEM, asked=frozenset(), patience=3.0, retry=0.5, reigns=reigns))
    assert decided.node == 3  # type: ignore[union-attr]


def test_what_served_in_a_reign_that_is_void_is_nothing_of_the_new_line() -> None:
    forced = Reign(7 + REIGNS_SKIPPED, 1, 9, 5, 900, SYSTEM, branch=70)
    succession = Succession(10, 10.0)
    succession.receive(with_fields(answer(4, 5000, 6, served=8), term=10))
    succession.receive(with_fields(answer(3, 950, 70), term=10))
    decided = succession.decide(
        View(now=20.0, term=10, me=5, reign=forced, own=with_fields(answer(5, 10, 70), term=10), intact=True,
             system_id=SYSTEM, asked=frozenset(), patience=3.0, retry=0.5, reigns=(LAST, forced)))
    assert decided.node == 3, "node 4 served in reign 8 of the founding that was given up"  # type: ignore[union-attr]


def test_row_of_reigns_breaks_where_a_quorum_was_forced() -> None:
    state = State(reigns=[with_fields(LAST, number=6), LAST])
    assert state.reigned_since == 6
    state.reigns.append(with_fields(LAST, number=7 + REIGNS_SKIPPED))
    assert state.reigned_since == 7 + REIGNS_SKIPPED, "its server goes through recovery and a timeline of its own"


def test_log_says_from_where_the_founding_came_until_a_reign_has_begun_in_it() -> None:
    state = State(reigns=[LAST])
    assert not state.forced_open and state.lineage == ()
    assert state.apply(Entry(1, 9, "command", commands.encode(FORCED))) is None
    assert state.forced_open and state.lineage == (1000,)
    following = with_fields(LAST, number=7 + REIGNS_SKIPPED, term=9)
    state.apply(Entry(2, 9, "command", commands.encode(following)))
    assert not state.forced_open and state.forced_since == () and state.lineage == (1000,)
    assert decode(encode(state)) == state
    state.apply(Entry(3, 9, "command", commands.encode(FORCED)))
    assert state.lineage == (1000,), "a founding begins once"
    for index in range(4, FORCED_MAX + 10):
        again = with_fields(FORCED, founding=2000 + index, former=1999 + index)
        state.apply(Entry(index, 9, "command", commands.encode(again)))
    assert len(state.forced) == FORCED_MAX
