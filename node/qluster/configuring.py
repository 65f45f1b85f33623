"""Decides how the parameters of all databases change: asked of the leader's server first, then said in the log.

Must not know what a parameter means, nor how a server is asked or restarted. Which step of a restart is next
is decided in ``rolling.py``; here a leader looks at its cluster, and proposes.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qluster import rolling
from qluster.clients import (
    Busy,
    DatabaseChangeRequested,
    DatabaseRestartRequested,
    Done,
    NoLeader,
    NotLeader,
    Outcome,
    Refused,
    RestartCancelRequested,
)
from qluster.cluster import commands, database_settings
from qluster.cluster.database_settings import DatabaseConfigured, RestartEnded, RestartPlan, RestartWanted
from qluster.consensus.refusals import Refusal
from qluster.database.orders import Checked, CheckSettings
from qluster.database.settings import DEFAULTS, refusal
from qluster.events import Job, JobEnded
from qluster.leading import best_successor
from qluster.status import ChangeStatus, DatabaseSettingsStatus, DatabaseStatus, ParameterStatus, RestartStatus
from qluster.switching import Wish

if TYPE_CHECKING:
    from qluster.node import Node

log = logging.getLogger("qluster.configuring")

SENDERS_SPARE = 2
"""WAL senders beside one for each replica: a copy takes two while it is made."""

HAND_OVERS_MAX = 2
"""Attempts to hand the primary over for its restart: each one stops the primary for a moment."""

HAND_OVER_PAUSE = 10.0
"""Seconds between them."""

Request = DatabaseChangeRequested | DatabaseRestartRequested | RestartCancelRequested


@dataclass(frozen=True, slots=True)
class _Asked:
    """A change that the server here is being asked about."""

    job: int
    request: DatabaseChangeRequested
    fingerprint: bytes


class Configuring:
    """What this node has to do with the parameters of the databases."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._asked: _Asked | None = None
        self._proposed = (0, 0)
        """Index and term of the last entry proposed here."""
        self._progress: tuple[tuple[int, int, int], float] = ((0, 0, 0), 0.0)
        self._hand_overs: tuple[int, int, float] = (0, 0, 0.0)
        """For which turn the primary was handed over, how often, and when last."""
        self.waits_for = ""
        """Why the restart does not go on just now; only the leader knows."""

    # --- what operators ask for ------------------------------------------------------

    def take(self, request: Request, fingerprint: bytes, now: float) -> Outcome | None:
        """A request on a leader: its answer, or None when it will be answered."""
        node = self._node
        if node.config.database is None:
            return Refused("", f"node {node.me} leads and has no database: there is nothing to configure")
        if self._asked is not None or self._uncommitted():
            return Busy("another change of the databases is under way")
        match request:
            case DatabaseChangeRequested():
                return self._ask(request, fingerprint, now)
            case DatabaseRestartRequested(_, _, plan, by):
                body: commands.Body = RestartWanted(plan, self._date(now), by)
            case RestartCancelRequested(_, _, by):
                restart = node.state.database.restart
                if restart is None or not restart.running:
                    return Done(0, {"cancelled": False})
                body = RestartEnded(restart.begun, f"cancelled by {by}" if by else "cancelled by an operator")
        return self._propose(request, fingerprint, body, now, {})

    def _ask(self, request: DatabaseChangeRequested, fingerprint: bytes, now: float) -> Outcome | None:
        node, settings = self._node, self._node.state.database
        if request.cas is not None and request.cas != settings.version:
            return Refused("cas", f"the version is {settings.version}, not {request.cas}: somebody else changed it")
        changes = {name: value for name, value in request.changes.items() if settings.values.get(name) != value}
        faults = self._forbidden(changes)
        if faults:
            return _wrong(faults)
        if not changes and request.restart is None:
            return Done(0, {"changed": {}, "needs_restart": []})
        if node.keeper.facts is None or node.keeper.facts.server != "running":
            if any(value is not None for value in changes.values()):
                return Busy("its database does not run, and no value is spread that no database has judged")
            detail: dict[str, object] = {"changed": changes, "needs_restart": []}
            return self._propose(request, fingerprint, self._body(request, changes, now), now, detail)
        order = CheckSettings(tuple(sorted(changes.items())), node.hosting.terms())
        self._asked = _Asked(node.job_number(), request, fingerprint)
        node.start(Job(self._asked.job, order))
        return None

    def _forbidden(self, changes: dict[str, str | None]) -> tuple[tuple[str, str], ...]:
        """What needs no server to be refused."""
        faults = {name: refusal(name, value) for name, value in changes.items() if value is not None}
        databases = sum(member.db_port is not None for member in self._node.settled)
        senders = changes.get("max_wal_senders") or ""
        if senders.isdecimal() and int(senders) < databases + SENDERS_SPARE:
            faults["max_wal_senders"] = f" is {senders}: {databases} databases need {databases + SENDERS_SPARE}"
        return tuple((name, fault.removeprefix(":").strip()) for name, fault in faults.items() if fault)

    def ended(self, event: JobEnded, now: float) -> bool:
        """Take the end of a job; False when it was not the question to the server here."""
        asked = self._asked
        if asked is None or event.number != asked.job:
            return False
        self._asked = None
        outcome = self._judged(asked, event, now)
        if outcome is not None:
            self._node.requests.answer(asked.request.ticket, outcome)
        return True

    def _judged(self, asked: _Asked, event: JobEnded, now: float) -> Outcome | None:
        request, checked = asked.request, event.result
        if event.error is not None or not isinstance(checked, Checked):
            return Busy(f"its database could not judge the values: {event.error}")
        if checked.faults:
            return _wrong(checked.faults)
        values = self._node.state.database.values
        changes = {name: value for name, value in request.changes.items() if values.get(name) != value}
        detail: dict[str, object] = {"changed": changes, "needs_restart": list(checked.restart)}
        return self._propose(request, asked.fingerprint, self._body(request, changes, now), now, detail)

    def _body(
        self, request: DatabaseChangeRequested, changes: dict[str, str | None], now: float
    ) -> DatabaseConfigured | RestartWanted:
        if not changes:
            return RestartWanted(request.restart or RestartPlan(), self._date(now), request.by)
        return DatabaseConfigured(changes, request.cas, self._date(now), request.by, "", request.restart)

    def _propose(
        self, request: Request, fingerprint: bytes, body: commands.Body, now: float, detail: dict[str, object]
    ) -> Outcome | None:
        node = self._node
        assert node.qraft is not None
        try:
            self._proposed = node.qraft.propose("command", commands.encode(body, request.key, fingerprint), now)
        except Refusal as refused:
            leader = node.qraft.leader
            if node.qraft.role != "leader":
                return NotLeader(leader) if leader is not None and leader != node.me else NoLeader()
            return Busy(refused.reason)
        node.requests.proposed(request.ticket, self._proposed, now, detail)
        return None

    def _uncommitted(self) -> bool:
        """What was proposed last is not applied yet: nothing is to be decided on what was before it."""
        node, (index, term) = self._node, self._proposed
        return node.qraft is not None and term == node.qraft.term and index > node.state.applied

    def _date(self, now: float) -> int:
        """Seconds since 1970, as the clock of this host went at the daemon's start."""
        return max(0, int(self._node.wall(now)))

    # --- what a leader does -----------------------------------------------------------

    def step(self, now: float) -> bool:
        """Do what is due on a leader; True when something was proposed."""
        node = self._node
        self.waits_for = ""
        if not node.hosting.reigns() or node.governing.handing.under_way or self._uncommitted():
            return False
        view = self._view(now)
        date = self._date(now)
        step = rolling.withdrawal(view, date) or rolling.next_step(view, date)
        match step:
            case None:
                return False
            case rolling.Wait(reason):
                self.waits_for = reason
                return False
            case rolling.HandOver():
                self._hand_over(now)
                return False
        log.info("database-settings step=%s", step)
        return self._say(step, now)

    def _say(self, body: commands.Body, now: float) -> bool:
        assert self._node.qraft is not None
        try:
            self._proposed = self._node.qraft.propose("command", commands.encode(body), now)
        except Refusal:
            return False  # it is found again at the next step
        return True

    def withhold(self, reason: str) -> None:
        """Nothing is restarted now, and no time is counted."""
        self.waits_for, self._progress = reason, ((0, 0, 0), 0.0)

    def _view(self, now: float) -> rolling.View:
        node = self._node
        settings, guarantees = node.state.database, node.state.guarantees
        restart = settings.restart
        at = (node.qraft.term if node.qraft else 0, restart.begun if restart else 0, restart.turn if restart else 0)
        if self._progress[0] != at:
            self._progress = at, now
        waited_for = frozenset(guarantees[-1].standbys) if guarantees else None
        servers = {}
        for member in node.settled:
            if member.db_port is None or not member.voter or member.node in node.state.down:
                continue
            servers[member.node] = self._server(member.node, waited_for, now)
        return rolling.View(
            node.me, settings, servers, len(guarantees) <= 1, now - self._progress[1], node.hosting.follows_outside
        )

    def _server(self, number: int, waited_for: frozenset[int] | None, now: float) -> rolling.Server:
        node = self._node
        if number == node.me:
            mine = node.keeper.status()
            leads = node.keeper.wanted.kind == "outside" and mine.role == "replica" and mine.streaming
            return rolling.Server(leads or node.hosting.may_write(now), mine)
        report = node.reports.last(number)
        status = report.database if report is not None else None
        if status is None:
            return rolling.Server(False, DatabaseStatus(role="unknown", error="it is not heard"), alive=False)
        alive = node.alive(number, now)
        well = alive and status.role == "replica" and status.streaming
        return rolling.Server(well, status, waited_for is None or number in waited_for, alive)

    def _hand_over(self, now: float) -> None:
        """The primary stops, another node takes over, and what was the primary starts as a replica."""
        node, restart = self._node, self._node.state.database.restart
        assert restart is not None
        turn, times, last = self._hand_overs
        if turn == restart.turn and (times >= HAND_OVERS_MAX or now < last + HAND_OVER_PAUSE):
            self.waits_for = "another node did not take over as primary"
            return
        target = best_successor(node.governing.scene(now), node.settled)
        if target is None:
            self.waits_for = "no other node can take over as primary"
            return
        self._hand_overs = restart.turn, times + 1 if turn == restart.turn else 1, now
        log.info("restart-hands-over target=%d", target)
        # Whatever is open at the pools has had its time then: the restart was asked for, and goes on.
        node.governing.handing.begin(Wish(target, force=True), now)

    # --- what is shown ------------------------------------------------------------------

    def status(self) -> DatabaseSettingsStatus | None:
        """What this node knows of the parameters; None on a host without a database in a cluster without any."""
        node = self._node
        settings = node.state.database
        own = {} if node.config.database is None else node.config.database.parameters
        file = {name.lower(): value for name, value in own.items()}
        history = [
            ChangeStatus(
                index=change.index, at=change.at or None, by=change.by, reason=change.reason,
                changes=change.changes, before=change.before,
            )
            for change in settings.history
        ]  # fmt: skip
        return DatabaseSettingsStatus(
            version=settings.version, parameters=_parameters(settings, file), history=history, restart=self.restart()
        )

    def restart(self) -> RestartStatus | None:
        """The last restart of the servers; None when there was none."""
        restart = self._node.state.database.restart
        if restart is None:
            return None
        ended = "failed" if restart.reason else "done"
        return RestartStatus(
            begun=restart.begun, state="running" if restart.running else ended, reason=restart.reason,
            waits_for=self.waits_for, only=restart.plan.only, primary=restart.plan.primary,
            limit=restart.plan.limit, at=restart.at or None, by=restart.by,
            node=restart.node or None if restart.running else None, turns=restart.turns,
        )  # fmt: skip


def _parameters(
    settings: database_settings.DatabaseSettings, file: dict[str, str]
) -> dict[str, ParameterStatus]:
    since = {name: change.index for change in settings.history for name in change.changes}
    found = {name: ParameterStatus(value=value, source="daemon") for name, value in DEFAULTS.items()}
    for name, value in file.items():
        found[name] = ParameterStatus(value=value, source="config.yaml", file=value, index=since.get(name, 0))
    for name, value in settings.values.items():
        found[name] = ParameterStatus(
            value=value, source="cluster log", file=file.get(name), index=since.get(name, 0)
        )
    return dict(sorted(found.items()))


def _wrong(faults: tuple[tuple[str, str], ...]) -> Refused:
    text = "; ".join(f"{name} {fault}".strip() for name, fault in faults)
    return Refused(faults[0][0] if len(faults) == 1 else "", text, "wrong-value", faults)

