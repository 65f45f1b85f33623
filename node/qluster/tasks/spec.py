"""Says what a task is to be: what it runs, where, when, how often, within which limits.

Must not know how a request is written (``api/``) nor what may be submitted here: that is ``policy.py``.
A :class:`Spec` does not change once it is accepted. Times are seconds, dates seconds since 1970, sizes bytes.

No task and nothing in it can be part of a circle, so the garbage collector need not look at them (``gc=False``): of
20,000 that halves what reading a snapshot takes, and each look at everything.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from msgspec import Struct

PRIORITY_MAX = 9
PRIORITY = 5
"""Of a task that says none: there is room above and below."""

TIME_LIMIT = 3600.0
"""Seconds that a task may run when it says nothing: what nobody watches must end some day."""

OUTPUT_LIMIT = 16 << 20
"""Bytes of output kept of one attempt when the task says nothing."""


class Command(Struct, frozen=True, array_like=True, tag="command", gc=False):
    """A program with its arguments; no shell reads them unless ``shell`` says so, and then there is one argument."""

    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    directory: str = ""
    """Where it runs; "": in a directory of its own, which goes with its output."""
    user: str = ""
    """Who runs it; "": the user of the task runner."""
    shell: bool = False


class Sql(Struct, frozen=True, array_like=True, tag="sql", gc=False):
    """Statements for the database of the node that runs the task, as ``role``.

    ``variables`` are psql's: the text names them as ``:'name'`` and ``:"name"``, which quotes them.
    """

    text: str
    database: str = "postgres"
    role: str = ""
    variables: tuple[tuple[str, str], ...] = ()


class Script(Struct, frozen=True, array_like=True, tag="dask", gc=False):
    """A Python script for the Dask cluster, whose scheduler is where the leader is."""

    text: str
    arguments: tuple[str, ...] = ()


Work = Command | Sql | Script


class Target(Struct, frozen=True, array_like=True, gc=False):
    """Where a task runs. Every part must hold."""

    role: str = "any"
    """One of ``ROLES``: any, leader, replica, pooler."""
    nodes: tuple[int, ...] = ()
    """Only on these; empty: on any."""
    where: str = ""
    """An expression over labels, see ``labels.py``."""
    least_lag: bool = False
    """Of the replicas the one that lacks the least."""
    each: bool = False
    """Once on every node that fits, instead of on one."""
    pack: bool = False
    """On the fullest node that has room, instead of the emptiest."""
    fail: bool = False
    """Where no node could ever run it as the cluster is, it fails; else it waits for one."""


ROLES = ("any", "leader", "replica", "pooler")


class Retry(Struct, frozen=True, array_like=True, gc=False):
    """After a failure: so many further attempts, the first after ``delay``, each later one ``factor`` times later."""

    attempts: int = 0
    delay: float = 10.0
    factor: float = 2.0
    delay_max: float = 3600.0

    def after(self, failures: int, seed: int) -> float:
        """Seconds before the next attempt, after so many failures; up to a tenth more by ``seed``, for a crowd."""
        exponent = min(max(failures - 1, 0), 64)
        delay = min(self.delay * self.factor**exponent, self.delay_max)
        return delay * (1 + (seed * 2654435761 % 1000) / 10_000)


class Limits(Struct, frozen=True, array_like=True, gc=False):
    """What one attempt may use; 0: no limit beyond the node's own."""

    memory: int = 0
    cpu: float = 0.0
    """Processors; 0.5 is half of one."""
    processes: int = 0
    output: int = OUTPUT_LIMIT


class Need(Struct, frozen=True, array_like=True, gc=False):
    """Another task that must be over first. In a request ``task`` may be -1 for the first of the same batch."""

    task: int
    on: str = "success"
    """How it must end: one of ``ENDS``."""


ENDS = ("success", "failure", "any")

MOVED = ("stop", "restart", "stay")
"""What becomes of a running task whose node no longer has the role that it was for."""


class Spec(Struct, frozen=True, array_like=True, gc=False):
    """All of it."""

    work: Work
    name: str = ""
    template: str = ""
    target: Target = Target()
    priority: int = PRIORITY
    """The largest goes first."""
    slots: int = 1
    resources: tuple[tuple[str, int], ...] = ()
    time_limit: float = TIME_LIMIT
    start: float = 0.0
    """Not before this date."""
    expires: float = 0.0
    """Not begun after this date; 0: whenever."""
    retry: Retry = Retry()
    once: bool = False
    """At most once: it is never begun a second time, whatever became of the first. Else at least once."""
    overlap: bool = False
    """It may go on where the node is cut off, although it then may run twice at the same time."""
    moved: str = "stop"
    needs: tuple[Need, ...] = ()
    group: str = ""
    group_limit: int = 1
    """Tasks of the group that run at once."""
    limits: Limits = Limits()
