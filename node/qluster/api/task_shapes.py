"""The shapes of answers about tasks: what a client may count on.

This file must not know where a value comes from; ``task_views.py`` fills it. Dates are RFC 3339 in UTC, durations
seconds, sizes bytes.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

from msgspec import Struct


class Placement(Struct, frozen=True, kw_only=True):
    """Where a task would run now, and what stands against each node that could not run it."""

    nodes: list[int]
    """One node, or each on which it would run; none: nowhere just now."""
    reasons: dict[int, str]


class SubmittedAnswer(Struct, frozen=True, kw_only=True):
    """Tasks that were taken on, in the order of the request, with the index of their entry of the log.

    ``known`` are those that were there already by their keys. ``repeated``: the request was sent before with this
    Idempotency-Key; ``tasks`` is null when that is too long ago to be remembered. With ``check`` there are only
    ``placements``.
    """

    index: int
    tasks: list[int] | None
    known: list[int]
    repeated: bool
    placements: list[Placement] | None


class CancelledAnswer(Struct, frozen=True, kw_only=True):
    """What became of a wish to cancel. ``cancelling``: its node was not heard of yet. Not ``changed``: it was over, or
    cancelled before."""

    index: int
    task: int
    state: str | None
    cancelling: bool
    changed: bool


class TaskLine(Struct, frozen=True, kw_only=True):
    """One task in a list."""

    task: int
    name: str
    template: str
    state: str
    reason: str
    node: int | None
    by: str
    submitted_at: str
    changed_at: str
    attempts: int
    priority: int
    cancelling: bool
    code: int | None


class TasksAnswer(Struct, frozen=True, kw_only=True):
    """Tasks, the newest first; ``next``: go on with this as ``before``, null at the end."""

    index: int
    tasks: list[TaskLine]
    next: int | None


class TaskChange(Struct, frozen=True, kw_only=True):
    """A change of state."""

    state: str
    at: str
    node: int | None
    reason: str


class TaskResult(Struct, frozen=True, kw_only=True):
    """What is known of the last attempt that ended."""

    code: int | None
    """Exit code; null: it was ended by a signal, or nobody knows."""
    signal: int
    cpu_seconds: float
    memory_bytes: int
    seconds: float
    stdout_bytes: int
    stderr_bytes: int
    tail: str
    """The end of what it said."""


class TaskAnswer(TaskLine, frozen=True, kw_only=True):
    """All of one task."""

    index: int
    key: str
    spec: dict[str, Any]
    """As a request would have it."""
    trail: list[TaskChange]
    fence: int | None
    began_at: str | None
    not_before: str | None
    waits_for: list[int]
    parts: list[int]
    whole: int | None
    schedule: str
    failures: int
    result: TaskResult | None
    why: str
    """Why it is where it is; of one that waits for a node, as the leader sees it now."""


class TemplateParameter(Struct, frozen=True, kw_only=True):
    """A parameter of a template; ``default`` null: one must be given."""

    default: str | None
    pattern: str


class TemplateAnswer(Struct, frozen=True, kw_only=True):
    """A template."""

    name: str
    about: str
    parameters: dict[str, TemplateParameter]
    task: dict[str, Any]


class TemplatesAnswer(Struct, frozen=True, kw_only=True):
    """All templates, by name."""

    index: int
    templates: list[TemplateAnswer]


class ScheduleAnswer(Struct, frozen=True, kw_only=True):
    """A schedule, and what came of it."""

    name: str
    cron: str
    zone: str
    missed: str
    overlap: bool
    enabled: bool
    by: str
    template: str
    parameters: dict[str, str]
    task: dict[str, Any]
    last: str | None
    """The last date that was seen to."""
    last_task: int | None
    skipped: str
    """Why that date passed without a task."""
    next: str | None
    silent: str
    """Why its next date is far away: a clock that was wrong has seen to those before it."""


class SchedulesAnswer(Struct, frozen=True, kw_only=True):
    """All schedules, by name."""

    index: int
    schedules: list[ScheduleAnswer]


class TasksNode(Struct, frozen=True, kw_only=True):
    """What a node has of tasks. What it offers only the leader knows: elsewhere that is null."""

    node: int
    running: int
    drained: bool
    ready: bool | None
    fault: str
    role: str | None
    slots: int | None
    used: int
    resources: dict[str, int]
    taken: dict[str, int]
    labels: dict[str, str]


class TasksSummary(Struct, frozen=True, kw_only=True):
    """How many tasks are in which state, how many ended in which since the founding, and what each node has."""

    index: int
    states: dict[str, int]
    ended: dict[str, int]
    history: int
    refused: int
    """Words of nodes whose claim was over."""
    templates: int
    schedules: int
    nodes: list[TasksNode]
    fault: str
    """Why the node that was asked runs no tasks; "" when it does."""
