"""A database of lists instead of pages. Mirrors ``edge/postgres``: orders in, facts out.

What matters for failover is kept: recovery, timelines, upstreams, divergence, a copy that takes
time, a clean stop that waits for its standbys, an order that failed or was cut off half-way.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from qluster.database.facts import Facts, Replica
from qluster.database.orders import (
    Adjust,
    Checked,
    Checkpoint,
    CheckSettings,
    Clone,
    CloneOutside,
    Detach,
    Follow,
    FollowOutside,
    Initialise,
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
from qluster.events import Address

from sim.wal import Wal

SHUTDOWN = 0
"""The value of a record with which a primary ends; rows of clients are positive, promotions negative."""
Reach = Callable[[Address], "SimDatabase | None"]

SECONDS: dict[type, tuple[float, float]] = {
    Initialise: (0.3, 1.0), StartStandby: (0.05, 0.6), StartPrimary: (0.05, 0.6), Promote: (0.05, 0.3),
    Follow: (0.01, 0.1), Detach: (0.01, 0.05), Adjust: (0.01, 0.02), Rewind: (0.2, 1.0), Clone: (0.3, 3.0),
    Restart: (0.2, 1.0), CheckSettings: (0.01, 0.05), StopFast: (0.05, 0.4), StopImmediate: (0.01, 0.1),
    Checkpoint: (0.01, 2.0), FollowOutside: (0.01, 0.2), RewindOutside: (0.2, 1.0), CloneOutside: (0.3, 3.0),
}  # fmt: skip
"""Shortest and longest time of each order, as seen with a small PostgreSQL."""


DEAF = (Detach, Follow, Adjust, Promote, Restart, Checkpoint)
"""What a server that hangs does not take in."""
WITH_RESTART = "max_connections"
"""The one parameter here that only a restart brings into force."""
UNSTARTABLE = "1000000"
"""A value of it that the server takes, and with which it does not start."""


class Failed(Exception):
    """The order failed; ``passing``: for a reason that lies elsewhere."""

    def __init__(self, sentence: str, passing: bool = False) -> None:
        super().__init__(sentence)
        self.passing = passing


@dataclass
class SimDatabase:
    """The database directory and server of one host."""

    wal: Wal = field(default_factory=Wal)
    directory: str = "empty"
    system_id: int | None = None
    timeline: int = 1
    running: bool = False
    in_recovery: bool = False
    standby: bool = False
    fresh: bool = False
    last_reign: int = 0
    upstream: Address | None = None
    standing: str = ""
    unstreamed: float = 0.0
    terms: Terms | None = None
    adopted: bool = False
    """A daemon that started meanwhile does not know what it was told."""
    recovered: int | None = None
    """How far the WAL of a primary reached when it began to serve."""
    started: int = 0
    starts: int = 0
    """How often a server was started here: those who streamed from the one before are gone."""
    value: str = "100"
    """What is in force of :data:`WITH_RESTART`."""
    proven: tuple[int, str] = (0, "100")
    """Version and value with which the server last started."""
    refused: tuple[int, str] = (0, "")
    told: tuple[int, dict[str, str]] = field(default_factory=lambda: (0, {}))
    """Version and values of the newest terms."""
    hangs: str = ""
    """halted: its postmaster is stopped, who is connected goes on; stalled: its disk takes nothing; "": it works."""
    hangs_since: float = 0.0
    clean: bool = False
    """Shut down in order as a primary: the last record is that of the shutdown."""
    owed: tuple[int, int] | None = None
    """How far the primary was when what is here took the place of something else."""
    served: set[int] = field(default_factory=set)
    """Reigns in which a client could write here; only the checks look at it."""

    @property
    def writable(self) -> bool:
        """Clients that reach this server can write."""
        return self.serves and self.hangs != "stalled" and (self.terms is None or self.terms.admits)

    @property
    def serves(self) -> bool:
        """It runs out of recovery."""
        return self.running and not self.in_recovery

    def kill(self) -> None:
        """The server is gone at once."""
        self.running, self.hangs = False, ""

    def shut_down(self) -> None:
        """A primary writes a last record before it ends in order."""
        if self.writable and not self.hangs:
            self.wal.append((self.timeline, SHUTDOWN))
            self.clean = True

    @property
    def waits_for(self) -> tuple[int, frozenset[str]]:
        """For how many of which standbys a transaction waits."""
        return (self.terms.needed, frozenset(self.terms.standbys)) if self.terms is not None else (0, frozenset())

    def acknowledged(self, standbys: Sequence[Replica]) -> int:
        """Up to which position transactions here are acknowledged, given who replicates."""
        needed, names = self.waits_for
        positions = sorted((one.position or 0 for one in standbys if one.name in names), reverse=True)
        if not needed:
            return len(self.wal)
        return positions[needed - 1] if len(positions) >= needed else 0

    def facts(self, reach: Reach, replicas: Sequence[Replica] = (), now: float = 0.0) -> Facts:
        """One look."""
        upstream = reach(self.upstream) if self.upstream else None
        streaming = self.running and self.in_recovery and upstream is not None and self.fits(upstream)
        text = f"{self.upstream[0]}:{self.upstream[1]}" if self.upstream else None
        whole = self.directory == "initialised"
        ended = self.clean and not self.running
        stood = now - self.hangs_since
        return Facts(
            halted=self.hangs == "halted", halted_for=stood if self.hangs == "halted" else 0.0,
            stalled=stood if self.hangs == "stalled" else 0.0,
            directory=self.directory,  # type: ignore[arg-type]
            system_id=self.system_id, server="running" if self.running else "stopped",
            in_recovery=self.in_recovery if self.running else None, standby=self.standby, fresh=self.fresh,
            last_reign=self.last_reign, timeline=self.timeline if whole else None,
            position=len(self.wal) - ended if whole else None, replayed=len(self.wal) if whole else None,
            control_state="shut down" if ended else "",
            upstream=text, receiver="none" if not self.upstream else "streaming" if streaming else "waiting",
            recovered=self.recovered if self.serves else None, unstreamed=0.0 if streaming else self.unstreamed,
            standing=self.standing, terms=None if self.adopted else self.terms,
            closed=self.adopted and self.terms is not None and not self.terms.admits, replicas=tuple(replicas),  # type: ignore[arg-type]
            pending=((WITH_RESTART, self.value),) if self.running and self.value != self._wanted() else (),
            started=self.started, proven=self.proven[0], refused=self.refused[1], refused_version=self.refused[0],
            owed=self.owed,
        )  # fmt: skip

    def fits(self, upstream: SimDatabase) -> bool:
        """What is here is a beginning of what is there; of a standby also the other way round: it will have it too."""
        ahead = upstream.in_recovery and upstream.wal.begins(self.wal)
        return self.system_id == upstream.system_id and (self.wal.begins(upstream.wal) or ahead)

    def stream(self, reach: Reach, seconds: float) -> None:
        """Take what the upstream has beyond this."""
        if self.upstream is None or not self.running or not self.in_recovery:
            self.unstreamed = 0.0
            return
        upstream = reach(self.upstream)
        if upstream is not None and self.fits(upstream) and self.hangs != "stalled":
            self.unstreamed, self.standing = 0.0, "fits"
            if len(upstream.wal) >= len(self.wal):
                self.timeline = upstream.timeline
                self.wal.extend_from(upstream.wal)
        else:
            self.unstreamed += seconds

    def checked(self, order: CheckSettings) -> Checked:
        """What the server says of changes."""
        if not self.running:
            raise Failed("the database did not answer")
        wrong = tuple((name, "is not known to the database") for name, _ in order.changes if name == "nonsense")
        return Checked(wrong, tuple(name for name, _ in order.changes if name == WITH_RESTART))

    def perform(self, order: Order, reach: Reach, random: Random) -> None:
        """What an order changes at the moment when it does; raises :class:`Failed`."""
        if self.hangs and isinstance(order, DEAF):
            raise Failed("the server does not take it in")
        match order:
            case Initialise():
                assert self.directory in ("absent", "empty"), "I15: never over a database"
                self.directory, self.system_id, self.fresh = "initialised", random.getrandbits(60), True
            case StartStandby(upstream, terms):
                self._start(terms, in_recovery=True)
                self.standby, self.upstream = True, upstream
                self.fresh = self.fresh and terms.outside is None
                self._compare(reach)
            case StartPrimary(reign, terms):
                assert not self.standby, "I4: a standby is promoted, not started"
                self._start(terms, in_recovery=False)
                self.fresh, self.last_reign, self.upstream, self.recovered = False, reign, None, len(self.wal)
                self.owed = None
                self.served.add(reign)
            case Promote(reign, terms, timeline):
                self._promote(reign, terms, timeline)
            case Follow(upstream, terms):
                self._follow(upstream, terms, reach)
            case Detach(terms):
                self._need_standby()
                self.upstream, self.terms, self.standing, self.adopted = None, terms, "", False
            case Adjust(terms, reign):
                self._tell(terms)
                self.last_reign, self.owed = reign or self.last_reign, None if reign else self.owed
                self.served |= {reign} if reign else set()
            case Rewind() | Clone() | FollowOutside() | RewindOutside() | CloneOutside():
                self._take_from(order, reach)
            case StopFast() | StopImmediate():
                self.kill()
            case Restart():
                self._restart(order, reach, random)
            case Checkpoint():
                self._need_server()

    def _take_from(
        self, order: Rewind | Clone | FollowOutside | RewindOutside | CloneOutside, reach: Reach
    ) -> None:
        if isinstance(order, Rewind | Clone):
            self._take_over(order, reach)
            return
        place = self._best(order.terms, reach)
        if isinstance(order, FollowOutside):
            self._follow(place, order.terms, reach)
            return
        founding, source = order.system_id is None, self._source(place, reach)
        assert self.directory in ("absent", "empty") or not founding, "I15: never over a database"
        if not founding and order.system_id != source.system_id:
            raise Failed("another database", passing=True)
        self._copy(source, order.terms, whole=isinstance(order, CloneOutside))
        self.fresh = founding

    def _take_over(self, order: Rewind | Clone, reach: Reach) -> None:
        """Of the upstream; a replica that is copied in its place may be behind, also what was here before."""
        upstream = source = self._source(order.upstream, reach)
        owed = upstream.timeline, len(upstream.wal)
        if isinstance(order, Clone) and order.source is not None:
            source = self._source(order.source, reach)
            if not source.in_recovery or source.timeline != upstream.timeline or not source.fits(upstream):
                raise Failed(f"{order.source[0]} does not stream from the primary", passing=True)
        if order.terms.outside is None and upstream.in_recovery:
            raise Failed(f"the database at {order.upstream[0]} is not the primary yet", passing=True)
        self._copy(source, order.terms, whole=isinstance(order, Clone))
        self.owed = owed if order.terms.outside is None else None

    def _restart(self, order: Restart, reach: Reach, random: Random) -> None:
        terms = order.terms
        self._need_server()
        if self._wanted(terms) == UNSTARTABLE:
            self.refused = (max(terms.version, self.told[0]), "there is not so much memory")
            return
        self.running = False
        start = StartPrimary(order.reign, terms) if order.reign else StartStandby(order.upstream, terms)
        self.perform(start, reach, random)

    def _start(self, terms: Terms, *, in_recovery: bool) -> None:
        assert not self.running, "starts once"
        if self.directory != "initialised":
            raise Failed("there is no database")  # it has just been lost
        self.running, self.in_recovery, self.clean, self.started = True, in_recovery, False, terms.restart
        self.starts += 1
        self._tell(terms)
        if self._wanted() == UNSTARTABLE:
            self.value, self.refused = self.proven[1], (self.told[0], "there is not so much memory")
        else:
            self.value, self.proven, self.refused = self._wanted(), (self.told[0], self._wanted()), (0, "")

    def _tell(self, terms: Terms) -> None:
        self.terms, self.adopted = terms, False
        if terms.version >= self.told[0]:
            self.told = (terms.version, dict(terms.parameters))
        if self.refused[0] != self.told[0]:
            self.refused = (0, "")

    def _wanted(self, terms: Terms | None = None) -> str:
        """As the newest terms say that were ever told: a daemon that has just started does not know them yet."""
        newer = terms is not None and terms.version >= self.told[0]
        values = dict(terms.parameters) if newer and terms is not None else self.told[1]
        return values.get(WITH_RESTART, "100")

    def _need_server(self) -> None:
        if not self.running:
            raise Failed("the database did not answer")

    def _need_standby(self) -> None:
        if not self.running or not self.in_recovery:
            raise Failed("the server is not running as a standby")

    def _promote(self, reign: int, terms: Terms, timeline: int) -> None:
        self._need_standby()
        assert self.upstream is None, "only a detached standby is promoted"
        self.recovered = len(self.wal)
        self.timeline = max(self.timeline + 1, timeline)
        self.wal.append((self.timeline, -reign))
        self.in_recovery, self.standby, self.terms, self.adopted = False, False, terms, False
        self.last_reign, self.owed = reign, None
        self.served.add(reign)

    def _follow(self, upstream: Address, terms: Terms, reach: Reach) -> None:
        self._need_standby()
        source = self._source(upstream, reach)
        if source.in_recovery and terms.outside is None:
            raise Failed(f"the database at {upstream[0]} is not the primary yet", passing=True)
        self.standing = "fits" if self.fits(source) else "diverged"
        if self.standing == "diverged":
            raise Failed("this database has WAL that the upstream does not have", passing=True)
        self.upstream, self.terms, self.adopted = upstream, terms, False

    def _compare(self, reach: Reach) -> None:
        """Histories are compared when an upstream is set."""
        upstream = reach(self.upstream) if self.upstream else None
        upstream = None if upstream is None or upstream.in_recovery else upstream
        self.standing = "" if upstream is None else "fits" if self.fits(upstream) else "diverged"

    def _source(self, upstream: Address, reach: Reach) -> SimDatabase:
        source = reach(upstream)
        if source is None:
            raise Failed(f"{upstream[0]} does not answer", passing=True)
        return source

    @staticmethod
    def _best(terms: Terms, reach: Reach) -> Address:
        """Of the databases outside, a primary, on the newest timeline."""
        assert terms.outside is not None
        found = {address: server for address in terms.outside.addresses if (server := reach(address)) is not None}
        if not found:
            raise Failed("nobody outside answers", passing=True)
        return max(found, key=lambda one: (not found[one].in_recovery, found[one].timeline, one))

    def _copy(self, source: SimDatabase, terms: Terms, *, whole: bool) -> None:
        if not whole and source.in_recovery and terms.outside is None:
            raise Failed("the source is in recovery", passing=True)
        self.wal, self.timeline, self.system_id = source.wal.copy(), source.timeline, source.system_id
        self.directory, self.running, self.standby, self.fresh = "initialised", False, True, False
        self.clean = False
        self.last_reign, self.owed, self.upstream, self.standing = 0, None, None, ""
