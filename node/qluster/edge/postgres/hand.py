"""The hand of ``database/``: carries out one order at a time, and looks.

It must not decide anything: what is wanted is the node's affair.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from qluster.config import Backup, Database
from qluster.database.facts import Facts
from qluster.database.orders import (
    Adjust,
    Checkpoint,
    CheckSettings,
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
)
from qluster.edge.postgres.checking import check_settings
from qluster.edge.postgres.copying import clone, rewind
from qluster.edge.postgres.failure import PostgresFailed
from qluster.edge.postgres.following import adjust, detach, follow
from qluster.edge.postgres.founding import initialise
from qluster.edge.postgres.looking import Look
from qluster.edge.postgres.outside import clone_outside, follow_outside, rewind_outside
from qluster.edge.postgres.replacing import finish_interrupted
from qluster.edge.postgres.site import Site
from qluster.edge.postgres.slotting import keep_slots
from qluster.edge.postgres.starting import checkpoint, promote, restart, start_primary, start_standby, stop

WORK: Mapping[type, Callable[[Site, Any], Awaitable[object]]] = {
    Initialise: initialise,
    StartStandby: start_standby,
    StartPrimary: start_primary,
    Promote: promote,
    Follow: follow,
    Detach: detach,
    Adjust: adjust,
    KeepSlots: keep_slots,
    Rewind: rewind,
    Clone: clone,
    FollowOutside: follow_outside,
    RewindOutside: rewind_outside,
    CloneOutside: clone_outside,
    Restart: restart,
}
"""One piece of work for each order that waits for its turn."""


class Postgres:
    """This host's database.

    ``started(pid)`` and ``exited(code)`` are called as soon as a postmaster runs or has ended.
    """

    def __init__(
        self,
        database: Database,
        ip: str,
        state_dir: str,
        *,
        started: Callable[[int], None] = lambda pid: None,
        exited: Callable[[int], None] = lambda code: None,
        backup: Backup | None = None,
    ) -> None:
        self._site = Site(database, ip, state_dir, started, exited, backup)
        self._look = Look(self._site)
        self._turn = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """The postmaster; None when no server runs."""
        return self._site.server.pid

    async def adopt(self, *, let_go: bool = False) -> None:
        """At the daemon's start: stop a server that an earlier daemon left, finish what it had begun.

        Only the log may say who is primary, so nothing that runs without us goes on running; but for a pause
        (``let_go``), in which what runs is left alone and watched.
        """
        async with self._turn:
            self.let_go(let_go)
            if let_go and self._site.adopt_stray():
                return
            await self._site.server.end_leftovers()
            await finish_interrupted(self._site)

    def let_go(self, let_go: bool) -> None:
        """Whether the server outlives the daemon, and what others start or stop is left alone: a pause."""
        self._site.let_go = let_go
        self._site.server.let_go(let_go)

    async def read_facts(self) -> Facts:
        """What is there now; quick, and an answer whatever the server does."""
        return await self._look.facts()

    async def perform(self, order: Order | CheckSettings) -> object:
        """Carry out one order; raises :class:`PostgresFailed`. Stops, checkpoints, questions wait for no turn."""
        if isinstance(order, CheckSettings):
            return await check_settings(self._site, order)
        if isinstance(order, (StopFast, StopImmediate)):
            force = isinstance(order, StopImmediate) and order.force
            await stop(self._site, fast=isinstance(order, StopFast), force=force)
            return None
        if isinstance(order, Checkpoint):
            await checkpoint(self._site)
            return None
        async with self._turn:
            try:
                return await WORK[type(order)](self._site, order)
            except OSError as error:
                raise PostgresFailed(f"{type(order).__name__}: {error}") from error

    async def close(self) -> None:
        """At the daemon's end: stop the server cleanly, unless it is to outlive the daemon."""
        if not self._site.let_go:
            await stop(self._site, fast=True)
