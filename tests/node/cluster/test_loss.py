"""What a failover may lose, what it says of that, and how an operator accepts it."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest
from qluster.clients import Refused
from qluster.cluster import commands
from qluster.cluster.commands import Guarantee, LossAccepted, LossMeasured, Reign
from qluster.cluster.messages import PositionReply
from qluster.cluster.reign import BURST, RATE_MARGIN, Ask, Begin, Succession, View
from qluster.cluster.state import State, decode, encode
from qluster.events import Entry

SYSTEM = 77
MEGABYTE = 1 << 20
LAST = Reign(4, 1, 8, 2, 500, SYSTEM)
SEEN = (2, 10 * MEGABYTE)
VIEW = View(
    now=20.0, term=9, me=2, reign=LAST, own=None, intact=True, system_id=SYSTEM, asked=frozenset(),
    patience=3.0, retry=0.5, databases=frozenset({1, 2, 3}), primary_seen=SEEN, maximum_lag=MEGABYTE, unseen=1.5,
)  # fmt: skip


def reply(node: int, behind: int, served: int = 0, fit: bool = True) -> PositionReply:
    """An answer of a node that lacks so many bytes of what the primary last reported."""
    return PositionReply(1, node, 9, SYSTEM, 2, SEEN[1] - behind, fit, "" if fit else "its disk is broken", served)


def begun(view: View, *replies: PositionReply) -> Reign | None:
    """The reign that begins on these answers; None while nobody takes over."""
    search = Succession(9, 10.0)
    for one in replies:
        search.receive(one)
    decision = search.decide(view)
    assert isinstance(decision, Begin | Ask)
    return decision.reign if isinstance(decision, Begin) else None


@pytest.mark.parametrize(("behind", "takes_over"), [(0, True), (MEGABYTE, True), (MEGABYTE + 1, False)])
def test_replica_that_lacks_too_much_does_not_take_over_by_itself(behind: int, takes_over: bool) -> None:
    assert (begun(replace(VIEW, own=reply(2, behind))) is not None) == takes_over
    reign = begun(replace(VIEW, own=reply(2, behind), accepted=True))
    assert reign is not None and reign.lost_bytes == behind and reign.accepted != takes_over


def test_what_is_said_to_be_missing_counts_as_well_as_what_was_reported() -> None:
    unfit = reply(1, -3 * MEGABYTE, fit=False)
    assert begun(replace(VIEW, own=reply(2, 0)), unfit) is None
    reign = begun(replace(VIEW, own=reply(2, 0), accepted=True), unfit)
    assert reign is not None and reign.lost_bytes == 3 * MEGABYTE


def test_bound_adds_what_was_written_unseen() -> None:
    slow = begun(replace(VIEW, own=reply(2, 100), wal_rate=1000.0))
    assert slow is not None and slow.bound_bytes == 100 + BURST
    fast = begun(replace(VIEW, own=reply(2, 100), wal_rate=1e8))
    assert fast is not None and fast.bound_bytes == 100 + int(RATE_MARGIN * 1e8 * 1.5)


def test_nobody_can_tell_where_the_primary_was_never_heard() -> None:
    reign = begun(replace(VIEW, own=reply(2, 0), primary_seen=None, unseen=None))
    assert reign is not None and reign.bound_bytes is None


def test_nothing_is_unknown_where_the_former_primary_itself_answers() -> None:
    ahead = reply(1, -100, served=4)
    view = replace(VIEW, own=reply(2, 0))
    search = Succession(9, 10.0)
    search.receive(ahead)
    choice = search.choice(view, LAST)
    assert choice.best == ahead and (choice.lost, choice.bound) == (0, 0)


def test_proof_that_nothing_acknowledged_is_missing_is_a_bound_of_nothing() -> None:
    guaranteed = replace(VIEW, mode="quorum", guarantees=(Guarantee(4, 1, (2,), 1),))
    reign = begun(replace(guaranteed, own=reply(2, 5 * MEGABYTE)))
    assert reign is not None and (reign.bound_bytes, reign.accepted) == (0, False), "none of it was acknowledged"


def test_without_proof_somebody_must_accept_it() -> None:
    guaranteed = replace(VIEW, mode="quorum", guarantees=(Guarantee(4, 1, (2, 3), 1),), own=reply(2, 7))
    assert begun(guaranteed) is None
    reign = begun(replace(guaranteed, accepted=True))
    assert reign is not None and reign.accepted and reign.bound_bytes == 7 + BURST


def after(*bodies: commands.Body) -> State:
    """The state after these."""
    found = State()
    for index, body in enumerate(bodies, start=1):
        assert found.apply(Entry(index, 1, "command", commands.encode(body))) is None
    return found


def test_accepted_loss_holds_for_the_next_reign_alone() -> None:
    first = Reign(1, 1, 3, 1, 0, SYSTEM, 0, (2, 3), 1)
    state = after(first, LossAccepted(1))
    assert decode(encode(state)).loss_accepted == 1
    second = Reign(2, 2, 5, 1, 90, SYSTEM, 0, (1, 3), 1, 10, accepted=True)
    state = after(first, LossAccepted(1), second)
    assert state.loss_accepted == 0
    assert state.guarantees == (Guarantee(2, 2, (1, 3), 1),), "the guarantee that could not be proven is void"


def test_loss_is_accepted_for_the_reign_in_force_only() -> None:
    state = after(Reign(1, 1, 3, 1, 0, SYSTEM), Reign(2, 2, 5, 1, 90, SYSTEM))
    refusal = state.apply(Entry(3, 1, "command", commands.encode(LossAccepted(1))))
    assert isinstance(refusal, Refused) and "reign 1 is not in force, 2 is" in refusal.reason
    assert state.loss_accepted == 0


def test_measured_loss_stands_with_its_reign() -> None:
    state = after(Reign(1, 1, 3, 1, 0, SYSTEM), Reign(2, 2, 5, 1, 90, SYSTEM), LossMeasured(2, 4711))
    assert [reign.left_bytes for reign in state.reigns] == [None, 4711]
