"""Says what can be asked of the cluster about tasks.

Must not know how it is asked (``api/``), nor who answers.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from msgspec import Struct

from qluster.tasks.bodies import Schedule, Submission, Template
from qluster.tasks.spec import Need


class FromTemplate(Struct, frozen=True, tag=True, array_like=True):
    """A task that a stored template makes, filled in; what is None is as the template says."""

    template: str
    parameters: tuple[tuple[str, str], ...] = ()
    name: str | None = None
    key: str = ""
    start: float = 0.0
    expires: float = 0.0
    priority: int | None = None
    needs: tuple[Need, ...] = ()


class Submit(Struct, frozen=True, tag=True, array_like=True):
    """Take these tasks on, all or none. ``check``: only say where each would run, or why nowhere."""

    by: str
    tasks: tuple[Submission | FromTemplate, ...]
    check: bool = False


class Cancel(Struct, frozen=True, tag=True, array_like=True):
    """A task is not wanted any more."""

    by: str
    task: int
    reason: str = ""


class WriteTemplate(Struct, frozen=True, tag=True, array_like=True):
    """Store a template, or (None) remove it."""

    by: str
    name: str
    template: Template | None


class WriteSchedule(Struct, frozen=True, tag=True, array_like=True):
    """Store a schedule, or (None) remove it. ``filling``: a template makes its task."""

    by: str
    name: str
    schedule: Schedule | None
    filling: FromTemplate | None = None


class Drain(Struct, frozen=True, tag=True, array_like=True):
    """A node gets no new tasks, or does again; those that it has may go on for ``patience`` seconds (0: to their
    ends)."""

    by: str
    node: int
    drained: bool
    patience: float = 0.0


Change = Submit | Cancel | WriteTemplate | WriteSchedule | Drain


class ListTasks(Struct, frozen=True, tag=True, array_like=True):
    """Tasks, the newest first, before number ``before`` (0: from the newest); what is "" or 0 does not choose."""

    states: tuple[str, ...] = ()
    name: str = ""
    template: str = ""
    node: int = 0
    schedule: str = ""
    key: str = ""
    before: int = 0
    limit: int = 100


class ShowTask(Struct, frozen=True, tag=True, array_like=True):
    """One task, with its trail, and why it is where it is."""

    task: int


class ListTemplates(Struct, frozen=True, tag=True, array_like=True):
    """All templates, or the one of this name."""

    name: str = ""


class ListSchedules(Struct, frozen=True, tag=True, array_like=True):
    """All schedules, or the one of this name, with the next date of each."""

    name: str = ""


class Overview(Struct, frozen=True, tag=True, array_like=True):
    """How many tasks are in which state, and what each node has of them."""


Look = ListTasks | ShowTask | ListTemplates | ListSchedules | Overview
