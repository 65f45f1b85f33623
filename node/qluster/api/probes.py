"""What load balancers ask: the table of their routes, and the verdict on each from what the node knows.

This file must not know about sockets, nor where a health comes from; it words no error.

The status code is the answer. Everything is judged from memory: how old the knowledge may be stands here, and what
is older is no yes.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from msgspec import Struct

from qluster.api.shapes import HealthAnswer, LeadsAnswer, LivesAnswer, ServesAnswer
from qluster.status import DatabaseHealth, Health

KNOWN_SECONDS = 3.0
"""What the database here or the primary last said counts for so long: both speak once a second or more often, and a
busy host may miss two of these times."""
LIVE_SECONDS = 5.0
"""A node settles something once a second at least; who has not for so long is stuck."""
READY_LAG = 16 << 20
"""Bytes behind the primary up to which a replica is ready: a segment of WAL."""
LAG_SECONDS_LEAST = 2
"""A primary that writes nothing publishes its position once a second: shorter limits would fail by turns."""

UNDER_WORK = ("initialising", "cloning", "rewinding", "promoting", "starting", "stopping")
"""What is being done with a database that is no replica meanwhile."""

_BYTES = {"": 0, "B": 0, "kB": 10, "KiB": 10, "MB": 20, "MiB": 20, "GB": 30, "GiB": 30}
_TIMES = {"s": 1, "m": 60, "h": 3600}
LAG_PATTERN = r"^([0-9]{1,15}(B|kB|KiB|MB|MiB|GB|GiB)?|([2-9]|[1-9][0-9]{1,5})s|[1-9][0-9]{0,3}[mh])$"
_LAG = re.compile(r"([0-9]+)([A-Za-z]*)")
_LAG_WHOLE = re.compile(LAG_PATTERN[1:-1])


@dataclass(frozen=True, slots=True)
class Lag:
    """A limit: in bytes of WAL or in seconds."""

    size: int | None = None
    seconds: float | None = None


def read_lag(text: str) -> Lag | None:
    """The limit in a text such as 10MiB or 5s; None when it is none. Units of bytes are PostgreSQL's: kB is 1024."""
    found = _LAG.fullmatch(text)
    if _LAG_WHOLE.fullmatch(text) is None or found is None:
        return None
    number, unit = int(found[1]), found[2]
    return Lag(seconds=float(number * _TIMES[unit])) if unit in _TIMES else Lag(size=number << _BYTES[unit])


@dataclass(frozen=True, slots=True)
class No:
    """The answer is no: the word of the error, and why, as the end of a sentence."""

    word: str
    reason: str = ""


Verdict = Struct | No
Judge = Callable[[Health, Lag | None], Verdict]


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the table. ``lag``: it takes a limit; ``alias``: the name that Patroni has for another one."""

    path: str
    summary: str
    judge: Judge
    answer: type[Struct]
    errors: tuple[str, ...]
    lag: bool = False
    alias: bool = False


# --- verdicts --------------------------------------------------------------------


def leads(health: Health, _: Lag | None) -> Verdict:
    """A node that leads but may not be written to yet is not what the client looks for."""
    if not health.joined:
        return No("not-joined")
    if health.may_write:
        assert health.node is not None, "only a member can lead"
        return LeadsAnswer(node=health.node, term=health.term, reign=health.reign)
    if health.standby:
        return No("standby-cluster")
    if health.leader is None:
        return No("no-leader")
    if health.leader == health.node:
        return No("busy", "it leads, but its database may not be written to now")
    return No("not-leader")


def leads_standby(health: Health, lag: Lag | None) -> Verdict:
    """The node that follows the installation outside for the whole standby cluster."""
    if not health.joined:
        return No("not-joined")
    if not health.standby:
        return No("not-replica", "the cluster has a primary of its own")
    if not health.leads_standby:
        return No("not-leader") if health.leader not in (None, health.node) else No("no-leader")
    return _unfit(health) or _unstreamed(health) or _behind(health, lag) or _serves(health)


def replica(health: Health, lag: Lag | None) -> Verdict:
    """A standby that streams from the primary in force."""
    return _other_role(health) or _unfit(health) or _unstreamed(health) or _behind(health, lag) or _serves(health)


def synchronous(health: Health, lag: Lag | None) -> Verdict:
    """The same, and the primary waits for it."""
    if health.database is not None and health.database.role != "primary" and health.joined and not health.covered:
        return No("not-replica", "the primary does not wait for it")
    return replica(health, lag)


def asynchronous(health: Health, lag: Lag | None) -> Verdict:
    """The same, and the primary does not wait for it."""
    if health.covered:
        return No("not-replica", "the primary waits for it")
    return replica(health, lag)


def readable(health: Health, lag: Lag | None) -> Verdict:
    """The primary, or a standby, however far behind unless a limit is given."""
    if health.database is None or not health.joined:
        return _other_role(health) or No("not-joined")
    if health.may_write:
        return _silent(health.database) or _serves(health)
    if health.database.role == "primary":
        return No("unfit", "its database is a primary that may not be written to now")
    return _spared(health.database) or _unfit(health) or _behind(health, lag) or _serves(health)


def lives(health: Health, _: Lag | None) -> Verdict:
    """The daemon takes its turns; the database is not asked about."""
    if health.turned_ago > LIVE_SECONDS:
        return No("unfit", f"nothing was settled here for {health.turned_ago:.1f} seconds")
    return LivesAnswer(turned_ago=round(health.turned_ago, 2), stopping=health.stopping)


def ready(health: Health, lag: Lag | None) -> Verdict:
    """It has joined, and its database, if it has one, is the primary or follows it closely. A mark is an operator's
    word about a node that may be quite ready."""
    if not health.joined:
        return No("not-joined")
    if health.stopping:
        return No("unfit", "it is stopping")
    if health.leader is None:
        return No("no-leader")
    if health.database is None:
        return _serves(health)
    if health.may_write:
        return _silent(health.database) or _serves(health)
    if health.database.role == "primary":
        return No("unfit", "its database is a primary that may not be written to now")
    return (
        _unserving(health.database) or _unstreamed(health) or _behind(health, lag or Lag(READY_LAG)) or _serves(health)
    )


def alive(health: Health, _: Lag | None) -> Verdict:
    """The daemon answers; nothing is said about the cluster."""
    return HealthAnswer(alive=True, stopping=health.stopping, uptime=round(health.uptime, 2))


def _serves(health: Health) -> ServesAnswer:
    assert health.node is not None, "only a member serves"
    database = health.database
    standby = database is not None and not health.may_write
    return ServesAnswer(
        node=health.node,
        role="none" if database is None else "replica" if standby else "primary",
        reign=health.reign,
        synchronous=standby and health.covered,
        lag_bytes=database.lag_bytes if database is not None else None,
        lag_seconds=_rounded(database.lag_seconds) if database is not None else None,
        lag_known_ago=_rounded(database.lag_known_ago) if database is not None else None,
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)


# --- what stands against it ---------------------------------------------------------


def _other_role(health: Health) -> No | None:
    """Why this is no replica, however well it may be."""
    if not health.joined:
        return No("not-joined")
    if health.database is None:
        return No("not-replica", "it has no database")
    if health.database.role == "primary":
        return No("not-replica", "its database is the primary")
    if health.leads_standby:
        return No("not-replica", "it leads the standby cluster: see /is-standby-leader and /is-readable")
    return _spared(health.database)


def _spared(database: DatabaseHealth) -> No | None:
    return None if database.balanced else No("not-replica", "database.no-load-balance keeps readers away from it")


def _unfit(health: Health) -> No | None:
    """Why this standby is not one to read from now."""
    assert health.database is not None, "asked of a standby"
    if health.down:
        return No("unfit", "it is marked down")
    if health.stopping:
        return No("unfit", "it is stopping")
    return _unserving(health.database)


def _unserving(database: DatabaseHealth) -> No | None:
    if database.doing in UNDER_WORK:
        return No("unfit", f"its database is {database.doing}")
    if database.role == "absent":
        return No("unfit", "it has no database yet")
    silent = _silent(database)
    if silent is not None:
        return silent
    if not database.genuine:
        return No("unfit", "its database was a primary's or went another way, and has not rejoined yet")
    if database.paused:
        return No("unfit", "its replay is paused")
    return None


def _silent(database: DatabaseHealth) -> No | None:
    """Why its database serves nobody now."""
    if database.answered_ago is None or database.answered_ago > KNOWN_SECONDS:
        silence = "" if database.answered_ago is None else f" for {database.answered_ago:.1f} seconds"
        return No("unfit", f"its database has not answered{silence}")
    if not database.answers:
        return No("unfit", "its database did not answer when last looked at")
    if database.halted:
        return No("unfit", "its database takes in nobody new: the postmaster is stopped")
    return None


def _unstreamed(health: Health) -> No | None:
    """A change of primary interrupts every stream for a moment: that alone is no reason."""
    assert health.database is not None, "asked of a standby"
    ago = health.database.streamed_ago
    if ago is None:
        return No("unfit", "it has not streamed from the primary yet")
    if ago > max(health.patience, KNOWN_SECONDS):
        return No("unfit", f"it has not streamed from the primary for {ago:.1f} seconds")
    return None


def _behind(health: Health, lag: Lag | None) -> No | None:
    if lag is None:
        return None
    assert health.database is not None, "asked of a standby"
    database = health.database
    known_ago = database.lag_known_ago
    if known_ago is None or database.lag_bytes is None:
        return No("unfit", "how far it is behind is not known: the primary has not said how far it is")
    if lag.seconds is not None:
        if database.lag_seconds is None or database.lag_seconds > lag.seconds:
            behind = f"{known_ago:.1f}" if database.lag_seconds is None else f"{database.lag_seconds:.1f}"
            return No("unfit", f"it may be {behind} seconds or more behind")
        return None
    if known_ago > KNOWN_SECONDS:
        return No("unfit", f"how far it is behind is not known: the primary was silent for {known_ago:.1f} seconds")
    if lag.size is not None and database.lag_bytes > lag.size:
        return No("unfit", f"it is {database.lag_bytes} bytes behind")
    return None


# --- the table -----------------------------------------------------------------------

_LEADS = (LeadsAnswer, ("not-joined", "not-leader", "no-leader", "standby-cluster"))
_SERVES = (ServesAnswer, ("not-joined", "not-replica", "unfit"))
_SEEN = "has answered within 3 seconds, replays, and is not marked down"

ROUTES = (
    Route("/is-leader", "200 on exactly the node that a client may write to", leads, *_LEADS),
    Route(
        "/is-replica", f"200 on a replica that streams from the primary, {_SEEN}", replica, *_SERVES, lag=True
    ),
    Route(
        "/is-synchronous",
        "200 on such a replica if the primary waits for it: each guarantee in the log names it",
        synchronous,
        *_SERVES,
        lag=True,
    ),
    Route(
        "/is-readable",
        f"200 on the primary, and on every standby that {_SEEN}; without a limit also on one that is cut off",
        readable,
        *_SERVES,
        lag=True,
    ),
    Route(
        "/is-standby-leader",
        "200 on the node of a standby cluster that streams from the installation outside, for all others",
        leads_standby,
        ServesAnswer,
        ("not-joined", "not-replica", "not-leader", "no-leader", "unfit"),
        lag=True,
    ),
    Route(
        "/liveness", "200 when the daemon takes its turns, whatever the database does", lives, LivesAnswer, ("unfit",)
    ),
    Route(
        "/readiness",
        "200 when the node has joined and its database is the primary or streams and is at most 16 MiB behind",
        ready,
        ServesAnswer,
        ("not-joined", "no-leader", "unfit"),
        lag=True,
    ),
    Route("/health", "200 when the daemon answers, whatever the state of the cluster", alive, HealthAnswer, ()),
    Route("/primary", "Patroni's name of `/is-leader`", leads, *_LEADS, alias=True),
    Route("/read-write", "Patroni's name of `/is-leader`", leads, *_LEADS, alias=True),
    *(
        Route(
            path,
            "Patroni's name of `/is-standby-leader`",
            leads_standby,
            ServesAnswer,
            ("not-joined", "not-replica", "not-leader", "no-leader", "unfit"),
            lag=True,
            alias=True,
        )
        for path in ("/standby-leader",)
    ),
    Route("/replica", "Patroni's name of `/is-replica`", replica, *_SERVES, lag=True, alias=True),
    Route("/read-only", "Patroni's name of `/is-readable`", readable, *_SERVES, lag=True, alias=True),
    *(
        Route(path, "Patroni's name of `/is-synchronous`", synchronous, *_SERVES, lag=True, alias=True)
        for path in ("/synchronous", "/sync")
    ),
    *(
        Route(
            path,
            "As with Patroni: `/is-replica`, if the primary does not wait for it",
            asynchronous,
            *_SERVES,
            lag=True,
            alias=True,
        )
        for path in ("/asynchronous", "/async")
    ),
)
"""All of them, in the order of the documentation."""

JUDGES = {route.path: route.judge for route in ROUTES}
