"""Make a new database: roles, passwords, the application's database; or found from a backup.

It must not start a server: everything is done in single-user mode, before anybody could connect.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
from pathlib import Path

from qluster.config import Database
from qluster.database.orders import Initialise
from qluster.edge.postgres.failure import PostgresFailed
from qluster.edge.postgres.record import Record
from qluster.edge.postgres.replacing import take_place
from qluster.edge.postgres.restoring import found_from
from qluster.edge.postgres.single import single_user
from qluster.edge.postgres.site import Site, secret

log = logging.getLogger(__name__)

INITIALISE_LIMIT = 300.0
"""Seconds for initdb (0.8 s measured): slow disks sync for minutes."""
CHECKSUMS_VERSION = 18
"""First version that makes checksums unless told otherwise."""
BUILTIN_VERSION = 17
"""First version with a locale provider of its own, and with programs that flush a file system at once."""


async def initialise(site: Site, order: Initialise) -> int:
    """Make the database; the answer is its system id."""
    directory, error = site.directory.state(site.record.phase)
    if directory not in ("absent", "empty"):
        raise PostgresFailed(f"no database is made in a directory that is {directory} {error}".strip())
    if site.backup is not None and site.backup.found_from is not None:
        return await found_from(site, site.backup)
    secret(site.database.application_password_file)
    staging = site.directory.prepare_staging()
    await _make(site, staging)
    await _furnish(site, staging)
    control = await site.control(staging)
    await take_place(site, Record(system_id=control.system_id, fresh=True))
    log.info("database-initialised system-id=%d directory=%s", control.system_id, site.directory.path)
    return control.system_id


async def _make(site: Site, staging: Path) -> None:
    arguments = [
        "-D", str(staging),
        "-U", site.database.superuser,
        f"--pwfile={site.database.password_file}",
        "--auth=scram-sha-256",
        f"--encoding={site.database.encoding}",
        f"--wal-segsize={site.database.wal_segment_size}",
    ]  # fmt: skip
    failure = ""
    major = await site.programs.major()
    if site.database.data_checksums:
        arguments.append("--data-checksums")
    elif major >= CHECKSUMS_VERSION:
        arguments.append("--no-data-checksums")
    if major >= BUILTIN_VERSION and await site.programs.syncs_file_systems():
        arguments.append("--sync-method=syncfs")
    for locale in _locales(site.database, major):
        ended = await site.programs.run("initdb", [*arguments, *locale], time_limit=INITIALISE_LIMIT)
        if ended.code == 0:
            return
        failure = failure or ended.complaint
        site.directory.discard_staging()
    raise PostgresFailed(f"initdb failed: {failure}")


def _locales(database: Database, major: int) -> list[list[str]]:
    """Best first. The built-in provider sorts alike on every host, whatever its C library.

    A locale that was chosen is the only one: another one in its place would sort what is stored otherwise.
    """
    if database.locale is not None:
        return [[f"--locale={database.locale}"]]
    if database.encoding != "UTF8":
        return [["--locale=C"]]
    built_in = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    plain = [["--locale=C.UTF-8"], ["--locale=C"]]
    return [built_in, *plain] if major >= BUILTIN_VERSION else plain


async def _furnish(site: Site, staging: Path) -> None:
    """The application's role and database."""
    database = site.database
    role, name = f'"{database.application_user}"', f'"{database.application_database}"'
    password = secret(database.application_password_file).replace("'", "''")
    statements = []
    if database.application_user != database.superuser:
        statements.append(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
    if database.application_database != "postgres":
        statements.append(f"CREATE DATABASE {name} OWNER {role}")
    fault = await single_user(site, staging, statements)
    if fault:
        raise PostgresFailed(f"role and database of the application cannot be made: {fault.replace(password, '***')}")
