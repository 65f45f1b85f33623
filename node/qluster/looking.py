"""Decides what there is to see of tasks: plain values, as every interface shows them.

Must not know HTTP.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from qluster.clients import Done, Outcome, Refused
from qluster.tasks import asking
from qluster.tasks.task import Task, unpack

if TYPE_CHECKING:
    from qluster.node import Node

SCANNED_MAX = 5000
"""Tasks of the history that one request looks through, some 15 ms; the answer says from where to go on."""

LIST_MAX = 1000


def look(node: Node, what: asking.Look, now: float) -> Outcome:
    """What there is to see."""
    match what:
        case asking.ListTasks():
            return _list(node, what, now)
        case asking.ShowTask(number):
            task = node.state.tasks.find(number)
            if task is None:
                return Refused("task", f"there is no task {number}, or it is forgotten", "no-such-task")
            return Done(node.state.applied, {"task": shown(node, task, now)})
        case asking.ListTemplates():
            found = {name: plain(template) for name, template in sorted(node.state.tasks.templates.items())}
            return Done(node.state.applied, {"templates": found})
        case asking.ListSchedules():
            return Done(node.state.applied, {"schedules": _schedules(node)})
        case asking.Overview():
            return Done(node.state.applied, _overview(node, now))


def plain(value: object) -> object:
    """A struct as names and values."""
    if isinstance(value, msgspec.Struct):
        found = {name: plain(getattr(value, name)) for name in value.__struct_fields__}
        tag = value.__struct_config__.tag
        return {"kind": tag, **found} if isinstance(tag, str) else found
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    return value


def brief(task: Task) -> dict[str, object]:
    """One line of a list."""
    return {
        "task": task.id, "name": task.spec.name or task.spec.template, "state": task.state.name.lower(),
        "reason": task.reason, "node": task.node or None, "by": task.by, "submitted_at": task.at,
        "changed_at": task.changed_at, "attempts": task.claims, "priority": task.spec.priority,
        "cancelling": bool(task.cancelled), "code": task.result.code if task.result is not None else None,
    }  # fmt: skip


def shown(node: Node, task: Task, now: float) -> dict[str, object]:
    """All of it."""
    trail = [
        {"state": change.state.name.lower(), "at": round(task.at + change.after_ms / 1000, 3),
         "node": change.node or None, "reason": change.reason} for change in task.trail
    ]  # fmt: skip
    dispatching = node.tasking.dispatching
    why = task.reason
    if dispatching.queue is not None and task.pending:
        why = dispatching.queue.explain(task, dispatching.views(now))
    return {
        **brief(task), "key": task.key, "spec": plain(task.spec), "trail": trail, "fence": task.fence or None,
        "began_at": task.began_at or None, "not_before": task.not_before or None, "waits_for": task.waits,
        "parts": task.parts, "whole": task.whole or None, "schedule": task.schedule, "failures": task.failures,
        "result": plain(task.result), "why": why,
    }  # fmt: skip


def _list(node: Node, what: asking.ListTasks, now: float) -> Outcome:
    board = node.state.tasks
    numbers = sorted({*board.live, *board.history}, reverse=True)
    found: list[dict[str, object]] = []
    scanned, last = 0, 0
    for number in numbers:
        if what.before and number >= what.before:
            continue
        if len(found) >= min(what.limit, LIST_MAX) or scanned >= SCANNED_MAX:
            return Done(node.state.applied, {"tasks": found, "next": last})
        task = board.live.get(number)
        if task is None:
            scanned += 1
            task = unpack(board.history[number])
        last = number
        if _chosen(task, what):
            found.append(brief(task))
    return Done(node.state.applied, {"tasks": found, "next": None})


def _chosen(task: Task, what: asking.ListTasks) -> bool:
    return (
        (not what.states or task.state.name.lower() in what.states)
        and what.name in ("", task.spec.name)
        and what.template in ("", task.spec.template)
        and what.node in (0, task.node)
        and what.schedule in ("", task.schedule)
        and what.key in ("", task.key)
    )


def _schedules(node: Node) -> dict[str, object]:
    return {
        name: {
            **plain(fired.schedule),  # type: ignore[dict-item]
            "last": fired.last or None, "task": fired.task or None, "skipped": fired.skipped,
        }
        for name, fired in sorted(node.state.tasks.schedules.items())
    }  # fmt: skip


def _overview(node: Node, now: float) -> dict[str, object]:
    board = node.state.tasks
    states: dict[str, int] = {}
    for task in board.live.values():
        name = task.state.name.lower()
        states[name] = states.get(name, 0) + 1
    nodes = [
        {"node": view.node, "ready": view.ready, "fault": view.fault, "drained": view.drained, "slots": view.slots,
         "used": view.used, "resources": dict(view.resources), "labels": dict(view.labels), "role": view.role}
        for view in node.tasking.dispatching.views(now)
    ]  # fmt: skip
    return {
        "states": states, "ended": dict(sorted(board.ended.items())), "history": len(board.history),
        "refused": board.refused, "templates": len(board.templates), "schedules": len(board.schedules), "nodes": nodes,
        "fault": node.tasking.workload.fault if node.tasking.workload.enabled else "this host runs no tasks",
    }  # fmt: skip
