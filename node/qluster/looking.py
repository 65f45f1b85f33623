"""Decides what there is to see of tasks: plain values, as every interface shows them.

Must not know HTTP.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from qluster.clients import Done, Outcome, Refused
from qluster.tasked import SlotsStatus, TasksStatus
from qluster.tasks import asking
from qluster.tasks.board import Board
from qluster.tasks.kept import Fired
from qluster.tasks.life import FINAL, State
from qluster.tasks.routing import SILENT, View
from qluster.tasks.schedules import following, silence, since
from qluster.tasks.task import Task, unpack

if TYPE_CHECKING:
    from qluster.node import Node

SCANNED_MAX = 5000
"""Tasks of the history that one request looks through, some 15 ms; the answer says from where to go on."""

GONE_MAX = 100_000
"""Numbers of tasks that are forgotten, of which one request steps over so many: some 5 ms."""

LIST_MAX = 1000


def look(node: Node, what: asking.Look, now: float) -> Outcome:
    """What there is to see."""
    applied, board = node.state.applied, node.state.tasks
    match what:
        case asking.ListTasks():
            return Done(applied, _page(board, what))
        case asking.ShowTask(number):
            task = board.find(number)
            if task is None:
                return Refused("task", f"there is no task {number}, or it is forgotten", "no-such-task")
            return Done(applied, {"task": shown(node, task, now)})
        case asking.ListTemplates(name):
            if name and name not in board.templates:
                return Refused("name", f"there is no template {name}", "no-such-template")
            found = {each: one for each, one in sorted(board.templates.items()) if name in ("", each)}
            return Done(applied, {"templates": found})
        case asking.ListSchedules(name):
            if name and name not in board.schedules:
                return Refused("name", f"there is no schedule {name}", "no-such-schedule")
            wall = float(int(node.wall(now)))
            chosen = [name] if name else sorted(board.schedules)
            return Done(applied, {"schedules": {
                each: (board.schedules[each], _next(board.schedules[each], wall), silence(board.schedules[each], wall))
                for each in chosen
            }})  # fmt: skip
        case asking.Overview():
            return Done(applied, _overview(node, now))


def _next(fired: Fired, wall: float) -> float | None:
    if not fired.schedule.enabled:
        return None
    # Not with the second of the question, which would reckon anew each time, but with the date before this one.
    at = following(fired.schedule.cron, fired.schedule.zone, since(fired))
    return at if at is None or at > wall else following(fired.schedule.cron, fired.schedule.zone, wall)


def brief(task: Task) -> dict[str, object]:
    """One line of a list."""
    return {
        "task": task.id, "name": task.spec.name or task.spec.template, "template": task.spec.template,
        "state": task.state.name.lower(), "reason": task.reason, "node": task.node or None, "by": task.by,
        "submitted_at": task.at, "changed_at": task.changed_at, "attempts": task.claims,
        "priority": task.spec.priority, "cancelling": bool(task.cancelled) and not task.final,
        "code": task.result.code if task.result is not None else None,
    }  # fmt: skip


def shown(node: Node, task: Task, now: float) -> dict[str, object]:
    """All of it."""
    trail = [
        {"state": change.state.name.lower(), "at": task.at + change.after_ms / 1000,
         "node": change.node or None, "reason": change.reason} for change in task.trail
    ]  # fmt: skip
    return {
        **brief(task), "key": task.key, "spec": task.spec, "trail": trail, "fence": task.fence or None,
        "began_at": task.began_at or None, "not_before": task.not_before or None, "waits_for": list(task.waits),
        "parts": list(task.parts), "whole": task.whole or None, "schedule": task.schedule, "failures": task.failures,
        "result": task.result, "why": why(node, task, now),
    }  # fmt: skip


def why(node: Node, task: Task, now: float) -> str:
    """Why it is where it is. What stands against each node only the leader knows now; the others know what it said."""
    dispatching = node.tasking.dispatching
    if task.cancelled and not task.final:
        left = [str(part) for part in task.parts if part in node.state.tasks.live]
        awaited = f"its parts {', '.join(left)} are not over yet" if left else \
            f"node {task.node} has not said yet that it ended"  # fmt: skip
        return f"{task.cancelled}; {awaited}"
    if not task.pending or task.waits:
        return task.reason
    if task.not_before > node.wall(now):
        return task.reason or "its time has not come"
    if dispatching.queue is not None:
        return dispatching.queue.explain(task, dispatching.views(now)) or "its turn has come"
    return task.reason or "it waits its turn, of which the leader knows more"


@dataclass(frozen=True, slots=True)
class OutputPlace:
    """Where the output of a task's last attempt is; ``fence`` 0: there was none."""

    node: int
    fence: int
    own: bool
    """This node has it."""
    over: bool
    """The task is over."""
    address: tuple[str, int] = ("", 0)
    parts: tuple[int, ...] = ()
    missing: str = ""
    """Why there is none, and never will be."""


def output_place(node: Node | None, number: int) -> OutputPlace | str:
    """It; as text why there is none."""
    if node is None:
        return "this node has just begun"
    task = node.state.tasks.find(number)
    if task is None:
        return f"there is no task {number}, or it is forgotten"
    if missing := _unsaid(task):
        return OutputPlace(task.node, task.fence, own=True, over=True, missing=missing)
    own = not task.node or task.node == node.me
    member = node.settled.get(task.node) if not own else None
    if not own and member is None:
        return f"node {task.node}, which ran task {number} last, is no member any more"
    address = (member.ip, member.api_port) if member is not None else ("", 0)
    return OutputPlace(task.node, task.fence, own, task.final, address, tuple(task.parts))


def _unsaid(task: Task) -> str:
    """Why a task that is over has said nothing; "" where it may have. One that is lost may have begun."""
    if not task.final or task.began_at or task.parts or (task.state is State.LOST and task.fence):
        return ""
    which = f"attempt {task.claims} at task" if task.claims > 1 else "task"
    state = task.state.name.lower()
    return f"{which} {task.id} never began: {f'{state}, {task.reason}' if task.reason else state}"


def _page(board: Board, what: asking.ListTasks) -> dict[str, object]:
    found: list[dict[str, object]] = []
    scanned = gone = 0
    for number in _numbers(board, what):
        task = board.live.get(number)
        if task is None:
            packed = board.history.get(number)
            if packed is None:
                gone += 1
                if gone < GONE_MAX:
                    continue
                return {"tasks": found, "next": number}
            scanned += 1
            task = unpack(packed)
        if _chosen(task, what):
            if len(found) >= min(what.limit, LIST_MAX):
                return {"tasks": found, "next": number + 1}
            found.append(brief(task))
        if scanned >= SCANNED_MAX:
            return {"tasks": found, "next": number}
    return {"tasks": found, "next": None}


def _numbers(board: Board, what: asking.ListTasks) -> Iterator[int]:
    """Numbers of tasks to look at, the largest first."""
    below = min(what.before, board.next) if what.before else board.next
    if what.key:
        number = board.keys.get(what.key)
        return iter([number] if number is not None and number < below else [])
    final = {state.name.lower() for state in FINAL}
    if what.states and final.isdisjoint(what.states):
        return (number for number in sorted(board.live, reverse=True) if number < below)
    least = min(min(board.live, default=board.next), min(board.history, default=board.next))
    return iter(range(below - 1, least - 1, -1))


def _chosen(task: Task, what: asking.ListTasks) -> bool:
    return (
        (not what.states or task.state.name.lower() in what.states)
        and what.name in ("", task.spec.name)
        and what.template in ("", task.spec.template)
        and what.node in (0, task.node)
        and what.schedule in ("", task.schedule)
        and what.key in ("", task.key)
    )


def figures(node: Node, now: float) -> TasksStatus:
    """Tasks at a glance, cheap enough for who asks all the time."""
    board, workload, dispatching = node.state.tasks, node.tasking.workload, node.tasking.dispatching
    states = Counter(map(attrgetter("state"), board.live.values()))
    ip = {member.node: member.ip for member in node.settled}
    views = dispatching.views(now) if dispatching.queue is not None else []
    return TasksStatus(
        enabled=workload.enabled, fault=workload.fault if workload.enabled else "", running=workload.claims,
        states={state.name.lower(): states[state] for state in sorted(states)}, history=len(board.history),
        slots=tuple(SlotsStatus(node=view.node, ip=ip[view.node], total=view.slots, used=view.used)
                    for view in views if view.runs),
    )  # fmt: skip


def _overview(node: Node, now: float) -> dict[str, object]:
    board = node.state.tasks
    views = {view.node: view for view in node.tasking.dispatching.views(now)}
    states: dict[str, int] = {}
    running: dict[int, list[Task]] = {}
    for task in board.live.values():
        name = task.state.name.lower()
        states[name] = states.get(name, 0) + 1
        if task.claimed:
            running.setdefault(task.node, []).append(task)
    return {
        "states": states, "ended": dict(sorted(board.ended.items())), "history": len(board.history),
        "refused": board.refused, "templates": len(board.templates), "schedules": len(board.schedules),
        "nodes": [_node(node, member.node, running.get(member.node, []), views) for member in node.settled],
        "fault": node.tasking.workload.fault if node.tasking.workload.enabled else "this host runs no tasks",
    }  # fmt: skip


def _node(node: Node, number: int, running: list[Task], views: dict[int, View]) -> dict[str, object]:
    """What a node has of tasks; what it offers only the leader hears."""
    leads = node.tasking.dispatching.queue is not None
    found = {"node": number, "running": len(running), "drained": number in node.state.tasks.drained}
    view = views.get(number) if leads else None
    if view is None:
        silent = "it has not said that it runs tasks" if leads else ""
        used = sum(task.spec.slots for task in running)
        return {**found, "ready": False if silent else None, "fault": silent, "role": None, "slots": None,
                "used": used, "resources": {}, "taken": {}, "labels": {}}  # fmt: skip
    return {
        **found, "ready": view.ready, "fault": view.fault or ("" if view.ready else SILENT), "role": view.role,
        "slots": view.slots if view.runs else None, "used": view.used,
        "resources": dict(view.resources), "taken": {name: amount for name, amount in view.taken.items() if amount},
        "labels": dict(view.labels),
    }  # fmt: skip
