"""How guarantees begin and end in the log, and whom a leader lets reign under them."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec.structs import replace as replace_struct
from qluster.cluster import commands
from qluster.cluster.commands import Founded, Guarantee, Guaranteed, Reign, SettingsChanged
from qluster.cluster.messages import PositionReply
from qluster.cluster.reign import Ask, Begin, HandOver, Succession, View, Wait
from qluster.cluster.state import State, decode, encode
from qluster.events import Entry

SYSTEM = 77
FIRST = Reign(1, 1, 3, 1, 0, SYSTEM, 0, (), 0, branch=1)
BOTH = Guarantee(1, 1, (2, 3), 1)


def state(*bodies: commands.Body) -> State:
    """The state after these."""
    found = State()
    for index, body in enumerate(bodies, start=1):
        assert found.apply(Entry(index, 1, "command", commands.encode(body))) is None
    return found


def test_reign_begins_with_its_guarantee_beside_those_before() -> None:
    assert state(FIRST).guarantees == (Guarantee(1, 1, (), 0),)
    after = state(FIRST, Guaranteed(1, (BOTH,)), Reign(2, 2, 5, 1, 90, SYSTEM, 0, (3,), 1))
    assert after.guarantees == (BOTH, Guarantee(2, 2, (3,), 1))
    assert decode(encode(after)).guarantees == after.guarantees


def test_primary_that_reigns_again_keeps_its_guarantee() -> None:
    after = state(FIRST, Guaranteed(1, (BOTH,)), Reign(2, 1, 5, 1, 90, SYSTEM, 0, (2, 3), 1))
    assert after.guarantees == (BOTH,), "it may not have served in the new reign when it is lost"


def test_guarantees_of_an_earlier_reign_come_too_late() -> None:
    after = state(FIRST, Reign(2, 2, 5, 1, 90, SYSTEM, 0, (3,), 1), Guaranteed(1, (BOTH,)))
    assert after.guarantees == (Guarantee(1, 1, (), 0), Guarantee(2, 2, (3,), 1))


def test_switched_off_nothing_is_guaranteed_any_more() -> None:
    on = (Founded("main", {"cluster.synchronous": "quorum"}), FIRST, Guaranteed(1, (BOTH,)))
    assert state(*on, SettingsChanged({"cluster.remove-interval": "90s"})).guarantees == (BOTH,)
    assert state(*on, SettingsChanged({"cluster.synchronous": "all"})).guarantees == (BOTH,)
    assert state(*on, SettingsChanged({"cluster.synchronous": "off"})).guarantees == ()
    assert state(*on, Reign(2, 2, 5, 1, 90, SYSTEM)).guarantees == (), "a reign that waits for nobody"


def test_step_that_was_proposed_before_it_was_switched_off_covers_nothing_that_was_written_since() -> None:
    wider = Guaranteed(1, (BOTH, Guarantee(1, 1, (2,), 1)))
    on = (Founded("main", {"cluster.synchronous": "quorum"}), FIRST, Guaranteed(1, (BOTH,)))
    off, again = SettingsChanged({"cluster.synchronous": "off"}), SettingsChanged({"cluster.synchronous": "quorum"})
    assert state(*on, off, wider).guarantees == ()
    assert state(*on, off, again, wider).guarantees == (), "its server has waited for nobody in between"
    alone = (Guarantee(1, 1, (), 0),)
    assert state(*on, off, again, wider, Guaranteed(1, alone)).guarantees == alone


def test_state_of_an_older_version_guarantees_nothing() -> None:
    assert decode(b"\x81\xa7applied\x07").guarantees == ()
    old = commands.decode(commands.encode(Reign(1, 1, 3, 1, 0, SYSTEM))).body
    assert isinstance(old, Reign) and old.standbys is None


VIEW = View(
    now=10.0, term=9, me=2, reign=FIRST, own=None, intact=True, system_id=SYSTEM, asked=frozenset({3}), patience=3.0,
    retry=0.5, reigns=(FIRST,), guarantees=(BOTH,), mode="quorum", databases=frozenset({1, 2, 3}),
)  # fmt: skip


def reply(node: int, position: int, served: int = 0, fit: bool = True) -> PositionReply:
    return PositionReply(1, node, 9, SYSTEM, 1, position, fit, "" if fit else "is empty", served)


def search(*replies: PositionReply) -> Succession:
    succession = Succession(9, 10.0)
    for answer in replies:
        succession.receive(answer)
    return succession


def test_reign_begins_when_the_answers_prove_that_nothing_is_missing() -> None:
    decision = search(reply(3, 800)).decide(replace(VIEW, own=reply(2, 900)))
    assert decision == Begin(Reign(2, 2, 9, 1, 900, SYSTEM, 0, (1, 3), 1, bound_bytes=0, branch=2))


def test_who_must_confirm_is_never_nobody_or_a_node_that_never_served_would_have_to_come_back() -> None:
    alone = replace(VIEW, guarantees=(Guarantee(1, 1, (2, 3), 2),), own=reply(2, 900), now=1000.0, mode="all")
    decision = search().decide(alone)
    assert decision == Begin(Reign(2, 2, 9, 1, 900, SYSTEM, 0, (1, 3), 2, bound_bytes=0, branch=2))


def test_nobody_reigns_without_the_proof_however_long_it_takes() -> None:
    succession = search(reply(3, 800, fit=False))
    late = replace(VIEW, own=reply(2, 900), now=1000.0)
    assert succession.decide(late) == Ask()
    decision = succession.decide(late)
    assert isinstance(decision, Wait)
    assert decision.reason == (
        "nobody is known to have all that was acknowledged: only node 1 has all that it acknowledged in reign 1, "
        "or 2 of nodes 2, 3 together, of which 1 can take over"
    )
    succession.receive(reply(1, 950, served=1))
    assert succession.decide(late) is not None and not isinstance(succession.decide(late), Wait)


def test_node_whose_database_was_replaced_may_be_the_best_and_proves_nothing_until_somebody_has_caught_up() -> None:
    behind = replace_struct(reply(2, 900), owed=(1, 950))
    late = replace(VIEW, own=behind, now=1000.0)
    succession = search(reply(3, 800))
    assert succession.decide(late) == Ask()
    decision = succession.decide(late)
    assert isinstance(decision, Wait) and decision.reason.endswith(
        "or 2 of nodes 2, 3 together, of which 1 can take over "
        "(not counted: 2, copied anew since, and nobody has all that was confirmed before that)"
    )
    assert isinstance(search(reply(3, 800), reply(1, 980, served=1)).decide(late), HandOver), "the primary itself"
    proven = succession.choice(replace(late, own=replace_struct(behind, position=950)), FIRST)
    assert proven.best is not None and (proven.best.node, proven.against) == (2, "")
    proven = search(reply(3, 960)).choice(late, FIRST)
    assert proven.best is not None and (proven.best.node, proven.against) == (3, ""), "it has what node 2 had"
    free = search(reply(3, 800)).choice(replace(late, guarantees=()), FIRST)
    assert free.best is not None and (free.best.node, free.against) == (2, ""), "nothing is guaranteed"


def test_former_primary_that_answers_is_proof_enough() -> None:
    view = replace(VIEW, own=reply(2, 900), asked=frozenset({1}))
    assert isinstance(search(reply(1, 900, served=1)).decide(view), Begin)


@pytest.mark.parametrize(
    ("mode", "standbys", "needed"), [("off", None, 0), ("quorum", (1, 3), 1), ("all", (1, 3), 2)]
)  # fmt: skip
def test_new_reign_waits_for_those_who_answered(mode: str, standbys: tuple[int, ...] | None, needed: int) -> None:
    view = replace(VIEW, own=reply(2, 900), asked=frozenset({1, 3}), mode=mode)
    decision = search(reply(1, 900, served=1), reply(3, 900)).decide(view)
    assert isinstance(decision, Begin)
    assert (decision.reign.standbys, decision.reign.needed) == (standbys, needed)


def test_last_primary_goes_on_with_those_who_followed_it() -> None:
    decision = search().decide(replace(VIEW, me=1))
    assert decision == Begin(Reign(2, 1, 9, 1, 0, SYSTEM, 0, (2, 3), 1, bound_bytes=0, branch=2))


def test_founding_waits_for_nobody_yet() -> None:
    decision = search().decide(replace(VIEW, reign=None, reigns=(), guarantees=(), me=1))
    assert decision == Begin(Reign(1, 1, 9, 1, 0, SYSTEM, 0, (), 0, branch=1))
