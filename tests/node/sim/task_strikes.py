"""What happens to the runners of tasks, beside what happens to hosts and links."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from sim.runner import SimRunner
from sim.world import World

TASKED = range(400_000, 500_000)
"""Seeds of clusters whose hosts run tasks."""


def _one(world: World) -> SimRunner | None:
    runners = [host.runner for host in world.hosts.values() if host.runner is not None and host.node is not None]
    return world.random.choice(runners) if runners else None


def disconnect_runner(world: World) -> None:
    """A daemon and its runner lose each other for a while; runs go on."""
    runner = _one(world)
    if runner is not None:
        runner.disconnect(world.random.choice([0.01, 0.5, 3.0, 15.0]))


def kill_runner(world: World) -> None:
    """A runner dies with all that it runs."""
    runner = _one(world)
    if runner is not None:
        runner.die(world.random.choice([0.1, 1.0, 5.0]))


def stop_runner(world: World) -> None:
    """A runner is stopped in order, and started again."""
    runner = _one(world)
    if runner is not None:
        runner.stop(world.random.choice([0.1, 5.0, 30.0]))


def fill_runner(world: World) -> None:
    """A runner's disk is full for a while."""
    runner = _one(world)
    if runner is not None:
        runner.fail(world.random.uniform(0.1, 6.0))


def cut_long(world: World) -> None:
    """A host is cut off for longer than a lease, or for nearly as long."""
    hosts = [host for host in world.hosts.values() if host.node is not None]
    if hosts:
        host = world.random.choice(hosts)
        world.tell(f"{host.name} is cut off for long")
        world.disturbed()
        world.network.isolate(host)
        world.run(world.random.uniform(8.0, 16.0))
        world.network.cut.clear()
        world.disturbed()


def freeze_long(world: World) -> None:
    """A whole host stands still for longer than a lease; in half of the worlds it sleeps."""
    hosts = [host for host in world.hosts.values() if host.node is not None]
    if hosts:
        host = world.random.choice(hosts)
        world.tell(f"{host.name} stands still for long")
        world.disturbed()
        seconds, whole = world.random.uniform(8.0, 20.0), world.random.random() < 0.7
        host.freeze(seconds, whole=whole, asleep=whole and world.seed % 2 == 1)


TASK_STRIKES = [
    ("runner disconnected", 3.0, disconnect_runner),
    ("runner killed", 3.0, kill_runner),
    ("runner stopped", 3.0, stop_runner),
    ("runner full", 2.0, fill_runner),
    ("cut off for long", 3.0, cut_long),
    ("standing still for long", 3.0, freeze_long),
]
