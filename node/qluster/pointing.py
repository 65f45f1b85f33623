"""Decides, on a pool host, whom the pool points at, and when its clients are to wait.

Must not know the pool's program. Who writes goes to the primary of the newest reign, once that node itself says
that it can be written to; in between to nobody, so that clients wait at the pool instead of being turned away by a
standby. Who only reads goes to the replicas that stream and keep up.

While a switchover is under way the pool is held: what is open may end, nothing new begins. A hold has an end of
its own, for a leader that dies half-way.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

import msgspec

from qluster.config.addresses import place_text
from qluster.events import Address, CancelJob, HoldPool, Job, JobEnded, Repoint
from qluster.status import DatabaseStatus, PoolStatus

RETRY_INTERVAL = 1.0
"""Seconds before a failed repointing is tried again; without end, since a pool that points
nowhere is an outage, and once a second costs nothing."""

HOLD_SECONDS = 20.0
"""Seconds for which a pool is held beside what its transactions get: a switchover takes one, a slow stop a few."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The switchover for which clients are to wait, and how many seconds what is open gets to end."""

    number: int
    patience: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What there is to read from."""

    databases: Mapping[Address, DatabaseStatus]
    """What the nodes that are heard and not marked down say of their databases."""
    primary: Address | None
    """Where clients may write now."""
    reigns: Address | None
    """The database of the reign in force, whether it takes writes or not."""


@dataclass(slots=True)
class Pointing:
    """What the pool was told and what it is to be told."""

    status: PoolStatus = field(default_factory=PoolStatus)
    _done: Repoint | None = None
    _running: Job | None = None
    _cancelled: bool = False
    _retry_at: float = -inf
    _hold: Hold | None = None
    """The hold that was seen last."""
    _hold_until: float = inf
    _rests_until: float = -inf
    """Until when clients of a pool that was held may wait for the next primary without more ado."""
    _unheld: int = 0
    """The switchover for which the pool did not come to rest."""
    _readers: frozenset[Address] = frozenset()

    def step(self, order: Repoint, hold: Hold | None, number: int, now: float) -> Job | None:
        """The job for the pool, when there is one to be done: hold it, or point it as ``order`` says."""
        hold = self._standing(hold, now)
        running = self._running
        if running is not None:
            late = isinstance(running.order, HoldPool) and (hold is None or hold.number != running.order.number)
            if not late or self._cancelled:
                return None
            self._cancelled = True
            return Job(number, CancelJob(running.number))
        if hold is not None:
            return None if self._waits(hold, order) else self._start(Job(number, HoldPool(hold.number, hold.patience)))
        if self.status.held:
            self.status = msgspec.structs.replace(self.status, held=0)
        if order.primary is None and now < self._rests_until:
            return None  # clients wait already, and the next primary is near
        if self._pointed(order) or now < self._retry_at:
            return None
        return self._start(Job(number, order))

    def ended(self, event: JobEnded, now: float) -> bool:
        """Take the end of a job; False when it was not one of these."""
        job = self._running
        if job is None or event.number != job.number:
            return False
        self._running, self._cancelled, self._rests_until = None, False, -inf
        if isinstance(job.order, HoldPool):
            self._held(job.order, event.error)
            return True
        assert isinstance(job.order, Repoint)
        if event.error is None:
            self._done = job.order
            readers = tuple(place_text(*address) for address in job.order.replicas)
            self.status = PoolStatus(target=_text(job.order.primary), reign=job.order.reign, replicas=readers)
        else:
            # What the pool was told last may have been done all the same: nothing is known of it now.
            self._done = None
            self._retry_at = now + RETRY_INTERVAL
            self.status = msgspec.structs.replace(self.status, error=event.error, held=0)
        return True

    @property
    def wake_at(self) -> float:
        """When a failed repointing is tried again, or a hold ends by itself."""
        again = self._retry_at if self.status.error and self._running is None else inf
        rests = self._rests_until if self._running is None else -inf
        return min(again, self._hold_until, rests if rests > -inf else inf)

    def readers(self, seen: Reading, lag_max: int, *, fallback: bool) -> tuple[Address, ...]:
        """Whom clients may read from: all replicas that stream and keep up; else the primary, where that is wanted.

        Who was left out for its lag comes back when that is half of what is allowed. The pool knows one port for
        all of them, so that of most is taken.
        """
        ahead = seen.databases.get(seen.reigns) if seen.reigns is not None else None
        fit = {
            address for address, database in seen.databases.items()
            if address != seen.reigns and _reads(database, ahead, lag_max if address in self._readers else lag_max // 2)
        }  # fmt: skip
        self._readers = frozenset(fit)
        if not fit:
            return (seen.primary,) if fallback and seen.primary is not None else ()
        ports = Counter(port for _, port in fit)
        port = max(ports, key=lambda one: (ports[one], -one))
        return tuple(sorted(address for address in fit if address[1] == port))

    # --- holding -----------------------------------------------------------------------

    def _standing(self, hold: Hold | None, now: float) -> Hold | None:
        """The hold, unless its time is over, or the pool did not come to rest in it."""
        if hold is None or hold.number == self._unheld:
            self._hold, self._hold_until = None, inf
            return None
        if self._hold is None or hold.number != self._hold.number:
            self._hold, self._hold_until = hold, now + hold.patience + HOLD_SECONDS
        if now >= self._hold_until:
            self._hold, self._hold_until, self._unheld = None, inf, hold.number
        return self._hold

    def _waits(self, hold: Hold, order: Repoint) -> bool:
        """Whether clients wait already: the pool is held, or points at nobody."""
        if self.status.held == hold.number:
            return True
        if self._done is not None and self._done.primary is None and order.primary is None:
            self.status = msgspec.structs.replace(self.status, held=hold.number)
            return True
        return False

    def _held(self, order: HoldPool, error: str | None) -> None:
        # The pool has stopped in any case, or may have: only another order makes it go on.
        self._done = None
        if error is None:
            self._rests_until = self._hold_until
            self.status = msgspec.structs.replace(self.status, held=order.number, error="")
        else:
            self._unheld = order.number
            self.status = msgspec.structs.replace(self.status, held=0, error=error)

    # --- pointing ----------------------------------------------------------------------

    def _start(self, job: Job) -> Job:
        self._running = job
        return job

    def _pointed(self, order: Repoint) -> bool:
        """Whether the pool does that already; at nobody it points alike in every reign."""
        done = self._done
        if done is None or done.primary is not None or order.primary is not None:
            return order == done
        return (done.founding, done.replicas) == (order.founding, order.replicas)


def _reads(database: DatabaseStatus, primary: DatabaseStatus | None, lag_max: int) -> bool:
    """Whether this replica may be read from."""
    if database.role != "replica" or not database.streaming or database.replayed is None:
        return False
    if primary is None or primary.position is None or primary.role != "primary":
        return True  # nobody to hold it against: what streams is as new as anything
    return primary.position - database.replayed <= lag_max


def _text(address: Address | None) -> str | None:
    return None if address is None else place_text(*address)
