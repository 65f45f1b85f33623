"""From a new leader to a new primary."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs
from qluster.cluster.commands import Guarantee, Reign
from qluster.cluster.messages import PositionReply
from qluster.cluster.reign import (
    DEAF_SECONDS_MAX,
    DEAF_SHARE,
    HAND_OVERS_MAX,
    OFFERS_PAUSE,
    Ask,
    Begin,
    HandOver,
    Succession,
    View,
    Wait,
)

SYSTEM = 77
LAST = Reign(4, 1, 8, 2, 500, SYSTEM)
VIEW = View(
    now=10.0, term=9, me=2, reign=LAST, own=None, intact=True, system_id=SYSTEM,
    asked=frozenset({1, 3}), patience=3.0, retry=0.5,
)


def reply(
    node: int, position: int, timeline: int = 2, fit: bool = True, term: int = 9, system: int = SYSTEM
) -> PositionReply:
    return PositionReply(1, node, term, system, timeline, position, fit, "" if fit else "is empty")


def served(answer: PositionReply, reign: int) -> PositionReply:
    return structs.replace(answer, served=reign)


def search(*replies: PositionReply) -> Succession:
    succession = Succession(9, 10.0)
    for answer in replies:
        succession.receive(answer)
    return succession


def test_leader_asks_before_it_counts() -> None:
    succession = search()
    assert succession.decide(VIEW) == Ask()
    assert isinstance(succession.decide(VIEW), Wait)
    assert succession.decide(replace(VIEW, now=10.5)) == Ask()


def test_leader_waits_for_every_living_node() -> None:
    decision = search(reply(1, 900)).decide(replace(VIEW, own=reply(2, 900), now=10.1))
    assert decision == Ask()


def test_best_position_here_begins_a_reign() -> None:
    decision = search(reply(1, 900), reply(3, 800)).decide(replace(VIEW, own=reply(2, 900)))
    assert decision == Begin(Reign(5, 2, 9, 2, 900, SYSTEM, branch=4))


def test_best_position_elsewhere_is_handed_the_leadership() -> None:
    assert search(reply(1, 901), reply(3, 800)).decide(replace(VIEW, own=reply(2, 900))) == HandOver(1)


def test_newer_timeline_wins_over_longer_wal() -> None:
    decision = search(reply(1, 9999, timeline=1), reply(3, 800)).decide(replace(VIEW, own=reply(2, 900)))
    assert isinstance(decision, Begin)
    assert decision.reign.lost_bytes == 0


def test_silent_node_is_not_waited_for_without_end() -> None:
    decision = search(reply(3, 800)).decide(replace(VIEW, own=reply(2, 900), now=13.0))
    assert isinstance(decision, Begin)


def test_node_that_is_heard_and_never_answered_is_waited_for_an_eighth_of_the_time() -> None:
    succession, view = search(reply(3, 800)), replace(VIEW, own=reply(2, 900), deaf=frozenset({1}))
    limit = 10.0 + VIEW.patience / DEAF_SHARE
    assert succession.decide(view) == Ask()
    assert succession.decide(replace(view, now=10.1)) == Wait("waiting for the position of node 1", limit)
    assert isinstance(succession.decide(replace(view, now=limit)), Begin)


def test_node_that_is_heard_and_never_answered_costs_half_a_second_where_silence_is_borne_for_long() -> None:
    succession, view = search(reply(3, 800)), replace(VIEW, own=reply(2, 900), deaf=frozenset({1}), patience=20.0)
    limit = 10.0 + DEAF_SECONDS_MAX
    assert succession.decide(view) == Ask()
    assert succession.decide(replace(view, now=10.1)) == Wait("waiting for the position of node 1", limit)
    assert isinstance(succession.decide(replace(view, now=limit)), Begin)


def test_deaf_node_shortens_nobody_elses_time() -> None:
    late = replace(VIEW, own=reply(2, 900), deaf=frozenset({1}), now=10.0 + VIEW.patience / DEAF_SHARE)
    assert search().decide(late) == Ask(), "node 3 answers, but not yet with its position"
    assert search(reply(1, 950)).decide(replace(late, deaf=frozenset())) == Ask()


def test_question_is_repeated_when_nobody_is_able_and_the_time_is_over() -> None:
    succession = search(reply(1, 1, fit=False), reply(3, 1, fit=False))
    late = replace(VIEW, now=20.0)
    assert succession.decide(late) == Ask()
    waiting = succession.decide(late)
    assert isinstance(waiting, Wait) and waiting.until == late.now + late.retry


def test_unfit_and_foreign_databases_do_not_take_over() -> None:
    succession = search(reply(1, 9999, fit=False), reply(3, 9999, system=5))
    decision = succession.decide(replace(VIEW, own=reply(2, 900)))
    assert isinstance(decision, Begin)
    assert decision.reign.node == 2


def test_loss_that_is_known_is_told() -> None:
    view = replace(VIEW, own=reply(2, 900), primary_seen=(2, 1000))
    decision = search(reply(1, 950, fit=False), reply(3, 800)).decide(view)
    assert isinstance(decision, Begin)
    assert decision.reign.lost_bytes == 100


def test_last_primary_goes_on_without_asking() -> None:
    decision = search().decide(replace(VIEW, me=1))
    assert decision == Begin(Reign(5, 1, 9, 2, 500, SYSTEM, bound_bytes=0, branch=4))


CHOSEN = replace(
    VIEW, me=2, reigns=(LAST, Reign(5, 2, 8, 2, 900, SYSTEM, branch=3)), reign=Reign(5, 2, 8, 2, 900, SYSTEM, branch=3),
    unserved=True, own=reply(2, 900), maximum_lag=10,
)
ONWARD = Begin(Reign(6, 2, 9, 2, 900, SYSTEM, bound_bytes=0, branch=4))


def test_primary_that_was_chosen_and_never_served_asks_again_who_has_more_by_now() -> None:
    assert search().decide(CHOSEN) == Ask()
    assert search(served(reply(1, 950), 4), reply(3, 800)).decide(CHOSEN) == HandOver(1)
    assert search(reply(1, 890), reply(3, 800)).decide(CHOSEN) == ONWARD
    waiting = search(served(reply(1, 950), 4), reply(3, 800)).decide(replace(CHOSEN, own=None))
    assert isinstance(waiting, Wait), "its own database lets go first"


@pytest.mark.parametrize(
    ("replies", "changes"),
    [
        pytest.param((), {"now": 13.0}, id="nobody answers"),
        pytest.param((served(reply(1, 950), 4),), {"own": None, "now": 13.0}, id="its own place is not known"),
        pytest.param((reply(1, 950, fit=False), reply(3, 800)), {}, id="who has more cannot take over"),
        pytest.param((), {"unserved": False}, id="it has served"),
        pytest.param((), {"mode": "quorum"}, id="transactions wait for replicas"),
        pytest.param((), {"guarantees": (Guarantee(4, 1, (2,), 1),)}, id="it was proven to have everything"),
    ],
)
def test_it_goes_on_as_it_was_chosen_where_that_is_no_use(
    replies: tuple[PositionReply, ...], changes: dict[str, object]
) -> None:
    decision = search(*replies).decide(replace(CHOSEN, **changes))  # type: ignore[arg-type]
    assert isinstance(decision, Begin) and (decision.reign.node, decision.reign.position) == (2, 900)
    assert decision.reign.bound_bytes == 0, "what it may have cost stands in the reign before"


def test_last_primary_whose_database_is_gone_asks() -> None:
    assert search().decide(replace(VIEW, me=1, intact=False, asked=frozenset({2, 3}))) == Ask()


def test_answers_to_an_older_question_do_not_count() -> None:
    assert search(reply(1, 1, term=8), reply(3, 1, term=8)).decide(VIEW) == Ask()


def test_nobody_able_says_who_and_why() -> None:
    decision = search(reply(1, 1, fit=False), reply(3, 1, system=5))
    decision.decide(VIEW)
    waiting = decision.decide(VIEW)
    assert isinstance(waiting, Wait)
    assert "node 1: is empty" in waiting.reason
    assert "node 3: belongs to another cluster" in waiting.reason


def test_node_that_cannot_take_over_is_not_offered_for_ever() -> None:
    succession = search(reply(1, 950), reply(3, 800))
    view = replace(VIEW, own=reply(2, 900))
    assert [succession.decide(view) for _ in range(HAND_OVERS_MAX)] == [HandOver(1)] * HAND_OVERS_MAX
    assert isinstance(succession.decide(view), Begin)


def test_node_that_could_not_take_over_is_offered_again_later_where_nobody_else_may() -> None:
    succession = search(reply(1, 950), reply(3, 800))
    view = replace(VIEW, own=reply(2, 900), maximum_lag=10)
    for _ in range(HAND_OVERS_MAX):
        assert succession.decide(view) == HandOver(1)
    assert not isinstance(succession.decide(view), HandOver | Begin)
    later = replace(view, now=view.now + OFFERS_PAUSE)
    decisions = [succession.decide(later) for _ in range(3)]
    assert HandOver(1) in decisions, decisions


@pytest.mark.parametrize("system_id", [None, SYSTEM])
def test_founder_reigns_when_its_database_is_founded(system_id: int | None) -> None:
    decision = search().decide(replace(VIEW, reign=None, system_id=system_id, intact=system_id is not None))
    if system_id is None:
        assert isinstance(decision, Wait)
    else:
        assert decision == Begin(Reign(1, 2, 9, 1, 0, SYSTEM, branch=1))


def line(*reigns: tuple[int, int, int]) -> tuple[Reign, ...]:
    """Reigns 1, 2, …, each as (node, timeline, position)."""
    return tuple(
        Reign(number, node, number, timeline, position, SYSTEM)
        for number, (node, timeline, position) in enumerate(reigns, 1)
    )


def choose(reigns: tuple[Reign, ...], own: PositionReply, *replies: PositionReply) -> object:
    view = replace(VIEW, reign=reigns[-1], reigns=reigns, own=own, now=20.0)
    return search(*replies).decide(view)


def test_former_primary_that_was_cut_off_does_not_win_with_a_branch_of_its_own() -> None:
    # Node 1 was promoted from timeline 1 and wrote alone; node 3 was promoted from timeline 1 as well.
    reigns = line((3, 1, 0), (1, 1, 500), (3, 1, 480))
    decision = choose(reigns, reply(2, 700), served(reply(1, 9000), 2))
    assert isinstance(decision, Begin)


def test_standby_of_the_first_line_takes_over_from_the_founder_when_it_has_as_much() -> None:
    # The founder was stopped by plan: its standby has all of it, on the timeline that both began with.
    reigns = line((1, 1, 0), (1, 1, 0))
    decision = choose(reigns, reply(2, 402, timeline=1), served(reply(1, 402, timeline=1), 1))
    assert decision == Begin(Reign(3, 2, 9, 1, 402, SYSTEM, branch=3))
    assert choose(reigns, reply(2, 402, timeline=1), served(reply(1, 403, timeline=1), 1)) == HandOver(1)


def test_reign_that_left_no_trace_does_not_overtake_the_one_before() -> None:
    # Node 3 began reign 2 without node 1 and died before it was promoted: what node 1 wrote is still the newest.
    reigns = line((1, 1, 0), (3, 1, 0))
    assert choose(reigns, reply(2, 0, timeline=1), served(reply(1, 23, timeline=1), 1)) == HandOver(1)


def test_primary_of_the_newest_reign_is_newer_than_standbys_that_never_followed_it() -> None:
    reigns = line((3, 1, 0), (1, 1, 500))
    assert choose(reigns, reply(2, 900, timeline=1), served(reply(1, 510), 2)) == HandOver(1)


def test_reign_that_only_goes_on_with_the_one_before_does_not_overtake_its_own_primary() -> None:
    # Node 1 served in reign 2; reign 3 was its own too and never served; node 2 followed reign 2 and is behind.
    reigns = line((1, 1, 0), (1, 1, 0), (1, 1, 0))
    assert choose(reigns, reply(2, 102), served(reply(1, 126), 2)) == HandOver(1)


def test_the_first_reign_of_a_recovered_database_begins_on_its_timeline() -> None:
    begun = Succession(VIEW.term, 0.0).decide(replace(VIEW, reign=None, intact=True, found_at=(3, 0x5000028)))
    assert isinstance(begun, Begin)
    assert (begun.reign.number, begun.reign.timeline, begun.reign.position) == (1, 3, 0x5000028)


def test_standby_of_a_reign_that_was_passed_over_has_nothing_of_the_later_one() -> None:
    # Nodes 3 and 1 were promoted from timeline 1, one after the other; node 2 had followed the first, far.
    first = structs.replace(line((1, 1, 0))[0], branch=1)
    passed_over = Reign(2, 3, 4, 1, 480, SYSTEM, branch=2)
    later = Reign(3, 1, 6, 1, 480, SYSTEM, branch=3)
    decision = choose((first, passed_over, later), reply(2, 9000, timeline=2), served(reply(1, 500, timeline=3), 3))
    assert decision == HandOver(1)


def test_numbers_of_timelines_do_not_run_away_while_one_node_reigns() -> None:
    reign = Reign(7, 1, 8, 3, 500, SYSTEM, branch=4)
    seen = [reign.branch]
    for _ in range(200):
        decision = search().decide(replace(VIEW, me=1, reign=reign))
        assert isinstance(decision, Begin)
        reign = structs.replace(decision.reign, term=VIEW.term - 1)
        seen.append(reign.branch)
    assert all(len(set(seen[place : place + 64])) == 64 for place in range(100)) and max(seen) <= 3 + 64


def test_every_reign_begins_a_timeline_that_no_other_has() -> None:
    before = Reign(7, 1, 8, 3, 500, SYSTEM, branch=9)
    decision = choose((before,), reply(2, 900, timeline=3), served(reply(3, 100, timeline=3), 0))
    assert isinstance(decision, Begin) and decision.reign.branch == 10, decision
    restored = choose((before,), reply(2, 900, timeline=40), served(reply(3, 100, timeline=40), 0))
    assert isinstance(restored, Begin) and restored.reign.branch == 41, restored


def test_priority_decides_among_equals_only() -> None:
    view = replace(VIEW, own=reply(2, 900), priorities={3: 5}, asked=frozenset({3}))
    assert search(reply(3, 900)).decide(view) == HandOver(3)
    assert isinstance(search(reply(3, 899)).decide(view), Begin)


def test_priority_does_not_undo_a_switchover() -> None:
    """The former primary stopped in order and answers: who leads now was chosen by hand."""
    view = replace(VIEW, own=reply(2, 900), priorities={1: 9, 3: 5})
    former = structs.replace(reply(1, 900), served=LAST.number)
    assert isinstance(search(former, reply(3, 900)).decide(view), Begin)


def test_a_reign_begins_waiting_only_for_those_who_may_be_waited_for() -> None:
    view = replace(
        VIEW, own=reply(2, 900), mode="quorum", databases=frozenset({1, 2, 3}), waitable=frozenset({2, 3})
    )
    decision = search(reply(1, 900), reply(3, 800)).decide(view)
    assert isinstance(decision, Begin) and (decision.reign.standbys, decision.reign.needed) == ((3,), 1)


def test_reigns_that_are_over_are_not_waited_for_by_those_who_have_a_later_one() -> None:
    """Two of five databases were lost at once, in the fourth reign within eight seconds."""
    row = (
        Reign(1, 1, 2, 1, 0, SYSTEM, branch=1), Reign(2, 5, 3, 1, 100, SYSTEM, branch=2),
        Reign(3, 3, 4, 2, 200, SYSTEM, branch=3), Reign(4, 1, 5, 3, 300, SYSTEM, branch=4),
    )  # fmt: skip
    guarantees = (
        Guarantee(2, 5, (1, 2, 3, 4), 2), Guarantee(3, 3, (1, 2, 4, 5), 2),
        Guarantee(4, 1, (2, 3, 4, 5), 2), Guarantee(4, 1, (2, 4, 5), 2),
    )  # fmt: skip
    view = replace(
        VIEW, me=5, reign=row[-1], reigns=row, guarantees=guarantees, mode="quorum",
        asked=frozenset({2, 4}), databases=frozenset({1, 2, 3, 4, 5}),
    )  # fmt: skip
    found = search(reply(2, 400, 4), reply(4, 400, 4)).decide(replace(view, own=reply(5, 400, 4)))
    assert isinstance(found, Begin)
    assert not found.reign.accepted and found.reign.lost_bytes == 0
    behind = search(reply(2, 290, 4), reply(4, 290, 4)).decide(replace(view, own=reply(5, 290, 4)))
    assert behind == Ask(), "they were about to follow it, and have nothing of it yet"
    again = replace(view, reigns=(*row[:2], replace_branch(row[2], 4), row[3]))
    assert search(reply(2, 400, 4), reply(4, 400, 4)).decide(replace(again, own=reply(5, 400, 4))) == Ask()


def replace_branch(reign: Reign, branch: int) -> Reign:
    return structs.replace(reign, branch=branch)
