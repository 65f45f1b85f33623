"""Decides, on the node that leads, which task goes where next: an index of the board, and steps for the log.

Must not know how a step comes into the log. The index is rebuilt from the board at any time and holds nothing of
its own; tasks that ask for the same of a node stand in one queue, so that one that fits nowhere stops only its like.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush
from math import inf

from qluster.tasks import routing
from qluster.tasks.board import Board
from qluster.tasks.bodies import Assigned, Expired, Failed, Held, Spread, Step
from qluster.tasks.routing import View
from qluster.tasks.spec import Spec, Target
from qluster.tasks.task import Task

STEPS_MAX = 256
"""Steps of one entry: some 3 KiB, a small part of what an entry may have."""

HELD_MAX = 64
"""Tasks of one queue that are told why they wait, at a time: who looks at one deeper in the queue is told by
``explain``."""

Like = tuple[Target, int, tuple[tuple[str, int], ...], str, int]
"""What tasks of one queue have in common."""


def like(spec: Spec) -> Like:
    """Its queue."""
    return spec.target, spec.slots, spec.resources, spec.group, spec.group_limit


class Queue:
    """The tasks that wait for a node, and what those that have one take."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._queues: dict[Like, list[tuple[int, int]]] = {}
        self._queued: set[int] = set()
        self._timers: list[tuple[float, int]] = []
        self._expiries: list[tuple[float, int]] = []
        self._claims: dict[int, tuple[int, Spec]] = {}
        self.on: dict[int, set[int]] = {}
        """Node → the tasks to which it has the claim."""
        self._groups: dict[str, int] = {}
        board.touched.clear()
        for number in board.live:
            self.note(number)

    def note(self, number: int) -> None:
        """A task has changed."""
        task = self._board.live.get(number)
        self._claim(number, task if task is not None and task.claimed else None)
        if task is None or not task.pending or task.waits:
            self._queued.discard(number)
            return
        if task.spec.expires:
            heappush(self._expiries, (task.spec.expires, number))
        if number not in self._queued:
            self._queued.add(number)
            heappush(self._timers, (task.not_before, number))

    def _claim(self, number: int, task: Task | None) -> None:
        before = self._claims.pop(number, None)
        if before is not None:
            node, spec = before
            self.on[node].discard(number)
            if spec.group:
                self._groups[spec.group] -= 1
        if task is not None:
            self._claims[number] = task.node, task.spec
            self.on.setdefault(task.node, set()).add(number)
            if task.spec.group:
                self._groups[task.spec.group] = self._groups.get(task.spec.group, 0) + 1

    @property
    def wake_at(self) -> float:
        """The next date of a task that waits for one."""
        return min(self._timers[0][0] if self._timers else inf, self._expiries[0][0] if self._expiries else inf)

    def load(self, views: Sequence[View]) -> None:
        """What the claims take of the nodes."""
        for view in views:
            for number in self.on.get(view.node, ()):
                view.take(self._claims[number][1])

    # --- what is next ----------------------------------------------------------------

    def plan(self, views: Sequence[View], wall: float) -> list[Step]:
        """The next steps, :data:`STEPS_MAX` at most; ``views`` are loaded, and are loaded further here."""
        while self._timers and self._timers[0][0] <= wall:
            number = heappop(self._timers)[1]
            task = self._task(number)
            if task is not None:
                queue = self._queues.setdefault(like(task.spec), [])
                heappush(queue, (-task.spec.priority, number))
        steps: list[Step] = list(self._expired(wall))
        groups: dict[str, int] = {}
        stuck: list[Like] = []
        while len(steps) < STEPS_MAX and (best := self._best(stuck)) is not None:
            kind, task = best
            step = self._place(task, views, groups)
            if step is None:
                stuck.append(kind)
                continue
            heappop(self._queues[kind])
            self._queued.discard(task.id)
            steps.append(step)
        for kind in stuck:
            steps += self._held(kind, views, groups)
        return steps[:STEPS_MAX]

    def put_back(self, steps: Sequence[Step]) -> None:
        """These did not come into the log."""
        for step in steps:
            self.note(step.task)

    def _task(self, number: int) -> Task | None:
        """The task, if it still waits for a node."""
        task = self._board.live.get(number)
        return task if task is not None and number in self._queued and task.pending and not task.waits else None

    def _expired(self, wall: float) -> Iterator[Step]:
        found = 0
        while self._expiries and self._expiries[0][0] <= wall and found < STEPS_MAX // 2:
            number = heappop(self._expiries)[1]
            task = self._board.live.get(number)
            if task is not None and task.pending:
                found += 1
                self._queued.discard(number)
                yield Expired(number)

    def _best(self, stuck: list[Like]) -> tuple[Like, Task] | None:
        """The first task of all queues that may have something to place."""
        best: tuple[tuple[int, int], Like, Task] | None = None
        for kind in list(self._queues):
            if kind in stuck:
                continue
            queue = self._queues[kind]
            while queue and self._task(queue[0][1]) is None:
                heappop(queue)
            if not queue:
                del self._queues[kind]
            elif best is None or queue[0] < best[0]:
                task = self._task(queue[0][1])
                assert task is not None
                best = queue[0], kind, task
        return (best[1], best[2]) if best is not None else None

    def _place(self, task: Task, views: Sequence[View], groups: dict[str, int]) -> Step | None:
        spec = task.spec
        if spec.target.each:
            nodes = routing.spread(views, spec)
            if nodes:
                return Spread(task.id, nodes)
        elif not self._group_full(spec, groups):
            node = routing.choose(views, spec)
            if node is not None:
                next(view for view in views if view.node == node).take(spec)
                groups[spec.group] = groups.get(spec.group, 0) + bool(spec.group)
                return Assigned(task.id, node)
        if spec.target.fail and routing.never(views, spec):
            return Failed(task.id, routing.summary(views, spec))
        return None

    def _group_full(self, spec: Spec, groups: dict[str, int]) -> bool:
        running = self._groups.get(spec.group, 0) + groups.get(spec.group, 0)
        return bool(spec.group) and running >= spec.group_limit

    def _held(self, kind: Like, views: Sequence[View], groups: dict[str, int]) -> Iterator[Step]:
        """Tell the first of a queue that does not move why."""
        queue = self._queues[kind]
        first = self._task(queue[0][1])
        assert first is not None
        reason = self.against(first, views, groups)
        for _, number in sorted(queue)[:HELD_MAX] if len(queue) <= HELD_MAX * 16 else queue[:1]:
            task = self._task(number)
            # Slots come and go with each task: that they are taken is said once, not how many at which moment.
            if task is not None and (not task.held or _kind(task.reason) != _kind(reason)):
                yield Held(number, reason)

    def against(self, task: Task, views: Sequence[View], groups: dict[str, int] | None = None) -> str:
        """Why it is not begun now, as a sentence."""
        spec = task.spec
        if self._group_full(spec, groups or {}):
            return f"{spec.group_limit} of the group {spec.group} are running"
        if not routing.never(views, spec) and all(
            routing.unfit(view, spec) or "free" in routing.occupied(view, spec) for view in views
        ):
            return "it waits its turn: the nodes that can run it are full"
        return routing.summary(views, spec)

    def explain(self, task: Task, views: Sequence[View]) -> str:
        """Why a pending task has no node yet; "" when it has, or is over."""
        if not task.pending or task.waits:
            return task.reason
        before = sum(1 for entry in self._queues.get(like(task.spec), ()) if entry < (-task.spec.priority, task.id))
        return f"{before} tasks are before it" if before else self.against(task, views)

    def compact(self) -> None:
        """Let go of what heaps still hold of tasks that have moved on."""
        for heap in (self._timers, self._expiries):
            if len(heap) > 64 + 4 * len(self._board.live):
                kept = [entry for entry in set(heap) if entry[1] in self._board.live]
                heap[:] = kept
                heapify(heap)


def _kind(reason: str) -> str:
    """The reason without its numbers."""
    return "".join(letter for letter in reason if not letter.isdigit())
