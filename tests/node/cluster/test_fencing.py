"""When a new leader fences the former primary, when it goes on, and what the log remembers: each rule as a row."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from msgspec.structs import replace as change
from qluster.cluster import commands
from qluster.cluster.commands import FencingBegun, FencingConfirmed, FencingEnded, Reign
from qluster.cluster.fencing import SAID_MAX, SHOTS_MAX, Fenced, Fire, Go, Hold, Order, Shot, View, decide, succeeded
from qluster.cluster.state import State, decode, encode
from qluster.events import Entry

NOW = 1000.0
SILENT = View(now=NOW, me=2, term=7, reign=4, target=1, configured=True, heard_at=990.0, since=NOW)
"""The former primary was last heard ten seconds ago, and nothing was done yet."""
ORDERED = Fenced(node=1, reign=4, by=2, term=7, index=50, at=1e9)
FIRED = Shot(50, 999.0)
WELL = replace(FIRED, ended_at=NOW, success=True, said="switched off")
FAILED = replace(FIRED, ended_at=NOW, said="no route")
SPENT = Fenced(node=1, reign=4, by=2, term=7, index=50, at=1e9, shots=2)


def view(**changed: object) -> View:
    return replace(SILENT, **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        pytest.param(view(), Order, id="silent: a shot is put into the log first"),
        pytest.param(view(last=ORDERED), Fire, id="committed: it is fired"),
        pytest.param(view(last=ORDERED, shot=FIRED), Hold, id="under way: the reign waits"),
        pytest.param(view(last=ORDERED, shot=WELL), Go, id="succeeded: the reign begins"),
        pytest.param(view(target=2), Go, id="never itself"),
        pytest.param(view(word="it answered"), Go, id="word of it: no shot"),
        pytest.param(view(word="it answered", last=ORDERED, shot=FIRED), Go, id="word of it while the agents run"),
        pytest.param(view(configured=False), Go, id="no agents: as ever, its lease has ended"),
        pytest.param(view(configured=False, must_succeed=True), Go, id="no agents for this one, though others wait"),
        pytest.param(view(known=False), Go, id="a version that could not read the entry"),
        pytest.param(view(paused=True), Hold, id="never in a pause"),
        pytest.param(view(lease=False), Hold, id="never without a quorum"),
        pytest.param(view(delay=3.0), Hold, id="delay"),
        pytest.param(view(delay=3.0, since=NOW - 3.0), Order, id="delay over"),
        pytest.param(view(last=ORDERED, shot=FAILED), Hold, id="failed: a pause before the next attempt"),
        pytest.param(view(last=ORDERED, shot=replace(FAILED, ended_at=NOW - 1.0)), Order, id="failed: once more"),
        pytest.param(view(last=SPENT, shot=FAILED), Go, id="all attempts failed: its lease has ended"),
        pytest.param(view(last=SPENT, shot=FAILED, must_succeed=True), Hold, id="all failed, and success is asked for"),
        pytest.param(view(last=change(ORDERED, by=3, term=6, shots=2)), Order, id="a leader before failed: one more"),
        pytest.param(view(last=change(ORDERED, by=3, term=6, success=True)), Order,
                     id="a leader before succeeded: this one has not seen that there was no contact since"),
        pytest.param(view(last=change(ORDERED, by=3, term=6, shots=SHOTS_MAX)), Go, id="no more shots for one reign"),
        pytest.param(view(last=change(ORDERED, term=6), shot=FIRED), Hold, id="agents of an earlier term still run"),
        pytest.param(view(last=change(ORDERED, reign=3)), Order, id="a shot of an earlier reign is another matter"),
        pytest.param(view(last=change(ORDERED, reign=3), shot=WELL), Order, id="its success as well"),
        pytest.param(view(last=change(ORDERED, confirmed=True, success=True)), Go, id="an operator confirmed"),
        pytest.param(view(last=change(ORDERED, confirmed=True, success=True, reign=3)), Order,
                     id="an operator confirmed for an earlier reign"),
    ],
)  # fmt: skip
def test_decision(seen: View, expected: type) -> None:
    assert isinstance(decide(seen), expected), decide(seen)


def test_success_is_forgotten_on_contact() -> None:
    contacted = view(last=ORDERED, shot=WELL, heard_at=999.5)
    assert not succeeded(contacted)
    assert isinstance(decide(contacted), Hold), "one more attempt, after a pause"
    again = decide(replace(contacted, last=SPENT, must_succeed=True))
    assert isinstance(again, Hold) and "heard again" in again.reason


def test_success_counts_only_when_it_was_ordered_after_the_last_contact() -> None:
    assert succeeded(view(last=ORDERED, shot=WELL, heard_at=WELL.ordered_at))
    assert not succeeded(view(last=ORDERED, shot=WELL, heard_at=WELL.ordered_at + 0.001))
    assert succeeded(view(last=ORDERED, shot=WELL, heard_at=None)), "this leader never heard it at all"


def test_failure_never_ends_the_holding_back_sooner_than_the_attempts() -> None:
    """Whatever else is seen: before the last attempt has ended there is no reign but by word, success or operator."""
    random = Random(5)
    for _ in range(2000):
        shots = random.randint(1, 3)
        seen = view(
            attempts=3, last=change(ORDERED, shots=shots), must_succeed=random.random() < 0.5,
            shot=random.choice([None, FIRED, FAILED]), heard_at=random.choice([None, 990.0, 999.5]),
            lease=random.random() < 0.8, paused=random.random() < 0.2, delay=random.choice([0.0, 5.0]),
        )  # fmt: skip
        if isinstance(decide(seen), Go):
            assert shots == 3 and seen.shot == FAILED and not seen.must_succeed and seen.lease and not seen.paused


def test_shooting_ends_whoever_leads() -> None:
    """Leaders follow each other for ever, and the agents always fail: the log counts."""
    state, shot, shots = State(reigns=[Reign(4, 1, 5, 1, 0, 9)]), None, 0
    for turn in range(200):
        seen = view(
            me=2 + turn // 4 % 2, term=7 + turn // 4, last=state.fencings.of(1), shot=shot, now=NOW + 10 * turn,
            must_succeed=True,
        )  # fmt: skip
        match decide(seen):
            case Order():
                begun = FencingBegun(1, 4, seen.me, seen.term, 0.0)
                state.apply(Entry(state.applied + 1, seen.term, "command", commands.encode(begun)))
            case Fire(index):
                shots += 1
                shot = Shot(index, seen.now, seen.now + 1, said="no route")
    assert shots == SHOTS_MAX


# --- what the log remembers --------------------------------------------------------------

FIRST = Reign(1, 1, 3, 1, 0, 77)
SECOND = Reign(2, 2, 4, 1, 0, 77)
BEGUN = FencingBegun(1, 1, 2, 4, 1e9)


def state(*bodies: commands.Body) -> State:
    """The state after these, which went through a snapshot at each step."""
    found = State()
    for index, body in enumerate(bodies, start=1):
        found = decode(encode(found), index - 1)
        assert found.apply(Entry(index, 1, "command", commands.encode(body))) is None
    return found


def test_log_has_who_was_fenced_by_whom_and_what_came_of_it() -> None:
    found = state(FIRST, BEGUN).fencings.of(1)
    assert found is not None and (found.by, found.index, found.shots, found.success) == (2, 2, 1, None)
    ended = state(FIRST, BEGUN, FencingEnded(1, 2, True, "x" * 1000, 2e9), FencingEnded(1, 2, False, "late", 3e9))
    found = ended.fencings.of(1)
    assert found is not None and found.success is True and found.said == "x" * SAID_MAX and found.ended_at == 2e9


def test_log_counts_the_shots_of_one_reign() -> None:
    found = state(FIRST, BEGUN, BEGUN, SECOND, FencingBegun(2, 2, 1, 5, 1e9)).fencings
    assert [(one.node, one.shots) for one in found.last] == [(1, 2), (2, 1)]
    void = state(FIRST, SECOND, BEGUN).fencings
    assert void.last == (), "ordered for a reign that was over by then"


def test_operator_confirms_for_the_reign_in_force_only() -> None:
    found = state(FIRST, BEGUN, FencingConfirmed(1, 1, 2e9)).fencings.of(1)
    assert found is not None and found.confirmed and found.success and found.shots == 1
    assert state(FIRST, SECOND, FencingConfirmed(1, 1, 2e9)).fencings.of(1) is None


def test_node_that_is_removed_is_forgotten() -> None:
    found = state(FIRST, BEGUN)
    found.note_members([2, 3])
    assert found.fencings.last == ()
