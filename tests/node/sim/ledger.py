"""Which runs of tasks go on where, over all hosts: what no log says, and what must hold of it.

A run on a host that stands still does not run. Tasks are named by founding and number.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import TYPE_CHECKING

from qluster.tasks.runner import StartRun

from sim.checks import Violated

if TYPE_CHECKING:
    from sim.host import Host
    from sim.world import World

Claim = tuple[int, int]


class Ledger:
    """The runs of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._going: dict[tuple[int, int], dict[tuple[str, int], bool]] = {}
        """Task → the host and fencing number of each run that goes on, and whether it is tied."""
        self._fences: dict[tuple[int, int], int] = {}
        self.once: set[tuple[int, int]] = set()
        """Tasks that are to be begun once at most."""
        self.begun: dict[tuple[int, int], int] = {}
        self.most = 0
        """Runs that went on at once."""

    @property
    def all(self) -> int:
        """Runs that ever began."""
        return sum(self.begun.values())

    def begins(self, host: Host, owner: tuple[int, int], claim: Claim, order: StartRun) -> None:
        """A run began."""
        task = owner[0], claim[0]
        self.begun[task] = self.begun.get(task, 0) + 1
        if task in self.once and self.begun[task] > 1:
            raise Violated(f"tasks: {host.name} begins task {claim} a second time, which is run once at most")
        if claim[1] <= self._fences.get(task, 0):
            raise Violated(f"tasks: {host.name} begins task {claim} after fencing number {self._fences[task]}")
        self._fences[task] = claim[1]
        self._going.setdefault(task, {})[host.name, claim[1]] = order.tied
        self.goes_on(host, owner, claim)
        self.most = max(self.most, sum(map(len, self._going.values())))

    def goes_on(self, host: Host, owner: tuple[int, int], claim: Claim) -> None:
        """No other run of this task goes on, unless the task may overlap."""
        runs = self._going.get((owner[0], claim[0]), {})
        if not runs.get((host.name, claim[1])):
            return
        for name, fence in runs:
            other = next(one for one in self._world.hosts.values() if one.name == name)
            still = other.host_frozen and other.frozen
            if (name, fence) != (host.name, claim[1]) and not still:
                raise Violated(f"tasks: task {claim[0]} runs on {host.name} with {claim[1]} and on {name} with {fence}")

    def ends(self, host: Host, owner: tuple[int, int], claim: Claim) -> None:
        """A run ended."""
        self._going[owner[0], claim[0]].pop((host.name, claim[1]))
