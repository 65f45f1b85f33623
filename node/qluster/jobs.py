"""Runs what the node has ordered beside its turns, each as a task, and tells how each ended, once.

Must not know what the orders are (daemon.py carries them out) nor who waits for them.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec

from qluster.database.orders import Look
from qluster.edge import client, clock
from qluster.edge.postgres import PostgresFailed
from qluster.events import CancelJob, Job, JobEnded

log = logging.getLogger("qluster.daemon")

Do = Callable[[object], Awaitable[object]]
"""Carries out an order; raises what :meth:`Jobs._run` knows, or breaks."""


class Jobs:
    """The jobs that run."""

    def __init__(self, do: Do, ended: Callable[[JobEnded], None]) -> None:
        self._do = do
        self._ended = ended
        self._running: dict[int, asyncio.Task[JobEnded]] = {}
        self.endings = 0
        """Jobs that have ended so far."""

    def __len__(self) -> int:
        return len(self._running)

    def start(self, job: Job) -> None:
        """Begin a job, or cancel the one that it names."""
        if isinstance(job.order, CancelJob):
            running = self._running.get(job.order.number)
            if running is not None:
                running.cancel()
            return
        began = clock.monotonic()
        task = self._running[job.number] = asyncio.create_task(self._run(job))
        # A task that is cancelled before its first step never runs: its end must not depend on its own words.
        task.add_done_callback(lambda done: self._end_of(job, done, clock.monotonic() - began))

    async def end(self) -> None:
        """Cancel all and wait until each has ended."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _run(self, job: Job) -> JobEnded:
        log.log(_loudness(job), "job-started number=%d order=%s", job.number, job.order)
        try:
            return JobEnded(job.number, await self._do(job.order))
        except PostgresFailed as failure:
            return JobEnded(job.number, failure.passing, str(failure))
        except client.ClientError as failure:
            return JobEnded(job.number, None, str(failure))
        except (OSError, msgspec.MsgspecError) as failure:
            return JobEnded(job.number, None, f"{type(failure).__name__}: {failure}")

    def _end_of(self, job: Job, task: asyncio.Task[JobEnded], took: float) -> None:
        fault = None if task.cancelled() else task.exception()
        if fault is not None:
            log.error("job-broke number=%d", job.number, exc_info=fault)
        whole = not task.cancelled() and fault is None
        ended = task.result() if whole else JobEnded(job.number, error="it was cancelled", result=True)
        log.log(_loudness(job), "job-ended number=%d seconds=%.2f error=%s", job.number, took, ended.error)
        self._running.pop(job.number, None)
        self.endings += 1
        self._ended(ended)


def _loudness(job: Job) -> int:
    """Looks at the database follow each other for as long as a switchover takes."""
    return logging.DEBUG if isinstance(job.order, Look) else logging.INFO
