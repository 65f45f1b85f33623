"""Two hosts and Debian's arbiter by lms, which helps to elect and never to write: both are needed, and they say so."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from edge.fault_world import Ledger, wait_for
from edge.pair_world import LONG, Asking, Pair, in_order, needs_released, silent

pytestmark = needs_released
ALGORITHM = "lms"


def closed_without(pair: Pair, struck: int, ledger: Ledger) -> None:
    """Who is left when a host loses its power leads by the arbiter's vote, writes nothing, and says why."""
    left = 3 - struck
    pair.power_off(struck)
    wait_for("its lease is over", lambda: not pair.own(left).get("may_write", True), 10)
    wait_for("it leads", lambda: pair.own(left).get("consensus_role") == "leader", 20)
    silent(ledger, 2)
    said = pair.own(left)["message"]
    assert said == f"it leads and can confirm nothing, writes among it: it lacks node {struck}"
    pair.start(struck)
    pair.wait_until_well()
    ledger.wait_for_rows()


def test_list_counts_it_by_formula_and_says_what_that_is_worth(asked: Asking) -> None:
    pair, _ = asked
    assert (pair.listed()["votes"], pair.listed()["way"]) == (1, "formula")
    [said] = pair.map(1)["cluster"]["remarks"]  # type: ignore[index]
    assert "helps to elect and never to write, and writes take 2 of 2 votes of the nodes" in said


def test_arbiter_may_go_and_who_is_left_of_the_nodes_stays_closed_and_says_why(asked: Asking) -> None:
    pair, arbiter = asked
    primary = pair.wait_until_well()
    with Ledger(pair, "formula") as ledger:
        ledger.wait_for_rows(primary)
        arbiter.kill()
        wait_for("both to notice", lambda: not any(pair.shown(one)["counts"] for one in pair.numbers), 20)
        ledger.wait_for_rows(primary)
        arbiter.start()
        pair.wait_until_well()
        assert len(ledger.changes()) == 0 and ledger.gap() < 2, "the arbiter's death is no fault"
        closed_without(pair, primary, ledger)
    in_order(pair, ledger, len(ledger.changes()))


@LONG
def test_primary_closes_when_the_replica_loses_its_power(asked: Asking) -> None:
    pair, _ = asked
    primary = pair.wait_until_well()
    with Ledger(pair, "replica") as ledger:
        ledger.wait_for_rows(primary)
        closed_without(pair, 3 - primary, ledger)
    in_order(pair, ledger, len(ledger.changes()))


@LONG
def test_at_most_one_is_open_when_the_cable_between_them_is_cut(asked: Asking) -> None:
    """The arbiter may acknowledge both halves: each leads, and neither confirms anything."""
    pair, _ = asked
    pair.wait_until_well()
    with Ledger(pair, "cable") as ledger:
        ledger.wait_for_rows()
        pair.divide(1, 2)
        wait_for("nobody writes", lambda: not pair.writable(), 10)
        silent(ledger, 6)
        for number in pair.numbers:
            pair.mend(number)
        pair.wait_until_well()
        ledger.wait_for_rows()
    in_order(pair, ledger, len(ledger.changes()))
