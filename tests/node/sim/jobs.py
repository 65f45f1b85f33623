"""What a host's hands do: orders that take time, and that fail, hang, or are cut off half-way.

The moment at which an order takes effect lies somewhere between its begin and its end: an order whose
end was never told may have been carried out all the same.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from qluster.database.orders import (
    Checkpoint,
    CheckSettings,
    Clone,
    CloneOutside,
    Detach,
    Follow,
    FollowOutside,
    Initialise,
    Look,
    Order,
    Promote,
    Restart,
    Rewind,
    RewindOutside,
    StartPrimary,
    StopFast,
    StopImmediate,
)
from qluster.events import (
    AgentsEnded,
    CancelJob,
    CheckFence,
    Fence,
    FetchSnapshot,
    HoldPool,
    Job,
    JobEnded,
    PowerOn,
    Repoint,
)
from qluster.node import Node

from sim.database import SECONDS, Failed

if TYPE_CHECKING:
    from sim.host import Host

OTHER_SECONDS = (0.01, 0.1)
HANG_SECONDS = (4.0, 15.0)
"""How long an order hangs until its hand gives up; the real limits lie between 15 and 60 s."""
CANCELLED_SECONDS = 0.01
LATE_EFFECT = 0.3
"""Chance that a cancelled order takes effect all the same."""


@dataclass(slots=True)
class Running:
    """A job under way."""

    job: Job
    node: Node
    done: bool = False
    """It has taken effect."""
    fault: str = ""
    result: object = None


class Jobs:
    """The jobs of one host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._running: dict[int, Running] = {}

    def clear(self) -> None:
        """The daemon is gone, its processes with it."""
        self._running = {}

    def __len__(self) -> int:
        return len(self._running)

    def start(self, node: Node, job: Job) -> None:
        """Begin."""
        if isinstance(job.order, CancelJob):
            self._cancel(job.order.number)
            return
        host, world = self._host, self._host.world
        running = self._running[job.number] = Running(job, node)
        seconds = world.random.uniform(*SECONDS.get(type(job.order), OTHER_SECONDS))
        if isinstance(job.order, Look):
            seconds = job.order.seconds
        chance = world.random.random()
        if chance < world.faults.job_hang:
            seconds, running.fault = world.random.uniform(*HANG_SECONDS), "it did not end in time"
        elif chance < world.faults.job_hang + world.faults.job_failure:
            running.fault = "it failed"
        world.tell(f"{host.name} begins {_text(job.order)}")
        if isinstance(job.order, Rewind | RewindOutside) and host.database is not None:
            host.database.kill()
        begun, ends = world.now, world.now + seconds
        if isinstance(job.order, Fence):
            self._misbehave(running, world.hosts[job.order.ip], ends)
        if host.stuck_until > world.now:
            running.fault, running.done = "its disk does not answer", True
        if not running.fault or world.random.random() < LATE_EFFECT:
            world.at(world.random.uniform(begun, ends), lambda: self._take_effect(job.number, running))
        world.at(ends, lambda: self._end(job.number, running))

    def _misbehave(self, running: Running, target: Host, ends: float) -> None:
        """A fence agent does not reach its device, or says that it switched a host off and did not."""
        world = self._host.world
        if world.faults.agent_fails and world.random.random() < world.faults.agent_fails:
            world.count("fence agent fails")
            running.done, running.fault = True, "no route to the device"
        elif world.faults.agent_lies and world.random.random() < world.faults.agent_lies:
            world.count("fence agent lies")
            target.lied_at, running.done = ends, True

    def _alive(self, number: int, running: Running) -> bool:
        return self._running.get(number) is running and self._host.node is running.node

    def _take_effect(self, number: int, running: Running) -> None:
        """The order changes what it changes, unless it was cancelled."""
        if not self._alive(number, running) or running.done:
            return
        running.done = True
        whole = FetchSnapshot | Clone | CloneOutside | Initialise | Rewind | RewindOutside
        if isinstance(running.job.order, whole) and running.fault:
            return
        self._try(running, lambda: self._apply(running.job.order))

    def _try(self, running: Running, act: Callable[[], None]) -> None:
        try:
            act()
        except Failed as failure:
            running.fault = running.fault or str(failure)
            if failure.passing:
                running.fault = "passing: " + running.fault

    def _apply(self, order: object) -> None:
        host, world = self._host, self._host.world
        if host.host_frozen and host.frozen:
            raise Failed("the host stood still", passing=True)
        match order:
            case Repoint():
                host.pool_target, host.pool_reign = order.primary, (order.founding, order.reign)
                host.pool_held_since = inf
                world.checks.repointed(host, order)
            case HoldPool():
                host.pool_held_since = min(host.pool_held_since, world.now)
            case FetchSnapshot() | CheckSettings() | Look() | CheckFence():
                pass
            case Fence(_, ip):
                if world.hosts[ip].unfenceable:
                    raise Failed("no route to the device")
                world.hosts[ip].switch_off()
            case PowerOn(ip):
                if world.hosts[ip].unrevivable:
                    raise Failed("its power supply does not answer")
                world.hosts[ip].switch_on()
            case _:
                self._order(order)  # type: ignore[arg-type]

    def _order(self, order: Order) -> None:
        host, world = self._host, self._host.world
        database = host.database
        assert database is not None, "only a database host is ordered about its database"
        if isinstance(order, StopFast) and database.running:
            database.shut_down()
            world.flush_standbys(host)
        if isinstance(order, Promote) and database.running and database.in_recovery:
            world.checks.before_promotion(host, order.reign)
        if isinstance(order, StartPrimary) or (isinstance(order, Restart) and order.reign):
            world.checks.before_start(host)
        database.perform(order, lambda address: world.network.server(host, address), world.random)
        world.checks.ordered(host, order)
        if not isinstance(order, (StopFast, StopImmediate, Detach, Follow, FollowOutside, Checkpoint)):
            host.server_started()

    def _end(self, number: int, running: Running) -> None:
        if not self._alive(number, running):
            return
        if not running.done and not running.fault:
            self._take_effect(number, running)
        result: object = None
        if isinstance(running.job.order, FetchSnapshot) and not running.fault:
            self._try(running, lambda: None)
            result = self._snapshot(running)
        if isinstance(running.job.order, CheckSettings) and not running.fault:
            self._try(running, lambda: setattr(running, "result", self._checked(running.job.order)))
            result = running.result
        if isinstance(running.job.order, Fence | CheckFence | PowerOn) and not running.fault:
            result = AgentsEnded(True, "switched off" if isinstance(running.job.order, Fence) else "well")
        del self._running[number]
        passing = running.fault.startswith("passing: ")
        error = running.fault.removeprefix("passing: ") or None
        self._told(running, JobEnded(number, passing if error else result, error))

    def _checked(self, order: object) -> object:
        assert isinstance(order, CheckSettings) and self._host.database is not None
        return self._host.database.checked(order)

    def _snapshot(self, running: Running) -> object:
        order = running.job.order
        assert isinstance(order, FetchSnapshot)
        host, world = self._host, self._host.world
        other = world.hosts.get(order.address[0])
        if other is None or other.node is None or other.frozen or not world.network.connected(host, other):
            running.fault = f"{order.address[0]} does not answer"
            return None
        snapshot = other.node.snapshot
        if snapshot is None or snapshot.index < order.index:
            running.fault = "there is no such snapshot"
            return None
        world.count("snapshot fetched", fault=False)
        return snapshot

    def _cancel(self, number: int) -> None:
        running, world = self._running.get(number), self._host.world
        if running is None:
            return
        world.tell(f"{self._host.name} cancels {_text(running.job.order)}")
        if not running.done and world.random.random() < LATE_EFFECT:
            self._take_effect(number, running)
        running.done, running.fault = True, "passing: it was cancelled"
        world.at(world.now + CANCELLED_SECONDS, lambda: self._end(number, running))

    def _told(self, running: Running, ended: JobEnded) -> None:
        host = self._host
        host.world.tell(f"{host.name} ended {_text(running.job.order)} {ended.error or ''}")
        host.endings += 1
        host.give(ended)
        if host.database is not None and host.node is running.node:
            host.look()


def _text(order: object) -> str:
    """An order in few words."""
    name = type(order).__name__
    for field in ("upstream", "reign", "primary", "index"):
        if hasattr(order, field):
            name += f" {field}={getattr(order, field)}"
    return name
