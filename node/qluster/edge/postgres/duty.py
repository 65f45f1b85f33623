"""The schedule of the backups on one host: looks, and takes one when the rule names this node and one is due.

It must not know the rule (``api/backups.py``) nor when one is due (``database/backups.py``). Both the look and the
taking are programs of their own: a file server that hangs must not hang the daemon. They end with it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable
from typing import TypeVar

import msgspec

from qluster.api.backups import alone, taker
from qluster.api.shapes import Whole
from qluster.archived import BackupEntry, BackupsStatus
from qluster.config import Config
from qluster.database.backups import due
from qluster.edge import clock
from qluster.edge.postgres.plain_repository import TAKE_LIMIT
from qluster.edge.postgres.programs import tie_words
from qluster.edge.postgres.surveying import Survey, Taken
from qluster.edge.process import CommandFailed, run

log = logging.getLogger(__name__)

LOOK_INTERVAL = 60.0
"""Seconds between two looks: what they show are ages of minutes and hours."""
FIRST_LOOK = 5.0
"""Seconds after the start, and after a look that failed for a database that is not there yet."""
LOOK_LIMIT = 300.0
"""Seconds for a look: a directory of a hundred thousand names on a file server takes one or two minutes."""
REPLICA_WAIT = 600.0
"""Seconds for which a primary waits for a replica to stream before it takes a backup that is due itself."""
OUTPUT_MAX = 16 << 20
"""Bytes of an answer: ten thousand backups have five million."""
SHOWN_MAX = 100
"""Backups that the status shows, the newest."""

Answer = TypeVar("Answer", Survey, Taken)


class BackupDuty:
    """One host's part in the backups."""

    def __init__(self, config: Config, file: str, whole: Callable[[], Whole | None]) -> None:
        """``file`` is the configuration's, for the programs; ``whole`` is what the node sees of its cluster."""
        assert config.backup is not None
        self._settings = config.backup
        self._from_replicas = config.backup.from_replicas
        self._file = file
        self._whole = whole
        self._survey: Survey | None = None
        self._error = ""
        self._taking: asyncio.Task[None] | None = None
        self._primary_since: float | None = None

    async def run(self) -> None:
        """Look again and again; cancelled at the end of the daemon."""
        try:
            await asyncio.sleep(FIRST_LOOK)
            while True:
                await self._look()
                self._begin()
                await asyncio.sleep(LOOK_INTERVAL if not self._error else FIRST_LOOK * 2)
        finally:
            if self._taking is not None:
                self._taking.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._taking

    async def _look(self) -> None:
        try:
            survey = await self._ask(["backups", "--json"], Survey, LOOK_LIMIT)
        except CommandFailed as failure:
            if str(failure) != self._error:
                log.warning("backups-not-seen %s", failure)
            self._error = str(failure)
            return
        faults = survey.completeness.faults
        if faults and (self._survey is None or faults != self._survey.completeness.faults):
            log.error("archive-incomplete %s", "; ".join(faults))
        self._survey, self._error = survey, ""

    def _begin(self) -> None:
        """Begin a backup when this node is the one and it is time."""
        survey, whole = self._survey, self._whole()
        part = "" if whole is None else self._part(whole, clock.monotonic())
        if self._taking is not None or self._error or survey is None or not part:
            return
        if due(survey.shelf, self._settings.interval, clock.wall(), primary=self._stands_in(part)):
            log.info("backup-begun as=%s", part)
            self._taking = asyncio.create_task(self._take(part))

    def _part(self, whole: Whole, now: float) -> str:
        """As what this node would take a backup; "" when another one does."""
        me = whole.own.node
        if me is None or taker(whole, from_replicas=self._from_replicas) != me:
            self._primary_since = None
            return ""
        if any(node.node == me and node.primary for node in whole.nodes):
            self._primary_since = self._primary_since if self._primary_since is not None else now
            waited = not self._from_replicas or now - self._primary_since >= REPLICA_WAIT
            return "primary" if alone(whole) or waited else ""
        self._primary_since = None
        return "replica"

    def _stands_in(self, part: str) -> bool:
        """Whether it is taken here only because no replica does."""
        return part == "primary" and self._from_replicas

    async def _take(self, part: str) -> None:
        role = "primary" if self._stands_in(part) else "replica"
        try:
            taken = await self._ask(["backup", "--if-due", role, "--json"], Taken, TAKE_LIMIT)
        except CommandFailed as failure:
            log.error("backup-failed %s", failure)
        else:
            self._survey = taken.survey or self._survey
            if taken.taken is not None:
                log.info("backup-taken label=%s bytes=%d expired=%s wal-removed=%d", taken.taken.label,
                         taken.taken.size, ",".join(taken.expired) or "none", taken.wal_removed)  # fmt: skip
        finally:
            self._taking = None

    async def _ask(self, words: list[str], form: type[Answer], limit: float) -> Answer:
        """Run one of our own commands; raises :class:`CommandFailed` with what it said."""
        # As this daemon was started: its own folders, and nothing of the host's packages.
        environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PATH": "/usr/bin:/bin",
                       "LC_ALL": "C.UTF-8"}  # fmt: skip
        program = [*tie_words(), sys.executable, "-S", "-s", "-m", "qluster", "--config", self._file, *words]
        ended = await run(program, environment=environment, time_limit=limit, output_limit=OUTPUT_MAX, directory="/")
        if ended.code != 0:
            raise CommandFailed(ended.complaint)
        try:
            return msgspec.json.decode(ended.output.encode(), type=form)
        except msgspec.MsgspecError as error:
            raise CommandFailed(f"{words[0]} answered what is not understood ({error})") from error

    # --- what is shown ---

    def status(self) -> BackupsStatus:
        """What was last seen, with ages as of now."""
        survey, now = self._survey, clock.wall()
        taking = self._taking is not None
        if survey is None:
            return BackupsStatus(error=self._error, taking=taking)
        shelf, archive = survey.shelf, survey.completeness

        def ago(at: float) -> float:
            return max(now - at, 0.0)

        failure = shelf.failure
        return BackupsStatus(
            looked_ago=ago(survey.at),
            error=self._error,
            taking=taking,
            count=len(shelf.backups),
            newest_age=ago(shelf.newest.ended) if shelf.newest else None,
            backups=tuple(
                BackupEntry(
                    label=each.label, node=each.node, timeline=each.timeline, start=each.start, stop=each.stop,
                    age=ago(each.ended), took=each.ended - each.began, size=each.size,
                    usable=each.label not in archive.aside, kind=each.kind,
                )
                for each in shelf.backups[-SHOWN_MAX:]
            ),
            broken=shelf.broken,
            failed_ago=ago(failure.at) if failure else None,
            failure=f"{failure.node}: {failure.error}" if failure else "",
            archive_complete=archive.complete,
            archive_faults=tuple(archive.faults),
            archive_newest=archive.newest,
            archive_reaches=archive.reaches,
            archive_age=ago(archive.written) if archive.written else None,
            waiting_files=survey.waiting,
            waiting_bytes=survey.waiting * survey.segment_size,
        )  # fmt: skip
