"""Decides which tasks a request, a schedule or a spread makes, and what stands against them.

Must not know who asked, nor whether he may: that was decided before the entry was written. What is refused here is
what only the log's order decides: a key that is taken, a task that is gone, a queue that is full.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from qluster.clients import Done, Refused
from qluster.tasks.bodies import ScheduleFired, ScheduleWritten, Submission, TasksSubmitted, TemplateWritten
from qluster.tasks.kept import LIVE_MAX, NAMES_MAX, Fired
from qluster.tasks.life import State
from qluster.tasks.spec import Need, Spec, Target
from qluster.tasks.task import Task

if TYPE_CHECKING:
    from qluster.tasks.board import Board

NEEDS_MAX = 64
"""Tasks that one waits for: a plan of more is a program, and has one."""

BATCHES_MAX = 4096
"""Submissions whose tasks are remembered for who asks again: a client that got no answer asks within seconds."""

BATCHED_MAX = 65_536
"""Tasks of all these: they take 200 kB of each snapshot."""


REWOUND = "dates were seen to by a clock that was ahead; they count again from the next one on"


def submit(board: Board, body: TasksSubmitted, index: int) -> Refused | Done:
    """All tasks of the request, or none of them."""
    known = [board.keys.get(one.key) if one.key else None for one in body.tasks]
    new = known.count(None)
    if len(board.live) + new > LIVE_MAX:
        reason = f"{len(board.live)} tasks are not over, at most {LIVE_MAX} are possible: wait, or cancel some"
        return Refused("", reason, "too-many-tasks")
    numbers, number = [], board.next
    for each in known:
        numbers.append(each if each is not None else number)
        number += each is None
    refusal = _against(board, body.tasks, known, numbers)
    if refusal is not None:
        return refusal
    needed = {need.task for one in body.tasks for need in one.spec.needs if need.task in board.history}
    # Before anything else ends with this entry, and pushes one of them out of the history.
    over = {each.id: each.state for each in map(board.find, sorted(needed)) if each is not None}
    for place, (one, at) in enumerate(zip(body.tasks, numbers, strict=True)):
        if known[place] is None:
            _accept(board, one, body.at, body.by, tuple(numbers), at, over)
    board.batches[index] = tuple(numbers)
    board.batched += len(numbers)
    while len(board.batches) > BATCHES_MAX or board.batched > BATCHED_MAX:
        board.batched -= len(board.batches.pop(next(iter(board.batches))))
    return Done(index, {"tasks": numbers, "known": [each for each in known if each is not None]})


def _against(
    board: Board, tasks: tuple[Submission, ...], known: list[int | None], numbers: list[int]
) -> Refused | None:
    """What stands against a batch of which some are known already by their keys."""
    own = [one.key for one in tasks if one.key]
    if len(own) != len(set(own)):
        return Refused("key", "two tasks of one request have the same key", "task-key-taken")
    for place, one in enumerate(tasks):
        number = known[place]
        if number is not None:
            other = board.find(number)
            if other is not None and other.spec != _resolved(one.spec, numbers):
                reason = f"task {number} has the key {one.key} and runs something else, or elsewhere or otherwise"
                return Refused("key", reason, "task-key-taken")
            continue
        for need in one.spec.needs:
            if need.task < 0 and -need.task > len(tasks):
                return Refused("needs", f"task {place + 1} needs task {-need.task} of {len(tasks)}")
            if need.task >= 0 and need.task not in board.live and need.task not in board.history:
                return Refused("needs", f"there is no task {need.task}, or it is forgotten", "no-such-task")
    return None


def _resolved(spec: Spec, numbers: tuple[int, ...] | list[int]) -> Spec:
    """The numbers in the place of places in the batch."""
    if all(need.task >= 0 for need in spec.needs):
        return spec
    needs = tuple(Need(numbers[-need.task - 1] if need.task < 0 else need.task, need.on) for need in spec.needs)
    return replace(spec, needs=needs)


def _accept(
    board: Board, one: Submission, at: float, by: str, numbers: tuple[int, ...], number: int,
    over: dict[int, State] | None = None,
) -> Task:  # fmt: skip
    """``over``: how tasks ended that it may need, and that were known when the entry came."""
    spec, over = _resolved(one.spec, numbers), over or {}
    task = board.live[number] = Task(number, spec, at, by, one.key)
    board.weigh(task, 1)
    board.next = max(board.next, number + 1)
    if one.key:
        board.keys[one.key] = number
    board.touched.add(number)
    task.note(State.SUBMITTED, at)
    task.not_before = spec.start
    ends = {need.task: _end_of(board, over, need.task) for need in spec.needs}
    lacking = [need for need in spec.needs if not _met(ends[need.task], need.on)]
    task.waits = sorted({need.task for need in lacking})
    for other in task.waits:
        if ends[other] is None:  # of one that is over nobody hears any more, and this task ends below
            board.dependants.setdefault(other, []).append(number)
    if task.waits:
        task.move(State.WAITING, at, f"it needs {_tasks(task.waits)} first")
    elif spec.start > at:
        task.move(State.WAITING, at, "its time has not come")
    for need in lacking:
        if ends[need.task] is not None and number in board.live:
            # It ended, and not as it had to.
            board.close(task, State.CANCELLED, at, f"task {need.task}, which it needs, did not end with {need.on}")
    return task


def _end_of(board: Board, over: dict[int, State], number: int) -> State | None:
    """How a task ended; None: it is not over."""
    if number in over:
        return over[number]
    found = board.find(number) if number in board.history else None
    return found.state if found is not None else None


def _met(end: State | None, on: str) -> bool:
    """The task is over, and ended as it had to."""
    return end is not None and ends_so(end, on)


def ends_so(state: State, on: str) -> bool:
    """Whether this end is one that ``on`` means."""
    return on == "any" or (state is State.SUCCEEDED) == (on == "success")


def _tasks(numbers: list[int]) -> str:
    listed = ", ".join(map(str, numbers[:5])) + (", …" if len(numbers) > 5 else "")
    return f"task {listed}" if len(numbers) == 1 else f"tasks {listed}"


def spread(board: Board, task: Task, nodes: tuple[int, ...], at: float) -> None:
    """A part for each node."""
    spec = task.spec
    for node in nodes:
        number = board.next
        part = replace(spec, target=Target(nodes=(node,)), needs=(), start=0.0, group=spec.group)
        made = _accept(board, Submission(part), at, task.by, (), number)
        made.whole = task.id
        task.parts.append(number)
    task.move(State.RUNNING, at, f"on nodes {', '.join(map(str, nodes))}" if nodes else "")


def written(board: Board, body: TemplateWritten | ScheduleWritten | ScheduleFired) -> Refused | Done | None:
    """A template or a schedule changed, or a schedule's date has come."""
    match body:
        case TemplateWritten(name, None):
            return None if board.templates.pop(name, None) else _unknown("template", name)
        case TemplateWritten(name, template) if template is not None:
            if name not in board.templates and len(board.templates) >= NAMES_MAX:
                return Refused("name", f"there are {NAMES_MAX} templates already; remove some")
            board.templates[name] = template
        case ScheduleWritten(name, None):
            return None if board.schedules.pop(name, None) else _unknown("schedule", name)
        case ScheduleWritten(name, schedule, at, anew) if schedule is not None:
            before = board.schedules.get(name)
            if before is None and len(board.schedules) >= NAMES_MAX:
                return Refused("name", f"there are {NAMES_MAX} schedules already; remove some")
            last = max(at, before.last) if before is not None and not anew else at
            task = before.task if before is not None else 0
            board.schedules[name] = Fired(schedule, last, task, REWOUND if anew else "")
        case ScheduleFired():
            _fire(board, body)
    return None


def _unknown(what: str, name: str) -> Refused:
    return Refused("name", f"there is no {what} {name}", f"no-such-{what}")


def _fire(board: Board, body: ScheduleFired) -> None:
    """A date counts once: the second leader that says so around a failover says nothing new."""
    fired = board.schedules.get(body.name)
    if fired is None or not fired.schedule.enabled or body.due <= fired.last:
        return
    fired.last, fired.skipped = body.due, body.skipped
    if body.skipped:
        return
    if not fired.schedule.overlap and fired.task in board.live:
        fired.skipped = f"task {fired.task} of the date before is not over"
        return
    if len(board.live) >= LIVE_MAX:
        fired.skipped = f"{len(board.live)} tasks are not over"
        return
    number = board.next
    submission = Submission(body.spec) if body.spec is not None else fired.schedule.submission
    task = _accept(board, submission, body.at, fired.schedule.by, (), number)
    task.schedule, fired.task = body.name, number
