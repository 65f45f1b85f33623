"""The pool's file, and a real PgBouncer between real clients and real databases."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from edge.pool_world import (
    ADMIN,
    ADMIN_PASSWORD,
    PASSWORD,
    PGBOUNCER,
    USER,
    PgBouncer,
    Server,
    database,
    wait_until,
)
from qluster.config import Pool
from qluster.edge.pooler import NOBODY, Pooler, PoolerFailed

needs_pgbouncer = pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed")


def pool_of(bouncer: PgBouncer, **changes: object) -> Pool:
    values: dict[str, object] = {
        "databases_file": str(bouncer.file), "host": "127.0.0.1", "port": bouncer.port, "admin_user": ADMIN,
        "admin_password_file": str(bouncer.root / "admin"), "application_database": "application",
    }
    return Pool(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    first, second = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
    with database(first) as one:
        one.stop(signal.SIGINT)
        with database(second, template=first / "data") as two:
            one.start()
            yield one, two


@pytest.fixture
def bouncer(tmp_path: Path, databases: tuple[Server, Server]) -> Iterator[PgBouncer]:
    for server in databases:
        if server.child is None:
            server.start()
    made = PgBouncer(tmp_path)
    # The database must have its name before clients come; as the role lays the first file down.
    made.file.write_text(f"[databases]\napplication = host={NOBODY[0]} port={NOBODY[1]} dbname=postgres\n")
    made.start()
    yield made
    made.stop()


def at(server: Server) -> tuple[str, int]:
    return "127.0.0.1", server.port


async def port_behind(client: asyncpg.Connection) -> int:
    return int(await client.fetchval("show port"))


# --- with a running pool --------------------------------------------------------


@needs_pgbouncer
async def test_clients_go_to_the_new_primary_and_idle_connections_follow(
    bouncer: PgBouncer, databases: tuple[Server, Server]
) -> None:
    pooler = Pooler(pool_of(bouncer))
    await pooler.repoint(at(databases[0]), 1)
    client = await bouncer.client()
    assert await port_behind(client) == databases[0].port
    await pooler.repoint(at(databases[1]), 2)
    assert await port_behind(client) == databases[1].port
    await client.close()
    assert pooler.read().target == f"127.0.0.1:{databases[1].port}" and pooler.read().reign == 2


@needs_pgbouncer
async def test_with_nobody_to_point_at_clients_wait_and_the_log_stays_short(
    bouncer: PgBouncer, databases: tuple[Server, Server]
) -> None:
    pooler = Pooler(pool_of(bouncer))
    await pooler.repoint(at(databases[0]), 1)
    client = await bouncer.client()
    await port_behind(client)
    databases[0].stop()
    await pooler.repoint(None, 1)
    assert pooler.read().target is None and pooler.read().reign == 1
    before = bouncer.log.stat().st_size
    waiting = [asyncio.create_task(port_behind(client))]
    waiting += [asyncio.create_task(_connect_and_ask(bouncer)) for _ in range(5)]
    _, pending = await asyncio.wait(waiting, timeout=1.5)
    assert len(pending) == 6, "all wait, none was turned away"
    assert bouncer.log.read_text()[before:].count("\n") <= 12
    await pooler.repoint(at(databases[1]), 2)
    assert set(await asyncio.wait_for(asyncio.gather(*waiting), 10)) == {databases[1].port}
    await client.close()


async def _connect_and_ask(bouncer: PgBouncer) -> int:
    client = await bouncer.client()
    try:
        return await port_behind(client)
    finally:
        await client.close()


@needs_pgbouncer
async def test_open_transaction_does_not_hold_up_the_next_primary(
    bouncer: PgBouncer, databases: tuple[Server, Server]
) -> None:
    pooler = Pooler(pool_of(bouncer))
    await pooler.repoint(at(databases[0]), 1)
    busy = await bouncer.client()
    transaction = busy.transaction()
    await transaction.start()
    assert await port_behind(busy) == databases[0].port
    began = time.monotonic()
    await pooler.repoint(None, 1)
    await pooler.repoint(at(databases[1]), 2)
    assert time.monotonic() - began < 2.0
    other = await bouncer.client()
    assert await port_behind(other) == databases[1].port
    assert await port_behind(busy) == databases[0].port, "it ends where it began"
    await transaction.rollback()
    assert await port_behind(busy) == databases[1].port
    await busy.close()
    await other.close()


async def paused(bouncer: PgBouncer) -> None:
    """The pool was told to pause."""
    await asyncio.to_thread(wait_until, lambda: "PAUSE 'application'" in bouncer.commands(), "a pause")


@needs_pgbouncer
async def test_held_pool_is_at_rest_once_transactions_have_ended_and_goes_on_elsewhere(
    bouncer: PgBouncer, databases: tuple[Server, Server]
) -> None:
    pooler = Pooler(pool_of(bouncer))
    await pooler.repoint(at(databases[0]), 1)
    busy, idle = await bouncer.client(), await bouncer.client()
    transaction = busy.transaction()
    await transaction.start()
    assert await port_behind(busy) == databases[0].port == await port_behind(idle)
    holding = asyncio.create_task(pooler.hold(10.0))
    await paused(bouncer)
    waiting = asyncio.create_task(port_behind(idle))
    done, _ = await asyncio.wait({holding, waiting}, timeout=0.5)
    assert not done, "a transaction is open, and nothing new begins"
    assert await port_behind(busy) == databases[0].port, "what is open goes on"
    await transaction.commit()
    await asyncio.wait_for(holding, 5)
    assert not waiting.done()
    databases[0].stop()
    before = len(bouncer.log.read_text())
    await pooler.repoint(at(databases[1]), 2)
    assert await asyncio.wait_for(waiting, 5) == databases[1].port
    assert await port_behind(busy) == databases[1].port
    servers = [line for line in bouncer.log.read_text()[before:].splitlines() if " LOG S-" in line]
    assert len(servers) == 1 and "new connection to server" in servers[0], "the first connection that is made stays"
    await busy.close()
    await idle.close()


@needs_pgbouncer
async def test_pool_that_does_not_come_to_rest_in_time_says_so_and_is_let_go(
    bouncer: PgBouncer, databases: tuple[Server, Server]
) -> None:
    pooler = Pooler(pool_of(bouncer))
    await pooler.repoint(at(databases[0]), 1)
    busy = await bouncer.client()
    await busy.execute("begin")
    with pytest.raises(PoolerFailed, match="something is open"):
        await pooler.hold(0.3)
    await pooler.repoint(at(databases[0]), 1)
    other = await bouncer.client()
    assert await asyncio.wait_for(port_behind(other), 5) == databases[0].port
    await busy.execute("commit")
    for client in (busy, other):
        await client.close()


@needs_pgbouncer
async def test_hold_that_is_cancelled_leaves_a_pool_that_can_be_told_again(
    bouncer: PgBouncer, databases: tuple[Server, Server]
) -> None:
    pooler = Pooler(pool_of(bouncer))
    await pooler.repoint(at(databases[0]), 1)
    busy = await bouncer.client()
    await busy.execute("begin")
    holding = asyncio.create_task(pooler.hold(10.0))
    await paused(bouncer)
    holding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holding
    await pooler.repoint(at(databases[0]), 1)
    assert await asyncio.wait_for(port_behind(busy), 5) == databases[0].port
    await busy.execute("commit")
    await busy.close()


@needs_pgbouncer
async def test_pool_that_does_not_run_holds_nobody_up(bouncer: PgBouncer, databases: tuple[Server, Server]) -> None:
    bouncer.stop()
    await Pooler(pool_of(bouncer)).hold(1.0)


@needs_pgbouncer
async def test_held_twice_and_then_pointed_at_nobody_clients_still_wait(
    bouncer: PgBouncer, databases: tuple[Server, Server]
) -> None:
    pooler = Pooler(pool_of(bouncer))
    await pooler.repoint(at(databases[0]), 1)
    client = await bouncer.client()
    for _ in range(2):
        await pooler.hold(2.0)
    await pooler.repoint(None, 1)
    waiting = asyncio.create_task(port_behind(client))
    done, _ = await asyncio.wait({waiting}, timeout=0.3)
    assert not done
    await pooler.repoint(at(databases[1]), 2)
    assert await asyncio.wait_for(waiting, 5) == databases[1].port
    await client.close()


# --- reading ----------------------------------------------------------------------


READING = {"read_only_database": "application_ro"}


async def behind_readers(bouncer: PgBouncer, number: int) -> set[int]:
    """The databases that so many clients at once, who only read, come to."""
    clients = [
        await asyncpg.connect(host="127.0.0.1", port=bouncer.port, user=USER, password=PASSWORD,
                              database="application_ro", statement_cache_size=0, timeout=20)
        for _ in range(number)
    ]  # fmt: skip
    try:
        for client in clients:
            await client.execute("begin")
        return {await port_behind(client) for client in clients}
    finally:
        for client in clients:
            client.terminate()


@needs_pgbouncer
async def test_who_reads_is_spread_over_the_replicas_and_follows_their_list(
    bouncer: PgBouncer, databases: tuple[Server, Server]
) -> None:
    pooler = Pooler(pool_of(bouncer, **READING))
    # All of a list share one port: two addresses of this host stand for two hosts.
    port = databases[1].port
    await pooler.repoint(at(databases[0]), 1, 0, (("127.0.0.1", port), ("127.0.0.1", port)))
    assert await behind_readers(bouncer, 3) == {port}
    assert pooler.read().replicas == (f"127.0.0.1:{port}", f"127.0.0.1:{port}")
    await pooler.repoint(at(databases[0]), 1, 0, (at(databases[0]),))
    assert await behind_readers(bouncer, 3) == {databases[0].port}
    client = await bouncer.client()
    assert await port_behind(client) == databases[0].port
    await client.close()


@needs_pgbouncer
async def test_who_reads_goes_on_while_who_writes_is_held(
    bouncer: PgBouncer, databases: tuple[Server, Server]
) -> None:
    pooler = Pooler(pool_of(bouncer, **READING))
    await pooler.repoint(at(databases[0]), 1, 0, (at(databases[1]),))
    await pooler.hold(2.0)
    assert await asyncio.wait_for(behind_readers(bouncer, 2), 5) == {databases[1].port}
    await pooler.repoint(None, 1, 0, (at(databases[1]),))
    assert await asyncio.wait_for(behind_readers(bouncer, 2), 5) == {databases[1].port}


@needs_pgbouncer
async def test_saying_it_twice_tells_the_pool_once(bouncer: PgBouncer, databases: tuple[Server, Server]) -> None:
    pooler = Pooler(pool_of(bouncer))
    for _ in range(3):
        await pooler.repoint(at(databases[0]), 1)
    assert bouncer.commands() == ["RELOAD", "RECONNECT 'application'", "RESUME 'application'"]


@needs_pgbouncer
async def test_new_reign_of_the_same_primary_breaks_no_connection(
    bouncer: PgBouncer, databases: tuple[Server, Server]
) -> None:
    pooler = Pooler(pool_of(bouncer))
    await pooler.repoint(at(databases[0]), 1)
    client = await bouncer.client()
    backend = await client.fetchval("select pg_backend_pid()")
    await pooler.repoint(at(databases[0]), 2)
    assert await client.fetchval("select pg_backend_pid()") == backend
    assert pooler.read().reign == 2
    await client.close()


@needs_pgbouncer
async def test_daemon_that_restarts_makes_sure_that_the_pool_follows(
    bouncer: PgBouncer, databases: tuple[Server, Server]
) -> None:
    await Pooler(pool_of(bouncer)).repoint(at(databases[0]), 1)
    paused = Pooler(pool_of(bouncer))
    await paused.repoint(None, 1)
    # The daemon writes the file and dies before it tells the pool.
    paused._write(paused._read().__class__(0, 2, at(databases[1])))
    await Pooler(pool_of(bouncer)).repoint(at(databases[1]), 2)
    client = await bouncer.client()
    assert await port_behind(client) == databases[1].port
    await client.close()


@needs_pgbouncer
async def test_pool_that_starts_later_points_the_same_way(
    bouncer: PgBouncer, databases: tuple[Server, Server]
) -> None:
    pooler = Pooler(pool_of(bouncer))
    bouncer.stop()
    with pytest.raises(PoolerFailed, match=r"cannot be used \(.*\)\. Start the pool's service"):
        await pooler.repoint(at(databases[1]), 5)
    bouncer.start()
    client = await bouncer.client()
    assert await port_behind(client) == databases[1].port
    await client.close()
    await pooler.repoint(at(databases[1]), 5)


@needs_pgbouncer
async def test_pool_that_is_restarting_is_told_once_it_is_back(
    bouncer: PgBouncer, databases: tuple[Server, Server]
) -> None:
    bouncer.stop()
    told = asyncio.create_task(Pooler(pool_of(bouncer)).repoint(at(databases[0]), 1))
    await asyncio.to_thread(bouncer.start)
    await told
    assert bouncer.commands()[-3:] == ["RELOAD", "RECONNECT 'application'", "RESUME 'application'"]


@needs_pgbouncer
async def test_pool_that_does_not_include_the_file_is_named(tmp_path: Path, databases: tuple[Server, Server]) -> None:
    stranger = PgBouncer(tmp_path, include=False)
    stranger.start()
    try:
        for primary in (at(databases[0]), None):
            with pytest.raises(PoolerFailed, match=r"does not offer the database application.*%include"):
                await Pooler(pool_of(stranger)).repoint(primary, 1)
    finally:
        stranger.stop()


@needs_pgbouncer
async def test_wrong_password_of_the_console_is_named(bouncer: PgBouncer) -> None:
    (bouncer.root / "admin").write_text("wrong\n")
    with pytest.raises(PoolerFailed, match=r"cannot be used .* with the password in .*/admin\."):
        await Pooler(pool_of(bouncer)).repoint(("127.0.0.1", 5432), 1)


@needs_pgbouncer
async def test_user_that_is_no_admin_is_named(bouncer: PgBouncer) -> None:
    (bouncer.root / "admin").write_text("application-word\n")
    with pytest.raises(PoolerFailed, match=r"\(not allowed\). Make application one of"):
        await Pooler(pool_of(bouncer, admin_user="application")).repoint(("127.0.0.1", 5432), 1)


# --- without a pool ---------------------------------------------------------------


def alone(tmp_path: Path, **changes: object) -> Pooler:
    (tmp_path / "admin").write_text(ADMIN_PASSWORD)
    values: dict[str, object] = {
        "databases_file": str(tmp_path / "databases.ini"), "host": "127.0.0.1", "port": 1, "admin_user": ADMIN,
        "admin_password_file": str(tmp_path / "admin"), "application_database": "application",
    }
    return Pooler(Pool(**(values | changes)))  # type: ignore[arg-type]


async def test_older_reign_never_overwrites_a_newer(tmp_path: Path) -> None:
    pooler = alone(tmp_path)
    with pytest.raises(PoolerFailed):
        await pooler.repoint(("192.0.2.1", 5432), 7, founding=3)
    for reign, founding in ((6, 3), (9, 2)):
        with pytest.raises(PoolerFailed, match=r"is older\. It was left as it is"):
            await pooler.repoint(("192.0.2.9", 5432), reign, founding)
    assert pooler.read().target == "192.0.2.1:5432"
    # A later founding counts its reigns from 1 again.
    with pytest.raises(PoolerFailed, match="cannot be used"):
        await pooler.repoint(("192.0.2.2", 5432), 1, founding=4)
    assert pooler.read().target == "192.0.2.2:5432"


async def test_target_of_ipv6_is_written_as_urls_write_it(tmp_path: Path) -> None:
    pooler = alone(tmp_path)
    with pytest.raises(PoolerFailed, match="cannot be used"):
        await pooler.repoint(("fd00::1", 5432), 7, founding=3)
    assert pooler.read().target == "[fd00::1]:5432"
    assert "application = host=fd00::1 port=5432" in (tmp_path / "databases.ini").read_text()
    # What an older version wrote is read as well.
    (tmp_path / "databases.ini").write_text("; qluster founding=3 reign=7 target=fd00::1:5432\n")
    assert pooler.read().target == "[fd00::1]:5432"


async def test_pool_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        pooler = alone(tmp_path, port=silent.getsockname()[1])
        began = time.monotonic()
        with pytest.raises(PoolerFailed, match="no answer within 2 seconds"):
            await pooler.repoint(("192.0.2.1", 5432), 1)
        assert time.monotonic() - began < 10


async def test_directory_without_rights_or_missing_is_named(tmp_path: Path) -> None:
    pooler = alone(tmp_path, databases_file=str(tmp_path / "missing/databases.ini"))
    with pytest.raises(PoolerFailed, match="cannot be written"):
        await pooler.repoint(None, 1)
    assert pooler.read().target is None


def test_file_of_somebody_else_says_nothing(tmp_path: Path) -> None:
    pooler = alone(tmp_path)
    assert pooler.read().target is None
    (tmp_path / "databases.ini").write_text("; qluster founding=x reign=1 target=1.2.3.4:5\n")
    assert (pooler.read().target, pooler.read().reign, pooler.read().error) == (None, 0, "")


async def test_file_is_readable_for_the_pool_and_whole(tmp_path: Path) -> None:
    pooler = alone(tmp_path)
    with pytest.raises(PoolerFailed):
        await pooler.repoint(None, 4, founding=2)
    file = tmp_path / "databases.ini"
    assert file.stat().st_mode & 0o777 == 0o644
    assert file.read_text().splitlines() == [
        "; qluster founding=2 reign=4 target=none",
        "; Written by the node daemon; changes by hand do not last.",
        "[databases]",
        "application = host=127.0.0.1 port=1",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["admin", "databases.ini"]
