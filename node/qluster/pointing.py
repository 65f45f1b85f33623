"""Decides, on a pool host, whom the pool points at.

Must not know the pool's program. The target is the primary of the newest reign, once that
node itself says that it can be written to; in between nobody, so that clients wait
at the pool instead of being turned away by a standby.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from qluster.config.addresses import place_text
from qluster.events import Address, Job, JobEnded, Repoint
from qluster.status import PoolStatus

RETRY_INTERVAL = 1.0
"""Seconds before a failed repointing is tried again; without end, since a pool that points
nowhere is an outage, and once a second costs nothing."""


@dataclass(slots=True)
class Pointing:
    """What the pool was told and what it is to be told."""

    status: PoolStatus = field(default_factory=PoolStatus)
    _done: Repoint | None = None
    _running: Job | None = None
    _retry_at: float = -inf

    def step(self, order: Repoint, number: int, now: float) -> Job | None:
        """The job that points the pool as ``order`` says, when there is one to be done."""
        if self._running is not None or order == self._done or now < self._retry_at:
            return None
        self._running = Job(number, order)
        return self._running

    def ended(self, event: JobEnded, now: float) -> bool:
        """Take the end of a job; False when it was not one of these."""
        job = self._running
        if job is None or event.number != job.number:
            return False
        assert isinstance(job.order, Repoint)
        self._running = None
        if event.error is None:
            self._done = job.order
            self.status = PoolStatus(target=_text(job.order.primary), reign=job.order.reign)
        else:
            # What the pool was told last may have been done all the same: nothing is known of it now.
            self._done = None
            self._retry_at = now + RETRY_INTERVAL
            self.status = PoolStatus(target=self.status.target, reign=self.status.reign, error=event.error)
        return True

    @property
    def wake_at(self) -> float:
        """When a failed repointing is tried again."""
        return self._retry_at if self.status.error and self._running is None else inf


def _text(address: Address | None) -> str | None:
    return None if address is None else place_text(*address)
