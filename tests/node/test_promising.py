"""How long a node that starts keeps to the promise that it may have given before."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster.clients import SettingsChangeRequested
from qluster.cluster import commands
from qluster.cluster.state import State, encode
from qluster.consensus.members import Members
from qluster.events import Entry, Saved, Snapshot
from qluster.promising import promise_at_start
from sim.world import World

FOUNDED = commands.Founded("trial", {"cluster.node-timeout": "3s", "cluster.heartbeat-interval": "500ms"})
RAISED = commands.SettingsChanged({"cluster.node-timeout": "1m"})
OTHER = commands.SettingsChanged({"cluster.heartbeat-interval": "600ms"})


def entries(*bodies: commands.Body, first: int = 1) -> list[Entry]:
    return [Entry(index, 1, "command", commands.encode(body)) for index, body in enumerate(bodies, first)]


def snapshot(*bodies: commands.Body) -> Snapshot:
    state = State()
    for entry in entries(*bodies):
        state.apply(entry)
    return Snapshot(state.applied, 1, Members(()).encode(), encode(state))


@pytest.mark.parametrize(
    ("saved", "seconds"),
    [
        (Saved(7, 1), 3.0),
        (Saved(7, 1, entries=entries(FOUNDED, OTHER)), 3.0),
        (Saved(7, 1, entries=entries(FOUNDED, RAISED, OTHER)), 60.0),
        (Saved(7, 1, snapshot=snapshot(FOUNDED, RAISED)), 60.0),
        (Saved(7, 1, snapshot=snapshot(FOUNDED), entries=entries(RAISED, first=2)), 60.0),
        (Saved(7, 1, entries=[Entry(1, 1, "command", b"of a later version"), *entries(RAISED, first=2)]), 60.0),
        (Saved(7, 1, entries=entries(commands.SettingsChanged({"cluster.node-timeout": "1s"}))), 3.0),
        (Saved(7, 1, entries=entries(RAISED, commands.SettingsChanged({"cluster.node-timeout": "ever"}))), 60.0),
    ],
    ids=[
        "empty", "never changed", "raised", "in the snapshot", "after it", "unreadable entry", "lowered",
        "unreadable value",
    ],
)
def test_longest_of_file_and_log_counts(saved: Saved, seconds: float) -> None:
    assert promise_at_start(saved, 3.0) == seconds


def test_followers_that_restart_wait_out_a_lease_that_was_raised_since_their_files() -> None:
    world = World(11)
    for host in world.hosts.values():
        host.start()
    assert world.run(60, lambda: world.leader() is not None and world.primary() is not None)
    leader = world.leader()
    assert leader is not None and leader.node is not None
    before = leader.config.cluster.node_timeout
    leader.give(SettingsChangeRequested(900, "raise", {"cluster.node-timeout": "2m"}))
    world.run(3 * before)
    assert leader.node.config.cluster.node_timeout == 120 and before < 40
    leader.crash(held=True)  # to the others it is as if it were cut off, with its lease of 80 seconds
    for host in world.hosts.values():
        if host is not leader:
            host.crash(held=True)
            host.start()
    assert not world.run(110, lambda: world.leader() is not None)
    assert world.run(60, lambda: world.leader() is not None)
