"""The data directory as files: what it holds, its configuration, and how a new content takes its place.

It must not know servers or programs.

A new content (a fresh database or a copy) is made in a folder inside the data directory, because the
directory may be a mount point or stand in a parent that is not ours. When it is whole it takes the place
of what was there in two steps, each of which can be done again after a crash: ``swap-out`` moves
everything old aside, ``swap-in`` moves everything new up. Until the first step the old content is
untouched.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from qluster.database.facts import Directory
from qluster.database.settings import FILE_NAME, SAFETY, lets_clients_in
from qluster.edge.postgres.failure import PostgresFailed
from qluster.edge.postgres.record import Phase, sync_directory, write_durably

STAGING = ".qluster-new"
ASIDE = ".qluster-old"
OURS = frozenset({STAGING, ASIDE})
STANDBY_SIGNAL = "standby.signal"
RECOVERY_SIGNAL = "recovery.signal"
ACCESS_NAME = "qluster_hba.conf"
IDENTITY_NAME = "qluster_ident.conf"
INCLUDED = ("postgresql.conf", "qhb.conf")
"""The build's own configuration file, read before ours."""
FORBIDDEN = 0o027
"""Rights of group and others on a data directory with which a server refuses to start."""
KEEP_SHARE = 4
"""A diverged directory is kept beside the new one when it takes less than this part of the free space."""


class DataDirectory:
    """One data directory."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.staging = self.path / STAGING
        self.aside = self.path / ASIDE
        self._altered: tuple[tuple[int, int], tuple[str, ...]] = (0, 0), ()

    # --- what it is ---

    def state(self, phase: Phase) -> tuple[Directory, str]:
        """What it holds, and a word about it when that is nothing we know."""
        try:
            names = set(os.listdir(self.path)) - OURS
        except FileNotFoundError:
            return "absent", ""
        except OSError as error:
            return "foreign", f"{self.path} cannot be read: {error.strerror or error}"
        if phase:
            return "unfinished", ""
        if not names and self.aside.exists():
            return "foreign", f"{self.path} was being replaced and the note of it is lost: see {self.aside}"
        if not names:
            return "empty", ""
        if control_file(self.path) is not None:
            return "initialised", ""
        found = ", ".join(sorted(names)[:3])
        return "foreign", f"{self.path} holds {found} and no database: empty it, or use another directory"

    @property
    def standby(self) -> bool:
        """Whether a start would make a standby."""
        return (self.path / STANDBY_SIGNAL).exists()

    def configured(self) -> str:
        """The text of our configuration file, "" when there is none."""
        try:
            return (self.path / FILE_NAME).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return ""

    def closed(self) -> bool:
        """Whether our access rules let no clients in; not where there are none of ours."""
        try:
            return not lets_clients_in((self.path / ACCESS_NAME).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
            return False

    def close_to_others(self) -> bool:
        """Take rights from others with which no server would start; True when there were some."""
        mode = self.path.stat().st_mode
        if mode & FORBIDDEN:
            self.path.chmod(mode & ~FORBIDDEN & 0o7777)
        return bool(mode & FORBIDDEN)

    def room(self) -> tuple[int | None, int | None]:
        """Bytes that are free, and how large the disk is: the data's, or that of ``pg_wal`` where it has less."""
        found = []
        for place in (self.path, self.path / "pg_wal"):
            try:
                disk = os.statvfs(place)
            except OSError:
                continue
            found.append((disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize))
        return min(found, default=(None, None))

    # --- configuration ---

    def mark(self, *, standby: bool) -> None:
        """Say whether a start makes a standby. Durable, because it decides who may write."""
        (self.path / RECOVERY_SIGNAL).unlink(missing_ok=True)
        signal = self.path / STANDBY_SIGNAL
        if standby:
            signal.touch(mode=0o600)
        else:
            signal.unlink(missing_ok=True)
        sync_directory(self.path)

    def configure(self, settings: str, access: str, identity: str) -> None:
        """Write our three files; our settings read the build's own file first."""
        head = "".join(f"include '{name}'\n" for name in INCLUDED if (self.path / name).exists())
        places = f"hba_file = {self._quoted(ACCESS_NAME)}\nident_file = {self._quoted(IDENTITY_NAME)}\n"
        write_durably(self.path / ACCESS_NAME, access.encode())
        write_durably(self.path / IDENTITY_NAME, identity.encode())
        write_durably(self.path / FILE_NAME, (head + settings + places).encode())

    def _quoted(self, name: str) -> str:
        return "'" + str(self.path / name).replace("\\", "\\\\").replace("'", "''") + "'"

    def altered(self) -> tuple[str, ...]:
        """Settings that safety depends on in what ALTER SYSTEM left; the file is read only when it has changed."""
        for file in self.path.glob("*.auto.conf"):
            stat = file.stat()
            if self._altered[0] != (stat.st_mtime_ns, stat.st_size):
                lines = file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
                names = tuple(sorted({name for line in lines if (name := _protected(line))}))
                self._altered = (stat.st_mtime_ns, stat.st_size), names
            return self._altered[1]
        return ()

    def withdraw_altered(self) -> list[str]:
        """Take settings that safety depends on out of what ALTER SYSTEM left; it would be read after ours."""
        withdrawn = []
        for file in self.path.glob("*.auto.conf"):
            kept = []
            for line in file.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
                name = _protected(line)
                if name:
                    withdrawn.append(name)
                else:
                    kept.append(line)
            text = "\n".join(kept) + "\n"
            if withdrawn:
                write_durably(file, text.encode("utf-8", "surrogateescape"))
        return withdrawn

    def waiting_segments(self) -> list[Path]:
        """WAL files that are finished and not yet archived."""
        status = self.path / "pg_wal" / "archive_status"
        return [self.path / "pg_wal" / ready.stem for ready in sorted(status.glob("*.ready"))]

    # --- new content ---

    def prepare_staging(self) -> Path:
        """An empty place for a new content. The data directory is made when it is absent."""
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
            self.path.chmod(0o700)
        except OSError as error:
            raise PostgresFailed(
                f"{self.path} cannot be made ready: {error.strerror or error}; "
                f"create it and give it to user id {os.geteuid()}"
            ) from error
        self.discard_staging()
        return self.staging

    def discard_staging(self) -> None:
        """Remove what an interrupted work left."""
        if self.staging.exists():
            shutil.rmtree(self.staging)

    def move_aside(self) -> None:
        """Step ``swap-out``: everything but the new content goes aside."""
        self.aside.mkdir(mode=0o700, exist_ok=True)
        _move(self._names(self.path), self.path, self.aside)

    def move_in(self) -> None:
        """Step ``swap-in``: the new content goes up."""
        if self.staging.exists():
            _move(self._names(self.staging), self.staging, self.path)
            self.staging.rmdir()
        sync_directory(self.path)

    def clear_aside(self) -> str:
        """Remove the old content, or keep it beside the directory when that is cheap: its path then, else ""."""
        if not self.aside.exists():
            return ""
        kept = self.path.with_name(f"{self.path.name}.diverged")
        if control_file(self.aside) is not None and self._room_for(self.aside):
            try:
                shutil.rmtree(kept, ignore_errors=True)
                os.rename(self.aside, kept)
                return str(kept)
            except OSError:
                pass  # the parent is not ours, or another file system: then it goes
        shutil.rmtree(self.aside)
        return ""

    def _room_for(self, folder: Path) -> bool:
        free = shutil.disk_usage(self.path).free
        size = 0
        for root, _, files in os.walk(folder):
            size += sum(os.lstat(os.path.join(root, name)).st_size for name in files)
            if size * KEEP_SHARE > free:
                return False
        return True

    @staticmethod
    def _names(folder: Path) -> list[str]:
        return sorted(set(os.listdir(folder)) - OURS)


def _protected(line: str) -> str:
    """The setting of a line, when safety depends on it; "" for any other."""
    name = re.match(r"\s*(\w+)\s*=", line)
    return name[1].lower() if name and name[1].lower() in SAFETY else ""


def _move(names: Iterable[str], source: Path, target: Path) -> None:
    for name in names:
        os.rename(source / name, target / name)
    sync_directory(source)
    sync_directory(target)


def control_file(path: Path) -> Path | None:
    """The control file of a data directory (QHB may name it otherwise); None when it is no database."""
    return next(iter(sorted(path.glob("global/*_control"))), None)
