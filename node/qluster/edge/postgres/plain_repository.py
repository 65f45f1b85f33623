"""Backups in a directory that the nodes share: tar files of ``pg_basebackup`` beside the plain archive of WAL.

It must not know when a backup is wanted, nor what a recovery does with one.

``<dir>/<system id>/<label>/`` is a backup when it has its note, which is written last; what is being written
stands under a name with a dot and is taken away by the next one. One backup is taken at a time: a lock file in
the repository, held by the kernel (or the file server) for as long as the process lives.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from qluster.config import Backup as Settings
from qluster.config import Database
from qluster.database import archive, backups
from qluster.database.archive import Completeness
from qluster.database.backups import Backup, Failure, Shelf
from qluster.database.settings import conninfo_text, restore_command
from qluster.edge import clock
from qluster.edge.postgres import unpacking
from qluster.edge.postgres.archiving import UNARCHIVE_WORDS
from qluster.edge.postgres.failure import PostgresFailed
from qluster.edge.postgres.locking import locked
from qluster.edge.postgres.programs import Programs
from qluster.edge.postgres.record import sync_directory, write_durably
from qluster.edge.postgres.repository import RepositoryFailed

NOTE = "qluster-backup.json"
FAILURE = "last-failure.json"
LOCK = ".lock"
PART = ".part-"
GOING = ".going-"
"""What is being removed: no backup any more, whatever of it is still there."""
LABEL = re.compile(r"[0-9]{8}T[0-9]{6}Z")
HISTORY_SIZE_MAX = 1 << 20
"""Bytes of a history file; a line for each of some ten thousand timelines."""
LABELS_TRIED = 60
"""Seconds after its begin that a backup may be named by: nobody takes one a second for longer."""
TAKE_LIMIT = 48 * 3600.0
"""Seconds for a backup: twice what a copy of ten terabytes may take, because it is compressed."""


class PlainRepository:
    """One database's backups in a directory."""

    def __init__(
        self, settings: Settings, database: Database, system_id: int, *, base: str = "", wal: str = "", node: str = ""
    ) -> None:
        """``base`` and ``wal`` are other places than the cluster's own, to read from; ``node`` is who takes one."""
        self._settings = settings
        self._database = database
        self._programs = Programs(database)
        self._system_id = system_id
        self._base = Path(base or settings.dir)
        self._path = self._base / str(system_id)
        self._wal = Path(wal or database.wal_archive_dir) / str(system_id)
        self._node = node

    @property
    def system_id(self) -> int:
        """The database whose backups these are."""
        return self._system_id

    # --- looking ---

    async def shelf(self) -> Shelf:
        """What lies there."""
        return await asyncio.to_thread(self._shelf)

    def _shelf(self) -> Shelf:
        self._require_base()
        found: list[Backup] = []
        broken: list[str] = []
        for path in sorted(self._path.iterdir()) if self._path.is_dir() else ():
            if LABEL.fullmatch(path.name) is None:
                continue
            try:
                backup = msgspec.json.decode((path / NOTE).read_bytes(), type=Backup)
                if (backup.label, backup.system_id) != (path.name, self._system_id):
                    raise ValueError(f"its note is that of {backup.system_id}/{backup.label}")
                found.append(backup)
            except (OSError, ValueError) as error:
                broken.append(f"{path} is no whole backup: {error}")
        return Shelf(backups=tuple(sorted(found, key=lambda each: each.ended)), failure=self._failure(),
                     broken=tuple(broken))  # fmt: skip

    def _failure(self) -> Failure | None:
        try:
            return msgspec.json.decode((self._path / FAILURE).read_bytes(), type=Failure)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            return Failure(at=0, node="", error=f"{self._path / FAILURE} cannot be read: {error}")

    async def completeness(self, shelf: Shelf) -> Completeness:
        """Whether the archive has what the backups need."""
        return await asyncio.to_thread(self._completeness, shelf)

    def _completeness(self, shelf: Shelf) -> Completeness:
        files: dict[str, int] = {}
        histories: dict[str, str] = {}
        if not self._wal.parent.is_dir():
            raise RepositoryFailed(f"the archive {self._wal.parent} is not there: mount or create it")
        for entry in os.scandir(self._wal) if self._wal.is_dir() else ():
            if entry.name.startswith("."):
                continue
            with contextlib.suppress(FileNotFoundError):
                files[entry.name] = entry.stat().st_size
            if entry.name.endswith(".history") and files.get(entry.name, 0) <= HISTORY_SIZE_MAX:
                histories[entry.name] = Path(entry.path).read_text(encoding="ascii", errors="replace")
        size = shelf.newest.segment_size if shelf.newest else max(files.values(), default=1)
        found = archive.examine(files, histories, shelf.backups, size)
        if found.newest not in files:
            return found
        return msgspec.structs.replace(found, written=(self._wal / found.newest).stat().st_mtime)

    async def check(self, backup: Backup) -> list[str]:
        """Read all of it."""
        return await asyncio.to_thread(unpacking.check, self._path / backup.label)

    # --- taking ---

    def _free_label(self, began: float) -> str:
        """Of the second in which it began, or of one soon after it, when backups follow each other at once."""
        moments = (datetime.fromtimestamp(began + later, UTC) for later in range(LABELS_TRIED))
        labels = [moment.strftime("%Y%m%dT%H%M%SZ") for moment in moments]
        for label in labels:
            if not (self._path / label).exists():
                return label
        raise RepositoryFailed(f"{self._path / labels[0]} and those after it are there: is this host's clock right?")

    async def take(self) -> Backup:
        """Take one; its place is free of what an earlier attempt left."""
        self._require_base()
        self._path.mkdir(mode=0o750, exist_ok=True)
        with self._locked():
            await asyncio.to_thread(self._clear)
            began = clock.wall()
            label = self._free_label(began)
            part = self._path / f"{PART}{label}"
            try:
                backup = await self._write(part, label, began)
            except (PostgresFailed, unpacking.BackupUnusable, OSError, asyncio.CancelledError) as error:
                await asyncio.to_thread(shutil.rmtree, part, ignore_errors=True)
                self._remember(began, str(error) or "it was interrupted")
                if isinstance(error, asyncio.CancelledError):
                    raise
                raise RepositoryFailed(f"the backup failed: {error}") from error
            os.rename(part, self._path / label)
            (self._path / FAILURE).unlink(missing_ok=True)
            sync_directory(self._path)
            return backup

    async def _write(self, part: Path, label: str, began: float) -> Backup:
        database, level = self._database, self._settings.compression
        control = await self._programs.control(Path(database.data_dir))
        if control.system_id != self._system_id:
            raise PostgresFailed(f"the database here has system id {control.system_id}, not {self._system_id}")
        source = {"host": database.socket_dir, "port": str(database.port), "user": database.superuser,
                  "application_name": "qluster-backup"}  # fmt: skip
        arguments = [
            "--pgdata", str(part), "--format=tar", "--wal-method=stream", "--checkpoint=fast", "--no-password",
            "--manifest-checksums=SHA256", f"--label=qluster {label}", "--dbname", conninfo_text(source),
            *([f"--compress={level}"] if level else []),
        ]  # fmt: skip
        await self._programs.check("pg_basebackup", arguments, time_limit=TAKE_LIMIT, tied=True)
        manifest = await asyncio.to_thread(unpacking.read_manifest, part)
        backup = Backup(
            label=label, system_id=self._system_id, timeline=manifest.timeline, start=manifest.start,
            stop=manifest.stop, began=began, ended=clock.wall(), size=_size(part), node=self._node,
            version=f"{await self._programs.major()}", segment_size=control.segment_size,
        )  # fmt: skip
        write_durably(part / NOTE, msgspec.json.encode(backup), 0o640)
        return backup

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        return locked(self._path / LOCK)

    def _clear(self) -> None:
        """Remove what a backup or a removal left that did not come to its end; nobody else is at work."""
        for path in self._path.iterdir():
            if path.name.startswith((PART, GOING)):
                shutil.rmtree(path)

    def _remember(self, at: float, error: str) -> None:
        with contextlib.suppress(OSError):  # the repository may be what failed: the caller hears of it anyway
            failure = Failure(at=at, node=self._node, error=error[:1000])
            write_durably(self._path / FAILURE, msgspec.json.encode(failure), 0o640)

    def _require_base(self) -> None:
        if not self._base.is_dir():
            raise RepositoryFailed(f"the backup directory {self._base} is not there: mount or create it")

    # --- removing ---

    async def expire(self, shelf: Shelf) -> tuple[list[str], int]:
        """Remove backups that are kept no longer, then the WAL that only they needed."""
        with self._locked():
            return await asyncio.to_thread(self._expire, shelf)

    def _expire(self, shelf: Shelf) -> tuple[list[str], int]:
        settings = self._settings
        aside = set(self._completeness(shelf).aside)
        gone = backups.expired(shelf.backups, settings.keep, settings.keep_for, clock.wall(), aside)
        kept = [backup for backup in shelf.backups if backup not in gone]
        for backup in gone:
            hidden = self._path / f"{GOING}{backup.label}"
            os.rename(self._path / backup.label, hidden)
            sync_directory(self._path)
            shutil.rmtree(hidden)
        names = [entry.name for entry in os.scandir(self._wal)] if self._wal.is_dir() else []
        # A backup that cannot be read may be one that people will mend: its WAL stays.
        removable = archive.removable(names, kept, kept[-1].segment_size) if kept and not shelf.broken else []
        for name in removable:
            (self._wal / name).unlink(missing_ok=True)
        return [backup.label for backup in gone], len(removable)

    # --- restoring ---

    async def unpack(self, backup: Backup, staging: Path) -> None:
        """Unpack it, each file checked."""
        try:
            await asyncio.to_thread(unpacking.unpack, self._path / backup.label, staging)
        except unpacking.BackupUnusable as error:
            raise RepositoryFailed(f"backup {backup.label}: {error}") from error

    def restore_command(self) -> str:
        """How a recovery gets archived WAL."""
        return restore_command([*UNARCHIVE_WORDS, str(self._wal)])


def known_databases(base: str) -> list[int]:
    """System ids of the databases that have backups in a directory."""
    try:
        names = [path.parent.parent.name for path in Path(base).glob(f"*/*/{NOTE}")]
    except OSError as error:
        raise RepositoryFailed(f"the backup directory {base} cannot be read: {error.strerror or error}") from error
    return sorted({int(name) for name in names if name.isdecimal()})


def _size(path: Path) -> int:
    return sum(each.stat().st_size for each in path.iterdir())
