"""The rows of the table that are about tasks.

This file must not know how a request is carried or an answer is sent.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qluster import clients
from qluster.api import task_shapes as shapes
from qluster.api import task_views as views
from qluster.api.access import Rights
from qluster.api.fields import Faults
from qluster.api.operation import CONSISTENCY, JOINED, KEY, PATH_NODE, READ, WRITE, Operation, Shape, number, text
from qluster.api.parameters import INDEX_MAX, NODE_MAX, Parameter, Values
from qluster.api.shapes import DoneAnswer
from qluster.api.tasks import read_schedule, read_tasks, read_template
from qluster.api.times import span_of
from qluster.looking import LIST_MAX
from qluster.tasks import asking
from qluster.tasks.life import State

OUTPUT_MAX = 1 << 20
"""Bytes of output in one answer."""

STATES = tuple(state.name.lower() for state in State)

_BODY = ("body-too-large", "body-too-slow", "wrong-content-type", "wrong-value")
_CHANGE = tuple(word for word in WRITE if word != "no-such-node")
_TASK = Parameter("task", "path", "integer", "Number of the task", required=True, maximum=INDEX_MAX)
_NAME = Parameter("name", "path", "name", "The name", required=True)
_BY = Parameter("by", "query", "key", "Who wants it, for the history")


def _by(values: Values) -> str:
    return str(values["by"] or "")


def _look(name: str, path: str, summary: str, answer: Any, shape: Shape, what: Callable[[Values], asking.Look],
          *parameters: Parameter, errors: tuple[str, ...] = ()) -> Operation:  # fmt: skip
    """Something to see of tasks."""
    return Operation(
        name, "GET", path, summary, Rights.READ, answer, (*JOINED, *errors), (*parameters, CONSISTENCY), shape=shape,
        event=lambda ticket, _, values, __: clients.TaskLooked(ticket, what(values), str(values["consistency"])),
    )  # fmt: skip


def _change(name: str, method: str, path: str, summary: str, what: Callable[[Values, Any], asking.Change],
            *parameters: Parameter, errors: tuple[str, ...] = (), needs: Rights = Rights.OPERATE,
            **others: Any) -> Operation:  # fmt: skip
    """A change of tasks."""
    words = (*_CHANGE, *errors, *(_BODY if "body" in others else ()))
    more = () if needs is not Rights.DEPLOY and "more" not in others else ("no-deploy-token",)
    return Operation(
        name, method, path, summary, needs, others.pop("answer", DoneAnswer), (*words, *more), (*parameters, KEY),
        event=lambda ticket, key, values, body: clients.TaskRequested(ticket, key, what(values, body)), **others,
    )  # fmt: skip


def _list(values: Values) -> asking.ListTasks:
    return asking.ListTasks(
        states=tuple(str(values["state"] or "").split(",")) if values["state"] else (),
        name=str(values["name"] or ""), template=str(values["template"] or ""), node=int(str(values["node"] or 0)),
        schedule=str(values["schedule"] or ""), key=str(values["key"] or ""), before=int(str(values["before"] or 0)),
        limit=number(values, "limit"),
    )  # fmt: skip


def _read_schedule(document: object, values: Values) -> tuple[Any, Faults]:
    schedule, filling, faults = read_schedule(document, _by(values))
    return (schedule, filling), faults


def _rights_for_schedule(read: Any) -> Rights:
    """Whoever may operate may say when a template's task runs; what else runs again and again is deployed."""
    return Rights.OPERATE if read[1] is not None else Rights.DEPLOY


_TASKS = (
    _change(
        "submit_tasks", "POST", "/tasks",
        "Submit one task, or several of which all are taken on or none; the answer has their numbers, also when the "
        "request is sent again with its Idempotency-Key",
        lambda values, read: asking.Submit(_by(values), read, values["check"] == "true"),
        Parameter("check", "query", "choice", "true: only say where each would run now", choices=("false", "true"),
                  default="false"),
        _BY, answer=shapes.SubmittedAnswer, shape=views.submitted, body="tasks", read=lambda document, _: read_tasks(
            document),
        errors=("no-such-task", "no-such-template", "task-key-taken", "too-many-tasks", "too-large-for-log"),
    ),
    _look(
        "list_tasks", "/tasks", "Tasks, the newest first", shapes.TasksAnswer, views.listed, _list,
        Parameter("state", "query", "several", "Only in these states, separated by commas", choices=STATES),
        Parameter("name", "query", "text", "Only with this name"),
        Parameter("template", "query", "name", "Only of this template"),
        Parameter("node", "query", "integer", "Only those that this node has, or had last", maximum=NODE_MAX),
        Parameter("schedule", "query", "name", "Only of this schedule"),
        Parameter("key", "query", "key", "Only the one with this key"),
        Parameter("before", "query", "integer", "Only below this number: `next` of the page before", maximum=INDEX_MAX),
        Parameter("limit", "query", "integer", "At most so many", maximum=LIST_MAX, default="100"),
    ),
    _look(
        "summarize_tasks", "/tasks/summary",
        "How many tasks are in which state, and what each node has of slots and resources; the leader knows most",
        shapes.TasksSummary, views.summary, lambda _: asking.Overview(),
    ),
    _look(
        "show_task", "/tasks/{task}", "All of one task: what was asked for, its trail, its result, and why it is where "
        "it is", shapes.TaskAnswer, views.task, lambda values: asking.ShowTask(number(values, "task")), _TASK,
        errors=("no-such-task",),
    ),
    Operation(
        "task_output", "GET", "/tasks/{task}/output",
        "What the last attempt at a task said, byte by byte, from whichever node ran it. Headers: X-Qluster-Offset, "
        "X-Qluster-Next (where to go on), X-Qluster-Over (nothing more will come), X-Qluster-Node, X-Qluster-Fence "
        "(another one: a new attempt, which begins at 0)", Rights.READ, "application/octet-stream",
        (*READ, "not-joined", "no-such-task", "no-output", "output-away"),
        (_TASK, Parameter("stream", "query", "choice", "Which", choices=("stdout", "stderr"), default="stdout"),
         Parameter("offset", "query", "integer", "From this byte on", minimum=0, maximum=2**53, default="0"),
         Parameter("limit", "query", "integer", "At most so many bytes", maximum=OUTPUT_MAX, default="65536"),
         Parameter("wait", "query", "integer", "Seconds to wait for more", minimum=0, maximum=30, default="0"),
         Parameter("fence", "query", "integer", "Only what the node that is asked has of this attempt",
                   maximum=INDEX_MAX)),
        file="output",
    ),
    _change(
        "cancel_task", "DELETE", "/tasks/{task}", "Cancel a task; one that runs is stopped",
        lambda values, _: asking.Cancel(_by(values), number(values, "task"), str(values["reason"] or "")),
        _TASK, Parameter("reason", "query", "text", "Why, for people", default=""), _BY,
        answer=shapes.CancelledAnswer, shape=views.cancelled, errors=("no-such-task",),
    ),
)  # fmt: skip

_STORED = (
    _look("list_templates", "/task-templates", "All templates", shapes.TemplatesAnswer, views.templates,
          lambda _: asking.ListTemplates()),
    _look("show_template", "/task-templates/{name}", "A template", shapes.TemplateAnswer, views.template,
          lambda values: asking.ListTemplates(text(values, "name")), _NAME, errors=("no-such-template",)),
    _change("write_template", "PUT", "/task-templates/{name}", "Store a template, or another one in its place",
            lambda values, read: asking.WriteTemplate(_by(values), text(values, "name"), read), _NAME, _BY,
            body="template", read=lambda document, values: read_template(document, text(values, "name")),
            needs=Rights.DEPLOY, errors=("too-large-for-log",)),
    _change("remove_template", "DELETE", "/task-templates/{name}", "Remove a template; tasks that it made stay",
            lambda values, _: asking.WriteTemplate(_by(values), text(values, "name"), None), _NAME, _BY,
            needs=Rights.DEPLOY, errors=("no-such-template",)),
    _look("list_schedules", "/task-schedules", "All schedules, with the next date of each", shapes.SchedulesAnswer,
          views.schedules, lambda _: asking.ListSchedules()),
    _look("show_schedule", "/task-schedules/{name}", "A schedule", shapes.ScheduleAnswer, views.schedule,
          lambda values: asking.ListSchedules(text(values, "name")), _NAME, errors=("no-such-schedule",)),
    _change("write_schedule", "PUT", "/task-schedules/{name}",
            "Store a schedule, or another one in its place; one whose task no template makes needs the token for "
            "deploying",
            lambda values, read: asking.WriteSchedule(_by(values), text(values, "name"), *read), _NAME, _BY,
            body="schedule", read=_read_schedule, more=_rights_for_schedule,
            errors=("no-such-template", "too-large-for-log")),
    _change("remove_schedule", "DELETE", "/task-schedules/{name}", "Remove a schedule; tasks that it made stay",
            lambda values, _: asking.WriteSchedule(_by(values), text(values, "name"), None), _NAME, _BY,
            errors=("no-such-schedule",)),
)  # fmt: skip

_DRAINS = (
    _change("drain_node", "POST", "/nodes/{node}/drain", "Give a node no new tasks",
            lambda values, _: asking.Drain(_by(values), number(values, "node"), True,
                                           span_of(str(values["patience"])) or 0.0),
            PATH_NODE,
            Parameter("patience", "query", "span", "Those that it has are stopped after this; 0: never", default="0"),
            _BY, errors=("no-such-node",)),
    _change("undrain_node", "DELETE", "/nodes/{node}/drain", "Give it tasks again",
            lambda values, _: asking.Drain(_by(values), number(values, "node"), False), PATH_NODE, _BY,
            errors=("no-such-node",)),
)  # fmt: skip

TASK_OPERATIONS = (*_TASKS, *_STORED, *_DRAINS)
"""In the order of the documentation."""
