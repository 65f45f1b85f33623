"""Decides what the log wants of this host: its database, its pool, its report, its lease's end.

Must not know how a database is started or a pool repointed.

The rule that keeps two primaries apart: a reign binds only in the term in which it was
committed. A node that has moved on to a later term lets no database of an earlier term
write, and follows none, until the leader of the later term has begun a reign.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import msgspec

from qluster import __version__
from qluster.cluster import messages
from qluster.cluster.commands import Guarantee, Reign
from qluster.cluster.database_settings import DatabaseSettings
from qluster.cluster.messages import PositionReply
from qluster.cluster.synchronous import shown_is_safe, standby_name, waits_for
from qluster.config import Cluster
from qluster.consensus.members import Members
from qluster.database.orders import Look, Outside, Terms
from qluster.database.plan import Kind, Wanted
from qluster.database.slots import Reached
from qluster.events import Address, Job, JobEnded, Repoint
from qluster.pointing import Hold, Reading
from qluster.sourcing import Steady, clone_source, followed_replica
from qluster.status import DatabaseStatus

if TYPE_CHECKING:
    from qluster.node import Node


OVERRIDDEN_MAX = 64
"""Parameters named in a report that stand otherwise in config.yaml: nobody reads more."""
CLOSE_INTERVAL = 0.02
"""Seconds between two looks at the database of a node that is to take over: the stop of the primary before takes
several times that."""

CLOSE_SECONDS = 60.0
"""For so long at most, beside the patience of the switchover: then nothing will come of it."""


class Hosting:
    """What this host owes the cluster."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._asked = 0
        self._steady = Steady()
        self._known_terms: tuple[tuple[Members, tuple[Guarantee, ...], DatabaseSettings, Cluster], Terms] | None = None
        self._look: int | None = None
        self._looked_for = 0
        self._look_until = -inf

    def asked(self, term: int) -> None:
        """The leader of ``term`` asked for the position of the database here."""
        self._asked = term

    @property
    def no_primary(self) -> bool:
        """No primary runs here, and none is being started."""
        keeper = self._node.keeper
        return self._node.config.database is None or (keeper.settled and not keeper.primary_possible)

    @property
    def follows_outside(self) -> bool:
        """Nothing is written in this cluster: an installation outside is followed.

        By the log; what a file says counts only for a founding, as long as the log says nothing at all.
        """
        state = self._node.state
        return state.follows_outside if state.name else bool(self._node.config.cluster.standby_of)

    def reigns(self) -> bool:
        """The reign in force is this node's, begun in the term in which it leads."""
        node, qraft = self._node, self._node.qraft
        reign = node.state.reign
        return (
            qraft is not None
            and qraft.role == "leader"
            and qraft.ready
            and reign is not None
            and reign.node == node.me
            and reign.term == qraft.term
            and not node.governing.handing.given_up(reign.number)
            and not node.forcing.stops
        )

    def may_write(self, now: float) -> bool:
        """True on exactly the node that a client may write to."""
        node, qraft = self._node, self._node.qraft
        if qraft is None or not node.keeper.writable or node.forcing.stops:
            return False
        # In a pause no lease is asked for: nobody else can reign meanwhile.
        return node.state.pause.of(node.me) or (self.reigns() and qraft.lease_until > now)

    def alive_until(self, now: float) -> float:
        """Until when the database here may go on: ``inf`` when it is no primary, ``-inf`` when it must not be one."""
        node = self._node
        if not node.keeper.primary_possible or (node.state.pause.of(node.me) and not node.forcing.stops):
            return inf
        return node.qraft.lease_until if node.qraft is not None and self.reigns() else -inf

    @property
    def untied(self) -> bool:
        """The daemon may end without ending the database: the pause is on this node's disk."""
        pause = self._node.state.pause
        return pause.active and not self._node.forcing.stops and self._node.applying.kept(pause.since)

    def bound(self, now: float) -> int:
        """Index of the resume since which no primary runs here without a lease; 0: nobody waits to hear it.

        To know of the resume is not enough: the guard may be ending the server just now. In a message it waits for
        the save of what was applied, as all do: after a restart it is still true.
        """
        pause = self._node.state.pause
        waited_for = pause.loose == self._node.me and not pause.active
        return pause.since if waited_for and self.alive_until(now) > now else 0

    def position(self, now: float) -> PositionReply | None:
        """This database's final position in the current term, None while it has none."""
        node = self._node
        if node.qraft is None or node.config.database is None:
            return None
        found = node.keeper.position(now)
        if found is None:
            return None
        fault = found.fault
        if node.config.database.no_failover and not found.served:
            fault = fault or "database.no-failover is set for it"
        return PositionReply(
            node.cluster, node.me, node.qraft.term, found.system_id, found.timeline, found.position,
            not fault, fault[:1000], found.served, found.owed,
        )  # fmt: skip

    def step(self, now: float) -> None:
        """Order what is due, answer the leader, report."""
        node = self._node
        if node.config.database is not None:
            node.start(node.keeper.step(self.wanted(now), node.job_number(), now))
        if node.qraft is None:
            if node.stopping and (node.config.database is None or node.keeper.stopped):
                node.leave("stopped", clean=True)
            return
        self._answer(now)
        self._point(now)
        report = self.report(now)
        if node.reports.due(report, now, closely=self._look_closely(now)):
            node.tell(report, None, now)

    def _look_closely(self, now: float) -> bool:
        """Whether this node is to take over just now: then its database is looked at all the time."""
        node, under_way = self._node, self._node.state.switching.under_way
        if under_way is None or under_way.node != node.me or node.config.database is None:
            return False
        if under_way.number != self._looked_for:
            self._looked_for, self._look_until = under_way.number, now + under_way.patience + CLOSE_SECONDS
        if now >= self._look_until or node.stopping:
            return False
        if self._look is None:
            self._look = node.job_number()
            node.start(Job(self._look, Look(CLOSE_INTERVAL)))
        return True

    def ended(self, event: JobEnded, now: float) -> bool:
        """Take the end of a job; False when it was not one of these."""
        if event.number != self._look:
            return False
        self._look = None
        return True

    # --- the database ----------------------------------------------------------------

    def wanted(self, now: float) -> Wanted:
        """What the log wants of the database here."""
        node, qraft, reign = self._node, self._node.qraft, self._node.state.reign
        if qraft is None or qraft.removed or node.forcing.stops or (node.stopping and not self.untied):
            return Wanted("stopped")
        terms = self.terms()
        if reign is None:
            leads = qraft.role == "leader" and qraft.ready
            kind: Kind = "outside" if self.follows_outside else "found"
            return Wanted(kind, terms=terms) if leads else Wanted("stopped")
        if node.state.pause.active:
            return self._paused(reign, terms, now)
        if reign.standby != self.follows_outside:
            # What was followed is followed no more, and who is to be primary is not chosen yet.
            return Wanted("detached", reign.number, None, reign.system_id, None, terms)
        if self.reigns() and reign.standby:
            return self._outside(reign, terms)
        if self.reigns():
            # Without a lease the guard ends what runs; what is not yet running must not be started after that.
            held = qraft.lease_until > now and not node.governing.handing_over
            kind = "primary" if held else "stopped"
            return Wanted(
                kind,
                reign.number, None, reign.system_id, node.state.reigned_since, terms, self._turn(), reign.branch,
                reached=self._reached(), shows=shown_is_safe(node.state.guarantees, node.me),
            )  # fmt: skip
        if reign.node == node.me and node.governing.handing.given_up(reign.number) and self._asked != qraft.term:
            # It was shut down in order for another node: as it lies there it will follow that node soonest.
            return Wanted("stopped", reign.number, None, reign.system_id, None, terms)
        upstream = self._database_of(reign.node)
        if reign.term == qraft.term and reign.node != node.me and upstream is not None:
            return Wanted(
                "follow", reign.number, upstream, reign.system_id, None, terms, self._turn(),
                reached=self._reached(), source=self._source(reign.node, now), via=self._via(reign.node, now),
            )  # fmt: skip
        return Wanted("detached", reign.number, None, reign.system_id, None, terms)

    def _outside(self, reign: Reign, terms: Terms, *, paused: bool = False) -> Wanted:
        """This node follows, for all others, the installation outside."""
        turn, kind = 0 if paused else self._turn(), "outside" if terms.outside is not None else "detached"
        return Wanted(
            kind,  # type: ignore[arg-type]
            reign.number, None, reign.system_id, None, terms, turn, reached=self._reached(), paused=paused,
        )  # fmt: skip

    def _turn(self) -> int:
        """The entry that gave the server here its turn to restart; 0: it is not its turn."""
        database = self._node.state.database
        return database.restart_index if database.turn_of(self._node.me) else 0

    def _paused(self, reign: Reign, terms: Terms, now: float) -> Wanted:
        """In a pause the reign binds in any term: what would be done is shown, and nothing of it is done."""
        upstream = self._database_of(reign.node)
        if reign.node == self._node.me and reign.standby:
            return self._outside(reign, terms, paused=True)
        qraft = self._node.qraft
        current = qraft is not None and qraft.caught_up
        if reign.node == self._node.me:
            return Wanted(
                "primary", reign.number, None, reign.system_id, self._node.state.reigned_since, terms,
                branch=reign.branch, paused=True, reached=self._reached(), current=current,
            )  # fmt: skip
        kind: Kind = "follow" if upstream is not None else "detached"
        return Wanted(
            kind, reign.number, upstream, reign.system_id, None, terms, paused=True, reached=self._reached(),
            current=current, source=self._source(reign.node, now), via=self._via(reign.node, now),
        )  # fmt: skip

    def terms(self) -> Terms:
        """What the log asks of any server that runs here."""
        state, settled, known = self._node.state, self._node.settled, self._known_terms
        guarantees, database, cluster = state.guarantees, state.database, self._node.config.cluster
        basis = settled, guarantees, database, cluster
        if known is None or any(one is not other for one, other in zip(known[0], basis, strict=True)):
            members = sorted(member.ip for member in settled if member.db_port is not None)
            standbys, needed = waits_for(guarantees[-1] if guarantees else None)
            terms = Terms(
                standby_name(self._node.me), tuple(members), standbys, needed, True,
                database.version, tuple(sorted(database.values.items())), database.restart_index,
                others=tuple(standby_name(number) for number in self._others()),
                outside=self._installation(cluster),
            )  # fmt: skip
            self._known_terms = known = basis, terms
        return known[1]

    def _installation(self, cluster: Cluster) -> Outside | None:
        """What is followed outside."""
        if not self.follows_outside or not cluster.standby_of:
            return None
        return Outside(cluster.standby_of, cluster.name, cluster.standby_slot)

    def _others(self) -> list[int]:
        """The other nodes with a database."""
        databases = (member.node for member in self._node.settled if member.db_port is not None)
        return [number for number in databases if number != self._node.me]

    def _source(self, primary: int, now: float) -> Address | None:
        """Whom to copy, should that be necessary."""
        node = self._node
        if node.keeper.facts is not None and node.keeper.facts.receiver == "streaming":
            return None
        alive = {member.node for member in node.settled if node.alive(member.node, now)}
        return clone_source(node.settled, node.reports.last, alive, primary, node.me)

    def _via(self, primary: int, now: float) -> Address | None:
        """The replica to stream from, where the operator named one and it is good."""
        node = self._node
        if node.config.database is None or not node.config.database.replicate_from:
            return None
        alive = {member.node for member in node.settled if node.alive(member.node, now)}
        found = followed_replica(
            node.settled, node.reports.last, alive, primary, node.me, node.config.database.replicate_from
        )
        return self._steady.step(found, now, node.config.cluster.node_timeout)

    def _reached(self) -> tuple[Reached, ...]:
        """How far the databases of the others have come, as they last said."""
        found = []
        for number in self._others():
            report = self._node.reports.last(number)
            database = report.database if report is not None else None
            if database is not None and database.timeline is not None and database.position is not None:
                found.append(Reached(standby_name(number), database.timeline, database.position))
        return tuple(found)

    def _database_of(self, number: int) -> Address | None:
        member = self._node.settled.get(number)
        return (member.ip, member.db_port) if member is not None and member.db_port is not None else None

    def _answer(self, now: float) -> None:
        node = self._node
        assert node.qraft is not None
        if self._asked != node.qraft.term or node.qraft.leader in (None, node.me):
            return
        reply = self.position(now)
        to = node.address(node.qraft.leader) if node.qraft.leader is not None else None
        if reply is not None and to is not None:
            self._asked = 0
            node.tell(reply, to, now)

    # --- the pool and the report --------------------------------------------------------

    def _point(self, now: float) -> None:
        node, reign, pool = self._node, self._node.state.reign, self._node.config.pool
        if pool is None or reign is None or node.state.pause.active:
            return
        report = node.reports.last(reign.node)
        ready = report is not None and report.writable and report.reign >= reign.number
        primary = self._database_of(reign.node) if ready else None
        replicas = self._readers(primary, now) if pool.read_only_database else ()
        under_way = node.state.switching.under_way
        hold = Hold(under_way.number, under_way.patience) if under_way is not None else None
        order = Repoint(primary, reign.number, node.cluster, replicas)
        node.start(node.pointing.step(order, hold, node.job_number(), now))

    def _readers(self, primary: Address | None, now: float) -> tuple[Address, ...]:
        """Whom clients may read from."""
        node, pool = self._node, self._node.config.pool
        assert pool is not None and node.state.reign is not None
        candidates = {}
        for member in node.settled:
            address, report = self._database_of(member.node), node.reports.last(member.node)
            heard = node.alive(member.node, now) and member.node not in node.state.down
            if address is not None and heard and report is not None and report.database is not None:
                candidates[address] = report.database
        # Who leads a standby cluster is read from like all others: nobody writes there.
        reigns = None if node.state.reign.standby else self._database_of(node.state.reign.node)
        seen = Reading(candidates, primary, reigns)
        return node.pointing.readers(seen, pool.read_only_maximum_lag, fallback=pool.read_only_fallback)

    @property
    def pool_wake_at(self) -> float:
        """When a failed repointing is tried again: not in a pause."""
        return inf if self._node.state.pause.active else self._node.pointing.wake_at

    def report(self, now: float) -> messages.Report:
        """What this node says of itself now."""
        node, reign = self._node, self._node.state.reign
        return messages.Report(
            node.cluster, node.me, __version__, node.digest, node.message[:1000],
            reign.number if reign else 0, self.may_write(now),
            self._database_status(),
            node.pointing.status if node.config.pool is not None else None,
            bool(node.short), self.bound(now), node.keeper.age(now), messages.COUNTING, node.fences.figures, True,
            node.consulting.asks, True, node.wall(now),
        )  # fmt: skip

    def _database_status(self) -> DatabaseStatus | None:
        node = self._node
        if node.config.database is None:
            return None
        own, others = node.config.database.parameters, node.state.database.values
        names = sorted(name for name, value in own.items() if others.get(name.lower(), value) != value)
        status = node.keeper.status()
        return msgspec.structs.replace(status, overridden=tuple(names[:OVERRIDDEN_MAX])) if names else status
