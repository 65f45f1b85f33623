"""Decides which server restarts next while all are restarted one after the other, and which value is withdrawn.

Must not know how a server is restarted, nor how anything is agreed on: it is given a view of all databases
and says what is to be proposed or handed over.

Replicas go first, each when all is well again after the one before; then the primary, after another node has
taken over. A replica needs five parameters as large as its primary has them: it keeps them so (``held``) until the
primary was restarted where it is, and then has another turn.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qluster.cluster.database_settings import (
    DatabaseConfigured,
    DatabaseSettings,
    RestartEnded,
    Restarting,
    RestartTurn,
)
from qluster.status import DatabaseStatus

TURNS_MAX = 3
"""Turns of one server in one restart: a replica may need a second one after the primary's."""

Step = RestartTurn | RestartEnded | DatabaseConfigured


@dataclass(frozen=True, slots=True)
class Server:
    """A database as the leader sees it; ``well``: it serves the reign as primary, or streams from the primary."""

    well: bool
    status: DatabaseStatus
    covered: bool = True
    """It is waited for, where the cluster waits for replicas."""
    alive: bool = True
    """Its daemon is heard."""


@dataclass(frozen=True, slots=True)
class View:
    """All databases that take part, by node; ``primary`` is this node's."""

    primary: int
    settings: DatabaseSettings
    servers: Mapping[int, Server]
    settled: bool
    """No change of what is guaranteed to clients is under way."""
    waited: float
    """Seconds since the restart last got further, as far as this leader knows."""
    standby: bool = False
    """No primary: who leads follows an installation outside."""


@dataclass(frozen=True, slots=True)
class HandOver:
    """Another node is to take over, so that the primary here can restart."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be done now, and why."""

    reason: str


def withdrawal(view: View, at: int) -> DatabaseConfigured | RestartEnded | None:
    """What is to be said in the log because a server does not start with what it says now."""
    settings = view.settings
    for node, server in sorted(view.servers.items()):
        status = server.status
        if not status.refused or status.refused_version != settings.version:
            continue
        changed = settings.changed_since(status.proven)
        names = changed & frozenset(status.pending) or changed
        changes = settings.former(status.proven, names)
        reason = f"node {node} does not start with it: {status.refused}"[:1000]
        if changes:
            return DatabaseConfigured(changes, settings.version, at, "qluster", reason)
        if settings.restart is not None and settings.restart.running:
            return RestartEnded(settings.restart.begun, reason)
    return None


def _given_back(view: View, restart: Restarting, reason: str, at: int) -> DatabaseConfigured | None:
    """Former values, when a server whose turn it was does not answer while its daemon does: it hangs in its start."""
    server = view.servers.get(restart.node)
    if server is None or not server.alive or server.status.role != "stopped":
        return None
    changed = view.settings.changed_since(server.status.proven)
    pending = frozenset(name for other in view.servers.values() for name in other.status.pending)
    changes = view.settings.former(server.status.proven, changed & pending or changed)
    return DatabaseConfigured(changes, view.settings.version, at, "qluster", reason[:1000]) if changes else None


def next_step(view: View, at: int = 0) -> Step | HandOver | Wait | None:
    """The next step of the restart that is under way; None when none is. ``at`` is the date for the history."""
    restart = view.settings.restart
    if restart is None or not restart.running:
        return None
    obstacle = _unfinished(view, restart) or _unwell(view)
    if obstacle:
        if view.waited >= restart.plan.limit:
            reason = f"stopped after {restart.plan.limit:g} seconds: {obstacle}"
            return _given_back(view, restart, reason, at) or RestartEnded(restart.begun, reason)
        mine = restart.node == view.primary and restart.hand_over
        return HandOver() if mine and not _restarted(view, restart) else Wait(obstacle)
    node = _next(view, restart)
    if node is None:
        return RestartEnded(restart.begun)
    if restart.turns.count(node) >= TURNS_MAX:
        pending = ", ".join(sorted(view.servers[node].status.pending))
        reason = f"node {node} still waits for a restart after {TURNS_MAX} of them: {pending}"
        return RestartEnded(restart.begun, reason)
    return RestartTurn(restart.begun, node, node == view.primary and not _in_place(view, restart))


def _restarted(view: View, restart: Restarting) -> bool:
    """Whose turn it is has been started since, or is no member any more."""
    server = view.servers.get(restart.node)
    return server is None or server.status.started >= restart.turn


def _unfinished(view: View, restart: Restarting) -> str:
    """Why the turn that was given last is not over; "" when it is."""
    if not restart.node or _restarted(view, restart):
        return ""
    error = view.servers[restart.node].status.error
    return f"node {restart.node} has not restarted" + (f": {error}" if error else "")


def _unwell(view: View) -> str:
    """Why no server may go down now; "" when one may."""
    for node, server in sorted(view.servers.items()):
        if not server.well:
            doing = "does not serve as primary" if node == view.primary else "does not stream from the primary"
            error = f": {server.status.error}" if server.status.error else ""
            return f"the database of node {node} {doing}{error}"
        if server.status.settings_version != view.settings.version:
            return f"node {node} has not read the parameters of version {view.settings.version} yet"
        if not server.covered:
            return f"transactions do not wait for node {node} yet"
    return "" if view.settled else "whom transactions wait for is being changed"


def _next(view: View, restart: Restarting) -> int | None:
    """Whose turn is next: replicas first."""
    replicas = sorted(node for node in view.servers if node != view.primary)
    return next((node for node in [*replicas, view.primary] if _needs(view, restart, node)), None)


def _needs(view: View, restart: Restarting, node: int) -> bool:
    """Whether a restart of this server is due, and would change something."""
    status = view.servers[node].status
    if restart.plan.only == "all" and status.started < restart.begun:
        return True
    if node == view.primary:
        return bool(status.pending)
    above = frozenset(view.servers[view.primary].status.pending)
    return any(name not in status.held or name not in above for name in status.pending)


def _in_place(view: View, restart: Restarting) -> bool:
    """Whether the primary restarts where it is: asked for, nobody else there, or a replica needs it to be smaller.

    So does who leads a standby cluster: nobody writes meanwhile.
    """
    held = any(server.status.held for server in view.servers.values())
    return view.standby or restart.plan.primary == "in-place" or len(view.servers) == 1 or held
