"""Clone the upstream; rewind to it.

It must not know whether that is wanted: only that it is possible without losing the last copy.
What is here is given up when the new content is whole, and only for a copy of the same database.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from qluster.database.orders import Clone, Rewind
from qluster.database.reach import parted_at
from qluster.database.settings import settings_text
from qluster.database.wal import Course, compare
from qluster.database.ways import way_to
from qluster.edge.postgres.directory import STANDBY_SIGNAL
from qluster.edge.postgres.failure import PostgresFailed
from qluster.edge.postgres.parting import went_on
from qluster.edge.postgres.progress import watch_copy
from qluster.edge.postgres.record import Record, write_durably
from qluster.edge.postgres.remotes import (
    await_primary,
    check_replica,
    check_same_database,
    read_course,
    upstream_session,
)
from qluster.edge.postgres.replacing import take_place
from qluster.edge.postgres.reserving import forget_timelines, withdraw
from qluster.edge.postgres.session import Remote
from qluster.edge.postgres.site import Site
from qluster.edge.postgres.slotting import claim_slot
from qluster.edge.postgres.starting import ANSWER_WAIT, answers_within, stop
from qluster.edge.process import CommandFailed, Ended, run
from qluster.events import Address

log = logging.getLogger(__name__)

CLONE_LIMIT = 24 * 3600.0
"""Seconds for a copy: ten terabytes at 120 MB/s."""
REWIND_LIMIT = 4 * 3600.0
"""Seconds for a rewind: it reads both file lists and copies what changed."""
CHECKPOINT_LIMIT = 600.0
"""Seconds for the upstream's checkpoint, on which the rewind depends."""
ARCHIVE_LIMIT = 60.0
"""Seconds to save one WAL file that the rewind would remove."""
SYNC_METHOD_VERSION = 17
"""First version whose programs can flush a file system at once."""
ARCHIVING_VERSION = 15
"""First version whose rewind can be told which configuration names the archive."""


async def clone(site: Site, order: Clone) -> None:
    """Copy the upstream, or a replica of it, into staging, and let the copy take the place of what is here."""
    name = way_to(site.database, order.upstream, order.terms).slot
    async with upstream_session(site, order.upstream, order.terms) as connection:
        await check_same_database(connection, order.system_id, order.terms)
        await stop(site, fast=True)
        # After the stop: what was here has confirmed nothing beyond it.
        course = await read_course(connection)
        owed = _owed(connection, course, order)
        # Before the copy begins: what is written meanwhile is kept until this node follows.
        site.slotless = not await claim_slot(connection, name)
    source, slot = order.upstream, "" if site.slotless else name
    if order.source is not None:
        source = order.source
        async with upstream_session(site, source, order.terms) as connection:
            await check_replica(connection, order.system_id, course)
            slot = name if await claim_slot(connection, name) else ""
    staging = site.directory.prepare_staging()
    await _copy(site, order, source, slot, staging)
    control = await site.control(staging)
    if order.system_id is not None and control.system_id != order.system_id:
        raise PostgresFailed(
            f"the copy has system id {control.system_id}, this cluster's database has {order.system_id}"
        )
    (staging / STANDBY_SIGNAL).touch(mode=0o600)
    await take_place(site, Record(system_id=control.system_id, fresh=order.system_id is None, owed=owed))
    site.standing = ""
    site.forget_crashes()
    log.info("database-cloned from=%s:%d system-id=%d", *source, control.system_id)


def _owed(connection: Remote, course: Course, order: Clone | Rewind) -> tuple[int, int] | None:
    """Up to where this node may have confirmed WAL to the primary; nothing is confirmed to one outside."""
    if order.terms.outside is not None:
        return None
    if course.recovering:
        raise PostgresFailed(f"the database at {connection.where} is not the primary any more", passing=True)
    return course.timeline, course.position


async def _copy(site: Site, order: Clone, source: Address, slot: str, staging: Path) -> None:
    """Run the database's own program, which verifies the checksum of each page that it copies."""
    site.configure_secrets()
    way = way_to(site.database, source, order.terms)
    arguments = [
        "--pgdata", str(staging),
        "--dbname", way.connection_text(site.pass_file, "-clone"),
        "--wal-method=stream",
        "--checkpoint=fast",
        "--no-password",
        f"--slot={slot}" if slot else "--no-slot",
    ]  # fmt: skip
    if site.database.clone_rate:
        arguments.append(f"--max-rate={site.database.clone_rate // 1024}k")
    arguments += await _sync_arguments(site)
    watching = asyncio.create_task(watch_copy(site, source, order.terms, f"{way.name}-clone"))
    try:
        await site.programs.check("pg_basebackup", arguments, time_limit=CLONE_LIMIT)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        site.copying = (None, None)


async def _sync_arguments(site: Site) -> list[str]:
    """Flush the whole file system at the end: file by file a rewind takes 12 s on a busy disk, and 1 s so."""
    if await site.programs.major() >= SYNC_METHOD_VERSION and await site.programs.syncs_file_systems():
        return ["--sync-method=syncfs"]
    return []


async def rewind(site: Site, order: Rewind) -> int:
    """Take back what the upstream does not have: so many bytes of WAL."""
    way = way_to(site.database, order.upstream, order.terms)
    async with upstream_session(site, order.upstream, order.terms) as connection:
        await await_primary(connection, order.system_id, order.terms)
        site.slotless = not await claim_slot(connection, way.slot)
        if await went_on(site, connection):
            await _save_segments(site)
            _become_standby(site, order, site.record.owed)
            log.info("database-rejoins upstream=%s:%d rewind=not-needed", *order.upstream)
            return 0
        # Before its first checkpoint a new primary's control file names the old timeline, and a
        # rewind would see nothing to do.
        await connection.row("CHECKPOINT", limit=CHECKPOINT_LIMIT)
        course = await read_course(connection)
        owed = _owed(connection, course, order)
    await _stop_cleanly(site, order)
    end = (await site.control()).position
    await _save_segments(site)
    site.configure_secrets()
    arguments = [
        "--target-pgdata", str(site.directory.path),
        "--source-server", way.connection_text(site.pass_file, "-rewind") + " dbname=postgres",
        *await _archive_arguments(site, order.system_id),
        *await _sync_arguments(site),
    ]  # fmt: skip
    # The trial finds out whether all that is needed is there, and changes nothing.
    trial = await site.programs.check("pg_rewind", ["--dry-run", *arguments], time_limit=REWIND_LIMIT)
    _check_reachable(site, trial, course)
    site.note_phase("rewind")
    ended = await site.programs.check("pg_rewind", arguments, time_limit=REWIND_LIMIT)
    forget_timelines(site.directory.path, {course.timeline, *(fork.timeline for fork in course.history)})
    _become_standby(site, order, owed)
    left = given_up(ended.complaint, end)
    log.info("database-rewound to=%s:%d left-bytes=%d said=%s", *order.upstream, left, ended.complaint)
    return left


def _become_standby(site: Site, order: Rewind, owed: tuple[int, int] | None) -> None:
    site.directory.mark(standby=True)
    site.remember(Record(system_id=order.system_id, owed=owed))
    site.standing = ""


def _check_reachable(site: Site, trial: Ended, course: Course) -> None:
    """An upstream that is itself a fresh copy may not have what follows where both parted."""
    parted = parted_at(trial.output + trial.errors)
    if parted is not None and compare(*parted, course) == "outrun":
        site.standing = "outrun"
        raise PostgresFailed(
            f"both parted at timeline {parted[0]}, position {parted[1]}, and the upstream has WAL from "
            f"{course.oldest} on only: a rewind would leave a database that never becomes consistent",
            passing=True,
        )


def given_up(said: str, end: int) -> int:
    """Bytes of WAL between the place where both parted, as pg_rewind says it, and the end of what was here."""
    parted = parted_at(said)
    return max(0, end - parted[1]) if parted else 0


async def _stop_cleanly(site: Site, order: Rewind) -> None:
    """A rewind needs a directory that was shut down in order: recovery in between, as a standby."""
    await stop(site, fast=True)
    control = await site.control()
    if control.clean:
        return
    site.least = control.least
    site.directory.withdraw_altered()
    withdraw(site.directory.path)
    site.directory.mark(standby=True)
    site.prepare_socket_dir()
    await site.configure(order.terms, None)
    await site.server.start()
    answered = await answers_within(site, ANSWER_WAIT * 4)
    await stop(site, fast=True)
    if not answered or not (await site.control()).clean:
        raise PostgresFailed("the database here cannot be brought to a clean stop, which a rewind needs")


async def _save_segments(site: Site) -> None:
    """A rewind removes WAL files that the upstream does not have, also those not yet archived."""
    system_id = (await site.control()).system_id
    for segment in site.directory.waiting_segments():
        if not site.archiving.on or not segment.exists():
            continue
        words = [*site.archiving.push_words(system_id), str(segment), segment.name]
        try:
            ended = await run(
                words,
                environment={"PATH": "/usr/bin:/bin"},
                time_limit=ARCHIVE_LIMIT,
                directory=str(site.directory.path),
            )
        except CommandFailed as failure:
            log.error("wal-not-saved file=%s error=%s", segment.name, failure)
            continue
        if ended.code != 0:
            log.error("wal-not-saved file=%s error=%s", segment.name, ended.complaint)


async def _archive_arguments(site: Site, system_id: int) -> list[str]:
    """Let the rewind read this node's own past from the archive when it is no longer here."""
    if not site.archiving.on or await site.programs.major() < ARCHIVING_VERSION:
        return []
    path = site.state_dir / "rewind.conf"
    settings = {"restore_command": site.archiving.restore_command(system_id)}
    write_durably(path, settings_text(settings).encode())
    return ["--restore-target-wal", f"--config-file={path}"]
