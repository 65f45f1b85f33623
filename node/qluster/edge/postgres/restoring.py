"""Makes a database from a backup and the archived WAL, up to a target: a founding's, with a timeline of its own.

It must not know who asked for it. What is in the data directory is given up only when the new content is whole:
recovered, on its own timeline, cleanly shut down and on the disk.

The recovery runs in single-user mode in the staging folder: nobody can connect, nothing is archived, and it ends
by itself. There is a ``restore_command`` here and nowhere else: this database is no standby, and whatever it reads,
it goes on alone from where it stops.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import datetime
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from qluster.config import Backup as Settings
from qluster.database.archive import Completeness
from qluster.database.backrest_conf import stanza_name
from qluster.database.backups import Backup, NoBackup, Shelf, Target, choose
from qluster.database.orders import Terms
from qluster.database.settings import held_back, server_settings, settings_text
from qluster.database.wal import position_of
from qluster.edge.postgres.backrest_repository import BackRestRepository, known_stanzas
from qluster.edge.postgres.directory import INCLUDED, RECOVERY_SIGNAL, STANDBY_SIGNAL, DataDirectory
from qluster.edge.postgres.failure import PostgresFailed
from qluster.edge.postgres.plain_repository import PlainRepository, known_databases
from qluster.edge.postgres.record import Record, write_durably
from qluster.edge.postgres.replacing import take_place
from qluster.edge.postgres.repository import Repository, RepositoryFailed
from qluster.edge.postgres.single import complaints, least_prepared, run_single, single_user
from qluster.edge.postgres.site import Site, secret

log = logging.getLogger(__name__)

RECOVERY_LIMIT = 72 * 3600.0
"""Seconds for a recovery: a week of WAL of a busy database is read in a day or two."""
SYNC_LIMIT = 4 * 3600.0
"""Seconds until all that was unpacked is on the disk."""
FILE = "qluster-restore.conf"
NOTHING = "false"
"""The restore command where the archive is not to be read: there is never another file."""
_STOPPED = re.compile(r"LOG: +(recovery stopping .*|last completed transaction was at log time .*)")


@dataclass(frozen=True, slots=True)
class Choice:
    """What a recovery would do."""

    backup: Backup
    target: Target
    completeness: Completeness
    timeline: str
    """Number of the newest one, or ``current``: that of a backup of a past that was left."""
    archived: bool
    """Whether the archive is read."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of it."""

    choice: Choice
    system_id: int
    timeline: int
    position: int
    words: tuple[str, ...]
    """Where the server says that it stopped."""


def target_of(text: str | None) -> Target:
    """The target in "time 2026-…Z", "lsn 0/3000060", "name x"; raises :class:`NoBackup` for what is none."""
    if text is None:
        return Target()
    kind, _, value = text.partition(" ")
    try:
        if kind == "time":
            moment = datetime.datetime.fromisoformat(value)
            if moment.tzinfo is None:
                raise ValueError("it has no zone, such as Z or +03:00")
            told = moment.astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
            return Target(kind="time", text=told, value=moment.timestamp())
        if kind == "lsn":
            return Target(kind="lsn", text=value, value=position_of(value))
    except (ValueError, OverflowError) as error:
        raise NoBackup(f"{value!r} is no target of kind {kind}: {error}") from None
    if kind == "name" and value and len(value) <= 63 and value.isprintable():
        return Target(kind="name", text=value)
    raise NoBackup(f"{text!r} is no target: use time, lsn or name, and a value")


async def source_of(site: Site, settings: Settings, system_id: int | None = None) -> Repository:
    """The repository to recover from, that of ``system_id`` when it has backups; raises :class:`RepositoryFailed`."""
    if settings.by_pgbackrest:
        return await _backrest_source(site, settings, system_id)
    base = settings.found_dir or settings.dir
    wanted = _wanted(known_databases(base), base, settings, system_id)
    return PlainRepository(settings, site.database, wanted, base=base, wal=settings.found_archive_dir or "")


async def _backrest_source(site: Site, settings: Settings, system_id: int | None) -> Repository:
    state_dir, directory = str(site.state_dir), settings.found_dir or ""
    stanzas = await known_stanzas(
        settings, site.database, state_dir, stanza=settings.found_stanza or "", directory=directory
    )
    wanted = _wanted(sorted(stanzas), "the repository of pgBackRest", settings, system_id)
    stanza = stanzas.get(wanted, settings.found_stanza or "")
    own = not directory and stanza in ("", stanza_name(settings, wanted))
    return BackRestRepository(settings, site.database, wanted, state_dir=state_dir, stanza="" if own else stanza,
                              directory=directory)  # fmt: skip


def _wanted(known: list[int], place: str, settings: Settings, system_id: int | None) -> int:
    """The database that is meant."""
    wanted = settings.found_system_id or (system_id if system_id in known else None)
    if wanted is not None:
        return wanted
    if len(known) != 1:
        found = f"those of {', '.join(map(str, known))}: say which, by system id" if known else "none"
        raise RepositoryFailed(f"{place} has backups of {len(known)} databases, {found}")
    return known[0]


async def found_from(site: Site, settings: Settings) -> int:
    """The founder's database comes from a backup, as the configuration says; its system id."""
    label = settings.found_from if settings.found_from not in (None, "newest") else ""
    try:
        repository = await source_of(site, settings)
        choice = await choose_from(repository, target_of(settings.found_target), label or "")
        restored = await restore(site, repository, choice)
    except (NoBackup, RepositoryFailed) as failure:
        raise PostgresFailed(f"no database is founded from a backup: {failure}") from None
    return restored.system_id


async def choose_from(
    repository: Repository, target: Target, label: str = "", *, accept_gap: bool = False
) -> Choice:
    """Which backup, and whether the archive allows it; raises :class:`NoBackup`."""
    shelf = await repository.shelf()
    completeness = await repository.completeness(shelf)
    backup = choose(shelf if label else _on_the_way(shelf, completeness), target, label)
    archived = completeness.segments > 0
    faults = completeness.faults
    if not archived and target.kind == "newest":
        faults = ["the archive holds no WAL of this database: is it mounted? Without it only the moment of the backup "
                  "comes back"]
    # To a target that is not reached the recovery fails by itself; to "the newest" it would end at any gap.
    if faults and target.kind == "newest" and not accept_gap:
        raise NoBackup(
            f"the archive is not complete: {'; '.join(faults)}. Bring what is missing, choose a target before it, "
            "or accept that the recovery ends there"
        )
    # Not "latest": the server would look for it one number after the other, and numbers may have gaps.
    here = not archived or backup.label in completeness.aside
    return Choice(backup, target, completeness, "current" if here else str(completeness.timeline), archived)


def _on_the_way(shelf: Shelf, completeness: Completeness) -> Shelf:
    """Without the backups of a past that was left: the newest timeline cannot be reached from them."""
    kept = tuple(backup for backup in shelf.backups if backup.label not in completeness.aside)
    return Shelf(backups=kept or shelf.backups, failure=shelf.failure, broken=shelf.broken)


async def restore(site: Site, repository: Repository, choice: Choice) -> Restored:
    """Recover into the staging folder, then let it take the place of what is here."""
    state, error = site.directory.state(site.record.phase)
    if state not in ("absent", "empty", "initialised"):
        raise PostgresFailed(f"nothing is restored into a directory that is {state}: {error}".rstrip(": "))
    secret(site.database.password_file)
    staging = site.directory.prepare_staging()
    log.info("restore-begun backup=%s target=%s", choice.backup.label, choice.target.words)
    await repository.unpack(choice.backup, staging)
    words = await _recover(site, repository, choice, staging)
    await _furnish(site, staging)
    await site.programs.check("initdb", ["--sync-only", "-D", str(staging)], time_limit=SYNC_LIMIT)
    control = await site.control(staging)
    if control.system_id != choice.backup.system_id or control.state != "shut down":
        raise PostgresFailed(f"the recovery left a database {control.system_id} that is {control.state!r}")
    await take_place(site, Record(system_id=control.system_id, fresh=True))
    site.standing = ""
    site.forget_crashes()
    log.info("restored system-id=%d timeline=%d said=%s", control.system_id, control.timeline, "; ".join(words))
    return Restored(choice, control.system_id, control.timeline, control.position, words)


async def _recover(site: Site, repository: Repository, choice: Choice, staging: Path) -> tuple[str, ...]:
    """Read WAL up to the target and go on from there on a timeline of its own; what the server said of its end."""
    directory = DataDirectory(str(staging))
    (staging / STANDBY_SIGNAL).unlink(missing_ok=True)
    directory.withdraw_altered()
    head = "".join(f"include '{name}'\n" for name in INCLUDED if (staging / name).exists())
    settings = server_settings(
        site.database, site.ip, Terms(), archive=await site.archive_command(staging),
    )  # fmt: skip
    prepared = await least_prepared(site, staging)
    settings |= {
        # It is no standby, so it need not have as much of everything as its primary had, but for what was prepared.
        "hot_standby": "off",
        **{name: str(value) for name, value in prepared if held_back(settings, prepared)},
        "restore_command": repository.restore_command() if choice.archived else NOTHING,
        "recovery_target_timeline": choice.timeline,
        "recovery_target_action": "promote",
        "log_min_messages": "warning",
    }
    if choice.target.kind != "newest":
        settings[f"recovery_target_{choice.target.kind}"] = choice.target.text
    write_durably(staging / FILE, (head + settings_text(settings)).encode())
    (staging / RECOVERY_SIGNAL).touch(mode=0o600)
    ended = await run_single(site, staging, [f"config_file={staging / FILE}"], time_limit=RECOVERY_LIMIT)
    faults = complaints(ended)
    if ended.code != 0 or faults or (staging / RECOVERY_SIGNAL).exists():
        raise PostgresFailed(f"the recovery from {choice.backup.label} to {choice.target.words} failed: "
                             f"{_plain(faults[-1]) if faults else ended.complaint}{_hint(choice, faults)}")  # fmt: skip
    (staging / FILE).unlink()
    return tuple(match[1] for line in ended.errors.splitlines() if (match := _STOPPED.search(line)))


def _plain(line: str) -> str:
    return re.sub(r"^.*?(ERROR|FATAL|PANIC): +", "", line)


def _hint(choice: Choice, faults: list[str]) -> str:
    if any("before configured recovery target was reached" in line for line in faults):
        reach = choice.completeness.reaches or "nothing"
        return f"; the archive reaches up to {reach}: the target lies later, or, if it is a name, before this backup"
    return ""


async def _furnish(site: Site, staging: Path) -> None:
    """The roles that this cluster works with, with its own passwords: the backup may be that of another one."""
    database = site.database
    password = secret(database.password_file)
    application = secret(database.application_password_file)
    statements = [
        *_role(database.superuser, "SUPERUSER REPLICATION LOGIN", password),
        *_role(database.application_user, "LOGIN", application),
    ]
    if database.application_database != "postgres":
        statements.append(f'CREATE DATABASE "{database.application_database}" OWNER "{database.application_user}"')
    fault = await single_user(site, staging, statements, tolerated="already exists")
    if fault:
        said = fault.replace(password, "***").replace(application, "***")
        raise PostgresFailed(f"the roles of this cluster cannot be given their passwords: {said}")


def _role(name: str, rights: str, password: str) -> list[str]:
    secret_text = password.replace("'", "''")
    return [f'CREATE ROLE "{name}"', f"ALTER ROLE \"{name}\" {rights} PASSWORD '{secret_text}'"]
