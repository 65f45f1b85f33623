"""Whether directories and programs of a configuration are there, ours and fit for use.

It must not create, change or remove anything.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Iterator

from qluster.config import Backup, Config, Database, Pool
from qluster.database.backrest_conf import Options, conf_text, operator_sections, repository_dir, stanza_name
from qluster.database.settings import refused_parameters

STATE_SPACE_MIN = 64 * 1024 * 1024
"""Two segments of the log and two snapshots; with less the node would stop soon."""


def findings(config: Config, starting: bool) -> Iterator[str]:
    """What does not fit."""
    yield from _state(config.state_dir, starting)
    if config.database:
        yield from _programs(config.database)
        yield from _database(config.database, starting)
        if config.backup is not None and config.backup.by_pgbackrest:
            yield from _pgbackrest(config.backup, config.database, starting)
        else:
            yield from _archive(config.database.wal_archive_dir, starting)
        if starting and os.geteuid() == 0:
            yield "database: the database refuses to run as root. Run this service as a user of its own, such as qhb."
    if config.pool and starting:
        yield from _pool(config.pool)


def _owner(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user number {number}"


def _existing(path: str) -> str:
    """The path itself, or the nearest directory above it that exists."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


def _writable(key: str, path: str, starting: bool) -> Iterator[str]:
    """A directory that is there and open to this process, or that it can make."""
    there = _existing(path)
    if not os.path.isdir(there):
        yield f"{key}: {there} is no directory. Move it away, or use another path."
    elif starting and not os.access(there, os.W_OK | os.X_OK):
        doing = "written" if there == path else "made"
        yield (f"{key}: {path} cannot be {doing} by {_owner(os.geteuid())} ({there} belongs to "
               f"{_owner(os.stat(there).st_uid)}). Give it to the user of this service.")


def _state(path: str, starting: bool) -> Iterator[str]:
    yield from _writable("state-dir", path, starting)
    free = shutil.disk_usage(_existing(path)).free
    if not starting and free < STATE_SPACE_MIN:
        yield (f"state-dir: the file system of {path} has {free // 1024**2} MiB left, at least "
               f"{STATE_SPACE_MIN // 1024**2} MiB are needed. Free some space.")


def _programs(database: Database) -> Iterator[str]:
    if not os.path.isdir(database.bin_dir):
        yield (f"database.bin-dir: {database.bin_dir} does not exist. Install the database's programs, or name their "
               f"directory.")
        return
    for name in database.programs.values():
        if not os.access(os.path.join(database.bin_dir, name), os.X_OK):
            yield (f"database.programs: {database.bin_dir} has no program {name} that can be run. Install it, or "
                   f"name it as this build does.")
    if database.library_dir and not os.path.isdir(database.library_dir):
        yield f"database.library-dir: {database.library_dir} does not exist. Correct it, or leave it empty."


def _database(database: Database, starting: bool) -> Iterator[str]:
    yield from refused_parameters(database.parameters)
    path = database.data_dir
    yield from _writable("database.data-dir", path, starting)
    if starting and os.path.isdir(path):
        owner = os.stat(path).st_uid
        if owner != os.geteuid():
            yield (f"database.data-dir: {path} belongs to {_owner(owner)}, and this service runs as "
                   f"{_owner(os.geteuid())}. Nothing was changed. Use another directory, or give it over if it is "
                   f"meant for this cluster: chown -R {_owner(os.geteuid())} {path}")
    yield from _writable("database.socket-dir", database.socket_dir, starting)


def _archive(path: str, starting: bool) -> Iterator[str]:
    # A network directory that is away for a while is no reason to keep a node from starting.
    if path and not starting and not os.path.isdir(path):
        yield f"database.wal-archive-dir: {path} does not exist. Mount or make it; WAL is archived there."


def _pgbackrest(backup: Backup, database: Database, starting: bool) -> Iterator[str]:
    """Nothing of it keeps a node from starting: then WAL waits, and the status says so."""
    if starting:
        return
    if not os.access(backup.program, os.X_OK):
        yield f"backup.program: {backup.program} does not exist, or is no program. Install pgBackRest, or correct it."
    sections: dict[str, Options] = {}
    stanza = stanza_name(backup, 0)
    try:
        if backup.pgbackrest_file is not None:
            with open(backup.pgbackrest_file, encoding="utf-8") as file:
                sections = operator_sections(file.read(), [stanza])
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        yield f"backup.pgbackrest-file: {backup.pgbackrest_file} cannot be used: {said}. Correct it."
    path = repository_dir(conf_text(backup, database, stanza=stanza, folder="", operator=sections))
    if path and not os.path.isdir(path):
        yield f"backup.dir: {path} does not exist. Mount or make it; pgBackRest's repository lies there."


def _pool(pool: Pool) -> Iterator[str]:
    directory = os.path.dirname(pool.databases_file)
    if not os.path.isdir(directory):
        yield f"pool.databases-file: {directory} does not exist. Install the pool, or name its directory."
    elif not os.access(directory, os.W_OK | os.X_OK):
        yield (f"pool.databases-file: {directory} cannot be written by {_owner(os.geteuid())}. "
               f"The file is replaced whole, so the directory must be writable.")
