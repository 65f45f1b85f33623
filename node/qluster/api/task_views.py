"""What there is to see of tasks becomes the shapes of answers.

This file must not ask a node anything.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

from msgspec import convert

from qluster.api import task_shapes as shapes
from qluster.api.tasks import written
from qluster.api.times import stamp
from qluster.clients import Done
from qluster.tasks.bodies import Result, Template
from qluster.tasks.kept import Fired


def submitted(done: Done) -> shapes.SubmittedAnswer:
    """Numbers, or where they would run."""
    detail: dict[str, Any] = done.detail
    checked = detail.get("checked")
    placements = None if checked is None else [shapes.Placement(**one) for one in checked]
    return shapes.SubmittedAnswer(
        index=done.index, tasks=detail.get("tasks") if checked is None else [], known=detail.get("known", []),
        repeated=detail.get("repeated", False), placements=placements,
    )  # fmt: skip


def cancelled(done: Done) -> shapes.CancelledAnswer:
    """The state that the task is in."""
    detail: dict[str, Any] = done.detail
    return shapes.CancelledAnswer(
        index=done.index, task=detail.get("task", 0), state=detail.get("state"),
        cancelling=detail.get("cancelling", False), changed=detail.get("changed", False),
    )  # fmt: skip


def listed(done: Done) -> shapes.TasksAnswer:
    """A page of the list."""
    detail: dict[str, Any] = done.detail
    tasks = [shapes.TaskLine(**_dated(one)) for one in detail["tasks"]]
    return shapes.TasksAnswer(index=done.index, tasks=tasks, next=detail["next"])


def task(done: Done) -> shapes.TaskAnswer:
    """One task."""
    found: dict[str, Any] = dict(done.detail["task"])  # type: ignore[call-overload]
    found["trail"] = [shapes.TaskChange(**_dated(change)) for change in found["trail"]]
    found["spec"] = written(found["spec"])
    found["result"] = None if found["result"] is None else _result(found["result"])
    return shapes.TaskAnswer(index=done.index, **_dated(found))


def _result(result: Result) -> shapes.TaskResult:
    return shapes.TaskResult(
        code=result.code, signal=result.signal, cpu_seconds=result.cpu, memory_bytes=result.memory,
        seconds=result.seconds, stdout_bytes=result.output[0], stderr_bytes=result.output[1], tail=result.tail,
    )  # fmt: skip


_DATES = ("at", "submitted_at", "changed_at", "began_at", "not_before")


def _dated(found: dict[str, Any]) -> dict[str, Any]:
    """Its dates as text."""
    return {name: stamp(value) if name in _DATES and value is not None else value for name, value in found.items()}


def templates(done: Done) -> shapes.TemplatesAnswer:
    """All of them."""
    found: Any = done.detail["templates"]
    return shapes.TemplatesAnswer(index=done.index, templates=[_template(name, one) for name, one in found.items()])


def template(done: Done) -> shapes.TemplateAnswer:
    """One of them."""
    found: Any = done.detail["templates"]
    return next(_template(name, one) for name, one in found.items())


def _template(name: str, one: Template) -> shapes.TemplateAnswer:
    spec = {field: value for field, value in written(one.spec).items() if field != "template"}
    parameters = {each: shapes.TemplateParameter(default=default, pattern=pattern)
                  for each, default, pattern in one.parameters}  # fmt: skip
    return shapes.TemplateAnswer(name=name, about=one.about, parameters=parameters, task=spec)


def schedules(done: Done) -> shapes.SchedulesAnswer:
    """All of them."""
    found: Any = done.detail["schedules"]
    return shapes.SchedulesAnswer(
        index=done.index, schedules=[_schedule(name, *one) for name, one in found.items()],
    )  # fmt: skip


def schedule(done: Done) -> shapes.ScheduleAnswer:
    """One of them."""
    found: Any = done.detail["schedules"]
    return next(_schedule(name, *one) for name, one in found.items())


def _schedule(name: str, fired: Fired, following: float | None, silent: str) -> shapes.ScheduleAnswer:
    one = fired.schedule
    return shapes.ScheduleAnswer(
        name=name, cron=one.cron, zone=one.zone, missed=one.missed, overlap=one.overlap, enabled=one.enabled,
        by=one.by, template=one.template, parameters=dict(one.parameters), task=written(one.submission.spec),
        # A schedule that is new, or written anew, counts from then on: that is no date of it.
        last=stamp(fired.last) if fired.last > one.since else None, last_task=fired.task or None, skipped=fired.skipped,
        next=stamp(following) if following is not None else None, silent=silent,
    )  # fmt: skip


def summary(done: Done) -> shapes.TasksSummary:
    """Numbers of tasks."""
    return convert({"index": done.index, **done.detail}, shapes.TasksSummary)
