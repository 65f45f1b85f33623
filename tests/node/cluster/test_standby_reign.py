"""Who leads a standby cluster, that no reign of it makes a primary, and how it comes to have one."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from qluster.cluster import commands
from qluster.cluster.commands import Founded, Reign, SettingsChanged
from qluster.cluster.messages import PositionReply
from qluster.cluster.reign import BRANCHES, BURST, Ask, Begin, HandOver, Succession, View, Wait, _branch
from qluster.cluster.state import STANDBY_OF, State
from qluster.events import Entry

SYSTEM = 77
LAST = Reign(4, 1, 8, 5, 500, SYSTEM, branch=5, standby=True)
VIEW = View(
    now=20.0, term=9, me=2, reign=LAST, own=None, intact=True, system_id=SYSTEM, asked=frozenset(),
    patience=3.0, retry=0.5, databases=frozenset({1, 2, 3}), reigns=(LAST,), standby=True, maximum_lag=0,
)  # fmt: skip
PROMOTED = replace(VIEW, standby=False, mode="quorum")


def reply(node: int, timeline: int, position: int) -> PositionReply:
    """An answer to the question of term 9."""
    return PositionReply(1, node, 9, SYSTEM, timeline, position, True, "")


def decided(view: View, *replies: PositionReply, began: float = 10.0) -> object:
    """What a leader decides on these answers."""
    search = Succession(9, began)
    for one in replies:
        search.receive(one)
    return search.decide(view)


def test_founding_begins_a_reign_without_a_primary() -> None:
    founded = decided(replace(VIEW, reign=None, reigns=(), found_at=(5, 500)))
    assert founded == Begin(Reign(1, 2, 9, 5, 500, SYSTEM, branch=5, standby=True))


def test_whoever_takes_over_waits_for_nobody_and_begins_no_timeline() -> None:
    view = replace(VIEW, mode="off", own=reply(2, 5, 700))
    begun = decided(view)
    assert begun == Begin(Reign(5, 2, 9, 5, 700, SYSTEM, bound_bytes=0, branch=5, standby=True))


def test_node_that_leads_is_preferred_when_it_is_hardly_behind() -> None:
    ahead = reply(3, 5, 700 + BURST)
    assert isinstance(decided(replace(VIEW, own=reply(2, 5, 700)), ahead), Begin)
    assert decided(replace(VIEW, own=reply(2, 5, 699)), ahead) == HandOver(3)
    assert decided(replace(VIEW, own=reply(2, 4, 700)), reply(3, 5, 600)) == HandOver(3), "an older timeline"


def test_node_that_leads_waits_for_its_own_database_before_it_gives_way() -> None:
    assert isinstance(decided(replace(VIEW, now=11.0), reply(3, 5, 700)), Wait)
    assert decided(replace(VIEW, now=20.0), reply(3, 5, 700)) == HandOver(3)


@pytest.mark.parametrize("me", [1, 2])
def test_promotion_takes_the_most_wal_also_from_the_node_that_led(me: int) -> None:
    view = replace(PROMOTED, me=me, asked=frozenset({1, 2, 3}) - {me})
    assert isinstance(decided(view, began=19.0), Ask), "all are asked first"
    assert decided(replace(view, own=reply(me, 5, 700)), reply(3, 5, 701)) == HandOver(3)
    begun = decided(replace(view, own=reply(me, 5, 701)), reply(3, 5, 700))
    assert isinstance(begun, Begin) and not begun.reign.standby and begun.reign.node == me
    assert begun.reign.branch == 5 + BRANCHES + 1, "the next numbers belong to the installation outside"
    assert begun.reign.standbys and begun.reign.needed == 1, "what is acknowledged from now on is guaranteed"
    assert begun.reign.bound_bytes is None, "what was written outside at last nobody knows"


def test_what_was_seen_outside_and_did_not_come_is_said_and_stops_no_promotion() -> None:
    begun = decided(replace(PROMOTED, own=reply(2, 5, 700), primary_seen=(5, 900)))
    assert isinstance(begun, Begin) and begun.reign.lost_bytes == 200


def test_setting_on_a_cluster_with_a_primary_promotes_nobody() -> None:
    own = replace(VIEW, reign=structs.replace(LAST, standby=False), own=reply(2, 5, 700))
    assert isinstance(decided(own), Wait)


@given(st.integers(1, 1000), st.integers(0, 300))
def test_numbers_of_timelines_stay_in_their_band(timeline: int, ahead: int) -> None:
    branch = _branch(timeline, timeline + ahead)
    assert timeline < branch <= timeline + 2 * BRANCHES
    assert (branch > timeline + BRANCHES) == (ahead > BRANCHES), "above what outside may have taken"
    assert branch != timeline + ahead, "no two reigns after another have the same"


def founded(value: str) -> State:
    """A cluster that was founded with this setting."""
    state = State()
    perform(state, Founded("second", {STANDBY_OF: value}))
    return state


def perform(state: State, body: commands.Body) -> None:
    """The next entry of the log."""
    assert state.apply(Entry(state.applied + 1, 1, "command", commands.encode(body))) is None


def test_log_takes_no_primary_while_something_outside_is_followed() -> None:
    state = founded("198.51.100.11:5432")
    perform(state, Reign(1, 1, 1, 5, 0, SYSTEM, branch=5, standby=True))
    perform(state, Reign(2, 2, 2, 5, 0, SYSTEM, branch=70))
    assert state.reign is not None and state.reign.number == 1
    perform(state, SettingsChanged({STANDBY_OF: ""}))
    assert not state.follows_outside
    perform(state, Reign(3, 2, 2, 5, 0, SYSTEM, branch=70))
    assert state.reign.number == 3 and not state.reign.standby


def test_file_that_names_an_installation_is_refused_by_a_cluster_founded_before_there_was_such_a_setting() -> None:
    state = State()
    perform(state, Founded("old", {"cluster.node-timeout": "3s"}))
    mine = {"cluster.node-timeout": "3s", STANDBY_OF: "198.51.100.11:5432"}
    assert state.accepts(mine)[STANDBY_OF] == ""
    assert state.accepts({**mine, STANDBY_OF: ""})[STANDBY_OF] == ""


def test_file_need_not_name_what_is_followed_any_more_once_the_cluster_is_founded() -> None:
    state = founded("198.51.100.11:5432")
    assert state.accepts({STANDBY_OF: ""}) == {STANDBY_OF: ""}
    assert state.accepts({STANDBY_OF: "198.51.100.9:5432"}) == {STANDBY_OF: "198.51.100.11:5432"}
    perform(state, SettingsChanged({STANDBY_OF: ""}))
    assert state.accepts({STANDBY_OF: "198.51.100.11:5432"}) == {STANDBY_OF: "198.51.100.11:5432"}


def test_reign_of_a_version_before_has_a_primary() -> None:
    text = commands.encode(Reign(2, 2, 2, 5, 0, SYSTEM, branch=6))
    key, body, fingerprint = msgspec.msgpack.decode(text)
    older = msgspec.msgpack.encode([key, body[:-1], fingerprint])
    assert commands.decode(older).body == Reign(2, 2, 2, 5, 0, SYSTEM, branch=6)
