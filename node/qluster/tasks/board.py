"""Decides what is known of all tasks after each entry of the log that tells of them.

Must not know who leads, nor any clock: the same entries give the same board on every node.

A claim is given by one entry and named by its index, the fencing number. It ends by the word of its node, or by the
leader's that the node has none any more; what comes later with its number changes nothing. So at each place of the
log at most one claim to a task stands.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import deque

from msgspec import Struct, field

from qluster.clients import Done, Refused
from qluster.tasks import bulk, endings, submitting
from qluster.tasks.bodies import (
    Assigned,
    Begun,
    Body,
    Ended,
    Expired,
    Failed,
    Gone,
    Held,
    NodeDrained,
    ScheduleFired,
    ScheduleWritten,
    Spread,
    Step,
    TaskCancelled,
    TasksForgotten,
    TasksMoved,
    TasksSubmitted,
    Template,
    TemplateWritten,
)
from qluster.tasks.kept import HISTORY_BYTES_MAX, HISTORY_MAX, LIVE_MAX, Drained, Fired
from qluster.tasks.life import State
from qluster.tasks.task import Task, pack, unpack

NAMES = 0
"""Stands among the tasks that changed for templates and schedules."""


class Board(Struct, dict=True):
    """All tasks. Changed only by :meth:`apply`."""

    next: int = 1
    """Number of the next task: each has one for good."""
    live: dict[int, Task] = field(default_factory=dict)
    history: dict[int, bytes] = field(default_factory=dict)
    """Tasks that are over, in the order of their ends, packed."""
    history_bytes: int = 0
    keys: dict[str, int] = field(default_factory=dict)
    """Key of a task → its number, as long as it is known."""
    batches: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """Index of an entry → the tasks that it submitted, for who asks again with the same idempotency key."""
    batched: int = 0
    """Tasks in all of these."""
    dependants: dict[int, list[int]] = field(default_factory=dict)
    """Task → those that wait for its end."""
    ended: dict[str, int] = field(default_factory=dict)
    """How many tasks have ended in each final state since the founding."""
    refused: int = 0
    """Words of nodes whose claim was over."""
    templates: dict[str, Template] = field(default_factory=dict)
    schedules: dict[str, Fired] = field(default_factory=dict)
    drained: dict[int, Drained] = field(default_factory=dict)
    barred: dict[int, int] = field(default_factory=dict)
    """Node → index of the last entry that ended a claim of it without its word: before it has read that entry it may
    hold the claim for its own, and gets no leave to run anything."""

    @property
    def touched(self) -> set[int]:
        """Tasks that changed since somebody last emptied this: for who keeps an index of them. Not replicated."""
        found: set[int] = self.__dict__.setdefault("_touched", set())
        return found

    @property
    def text(self) -> int:
        """Characters that tasks which are not over hold, see ``bulk.py``. Not replicated: reckoned when it is asked for
        first."""
        if "_text" not in self.__dict__:
            self.__dict__["_text"] = sum(bulk.text(task.spec) for task in self.live.values())
        return int(self.__dict__["_text"])

    def weigh(self, task: Task, sign: int) -> None:
        """A task has come (1), or is over (-1)."""
        if "_text" in self.__dict__:
            self.__dict__["_text"] += sign * bulk.text(task.spec)

    @property
    def ends(self) -> deque[int]:
        """Tasks of the history, the first to end first: a dict takes long to find its first where many before it are
        gone, and at its limit the history loses one with each end. Not replicated."""
        found: deque[int] | None = self.__dict__.get("_ends")
        if found is None:
            found = self.__dict__["_ends"] = deque(self.history)
        return found

    @property
    def used(self) -> bool:
        """The log has told of tasks."""
        return bool(self.next > 1 or self.templates or self.schedules or self.drained)

    def find(self, number: int) -> Task | None:
        """A task that is known, also one that is over."""
        live = self.live.get(number)
        if live is not None:
            return live
        packed = self.history.get(number)
        return unpack(packed) if packed is not None else None

    def role(self, task: Task) -> str:
        """The role that it is for: that of a part is its whole's, which stands with that alone."""
        whole = self.live.get(task.whole) if task.whole else None
        return (whole or task).spec.target.role

    def apply(self, body: Body, index: int) -> Refused | Done | None:
        """What the log says; what stood against it, what is to be told of it, or None."""
        match body:
            case TasksMoved(at, steps):
                for step in steps:
                    self._step(step, at, index)
            case TasksSubmitted():
                return submitting.submit(self, body, index)
            case TaskCancelled(number, at, by, reason):
                return endings.cancel(self, number, at, by, reason, index)
            case TemplateWritten() | ScheduleWritten() | ScheduleFired():
                self.touched.add(NAMES)
                return submitting.written(self, body)
            case NodeDrained(node, drained, at, by, deadline):
                if drained:
                    self.drained[node] = Drained(at, by, deadline)
                else:
                    self.drained.pop(node, None)
            case TasksForgotten(count):
                self.forget(count)
        return None

    def note_members(self, nodes: list[int]) -> None:
        """These are the members now. Who is none gets no leave, and its number is never given again."""
        self.drained = {node: drained for node, drained in self.drained.items() if node in nodes}
        self.barred = {node: index for node, index in self.barred.items() if node in nodes}

    def _step(self, step: Step, at: float, index: int) -> None:
        """One step; it is void where the task has moved on since it was decided."""
        task = self.live.get(step.task)
        if task is None:
            self.refused += isinstance(step, Begun | Ended)
            return
        self.touched.add(task.id)
        match step:
            case Assigned(_, node) if task.pending and not task.waits:
                task.node, task.fence, task.held, task.began_at = node, index, False, 0.0
                task.claims += 1
                task.move(State.ASSIGNED, at)
            case Held(_, reason) if task.pending and task.reason != reason:
                task.held = True
                task.note(State.WAITING, at, reason)
            case Failed(_, reason) if task.pending:
                self.close(task, State.FAILED, at, reason)
            case Expired() if task.pending:
                again = " again" if task.claims else ""
                reason = f"it was not begun{again} in time: {task.reason or 'it waited its turn'}"
                self.close(task, State.EXPIRED, at, reason)
            case Spread(_, nodes) if task.pending and not task.waits and len(self.live) + len(nodes) <= LIVE_MAX:
                submitting.spread(self, task, nodes, at)
            case Begun(_, fence, began) if self._valid(task, fence):
                if task.state is State.ASSIGNED:
                    task.began_at = began
                    task.move(State.RUNNING, _between(task.changed_at, began, at))
            case Ended(_, fence, _, ended) if self._valid(task, fence):
                endings.end(self, task, step, _between(task.changed_at, ended, at))
            case Gone(_, fence) if self._valid(task, fence):
                self.barred[task.node] = index
                endings.lose(self, task, at)

    def _valid(self, task: Task, fence: int) -> bool:
        valid = task.claimed and task.fence == fence
        self.refused += not valid
        return valid

    def close(self, task: Task, state: State, at: float, reason: str = "") -> None:
        """It is over: those that wait for it go on, or never will; the whole of which it is a part may be over too."""
        over = [(task, state, reason)]
        while over:
            task, state, reason = over.pop()
            if task.final:
                continue
            task.move(state, at, reason)
            task.cancelled = ""
            self._bury(task)
            over += endings.released(self, task, at)
            whole = endings.completed(self, task)
            over += [whole] if whole is not None else []

    def _bury(self, task: Task) -> None:
        self.touched.add(task.id)
        if self.live.pop(task.id, None) is not None:
            self.weigh(task, -1)
        packed = pack(task)
        self.ends.append(task.id)
        self.history[task.id] = packed
        self.history_bytes += len(packed)
        name = task.state.name.lower()
        self.ended[name] = self.ended.get(name, 0) + 1
        while len(self.history) > HISTORY_MAX or self.history_bytes > HISTORY_BYTES_MAX:
            self.forget(1)

    def forget(self, count: int) -> None:
        """So many of the oldest leave the history, and their keys may be used again."""
        for _ in range(min(count, len(self.ends))):
            number = self.ends.popleft()
            packed = self.history.pop(number)
            self.history_bytes -= len(packed)
            key = unpack(packed).key
            if key and self.keys.get(key) == number:
                del self.keys[key]


def _between(first: float, at: float, last: float) -> float:
    """The date that a node gives, no later than that of the entry that tells of it: all that is decided by dates goes
    by one clock, that of who led, and a node whose clock is wrong neither delays a task nor turns its trail round."""
    return min(max(at, first), last)
