"""Decides what follows when a claim ends, a task is not wanted any more, or one that others wait for is over.

Must not know how the end became known. Whether a task is begun again is decided here, and only here.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qluster.clients import Done, Refused
from qluster.tasks.bodies import Ended, Result, Verdict
from qluster.tasks.life import State
from qluster.tasks.submitting import ends_so
from qluster.tasks.task import REASON_MAX, Task

if TYPE_CHECKING:
    from qluster.tasks.board import Board

INTERRUPTIONS_MAX = 20
"""Claims that may end without a failure before the task is given up: it may be what brings its hosts down."""

INTERRUPTED: Final = {
    Verdict.MOVED: "node {node} lost the role that it is for",
    Verdict.CUT_OFF: "node {node} did not hear from the cluster and stopped it",
    Verdict.VANISHED: "node {node} or its task runner was down, and nobody saw its end",
    Verdict.DRAINED: "node {node} was drained",
    Verdict.UNBEGUN: "node {node} did not begin it",
}
"""Ends that say nothing of the task itself."""

CAUSES: Final = {
    Verdict.FAILED: "it failed",
    Verdict.TIMED_OUT: "its time limit passed",
    Verdict.UNSTARTABLE: "it could not be begun",
    Verdict.REFUSED: "node {node} does not run it",
}


def end(board: Board, task: Task, ended: Ended, at: float) -> None:
    """The node that has the claim says how it ended; ``at`` is when, by the clock that decides."""
    task.result = ended.result
    verdict = ended.verdict
    if verdict is Verdict.DONE:
        board.close(task, State.SUCCEEDED, at, ended.reason)
    elif verdict in INTERRUPTED:
        _interrupted(board, task, verdict, at, ended.reason)
    elif task.cancelled or verdict is Verdict.CANCELLED:
        board.close(task, State.CANCELLED, at, task.cancelled or ended.reason or "its node stopped it")
    else:
        reason = ": ".join(filter(None, (CAUSES[verdict].format(node=task.node), ended.reason)))
        _failed(board, task, at, reason, again=verdict in (Verdict.FAILED, Verdict.TIMED_OUT))


def lose(board: Board, task: Task, at: float) -> None:
    """The node that has the claim is gone."""
    _interrupted(board, task, Verdict.VANISHED, at, f"node {task.node} has not been heard of")


def _failed(board: Board, task: Task, at: float, reason: str, *, again: bool) -> None:
    task.failures += 1
    retry = task.spec.retry
    if not again or task.failures > retry.attempts or task.spec.once:
        tried = f" (attempt {task.failures} of {retry.attempts + 1})" if retry.attempts else ""
        board.close(task, State.FAILED, at, reason + tried)
        return
    wait = retry.after(task.failures, task.id)
    task.not_before = at + wait
    attempt = f"attempt {task.failures + 1} of {retry.attempts + 1}"
    task.move(State.WAITING, at, f"{reason}; {attempt} follows in {wait:.0f} s")


def _interrupted(board: Board, task: Task, verdict: Verdict, at: float, reason: str) -> None:
    """The claim is over and the task may not be."""
    why = reason or INTERRUPTED[verdict].format(node=task.node)
    began = task.state is State.RUNNING or verdict is Verdict.VANISHED
    if task.cancelled:
        # Who does not want it any more does not want to hear of it again; but he must know that nobody saw its end.
        ended = State.LOST if verdict is Verdict.VANISHED else State.CANCELLED
        board.close(task, ended, at, f"{task.cancelled}; {why}")
    elif verdict is Verdict.MOVED and task.spec.moved != "restart":
        board.close(task, State.FAILED, at, why)
    elif task.spec.once and began:
        board.close(task, State.LOST if verdict is Verdict.VANISHED else State.FAILED, at,
                    f"{why}; it is run once at most")  # fmt: skip
    elif task.claims - task.failures >= INTERRUPTIONS_MAX:
        board.close(task, State.FAILED, at, f"{why}; that was the {INTERRUPTIONS_MAX}th time")
    else:
        task.move(State.WAITING, at, f"{why}; it is run again")


def cancel(board: Board, number: int, at: float, by: str, reason: str, index: int) -> Refused | Done:
    """Somebody does not want a task any more."""
    task = board.live.get(number)
    if task is None:
        over = board.find(number)
        if over is None:
            return Refused("task", f"there is no task {number}, or it is forgotten", "no-such-task")
        return Done(index, {"task": number, "state": over.state.name.lower(), "changed": False})
    why = f"{by} cancelled it" + (f": {reason}" if reason else "")
    changed = bool(task.parts) and not task.cancelled
    if task.parts:
        task.cancelled = task.cancelled or why
    for part in task.parts:
        if part in board.live:
            cancel(board, part, at, by, reason, index)
    if number not in board.live:  # its last part took it along
        return Done(index, {"task": number, "state": "cancelled", "changed": True})
    board.touched.add(number)
    if task.pending:
        board.close(task, State.CANCELLED, at, why)
        return Done(index, {"task": number, "state": "cancelled", "changed": True})
    changed = changed or not task.cancelled
    task.cancelled = task.cancelled or why
    return Done(index, {"task": number, "state": task.state.name.lower(), "cancelling": True, "changed": changed})


def released(board: Board, over: Task, at: float) -> list[tuple[Task, State, str]]:
    """What the end of a task means for those that wait for it: who never can begin now is returned."""
    never = []
    for number in board.dependants.pop(over.id, ()):
        task = board.live.get(number)
        if task is None or over.id not in task.waits:
            continue
        board.touched.add(number)
        on = next(need.on for need in task.spec.needs if need.task == over.id)
        if not ends_so(over.state, on):
            ended = f"task {over.id}, which it needs, ended as {over.state.name.lower()}"
            never.append((task, State.CANCELLED, ended))
            continue
        task.waits.remove(over.id)
        if not task.waits and task.not_before <= at:
            task.move(State.SUBMITTED, at)
        elif not task.waits:
            task.note(State.WAITING, at, "its time has not come")
    return never


def completed(board: Board, part: Task) -> tuple[Task, State, str] | None:
    """The whole whose last part this was, and how it ended."""
    whole = board.live.get(part.whole) if part.whole else None
    if whole is None:
        return None
    board.touched.add(whole.id)
    if part.state is not State.SUCCEEDED:
        # Counted here, not looked up at the end: what ended long before the last part may be forgotten by then.
        whole.failures += 1
        if whole.failures == 1:
            where = part.node or next(iter(part.spec.target.nodes), 0)
            whole.reason = f"task {part.id} on node {where}: {part.reason or part.state.name.lower()}"[:REASON_MAX]
    if any(number in board.live for number in whole.parts):
        return None
    bad, parts = whole.failures, len(whole.parts)
    whole.result = Result(0 if not bad else None, seconds=max(0.0, part.changed_at - whole.changed_at))
    if not bad:
        return whole, State.SUCCEEDED, ""
    if whole.cancelled:
        return whole, State.CANCELLED, whole.cancelled
    return whole, State.FAILED, f"{parts - bad} of {parts} succeeded; {whole.reason}"
