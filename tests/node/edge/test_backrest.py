"""pgBackRest as it is: what is acknowledged, what is refused, and what is said when its repository fails."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import trustme
from edge.postgres_world import PGBACKREST, Host, World, founded, free_port, replica, until, worlds
from edge.test_backups import LONG, all_archived, rows, seen_by
from qluster.edge import backrest
from qluster.edge.postgres.repository import RepositoryBusy, RepositoryFailed

pytestmark = pytest.mark.unprivileged

SEGMENT = "000000010000000000000001"


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    async for made in worlds("pgbackrest"):
        yield made


def program(host: Host, work: str, *words: str) -> tuple[int, str]:
    """The program behind the commands, as the server starts it."""
    [file] = (host.root / "state" / "pgbackrest").glob("*.conf")
    done = subprocess.run(
        [sys.executable, "-I", "-S", backrest.__file__, work, PGBACKREST, str(file), file.stem, *words],
        cwd=host.data, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stderr


def whole(path: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(each): each.read_bytes() for each in path.rglob("*") if each.is_file()}


async def test_what_is_acknowledged_and_what_a_recovery_is_told(world: World) -> None:
    """The archive's own rules, and an error of the repository that must not look like the end of the WAL."""
    host = await founded(world)
    await all_archived(world, host)
    base = world.root / "base"
    code, said = program(host, "get", SEGMENT, str(world.root / "back"))
    assert code == 0 and (world.root / "back").stat().st_size == 16 << 20, said
    assert program(host, "get", "0000000100000000000000FF", str(world.root / "none"))[0] == backrest.NOT_THERE

    reserved = world.root / "00000002.history"
    reserved.write_bytes(backrest.RESERVED + b": x\n")
    assert program(host, "push", str(reserved), reserved.name)[0] == 0 and not world.archived(reserved.name)
    reserved.write_bytes(b"1\t0/3000000\tno recovery target specified\n")
    assert program(host, "push", str(reserved), reserved.name)[0] == 0 and world.archived(reserved.name)

    other = world.root / SEGMENT
    other.write_bytes((world.root / "back").read_bytes()[:-4] + b"else")
    code, said = program(host, "push", str(other), SEGMENT)
    assert code == 1 and "already exists in the repo1 archive with a different checksum" in said
    rest = world.root / f"{SEGMENT}.partial"
    (world.root / "back").rename(rest)
    assert program(host, "push", str(rest), rest.name)[0] == 0 and world.archived(rest.name)
    other.rename(rest)
    code, said = program(host, "push", str(rest), rest.name)
    assert code == 0 and "another server left its own" in said

    base.rename(world.root / "away")
    code, said = program(host, "get", SEGMENT, str(world.root / "none"))
    assert code == backrest.UNUSABLE and "unable to" in said
    for there in (False, True):
        if there:
            base.mkdir()
        code, said = program(host, "push", str(rest), SEGMENT)
        assert code == 1 and "was in the repository and is there no more: mount the repository" in said
    assert whole(base) == {}, "nothing is made where the repository was"
    with pytest.raises(RepositoryFailed, match="is there no more: mount the repository"):
        await (await seen_by(world, host)).shelf()

    async def failing() -> bool:
        await host.sql("SELECT pg_switch_wal() FROM pg_create_restore_point('x')", user="qluster")
        return bool((await host.hand.read_facts()).archive_error)

    await until(failing)
    base.rmdir()
    (world.root / "away").rename(base)
    await all_archived(world, host)


async def test_a_stanza_of_another_database_is_refused_and_left_as_it_is(world: World) -> None:
    first = await founded(world, backup=world.settings(stanza="main"))
    await (await seen_by(world, first, stanza="main")).take()
    await all_archived(world, first)
    await first.hand.close()
    before = whole(world.root / "base")
    second = await founded(world, backup=world.settings(stanza="main"))
    foreign = await seen_by(world, second, stanza="main")
    with pytest.raises(RepositoryFailed, match=r"belongs to the database with system id \d+, and the one here has \d+. "
                                               "the stanza belongs to another database: name another one"):
        await foreign.take()
    code, said = program(second, "push", str(second.data / "pg_wal" / SEGMENT), SEGMENT)
    assert code == 1 and "do not match" in said

    async def failing() -> bool:
        await second.sql("SELECT pg_switch_wal() FROM pg_create_restore_point('x')", user="qluster")
        return bool((await second.hand.read_facts()).archive_error)

    await until(failing)
    assert whole(world.root / "base") == before
    # With a name of its own, or none, it has its own place beside the other.
    own = await seen_by(world, second)
    with pytest.raises(RepositoryFailed, match="the WAL of the backup does not reach the archive"):
        await (await seen_by(world, second, pgbackrest={"archive-timeout": "1"})).take()
    shelf = await own.shelf()
    assert shelf.backups == () and shelf.failure is not None and shelf.failure.node == second.ip


async def test_a_wrong_option_a_wrong_file_and_a_missing_program_are_said(world: World) -> None:
    host = await founded(world)
    with pytest.raises(RepositoryFailed, match=r"contains invalid option 'no-such-option'"):
        await (await seen_by(world, host, pgbackrest={"no-such-option": "1"})).shelf()
    with pytest.raises(RepositoryFailed, match="'ftp' is not allowed for 'repo1-type' option"):
        await (await seen_by(world, host, pgbackrest={"repo1-type": "ftp"})).shelf()
    with pytest.raises(RepositoryFailed, match=r"backup.pgbackrest-file /no/such cannot be used: No such file"):
        await (await seen_by(world, host, pgbackrest_file="/no/such")).shelf()
    with pytest.raises(RepositoryFailed, match=r"backup\.program: /no/such is not there. Install pgBackRest"):
        await (await seen_by(world, host, program="/no/such")).take()
    with pytest.raises(RepositoryFailed, match="is the oldest release that is used here"):
        await (await seen_by(world, host, program="/bin/true")).take()
    with pytest.raises(RepositoryFailed, match="directory /no/such is not there: mount or create it"):
        await (await seen_by(world, host, dir="/no/such")).take()


async def test_an_encrypted_repository_is_read_and_one_that_was_changed_is_told(world: World) -> None:
    secret = world.root / "secret.conf"
    secret.write_text("[global]\nrepo1-cipher-pass=open sesame\nrepo1-cipher-type=aes-256-cbc\n")
    changes = {"pgbackrest_file": str(secret), "pgbackrest": {"process-max": "2"}}
    host = await founded(world, backup=world.settings(**changes))
    repo = await seen_by(world, host, **changes)
    await host.sql("CREATE TABLE ledger AS SELECT 1 AS n")
    with (await seen_by(world, host, **changes))._alone(), pytest.raises(RepositoryBusy):  # type: ignore[attr-defined]
        await repo.take()
    backup = await repo.take()
    await all_archived(world, host)
    assert await rows(host) == [1] and (await repo.completeness(await repo.shelf())).complete
    assert all((path.stat().st_mode & 0o077) == 0 for path in (host.root / "state" / "pgbackrest").glob("*.conf"))
    assert await repo.check(backup) == []
    [file] = (world.root / "base" / "backup").glob(f"*/{backup.label}/pg_data/PG_VERSION*")
    file.write_bytes(b"9")
    faults = await (await seen_by(world, host, **changes)).check(backup)
    assert len(faults) == 1 and "it is invalid: 1 of" in faults[0]


@contextlib.asynccontextmanager
async def server(world: World, host: Host, port: int) -> AsyncIterator[dict[str, str]]:
    """pgBackRest's own server on a host, as an operator starts it there; the options of the way to it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(world.root / "ca.crt"))
    certificate = authority.issue_cert(common_name=host.ip)
    certificate.private_key_pem.write_to_path(str(world.root / "rest.key"))
    (world.root / "rest.key").chmod(0o600)
    (world.root / "rest.crt").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    files = {part: str(world.root / name) for part, name in
             (("ca-file", "ca.crt"), ("cert-file", "rest.crt"), ("key-file", "rest.key"))}  # fmt: skip
    [file] = (host.root / "state" / "pgbackrest").glob("*.conf")
    words = [f"--tls-server-{name}={value}" for name, value in files.items()]
    process = await asyncio.create_subprocess_exec(
        PGBACKREST, "server", f"--config={file}", f"--tls-server-address={host.ip}", f"--tls-server-port={port}",
        f"--tls-server-auth={host.ip}=*", *words,
    )  # fmt: skip
    try:
        yield {"pg2-host-type": "tls", "pg2-host-port": str(port), "pg2-host-config": str(file),
               **{f"pg2-host-{name}": value for name, value in files.items()}}  # fmt: skip
    finally:
        process.terminate()
        await process.wait()


@LONG
async def test_a_replica_takes_one_where_it_is_told_the_way_to_the_primary(world: World) -> None:
    primary = await founded(world)
    second = await replica(world, primary)
    await primary.sql("CREATE TABLE ledger AS SELECT 1 AS n")
    with pytest.raises(RepositoryFailed, match="no way to the primary's host: take the backup on the primary, or give"):
        await (await seen_by(world, second)).take()
    await all_archived(world, primary)
    async with server(world, primary, free_port(primary.ip)) as way:
        repo = await seen_by(world, second, pgbackrest=way)

        async def listening() -> bool:
            with contextlib.suppress(OSError):
                (await asyncio.open_connection(primary.ip, int(way["pg2-host-port"])))[1].close()
                return True
            return False

        await until(listening)
        backup = await repo.take()
    assert backup.node == second.ip and backup.kind == "full" and (await repo.shelf()).failure is None
