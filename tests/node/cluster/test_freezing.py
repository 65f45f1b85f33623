"""The bytes of a snapshot made in pieces are those of the state as it was when it began."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from fuzz import examples
from qluster.cluster import commands, freezing
from qluster.cluster.freezing import Freezing
from qluster.cluster.state import State, encode
from qluster.events import Entry
from qluster.tasks.bodies import Assigned, Ended, Submission, TasksMoved, TasksSubmitted, Verdict
from qluster.tasks.packed import Packed


def whole(state: State) -> bytes:
    """All of it, without a pause."""
    made = Freezing(state, Packed(state.tasks).live())
    while (found := made.step()) is None:
        pass
    return found


def say(state: State, body: commands.Body, key: str = "") -> int:
    """An entry with it; its index."""
    entry = Entry(state.applied + 1, 1, "command", commands.encode(body, key))
    state.apply(entry)
    return entry.index


def crowd(count: int) -> State:
    """A state with so many of everything there may be many of."""
    state = examples.state()
    for number in range(count):
        say(state, commands.ValueWritten(f"value {number}", bytes(number % 40), None), f"key {number}")
    first = state.tasks.next
    for begin in range(0, 2 * count, 50):
        asked = tuple(Submission(examples.SPEC, f"task {number}") for number in range(begin, begin + 50))
        say(state, TasksSubmitted(1e9, "me", asked), f"request {begin}")
    for begin in range(first, first + count, 50):
        numbers = range(begin, begin + 50)
        fence = say(state, TasksMoved(1e9, tuple(Assigned(number, 1) for number in numbers)))
        say(state, TasksMoved(1e9, tuple(Ended(number, fence, Verdict.DONE, 1e9) for number in numbers)))
    return state


STATES = {"empty": State(), "few": examples.state(), "some": crowd(100), "many": crowd(500)}


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
def test_pieces_are_the_whole(state: State, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freezing, "PIECE_SIZE", size)
    assert whole(state) == encode(state)


def test_what_changes_meanwhile_is_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freezing, "PIECE_SIZE", 400)
    state = crowd(200)
    before, packed = encode(state), Packed(state.tasks)
    made, pieces, live = Freezing(state, packed.live()), 1, sorted(state.tasks.live)
    while (found := made.step()) is None:
        pieces += 1
        say(state, commands.ValueWritten(f"value {pieces}", b"another", None), f"later {pieces}")
        say(state, TasksSubmitted(1e9, "me", (Submission(examples.SPEC),)), f"more {pieces}")
        fence = say(state, TasksMoved(1e9, (Assigned(live[pieces % len(live)], 1),)))
        say(state, TasksMoved(1e9, (Ended(live[pieces % len(live)], fence, Verdict.DONE, 1e9),)))
        state.tasks.forget(1)
        packed.note(state.tasks.touched)
    assert pieces > 20 and made.index < state.applied
    assert found == before
    assert whole(state) == encode(state)


def test_heads_are_those_of_the_encoder() -> None:
    """Which writes the shortest: what a mapping may grow to is tried at each of its widths."""
    for count in (0, 1, 15, 16, 17, 65_535, 65_536, 70_000):
        state = State(keys={f"{number}": number for number in range(count)})
        assert whole(state) == encode(state), count
