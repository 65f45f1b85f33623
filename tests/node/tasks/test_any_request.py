"""Whatever is asked about tasks is refused or taken on, and what was taken on can be shown: no leader ends of it."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from random import Random
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from qluster.api import task_views
from qluster.api.tasks import read_schedule, read_tasks, read_template
from qluster.clients import Done, TaskRequested
from qluster.tasks import asking
from sim.checks import Violated
from tasks.small_world import SmallWorld
from tasks.test_small_cases import leader

ODD: tuple[Any, ...] = (
    "", "a", "-", "/bin/true", "é", "a" * 3000, "\n", "a\0b", "{a}", "{", "(a+)+b", "(", "t", "s", 0, 1, -1, 2**63, 0.5,
    1e300, True, None, [], {}, "5m", "0s", "2030-01-31T02:30:00Z", "9998-12-31T23:59:59-23:59", "disk=ssd",
    "* * * * *", "0 0 29 2 *", "Europe/Berlin", "one", "all", "any", "leader", "replica", "success", "stop",
)  # fmt: skip
SOUND: dict[str, tuple[Any, ...]] = {
    "command": (["/bin/true"], ["/bin/x", "{a}", "{b}"]), "shell": ("echo $A",), "sql": ("select :'a'",),
    "template": ("t", "s", "none"), "parameters": ({}, {"a": "x"}, {"a": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}),
    "environment": ({"A": "{a}"}, {"B": "x" * 200}), "directory": ("/tmp",), "user": ("nobody",), "name": ("n", "{a}"),
    "target": ({"role": "replica", "least_lag": True}, {"each": True}, {"nodes": [1, 9]}, {"where": "a=b|c, !d"}),
    "priority": (0, 9), "slots": (0, 1, 1000), "resources": ({"gpu": 1},), "time_limit": (0, 1.5, "1h"),
    "retry": ({"attempts": 1000, "factor": 100}, {"attempts": 1, "delay": 0}), "once": (True,), "overlap": (True,),
    "moved": ("stay", "restart"), "needs": ([1], [-1], [{"task": -2, "on": "any"}], [2, 1]), "group": ("g",),
    "group_limit": (1, 1000), "limits": ({"output": 0}, {"memory": 1, "cpu": 0.1}), "key": ("k", "l"),
    "start": ("2001-01-01T00:00:00Z", "9998-12-31T23:59:59.999999-23:59"), "expires": ("9998-12-31T23:59:59Z",),
    "database": ("postgres",), "role": ("reader",), "variables": ({"a": "b"},),
    "cron": ("* * * * *", "0 0 29 2 *", "30 2 L * *"), "zone": ("Europe/Berlin", "Factory", "Etc/GMT-14"),
    "missed": ("skip", "one", "all"), "enabled": (True, False), "about": ("why",),
}  # fmt: skip
WORKS = ("command", "shell", "sql", "template")
MORE = ("name", "priority", "key", "start", "expires", "needs")
OWN = ("target", "slots", "resources", "time_limit", "retry", "once", "overlap", "moved", "group", "group_limit",
       "limits")  # fmt: skip


class Client:
    """Asks for something that nobody thought of."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)

    def value(self, name: str) -> Any:
        odd = self.random.random() < 0.04
        return self.random.choice(ODD if odd else SOUND[name])

    def task(self, *more: str) -> dict[str, Any]:
        random, found = self.random, dict[str, Any]()
        work = random.choice(WORKS)
        found[work] = self.value(work)
        names = [*more, *(() if work == "template" else OWN)]
        names += {"template": ("parameters",), "sql": ("database", "role", "variables")}.get(
            work, ("environment", "directory"))  # fmt: skip
        found |= {name: self.value(name) for name in names if random.random() < 0.12}
        if random.random() < 0.02:
            found[random.choice([*SOUND, "x"])] = random.choice(ODD)
        return found

    def change(self) -> asking.Change | None:
        """None: it is refused by its form alone."""
        random = self.random
        match random.choice(["tasks", "tasks", "tasks", "template", "schedule", "cancel", "drain"]):
            case "tasks":
                batch = [self.task(*MORE) for _ in range(random.choice([1, 1, 1, 3]))]
                tasks, faults = read_tasks(batch[0] if len(batch) == 1 else {"tasks": batch})
                return None if faults else asking.Submit("me", tasks, check=random.random() < 0.2)
            case "template":
                pattern = random.choice(["(", "(a+)+b", "[ax]*", "", r"\1"])
                body = {"task": self.task("name"), "about": self.value("about"),
                        "parameters": {"a": {"pattern": pattern}, "b": {"default": "x"}}}  # fmt: skip
                name = random.choice("ts")
                template, faults = read_template(body, name)
                return None if faults else asking.WriteTemplate("me", name, template)
            case "schedule":
                fields = {name: self.value(name) for name in ("zone", "missed", "overlap", "enabled")
                          if random.random() < 0.5}  # fmt: skip
                schedule, filling, faults = read_schedule(
                    {"cron": self.value("cron"), "task": self.task("name"), **fields}, "me")
                return None if faults else asking.WriteSchedule("me", random.choice("xyz"), schedule, filling)
            case "cancel":
                return asking.Cancel("me", random.randint(0, 40), "\U0001f4a9" * 300)
        return asking.Drain("me", random.randint(0, 5), random.random() < 0.5, random.choice([0.0, 1e7]))


def show_all(world: SmallWorld) -> None:
    """All that there is to see, as an answer has it."""
    node = leader(world).node
    assert node is not None
    board = node.state.tasks
    whats: list[asking.Look] = [asking.ListTasks(), asking.ListTemplates(), asking.ListSchedules(), asking.Overview()]
    views = {asking.ListTasks: task_views.listed, asking.ListTemplates: task_views.templates,
             asking.ListSchedules: task_views.schedules, asking.Overview: task_views.summary,
             asking.ShowTask: task_views.task}  # fmt: skip
    for what in [*whats, *map(asking.ShowTask, [*board.live, *board.history])]:
        done = node.tasking.looked(type("", (), {"what": what})(), world.now)  # type: ignore[arg-type]
        assert isinstance(done, Done)
        json.loads(msgspec.json.encode(views[type(what)](done)))


@pytest.mark.parametrize("seed", range(3))
def test_no_request_ends_a_leader(seed: int) -> None:
    world, client, asked = SmallWorld(1000 + seed), Client(seed), 0
    world.loss, world.late, world.slow, world.behind = 0.0, 0.0, 0.001, 0.0
    world.run(20.0, lambda: world.leader() is not None and world.leader().node.leads)  # type: ignore[union-attr]
    for host in world.hosts.values():
        assert host.node is not None
        if host.config.tasks is not None:
            allowed = replace(host.config.tasks, shell=True, sql_roles=("reader",), users=("nobody",))
            host.node.config = host.config = replace(host.config, tasks=allowed)
    for number in range(400):
        change = client.change()
        if change is not None:
            asked += 1
            try:
                leader(world).give(TaskRequested(1_500_000_000 + number, "", change))
                world.run(client.random.choice([0.01, 0.01, 0.3]))
            except Violated as violated:  # the simulator's own clients are never refused
                assert "refused" in str(violated)
        if number % 50 == 49:
            world.run(30.0)
            show_all(world)
    node = leader(world).node
    assert asked > 150 and node is not None and node.state.tasks.next > 40
