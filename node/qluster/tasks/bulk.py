"""Reckons how much text tasks hold, and says what is too much of it.

Must not know what the text is for. All else of a task is small; its text stands in the log, in the memory of each
node for as long as it is not over, and in each snapshot.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Sequence

import msgspec

from qluster.tasks.bodies import ScheduleWritten, Submission, TasksSubmitted, TemplateWritten
from qluster.tasks.said import said
from qluster.tasks.spec import Command, Script, Spec, Sql

LIVE_TEXT_MAX = 32 << 20
"""Characters that tasks which are not over may hold together: as much as the history. The leader refuses more before
the log is told of it, so it is no rule of the log, and may change with a version."""

_encoder = msgspec.msgpack.Encoder()


def text(spec: Spec) -> int:
    """Characters of what a task runs."""
    match spec.work:
        case Command(argv, environment):
            return sum(map(len, argv)) + _pairs(environment)
        case Sql(words, _, _, variables):
            return len(words) + _pairs(variables)
        case Script(words, arguments):
            return len(words) + sum(map(len, arguments))


def _pairs(pairs: Sequence[tuple[str, str]]) -> int:
    return sum(len(name) + len(value) for name, value in pairs)


def overfull(held: int, more: int) -> str:
    """Why tasks with so much more text are not taken on; "" when they are."""
    if held + more <= LIVE_TEXT_MAX:
        return ""
    return (f"tasks that are not over hold {_mib(held)} of arguments, environment and statements, and {_mib(more)} "
            f"more are asked for; {_mib(LIVE_TEXT_MAX)} are possible: wait, cancel some, or put what is long into "
            f"files on the hosts")  # fmt: skip


def oversize(body: TasksSubmitted | TemplateWritten | ScheduleWritten, most: int) -> str:
    """What can be done about a request that does not fit into an entry of ``most`` bytes."""
    match body:
        case TasksSubmitted(tasks=tasks):
            fitting, place = _fitting(tasks, most)
            if place is None:
                return f"the first {fitting} of its {len(tasks)} tasks would fit"
            which = f"task {place + 1} of the request alone is" if len(tasks) > 1 else "it is one task, and that is"
        case TemplateWritten():
            which = "the template is"
        case ScheduleWritten():
            which = "the schedule, with the task that it makes now, is"
    return f"{which} too large: put what is long into a file on the hosts"


def _fitting(tasks: Sequence[Submission], most: int) -> tuple[int, int | None]:
    """How many of the first fit into one entry, and which one would not even do so alone."""
    room = most - OVERHEAD
    sizes = [len(_encoder.encode(said(one))) for one in tasks]
    alone = next((place for place, size in enumerate(sizes) if size > room), None)
    count = total = 0
    for size in sizes:
        total += size
        if total > room:
            break
        count += 1
    return count, alone


OVERHEAD = 256
"""Bytes of an entry around its tasks: who asked, when, and the key and the fingerprint of the request."""


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
