"""What must hold of the board of tasks after every entry of the log: one more reader of it, which checks.

The nodes' own boards are compared byte by byte where their states are.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from qluster.cluster import commands
from qluster.cluster.state import State, decode, encode
from qluster.consensus.members import Members
from qluster.node import Node
from qluster.tasks.life import FINAL, FOLLOWS
from qluster.tasks.life import State as Life
from qluster.tasks.task import Task

from sim.checks import Violated

if TYPE_CHECKING:
    from sim.host import Host
    from sim.ledger import Ledger
    from sim.world import World

SLOTS = 3


class BoardChecks:
    """A reader of the log of each founding."""

    def __init__(self, world: World, ledger: Ledger) -> None:
        self._world, self._ledger = world, ledger
        self._states: dict[int, State] = {}
        self._seen: dict[tuple[int, int], tuple[Life, int, int]] = {}
        """Founding and task → state, largest fencing number, claims."""
        self._accepted: dict[int, dict[int, int]] = {}
        """Founding → tasks that a client was told of, and the entry."""
        self.numbers: list[int] = []

    def accepted(self, node: Node, number: int, index: int) -> None:
        """A client was told that this task is taken on."""
        if node.state.tasks.find(number) is None:
            raise Violated(f"tasks: task {number} was accepted and is not on the board")
        self._accepted.setdefault(node.cluster, {})[number] = index
        self.numbers.append(number)

    def after_turn(self, host: Host, node: Node) -> None:
        """Read what is new."""
        state = self._states.setdefault(node.cluster, State())
        while state.applied < node.state.applied:
            entry = self._world.checks.committed.get((node.cluster, state.applied + 1))
            if entry is None:  # it was in a snapshot before anybody saw it
                state = self._states[node.cluster] = decode(encode(node.state))
                self._touched(node.cluster, state, set(state.tasks.live))
                return
            command = commands.decode(entry.payload) if entry.kind == "command" else None
            state.perform(entry, command)
            if entry.kind == "members":
                state.note_members([member.node for member in Members.decode(entry.payload)])
            if state.tasks.touched:
                self._touched(node.cluster, state, set(state.tasks.touched))
                state.tasks.touched.clear()
                self._nothing_is_missing(node.cluster, state)

    def _nothing_is_missing(self, cluster: int, state: State) -> None:
        board = state.tasks
        for number, index in self._accepted.get(cluster, {}).items():
            if index <= state.applied and number not in board.live and number not in board.history:
                raise Violated(f"tasks: task {number} was accepted and is not on the board any more")

    def _touched(self, cluster: int, state: State, numbers: set[int]) -> None:
        board = state.tasks
        for number in sorted(numbers):
            task = board.find(number)
            if task is not None:
                self._follows(cluster, task)
        keys = [task.key for task in board.live.values() if task.key]
        if len(keys) != len(set(keys)):
            raise Violated(f"tasks: two tasks have one key: {sorted(keys)}")
        self._limits(board.live)

    def _follows(self, cluster: int, task: Task) -> None:
        """Every change is one that the table has, and each claim has a larger number than the one before."""
        if task.spec.once and not task.parts:
            self._ledger.once.add((cluster, task.id))
        known = self._seen.get((cluster, task.id))
        self._seen[cluster, task.id] = task.state, task.fence, task.claims
        trail = [change.state for change in task.trail]
        for one, other in pairwise(trail):
            if one is not other and other not in FOLLOWS[one] and len(trail) < 30:
                raise Violated(f"tasks: task {task.id} went from {one.name} to {other.name}")
        if trail and trail[-1] is not task.state:
            raise Violated(f"tasks: task {task.id} is {task.state.name} and its trail ends with {trail[-1].name}")
        if task.state is Life.FAILED and task.reason.endswith("th time") and not task.parts:
            raise Violated(f"tasks: task {task.id} was given up: {task.reason}; {task.trail}")
        if task.state is Life.CANCELLED and "cancelled it" not in task.reason and "which it needs" not in task.reason:
            raise Violated(f"tasks: task {task.id} was cancelled by nobody: {task.reason}; {task.trail}")
        if task.state in FINAL and not task.reason and task.state is not Life.SUCCEEDED:
            raise Violated(f"tasks: task {task.id} is {task.state.name} for no reason")
        if known is None:
            return
        before, fence, claims = known
        if before in FINAL and task.state is not before:
            raise Violated(f"tasks: task {task.id} was {before.name} and is {task.state.name}")
        if task.fence < fence or (task.claims > claims and task.fence <= fence):
            raise Violated(f"tasks: task {task.id} has fencing number {task.fence} after {fence}")

    def _limits(self, live: dict[int, Task]) -> None:
        """Groups and slots hold what they may."""
        slots: dict[int, int] = {}
        groups: dict[str, list[Task]] = {}
        for task in live.values():
            if task.claimed:
                slots[task.node] = slots.get(task.node, 0) + task.spec.slots
                if task.spec.group:
                    groups.setdefault(task.spec.group, []).append(task)
        if any(taken > SLOTS for taken in slots.values()):
            raise Violated(f"tasks: claims take {slots} slots of {SLOTS}")
        for group, tasks in groups.items():
            if len(tasks) > min(task.spec.group_limit for task in tasks):
                raise Violated(f"tasks: {len(tasks)} of the group {group} have claims")
