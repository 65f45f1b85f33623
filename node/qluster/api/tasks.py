"""Reads tasks, templates and schedules as requests write them, and writes them as requests do.

This file must not know who asks. Whether what it reads makes sense is judged in ``tasks/checking.py``; here is judged
whether it is of the right form, by a table that the description of the interface is made from as well.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from qluster.api.fields import (
    Date,
    Either,
    Faults,
    Field,
    Flag,
    Kind,
    Named,
    Number,
    Object,
    Several,
    Span,
    Text,
    variants,
)
from qluster.api.parameters import INDEX_MAX, KEY_LENGTH_MAX, KEY_PATTERN, NAME_PATTERN, NODE_MAX
from qluster.api.times import stamp
from qluster.cluster.values import NAME_LENGTH_MAX
from qluster.taking import BATCH_MAX
from qluster.tasks import checking
from qluster.tasks.asking import FromTemplate
from qluster.tasks.bodies import MISSED, Schedule, Submission, Template
from qluster.tasks.spec import (
    ENDS,
    MOVED,
    PRIORITY_MAX,
    ROLES,
    TIME_LIMIT,
    Command,
    Limits,
    Need,
    Retry,
    Script,
    Spec,
    Sql,
    Target,
    Work,
)

VARIABLE = r"[A-Za-z_][A-Za-z0-9_]{0,127}"
LABEL = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
PARAMETER = r"[a-z][a-z0-9_]{0,62}"
_TEXT = Text(checking.TEXT_MAX, lines=True)
_NAME = Text(NAME_LENGTH_MAX, pattern=NAME_PATTERN[1:-1], like="letters, digits and characters of . _ : -")
_SPAN = Span(checking.SECONDS_MAX)
_NEED = Object((
    Field("task", Number(-BATCH_MAX, INDEX_MAX), "its number; -1 is the first task of the same request", required=True),
    Field("on", Text(20, choices=ENDS), "how it must end: success, failure or any"),
))  # fmt: skip
_TARGET = Object((
    Field("role", Text(20, choices=ROLES), "role of the node that runs it"),
    Field("nodes", Several(Number(1, NODE_MAX), 64), "numbers of nodes of which one runs it"),
    Field("where", Text(1024), "expression over labels: `disk=ssd, zone!=b, gpu`"),
    Field("least_lag", Flag(), "of the replicas the one that lacks the least"),
    Field("each", Flag(), "once on every node that fits"),
    Field("pack", Flag(), "on the fullest node that has room, instead of the emptiest"),
    Field("fail", Flag(), "it fails where no node could ever run it; else it waits for one"),
), title="TaskTarget")  # fmt: skip
_RETRY = Object((
    Field("attempts", Number(0, checking.RETRIES_MAX), "further attempts after a failure"),
    Field("delay", _SPAN, "before the first of them"),
    Field("factor", Number(1, 100, broken=True), "so many times longer before each later one"),
    Field("delay_max", _SPAN, "never longer than this"),
), title="TaskRetry")  # fmt: skip
_LIMITS = Object((
    Field("memory", Number(0, 2**50), "bytes"),
    Field("cpu", Number(0, 4096, broken=True), "processors; 0.5 is half of one"),
    Field("processes", Number(0, 1_000_000), "processes and threads"),
    Field("output", Number(0, 2**40), "bytes of output that are kept"),
), title="TaskLimits")  # fmt: skip
_OF_COMMANDS = (
    Field("environment", Named(VARIABLE, Text(checking.TEXT_MAX, lines=True), 256), "variables of the program"),
    Field("directory", Text(4096), "where it runs; else in a directory of its own"),
    Field("user", Text(32), "who runs it; else `tasks.user` of the host"),
)
_OF_SQL = (
    Field("database", Text(63), "database; default postgres"),
    Field("role", Text(63), "role that runs the statements"),
    Field("variables", Named(VARIABLE, Text(checking.TEXT_MAX, lines=True), 256), "quoted as `:'name'`"),
)
_OF_SCRIPTS = (Field("arguments", Several(Text(checking.TEXT_MAX), checking.ARGUMENTS_MAX), "arguments of the script"),)
_OF_TEMPLATES = (Field("parameters", Named(PARAMETER, Text(1024), 64), "values of the template's parameters"),)
_COMMAND = (
    Field("command", Several(Text(checking.TEXT_MAX, lines=True), checking.ARGUMENTS_MAX, 1),
          "absolute path of a program, and its arguments; no shell reads them", required=True), *_OF_COMMANDS,
)  # fmt: skip
_SHELL = (Field("shell", _TEXT, "text for /bin/sh -c, where hosts allow it", required=True), *_OF_COMMANDS)
_SQL = (Field("sql", _TEXT, "statements for the node's database", required=True), *_OF_SQL)
_SCRIPT = (Field("script", _TEXT, "Python for the Dask cluster", required=True), *_OF_SCRIPTS)
_TEMPLATE = (Field("template", _NAME, "a stored template, filled in", required=True), *_OF_TEMPLATES)
_WORKS = {"command": _COMMAND, "shell": _SHELL, "sql": _SQL, "script": _SCRIPT}
"""What a task may run: exactly one of these, or a template; each with fields that are for it alone."""

_ASKED = (
    Field("key", Text(KEY_LENGTH_MAX, pattern=KEY_PATTERN[1:-1], like="letters, digits and characters of . _ : -"),
          "idempotency: while it is known, it is this task"),
    Field("start", Date(), "not before this date"),
    Field("expires", Date(), "not begun after this date"),
    Field("needs", Several(Either(_NEED, Number(-BATCH_MAX, INDEX_MAX)), 64), "tasks that must be over first"),
)  # fmt: skip
_ALSO_OF_TEMPLATES = (
    Field("name", Text(checking.NAME_MAX), "for people"),
    Field("priority", Number(0, PRIORITY_MAX), "the largest goes first; default 5"),
)
_COMMON = (
    *_ALSO_OF_TEMPLATES,
    Field("target", _TARGET, "where it runs"),
    Field("slots", Number(0, checking.SLOTS_MAX), "what it takes of its node's slots; default 1"),
    Field("resources", Named(LABEL, Number(0, 10**9), 64), "what it takes of its node's resources"),
    Field("time_limit", _SPAN, f"it is stopped then; default {TIME_LIMIT:.0f} s, 0: never"),
    Field("retry", _RETRY, "what follows a failure; default nothing"),
    Field("once", Flag(), "run at most once; else at least once"),
    Field("overlap", Flag(), "it may go on where its node is cut off"),
    Field("moved", Text(20, choices=MOVED), "what becomes of it when the role moves that it is for"),
    Field("group", Text(checking.NAME_MAX), "name of a group of tasks"),
    Field("group_limit", Number(1, checking.GROUP_LIMIT_MAX), "so many of the group at once; default 1"),
    Field("limits", _LIMITS, "what one attempt may use"),
)
_RUNS = "has to run"

TASK = variants({
    **{kind: (*fields, *_ASKED, *_COMMON) for kind, fields in _WORKS.items()},
    "template": (*_TEMPLATE, *_ASKED, *_ALSO_OF_TEMPLATES),
}, _RUNS, "Task")  # fmt: skip
"""A task in a request."""
_STORED = variants({kind: (*fields, *_COMMON) for kind, fields in _WORKS.items()}, _RUNS, "StoredTask")
"""A task as a template has it."""
_SCHEDULED = variants({
    **{kind: (*fields, *_COMMON) for kind, fields in _WORKS.items()}, "template": (*_TEMPLATE, *_ALSO_OF_TEMPLATES),
}, _RUNS, "ScheduledTask")  # fmt: skip
BATCH = Object((Field("tasks", Several(TASK, BATCH_MAX, 1), "tasks that are taken on all or none", required=True),))
_PARAMETER = Object((
    Field("default", Text(1024), "its value where none is given; without it one must be"),
    Field("pattern", Text(256), "what a value must match, whole"),
))  # fmt: skip
TEMPLATE = Object((
    Field("task", _STORED, "the task; `{name}` in an argument or in a value of `environment` stands for the parameter",
          required=True),
    Field("parameters", Named(PARAMETER, _PARAMETER, 64), "parameters of the template"),
    Field("about", Text(400, lines=True), "for people"),
))  # fmt: skip
SCHEDULE = Object((
    Field("cron", Text(200), "minute hour day month weekday: `30 2 * * *`", required=True),
    Field("task", _SCHEDULED, "the task that each date begins", required=True),
    Field("zone", Text(64), "time zone such as Europe/Berlin; default UTC"),
    Field("missed", Text(20, choices=MISSED), "what becomes of dates on which nobody could start it; default one"),
    Field("overlap", Flag(), "a task is begun although the one before it is not over"),
    Field("enabled", Flag(), "default true"),
))  # fmt: skip

def read_tasks(document: object) -> tuple[tuple[Submission | FromTemplate, ...], Faults]:
    """The tasks of a request: one object, or ``{"tasks": [...]}``."""
    faults: Faults = []
    several = isinstance(document, dict) and "tasks" in document
    found = (BATCH if several else TASK).read(document, "", faults)
    if faults or found is None:
        return (), faults
    return tuple(map(_task, found["tasks"] if several else (found,))), []


def read_template(document: object, name: str) -> tuple[Template | None, Faults]:
    """A template, under its name."""
    faults: Faults = []
    found = TEMPLATE.read(document, "", faults)
    if faults or found is None:
        return None, faults
    made = _task(found["task"])
    assert isinstance(made, Submission), "a template's task has no template"
    parameters = tuple((each, given.get("default"), given.get("pattern", ""))
                       for each, given in found.get("parameters", ()))  # fmt: skip
    return Template(msgspec.structs.replace(made.spec, template=name), parameters, found.get("about", "")), []


def read_schedule(document: object, by: str) -> tuple[Schedule | None, FromTemplate | None, Faults]:
    """A schedule; where a template makes its task, that as well: what stands in the schedule does not count then."""
    faults: Faults = []
    found = SCHEDULE.read(document, "", faults)
    if faults or found is None:
        return None, None, faults
    made = _task(found["task"])
    rest = {name: found[name] for name in ("zone", "missed", "overlap", "enabled") if name in found}
    if isinstance(made, FromTemplate):
        return Schedule(found["cron"], Submission(Spec(Command(()))), by=by, **rest), made, []
    return Schedule(found["cron"], made, by=by, **rest), None, []


def _task(given: Mapping[str, Any]) -> Submission | FromTemplate:
    """What was read without a fault."""
    needs = tuple(
        Need(need["task"], need.get("on", "success")) if isinstance(need, Mapping) else Need(need)
        for need in given.get("needs", ())
    )
    if "template" in given:
        return FromTemplate(
            given["template"], given.get("parameters", ()), given.get("name"), given.get("key", ""),
            given.get("start", 0.0), given.get("expires", 0.0), given.get("priority"), needs,
        )  # fmt: skip
    return Submission(_spec(given, needs), given.get("key", ""))


def _spec(given: Mapping[str, Any], needs: tuple[Need, ...]) -> Spec:
    plain = ("name", "priority", "slots", "resources", "time_limit", "once", "overlap", "moved", "group", "group_limit",
             "start", "expires")  # fmt: skip
    rest = {name: given[name] for name in plain if name in given}
    parts: dict[str, type] = {"target": Target, "retry": Retry, "limits": Limits}
    rest |= {name: made(**given[name]) for name, made in parts.items() if name in given}
    return Spec(_work(given), needs=needs, **rest)


def _work(given: Mapping[str, Any]) -> Work:
    kind = next(kind for kind in _WORKS if kind in given)
    own = {field.name: given[field.name] for field in _WORKS[kind][1:] if field.name in given}
    match kind:
        case "command":
            return Command(given["command"], **own)
        case "shell":
            return Command((given["shell"],), shell=True, **own)
        case "sql":
            return Sql(given["sql"], **own)
    return Script(given["script"], **own)


# --- the way back ---------------------------------------------------------------------


def written(spec: Spec) -> dict[str, Any]:
    """A task as a request would have it; what is as by default is left out."""
    work = spec.work
    match work:
        case Command(argv, shell=shell):
            found: dict[str, Any] = {"shell": argv[0]} if shell else {"command": list(argv)}
        case Sql(text):
            found = {"sql": text}
        case Script(text):
            found = {"script": text}
    found |= {name: value for name, value in _changed(work).items() if name not in ("argv", "text", "shell")}
    changed = _changed(spec)
    for name in ("work", "start", "expires", "needs"):
        changed.pop(name, None)
    found |= {name: _changed(value) if isinstance(value, msgspec.Struct) else value for name, value in changed.items()}
    found |= {name: stamp(at) for name, at in (("start", spec.start), ("expires", spec.expires)) if at}
    if spec.needs:
        found["needs"] = [{"task": need.task, "on": need.on} for need in spec.needs]
    return found


_PAIRS = ("environment", "variables", "resources")


def _changed(struct: msgspec.Struct) -> dict[str, Any]:
    """The fields that are not as by default."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        if field.default is msgspec.NODEFAULT or value != field.default:
            found[field.name] = dict(value) if field.name in _PAIRS else list(value) if isinstance(value, tuple) \
                else value  # fmt: skip
    return found


KINDS: dict[str, Kind] = {"tasks": Either(BATCH, TASK), "template": TEMPLATE, "schedule": SCHEDULE}
"""What a body may be, for the description of the interface."""

PARTS = (TASK, _STORED, _SCHEDULED, _TARGET, _RETRY, _LIMITS)
"""What that has as parts of their own."""
