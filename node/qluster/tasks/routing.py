"""Decides on which node a task runs: who may, and who of those should.

Must not know how the nodes are heard of, nor any clock: the same views give the same node.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from qluster.tasks.labels import fulfil
from qluster.tasks.spec import Script, Spec, Sql, Target


@dataclass(slots=True)
class View:
    """One node as the leader knows it, and what its tasks take of it."""

    node: int
    role: str = "replica"
    """leader, replica, or none: a host without a database."""
    passing: bool = False
    """Who has which role is being decided anew: the one it has says nothing of the next."""
    heard: bool = True
    """It has said what it has for tasks, or nothing for so long that it is known to run none just now."""
    runs: bool = True
    """It runs tasks at all."""
    ready: bool = True
    """It runs tasks, and has said so lately."""
    fault: str = ""
    """Why it does not; "" as well where it is only silent."""
    pooler: bool = False
    drained: bool = False
    slots: int = 0
    resources: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    lag: int = 0
    """Bytes of WAL that its database lacks, as far as is known."""
    used: int = 0
    taken: dict[str, int] = field(default_factory=dict)
    """Of its resources."""
    dask: bool | None = None
    """It takes part in the Dask cluster; None: its version does not say, and its task runner will."""
    kept: tuple[int, float] = (0, 0.0)
    """The task for which it keeps what becomes free, and in how many seconds that is enough: until then others may use
    it; 0: none."""

    def take(self, spec: Spec, times: int = 1) -> None:
        """A task has come, or (-1) gone."""
        self.used += times * spec.slots
        for name, amount in spec.resources:
            self.taken[name] = self.taken.get(name, 0) + times * amount
            if not self.taken[name]:
                del self.taken[name]


SILENT = "says nothing"
UNHEARD = "has not said yet what it runs"
UNDECIDED = "may have another role in a moment"
UNKNOWN = (UNHEARD, UNDECIDED)
"""No reasons, only no answers yet."""


def unfit(view: View, spec: Spec) -> str:
    """Why the node could not run the task even if it ran nothing else; "" when it could."""
    target = spec.target
    if target.nodes and view.node not in target.nodes:
        return "is not named"
    if not view.heard:
        return UNHEARD
    if not view.runs:
        return "does not say that it runs tasks"
    lacking = _lacking(view, spec)
    if lacking:
        return lacking
    if target.role in ("leader", "replica") and view.role != target.role:
        return UNDECIDED if view.passing and view.role != "none" else f"is no {target.role}"
    lacking = fulfil(view.labels, target.where)
    if lacking:
        return f"has not the label {lacking}"
    if spec.slots > view.slots:
        return f"has {view.slots} slots, {spec.slots} are needed"
    for name, amount in spec.resources:
        if amount > view.resources.get(name, 0):
            return f"has {view.resources.get(name, 0)} of {name}, {amount} are needed"
    return ""


def _lacking(view: View, spec: Spec) -> str:
    """What the host would have to have for a role or a kind of work."""
    role = spec.target.role
    if role == "pooler" and not view.pooler:
        return "has no pool"
    if view.role == "none" and (role in ("leader", "replica") or isinstance(spec.work, Sql)):
        return "has no database"
    if view.dask is False and isinstance(spec.work, Script):
        return "does not take part in the Dask cluster (tasks.dask-python)"
    return ""


def occupied(view: View, spec: Spec) -> str:
    """Why a node that could run the task cannot now; "" when it can."""
    if view.drained:
        return "is drained"
    if not view.ready:
        return f"begins nothing: {view.fault}" if view.fault else SILENT
    return full(view, spec)


def full(view: View, spec: Spec) -> str:
    """Why it has no room beside what it runs; "" when it has."""
    task, seconds = view.kept
    if task and (spec.slots or spec.resources) and not 0.0 < spec.time_limit <= seconds:
        return f"keeps what becomes free for task {task}"
    if view.used + spec.slots > view.slots:
        return f"has {view.slots - view.used} of {view.slots} slots free"
    for name, amount in spec.resources:
        free = view.resources.get(name, 0) - view.taken.get(name, 0)
        if amount > free:
            return f"has {free} of {name} free"
    return ""


def busy(view: View, spec: Spec) -> bool:
    """It could run the task, and lacks nothing but room."""
    return not view.drained and view.ready and bool(full(view, spec))


def choose(views: Sequence[View], spec: Spec) -> int | None:
    """The node that runs it; None when none can just now."""
    target = spec.target
    able = [view for view in views if not unfit(view, spec) and not occupied(view, spec)]
    if not able:
        return None
    if target.least_lag:
        return min(able, key=lambda view: (view.lag, view.used, view.node)).node
    return min(able, key=lambda view: (_fullness(view, target), view.node)).node


def room_in(view: View, spec: Spec, running: Sequence[tuple[float, Spec]]) -> float:
    """Seconds until the node has room for it at the latest, if nothing else is begun there; ``running`` are the tasks
    that it has, each with the seconds until its time limit, the first to end first."""
    used, taken = view.used, dict(view.taken)
    for seconds, one in [(0.0, None), *running]:
        if one is not None:
            used -= one.slots
            taken |= {name: taken.get(name, 0) - amount for name, amount in one.resources}
        left = (view.resources.get(name, 0) - taken.get(name, 0) - amount for name, amount in spec.resources)
        if used + spec.slots <= view.slots and all(amount >= 0 for amount in left):
            return max(0.0, seconds)
    return inf


def _fullness(view: View, target: Target) -> float:
    share = view.used / max(view.slots, 1)
    return -share if target.pack else share


def spread(views: Sequence[View], spec: Spec) -> tuple[int, ...]:
    """The nodes on each of which it is to run: those that could, whether they are free now or not."""
    if spec.target.role in ("leader", "replica") and any(view.passing for view in views):
        return ()  # it may be no other one
    if any(unfit(view, spec) in UNKNOWN for view in views):
        return ()  # it may be one of them
    return tuple(sorted(view.node for view in views if not unfit(view, spec) and not view.drained))


def reasons(views: Sequence[View], spec: Spec) -> dict[int, str]:
    """Why each node cannot run it now, "" for one that can: for people."""
    return {view.node: unfit(view, spec) or occupied(view, spec) for view in views}


def never(views: Sequence[View], spec: Spec) -> bool:
    """No node could ever run it as the cluster is. Of who has said nothing yet nobody knows that."""
    return all(unfit(view, spec) not in ("", *UNKNOWN) for view in views)


def summary(views: Sequence[View], spec: Spec) -> str:
    """Why nobody can, in one sentence."""
    said = [f"node {node} {reason}" for node, reason in reasons(views, spec).items()]
    return "no node can run it: " + "; ".join(said) if said else "no node can run it: none runs tasks"
