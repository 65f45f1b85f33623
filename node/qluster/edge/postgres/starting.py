"""Start a server as standby or as primary, promote, stop.

It must not know why. A server leaves recovery only here, and only by an order that names a reign:
the note of that reign is durable before it can write.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from qluster.database.orders import Promote, Restart, StartPrimary, StartStandby, Terms
from qluster.edge.postgres.failure import PostgresFailed
from qluster.edge.postgres.following import STREAM_WAIT, compare_with, names_in_force, point, streams_within
from qluster.edge.postgres.looking import STATE, position_in, receiver_of, timeline_in
from qluster.edge.postgres.prepared import withdraw_newer
from qluster.edge.postgres.reaching import check_whole
from qluster.edge.postgres.record import Record
from qluster.edge.postgres.reserving import have_archived, reserve, withdraw
from qluster.edge.postgres.session import Session
from qluster.edge.postgres.site import Site
from qluster.edge.postgres.trial import complaints
from qluster.edge.process import finished
from qluster.events import Address

log = logging.getLogger(__name__)

ANSWER_WAIT = 15.0
"""Seconds an order waits for a started primary to answer. A long recovery goes on without the order."""
STANDBY_WAIT = 4.0
"""The same for a standby, shorter: a failover may need it for something else."""
PROMOTE_LIMIT = 60.0
"""Seconds for a promotion (0.1 s measured); what lies here was read before, when the standby was detached."""
CHECKPOINT_LIMIT = 600.0
"""Seconds for a checkpoint: with much memory and a slow disk it takes minutes."""
PAUSE = 0.02
"""Seconds between two questions to a server that starts."""


@dataclass(frozen=True, slots=True)
class Opened:
    """Where a primary began to write."""

    timeline: int
    position: int


async def start_standby(site: Site, order: StartStandby) -> None:
    """Start in recovery; with an upstream, see that it streams or learn why it does not."""
    control = await site.control()
    await site.server.end_leftovers()
    await check_whole(site)
    if order.terms.outside is not None and site.record.fresh:
        site.remember(Record(system_id=control.system_id))  # a copy that waited for its reign
    site.directory.mark(standby=True)
    site.least = control.least
    if not await _started(site, order.terms, order.upstream, STANDBY_WAIT):
        log.info("database-recovering system-id=%d waited=%.0f", control.system_id, STANDBY_WAIT)
        return
    if order.upstream is not None and not await streams_within(site, STREAM_WAIT):
        await compare_with(site, order.upstream, order.terms)
        await point(site, order.upstream, order.terms)


async def start_primary(site: Site, order: StartPrimary) -> Opened:
    """Start on the timeline that is there, out of recovery."""
    control = await site.control()
    await site.server.end_leftovers()
    site.note_reign(control.system_id, order.reign)
    site.directory.mark(standby=False)
    site.least = ()
    if not await _started(site, order.terms, None, ANSWER_WAIT):
        raise PostgresFailed(
            f"the primary does not answer after {ANSWER_WAIT:g} seconds: it may still be recovering", passing=True
        )
    return await _opened(site)


async def restart(site: Site, order: Restart) -> None:
    """Stop cleanly and start again; a server that its settings would keep from starting goes on as it is."""
    upstream, newest = order.upstream, await site.newest(order.terms)
    said = await complaints(site, await site.settings(newest, upstream))
    if said:
        site.refused = (newest.version, "; ".join(said))
        log.error("database-not-restarted version=%d reason=%s", newest.version, site.refused[1])
        return
    await stop(site, fast=True)
    if order.reign:
        await start_primary(site, StartPrimary(order.reign, order.terms))
    else:
        await start_standby(site, StartStandby(upstream, order.terms))


async def _started(site: Site, terms: Terms, upstream: Address | None, limit: float) -> bool:
    """Start; True when the server answers in time, False when it still recovers.

    Where it does not start with parameters that are new here, it starts with those it had before: a wrong
    value must cost no database, whoever restarts when. Raises when it does not start with these either.
    """
    newest, proven = await site.newest(terms), site.proven
    known = site.refused[1] if site.refused[0] == newest.version else ""
    if not known or proven is None:
        try:
            await _start(site, terms, upstream)
            answered = await answers_within(site, limit)
        except PostgresFailed as failure:
            if proven is None or proven.parameters == site.parameters:
                raise
            known = "; ".join(await complaints(site, await site.settings(newest, upstream))) or str(failure)
        else:
            if answered:
                site.note_started()
            return answered
    await _start(site, terms, upstream, proven.parameters)
    answered = await answers_within(site, limit)
    site.refused = (newest.version, known)
    log.error("database-parameters-refused version=%d kept=%d reason=%s", newest.version, proven.version, known)
    if answered:
        # What needs no restart holds nevertheless, and the rest is seen to wait.
        await site.configure(terms, upstream)
        site.server.reload()
    return answered


async def _start(
    site: Site, terms: Terms, upstream: Address | None, parameters: Mapping[str, str] | None = None
) -> None:
    for name in site.directory.withdraw_altered():
        log.warning("database-altered setting=%s hint=taken back, the daemon decides it", name)
    withdraw(site.directory.path)
    await withdraw_newer(site)
    if site.directory.close_to_others():
        log.warning("database-directory-closed path=%s hint=others could write or read it", site.directory.path)
    site.prepare_socket_dir()
    site.position_final = False
    await site.configure(terms, upstream, parameters)
    site.started = terms.restart
    await site.server.start()


async def answers_within(site: Site, limit: float) -> bool:
    """Whether the server answers in time; raises when it ends instead."""
    gone = site.server.gone
    site.awaited = True
    try:
        async with asyncio.timeout(limit):
            while not gone.done():
                if site.server.status == "ready" and await _answers(site):
                    site.served = True
                    return True
                await asyncio.wait([gone], timeout=PAUSE)
    except TimeoutError:
        return False
    finally:
        site.awaited = False
    raise PostgresFailed(
        f"the server ended with code {gone.result()} instead of starting: its log says why"
    )


async def _answers(site: Site) -> bool:
    try:
        await site.session.row("SELECT 1")
    except PostgresFailed:
        return False
    return True


async def promote(site: Site, order: Promote) -> Opened:
    """Leave recovery on a new timeline."""
    state = await site.session.row(STATE)
    if not state["in_recovery"]:
        raise PostgresFailed("the server is a primary already: it is not promoted again")
    if state["conninfo"] or receiver_of(site, state) != "none":
        raise PostgresFailed("the standby still has an upstream: it is detached before it is promoted")
    site.note_reign(state["system_id"], order.reign)
    await site.configure(order.terms, None)
    site.server.reload()
    try:
        async with asyncio.timeout(PROMOTE_LIMIT):
            while await names_in_force(site) != order.terms.synchronous:
                await asyncio.sleep(PAUSE / 4)  # before the first client, or it would be told too early (I9)
            await asyncio.to_thread(reserve, site.directory.path, state["control_timeline"], order.timeline)
            await site.session.rows("SELECT pg_promote(false)")
            while not await _left_recovery(site):
                await asyncio.sleep(PAUSE / 4)
    except TimeoutError:
        await _revoke(site)
        raise PostgresFailed(f"the promotion did not end within {PROMOTE_LIMIT:g} seconds") from None
    except asyncio.CancelledError:
        await _revoke(site)
        raise
    opened = await _opened(site)
    if opened.timeline < order.timeline:
        log.error("promotion-elsewhere timeline=%d wanted=%d hint=another server may have begun one of this number",
                  opened.timeline, order.timeline)  # fmt: skip
    if site.archiving.keeps_reserved:
        await asyncio.to_thread(have_archived, site.directory.path)
    return opened


async def _revoke(site: Site) -> None:
    """What was told to become a primary cannot be told otherwise, and would while nobody expects it."""
    log.warning("promotion-revoked pid=%s hint=the server is ended, it would still leave recovery", site.server.pid)
    await finished(stop(site, fast=False))


async def _left_recovery(site: Site) -> bool:
    """A promotion goes on while the server is too busy to answer; only its end is a failure."""
    try:
        return not (await site.session.row(STATE))["in_recovery"]
    except PostgresFailed:
        if site.server.pid is None:
            raise
        return False


async def _opened(site: Site) -> Opened:
    state = await site.session.row(STATE)
    if state["in_recovery"]:
        raise PostgresFailed("the server is in recovery and not a primary")
    position, _ = position_in(state)
    assert position is not None
    return Opened(timeline_in(site, state), position)


async def checkpoint(site: Site) -> None:
    """Write what is in memory, on a session of its own: looks go on meanwhile."""
    session = Session(site.database.socket_dir, site.database.port, site.database.superuser)
    try:
        await session.rows("CHECKPOINT", limit=CHECKPOINT_LIMIT)
    finally:
        session.drop()


async def stop(site: Site, *, fast: bool, force: bool = False) -> None:
    """Stop the server, if one runs; by ``force`` one that would not hear."""
    site.session.drop()
    if force:
        site.server.stopping = True
        await site.server.kill()
    else:
        await site.server.stop(fast=fast)
