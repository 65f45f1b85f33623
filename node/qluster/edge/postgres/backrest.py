"""Runs pgBackRest for one database: its configuration file, its lock, its limits, its complaints.

It must not know what its commands are run for.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from qluster.config import Backup, Database
from qluster.database import backrest_conf
from qluster.database.backrest import OLDEST, misunderstood, sentence, version_of
from qluster.edge.postgres.programs import tie_words
from qluster.edge.postgres.record import write_durably
from qluster.edge.postgres.repository import RepositoryBusy, RepositoryFailed
from qluster.edge.process import CommandFailed, Ended, run

QUICK_LIMIT = 120.0
"""Seconds for a command that reads small files of the repository."""
OUTPUT_MAX = 64 << 20
"""Bytes of an answer: half a million names of WAL files."""
FILE_MAX = 1 << 20
ROOM_LEAST = 64 << 20
"""Bytes; with less free, or one in a hundred, a file that cannot be written means a full disk."""
SEEN = ".seen"
"""What stands beside the configuration file when its stanza was seen; ``edge/backrest.py`` knows it too."""
LOCKED = 50
"""pgBackRest's exit code when another one of this host is at work."""


class Primary(NamedTuple):
    """Where the primary is, as its own host sees it."""

    host: str
    port: int
    data: str
    socket_dir: str


class BackRest:
    """pgBackRest as this host runs it for one database."""

    def __init__(
        self, settings: Backup, database: Database, state_dir: str, system_id: int, *, stanza: str = "",
        repository: str = "",
    ) -> None:  # fmt: skip
        """``stanza`` and ``repository`` are others than the cluster's own, to read from."""
        self._settings = settings
        self._database = database
        self._repository = repository
        self.stanza = stanza or backrest_conf.stanza_name(settings, system_id)
        self._folder = Path(state_dir) / "pgbackrest"
        foreign = "found-" if repository or stanza else ""
        self.file = self._folder / f"{foreign}{self.stanza}.conf"

    # --- its configuration ---

    def prepare(self) -> None:
        """Write its configuration file where it has changed; raises :class:`RepositoryFailed`."""
        text = self._text().encode()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if self.file.read_bytes() == text:
                return
        write_durably(self.file, text, 0o600)

    def _text(self) -> str:
        return backrest_conf.conf_text(
            self._settings, self._database, stanza=self.stanza, folder=str(self._folder),
            operator=self._operator(), repository=self._repository,
        )  # fmt: skip

    def _operator(self) -> dict[str, backrest_conf.Options]:
        path = self._settings.pgbackrest_file
        if path is None:
            return {}
        try:
            if os.path.getsize(path) > FILE_MAX:
                raise ValueError(f"it is larger than {FILE_MAX} bytes")
            return backrest_conf.operator_sections(Path(path).read_text(encoding="utf-8"), self._stanzas)
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise RepositoryFailed(f"backup.pgbackrest-file {path} cannot be used: {said}") from None

    @property
    def _stanzas(self) -> list[str]:
        """Whose sections the operator's file may have."""
        return [self.stanza, *([self._settings.stanza] if self._settings.stanza else [])]

    @property
    def directory(self) -> str:
        """Where the repository lies, when it is one in a file system; "" for another kind."""
        return backrest_conf.repository_dir(self._text())

    def way_to(self, primary: Primary) -> list[str]:
        """Words for a backup from here that begins and ends on the primary."""
        words = {
            **dict(backrest_conf.server_options(self._database, 2, primary.data)),
            "pg2-socket-path": primary.socket_dir, "pg2-port": str(primary.port), "pg2-host": primary.host,
            # Hosts are alike: its daemon has written the same file there.
            "pg2-host-config": str(self.file), "pg2-host-cmd": self._settings.program,
            **dict(backrest_conf.way_to_primary(self._settings)),
        }  # fmt: skip
        return ["--backup-standby", *(f"--{name}={value}" for name, value in words.items())]

    # --- whether it was there ---

    @property
    def _mark(self) -> Path:
        return Path(f"{self.file}{SEEN}")

    @property
    def seen(self) -> bool:
        """Whether the stanza was in the repository when it was last looked for."""
        return self._mark.exists()

    def note_seen(self) -> None:
        """From now on its absence is a fault."""
        if not self.seen:
            self._mark.touch(mode=0o600)

    # --- its commands ---

    async def check_version(self) -> None:
        """Refuse a release that this was never tried with."""
        program = self._settings.program
        if not os.access(program, os.X_OK):
            raise RepositoryFailed(f"backup.program: {program} is not there. Install pgBackRest, or correct the key")
        try:
            ended = await self._start([program, "version"], 10.0)
        except CommandFailed as failure:
            raise RepositoryFailed(f"backup.program: {failure}") from None
        found = version_of(ended.output)
        if found < OLDEST:
            raise RepositoryFailed(
                f"{program} is {ended.output.strip() or ended.complaint}: {OLDEST[0]}.{OLDEST[1]} is the "
                "oldest release that is used here. Bring a newer one"
            )

    async def run(self, command: str, *words: str, limit: float = QUICK_LIMIT, stanza: bool = True) -> str:
        """What a command answers; raises :class:`RepositoryFailed`."""
        self.prepare()
        named = [f"--stanza={self.stanza}"] if stanza else []
        try:
            ended = await self._start(
                [self._settings.program, f"--config={self.file}", *named, command, *words], limit
            )
        except CommandFailed as failure:
            raise RepositoryFailed(str(failure)) from failure
        if passed_over := misunderstood(ended.errors):
            raise RepositoryFailed(f"backup.pgbackrest: {passed_over}. Correct it")
        if ended.code == LOCKED:
            raise RepositoryBusy(f"another command of pgBackRest is at work: {sentence(ended.code, ended.errors)}")
        if ended.code != 0:
            raise RepositoryFailed(
                f"pgbackrest {command} failed: {sentence(ended.code, ended.errors)}{self._room(ended.errors)}"
            )
        if ended.truncated:
            raise RepositoryFailed(f"pgbackrest {command} answered more than {OUTPUT_MAX} bytes")
        return ended.output

    def _room(self, said: str) -> str:
        """It says what it could not write, and not that the disk is full."""
        directory = self.directory
        if "unable to write" not in said or not os.path.isdir(directory):
            return ""
        room = os.statvfs(directory)
        free = room.f_bavail * room.f_frsize
        if free > max(ROOM_LEAST, room.f_blocks * room.f_frsize // 100):
            return ""
        size = room.f_blocks * room.f_frsize
        return (f". No space left on device: {free} of {size} bytes are free in {directory}; make "
                "room, or keep less by backup.keep and backup.keep-for")  # fmt: skip

    async def _start(self, words: Sequence[str], limit: float) -> Ended:
        environment = {"PATH": "/usr/bin:/bin", "HOME": "/", "LC_ALL": "C", "TZ": "UTC"}
        return await run([*tie_words(), *words], environment=environment, time_limit=limit, output_limit=OUTPUT_MAX,
                         directory="/")  # fmt: skip
