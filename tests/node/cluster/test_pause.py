"""What a pause is in the replicated state: who may reign in it and after it, whatever else the log holds."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster.cluster import commands
from qluster.cluster.commands import Bound, Paused, Reign, Resumed
from qluster.cluster.pause import Pause
from qluster.cluster.state import State, decode, encode
from qluster.events import Entry

FIRST = Reign(1, 1, 3, 1, 0, 77)
ITS_OWN = Reign(2, 1, 4, 1, 0, 77)
ANOTHERS = Reign(2, 2, 4, 1, 0, 77)
PAUSED = Paused("work on the network")


def state(*bodies: commands.Body) -> State:
    """The state after these, which went through a snapshot at each step."""
    found = State()
    for index, body in enumerate(bodies, start=1):
        found = decode(encode(found), index - 1)
        assert found.apply(Entry(index, 1, "command", commands.encode(body))) is None
    return found


def test_pause_names_the_node_of_the_reign_and_the_reason() -> None:
    assert state(FIRST, PAUSED).pause == Pause(True, "work on the network", loose=1, since=2)
    assert state(PAUSED).pause.loose == 0, "no primary, nobody to wait for"


def test_nobody_else_reigns_in_a_pause_and_its_node_may() -> None:
    assert state(FIRST, PAUSED, ANOTHERS).reign == FIRST
    assert state(FIRST, PAUSED, ITS_OWN).reign == ITS_OWN


def test_nobody_else_reigns_after_a_pause_before_its_node_is_bound() -> None:
    assert state(FIRST, PAUSED, Resumed(), ANOTHERS).reign == FIRST
    assert state(FIRST, PAUSED, Resumed(), Bound(1, 3), ANOTHERS).reign == ANOTHERS


@pytest.mark.parametrize(
    "word",
    [pytest.param(Bound(1, 2), id="of before the resume"), pytest.param(Bound(2, 3), id="of another node"),
     pytest.param(Resumed(2), id="that gives up somebody else")])
def test_word_that_proves_nothing_changes_nothing(word: commands.Body) -> None:
    assert state(FIRST, PAUSED, Resumed(), word, ANOTHERS).reign == FIRST


def test_word_of_an_earlier_pause_does_not_end_a_later_one() -> None:
    after = state(FIRST, PAUSED, Resumed(), PAUSED, Bound(1, 3), Resumed(), Bound(1, 3))
    assert (after.pause.active, after.pause.loose, after.pause.since) == (False, 1, 6)


def test_node_that_is_given_up_is_waited_for_no_longer() -> None:
    assert state(FIRST, PAUSED, Resumed(1), ANOTHERS).reign == ANOTHERS
    assert state(FIRST, PAUSED, Resumed(), Resumed(1), ANOTHERS).reign == ANOTHERS


def test_state_of_an_older_version_is_not_paused() -> None:
    assert decode(b"\x81\xa7applied\x07").pause == Pause()
