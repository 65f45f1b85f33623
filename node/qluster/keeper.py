"""Decides what this host's database is told next, one order at a time, and what may be said of it.

Must not know why something is wanted, nor how an order is carried out.
An order is given only on facts that were read after the last order ended.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from qluster.database.facts import Facts
from qluster.database.failures import Failures
from qluster.database.orders import (
    Clone,
    CloneOutside,
    Follow,
    FollowOutside,
    Initialise,
    KeepSlots,
    Order,
    Promote,
    Restart,
    Rewind,
    RewindOutside,
    StartPrimary,
    StartStandby,
)
from qluster.database.plan import Wanted, needs_reinit, next_order, reason, withheld
from qluster.database.room import full, shortage
from qluster.database.standstill import standing
from qluster.events import CancelJob, Job, JobEnded
from qluster.status import DatabaseStatus, SlotStatus

REFUSED_MAX = 1000
"""Characters reported of why a server does not start: the rest is in its log."""

UNFIT_TIME = 30.0
"""Seconds for which a node whose primary would not start is passed over, unless its
database is seen well before: long enough for another node to take over."""

SLOTS_SHOWN = 20
"""Replication slots that are reported: one for each other node of a usual cluster, and some of the users'."""

STATES: dict[str, str] = {
    "Initialise": "initialising",
    "Clone": "cloning",
    "Restart": "restarting",
    "Rewind": "rewinding",
    "CloneOutside": "cloning",
    "RewindOutside": "rewinding",
    "Promote": "promoting",
    "StartPrimary": "starting",
    "StartStandby": "starting",
    "StopFast": "stopping",
    "StopImmediate": "stopping",
}


@dataclass(frozen=True, slots=True)
class Position:
    """Where this host's database stands, final for the term that asked; ``fault`` is "" when it is fit."""

    system_id: int
    timeline: int
    position: int
    fault: str
    served: int = 0
    """The last reign in which this directory was the primary's; 0: it is a standby's."""
    owed: tuple[int, int] | None = None
    """Up to where what was here before this copy may have confirmed WAL."""


@dataclass(slots=True)
class Keeper:
    """The database on this host, as far as the node knows it."""

    wanted: Wanted = field(default_factory=Wanted)
    facts: Facts | None = None
    left_behind: tuple[int, int] | None = None
    """To follow this reign, so many bytes of WAL were given up here; None: none, since the daemon runs."""
    primary_possible: bool = False
    """A primary runs here, or was ordered to: then, and only then, the lease bounds its life."""
    looked_at: float = -inf
    """When the database last answered a look: what it said of its position is of then."""
    streamed_at: float = -inf
    """When it was last seen to stream from the primary that it is to follow."""
    _failures: Failures = field(default_factory=Failures)
    _job: Job | None = None
    _stale: bool = True
    _unfit_until: float = -inf
    _unfit: str = ""

    @property
    def directory(self) -> str:
        """State of the database directory, "unknown" before the first look; "fresh": it waits for its founding."""
        facts = self.facts
        if facts is None:
            return "unknown"
        return "fresh" if facts.directory == "initialised" and facts.fresh and not facts.standby else facts.directory

    @property
    def settled(self) -> bool:
        """No order is under way and the facts are newer than the last one."""
        return self._job is None and not self._stale

    @property
    def stopped(self) -> bool:
        """No server runs."""
        facts = self.facts
        return self.settled and facts is not None and facts.server == "stopped" and not facts.stray

    @property
    def clean_end(self) -> tuple[int, int] | None:
        """Timeline, and where the last record begins, of a server that was shut down in order as a primary."""
        facts = self.facts
        if facts is None or facts.server != "stopped" or facts.control_state != "shut down":
            return None
        return facts.timeline or 0, facts.position or 0

    @property
    def writable(self) -> bool:
        """The server runs as a primary that was told so, and clients may connect."""
        facts = self.facts
        if facts is None or not self.serving:
            return False
        return not facts.closed if facts.terms is None else facts.terms.admits

    @property
    def serving(self) -> bool:
        """The server runs as a primary that was told so; perhaps its clients still wait for its standbys."""
        facts = self.facts
        return (
            facts is not None
            and facts.server == "running"
            and facts.in_recovery is False
            and facts.last_reign == self.wanted.reign
            and self.wanted.kind == "primary"
        )

    @property
    def readable(self) -> bool:
        """The server runs as a standby and answers."""
        return self.facts is not None and self.facts.server == "running" and self.facts.in_recovery is True

    def look(self, facts: Facts, now: float) -> None:
        """Take new facts."""
        if self.facts is not None and _hampered(self.facts) and not _hampered(facts):
            self._failures.forget()  # what failed for that is tried at once
        self.facts = facts
        self._stale = False
        if facts.in_recovery is not None:
            self.looked_at = now - facts.took
        if facts.receiver == "streaming" and facts.upstream in _places(self.wanted):
            self.streamed_at = now
        if self._job is None and facts.receiver == "streaming" and facts.upstream in _final_places(self.wanted):
            self._failures.streams()
        unknown = facts.stray and facts.in_recovery is None and facts.system_id == self.wanted.system_id
        if facts.in_recovery is False or unknown:
            # Also one that nobody ordered: somebody promoted it, or started it, by hand.
            self.primary_possible = True
        elif self._job is None and (facts.server == "stopped" or facts.in_recovery):
            self.primary_possible = False
        if self.writable or (facts.server == "running" and facts.in_recovery):
            self._unfit_until = min(self._unfit_until, now + 1.0)

    def age(self, now: float) -> float:
        """Seconds since what is known of the position was so; 0 where nothing is known."""
        return max(now - self.looked_at, 0.0) if self.looked_at > -inf else 0.0

    def mark_unfit(self, fault: str, now: float) -> None:
        """The primary here would not run: another node goes first for a while."""
        self._unfit, self._unfit_until = fault, now + UNFIT_TIME

    def step(self, wanted: Wanted, number: int, now: float) -> Job | None:
        """The next job for the hand; None when there is none now."""
        if _purpose(wanted) != _purpose(self.wanted):
            self._failures.forget()
        self.wanted = wanted
        if self._job is not None:
            order = self._job.order
            if _pointless(order, wanted):
                return Job(number, CancelJob(self._job.number))
            return None
        if self._stale or self.facts is None:
            return None
        order = next_order(self.facts, wanted, self._failures, now)
        if order is None:
            return None
        self.primary_possible = self.primary_possible or isinstance(order, (StartPrimary, Promote))
        self._job = Job(number, order)
        return self._job

    def ended(self, event: JobEnded, now: float) -> bool:
        """Take the end of a job; False when it was not one of these. ``result`` True: the cause passes."""
        job = self._job
        if job is None or event.number != job.number:
            return False
        order: Order = job.order  # type: ignore[assignment]
        self._job, self._stale = None, True
        if event.error is None:
            self._failures.succeeded(order)
            if isinstance(order, Rewind) and isinstance(event.result, int) and order.terms.outside is None:
                self.left_behind = self.wanted.reign, event.result
        else:
            hampered = self.facts is not None and _hampered(self.facts)
            self._failures.failed(order, event.error, now, passing=event.result is True or hampered)
        return True

    def intact(self, system_id: int | None, now: float) -> bool:
        """The directory here is the cluster's database and may be started."""
        facts = self.facts
        return (
            facts is not None
            and facts.directory == "initialised"
            and facts.system_id is not None
            and (facts.system_id == system_id if system_id is not None else facts.fresh)
            and now >= self._unfit_until
            and not needs_reinit(facts, self.wanted, self._failures)
        )

    def position(self, now: float) -> Position | None:
        """The position with no upstream; None while it is not final."""
        facts = self.facts
        if facts is None or self.wanted.kind != "detached":
            return None
        if isinstance(self._job.order if self._job else None, (Clone, Rewind, Initialise, CloneOutside, RewindOutside)):
            return Position(facts.system_id or 0, 0, 0, "the database is being copied")
        if not self.settled:
            return None
        if now < self._unfit_until:
            return Position(facts.system_id or 0, facts.timeline or 0, facts.position or 0, self._unfit)
        if facts.directory != "initialised":
            return Position(0, 0, 0, f"the database directory is {facts.directory}")
        if facts.barred:
            return Position(facts.system_id or 0, facts.timeline or 0, facts.position or 0, facts.barred)
        final = facts.server == "running" and facts.in_recovery and facts.upstream is None and facts.receiver == "none"
        if final and facts.system_id is not None and facts.timeline is not None and facts.position is not None:
            return Position(facts.system_id, facts.timeline, facts.position, "", facts.last_reign, facts.owed)
        fault = reason(facts, self.wanted, self._failures)
        return Position(facts.system_id or 0, facts.timeline or 0, facts.position or 0, fault) if fault else None

    @property
    def attempts(self) -> int:
        """How often a primary could not be brought up here, since it is wanted."""
        return max(self._failures.attempts(StartPrimary), self._failures.attempts(Promote))

    @property
    def fault(self) -> str:
        """Why the database is not what is wanted; "" when well or under way."""
        return reason(self.facts, self.wanted, self._failures) if self.facts else ""

    def wake_at(self, now: float) -> float:
        """When an order that failed may be tried again; a time that has passed was used by :meth:`step`."""
        again_at = self._failures.next_at
        return again_at if self._job is None and not self._stale and again_at > now else inf

    def status(self) -> DatabaseStatus:
        """What is reported of the database."""
        facts = self.facts or Facts()
        return DatabaseStatus(
            role=role_of(facts),
            state=self.state,
            system_id=facts.system_id,
            timeline=facts.timeline,
            position=facts.position,
            replayed=facts.replayed,
            streaming=facts.receiver == "streaming",
            upstream=facts.upstream,
            ahead=facts.ahead,
            pending_restart=bool(facts.pending),
            pending=dict(facts.pending),
            held=facts.held,
            settings_version=facts.terms.version if facts.terms is not None else 0,
            started=facts.started,
            proven=facts.proven,
            refused=facts.refused[:REFUSED_MAX],
            refused_version=facts.refused_version,
            version=facts.version,
            error=self.fault,
            archive_error=facts.archive_error,
            left_behind=self.left_behind,
            slots=_slots(facts),
            barred=facts.barred,
            senders=facts.senders,
            copied_bytes=facts.copied,
            copy_bytes=facts.copy_size,
            slot_error=self._failures.sentence_of(KeepSlots),
            withheld=withheld(facts, self.wanted, self._failures),
            room_bytes=facts.room,
            room_error=shortage(facts),
            archive_waiting_bytes=facts.archive_waiting,
            owed=facts.owed,
        )

    @property
    def state(self) -> str:
        """What is being done with the database: idle, cloning, ..., or failed."""
        if self._job is not None and not isinstance(self._job.order, KeepSlots):
            return STATES.get(type(self._job.order).__name__, "changing")
        if self.wanted.paused:
            return "paused"
        return "failed" if self.fault else "idle"


def _hampered(facts: Facts) -> bool:
    """For want of room, or while the server stands still, anything may fail: nothing is wrong with what lies here."""
    return full(facts) or standing(facts) > 0


def _places(wanted: Wanted) -> list[str]:
    """Whom it may stream from, as a server writes it: the primary, or the replica in its place; or those outside."""
    if wanted.kind == "outside" and wanted.terms.outside is not None:
        return [f"{host}:{port}" for host, port in wanted.terms.outside.addresses]
    if wanted.kind != "follow":
        return []
    return [f"{address[0]}:{address[1]}" for address in (wanted.upstream, wanted.via) if address is not None]


def _final_places(wanted: Wanted) -> list[str]:
    """Whom it is to stream from in the end: where a replica takes the primary's place, that one alone."""
    return _places(wanted)[1:] if wanted.kind == "follow" and wanted.via is not None else _places(wanted)


def _purpose(wanted: Wanted) -> tuple[object, ...]:
    """What makes a want another want: not the terms, which change with the membership."""
    outside = wanted.terms.outside if wanted.kind == "outside" else None
    return wanted.kind, wanted.reign, wanted.upstream, wanted.system_id, outside


def _pointless(order: object, wanted: Wanted) -> bool:
    """True when the order that is under way would end in what is not wanted any more.

    A copy goes on through an election: it is thrown away only when the upstream is another one.
    """
    match order:
        case Clone() | Rewind():
            return wanted.kind == "stopped" or (wanted.kind == "follow" and wanted.upstream != order.upstream)
        case CloneOutside() | RewindOutside() | FollowOutside():
            # A copy of the database outside is as good for whoever follows another node in the end.
            whole = isinstance(order, CloneOutside)
            kinds = ("outside", "detached", "follow") if whole else ("outside",)
            return wanted.kind not in kinds or wanted.terms.outside != order.terms.outside
        case Promote() | StartPrimary():
            return wanted.kind != "primary" or wanted.reign != order.reign
        case Restart(None, 0):
            return wanted.kind != "outside"
        case Restart(None, reign):
            return wanted.kind != "primary" or wanted.reign != reign
        case Follow() if order.via is not None and order.via != wanted.via:
            return True
        case Follow() | StartStandby() | Restart() if order.upstream is not None:
            # All wait for the upstream to answer, and it may be the one that is gone.
            return wanted.kind != "follow" or wanted.upstream != order.upstream
        case Initialise():
            return wanted.kind == "stopped"
        case KeepSlots():
            return wanted.kind not in ("follow", "outside", "primary")
    return False


def _slots(facts: Facts) -> tuple[SlotStatus, ...]:
    """The slots here that keep the most WAL."""
    slots = [
        SlotStatus(
            name=slot.name,
            active=slot.active,
            status=slot.status,
            held_bytes=max(0, facts.position - slot.position) if facts.position and slot.position else 0,
        )
        for slot in facts.slots or ()
    ]
    return tuple(sorted(slots, key=lambda slot: (-slot.held_bytes, slot.name))[:SLOTS_SHOWN])


def role_of(facts: Facts) -> str:
    """What the database is: absent, stopped, primary, replica, or detached from any upstream."""
    if facts.directory != "initialised":
        return "absent"
    if facts.server == "stopped" or facts.in_recovery is None:
        return "stopped"
    if not facts.in_recovery:
        return "primary"
    return "replica" if facts.upstream is not None else "detached"
