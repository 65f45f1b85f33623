"""The next step of the standby that follows, for its whole cluster, an installation outside.

It must not know which of the databases outside is the primary, nor how one is followed.

Nothing here makes a primary: a server that is one is stopped, and what it wrote by itself is taken back or copied
over. As everywhere a directory is replaced only by a copy of the same database (I15, I17).
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from qluster.database.facts import Facts
from qluster.database.failures import REWIND_ATTEMPTS, START_ATTEMPTS, Failures
from qluster.database.orders import CloneOutside, Order, RewindOutside, StartStandby, StopFast, Terms
from qluster.database.room import full

UNSTREAMED_LIMIT = 3.0
"""Seconds without a stream after which all databases outside are asked again which one is the primary."""

CRASHES_MOST = 5
"""Crashes after which a server is copied anew once."""


def made_fit(facts: Facts, system_id: int | None, terms: Terms, failures: Failures) -> Order | None:
    """What makes the directory here a standby of the database outside, and runs it; ``system_id`` None: to be founded.

    Started it is without an upstream: which of those outside is followed is found out with a running server.
    """
    if facts.directory != "initialised":
        return CloneOutside(system_id, terms)
    if system_id is None:
        return None  # its reign begins next
    if facts.server != "stopped" and facts.in_recovery is False:
        return StopFast()
    if facts.standing == "outrun":
        return CloneOutside(system_id, terms)
    if facts.last_reign or facts.standing == "diverged" or not facts.standby:
        useless = facts.standing == "diverged" and failures.rewound
        if useless or failures.count(RewindOutside) >= REWIND_ATTEMPTS:
            return CloneOutside(system_id, terms)
        return RewindOutside(system_id, terms)
    if facts.server != "stopped":
        return None
    damaged = failures.count(StartStandby) >= START_ATTEMPTS or facts.crashes >= CRASHES_MOST
    copies = damaged and not failures.copied and not full(facts)
    return CloneOutside(system_id, terms) if copies else StartStandby(None, terms)


def astray(facts: Facts, terms: Terms) -> bool:
    """Whether the running standby follows nobody of those outside, or nothing has come from there for a while."""
    told = facts.terms.outside if facts.terms is not None else None
    known = {f"{host}:{port}" for host, port in terms.outside.addresses} if terms.outside is not None else set()
    return facts.upstream not in known or told != terms.outside or facts.unstreamed > UNSTREAMED_LIMIT
