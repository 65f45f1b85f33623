"""Decides what the log says of the parameters of all databases, and of their restart one after the other.

Must not know what a parameter means, nor how entries are agreed on: values were held against a
database before they were proposed. The same commands give the same settings on every node.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from qluster.clients import Refused

PARAMETERS_MAX = 200
"""Parameters in the log: a server has about 400, few of which anybody changes."""

HISTORY_MAX = 32
"""Changes remembered: they go into each snapshot, and older ones are in the logs of the daemons."""

Primary = Literal["switchover", "in-place"]
"""How the primary restarts: after another node has taken over, or where it is."""

Only = Literal["pending", "all"]
"""Which servers restart: those with parameters that wait for it, or each of them."""


class RestartPlan(Struct, frozen=True, array_like=True):
    """How the servers are to be restarted."""

    only: Only = "pending"
    primary: Primary = "switchover"
    limit: float = 120.0
    """Seconds for each server to be back, and for the cluster to be whole before the next one."""


class DatabaseConfigured(Struct, frozen=True, tag="db-config", array_like=True):
    """Parameters were changed: name → value, None for what config.yaml says; if the version is ``cas`` (None: anyhow).

    ``at`` is in seconds since 1970, by the clock of the leader. With a ``reason`` it takes back what kept a
    server from starting, and ends the restart that is under way. ``restart`` begins one.
    """

    changes: dict[str, str | None]
    cas: int | None = None
    at: int = 0
    by: str = ""
    reason: str = ""
    restart: RestartPlan | None = None


class RestartWanted(Struct, frozen=True, tag="db-restart", array_like=True):
    """The servers are to be restarted one after the other."""

    plan: RestartPlan
    at: int = 0
    by: str = ""


class RestartTurn(Struct, frozen=True, tag="db-restart-turn", array_like=True):
    """In the restart of entry ``begun`` it is the turn of this node; ``hand_over``: another one takes over first."""

    begun: int
    node: int
    hand_over: bool = False


class RestartEnded(Struct, frozen=True, tag="db-restart-end", array_like=True):
    """The restart of entry ``begun`` is over; with a ``reason`` it did not get to its end."""

    begun: int
    reason: str = ""


class Change(Struct, frozen=True, array_like=True):
    """A change of the past: what was set, and what had been; None is what config.yaml says."""

    index: int
    changes: dict[str, str | None]
    before: dict[str, str | None]
    at: int
    by: str
    reason: str


class Restarting(Struct, frozen=True, array_like=True):
    """The last restart of the servers: ``begun`` is the index of its entry."""

    begun: int
    plan: RestartPlan
    at: int
    by: str
    running: bool = True
    reason: str = ""
    """Why it did not get to its end; "" when it did, or has not ended."""
    node: int = 0
    """Whose turn it is; 0: nobody's yet."""
    turn: int = 0
    """Index of the entry that said so."""
    hand_over: bool = False
    turns: tuple[int, ...] = ()
    """Whose turn it has been, in this order."""


class DatabaseSettings(Struct, frozen=True, array_like=True):
    """What the log says of all databases."""

    version: int = 0
    """Index of the entry that last changed a parameter; 0: none has."""
    values: dict[str, str] = {}
    history: tuple[Change, ...] = ()
    restart: Restarting | None = None

    @property
    def restart_index(self) -> int:
        """Index of the last entry that asked for a restart."""
        return max(self.restart.begun, self.restart.turn) if self.restart is not None else 0

    def turn_of(self, node: int) -> bool:
        """The server of this node is to restart where it is."""
        restart = self.restart
        return restart is not None and restart.running and restart.node == node and not restart.hand_over

    def former(self, version: int, names: frozenset[str]) -> dict[str, str | None]:
        """Values that these parameters had at a version, where they were changed since."""
        since = [change for change in self.history if change.index > version]
        found: dict[str, str | None] = {}
        for change in reversed(since):
            found |= {name: value for name, value in change.before.items() if name in names}
        return {name: value for name, value in found.items() if self.values.get(name) != value}

    def changed_since(self, version: int) -> frozenset[str]:
        """Parameters that were changed after a version."""
        return frozenset(name for change in self.history if change.index > version for name in change.changes)


Body = DatabaseConfigured | RestartWanted | RestartTurn | RestartEnded


def after(settings: DatabaseSettings, body: Body, index: int) -> DatabaseSettings | Refused:
    """The settings after a command, or what stood against it."""
    match body:
        case DatabaseConfigured():
            return _configured(settings, body, index)
        case RestartWanted(plan, at, by):
            return _begun(settings, Restarting(index, plan, at, by))
    restart = settings.restart
    if restart is None or not restart.running or restart.begun != body.begun:
        return Refused("", f"the restart of entry {body.begun} is not under way")
    if isinstance(body, RestartEnded):
        return replace(settings, restart=replace(restart, running=False, reason=body.reason))
    turns = (*restart.turns, body.node)
    return replace(
        settings,
        restart=replace(restart, node=body.node, turn=index, hand_over=body.hand_over, turns=turns),
    )


def _begun(settings: DatabaseSettings, restart: Restarting) -> DatabaseSettings | Refused:
    under_way = settings.restart
    if under_way is not None and under_way.running:
        return Refused("restart", f"the restart of entry {under_way.begun} is under way; wait for its end or cancel it")
    return replace(settings, restart=restart)


def _configured(settings: DatabaseSettings, body: DatabaseConfigured, index: int) -> DatabaseSettings | Refused:
    if body.cas is not None and body.cas != settings.version:
        return Refused("cas", f"the version is {settings.version}, not {body.cas}: somebody else changed it meanwhile")
    values = with_changes(settings.values, body.changes)
    if len(values) > PARAMETERS_MAX:
        return Refused("", f"there would be {len(values)} parameters, at most {PARAMETERS_MAX} are possible")
    before = {name: settings.values.get(name) for name in body.changes}
    change = Change(index, body.changes, before, body.at, body.by, body.reason)
    changed: DatabaseSettings | Refused = replace(
        settings, version=index, values=values, history=(*settings.history, change)[-HISTORY_MAX:]
    )
    assert isinstance(changed, DatabaseSettings)
    if body.restart is not None:
        return _begun(changed, Restarting(index, body.restart, body.at, body.by))
    if body.reason and changed.restart is not None and changed.restart.running:
        return replace(changed, restart=replace(changed.restart, running=False, reason=body.reason))
    return changed


def with_changes(values: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """Values after these changes; None takes one away."""
    merged: dict[str, str | None] = {**values, **changes}
    return {name: value for name, value in sorted(merged.items()) if value is not None}
