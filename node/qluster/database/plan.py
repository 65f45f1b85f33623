"""The next step of this host's database, from what it is and what the log wants it to be.

It must not know how an order is carried out, nor who decided what is wanted.

A server leaves recovery only while ``wanted.kind`` is ``primary``: nothing that lies on the
disk makes it one (invariant I4). A directory is replaced only by a copy of the same database,
and only after that copy is whole (I15, I17). Called again with new facts after each order, until
it answers None; :func:`reason` then says for people why nothing more is done, or "".
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf
from typing import Literal

from qluster.database.facts import Facts
from qluster.database.failures import REWIND_ATTEMPTS, START_ATTEMPTS, Failures
from qluster.database.orders import (
    Adjust,
    Clone,
    CloneOutside,
    Detach,
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
    StopFast,
    StopImmediate,
    Terms,
)
from qluster.database.room import full, shortage
from qluster.database.slots import Reached, slots_kept
from qluster.database.standby import astray, made_fit
from qluster.database.standstill import hangs, sentence, standing
from qluster.events import Address

UNSTREAMED_LIMIT = 10.0
"""Seconds a standby may hear nothing from its upstream before histories are compared again."""

SILENT_LIMIT = 60.0
"""Seconds without an answer, or with a postmaster that is stopped, after which a server is ended where it is."""
CRASHES_MOST = 5
"""Crashes within the window of the facts after which a server is not started for a while."""

Kind = Literal["none", "stopped", "found", "detached", "follow", "outside", "primary"]
"""``outside``: it follows, for the whole cluster, the installation that the terms name; see ``standby.py``."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the log wants of this host's database."""

    kind: Kind = "none"
    reign: int = 0
    """Number of the reign in force."""
    upstream: Address | None = None
    system_id: int | None = None
    """The database that the cluster has; None before the founding is committed."""
    since: int | None = None
    """First of the unbroken row of reigns of this node up to ``reign``; None: not told."""
    terms: Terms = field(default_factory=Terms)
    restart: int = 0
    """Index of the entry that gave this server its turn to restart; 0: it is not its turn."""
    branch: int = 0
    """The timeline that a promotion begins; 0: the next one."""
    reached: tuple[Reached, ...] = ()
    """How far the databases of the other nodes have come: what is older need not be kept for them."""
    source: Address | None = None
    """The replica to be copied, should a copy be needed; None: the upstream."""
    via: Address | None = None
    """The replica to stream from in the upstream's place; None: the upstream."""
    paused: bool = False
    """An operator wants the database left alone: it is only reloaded, everything else is withheld."""
    current: bool = True
    """The log is known here to its end: a server that another daemon told its terms may be told these."""
    shows: bool = True
    """What a promotion here shows at once is safe from the next failover; else clients wait for the standbys."""


def next_order(facts: Facts, wanted: Wanted, failures: Failures, now: float = inf) -> Order | None:
    """What the hand should do now; None: nothing, for now or for good."""
    order = _first_order(facts, wanted, failures)
    if order is None or _given_up(order, facts, failures) or failures.again_at(type(order)) > now:
        return None
    return None if wanted.paused and not isinstance(order, (Adjust, KeepSlots)) else order


def withheld(facts: Facts, wanted: Wanted, failures: Failures) -> str:
    """What would be done now if the cluster were not paused, for people; "" for nothing."""
    order = _first_order(facts, wanted, failures) if wanted.paused else None
    match order:
        case None | Adjust() | KeepSlots():
            return ""
        case Restart():
            return "would restart the database"
        case StartPrimary():
            return "would start the database as primary"
        case StartStandby():
            return "would start the database as a standby"
        case Promote():
            return "would promote the database"
        case Detach() | StopFast() | StopImmediate():
            why = f", which has not answered for {facts.silent:.0f} seconds" if facts.silent > SILENT_LIMIT else ""
            return "would cut the database from its upstream" if isinstance(order, Detach) else f"would stop it{why}"
        case Follow() | Rewind() | Clone():
            where = f"{order.upstream[0]}:{order.upstream[1]}"
            words = {Follow: "point the database at", Rewind: "rewind the database to", Clone: "copy the database of"}
            return f"would {words[type(order)]} {where}"
        case FollowOutside() | RewindOutside() | CloneOutside():
            return "would point the database at the installation outside, or copy that one's"
    return "would found a database"


def needs_reinit(facts: Facts, wanted: Wanted, failures: Failures) -> bool:
    """Whether the attempts are used up, so that an operator must act."""
    order = _first_order(facts, wanted, failures)
    return order is not None and _given_up(order, facts, failures)


def _given_up(order: Order, facts: Facts, failures: Failures) -> bool:
    return failures.used_up(type(order)) or _crash_loop(order, facts)


def _crash_loop(order: Order, facts: Facts) -> bool:
    """A server that ends again and again is not started again until some of its crashes are old."""
    return isinstance(order, (StartPrimary, StartStandby)) and facts.crashes >= CRASHES_MOST


def reason(facts: Facts, wanted: Wanted, failures: Failures) -> str:
    """Why the database is not yet what is wanted, for people; "" when all is well or under way."""
    refusal = _refusal(facts, wanted)
    if refusal:
        return refusal
    if facts.stray:
        end = "it is left alone until the resume" if wanted.paused else "it is ended"
        return f"a server that the daemon did not start runs in the data directory: {end}"
    if full(facts):
        return "; ".join(filter(None, (shortage(facts), failures.sentence)))
    order = _first_order(facts, wanted, failures)
    if order is not None and _crash_loop(order, facts):
        return (
            f"the server ended by itself {facts.crashes} times within a few minutes: "
            "see its log; it is started again later"
        )
    if needs_reinit(facts, wanted, failures):
        return f"given up after repeated failures, reinitialise this node: {failures.sentence}"
    return failures.sentence or facts.error or sentence(facts)


def _refusal(facts: Facts, wanted: Wanted) -> str:
    """Why this directory must not be touched; "" when it may."""
    if wanted.kind in ("none", "stopped"):
        return ""
    if facts.directory == "foreign":
        return f"the data directory holds files that are no database: {facts.error or 'empty it'}"
    if wanted.kind == "found" and wanted.system_id is not None:
        return f"the cluster has a database already (system id {wanted.system_id}): it is not founded again"
    if wanted.kind == "primary" and facts.directory != "initialised":
        return f"this node is to be the primary, and its data directory is {facts.directory}"
    if facts.directory != "initialised":
        return ""
    if facts.system_id is None:
        return f"the data directory cannot be read: {facts.error or 'no control data'}"
    if wanted.system_id is not None and facts.system_id != wanted.system_id:
        return (
            f"the data directory holds another database (system id {facts.system_id}, "
            f"the cluster has {wanted.system_id}): move it away or empty it"
        )
    if wanted.kind in ("found", "outside") and wanted.system_id is None and not facts.fresh:
        return (
            f"the data directory holds a database that this founding did not make "
            f"(system id {facts.system_id}): empty it, or start a node that belongs to its cluster"
        )
    return ""


def _first_order(facts: Facts, wanted: Wanted, failures: Failures) -> Order | None:
    if wanted.kind == "none" or facts.server == "stopping":
        return None
    if wanted.kind == "stopped":
        return None if facts.server == "stopped" and not facts.stray else _stop(facts)
    if max(facts.silent, facts.halted_for) > SILENT_LIMIT:
        return StopImmediate(force=facts.halted)
    if _refusal(facts, wanted):
        return StopFast() if facts.server != "stopped" else None
    if facts.stray:
        return StopFast()
    if wanted.kind == "found":
        return _founding(facts, wanted)
    if wanted.kind == "detached":
        return _detaching(facts, wanted)
    if wanted.kind == "follow":
        return _following(facts, wanted, failures)
    if wanted.kind == "outside":
        return _leading_standby(facts, wanted, failures)
    return _reigning(facts, wanted)


def _stop(facts: Facts) -> StopFast | StopImmediate:
    """In order where it can hear that; who waits half a minute for a server that hangs keeps its clients waiting."""
    return StopImmediate(force=standing(facts) > 0) if hangs(facts) else StopFast()


def _founding(facts: Facts, wanted: Wanted) -> Order | None:
    if facts.directory in ("absent", "empty"):
        return Initialise(wanted.terms)
    return None


def _detaching(facts: Facts, wanted: Wanted) -> Order | None:
    """A standby without upstream; a former primary too is started as one, to learn its last position."""
    if facts.directory != "initialised":
        return None
    if facts.server == "stopped":
        return StartStandby(None, wanted.terms)
    if facts.in_recovery is False or facts.starved:
        return StopFast()
    return Detach(wanted.terms) if facts.upstream is not None else None


def _following(facts: Facts, wanted: Wanted, failures: Failures) -> Order | None:
    upstream = wanted.upstream
    if upstream is None:
        return None
    if facts.directory != "initialised":
        return _cloning(upstream, wanted, failures)
    if facts.server != "stopped" and facts.in_recovery is False:
        return StopFast()
    if facts.standing == "outrun":
        return _cloning(upstream, wanted, failures)
    if facts.last_reign or facts.fresh or facts.standing == "diverged" or not facts.standby:
        return _rejoining(upstream, facts, wanted, failures)
    if facts.server == "stopped":
        damaged = failures.count(StartStandby) >= START_ATTEMPTS or facts.crashes >= CRASHES_MOST
        if damaged and not failures.copied and not full(facts):
            return _cloning(upstream, wanted, failures)
        return StartStandby(upstream, wanted.terms)
    if facts.starved:
        return StopFast()
    if _restart_due(facts, wanted):
        return Restart(upstream, 0, wanted.terms)
    if _told_otherwise(facts, wanted):
        return StopFast()
    via = wanted.via
    settled = facts.upstream in {_text(upstream), _text(via or upstream)} and facts.unstreamed <= UNSTREAMED_LIMIT
    if not settled or (facts.upstream != _text(upstream) and via is None):
        return Follow(upstream, wanted.terms)
    # From the upstream first, which is always right: nothing else has to wait for a replica that is not.
    adjusting = _adjusting(facts, wanted)
    if adjusting is None and via is not None and facts.upstream != _text(via):
        return Follow(upstream, wanted.terms, via)
    return adjusting


def _text(address: Address) -> str:
    return f"{address[0]}:{address[1]}"


def _cloning(upstream: Address, wanted: Wanted, failures: Failures) -> Clone:
    """From the replica once: whatever was wrong with it, the primary is always good."""
    source = None if failures.attempts(Clone) else wanted.source
    return Clone(upstream, wanted.system_id, wanted.terms, source)


def _rejoining(upstream: Address, facts: Facts, wanted: Wanted, failures: Failures) -> Order:
    """A former primary, or a standby that went another way, takes it back; else it is copied anew."""
    useless = facts.standing == "diverged" and failures.rewound
    if failures.count(Rewind) >= REWIND_ATTEMPTS or useless or facts.system_id is None:
        return _cloning(upstream, wanted, failures)
    return Rewind(upstream, facts.system_id, wanted.terms)


def _reigning(facts: Facts, wanted: Wanted) -> Order | None:
    if facts.server == "stopped":
        if not facts.standby and (facts.fresh or facts.last_reign >= _run_start(wanted)):
            return StartPrimary(wanted.reign, _closed(wanted.terms))
        return StartStandby(None, wanted.terms)
    if facts.in_recovery is None:
        return None
    if not facts.in_recovery:
        due = facts.last_reign == wanted.reign and _restart_due(facts, wanted)
        return Restart(None, wanted.reign, _closed(wanted.terms)) if due else _adjusting(facts, wanted)
    if facts.starved:
        return StopFast()
    if facts.upstream is not None or facts.receiver != "none":
        return Detach(wanted.terms)
    return Promote(wanted.reign, wanted.terms if wanted.shows else _closed(wanted.terms), wanted.branch)


def _run_start(wanted: Wanted) -> int:
    """A directory that served since then has seen every write since then: nobody else reigned.

    An older one goes through recovery and a timeline of its own instead (invariant I5).
    """
    return max(wanted.since if wanted.since is not None else wanted.reign - 1, 1)


def _leading_standby(facts: Facts, wanted: Wanted, failures: Failures) -> Order | None:
    """The standby that follows for all others the installation outside."""
    order = made_fit(facts, wanted.system_id, wanted.terms, failures)
    if order is not None or facts.directory != "initialised" or wanted.system_id is None:
        return order
    if facts.starved or _told_otherwise(facts, wanted):
        return StopFast()
    if _restart_due(facts, wanted):
        return Restart(None, 0, wanted.terms)
    if astray(facts, wanted.terms):
        return FollowOutside(wanted.terms)
    return _adjusting(facts, wanted)


def _told_otherwise(facts: Facts, wanted: Wanted) -> bool:
    """A standby that does not answer yet was started with parameters that were changed since: perhaps they hang it.

    Version 0 says nothing: a daemon that has just started does not know yet what the log says.
    """
    told = facts.terms.version if facts.terms is not None else 0
    return facts.server == "starting" and facts.in_recovery is None and 0 < told < wanted.terms.version


def _restart_due(facts: Facts, wanted: Wanted) -> bool:
    """It is this server's turn, it has not been started since, and nobody knows that it would not start."""
    known = facts.refused and facts.refused_version == wanted.terms.version
    return facts.server == "running" and facts.started < wanted.restart and not known


def _adjusting(facts: Facts, wanted: Wanted) -> Order | None:
    if facts.server != "running" or (facts.terms is None and not wanted.current):
        return None
    reign = wanted.reign if facts.in_recovery is False else 0
    terms = wanted.terms if not reign or _may_admit(facts, wanted.terms) else _closed(wanted.terms)
    if facts.terms != terms or (reign and facts.last_reign != reign):
        return Adjust(terms, reign)
    return slots_kept(facts, wanted.terms, wanted.reached)


def _closed(terms: Terms) -> Terms:
    """For a primary that starts where it was, or was promoted with more than the others may have.

    Transactions that waited for their standbys are visible after recovery, and still on this disk alone: who read
    them would have read what the next failover loses (invariant I10).
    """
    return replace(terms, admits=not terms.needed)


def _may_admit(facts: Facts, terms: Terms) -> bool:
    """Whether the standbys have all that a primary started with; one that admits clients goes on doing so."""
    admits = not facts.closed if facts.terms is None else facts.terms.admits
    if admits or not terms.needed:
        return True
    if facts.recovered is None:
        return False
    reached = {one.name for one in facts.replicas if one.position is not None and one.position >= facts.recovered}
    return len(reached & set(terms.standbys)) >= terms.needed
