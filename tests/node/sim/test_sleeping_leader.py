"""A leader whose host slept: what it was allowed to give before that, it may not give afterwards."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest
from qluster.clients import TaskRequested
from qluster.tasks import asking
from qluster.tasks.bodies import Submission
from qluster.tasks.spec import Command, Spec

from sim import runner
from sim.checks import Checks, Violated, converged
from sim.host import Host
from sim.world import World

LISTENER = "10.0.0.4"
SECONDS = (7.0, 8.5, 9.5)
"""For which it sleeps: the successor is elected meanwhile, and has not given its claims to others yet."""


@contextmanager
def clock_stands_still() -> Iterator[None]:
    """The daemon goes by CLOCK_MONOTONIC, as its runner does: a host that slept has lost no time by it."""
    with (
        patch.object(Host, "clock", lambda self: self.world.now * self.clock_rate + self.clock_offset - self.slept),
        patch.object(Host, "world_time", lambda self, at: (at - self.clock_offset + self.slept) / self.clock_rate),
        patch.object(Host, "awake_at", lambda self, at: at),
    ):
        yield


def founded(monkeypatch: pytest.MonkeyPatch) -> World:
    """Three nodes and a listener, on each of which a task runs for long."""
    monkeypatch.setattr(runner, "LENGTHS", (60.0,))
    world = World(11, tasks=True)
    for host in world.hosts.values():
        host.start()
    assert world.run(60.0, lambda: not converged(world)), converged(world)
    assert all(host.runner is not None for host in world.hosts.values())
    world.run(15.0)
    return world


def begun_on(world: World, host: Host) -> None:
    """A task runs there, while all others are drained; then they no longer are."""
    primary, tickets = world.primary(), itertools.count(10**9)
    assert primary is not None and world.tasks is not None
    others = [one.node.me for one in world.hosts.values() if one is not host and one.node is not None]

    def ask(what: asking.Change) -> None:
        primary.give(TaskRequested(next(tickets), "", what))

    for other in others:
        ask(asking.Drain("me", other, True))
    ask(asking.Submit("me", (Submission(Spec(Command(("/bin/true",)))),)))
    assert world.run(5.0, lambda: world.tasks is not None and world.tasks.ledger.all == 1, every=0.0)
    for other in others:
        ask(asking.Drain("me", other, False))
    world.run(3.0)


def sleeps(world: World, seconds: float) -> None:
    """The leader sleeps, and the listener, which has a task, reaches nobody else."""
    primary, listener = world.primary(), world.hosts[LISTENER]
    assert primary is not None
    begun_on(world, listener)
    world.disturbed()
    for other in world.hosts.values():  # a host that sleeps hears nothing; when it goes on, these are not there yet
        if other not in (primary, listener):
            for one in (primary, listener):
                world.network.cut |= {(one.ip, other.ip), (other.ip, one.ip)}
    primary.freeze(seconds, whole=True, asleep=True)
    world.run(60.0)


@pytest.mark.parametrize("seconds", SECONDS)
def test_a_leader_that_slept_gives_no_leave_beyond_its_office(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Its successor counts from its own beginning: what the former one grants after that nobody knows of."""
    world = founded(monkeypatch)
    sleeps(world, seconds)
    assert world.tasks is not None and world.tasks.ledger.all == 2, "its successor gave the task to another"


def test_a_leader_whose_clock_stood_still_says_that_it_may_be_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Violated, match="both say that they may be written to"), clock_stands_still():
        sleeps(founded(monkeypatch), 9.5)


def test_a_leader_whose_clock_stood_still_lets_a_task_run_twice_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for check in ("one_claims_to_be_written_to", "one_lease", "one_writer"):
        monkeypatch.setattr(Checks, check, lambda *_: None)
    with pytest.raises(Violated, match="task 1 runs on host"), clock_stands_still():
        for seconds in SECONDS:
            sleeps(founded(monkeypatch), seconds)
