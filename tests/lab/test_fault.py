"""Which packets a fault drops, as nftables will read it."""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from hostlab.errors import LabError
from hostlab.fault import Fault, checked_fault, ruleset
from hostlab.plan import plan_from

PLAN = plan_from({}, Path("/checkout"))


def drops(*faults: Fault) -> list[str]:
    return [line.strip() for line in ruleset(PLAN, faults).splitlines() if line.endswith("drop")]


def test_no_fault_leaves_no_rule_but_clears_the_old_ones() -> None:
    assert drops() == []
    assert "delete table bridge faults" in ruleset(PLAN, [])


def test_cut_between_two_hosts_drops_both_ways() -> None:
    assert drops(Fault("db1", "db2")) == [
        'iifname "p-db1" oifname "p-db2" counter drop',
        'iifname "p-db2" oifname "p-db1" counter drop',
    ]


@pytest.mark.parametrize(
    ("way", "rule"),
    [
        ("out", 'iifname "p-db1" oifname "p-db2" counter drop'),
        ("in", 'iifname "p-db2" oifname "p-db1" counter drop'),
    ],
)
def test_one_way_cut_drops_one_way(way: str, rule: str) -> None:
    assert drops(Fault("db1", "db2", way)) == [rule]


def test_cut_from_everybody_leaves_the_controller() -> None:
    assert drops(Fault("db1")) == ['iifname "p-db1" counter drop', 'oifname "p-db1" counter drop']


def test_cut_from_the_controller_is_asked_for() -> None:
    text = ruleset(PLAN, [Fault("db1", controller=True)])
    hooks = {part.split(" ")[0]: part for part in text.split("chain ")[1:]}
    assert 'iifname "p-db1" counter drop' in hooks["input"]
    assert 'oifname "p-db1" counter drop' in hooks["output"]
    assert ruleset(PLAN, [Fault("db1", way="out", controller=True)]).count("oifname") == 0


def test_loss_of_half_a_percent_is_not_rounded_away() -> None:
    assert drops(Fault("db1", "db2", "out", 0.5)) == [
        'iifname "p-db1" oifname "p-db2" numgen random mod 10000 < 50 counter drop'
    ]


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        (Fault("db9"), "db9"),
        (Fault("db1", "db9"), "db9"),
        (Fault("db1", "db1"), "itself"),
        (Fault("db1", way="up"), "'up'"),
        (Fault("db1", percent=0), "0 %"),
        (Fault("db1", percent=0.001), "0.001 %"),
        (Fault("db1", percent=101), "101 %"),
        (Fault("db1", percent=float("nan")), "nan"),
        (Fault("db1", "db2", controller=True), "--controller"),
    ],
)
def test_fault_without_a_meaning_is_refused(fault: Fault, word: str) -> None:
    with pytest.raises(LabError, match=word):
        checked_fault(PLAN, fault)


def test_fault_reads_as_a_sentence() -> None:
    assert str(Fault("db1", "db2", "out", 20)) == "db1 -> db2: 20 % lost"
    assert str(Fault("db1")) == "db1 <-> everybody: 100 % lost"
