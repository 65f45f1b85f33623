"""Decides, on the node that leads, which task goes where next: an index of the board, and steps for the log.

Must not know how a step comes into the log. The index is rebuilt from the board at any time and holds nothing of
its own; tasks that ask for the same of a node stand in one queue, so that one that fits nowhere stops only its like.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush, nsmallest
from itertools import islice
from math import inf
from operator import itemgetter

from msgspec.structs import replace

from qluster.tasks import routing
from qluster.tasks.board import Board
from qluster.tasks.bodies import Assigned, Expired, Failed, Held, Spread, Step
from qluster.tasks.kept import LIVE_MAX
from qluster.tasks.routing import View
from qluster.tasks.spec import Spec, Target
from qluster.tasks.task import REASON_MAX, Task

STEPS_MAX = 256
"""Steps of one entry: some 3 KiB, a small part of what an entry may have."""

HELD_MAX = 64
"""Tasks of one queue that are told why they wait, and queues of which some are, at a time: who looks at one deeper
in the queue is told by ``explain``."""

HELD_SORTED_MAX = 1024
"""Of a longer queue only the first task is told."""

HELD_AGAIN = 30.0
"""Seconds before a task is told another reason: nodes fill, and fall silent, and are back, all the time."""

DATE_GRAIN = 0.01
"""Seconds by which two dates may differ that are the same."""

PATIENCE = 30.0
"""Seconds for which the first of a queue finds no room before a node keeps for it what becomes free: else what is
small goes in before what is large again and again."""

KEEPS_MAX = 8
"""Tasks of one plan for which a node is looked for that keeps room: each looks at all that runs."""

TURN = "it waits its turn: the nodes that can run it are full"
"""That is no reason to wait, unless the task was told one."""

Like = tuple[Target, int, tuple[tuple[str, int], ...], str, int, type]
"""What tasks of one queue have in common; the kind of their work, since not every host runs every kind."""


Groups = dict[str, list[int]]
"""Group → the limits of some of its tasks."""


def like(spec: Spec) -> Like:
    """Its queue."""
    return spec.target, spec.slots, spec.resources, spec.group, spec.group_limit, type(spec.work)


class Queue:
    """The tasks that wait for a node, and what those that have one take."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._queues: dict[Like, list[tuple[int, int]]] = {}
        self._roomless: dict[Like, None] = {}
        """Queues of tasks that need no free slot."""
        self._queued: set[int] = set()
        self._came: list[int] = []
        """Tasks that wait since the last look."""
        self._timers: list[tuple[float, int]] = []
        self.looked = inf
        """The date of the last look."""
        self._expiries: list[tuple[float, int]] = []
        self._expiring: set[int] = set()
        self._claims: dict[int, tuple[int, Spec]] = {}
        self.on: dict[int, set[int]] = {}
        """Node → the tasks to which it has the claim."""
        self._loads: dict[int, View] = {}
        """Node → what these take of it."""
        self._groups: Groups = {}
        """Of those that have a claim."""
        self._stuck: dict[Like, tuple[int, float]] = {}
        """The first of a queue that found no room, and since which date."""
        board.touched.clear()
        for number in board.live:
            self.note(number)

    def note(self, number: int) -> None:
        """A task has changed."""
        task = self._board.live.get(number)
        self._claim(number, task if task is not None and task.claimed else None)
        if task is None or not task.pending:
            self._queued.discard(number)
            return
        if task.spec.expires and number not in self._expiring:
            self._expiring.add(number)
            heappush(self._expiries, (task.spec.expires, number))
        if task.waits:
            self._queued.discard(number)
        elif number not in self._queued:
            self._queued.add(number)
            self._came.append(number)

    def _claim(self, number: int, task: Task | None) -> None:
        before = self._claims.pop(number, None)
        if before is not None:
            node, spec = before
            self.on[node].discard(number)
            self._loads[node].take(spec, -1)
            if spec.group:
                self._groups[spec.group].remove(spec.group_limit)
                if not self._groups[spec.group]:
                    del self._groups[spec.group]
        if task is not None:
            self._claims[number] = task.node, task.spec
            self.on.setdefault(task.node, set()).add(number)
            self._loads.setdefault(task.node, View(task.node)).take(task.spec)
            if task.spec.group:
                self._groups.setdefault(task.spec.group, []).append(task.spec.group_limit)

    @property
    def wake_at(self) -> float:
        """The next date of a task that waits for one."""
        if self._came:
            return -inf
        return min(self._timers[0][0] if self._timers else inf, self._expiries[0][0] if self._expiries else inf)

    def load(self, views: Sequence[View]) -> None:
        """What the claims take of the nodes."""
        for view in views:
            load = self._loads.get(view.node)
            if load is not None:
                view.used, view.taken = load.used, dict(load.taken)

    # --- what is next ----------------------------------------------------------------

    def plan(self, views: Sequence[View], wall: float) -> list[Step]:
        """The next steps, :data:`STEPS_MAX` at most; ``views`` are loaded, and are loaded further here."""
        self._come(wall)
        steps: list[Step] = list(self._expired(wall))
        plan = _Plan({view.node: view for view in views})
        stuck: list[Like] = []
        able = [view for view in views if view.ready and not view.drained]
        heads = self._heads(not able or any(view.used < view.slots for view in able))
        while heads and len(steps) < STEPS_MAX:
            _, number = heappop(heads)
            task = self._board.live[number]
            kind = like(task.spec)
            step = self._place(task, views, plan)
            if step is None:
                stuck.append(kind)
                self._keep_room(task, kind, views, plan, wall)
                continue
            self._stuck.pop(kind, None)
            heappop(self._queues[kind])
            self._queued.discard(number)
            steps.append(step)
            if (head := self._head(kind)) is not None:
                heappush(heads, head)
        for kind in stuck[:HELD_MAX]:
            steps += self._held(kind, views, plan.groups, wall)
        return steps[:STEPS_MAX]

    def _keep_room(self, task: Task, kind: Like, views: Sequence[View], plan: _Plan, wall: float) -> None:
        """A node keeps what becomes free for who has waited for long. Others may use it for as long as they end in
        time by their limits; where nothing there has one, it is kept in vain and therefore not."""
        number, since = self._stuck.get(kind, (0, wall))
        if number != task.id or wall < since:
            self._stuck[kind] = task.id, wall
        elif wall >= since + PATIENCE and not task.spec.target.each and plan.keeps < KEEPS_MAX:
            spec = self._routed(task)
            if self._group_full(spec, plan.groups):
                return
            plan.keeps += 1
            able = [view for view in views if not view.kept[0] and not routing.unfit(view, spec)
                    and view.ready and not view.drained]  # fmt: skip
            soon = [(routing.room_in(view, spec, self._running(view.node, plan, wall)), view.node, view)
                    for view in able]  # fmt: skip
            seconds, _, view = min(soon, default=(inf, 0, None), key=itemgetter(0, 1))
            if view is not None and 0.0 < seconds < inf:
                view.kept = task.id, seconds

    def _running(self, node: int, plan: _Plan, wall: float) -> list[tuple[float, Spec]]:
        """What a node has, each with the seconds until its time limit, the first to end first."""
        if node not in plan.running:
            tasks = [self._board.live[number] for number in self.on.get(node, ())]
            ends = [(max(0.0, (task.began_at or wall) + (task.spec.time_limit or inf) - wall), task.spec)
                    for task in tasks]  # fmt: skip
            plan.running[node] = sorted(ends, key=itemgetter(0))
        return plan.running[node]

    def _come(self, wall: float) -> None:
        """Tasks whose time has come stand in their queues."""
        if wall < self.looked:
            self._timers = [(self._due(number, wall), number) for _, number in self._timers]
            heapify(self._timers)
        for number in self._came:
            heappush(self._timers, (self._due(number, wall), number))
        self._came.clear()
        self.looked = wall
        while self._timers and self._timers[0][0] <= wall:
            number = heappop(self._timers)[1]
            task = self._task(number)
            if task is not None:
                kind = like(task.spec)
                heappush(self._queues.setdefault(kind, []), (-task.spec.priority, number))
                if not task.spec.slots or task.spec.target.each or task.spec.target.fail or task.whole:
                    self._roomless[kind] = None

    def _due(self, number: int, wall: float) -> float:
        """When a task is due by this clock. Where it failed by one that was ahead of this the wait counts, not its
        date; and what was waited for before a later claim is over."""
        task = self._board.live.get(number)
        if task is None or not task.failures:
            return task.not_before if task is not None else inf
        wait = task.not_before - task.changed_at
        if abs(wait - task.spec.retry.after(task.failures, number)) > DATE_GRAIN:
            return min(task.not_before, wall)
        return task.not_before if task.changed_at <= wall else wall + wait

    def _heads(self, room: bool) -> list[tuple[int, int]]:
        """The first of each queue that may have something to place. Where there is no room those that need none, and
        of the others some, who may have more against them than that."""
        kinds = list(self._queues if room else {**self._roomless, **dict.fromkeys(islice(self._queues, HELD_MAX))})
        heads = [head for kind in kinds if (head := self._head(kind)) is not None]
        heapify(heads)
        return heads

    def _head(self, kind: Like) -> tuple[int, int] | None:
        queue = self._queues.get(kind, [])
        while queue and self._task(queue[0][1]) is None:
            heappop(queue)
        if queue:
            return queue[0]
        for known in (self._queues, self._roomless, self._stuck):
            known.pop(kind, None)
        return None

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
            self._expiring.discard(number)
            task = self._board.live.get(number)
            if task is not None and task.pending:
                found += 1
                self._queued.discard(number)
                yield Expired(number)

    def _routed(self, task: Task) -> Spec:
        """What it asks of a node: of a part, which is for one node, the role of its whole as well."""
        spec, role = task.spec, self._board.role(task)
        return spec if role == spec.target.role else replace(spec, target=replace(spec.target, role=role))

    def _place(self, task: Task, views: Sequence[View], plan: _Plan) -> Step | None:
        spec = self._routed(task)
        if spec.target.each:
            nodes = routing.spread(views, spec)
            if nodes and len(self._board.live) + plan.made + len(nodes) <= LIVE_MAX:
                plan.made += len(nodes)
                return Spread(task.id, nodes)
        elif not self._group_full(spec, plan.groups):
            node = plan.choose(views, spec)
            if node is not None:
                plan.views[node].take(spec)
                if spec.group:
                    plan.groups.setdefault(spec.group, []).append(spec.group_limit)
                return Assigned(task.id, node)
        if spec.target.fail and routing.never(views, spec):
            return Failed(task.id, routing.summary(views, spec)[:REASON_MAX])
        if task.whole and (reason := _lost(plan.views.get(spec.target.nodes[0]), spec)):
            return Failed(task.id, reason)
        return None

    def _group_full(self, spec: Spec, groups: Groups) -> bool:
        """The smallest limit counts of those that are running and its own: who says 1 wants to be alone."""
        running = self._of_group(spec.group, groups)
        return bool(spec.group) and len(running) >= min([spec.group_limit, *running])

    def _of_group(self, group: str, groups: Groups) -> list[int]:
        return [*self._groups.get(group, ()), *groups.get(group, ())]

    def _held(self, kind: Like, views: Sequence[View], groups: Groups, wall: float) -> Iterator[Step]:
        """Tell the first of a queue that does not move why."""
        queue = self._queues[kind]
        first = self._task(queue[0][1])
        assert first is not None
        reason = first.reason
        if not first.held or wall >= first.changed_at + HELD_AGAIN:
            reason = self.against(first, views, groups)[:REASON_MAX]
        for _, number in nsmallest(HELD_MAX, queue) if len(queue) <= HELD_SORTED_MAX else queue[:1]:
            task = self._task(number)
            if task is None or (task.held and (task.reason == reason or wall < task.changed_at + HELD_AGAIN)):
                continue
            # Slots come and go with each task: that they are taken is said once, not how many at which moment.
            if reason != TURN if not task.held else _kind(task.reason) != _kind(reason):
                yield Held(number, reason)

    def against(self, task: Task, views: Sequence[View], groups: Groups | None = None) -> str:
        """Why it is not begun now, as a sentence."""
        spec = self._routed(task)
        if self._group_full(spec, groups or {}):
            running = len(self._of_group(spec.group, groups or {}))
            return f"{running} of the group {spec.group} {'is' if running == 1 else 'are'} running"
        if spec.target.each and not routing.never(views, spec) and len(self._board.live) + len(views) > LIVE_MAX:
            return f"{len(self._board.live)} tasks are not over, and at most {LIVE_MAX} are possible"
        if not routing.never(views, spec) and all(
            routing.unfit(view, spec) not in ("", *routing.UNKNOWN) or routing.busy(view, spec) for view in views
        ):
            return TURN
        return routing.summary(views, spec)

    def explain(self, task: Task, views: Sequence[View]) -> str:
        """Why a pending task has no node yet; "" when it has, or is over."""
        place, queue = (-task.spec.priority, task.id), self._queues.get(like(task.spec), [])
        if self._task(task.id) is None or place not in queue:
            return task.reason
        before = sum(1 for entry in queue if entry < place)
        return f"{before} tasks are before it" if before else self.against(task, views)

    def compact(self) -> None:
        """Let go of what heaps still hold of tasks that have moved on."""
        for heap in (self._timers, self._expiries):
            if len(heap) > 64 + 4 * len(self._board.live):
                heap[:] = [entry for entry in set(heap) if entry[1] in self._board.live]
                heapify(heap)
        self._expiring &= {number for _, number in self._expiries} if len(self._expiring) > 64 else self._expiring


class _Plan:
    """What one plan has given away already."""

    def __init__(self, views: dict[int, View]) -> None:
        self.views = views
        self.groups: Groups = {}
        self.made = self.keeps = 0
        """Parts of tasks for each node; tasks for which room was looked for that could be kept."""
        self.running: dict[int, list[tuple[float, Spec]]] = {}
        """Node → its tasks with the seconds until their limits, where somebody asked."""
        self._full: set[tuple[object, ...]] = set()
        """For this there is no node, and in this plan there will be none any more."""

    def choose(self, views: Sequence[View], spec: Spec) -> int | None:
        """The node that runs it."""
        asked = spec.target, spec.slots, spec.resources, type(spec.work), spec.time_limit
        if asked in self._full:
            return None
        node = routing.choose(views, spec)
        if node is None:
            self._full.add(asked)
        return node


def _lost(view: View | None, spec: Spec) -> str:
    """Why the one node of a part will never run it; "" when it may."""
    if view is None:
        return f"node {spec.target.nodes[0]} is no member any more"
    moved = spec.target.role in ("leader", "replica") and view.role != spec.target.role and not view.passing
    return f"node {view.node} is no {spec.target.role} any more" if moved else ""


def _kind(reason: str) -> str:
    """The reason without its numbers."""
    return "".join(letter for letter in reason if not letter.isdigit())
