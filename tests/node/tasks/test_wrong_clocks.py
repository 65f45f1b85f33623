"""Schedules under a leader whose clock was far ahead, and is set right."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster import looking, taking
from qluster.api import task_views
from qluster.api.task_shapes import ScheduleAnswer
from qluster.clients import Done, Refused
from qluster.cluster import commands
from qluster.tasks import asking
from qluster.tasks.bodies import Schedule, Submission
from qluster.tasks.kept import AHEAD_MAX
from qluster.tasks.schedules import silence
from qluster.tasks.spec import Command, Spec
from tasks.small_world import SmallHost, SmallNode, SmallWorld

YEAR = 365 * 86400.0
EVERY_MINUTE = Schedule("* * * * *", Submission(Spec(Command(("/bin/true",)))))


@pytest.fixture
def world() -> SmallWorld:
    """A well cluster with one schedule."""
    found = SmallWorld(5)
    found.loss, found.late, found.slow, found.behind, found.refusal = 0.0, 0.0, 0.001, 0.0, 0.0
    found.run(35.0)
    write(found)
    return found


def leader(world: SmallWorld) -> SmallNode:
    first = world.leader()
    assert first is not None and first.node is not None
    return first.node


def write(world: SmallWorld) -> object:
    node = leader(world)
    body = taking.take(node, asking.WriteSchedule("me", "s", EVERY_MINUTE), node.host.clock())  # type: ignore[arg-type]
    if not isinstance(body, Refused):
        world.propose(commands.encode(body))  # type: ignore[arg-type]
        world.run(1.0)
    return body


def set_clock(host: SmallHost, wrong: float) -> None:
    host.wrong = wrong
    assert host.node is not None
    host.node.set_clock()
    host.give(None)


def shown(world: SmallWorld) -> ScheduleAnswer:
    node = leader(world)
    found = looking.look(node, asking.ListSchedules("s"), node.host.clock())  # type: ignore[arg-type]
    assert isinstance(found, Done)
    return task_views.schedule(found)


def begun(world: SmallWorld, seconds: float) -> int:
    """Tasks that the schedule makes meanwhile."""
    before = leader(world).state.tasks.next
    world.run(seconds)
    return leader(world).state.tasks.next - before


def test_schedule_goes_on_when_the_clocks_of_most_say_that_one_was_ahead(world: SmallWorld) -> None:
    node = leader(world)
    set_clock(node.host, 10 * YEAR)
    assert begun(world, 130.0) >= 2
    assert node.state.tasks.schedules["s"].last > 1e9 + 9 * YEAR
    set_clock(node.host, 0.0)
    world.run(1.0)
    found = shown(world)
    assert found.silent == "" and "by a clock that was ahead" in found.skipped
    assert found.next is not None and found.next < "2002"
    assert 2 <= begun(world, 180.0) <= 4
    assert shown(world).skipped == ""


def test_schedule_is_silent_and_says_why_where_clocks_contradict_each_other(world: SmallWorld) -> None:
    node = leader(world)
    others = [host for host in world.hosts.values() if host is not node.host]
    for host in world.hosts.values():
        set_clock(host, 3 * YEAR)
    begun(world, 70.0)
    set_clock(node.host, 0.0)
    assert begun(world, 200.0) == 0, "theirs may be right"
    found = shown(world)
    assert "a clock that was 1095 days ahead of this one" in found.silent and "most nodes' clocks" in found.silent
    refused = write(world)
    assert isinstance(refused, Refused) and "They do not agree now" in refused.reason
    set_clock(others[0], 0.0)
    set_clock(others[1], 0.0)
    assert begun(world, 130.0) >= 2, "two of three voters agree"
    assert shown(world).silent == ""


def test_who_hears_of_no_other_clock_is_believed_when_he_writes_it_again(world: SmallWorld) -> None:
    node = leader(world)
    set_clock(node.host, YEAR)
    begun(world, 70.0)
    node.reports.wall_of = lambda number, now: None
    set_clock(node.host, 0.0)
    assert begun(world, 70.0) == 0 and shown(world).silent
    write(world)
    assert shown(world).silent == "" and begun(world, 130.0) >= 2


def test_clock_that_is_set_back_by_less_than_an_hour_brings_no_date_twice(world: SmallWorld) -> None:
    node = leader(world)
    set_clock(node.host, 900.0)
    begun(world, 70.0)
    last = node.state.tasks.schedules["s"].last
    set_clock(node.host, 0.0)
    assert begun(world, 300.0) == 0
    assert silence(node.state.tasks.schedules["s"], last - AHEAD_MAX) == ""
    assert node.state.tasks.schedules["s"].last == last
