"""From facts and what is wanted to the next order."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any, get_args

import pytest
from qluster.database.facts import Directory, Facts, Receiver, Replica, Server, Standing
from qluster.database.failures import (
    ATTEMPTS_MOST,
    DELAY_FIRST,
    DELAY_MOST,
    PASSING_DELAY_FIRST,
    START_ATTEMPTS,
    Failures,
)
from qluster.database.orders import (
    Adjust,
    Clone,
    CloneOutside,
    Detach,
    Follow,
    FollowOutside,
    Initialise,
    KeepSlots,
    Outside,
    Promote,
    Restart,
    Rewind,
    RewindOutside,
    StartPrimary,
    StartStandby,
    StopFast,
    StopImmediate,
    Terms,
)
from qluster.database.plan import CRASHES_MOST, SILENT_LIMIT, Kind, Wanted, needs_reinit, next_order, reason, withheld
from qluster.database.room import LOW_MOST, full, shortage
from qluster.database.standstill import HANGS, NOTICED

ID = 77
UP = ("10.0.0.1", 5432)
TERMS = Terms(name="node2")
FOLLOW = Wanted(kind="follow", reign=4, upstream=UP, system_id=ID, terms=TERMS)
THERE = Outside((("198.51.100.1", 5432), ("198.51.100.2", 5432)), "beta", "site_b")
FAR = replace(TERMS, outside=THERE)
OUTSIDE = Wanted(kind="outside", reign=4, system_id=ID, terms=FAR)
PRIMARY = Wanted(kind="primary", reign=4, system_id=ID, terms=TERMS)
DETACHED = Wanted(kind="detached", reign=4, system_id=ID, terms=TERMS)
FOUND = Wanted(kind="found", terms=TERMS)
STOPPED = Wanted(kind="stopped", system_id=ID)

EMPTY = Facts(directory="empty")
STANDBY = Facts(directory="initialised", system_id=ID, standby=True, control_state="shut down in recovery")
FORMER = Facts(directory="initialised", system_id=ID, last_reign=3, control_state="in production")
FRESH = Facts(directory="initialised", system_id=ID, fresh=True, control_state="shut down")
STREAMING = replace(
    STANDBY, server="running", in_recovery=True, upstream="10.0.0.1:5432", receiver="streaming", terms=TERMS
)
LONE = replace(STANDBY, server="running", in_recovery=True, terms=TERMS)
FED = replace(STREAMING, upstream="198.51.100.2:5432", terms=FAR)
REIGNING = replace(FORMER, server="running", in_recovery=False, last_reign=4, terms=TERMS)
WAITING = replace(PRIMARY, terms=replace(TERMS, standbys=("node1", "node3"), needed=1))
CLOSED = replace(WAITING.terms, admits=False)
RESTARTED = replace(REIGNING, terms=CLOSED, recovered=100)


def with_standbys(first: int | None, second: int | None) -> Facts:
    """A primary that was started again, and how far its standbys are."""
    standbys = (Replica("node1", "streaming", first), Replica("node3", "catchup", second))
    return replace(RESTARTED, replicas=standbys)


def order(facts: Facts, wanted: Wanted, failures: Failures | None = None, now: float = 0.0) -> object:
    return next_order(facts, wanted, failures or Failures(), now)


@pytest.mark.parametrize(
    ("facts", "wanted", "expected"),
    [
        pytest.param(EMPTY, Wanted(), None, id="nothing wanted"),
        pytest.param(EMPTY, FOUND, Initialise(TERMS), id="founding in an empty directory"),
        pytest.param(Facts(), FOUND, Initialise(TERMS), id="founding in an absent directory"),
        pytest.param(FRESH, FOUND, None, id="founded, and not started before it reigns"),
        pytest.param(EMPTY, replace(FOUND, system_id=ID), None, id="a cluster is not founded twice"),
        pytest.param(FORMER, FOUND, None, id="a database of before is not founded over"),
        pytest.param(STREAMING, STOPPED, StopFast(), id="stop"),
        pytest.param(STANDBY, STOPPED, None, id="stopped"),
        pytest.param(EMPTY, DETACHED, None, id="nothing to detach"),
        pytest.param(STANDBY, DETACHED, StartStandby(None, TERMS), id="a stopped standby tells its position"),
        pytest.param(FORMER, DETACHED, StartStandby(None, TERMS), id="a former primary tells its position"),
        pytest.param(REIGNING, DETACHED, StopFast(), id="a primary that is deposed stops"),
        pytest.param(STREAMING, DETACHED, Detach(TERMS), id="a streaming standby is cut off"),
        pytest.param(LONE, DETACHED, None, id="detached already"),
        pytest.param(EMPTY, FOLLOW, Clone(UP, ID, TERMS), id="an empty directory is copied"),
        pytest.param(
            Facts(directory="unfinished"), FOLLOW, Clone(UP, ID, TERMS), id="an interrupted one is copied"
        ),
        pytest.param(STANDBY, FOLLOW, StartStandby(UP, TERMS), id="a standby starts"),
        pytest.param(STREAMING, FOLLOW, None, id="a standby streams"),
        pytest.param(LONE, FOLLOW, Follow(UP, TERMS), id="a detached standby follows"),
        pytest.param(
            replace(STREAMING, upstream="10.0.0.9:5432"), FOLLOW, Follow(UP, TERMS), id="another upstream"
        ),
        pytest.param(
            replace(STREAMING, receiver="waiting", unstreamed=9), FOLLOW, None, id="silence is borne a while"
        ),
        pytest.param(
            replace(STREAMING, receiver="waiting", unstreamed=11), FOLLOW, Follow(UP, TERMS), id="and not longer"
        ),
        pytest.param(STREAMING, replace(FOLLOW, restart=9), Restart(UP, 0, TERMS), id="a standby's turn to restart"),
        pytest.param(replace(STREAMING, started=9), replace(FOLLOW, restart=9), None, id="it has restarted"),
        pytest.param(
            replace(STREAMING, refused="no memory"), replace(FOLLOW, restart=9), None, id="it would not start"
        ),
        pytest.param(REIGNING, replace(PRIMARY, restart=9), Restart(None, 4, TERMS), id="a primary's turn to restart"),
        pytest.param(
            replace(REIGNING, last_reign=3), replace(PRIMARY, restart=9), Adjust(TERMS, 4), id="the new reign first"
        ),
        pytest.param(replace(STREAMING, starved=True), FOLLOW, StopFast(), id="a standby with too little stops"),
        pytest.param(
            replace(STANDBY, server="starting", upstream="10.0.0.1:5432", terms=replace(TERMS, version=3)),
            replace(FOLLOW, terms=replace(TERMS, version=5)), StopFast(), id="other parameters for one that hangs",
        ),
        pytest.param(
            replace(STANDBY, server="starting", upstream="10.0.0.1:5432", terms=TERMS),
            replace(FOLLOW, terms=replace(TERMS, version=5)), None, id="one that recovers while the log is read",
        ),
        pytest.param(replace(LONE, starved=True), DETACHED, StopFast(), id="a detached one too"),
        pytest.param(replace(LONE, starved=True), PRIMARY, StopFast(), id="it is not promoted before"),
        pytest.param(
            replace(STREAMING, terms=Terms(name="node2", members=("10.0.0.3",))),
            FOLLOW,
            Adjust(TERMS, 0),
            id="new terms for a standby",
        ),
        pytest.param(FORMER, FOLLOW, Rewind(UP, ID, TERMS), id="a former primary is rewound"),
        pytest.param(FRESH, FOLLOW, Rewind(UP, ID, TERMS), id="one that never reigned too"),
        pytest.param(REIGNING, FOLLOW, StopFast(), id="a primary stops before it follows"),
        pytest.param(
            replace(LONE, last_reign=3), FOLLOW, Rewind(UP, ID, TERMS), id="a former primary that only asked"
        ),
        pytest.param(
            replace(LONE, standing="diverged"), FOLLOW, Rewind(UP, ID, TERMS), id="a diverged standby"
        ),
        pytest.param(replace(LONE, standing="outrun"), FOLLOW, Clone(UP, ID, TERMS), id="an outrun standby"),
        pytest.param(EMPTY, replace(OUTSIDE, system_id=None), CloneOutside(None, FAR), id="founded by a copy"),
        pytest.param(
            replace(FRESH, standby=True), replace(OUTSIDE, system_id=None), None, id="copied, and not yet reigning"
        ),
        pytest.param(FORMER, replace(OUTSIDE, system_id=None), None, id="no copy over a database of before"),
        pytest.param(STANDBY, replace(OUTSIDE, system_id=ID + 1), None, id="nor over that of another installation"),
        pytest.param(EMPTY, OUTSIDE, CloneOutside(ID, FAR), id="a copy of the same database only"),
        pytest.param(STANDBY, OUTSIDE, StartStandby(None, FAR), id="a standby of outside starts alone"),
        pytest.param(replace(LONE, terms=FAR), OUTSIDE, FollowOutside(FAR), id="and looks for whom to follow"),
        pytest.param(FED, OUTSIDE, None, id="it follows one of those outside"),
        pytest.param(replace(FED, upstream="10.0.0.1:5432"), OUTSIDE, FollowOutside(FAR), id="not one of the cluster"),
        pytest.param(
            replace(FED, receiver="waiting", unstreamed=4), OUTSIDE, FollowOutside(FAR), id="silence outside"
        ),
        pytest.param(
            replace(FED, terms=replace(FAR, outside=replace(THERE, slot=""))), OUTSIDE, FollowOutside(FAR),
            id="another slot outside",
        ),
        pytest.param(REIGNING, OUTSIDE, StopFast(), id="a primary by hand is stopped"),
        pytest.param(FORMER, OUTSIDE, RewindOutside(ID, FAR), id="and rewound"),
        pytest.param(replace(FED, standing="diverged"), OUTSIDE, RewindOutside(ID, FAR), id="what outside gave up"),
        pytest.param(replace(FED, standing="outrun"), OUTSIDE, CloneOutside(ID, FAR), id="outrun by outside"),
        pytest.param(FED, replace(OUTSIDE, restart=9), Restart(None, 0, FAR), id="its turn to restart too"),
        pytest.param(FED, PRIMARY, Detach(TERMS), id="a site that is promoted lets go first"),
        pytest.param(EMPTY, PRIMARY, None, id="nothing to reign over"),
        pytest.param(FRESH, PRIMARY, StartPrimary(4, TERMS), id="the first reign"),
        pytest.param(FORMER, PRIMARY, StartPrimary(4, TERMS), id="the next reign of the same node"),
        pytest.param(
            replace(FORMER, last_reign=2), PRIMARY, StartStandby(None, TERMS), id="after another's reign"
        ),
        pytest.param(
            replace(FORMER, last_reign=2), replace(PRIMARY, since=2), StartPrimary(4, TERMS), id="its own row"
        ),
        pytest.param(STANDBY, PRIMARY, StartStandby(None, TERMS), id="a stopped standby starts first"),
        pytest.param(STREAMING, PRIMARY, Detach(TERMS), id="and is detached"),
        pytest.param(LONE, PRIMARY, Promote(4, TERMS), id="and is promoted"),
        pytest.param(replace(STANDBY, server="starting"), PRIMARY, None, id="not while it starts"),
        pytest.param(REIGNING, PRIMARY, None, id="it reigns"),
        pytest.param(replace(REIGNING, last_reign=3), PRIMARY, Adjust(TERMS, 4), id="it learns of its new reign"),
        pytest.param(replace(STREAMING, server="stopping"), FOLLOW, None, id="one thing after the other"),
        pytest.param(FORMER, WAITING, StartPrimary(4, CLOSED), id="a restart that admits nobody yet"),
        pytest.param(RESTARTED, WAITING, None, id="clients wait while no standby streams"),
        pytest.param(with_standbys(99, 100), WAITING, Adjust(WAITING.terms, 4), id="one of two has everything"),
        pytest.param(with_standbys(99, 99), WAITING, None, id="nobody has everything"),
        pytest.param(with_standbys(None, None), WAITING, None, id="nobody says what he has"),
        pytest.param(
            replace(with_standbys(100, 100), recovered=None), WAITING, None, id="the end of recovery is not known"
        ),
        pytest.param(
            replace(RESTARTED, replicas=(Replica("node1", "streaming", 100), Replica("app", "streaming", 100))),
            replace(WAITING, terms=replace(WAITING.terms, needed=2)),
            Adjust(replace(CLOSED, needed=2), 4),
            id="a stranger confirms nothing",
        ),
        pytest.param(RESTARTED, PRIMARY, Adjust(TERMS, 4), id="nobody is waited for any more"),
        pytest.param(
            replace(RESTARTED, terms=WAITING.terms), WAITING, None, id="who was admitted stays, whoever is lost"
        ),
        pytest.param(LONE, WAITING, Promote(4, WAITING.terms), id="a promotion admits at once"),
        pytest.param(
            LONE, replace(WAITING, shows=False), Promote(4, CLOSED), id="not where the next failover could lose it"
        ),
        pytest.param(LONE, replace(PRIMARY, shows=False), Promote(4, TERMS), id="nothing is promised"),
        pytest.param(
            replace(RESTARTED, terms=None, closed=True), WAITING, Adjust(CLOSED, 4), id="another daemon let nobody in"
        ),
        pytest.param(
            replace(RESTARTED, terms=None), WAITING, Adjust(WAITING.terms, 4), id="another daemon let clients in"
        ),
        pytest.param(
            replace(RESTARTED, terms=None), replace(WAITING, paused=True, current=False), None,
            id="what another daemon told holds until the log is known",
        ),
    ],
)
def test_the_next_order(facts: Facts, wanted: Wanted, expected: object) -> None:
    assert order(facts, wanted) == expected


def every_fact() -> list[Facts]:
    """All combinations of what decides."""
    fields: dict[str, tuple[Any, ...]] = {
        "directory": get_args(Directory),
        "system_id": (ID, 99, None),
        "server": get_args(Server),
        "in_recovery": (None, True, False),
        "standby": (True, False),
        "fresh": (True, False),
        "last_reign": (0, 3, 4),
        "upstream": (None, "10.0.0.1:5432"),
        "receiver": get_args(Receiver),
        "standing": get_args(Standing),
    }
    return [Facts(**dict(zip(fields, values, strict=True))) for values in product(*fields.values())]


EVERY = every_fact()


@pytest.mark.parametrize("kind", [kind for kind in get_args(Kind) if kind != "primary"])
def test_nothing_but_a_reign_makes_a_primary(kind: Kind) -> None:
    wanted = replace(FOLLOW, kind=kind)
    assert not [facts for facts in EVERY if isinstance(order(facts, wanted), (StartPrimary, Promote))]


@pytest.mark.parametrize("kind", get_args(Kind))
def test_another_database_is_never_touched(kind: Kind) -> None:
    wanted = replace(FOLLOW, kind=kind)
    for facts in EVERY:
        if facts.directory == "initialised" and facts.system_id == 99:
            assert order(facts, wanted) in (None, StopFast())


@pytest.mark.parametrize("kind", get_args(Kind))
def test_foreign_files_are_never_touched(kind: Kind) -> None:
    for wanted in (replace(FOLLOW, kind=kind), replace(FOLLOW, kind=kind, system_id=None)):
        for facts in EVERY:
            if facts.directory == "foreign":
                assert order(facts, wanted) in (None, StopFast())


def test_a_database_is_made_only_where_there_is_none_and_the_cluster_has_none() -> None:
    for wanted in (FOUND, replace(FOUND, system_id=ID), FOLLOW, PRIMARY, DETACHED):
        for facts in EVERY:
            if isinstance(order(facts, wanted), Initialise):
                assert facts.directory in ("absent", "empty") and wanted is FOUND


def test_a_promotion_needs_a_standby_that_hears_nobody() -> None:
    for facts in EVERY:
        if isinstance(order(facts, PRIMARY), Promote):
            assert facts.in_recovery and facts.upstream is None and facts.receiver == "none"


def test_a_former_primary_follows_only_by_rewind_or_copy() -> None:
    for facts in EVERY:
        if facts.last_reign and facts.directory == "initialised":
            assert not isinstance(order(facts, FOLLOW), (StartStandby, Follow, Adjust))


@pytest.mark.parametrize("wanted", [FOUND, FOLLOW, PRIMARY, DETACHED])
def test_where_nothing_can_be_done_people_are_told_why(wanted: Wanted) -> None:
    for facts in (
        Facts(directory="foreign", error="/opt/qhb-data holds photos"),
        replace(STANDBY, system_id=99),
        replace(STANDBY, system_id=None),
    ):
        assert reason(facts, wanted, Failures())


def test_reasons_name_the_value_and_the_remedy() -> None:
    said = reason(replace(STANDBY, system_id=99), FOLLOW, Failures())
    assert "system id 99, the cluster has 77" in said and "empty it" in said
    assert reason(STREAMING, FOLLOW, Failures()) == ""


@pytest.mark.parametrize("wanted", [FOLLOW, PRIMARY, DETACHED])
def test_a_server_that_hangs_is_ended(wanted: Wanted) -> None:
    hanging = replace(REIGNING, server="starting", in_recovery=None, silent=SILENT_LIMIT - 1)
    assert order(hanging, wanted) != StopImmediate()
    assert order(replace(hanging, silent=SILENT_LIMIT + 1), wanted) == StopImmediate()


def test_a_rewind_that_fails_twice_becomes_a_copy() -> None:
    failures = Failures()
    for _ in range(2):
        assert isinstance(order(FORMER, FOLLOW, failures, now=100.0), Rewind)
        failures.failed(Rewind(UP, ID), "no WAL", now=0.0)
    assert order(FORMER, FOLLOW, failures, now=100.0) == Clone(UP, ID, TERMS)
    failures.succeeded(Clone(UP, ID))
    assert isinstance(order(FORMER, FOLLOW, failures, now=100.0), Rewind)


def test_a_standby_that_does_not_start_is_copied_once() -> None:
    failures = Failures()
    for _ in range(START_ATTEMPTS):
        assert isinstance(order(STANDBY, FOLLOW, failures, now=100.0), StartStandby)
        failures.failed(StartStandby(UP), "ended with code 1", now=0.0)
    assert order(STANDBY, FOLLOW, failures, now=100.0) == Clone(UP, ID, TERMS)
    failures.succeeded(Clone(UP, ID))
    while failures.count(StartStandby) < ATTEMPTS_MOST:
        assert isinstance(order(STANDBY, FOLLOW, failures, now=100.0), StartStandby)
        failures.failed(StartStandby(UP), "ended with code 1", now=0.0)
    assert order(STANDBY, FOLLOW, failures, now=1e9) is None and needs_reinit(STANDBY, FOLLOW, failures)


@pytest.mark.parametrize(("facts", "wanted"), [(FORMER, PRIMARY), (STANDBY, DETACHED), (STANDBY, PRIMARY)])
def test_a_server_that_crashes_again_and_again_rests(facts: Facts, wanted: Wanted) -> None:
    assert order(replace(facts, crashes=CRASHES_MOST - 1), wanted) is not None
    crashing = replace(facts, crashes=CRASHES_MOST)
    assert order(crashing, wanted) is None and needs_reinit(crashing, wanted, Failures())
    assert "ended by itself 5 times" in reason(crashing, wanted, Failures())


def test_a_standby_that_crashes_again_and_again_is_copied_once() -> None:
    failures, crashing = Failures(), replace(STANDBY, crashes=CRASHES_MOST)
    assert order(crashing, FOLLOW, failures) == Clone(UP, ID, TERMS)
    failures.succeeded(Clone(UP, ID))
    assert order(crashing, FOLLOW, failures) is None


def test_a_directory_that_is_diverged_after_its_rewind_is_copied() -> None:
    failures, diverged = Failures(), replace(LONE, standing="diverged")
    assert order(diverged, FOLLOW, failures) == Rewind(UP, ID, TERMS)
    failures.succeeded(Rewind(UP, ID))
    assert order(diverged, FOLLOW, failures) == Clone(UP, ID, TERMS)
    failures.succeeded(Clone(UP, ID))
    assert order(diverged, FOLLOW, failures) == Rewind(UP, ID, TERMS)


def test_a_rewind_whose_upstream_is_away_does_not_become_a_copy() -> None:
    failures = Failures()
    for _ in range(50):
        failures.failed(Rewind(UP, ID), "away", now=0.0, passing=True)
    assert isinstance(order(FORMER, FOLLOW, failures, now=100.0), Rewind)


def test_attempts_are_spaced_and_have_an_end() -> None:
    failures, now, gaps = Failures(), 0.0, []
    for _ in range(ATTEMPTS_MOST):
        assert order(EMPTY, FOLLOW, failures, now) == Clone(UP, ID, TERMS)
        failures.failed(Clone(UP, ID), "disk full", now)
        assert order(EMPTY, FOLLOW, failures, now) is None
        gaps.append(failures.next_at - now)
        now = failures.next_at
    assert gaps[0] == DELAY_FIRST and gaps == sorted(gaps) and gaps[-1] <= DELAY_MOST
    assert order(EMPTY, FOLLOW, failures, now=1e9) is None
    assert needs_reinit(EMPTY, FOLLOW, failures)
    assert reason(EMPTY, FOLLOW, failures) == (
        "given up after repeated failures, reinitialise this node: disk full"
    )
    failures.forget()
    assert order(EMPTY, FOLLOW, failures, now) == Clone(UP, ID, TERMS)


def test_an_upstream_that_is_being_promoted_is_asked_again_within_a_twentieth_of_a_second() -> None:
    failures, now, asked = Failures(), 0.0, []
    while now < 0.3:
        asked.append(now)
        failures.failed(Follow(UP, TERMS), "is not the primary yet", now, passing=True)
        now = failures.next_at
    assert asked[1] == PASSING_DELAY_FIRST <= 0.05 and len(asked) >= 3
    assert now - asked[-1] > asked[-1] - asked[-2], "and more and more seldom"


def test_an_upstream_that_is_away_is_waited_for_without_end() -> None:
    failures = Failures()
    for _ in range(1000):
        failures.failed(Clone(UP, ID), "no answer", now=0.0, passing=True)
    assert order(EMPTY, FOLLOW, failures, now=DELAY_MOST) == Clone(UP, ID, TERMS)
    assert not needs_reinit(EMPTY, FOLLOW, failures)


def test_a_stop_is_never_given_up() -> None:
    failures = Failures()
    for _ in range(100):
        failures.failed(StopFast(), "hangs", now=0.0)
    assert order(STREAMING, STOPPED, failures, now=DELAY_MOST) == StopFast()


@pytest.mark.parametrize("kind", get_args(Kind))
def test_in_a_pause_a_server_is_reloaded_at_most_and_all_else_is_said(kind: Kind) -> None:
    wanted = replace(FOLLOW, kind=kind)
    for facts in EVERY:
        would = order(facts, wanted)
        reload = would if isinstance(would, (Adjust, KeepSlots)) else None
        assert order(facts, replace(wanted, paused=True)) == reload
        said = withheld(facts, replace(wanted, paused=True), Failures())
        assert bool(said) == (would is not None and reload is None), (facts, would, said)
        assert withheld(facts, wanted, Failures()) == ""


@pytest.mark.parametrize("kind", [kind for kind in get_args(Kind) if kind not in ("none", "found")])
def test_server_that_somebody_else_started_is_ended_before_anything_else(kind: Kind) -> None:
    stray = replace(STANDBY, stray=True)
    assert order(stray, replace(FOLLOW, kind=kind)) == StopFast()
    assert order(replace(stray, system_id=99), FOLLOW) is None, "of another database it is not ours to end"


@pytest.mark.parametrize(("name", "limit", "force"), [
    pytest.param("silent", HANGS, False, id="silent"),
    pytest.param("halted_for", NOTICED, True, id="its postmaster is stopped"),
    pytest.param("stalled", NOTICED, True, id="its disk hangs"),
])  # fmt: skip
def test_a_server_that_hangs_is_not_asked_to_stop_in_order(name: str, limit: float, force: bool) -> None:
    assert order(replace(REIGNING, **{name: limit - 1}), STOPPED) == StopFast()
    assert order(replace(REIGNING, **{name: limit}), STOPPED) == StopImmediate(force=force)


def test_a_postmaster_that_stands_still_is_said_and_ended_where_nobody_takes_over() -> None:
    assert reason(replace(REIGNING, halted=True, halted_for=1.0), PRIMARY, Failures()) == ""
    stopped = replace(REIGNING, halted=True, halted_for=SILENT_LIMIT)
    assert "nobody new is let in" in reason(stopped, PRIMARY, Failures())
    assert order(stopped, PRIMARY) is None
    assert order(replace(stopped, halted_for=SILENT_LIMIT + 1), PRIMARY) == StopImmediate(force=True)


def test_a_disk_that_hangs_is_said_and_a_start_where_it_is_would_not_help() -> None:
    stalled = replace(REIGNING, stalled=10 * SILENT_LIMIT)
    assert "does not take WAL" in reason(stalled, PRIMARY, Failures())
    assert order(stalled, PRIMARY) is None


MIB = 1 << 20
CROWDED = {"room": 3 * MIB, "room_total": 1000 * MIB}


def test_a_disk_without_room_is_said_and_costs_no_copy() -> None:
    failures = Failures()
    for _ in range(2 * START_ATTEMPTS):
        failures.failed(StartStandby(UP, TERMS), "no space left on device", now=0.0)
    assert isinstance(order(STANDBY, FOLLOW, failures, now=99.0), Clone)
    crowded = replace(STANDBY, **CROWDED, crashes=CRASHES_MOST - 1)
    assert not isinstance(order(crowded, FOLLOW, failures, now=99.0), Clone)
    said = reason(crowded, FOLLOW, failures)
    assert said.startswith("3 of 1000 MiB are left") and said.endswith("no space left on device")


@pytest.mark.parametrize(("room", "total", "said"), [
    (None, None, ""),
    (31 * MIB, 1000 * MIB, "31 of 1000 MiB are left on the disk of the database: writes fail"),
    (33 * MIB, 1000 * MIB, "only 33 of 1000 MiB are left on the disk of the database"),
    (60 * MIB, 1000 * MIB, ""),
    (LOW_MOST - MIB, 100 * LOW_MOST, "only 8191 of"),
    (LOW_MOST, 100 * LOW_MOST, ""),
])  # fmt: skip
def test_little_room_is_said_before_there_is_none(room: int | None, total: int | None, said: str) -> None:
    found = shortage(replace(REIGNING, room=room, room_total=total))
    assert found.startswith(said) and bool(found) == bool(said)
    larger = replace(REIGNING, room=room, room_total=total, segment_size=64 * MIB)
    assert full(larger) == (room is not None and room < 128 * MIB)
