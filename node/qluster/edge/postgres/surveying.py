"""One look at backups and archive, as plain values that a process can hand to another.

It must not decide anything by it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from msgspec import Struct

from qluster.config import Config
from qluster.database.archive import Completeness
from qluster.database.backups import Backup, Shelf
from qluster.database.orders import Terms
from qluster.edge import clock
from qluster.edge.postgres.backrest import Primary
from qluster.edge.postgres.backrest_repository import BackRestRepository
from qluster.edge.postgres.plain_repository import PlainRepository
from qluster.edge.postgres.remotes import upstream_session
from qluster.edge.postgres.repository import Repository, RepositoryFailed
from qluster.edge.postgres.site import Site

PLACES = """
SELECT pg_is_in_recovery() AS in_recovery, current_setting('data_directory') AS data,
       current_setting('unix_socket_directories') AS sockets
"""


class Survey(Struct, frozen=True, kw_only=True):
    """What was seen, and when."""

    at: float
    system_id: int
    shelf: Shelf
    completeness: Completeness
    waiting: int = 0
    """Finished WAL files of this host that are not archived yet."""
    segment_size: int = 0


class Taken(Struct, frozen=True, kw_only=True):
    """What came of the wish for a backup."""

    taken: Backup | None = None
    reason: str = ""
    """Why none was taken, when none was."""
    expired: tuple[str, ...] = ()
    wal_removed: int = 0
    survey: Survey | None = None


def site_of(config: Config) -> Site:
    """This host's database for a program beside the daemon, which starts no server."""
    assert config.database is not None, "asked only where there is one"
    return Site(config.database, config.ip, config.state_dir, lambda pid: None, lambda code: None, config.backup)


async def own_repository(site: Site, node: str) -> Repository:
    """The repository of the database that lies here."""
    if site.backup is None:
        raise RepositoryFailed("the configuration has no section backup: nothing is backed up")
    control = await site.control()
    if site.backup.by_pgbackrest:
        return BackRestRepository(site.backup, site.database, control.system_id, state_dir=str(site.state_dir),
                                  node=node, primary=lambda: _primary_of(site))  # fmt: skip
    return PlainRepository(site.backup, site.database, control.system_id, node=node)


async def _primary_of(site: Site) -> Primary:
    """The server that the one here follows, asked where it lies."""
    host, _, port = (site.upstream or "").rpartition(":")
    if not host:
        raise RepositoryFailed("the database here is a replica that follows nobody: take the backup elsewhere")
    async with upstream_session(site, (host, int(port)), Terms()) as connection:
        row = await connection.row(PLACES)
    if row["in_recovery"]:
        raise RepositoryFailed(f"the database here follows {site.upstream}, which is a replica itself: take the backup "
                               "on a replica of the primary")  # fmt: skip
    return Primary(host, int(port), row["data"], row["sockets"].partition(",")[0].strip())


async def survey(site: Site, repository: Repository) -> Survey:
    """Look."""
    shelf = await repository.shelf()
    return Survey(
        at=clock.wall(),
        system_id=repository.system_id,
        shelf=shelf,
        completeness=await repository.completeness(shelf),
        waiting=len(site.directory.waiting_segments()),
        segment_size=(await site.control()).segment_size,
    )
