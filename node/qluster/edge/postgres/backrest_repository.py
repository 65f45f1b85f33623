"""Backups and archive in a repository of pgBackRest.

It must not know when a backup is wanted, nor what a recovery does with one.

What pgBackRest does not know of is beside its configuration file on this host: the last failure here, and whether
the stanza was ever seen. In a file system a lock keeps two hosts from taking a backup at the same time; for an
object store there is none, so only the rule of who takes it does.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from qluster.config import Backup as Settings
from qluster.config import Database
from qluster.database import backrest, backups
from qluster.database.archive import Completeness
from qluster.database.backups import Backup, Failure, Shelf
from qluster.database.settings import restore_command
from qluster.database.wal import Control
from qluster.edge import clock
from qluster.edge.postgres.archiving import BACKREST_WORDS
from qluster.edge.postgres.backrest import BackRest, Primary
from qluster.edge.postgres.failure import PostgresFailed
from qluster.edge.postgres.locking import locked
from qluster.edge.postgres.plain_repository import TAKE_LIMIT
from qluster.edge.postgres.programs import Programs
from qluster.edge.postgres.record import write_durably
from qluster.edge.postgres.repository import RepositoryBusy, RepositoryFailed

LIST_LIMIT = 300.0
"""Seconds to list the archive: an object store gives a thousand names a request."""
VERIFY_LIMIT = 24 * 3600.0
"""Seconds to read a whole repository of ten terabytes."""
EXPIRE_LIMIT = 4 * 3600.0

Answer = TypeVar("Answer")


class BackRestRepository:
    """One database's backups, kept by pgBackRest."""

    def __init__(
        self, settings: Settings, database: Database, system_id: int, *, state_dir: str, node: str = "",
        primary: Callable[[], Awaitable[Primary]] | None = None, stanza: str = "", directory: str = "",
    ) -> None:  # fmt: skip
        """``primary`` finds the server that the one here follows; ``stanza`` and ``directory`` are others than
        the cluster's own, to read from; ``node`` is who takes one."""
        self._settings = settings
        self._database = database
        self._system_id = system_id
        self._node = node
        self._primary = primary
        self._rest = BackRest(settings, database, state_dir, system_id, stanza=stanza, repository=directory)
        self._failed = Path(f"{self._rest.file}.failure.json")
        self._verified: str | None = None

    @property
    def system_id(self) -> int:
        """The database whose backups these are."""
        return self._system_id

    # --- looking ---

    async def _stanza(self) -> backrest.Stanza | None:
        """What there is of this database; None when it was never made."""
        found = await _info(self._rest)
        if found is None and self._rest.seen:
            raise RepositoryFailed(
                f"the stanza {self._rest.stanza} was in the repository and is there no more: mount the repository, or, "
                f"when it was given up, remove {self._rest.file}.seen"
            )
        if found is not None:
            self._rest.note_seen()
        return found

    async def shelf(self) -> Shelf:
        """What lies there."""
        stanza = await self._stanza()
        failure = self._failure()
        return stanza.shelf(self._system_id, failure) if stanza else Shelf(failure=failure)

    def _failure(self) -> Failure | None:
        try:
            return msgspec.json.decode(self._failed.read_bytes(), type=Failure)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            return Failure(at=0, node="", error=f"{self._failed} cannot be read: {error}")

    async def completeness(self, shelf: Shelf) -> Completeness:
        """Whether the archive has what the backups need."""
        stanza = await self._stanza()
        listing, history = backrest.Listing(times={}, twice=()), ""
        for folder in stanza.archives(self._system_id) if stanza else ():
            path = f"archive/{self._rest.stanza}/{folder}"
            listed = await self._rest.run(
                "repo-ls", "--recurse", "--output=json", path, limit=LIST_LIMIT, stanza=False
            )
            listing = _understood(backrest.listing_of, listed)
            if listing.newest_history:
                history = await self._rest.run("repo-get", f"{path}/{listing.newest_history}", stanza=False)
        size = shelf.newest.segment_size if shelf.newest else backrest.SEGMENT_SIZE_USUAL
        return backrest.completeness(listing, history, shelf, size)

    async def check(self, backup: Backup) -> list[str]:
        """Read all of the repository, once; what is wrong with this backup, or with the WAL."""
        if self._verified is None:
            self._verified = await self._rest.run("verify", "--output=text", "--verbose", limit=VERIFY_LIMIT)
        return backrest.verified(self._verified, backup.label)

    # --- taking ---

    async def take(self) -> Backup:
        """Take one; what was begun and not ended is no backup, and goes with the next one."""
        await self._rest.check_version()
        with self._alone():
            began = clock.wall()
            try:
                return await self._take(began)
            except (PostgresFailed, RepositoryFailed, OSError, asyncio.CancelledError) as error:
                if isinstance(error, RepositoryBusy):
                    raise
                self._remember(began, str(error) or "it was interrupted")
                if isinstance(error, asyncio.CancelledError):
                    raise
                raise RepositoryFailed(f"the backup failed: {error}") from error

    async def _take(self, began: float) -> Backup:
        control = await Programs(self._database).control(Path(self._database.data_dir))
        if control.system_id != self._system_id:
            raise PostgresFailed(f"the database here has system id {control.system_id}, not {self._system_id}")
        standby = await self._way(control)
        stanza = await self._own_stanza()
        shelf = stanza.shelf(self._system_id)
        aside = (await self.completeness(shelf)).aside
        kind = backups.kind_due(shelf, self._settings.full_interval, self._settings.increment, began, aside)
        notes = [f"--annotation={backrest.NODE}={self._node}",
                 f"--annotation={backrest.SEGMENT_SIZE}={control.segment_size}"]  # fmt: skip
        await self._rest.run("backup", f"--type={kind}", *standby, *notes, limit=TAKE_LIMIT)
        taken = (await self.shelf()).newest
        if taken is None or taken.ended < began - 1:
            raise RepositoryFailed("pgBackRest says that it took a backup, and does not list it")
        self._failed.unlink(missing_ok=True)
        return taken

    async def _way(self, control: Control) -> list[str]:
        """Words for a backup of a standby; none for that of a primary."""
        if control.state != "in archive recovery" or self._primary is None:
            return []
        if not self._settings.from_replicas:
            raise RepositoryFailed(
                "the database here is a replica, and pgBackRest has no way to the primary's host: take the backup on "
                "the primary, or give backup.pgbackrest options of the way, such as pg2-host-type"
            )
        return self._rest.way_to(await self._primary())

    async def _own_stanza(self) -> backrest.Stanza:
        """The stanza, made when it was never there; one of another database is left alone."""
        stanza = await self._stanza()
        if stanza is None:
            self._require_directory()
            await self._rest.run("stanza-create", "--no-online")
            stanza = await self._stanza()
        if stanza is None or stanza.current is None:
            raise RepositoryFailed(f"pgBackRest made the stanza {self._rest.stanza}, and does not list it")
        if stanza.current != self._system_id:
            raise RepositoryFailed(
                f"the stanza {self._rest.stanza} belongs to the database with system id {stanza.current}, and the one "
                f"here has {self._system_id}. {backrest.REMEDIES[44]}"
            )
        return stanza

    async def upgrade(self) -> None:
        """Let the stanza belong to the database here, beside the one before: after an upgrade to a new version."""
        if await self._stanza() is None:
            raise RepositoryFailed(f"there is no stanza {self._rest.stanza} to upgrade")
        await self._rest.run("stanza-upgrade", "--no-online")

    def _require_directory(self) -> None:
        directory = self._rest.directory
        if directory and not os.path.isdir(directory):
            raise RepositoryFailed(f"the repository's directory {directory} is not there: mount or create it")

    def _alone(self) -> contextlib.AbstractContextManager[None]:
        self._require_directory()
        directory = self._rest.directory
        if not directory:
            return contextlib.nullcontext()
        return locked(Path(directory) / f".{re.sub(r'[^A-Za-z0-9]', '_', self._rest.stanza)}.lock")

    def _remember(self, at: float, error: str) -> None:
        with contextlib.suppress(OSError):  # the disk may be what failed: the caller hears of it anyway
            failure = Failure(at=at, node=self._node, error=error[:1000])
            write_durably(self._failed, msgspec.json.encode(failure), 0o640)

    # --- removing ---

    async def expire(self, shelf: Shelf) -> tuple[list[str], int]:
        """Remove backups that are kept no longer, then the WAL that only they needed."""
        with self._alone():
            before = await self.completeness(shelf)
            settings = self._settings
            gone = backups.expired(shelf.backups, settings.keep, settings.keep_for, clock.wall(), set(before.aside))
            removed = []
            for backup in backrest.in_order_of_removal(gone):
                await self._rest.run("expire", f"--set={backup.label}", limit=EXPIRE_LIMIT)
                removed.append(backup.label)
            stanza = await self._stanza()
            if stanza is None or not stanza.full:
                return [], 0
            # With as many as there are it removes the WAL before the oldest of them, and nothing else.
            await self._rest.run("expire", f"--repo1-retention-archive={stanza.full}", limit=EXPIRE_LIMIT)
            after = await self.completeness(await self.shelf())
            return sorted(removed), max(0, before.segments - after.segments)

    # --- restoring ---

    async def unpack(self, backup: Backup, staging: Path) -> None:
        """Put it into an empty directory; pgBackRest compares each file with its checksum."""
        await self._rest.check_version()
        await self._rest.run(
            "restore", f"--set={backup.label}", f"--pg1-path={staging}", "--type=none", limit=TAKE_LIMIT
        )

    def restore_command(self) -> str:
        """How a recovery gets archived WAL."""
        return restore_command(
            [*BACKREST_WORDS, "get", self._settings.program, str(self._rest.file), self._rest.stanza]
        )


async def known_stanzas(
    settings: Settings, database: Database, state_dir: str, *, stanza: str = "", directory: str = ""
) -> dict[int, str]:
    """Databases that have backups in the repository: system id → stanza."""
    rest = BackRest(settings, database, state_dir, 0, stanza=stanza or settings.stanza or "", repository=directory)
    text = await rest.run("info", "--output=json", stanza=False)
    found = _understood(backrest.stanzas_of, text)
    wanted = stanza or settings.stanza
    return {number: each.name for each in found if wanted in (None, "", each.name) for number in each.known()}


async def _info(rest: BackRest) -> backrest.Stanza | None:
    found = _understood(backrest.stanzas_of, await rest.run("info", "--output=json"))
    mine = next((stanza for stanza in found if stanza.name == rest.stanza), None)
    if mine is None or not mine.there:
        return None
    if mine.status.code > 6:
        raise RepositoryFailed(f"the repository cannot be read: {mine.status.message}")
    return mine


def _understood(read: Callable[[str], Answer], text: str) -> Answer:
    try:
        return read(text)
    except ValueError as error:
        raise RepositoryFailed(f"pgBackRest: {error}") from None
