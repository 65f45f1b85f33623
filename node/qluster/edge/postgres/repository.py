"""What every form of keeping backups can do, as one small interface.

It must not know the forms: ``plain_repository.py`` needs nothing but directories and the database's own programs.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path
from typing import Protocol

from qluster.database.archive import Completeness
from qluster.database.backups import Backup, Shelf


class RepositoryFailed(Exception):
    """The repository cannot do what was asked; the text says why and what to do."""


class RepositoryBusy(RepositoryFailed):
    """Another backup is being taken."""


class Repository(Protocol):
    """The backups and the archived WAL of one database."""

    @property
    def system_id(self) -> int: ...

    async def shelf(self) -> Shelf:
        """What there is."""
        ...

    async def take(self) -> Backup:
        """Take a backup from the server of this host; a half one is left nowhere, a failure is remembered."""
        ...

    async def completeness(self, shelf: Shelf) -> Completeness:
        """Whether the archived WAL has what these backups need."""
        ...

    async def check(self, backup: Backup) -> list[str]:
        """Read a backup to its end; what is wrong with it."""
        ...

    async def expire(self, shelf: Shelf) -> tuple[list[str], int]:
        """Remove what is kept no longer: labels of backups, and how many files of WAL."""
        ...

    async def unpack(self, backup: Backup, staging: Path) -> None:
        """Put a backup into an empty directory, each file checked."""
        ...

    def restore_command(self) -> str:
        """How a recovery gets archived WAL."""
        ...
