"""Decides what a request about tasks becomes: an entry of the log, or a refusal that says why.

Must not know HTTP. Whether a host runs such a thing is decided once more by its own task runner, from its own file:
what is refused here is refused early, for who asks to hear of it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from qluster.clients import Busy, Done, Outcome, Refused
from qluster.cluster import commands
from qluster.tasks import asking, bulk, policy, routing
from qluster.tasks.bodies import (
    Body,
    NodeDrained,
    Schedule,
    ScheduleWritten,
    Submission,
    TaskCancelled,
    TasksSubmitted,
    TemplateWritten,
)
from qluster.tasks.checking import Faults, faults, schedule_faults, template_faults
from qluster.tasks.filling import made
from qluster.tasks.routing import View
from qluster.tasks.schedules import silence
from qluster.tasks.spec import Command, Script, Spec, Sql

if TYPE_CHECKING:
    from qluster.node import Node

BATCH_MAX = 1000
"""Tasks of one request; their bytes must fit into one entry of the log as well."""


def take(node: Node, what: asking.Change, now: float) -> Body | Outcome:
    """What the log is to be told, or the answer."""
    # Once the log has told of tasks, whoever reads it knows of them: a node that is down for long stops nobody.
    old = [] if node.state.tasks.used else [one.node for one in node.settled if not _knows(node, one.node)]
    if old:
        listed = ", ".join(map(str, old))
        return Busy(f"nodes {listed} have not said that their version knows of tasks: bring all nodes to this version")
    wall = round(node.wall(now), 3)
    match what:
        case asking.Submit():
            return _submit(node, what, wall, now)
        case asking.Cancel(by, task, reason):
            return TaskCancelled(task, wall, by, reason)
        case asking.WriteTemplate(_, name, template):
            wrong = template_faults(template) if template is not None else []
            return _refused(wrong) if wrong else TemplateWritten(name, template)
        case asking.WriteSchedule(_, name, schedule, filling):
            return _schedule(node, name, schedule, filling, now)
        case asking.Drain(by, number, drained, patience):
            if node.settled.get(number) is None:
                return Refused("node", f"there is no node {number}", "no-such-node")
            return NodeDrained(number, drained, wall, by, wall + patience if patience else 0.0)


def _knows(node: Node, number: int) -> bool:
    report = node.reports.last(number)
    return number == node.me or (report is not None and report.tasks)


def _submit(node: Node, what: asking.Submit, wall: float, now: float) -> Body | Outcome:
    if len(what.tasks) > BATCH_MAX:
        return Refused("tasks", f"{len(what.tasks)} tasks in one request, at most {BATCH_MAX} are possible")
    mine = _own_view(node, now)
    tasks: list[Submission] = []
    wrong: Faults = []
    for place, one in enumerate(what.tasks):
        task = _made(node, one)
        if isinstance(task, Refused):
            return task
        found = task if isinstance(task, list) else [*faults(task.spec, len(what.tasks)), *_too_late(task.spec, wall)]
        if isinstance(task, Submission) and not found:
            found = _not_here(node, mine, task.spec)
        wrong += [(f"tasks[{place}].{field}" if len(what.tasks) > 1 else field, fault) for field, fault in found]
        if isinstance(task, Submission):
            tasks.append(task)
    if not wrong:
        wrong += _cycles(tasks)
    if wrong:
        return _refused(wrong)
    more = sum(bulk.text(one.spec) * (1 + len(node.settled) if one.spec.target.each else 1) for one in tasks)
    if reason := bulk.overfull(node.state.tasks.text, more):
        return Refused("", reason, "too-many-tasks")
    body = TasksSubmitted(wall, what.by, tuple(tasks))
    if not what.check:
        return body
    size = len(commands.encode(body))
    if size > node.config.udp.max_log_size:
        return too_large(node, body, f"{size} bytes, max-log-size is {node.config.udp.max_log_size}")
    return Done(0, {"checked": [_placed(node, one, now) for one in tasks]})


def too_large(node: Node, body: commands.Body, reason: str) -> Refused:
    """The answer to a request of which the log takes no entry that is as large as that."""
    if isinstance(body, TasksSubmitted | TemplateWritten | ScheduleWritten):
        reason = f"{reason}; {bulk.oversize(body, node.config.udp.max_log_size)}"
    return Refused("", reason, "too-large-for-log")


def _made(node: Node, one: Submission | asking.FromTemplate) -> Submission | Faults | Refused:
    """The task itself: a template is filled in as it is now."""
    if isinstance(one, Submission):
        return one
    found = made(node.state.tasks.templates, one)
    return found if found is not None else Refused(
        "template", f"there is no template {one.template}", "no-such-template")  # fmt: skip


def _own_view(node: Node, now: float) -> View | None:
    """This host, where it runs tasks now."""
    if node.config.tasks is None:
        return None
    return next((view for view in node.tasking.dispatching.views(now) if view.node == node.me and view.ready), None)


def _not_here(node: Node, mine: View | None, spec: Spec) -> Faults:
    """What the leader's own file has against it, where it may come here. The other hosts' files are not known: a task
    that cannot come here is taken on, and its host's runner says what it thinks of it."""
    tasks = node.config.tasks
    nowhere = isinstance(spec.work, Script) and not spec.template
    if nowhere:
        return [("script", policy.refusal(spec.work, "", policy.Rules(), ""))]
    if tasks is None or mine is None or routing.unfit(mine, spec):
        return []
    rules = policy.Rules(tasks.commands, tasks.allowed_users, tasks.sql_roles, tasks.shell)
    # Where links lead is looked up by the runner: here only what is written counts.
    real = spec.work.argv[0] if isinstance(spec.work, Command) else ""
    reason = policy.refusal(spec.work, spec.template, rules, real)
    return [({Sql: "sql", Script: "script"}.get(type(spec.work), "command"), reason)] if reason else []


def _too_late(spec: Spec, wall: float) -> Faults:
    return [("expires", "has passed: it would never be begun")] if 0 < spec.expires <= wall else []


def _schedule(
    node: Node, name: str, schedule: Schedule | None, filling: asking.FromTemplate | None, now: float
) -> Body | Outcome:
    wall = round(node.wall(now), 3)
    if schedule is None:
        return ScheduleWritten(name, None, wall)
    schedule = replace(schedule, since=wall)
    if filling is not None:
        task = _made(node, filling)
        if not isinstance(task, Submission):
            return _refused(task) if isinstance(task, list) else task
        schedule = replace(schedule, submission=task, template=filling.template, parameters=filling.parameters)
    wrong = schedule_faults(schedule, wall) or _not_here(
        node, _own_view(node, now), schedule.submission.spec)
    if wrong:
        return _refused(wrong)
    before = node.state.tasks.schedules.get(name)
    silent = silence(before, wall) if before is not None else ""
    if silent and node.tasking.dispatching.clock_stands(now) is False:
        return Refused("", f"{silent}. They do not agree now")
    return ScheduleWritten(name, schedule, wall, anew=bool(silent))


def _refused(wrong: list[tuple[str, str]]) -> Refused:
    """What is wrong stands with its field: who shows a refusal shows its faults beside the sentence."""
    count = "a wrong value" if len(wrong) == 1 else f"{len(wrong)} wrong values"
    return Refused(wrong[0][0], f"the request has {count}", "wrong-value", faults=tuple(wrong))


def _cycles(tasks: list[Submission]) -> list[tuple[str, str]]:
    """Tasks of one request that need each other in a circle would wait for ever."""
    needs = {place: [-need.task - 1 for need in one.spec.needs if need.task < 0] for place, one in enumerate(tasks)}
    free = {place for place, others in needs.items() if not others}
    moved = True
    while moved:
        more = {place for place, others in needs.items() if place not in free and all(one in free for one in others)}
        free |= more
        moved = bool(more)
    circle = sorted(place for place in needs if place not in free)
    if not circle:
        return []
    itself = next((place for place in circle if place in needs[place]), None)
    if itself is not None:
        return [("needs", f"task {itself + 1} of the request needs itself: it would wait for ever")]
    listed = ", ".join(str(place + 1) for place in circle[:10])
    return [("needs", f"tasks {listed} of the request need each other in a circle, or one that does")]


def _placed(node: Node, one: Submission, now: float) -> dict[str, object]:
    """Where a task would run."""
    views = node.tasking.dispatching.views(now)
    why = routing.reasons(views, one.spec)
    if one.spec.target.each:
        return {"nodes": list(routing.spread(views, one.spec)), "reasons": why}
    chosen = routing.choose(views, one.spec)
    return {"nodes": [] if chosen is None else [chosen], "reasons": why}
