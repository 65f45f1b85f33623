"""Decides whether what is asked for makes sense by itself: a task, a template, a schedule.

Must not know the cluster: what only the log decides is in ``submitting.py``, what a host allows is with its runner.
Each fault is the field and a sentence.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from collections.abc import Iterator
from math import isfinite

from qluster.tasks import labels, matching, schedules
from qluster.tasks.bodies import MISSED, Schedule, Template
from qluster.tasks.spec import ENDS, MOVED, PRIORITY_MAX, ROLES, Command, Script, Spec, Sql, Target
from qluster.tasks.submitting import NEEDS_MAX

Faults = list[tuple[str, str]]

NAME_MAX = 128
ARGUMENTS_MAX = 256
TEXT_MAX = 32_768
"""Bytes of SQL, of a script, or of all arguments: it stands in the log, and in each snapshot while the task lives."""

SLOTS_MAX = 1000
SECONDS_MAX = 366 * 86400.0
RETRIES_MAX = 1000
GROUP_LIMIT_MAX = 1000

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_PARAMETER = re.compile(r"\{([a-z][a-z0-9_]{0,62})\}")
PARAMETER_PATTERN = r"[^\x00-\x1f\x7f-][^\x00-\x1f\x7f]*"
"""What a parameter may be when the template says nothing: one line that no program takes for an option."""


def faults(spec: Spec, batch: int = 1) -> Faults:
    """What is wrong with a task; ``batch`` is how many tasks the request has."""
    return [*_work(spec.work), *_target(spec.target), *_times(spec), *_rest(spec, batch)]


def _work(work: Command | Sql | Script) -> Iterator[tuple[str, str]]:
    match work:
        case Command(argv):
            yield from _command(work, argv)
        case Sql(text, database, _, variables):
            if not text.strip():
                yield "sql", "says nothing"
            if "\0" in text or len(text.encode()) > TEXT_MAX:
                yield "sql", f"has {len(text.encode())} bytes, at most {TEXT_MAX} without a zero byte are possible"
            if not database:
                yield "database", "is empty: name one"
            for name, _ in variables:
                if not _VARIABLE.fullmatch(name):
                    yield "variables", f"{name!r} is no name of a variable: use letters, digits and _"
        case Script(text):
            if not text.strip() or len(text.encode()) > TEXT_MAX:
                yield "script", f"has {len(text.encode())} bytes, between 1 and {TEXT_MAX} are possible"


def _command(work: Command, argv: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    size = sum(len(word.encode(errors="surrogatepass")) for word in argv)
    if not argv or not argv[0]:
        yield "command", "is empty: name a program and its arguments"
        return
    if len(argv) > ARGUMENTS_MAX or size > TEXT_MAX:
        yield "command", f"has {len(argv)} words of {size} bytes, at most {ARGUMENTS_MAX} of {TEXT_MAX} are possible"
    if any("\0" in word for word in argv):
        yield "command", "has a zero byte"
    if work.shell and len(argv) != 1:
        yield "command", f"is for a shell and has {len(argv)} words: write it as one"
    if not work.shell and not argv[0].startswith("/"):
        yield "command", f"{argv[0]!r} is no absolute path: no search path is used, write where the program is"
    if work.directory and not work.directory.startswith("/"):
        yield "directory", f"{work.directory!r} is no absolute path"
    for name, value in work.environment:
        if not _VARIABLE.fullmatch(name) or "\0" in value:
            yield "environment", f"{name!r} is no name of a variable: use letters, digits and _"
        if name.startswith(("QLUSTER_", "LD_")):
            yield "environment", f"{name} is not for tasks to set"


def _target(target: Target) -> Iterator[tuple[str, str]]:
    if target.role not in ROLES:
        yield "target.role", f"{target.role!r} is not known: use one of {', '.join(ROLES)}"
    try:
        labels.read(target.where)
    except labels.Unreadable as fault:
        yield "target.where", str(fault)
    if target.least_lag and target.role != "replica":
        yield "target.least_lag", "is for the role replica"
    if target.each and (target.least_lag or target.pack):
        yield "target.each", "runs it on every node: least_lag and pack choose one"
    if any(node < 1 for node in target.nodes):
        yield "target.nodes", "numbers of nodes begin with 1"


def _times(spec: Spec) -> Iterator[tuple[str, str]]:
    for name, value in (("time_limit", spec.time_limit), ("retry.delay", spec.retry.delay),
                        ("retry.delay_max", spec.retry.delay_max)):  # fmt: skip
        if not isfinite(value) or not 0 <= value <= SECONDS_MAX:
            yield name, f"{value} is not between 0 and {SECONDS_MAX:.0f} seconds"
    if not isfinite(spec.start) or not isfinite(spec.expires) or spec.start < 0 or spec.expires < 0:
        yield "start", "is no date"
    if spec.expires and spec.expires <= spec.start:
        yield "expires", "is before its start: it could never be begun"
    if not 0 <= spec.retry.attempts <= RETRIES_MAX:
        yield "retry.attempts", f"{spec.retry.attempts} is not between 0 and {RETRIES_MAX}"
    if not isfinite(spec.retry.factor) or not 1 <= spec.retry.factor <= 100:
        yield "retry.factor", f"{spec.retry.factor} is not between 1 and 100"
    if spec.once and spec.retry.attempts:
        yield "retry", "contradicts once: what is run once at most is not tried again"


def _rest(spec: Spec, batch: int) -> Iterator[tuple[str, str]]:
    if len(spec.name) > NAME_MAX:
        yield "name", f"has {len(spec.name)} characters, at most {NAME_MAX} are possible"
    if not 0 <= spec.priority <= PRIORITY_MAX:
        yield "priority", f"{spec.priority} is not between 0 and {PRIORITY_MAX}"
    if not 0 <= spec.slots <= SLOTS_MAX:
        yield "slots", f"{spec.slots} is not between 0 and {SLOTS_MAX}"
    if any(amount < 0 for _, amount in spec.resources):
        yield "resources", "an amount is below 0"
    if spec.moved not in MOVED:
        yield "moved", f"{spec.moved!r} is not known: use one of {', '.join(MOVED)}"
    if not 1 <= spec.group_limit <= GROUP_LIMIT_MAX:
        yield "group_limit", f"{spec.group_limit} is not between 1 and {GROUP_LIMIT_MAX}"
    limits = spec.limits
    if min(limits.memory, limits.cpu, limits.processes, limits.output) < 0 or not isfinite(limits.cpu):
        yield "limits", "one of them is below 0"
    if len(spec.needs) > NEEDS_MAX:
        yield "needs", f"{len(spec.needs)} tasks are needed, at most {NEEDS_MAX} are possible"
    if len({need.task for need in spec.needs}) != len(spec.needs):
        yield "needs", "one task is needed twice"
    for need in spec.needs:
        if need.on not in ENDS:
            yield "needs", f"{need.on!r} is not known: use one of {', '.join(ENDS)}"
        if need.task == 0 or need.task < -batch:
            yield "needs", f"task {need.task} does not exist: -1 is the first of {batch} in this request"


# --- templates -------------------------------------------------------------------------


def template_faults(template: Template) -> Faults:
    """What is wrong with a template."""
    wrong = faults(template.spec)
    named = {name for name, _, _ in template.parameters}
    for name, default, pattern in template.parameters:
        if not _PARAMETER.fullmatch("{" + name + "}"):
            wrong.append(("parameters", f"{name!r} is no name: use small letters, digits and _"))
        try:
            fits = matching.fits(pattern or PARAMETER_PATTERN, default or "")
        except matching.Unreadable as fault:
            wrong.append(("parameters", f"the pattern of {name}, {pattern!r}, cannot be read: {fault}"))
            continue
        if default is not None and not fits:
            wrong.append(("parameters", f"the default of {name} does not match its own pattern"))
    work = template.spec.work
    if isinstance(work, Command) and work.shell:
        # ${name} is a variable of the shell, which it expands and reads no further.
        used = {name for name in named if re.search(r"(?<!\$)" + re.escape("{" + name + "}"), work.argv[0])}
        wrong += [("shell", f"has {{{name}}}: what is given for a parameter would be read by the shell; give it to a "
                            f"variable of environment, and name that")
                  for name in sorted(used)]  # fmt: skip
    else:
        used = {name for word in _words(template.spec) for name in _PARAMETER.findall(word)}
        wrong += [("command", f"names the parameter {name}, which the template does not have")
                  for name in sorted(used - named)]  # fmt: skip
    if template.spec.needs:
        wrong.append(("needs", "a template needs no other task: say so when you submit it"))
    return wrong


def _words(spec: Spec) -> tuple[str, ...]:
    match spec.work:
        case Command(argv):
            return argv
        case Script(_, arguments):
            return arguments
    return ()


def filled(template: Template, given: dict[str, str]) -> Spec | Faults:
    """The task that a template and its parameters make."""
    from msgspec.structs import replace

    known = {name: (default, pattern) for name, default, pattern in template.parameters}
    wrong: Faults = [("parameters", f"the template has no parameter {name}") for name in given if name not in known]
    values: dict[str, str] = {}
    for name, (default, pattern) in known.items():
        value = given.get(name, default)
        if value is None:
            wrong.append(("parameters", f"{name} is missing"))
        elif reason := _unfit(pattern or PARAMETER_PATTERN, value):
            wrong.append(("parameters", f"{name}: {reason}"))
        else:
            values[name] = value
    if wrong:
        return wrong

    def fill(word: str) -> str:
        return _PARAMETER.sub(lambda found: values.get(found[1], found[0]), word)

    spec = template.spec
    match spec.work:
        case Command(argv, environment, shell=shell):
            # What a shell reads is never put together from what somebody gave; variables it expands, and reads no more.
            argv = argv if shell else tuple(map(fill, argv))
            environment = tuple((name, fill(value)) for name, value in environment)
            spec = replace(spec, work=replace(spec.work, argv=argv, environment=environment))
        case Script(_, arguments):
            spec = replace(spec, work=replace(spec.work, arguments=tuple(map(fill, arguments))))
        case Sql():
            spec = replace(spec, work=replace(spec.work, variables=(*spec.work.variables, *sorted(values.items()))))
    return spec


def _unfit(pattern: str, value: str) -> str:
    """Why a parameter may not be this; "" when it may. A version that knew less may have stored any pattern."""
    try:
        return "" if matching.fits(pattern, value) else f"{value[:60]!r} does not match {pattern}"
    except matching.Unreadable as fault:
        return f"the pattern of the template, {pattern!r}, cannot be read: {fault}; store another one"


# --- schedules -------------------------------------------------------------------------


def schedule_faults(schedule: Schedule, wall: float) -> Faults:
    """What is wrong with a schedule, at this date."""
    wrong = faults(schedule.submission.spec)
    unreal = schedules.fault(schedule.cron, schedule.zone, wall)
    if unreal is not None:
        wrong.append(unreal)
    if schedule.missed not in MISSED:
        wrong.append(("missed", f"{schedule.missed!r} is not known: use one of {', '.join(MISSED)}"))
    if schedule.submission.key:
        wrong.append(("key", "each date makes a task of its own: a schedule's task has no key"))
    if schedule.submission.spec.needs:
        wrong.append(("needs", "a schedule's task needs no other: on later dates that one would long be over"))
    if schedule.submission.spec.start or schedule.submission.spec.expires:
        wrong.append(("start", "a schedule says when its task starts: give no date for start or expires"))
    return wrong
