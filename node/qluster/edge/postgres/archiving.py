"""Where a host's WAL goes and comes back from: the plain directory, or pgBackRest's repository.

It must not know the server: it makes the commands that others give to it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from qluster.config import Backup, Database
from qluster.database.settings import archive_command, restore_command
from qluster.edge.postgres.backrest import BackRest
from qluster.edge.postgres.repository import RepositoryFailed

log = logging.getLogger(__name__)

_PYTHON = (sys.executable, "-I", "-S")
_EDGE = Path(__file__).parents[1]
ARCHIVE_WORDS = (*_PYTHON, str(_EDGE / "archive.py"))
"""The program that archives a WAL file into a directory."""
UNARCHIVE_WORDS = (*_PYTHON, str(_EDGE / "unarchive.py"))
"""The program that brings one back."""
BACKREST_WORDS = (*_PYTHON, str(_EDGE / "backrest.py"))
"""The program that does both with pgBackRest."""


class Archiving:
    """One host's archive."""

    def __init__(self, database: Database, backup: Backup | None, state_dir: str) -> None:
        self._database = database
        self._backup = backup if backup is not None and backup.by_pgbackrest else None
        self._state_dir = state_dir

    @property
    def on(self) -> bool:
        """Whether WAL is archived."""
        return self._backup is not None or bool(self._database.wal_archive_dir)

    @property
    def keeps_reserved(self) -> bool:
        """Whether the archive takes numbers of timelines that are only reserved."""
        return self.on and self._backup is None

    def push_words(self, system_id: int) -> list[str]:
        """A program that archives the file whose path and name follow; it runs in the data directory."""
        if self._backup is None:
            return [*ARCHIVE_WORDS, self._database.wal_archive_dir, str(system_id)]
        return [*BACKREST_WORDS, "push", *self._prepared(self._backup, system_id)]

    def command(self, system_id: int) -> str:
        """``archive_command``; "" when nothing is archived."""
        return archive_command(self.push_words(system_id)) if self.on else ""

    def restore_command(self, system_id: int) -> str:
        """How this host's own past comes back."""
        if self._backup is None:
            folder = os.path.join(self._database.wal_archive_dir, str(system_id))
            return restore_command([*UNARCHIVE_WORDS, folder])
        return restore_command([*BACKREST_WORDS, "get", *self._prepared(self._backup, system_id)])

    def _prepared(self, backup: Backup, system_id: int) -> tuple[str, str, str]:
        """Program, file and stanza; a fault of the file keeps no database from starting, its archiving fails then."""
        rest = BackRest(backup, self._database, self._state_dir, system_id)
        try:
            rest.prepare()
        except (RepositoryFailed, OSError) as failure:
            log.error("pgbackrest-not-configured %s", failure)
        return backup.program, str(rest.file), rest.stanza
