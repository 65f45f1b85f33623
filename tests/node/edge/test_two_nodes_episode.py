"""Two hosts and Debian's arbiter, which remembers nothing, by ffsplit: either host may go, and who goes on alone needs
the arbiter from then on.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import time

from edge.fault_world import Ledger, wait_for
from edge.pair_world import LONG, Asking, in_order, needs_released, silent

pytestmark = needs_released
ALGORITHM = "ffsplit"


def test_list_counts_it_by_episode(asked: Asking) -> None:
    pair, _ = asked
    pair.wait_until_well()
    assert (pair.listed()["votes"], pair.listed()["way"], pair.listed()["reason"]) == (1, "episode", "")


def test_survivor_of_the_primary_goes_on_until_the_arbiter_dies_too_and_then_needs_the_other(asked: Asking) -> None:
    pair, arbiter = asked
    primary = pair.wait_until_well()
    survivor = 3 - primary
    with Ledger(pair, "power") as ledger:
        ledger.wait_for_rows(primary)
        pair.power_off(primary)
        wait_for("the other one as primary", lambda: ledger.last_by_others(primary), 40)
        print(f"primary lost its power: no row was acknowledged for {ledger.gap():.2f} s")
        arbiter.kill()
        wait_for("it stops writing", lambda: not pair.own(survivor).get("may_write"), 10)
        arbiter.start()
        wait_for("the arbiter's word is back", lambda: pair.shown(survivor).get("answer") == "ack", 20)
        silent(ledger, 2)
        assert "lost its connection to the arbiter since it last was in sync" in pair.shown(survivor)["reason"]
        pair.start(primary)
        pair.wait_until_well()
        ledger.wait_for_rows()
    in_order(pair, ledger, len(ledger.changes()))


def test_primary_that_is_cut_off_closes_before_the_other_opens_and_both_go_on_without_the_arbiter(
    asked: Asking,
) -> None:
    pair, arbiter = asked
    primary = pair.wait_until_well()
    with Ledger(pair, "cut") as ledger:
        ledger.wait_for_rows(primary)
        arbiter.cut_off(primary)
        wait_for("the other one as primary", lambda: ledger.last_by_others(primary), 40)
        print(f"primary was cut off: no row was acknowledged for {ledger.gap():.2f} s")
        pair.mend(primary)
        pair.wait_until_well()
        arbiter.kill()
        wait_for("both to notice", lambda: not any(pair.shown(one)["counts"] for one in pair.numbers), 20)
        arbiter.start()
        pair.wait_until_well()
    in_order(pair, ledger, 1)


@LONG
def test_primary_goes_on_when_the_replica_is_cut_off_or_loses_its_power(asked: Asking) -> None:
    pair, arbiter = asked
    primary = pair.wait_until_well()
    replica = 3 - primary
    with Ledger(pair, "replica") as ledger:
        for strike, undo in ((arbiter.cut_off, pair.mend), (pair.power_off, pair.start)):
            ledger.wait_for_rows(primary)
            strike(replica)
            wait_for("transactions wait for nobody", lambda: pair.alone(primary), 20)
            ledger.wait_for_rows(primary)
            undo(replica)
            pair.wait_until_well()
            print(f"{strike.__name__}: no row was acknowledged for {ledger.gap():.2f} s")
    in_order(pair, ledger, 0)


@LONG
def test_one_half_goes_on_when_the_cable_between_them_is_cut(asked: Asking) -> None:
    pair, _ = asked
    pair.wait_until_well()
    with Ledger(pair, "cable") as ledger:
        ledger.wait_for_rows()
        pair.divide(1, 2)
        ended = time.monotonic() + 8
        while time.monotonic() < ended:
            ledger.wait_for_rows()
        refused = [pair.shown(number).get("answer") for number in pair.numbers]
        assert sorted(map(str, refused)) == ["ack", "nack"], refused
        for number in pair.numbers:
            pair.mend(number)
        pair.wait_until_well()
    assert len(ledger.changes()) <= 1, ledger.changes()
    in_order(pair, ledger, len(ledger.changes()))


@LONG
def test_who_comes_back_alone_stays_closed_and_says_why(asked: Asking) -> None:
    pair, _ = asked
    primary = pair.wait_until_well()
    with Ledger(pair, "lone") as ledger:
        ledger.wait_for_rows(primary)
        pair.power_off(primary)
        wait_for("the other one as primary", lambda: ledger.last_by_others(primary), 40)
        pair.power_off(3 - primary)
        pair.start(primary)
        wait_for("it has the arbiter's word", lambda: pair.shown(primary).get("answer") == "ack", 20)
        silent(ledger, 6)
        assert "it has restarted since it last was in sync" in pair.shown(primary)["reason"]
        pair.start(3 - primary)
        pair.wait_until_well()
        ledger.wait_for_rows()
    in_order(pair, ledger, len(ledger.changes()))
