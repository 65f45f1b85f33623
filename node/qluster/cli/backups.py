"""Backups on the command line: take one, show and check them, recover from one.

It must not decide which backup serves or what may go: that is ``database/backups.py``.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from qluster.cli.exits import EXIT_DONE, EXIT_TROUBLE
from qluster.cli.show import ASK_SECONDS, size_text, span_text, table
from qluster.config import Config
from qluster.database.backups import Backup, NoBackup, due
from qluster.database.wal import position_text
from qluster.edge import clock
from qluster.edge.client import ClientError
from qluster.edge.disk import Disk, DiskTrouble
from qluster.edge.postgres.backrest_repository import BackRestRepository
from qluster.edge.postgres.failure import PostgresFailed
from qluster.edge.postgres.repository import Repository, RepositoryBusy, RepositoryFailed
from qluster.edge.postgres.restoring import Choice, Restored, choose_from, restore, source_of, target_of
from qluster.edge.postgres.site import Site
from qluster.edge.postgres.surveying import Survey, Taken, own_repository, site_of, survey

TROUBLES = (RepositoryFailed, PostgresFailed, NoBackup, ClientError, DiskTrouble, OSError)


def _run(config: Config, work: Callable[[Site], Awaitable[int]]) -> int:
    if config.database is None or config.backup is None:
        missing = "database" if config.database is None else "backup"
        print(f"the configuration has no section {missing}: there is nothing to back up here", file=sys.stderr)
        return EXIT_TROUBLE
    try:
        return asyncio.run(_whole(work, site_of(config)))
    except TROUBLES as trouble:
        print(trouble, file=sys.stderr)
        return EXIT_TROUBLE


async def _whole(work: Callable[[Site], Awaitable[int]], site: Site) -> int:
    return await work(site)


# --- taking --------------------------------------------------------------------


def take(config: Config, *, if_chosen: bool, if_due: str, as_json: bool, upgrade_stanza: bool = False) -> int:
    """Take a backup from this host's server, then remove what is kept no longer; the exit code."""

    async def work(site: Site) -> int:
        if upgrade_stanza:
            await _upgrade_stanza(config, site)
        taken = await _take(config, site, if_chosen, if_due)
        if as_json:
            print(msgspec.json.encode(taken).decode())
        elif taken.taken is None:
            print(f"No backup was taken: {taken.reason}.")
        else:
            print("\n".join(_taken_lines(taken)))
        return EXIT_DONE

    return _run(config, work)


async def _take(config: Config, site: Site, if_chosen: bool, if_due: str) -> Taken:
    assert config.backup is not None
    if if_chosen:
        reason = await _not_chosen(config)
        if reason:
            return Taken(reason=reason)
    repository = await own_repository(site, config.ip)
    shelf = await repository.shelf()
    if if_due and not due(shelf, config.backup.interval, clock.wall(), primary=if_due == "primary"):
        return Taken(reason="none is due", survey=await survey(site, repository))
    try:
        backup = await repository.take()
    except RepositoryBusy as busy:
        return Taken(reason=str(busy), survey=await survey(site, repository))
    gone, files = await repository.expire(await repository.shelf())
    return Taken(taken=backup, expired=tuple(gone), wal_removed=files, survey=await survey(site, repository))


async def _upgrade_stanza(config: Config, site: Site) -> None:
    repository = await own_repository(site, config.ip)
    if not isinstance(repository, BackRestRepository):
        raise RepositoryFailed("--upgrade-stanza is for pgBackRest, and backup.tool is plain")
    await repository.upgrade()


async def _not_chosen(config: Config) -> str:
    """Why another node takes it, "" when this one does."""
    from qluster.api.backups import taker
    from qluster.api.shapes import Whole
    from qluster.edge.client import ask

    token = Path(config.api.read_token_file).read_text(encoding="ascii").strip()
    answer = await ask((config.ip, config.api_port), "GET", "/status", ca_file=config.api.ca_file, token=token,
                       timeout=ASK_SECONDS)  # fmt: skip
    if answer.code != 200:
        raise RepositoryFailed(f"the node on this host answers {answer.code} when asked for its status")
    whole = msgspec.json.decode(answer.body, type=Whole)
    assert config.backup is not None
    chosen = taker(whole, from_replicas=config.backup.from_replicas)
    if chosen is None:
        raise RepositoryFailed("no node can take a backup: no replica streams, and there is no primary")
    return "" if chosen == whole.own.node else f"node {chosen} takes it"


def _taken_lines(taken: Taken) -> Iterator[str]:
    backup = taken.taken
    assert backup is not None
    yield (f"Backup {backup.label}: {size_text(backup.size)} in {span_text(backup.ended - backup.began)}, timeline "
           f"{backup.timeline}, {position_text(backup.start)} to {position_text(backup.stop)}.")  # fmt: skip
    if taken.expired or taken.wal_removed:
        yield (f"No longer kept: {len(taken.expired)} backups ({', '.join(taken.expired) or 'none'}), "
               f"{taken.wal_removed} files of WAL.")  # fmt: skip


# --- looking -------------------------------------------------------------------


def show(config: Config, *, check: str, as_json: bool) -> int:
    """Show the backups and what is wrong with the archive, read the content of some; the exit code."""

    async def work(site: Site) -> int:
        repository = await own_repository(site, config.ip)
        found = await survey(site, repository)
        if as_json:
            print(msgspec.json.encode(found).decode())
            return EXIT_DONE
        print("\n".join(lines(found)))
        damaged = await _check(repository, found.shelf.backups, check) if check else False
        sound = found.shelf.backups and found.completeness.complete and not found.shelf.broken and not damaged
        return EXIT_DONE if sound else EXIT_TROUBLE

    return _run(config, work)


async def _check(repository: Repository, backups: tuple[Backup, ...], wanted: str) -> bool:
    chosen = [backup for backup in backups if wanted in ("all", backup.label)]
    if not chosen:
        raise RepositoryFailed(f"there is no backup {wanted}")
    damaged = False
    for backup in chosen:
        faults = await repository.check(backup)
        damaged = damaged or bool(faults)
        print(f"{backup.label}: {'; '.join(faults) or 'every file is as it was written'}")
    return damaged


_HEAD = ("backup", "kind", "node", "timeline", "from", "consistent at", "size", "took", "age")


def lines(found: Survey) -> list[str]:
    """A survey as lines for people."""
    shelf, archive = found.shelf, found.completeness
    rows = [_row(backup, found.at, aside=backup.label in archive.aside) for backup in shelf.backups]
    text = table(_HEAD, rows) if rows else ["no backups"]
    age = f", {span_text(max(found.at - archive.written, 0))} old" if archive.written else ""
    text += ["", f"archive   {archive.segments} segments, timeline {archive.timeline}, up to "
                 f"{archive.newest or 'nothing'}{age}; {found.waiting} files of this host wait"]  # fmt: skip
    text += [f"  {fault}" for fault in archive.faults]
    text += [f"  {sentence}" for sentence in shelf.broken]
    if shelf.failure is not None:
        ago = span_text(max(found.at - shelf.failure.at, 0))
        text.append(f"failed    {ago} ago on {shelf.failure.node}: {shelf.failure.error}")
    return text


def _row(backup: Backup, now: float, *, aside: bool) -> tuple[str, ...]:
    return (
        backup.label, backup.kind, backup.node, f"{backup.timeline}{' (left)' if aside else ''}",
        position_text(backup.start), position_text(backup.stop), size_text(backup.size),
        span_text(backup.ended - backup.began), span_text(max(now - backup.ended, 0)),
    )  # fmt: skip


# --- recovering ----------------------------------------------------------------


def recover(
    config: Config, *, target: str | None, label: str, system_id: int | None, confirm: str | None, accept_gap: bool,
    as_json: bool,
) -> int:  # fmt: skip
    """Recover this host's database from a backup, so that its daemon founds with it; the exit code."""

    async def work(site: Site) -> int:
        assert config.backup is not None
        repository = await source_of(site, config.backup, system_id or await _present(site))
        choice = await choose_from(repository, target_of(target), label, accept_gap=accept_gap)
        if confirm is None:
            _say(_plan_lines(choice, repository, site), _plan(choice, repository), as_json)
            return EXIT_DONE
        if confirm != config.cluster.name:
            name = config.cluster.name
            raise RepositoryFailed(f"nothing was done: the cluster is {name}, and {confirm} was confirmed")
        disk = Disk(config.state_dir)
        try:
            disk.hold()
            await site.server.end_leftovers()
            restored = await restore(site, repository, choice)
        finally:
            disk.close()
        _say(_restored_lines(restored), _outcome(restored), as_json)
        return EXIT_DONE

    return _run(config, work)


async def _present(site: Site) -> int | None:
    """The database that lies here: its backups are meant, where nothing else is said."""
    try:
        return (await site.control()).system_id
    except (PostgresFailed, OSError):
        return None


def _say(text: list[str], document: dict[str, object], as_json: bool) -> None:
    print(msgspec.json.encode(document).decode() if as_json else "\n".join(text))


def _plan(choice: Choice, repository: Repository) -> dict[str, object]:
    return {
        "backup": choice.backup.label, "system_id": str(repository.system_id), "ended": _date(choice.backup.ended),
        "target": choice.target.words, "archive_reaches": choice.completeness.reaches,
        "archive_faults": choice.completeness.faults,
    }  # fmt: skip


def _plan_lines(choice: Choice, repository: Repository, site: Site) -> list[str]:
    backup = choice.backup
    return [
        f"database  system id {repository.system_id}",
        f"backup    {backup.label}, timeline {backup.timeline}, consistent at {position_text(backup.stop)}, ended "
        f"{_date(backup.ended)}",
        f"target    {choice.target.words}; the archive reaches up to {choice.completeness.reaches or 'nothing'}",
        f"into      {site.directory.path}: what is there is given up when the new content is whole",
        *[f"accepted  {fault}" for fault in choice.completeness.faults],
        "Nothing was done. With --confirm and the cluster's name it is.",
    ]


def _outcome(restored: Restored) -> dict[str, object]:
    return {
        "backup": restored.choice.backup.label, "system_id": str(restored.system_id), "timeline": restored.timeline,
        "position": position_text(restored.position), "target": restored.choice.target.words,
        "server_said": list(restored.words),
    }  # fmt: skip


def _restored_lines(restored: Restored) -> list[str]:
    return [
        f"Recovered from backup {restored.choice.backup.label} to {restored.choice.target.words}: timeline "
        f"{restored.timeline}, {position_text(restored.position)}.",
        *restored.words,
        "A daemon without add_node founds the cluster with it.",
    ]


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
