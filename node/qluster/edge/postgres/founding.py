"""Make a new database: roles, passwords, the application's database.

It must not start a server: everything is done in single-user mode, before anybody could connect.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
from pathlib import Path

from qluster.database.orders import Initialise
from qluster.edge.postgres.failure import PostgresFailed
from qluster.edge.postgres.record import Record
from qluster.edge.postgres.replacing import take_place
from qluster.edge.postgres.site import Site, secret

log = logging.getLogger(__name__)

INITIALISE_LIMIT = 300.0
"""Seconds for initdb (0.8 s measured): slow disks sync for minutes."""
SINGLE_USER_LIMIT = 120.0
"""Seconds for creating a role and a database."""
BUILTIN_VERSION = 17
"""First version with a locale provider of its own, and with programs that flush a file system at once."""


async def initialise(site: Site, order: Initialise) -> int:
    """Make the database; the answer is its system id."""
    directory, error = site.directory.state(site.record.phase)
    if directory not in ("absent", "empty"):
        raise PostgresFailed(f"no database is made in a directory that is {directory} {error}".strip())
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
        "--encoding=UTF8",
        "--data-checksums",
    ]  # fmt: skip
    failure = ""
    major = await site.programs.major()
    if major >= BUILTIN_VERSION and await site.programs.syncs_file_systems():
        arguments.append("--sync-method=syncfs")
    for locale in _locales(major):
        ended = await site.programs.run("initdb", [*arguments, *locale], time_limit=INITIALISE_LIMIT)
        if ended.code == 0:
            return
        failure = failure or ended.complaint
        site.directory.discard_staging()
    raise PostgresFailed(f"initdb failed: {failure}")


def _locales(major: int) -> list[list[str]]:
    """Best first. The built-in provider sorts alike on every host, whatever its C library."""
    built_in = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    plain = [["--locale=C.UTF-8"], ["--locale=C"]]
    return [built_in, *plain] if major >= BUILTIN_VERSION else plain


async def _furnish(site: Site, staging: Path) -> None:
    """The application's role and database. No statement is ever logged: one holds a password."""
    database = site.database
    role, name = f'"{database.application_user}"', f'"{database.application_database}"'
    password = secret(database.application_password_file).replace("'", "''")
    statements = []
    if database.application_user != database.superuser:
        statements.append(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
    if database.application_database != "postgres":
        statements.append(f"CREATE DATABASE {name} OWNER {role}")
    quiet = ["log_statement=none", "log_min_error_statement=panic", "log_min_duration_statement=-1"]
    settings = [*quiet, "password_encryption=scram-sha-256", "standard_conforming_strings=on"]
    options = [word for setting in settings for word in ("-c", setting)]
    ended = await site.programs.run(
        "postgres",
        ["--single", "-D", str(staging), *options, "postgres"],
        time_limit=SINGLE_USER_LIMIT,
        given="".join(f"{statement}\n" for statement in statements).encode(),
    )
    # Single-user mode ends well even when a statement failed: its words tell.
    faults = [line for line in ended.errors.splitlines() if "ERROR:" in line or "FATAL:" in line]
    if ended.code != 0 or faults:
        said = faults[0] if faults else ended.complaint
        raise PostgresFailed(f"role and database of the application cannot be made: {said.replace(password, '***')}")
