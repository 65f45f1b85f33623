"""Decides, on the node that leads, what the log is told of tasks: who gets which claim, whose claims are over.

Must not know how a task is run. A claim is taken from a node that says nothing only when its lease has passed, which
counts from its asking, and the time in which its runner kills. A new leader does not know what its predecessor
granted last: it counts from the moment at which it was ready, for no leave was given after that by another.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from qluster.cluster import commands
from qluster.cluster.messages import Granted, Working
from qluster.consensus.refusals import Refusal
from qluster.tasks.bodies import Begun, Ended, Gone, Step, TasksMoved, Word
from qluster.tasks.queue import STEPS_MAX, Queue
from qluster.tasks.routing import View
from qluster.working import CLAIM_LEASE

if TYPE_CHECKING:
    from qluster.node import Node

log = logging.getLogger("qluster.dispatching")

KILL_TIME = 2.0
"""Seconds after the end of a lease until its runs are dead for certain: the runner needs milliseconds, on a host
that is busy perhaps a second."""

READY = CLAIM_LEASE * 0.75
"""Seconds without a word after which a node gets no new tasks: its lease is near its end."""

WORDS_MAX = 4096
"""Words of nodes that wait for the log; who is not heard says it again."""


@dataclass(frozen=True, slots=True)
class _Heard:
    working: Working
    at: float


class Dispatching:
    """The leader's part."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._term = 0
        self._since = inf
        """Since when this node has led, all entries before its own applied."""
        self.queue: Queue | None = None
        self._heard: dict[int, _Heard] = {}
        self._granted: dict[int, float] = {}
        self._words: dict[tuple[int, int, bool], Word] = {}
        self._proposed = 0
        """Index of the last entry with steps that was proposed here."""
        self._stirred = True
        self._looked_at = -inf

    @property
    def wake_at(self) -> float:
        """When something is due without a word of anybody."""
        if self.queue is None:
            return inf
        wall = self.queue.wake_at
        due = self._node.monotonic_of(wall) if wall < inf else inf
        silent = min((self._silent_at(node) for node, tasks in self.queue.on.items() if tasks), default=inf)
        return min(max(due, self._looked_at + 0.05), max(silent, self._looked_at + 0.05))

    def receive(self, working: Working, now: float) -> None:
        """A node says what it does, and asks for leave to go on."""
        node = self._node
        if self.queue is None or node.qraft is None or not node.leads:
            return
        known = self._heard.get(working.node)
        self._stirred |= known is None or (known.working.slots, known.working.fault) != (working.slots, working.fault)
        self._heard[working.node] = _Heard(working, now)
        for word in working.words:
            if len(self._words) < WORDS_MAX:
                self._words[word.task, word.fence, isinstance(word, Ended)] = word
        # A claim of it that was ended without its word stands in the log before this: it must have read that first.
        if node.qraft.lease_until > now and working.applied >= node.state.tasks.barred.get(working.node, 0):
            self._granted[working.node] = now
            granted = Granted(node.cluster, node.me, working.node, working.sent)
            if working.node == node.me:
                node.tasking.workload.granted(granted)
            elif (address := node.address(working.node)) is not None:
                node.tell(granted, address, now)

    def rebuild(self) -> None:
        """The board is another one."""
        if self.queue is not None:
            self.queue = Queue(self._node.state.tasks)

    def changed(self, numbers: set[int]) -> None:
        """These tasks have changed."""
        self._stirred = True
        if self.queue is not None:
            for number in numbers:
                self.queue.note(number)

    def step(self, now: float) -> bool:
        """Tell the log what is due; True when it was told something."""
        node = self._node
        if not node.leads or node.qraft is None:
            self.queue, self._heard, self._granted, self._words = None, {}, {}, {}
            return False
        if self.queue is None or self._term != node.qraft.term:
            self._term, self._since = node.qraft.term, now
            self._heard, self._granted, self._words, self._proposed = {}, {}, {}, 0
            self.queue = Queue(node.state.tasks)
            self._stirred = True
        if self._proposed > node.state.applied or not self._due(now):
            return False  # what is planned beside it would take what that one takes
        self._looked_at, self._stirred = now, False
        steps = self._steps(self.queue, now)
        self.queue.compact()
        return bool(steps) and self._propose(steps, now)

    def _due(self, now: float) -> bool:
        return self._stirred or bool(self._words) or now >= self.wake_at

    def _steps(self, queue: Queue, now: float) -> list[Step]:
        live = self._node.state.tasks.live
        steps: list[Step] = []
        for key, word in list(self._words.items())[: STEPS_MAX // 2]:
            del self._words[key]
            task = live.get(word.task)
            if task is not None and task.claimed and task.fence == word.fence:
                if isinstance(word, Begun) and task.began_at:
                    continue
                steps.append(word)
        # The begin of a run before its end, whatever order they came in.
        steps.sort(key=lambda step: isinstance(step, Ended))
        for node, numbers in queue.on.items():
            if numbers and now >= self._silent_at(node):
                log.warning("tasks-lost node=%d tasks=%d", node, len(numbers))
                steps += [Gone(number, live[number].fence) for number in sorted(numbers)[:STEPS_MAX]]
        views = self.views(now)
        return steps + queue.plan(views, self._node.wall(now))

    def _silent_at(self, node: int) -> float:
        """When the claims of a node are over, if it says nothing more."""
        return self._granted.get(node, self._since) + CLAIM_LEASE + KILL_TIME

    def _propose(self, steps: list[Step], now: float) -> bool:
        node = self._node
        assert node.qraft is not None and self.queue is not None
        try:
            body = TasksMoved(round(node.wall(now), 3), tuple(steps))
            self._proposed, _ = node.qraft.propose("command", commands.encode(body), now)
        except Refusal as refusal:
            log.debug("put-off steps=%d reason=%s", len(steps), refusal.reason)
            self.queue.put_back(steps)
            for step in steps:
                if isinstance(step, Begun | Ended):
                    self._words[step.task, step.fence, isinstance(step, Ended)] = step
            return False
        return True

    def views(self, now: float) -> list[View]:
        """The members that run tasks, with what their claims take."""
        node, found = self._node, []
        board = node.state.tasks
        reign = node.state.reign
        for member in node.settled:
            heard = self._heard.get(member.node)
            working = heard.working if heard is not None else None
            report = node.reports.last(member.node)
            lag = report.database.position if report is not None and report.database is not None else None
            granted = self._granted.get(member.node)
            fault = working.fault if working is not None else ""
            database = member.db_port is not None and member.role == "node"
            role = "leader" if reign is not None and reign.node == member.node else "replica"
            view = View(
                member.node, role if database else "none",
                ready=granted is not None and now < granted + READY and not fault,
                fault=fault or ("says nothing" if granted is None or now >= granted + READY else ""),
                pooler=member.pool, drained=member.node in board.drained,
                slots=working.slots if working is not None else 0,
                resources=working.resources if working is not None else {},
                labels=(working.labels if working is not None else {}) | {"node": str(member.node), "ip": member.ip},
                lag=max(0, (reign.position if reign is not None else 0) - (lag or 0)),
            )  # fmt: skip
            if working is not None:
                found.append(view)
        if self.queue is not None:
            self.queue.load(found)
        return found
