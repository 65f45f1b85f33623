"""From the slots of a server and what the other nodes say to what is done with them."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from qluster.database.facts import Facts, Slot
from qluster.database.failures import Failures
from qluster.database.orders import Adjust, KeepSlots, StartStandby, Terms
from qluster.database.plan import Wanted, next_order, reason
from qluster.database.slots import STEP, Reached, slots_kept

TERMS = Terms(name="node1", others=("node2", "node3"))
REDO = 100 * STEP
BOTH = (Slot("qluster_node2", True, REDO, "reserved"), Slot("qluster_node3", True, REDO, "reserved"))
FACTS = Facts(
    directory="initialised", system_id=7, server="running", in_recovery=True, standby=True, timeline=2,
    upstream="10.0.0.1:5432", receiver="streaming", terms=TERMS, slots=BOTH, redo=REDO,
)  # fmt: skip
WANTED = Wanted(kind="follow", reign=4, upstream=("10.0.0.1", 5432), system_id=7, terms=TERMS)


def idle(position: int | None, status: str = "reserved") -> Facts:
    """The slot of node3 is held by nobody."""
    return replace(FACTS, slots=(BOTH[0], Slot("qluster_node3", False, position, status if position else "")))


@pytest.mark.parametrize(
    ("facts", "reached", "expected"),
    [
        pytest.param(FACTS, (), None, id="all is well"),
        pytest.param(replace(FACTS, slots=None), (), None, id="not known"),
        pytest.param(
            replace(FACTS, slots=()), (), KeepSlots(make=("qluster_node2", "qluster_node3")), id="one for each"
        ),
        pytest.param(
            replace(FACTS, slots=(*BOTH, Slot("qluster_node9", False, 1), Slot("qluster_node1", False, 1))), (),
            KeepSlots(drop=("qluster_node1", "qluster_node9")), id="of a former member, and one's own",
        ),
        pytest.param(
            replace(FACTS, slots=(*BOTH, Slot("qluster_node9", True, 1))), (), None, id="one in use is left alone"
        ),
        pytest.param(
            replace(FACTS, slots=(*BOTH, Slot("warehouse", False, 1), Slot("node9", False, 1, "lost"))), (), None,
            id="slots of users are left alone",
        ),
        pytest.param(
            replace(FACTS, slots=(*BOTH, Slot("qluster_node9", False, 1, "reserved", physical=False))), (), None,
            id="a logical slot is never one of ours",
        ),
        pytest.param(idle(5), (), None, id="nothing is known of its node"),
        pytest.param(
            idle(5), (Reached("node3", 2, REDO + 9),), KeepSlots(advance=(("qluster_node3", REDO),)),
            id="never beyond what is needed here",
        ),
        pytest.param(
            idle(5), (Reached("node3", 2, REDO - 9),), KeepSlots(advance=(("qluster_node3", REDO - 9),)),
            id="a node that lags",
        ),
        pytest.param(idle(5), (Reached("node3", 1, REDO),), None, id="a node on another timeline may go back"),
        pytest.param(idle(REDO - STEP + 1), (Reached("node3", 2, REDO),), None, id="not for every byte"),
        pytest.param(idle(REDO), (Reached("node3", 2, 5),), None, id="never backwards"),
        pytest.param(
            replace(FACTS, slots=(BOTH[0], Slot("qluster_node3", False, None, "lost"))), (),
            KeepSlots(drop=("qluster_node3",), make_open=("qluster_node3",)), id="lost: made anew, keeping nothing",
        ),
        pytest.param(idle(None), (), None, id="it keeps nothing while its node is away"),
        pytest.param(idle(None), (Reached("node3", 2, REDO - 1),), None, id="nor while what it needs is gone here"),
        pytest.param(
            idle(None), (Reached("node3", 2, REDO),), KeepSlots(drop=("qluster_node3",), make=("qluster_node3",)),
            id="its node has caught up",
        ),
    ],
)  # fmt: skip
def test_what_is_done_with_slots(facts: Facts, reached: tuple[Reached, ...], expected: KeepSlots | None) -> None:
    assert slots_kept(facts, TERMS, reached) == expected
    assert next_order(facts, replace(WANTED, reached=reached), Failures(), 0.0) == expected


def test_whatever_is_seen_no_slot_is_moved_back_nor_past_what_anybody_may_need() -> None:
    positions = (None, 0, 5, REDO - STEP, REDO - 1, REDO, REDO + STEP)
    for position, status, active, timeline, reached in product(
        positions, ("reserved", "lost", ""), (True, False), (1, 2, 3), positions
    ):
        facts = replace(FACTS, slots=(BOTH[0], Slot("qluster_node3", active, position, status)))
        known = (Reached("node3", timeline, reached),) if reached is not None else ()
        order = slots_kept(facts, TERMS, known)
        if active:
            assert order is None
        for name, target in order.advance if order else ():
            assert name == "qluster_node3" and position is not None and reached is not None and timeline == 2
            assert position < target <= min(reached, REDO)


def test_slots_come_last_and_only_while_a_primary_is_served_or_followed() -> None:
    missing = replace(FACTS, slots=())
    assert isinstance(next_order(replace(missing, terms=None), WANTED, Failures(), 0.0), Adjust)
    assert isinstance(next_order(replace(missing, server="stopped"), WANTED, Failures(), 0.0), StartStandby)
    assert not isinstance(next_order(missing, replace(WANTED, kind="detached"), Failures(), 0.0), KeepSlots)
    primary = replace(missing, in_recovery=False, standby=False, upstream=None, receiver="none", last_reign=4)
    assert isinstance(next_order(primary, replace(WANTED, kind="primary", upstream=None), Failures(), 0.0), KeepSlots)


def test_a_slot_that_cannot_be_made_is_tried_again_and_is_no_fault_of_the_database() -> None:
    missing, failures = replace(FACTS, slots=()), Failures()
    for number in range(20):
        order = next_order(missing, WANTED, failures, number * 60.0)
        assert isinstance(order, KeepSlots)
        failures.failed(order, "all replication slots are in use", number * 60.0)
        assert next_order(missing, WANTED, failures, number * 60.0) is None
    assert reason(missing, WANTED, failures) == ""
    assert failures.sentence_of(KeepSlots) == "all replication slots are in use"
