"""Says what the log tells of tasks: the bodies of its commands.

Must not know what they change: that is ``board.py``. A body is a fact in the past. ``at`` is seconds since 1970 by
the clock of the node that wrote it; what it decides for tasks it decides by that date alone, so that every node that
reads the log decides the same.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from enum import IntEnum

from msgspec import Struct

from qluster.tasks.spec import Spec


class Submission(Struct, frozen=True, array_like=True):
    """One task that was asked for. While ``key`` is that of another task, it is that one ("": no key)."""

    spec: Spec
    key: str = ""


class TasksSubmitted(Struct, frozen=True, tag="tasks", array_like=True):
    """These tasks were asked for, by ``by``."""

    at: float
    by: str
    tasks: tuple[Submission, ...]


class Verdict(IntEnum):
    """How a claim ended, as its node says."""

    DONE = 1
    """The program ended, and well."""
    FAILED = 2
    """It ended otherwise."""
    TIMED_OUT = 3
    UNSTARTABLE = 4
    """It could not be begun: no such program, no such user."""
    REFUSED = 5
    """This node does not run such a thing: its own configuration says so."""
    CANCELLED = 6
    MOVED = 7
    """It was stopped because its node lost the role that it was for."""
    CUT_OFF = 8
    """It was stopped because its node did not hear from the cluster."""
    VANISHED = 9
    """It was begun, and nobody knows how it ended: the host or its task runner was down."""
    DRAINED = 10
    """It was stopped because its node is to be empty."""
    UNBEGUN = 11
    """It was not begun and will not be."""


class Result(Struct, frozen=True, array_like=True, gc=False):
    """What is known of an attempt that ended."""

    code: int | None = None
    """Exit code; None where it was ended by a signal, or is not known."""
    signal: int = 0
    cpu: float = 0.0
    """Seconds of processor time."""
    memory: int = 0
    """Bytes at most; 0: not known."""
    seconds: float = 0.0
    """From its begin to its end."""
    output: tuple[int, int] = (0, 0)
    """Bytes that it wrote to its two outputs, with those that were not kept."""
    tail: str = ""
    """The end of what it said."""


class Assigned(Struct, frozen=True, tag="a", array_like=True):
    """``node`` has the only claim. The index of this entry is its fencing number."""

    task: int
    node: int


class Held(Struct, frozen=True, tag="h", array_like=True):
    """It waits, and why."""

    task: int
    reason: str


class Failed(Struct, frozen=True, tag="f", array_like=True):
    """It cannot be run, and why."""

    task: int
    reason: str


class Expired(Struct, frozen=True, tag="x", array_like=True):
    """Its date has passed."""

    task: int


class Spread(Struct, frozen=True, tag="s", array_like=True):
    """It is to run once on each of these nodes: a part for each."""

    task: int
    nodes: tuple[int, ...]


class Gone(Struct, frozen=True, tag="l", array_like=True):
    """The claim ``fence`` is over: its node has not been heard of for so long that it runs nothing any more."""

    task: int
    fence: int


class Begun(Struct, frozen=True, tag="b", array_like=True):
    """The node that has claim ``fence`` began, at ``at``."""

    task: int
    fence: int
    at: float


class Ended(Struct, frozen=True, tag="e", array_like=True):
    """The claim ``fence`` ended so, at ``at``."""

    task: int
    fence: int
    verdict: Verdict
    at: float
    reason: str = ""
    result: Result = Result()


Word = Begun | Ended
"""What a node says of its claims."""

Step = Assigned | Held | Failed | Expired | Spread | Gone | Begun | Ended


class TasksMoved(Struct, frozen=True, tag="task-steps", array_like=True):
    """The leader decided, and nodes said."""

    at: float
    steps: tuple[Step, ...]


class TaskCancelled(Struct, frozen=True, tag="task-cancelled", array_like=True):
    """Somebody does not want it any more."""

    task: int
    at: float
    by: str
    reason: str = ""


class Template(Struct, frozen=True, array_like=True):
    """A task to be filled in. ``parameters``: name → (default, or None where one must be given; pattern)."""

    spec: Spec
    parameters: tuple[tuple[str, str | None, str], ...] = ()
    about: str = ""


class TemplateWritten(Struct, frozen=True, tag="task-template", array_like=True):
    """A template was stored, or (None) removed."""

    name: str
    template: Template | None


MISSED = ("skip", "one", "all")
"""What becomes of dates on which nobody could start a schedule's task: nothing, one task, a task for each."""


class Schedule(Struct, frozen=True, array_like=True):
    """A task for each date of a cron expression in a time zone."""

    cron: str
    submission: Submission
    zone: str = "UTC"
    missed: str = "one"
    overlap: bool = False
    """A task is begun although the one before it is not over; else its date is passed over."""
    enabled: bool = True
    by: str = ""
    since: float = 0.0
    """No date before this one counts: when it was written, or enabled."""
    template: str = ""
    """The template that makes its tasks, as it is when a date comes; "": ``submission`` is the task."""
    parameters: tuple[tuple[str, str], ...] = ()


class ScheduleWritten(Struct, frozen=True, tag="task-schedule", array_like=True):
    """A schedule was stored, or (None) removed."""

    name: str
    schedule: Schedule | None
    at: float
    anew: bool = False
    """Dates count from ``at`` on although later ones have been seen to: by a clock that was ahead."""


class ScheduleFired(Struct, frozen=True, tag="task-fired", array_like=True):
    """Date ``due`` of the schedule has come; ``skipped``: it passed without a task, for this reason."""

    name: str
    due: float
    at: float
    skipped: str = ""
    spec: Spec | None = None
    """The task, as its template made it; None: the schedule's own."""


class NodeDrained(Struct, frozen=True, tag="task-drain", array_like=True):
    """A node gets no new tasks (or does again); those it has are stopped at ``deadline`` (0: never)."""

    node: int
    drained: bool
    at: float
    by: str
    deadline: float = 0.0


class TasksForgotten(Struct, frozen=True, tag="task-forget", array_like=True):
    """So many of the tasks that ended first leave the history."""

    count: int


WithSpecs = TasksSubmitted | TemplateWritten | ScheduleWritten | ScheduleFired
"""What holds whole tasks, of which most say little."""

Body = WithSpecs | TasksMoved | TaskCancelled | NodeDrained | TasksForgotten
