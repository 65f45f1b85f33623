"""Settings that nobody says while they are at their default: what a file may say of them beside the log."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from qluster.cluster import commands
from qluster.cluster.commands import Founded, SettingsChanged
from qluster.cluster.state import State
from qluster.config import differences
from qluster.events import Entry

PROVIDER = "quorum.provider"
TIMEOUT = {"cluster.node-timeout": "3s"}


def founded(settings: dict[str, str]) -> State:
    state = State()
    perform(state, Founded("main", settings))
    return state


def perform(state: State, body: commands.Body) -> None:
    assert state.apply(Entry(state.applied + 1, 1, "command", commands.encode(body))) is None


def wrong(state: State, file: dict[str, str]) -> list[str]:
    return differences(file, state.accepts(file))


def test_file_that_wants_votes_where_the_cluster_counts_none_is_told_so() -> None:
    state = founded(TIMEOUT)
    assert not wrong(state, TIMEOUT)
    [sentence] = wrong(state, TIMEOUT | {PROVIDER: "votequorum"})
    assert "quorum.provider is votequorum here and none in the cluster" in sentence


def test_founder_may_say_what_it_wants() -> None:
    assert not wrong(State(), TIMEOUT | {PROVIDER: "votequorum"})


def test_file_may_leave_unsaid_what_the_log_says() -> None:
    state = founded(TIMEOUT | {PROVIDER: "votequorum"})
    assert not wrong(state, TIMEOUT) and not wrong(state, TIMEOUT | {PROVIDER: "votequorum"})
    perform(state, SettingsChanged({PROVIDER: "none", "quorum.two_node": "true"}))
    assert not wrong(state, TIMEOUT) and not wrong(state, TIMEOUT | {PROVIDER: "votequorum"})


def test_cluster_that_was_founded_before_the_history_of_tasks_had_limits_takes_files_with_the_defaults() -> None:
    limits = {"cluster.task-history": "100000", "cluster.task-history-time": "720h"}
    state = founded(TIMEOUT)
    assert not wrong(state, TIMEOUT) and not wrong(state, TIMEOUT | limits)
    perform(state, SettingsChanged({"cluster.task-history": "50"}))
    assert not wrong(state, TIMEOUT), "a file at the default does not say it"
    assert state.values()["cluster.task-history"] == "50"
