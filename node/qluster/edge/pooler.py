"""Points the pool of this host at a database, or at nobody, so that clients wait.

It must not know why: who is primary is decided by the log.

The file ``databases-file`` is the truth: the pool's configuration includes it, so a pool that
starts later points the same way. A running pool is told by its admin console. With nobody to
point at, the pool is paused: clients wait, nothing is tried and nothing is logged; the file then
names an address where nobody listens, so that a pool that starts meanwhile reaches no former primary.

Who only reads may have a database entry of his own, which names several replicas: the pool goes to one after the
other and skips none that is away, so only those are named that stream.

The console speaks only the simple query protocol and answers some commands with text alone,
hence ``execute`` and the looks at messages.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import asyncpg

from qluster.config import Pool
from qluster.config.addresses import place_text
from qluster.events import Address
from qluster.status import PoolStatus

log = logging.getLogger(__name__)

CONSOLE_SECONDS = 2.0
"""Connecting and each command; a sound console answers within milliseconds."""
PAUSE_SECONDS = 0.05
"""A pause is in force at once, but is answered only when the last open transaction has ended.
Nobody waits for that: the next primary may be found before."""
ATTEMPTS = 3
ATTEMPT_PAUSE = 0.2
"""Seconds between attempts; a pool that is just being restarted is back by the last one."""
NOBODY: Address = ("127.0.0.1", 1)
"""Where nobody listens and connecting is refused at once."""

_HEADER = re.compile(
    r"; qluster founding=(?P<founding>[0-9]{1,20}) reign=(?P<reign>[0-9]{1,20}) "
    r"target=(?P<target>none|\S+:[0-9]{1,5})(?: readers=(?P<readers>none|\S+:[0-9]{1,5}))?")


class PoolerFailed(OSError):
    """The pool was not told; the message says what is wrong, where, and what to do."""


class _NotRunning(PoolerFailed):
    """Nobody listens where the pool should."""


class _Unanswered(PoolerFailed):
    """A command took too long."""


class _NoSuchDatabase(Exception):
    """The console does not know the application's database."""


@dataclass(frozen=True, slots=True)
class Target:
    """Whom the file names, by which decision."""

    founding: int
    reign: int
    primary: Address | None
    readers: tuple[Address, ...] = ()

    @property
    def text(self) -> str | None:
        return place_text(*self.primary) if self.primary else None

    @property
    def readers_text(self) -> str:
        return ",".join(place_text(*address) for address in self.readers) or "none"


class Pooler:
    """The pool of this host."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._lock = asyncio.Lock()
        self._told: Target | None = None
        """What the running pool is known to have taken; unknown after a start of the daemon."""

    def read(self) -> PoolStatus:
        """Whom the file names now."""
        try:
            found = self._read()
        except PoolerFailed as failure:
            return PoolStatus(error=str(failure))
        readers = tuple(place_text(*address) for address in found.readers) if found else ()
        return PoolStatus(target=found.text, reign=found.reign, replicas=readers) if found else PoolStatus()

    async def hold(self, patience: float) -> None:
        """Let what is open end within ``patience``, and nothing new begin, until the pool is pointed anew.

        Raises PoolerFailed when something is still open then. A pool that does not run holds nobody up.
        """
        async with self._lock:
            told, self._told = self._told, None
            try:
                for name in self._written_to(told):
                    await self._commands(f"PAUSE {name}", limit=patience)
            except _Unanswered:
                raise PoolerFailed(
                    f"something is open at the pool {self._place}: a transaction, or, with pool_mode = session, a "
                    f"client that stays connected") from None
            except _NotRunning:
                log.warning("pool-away place=%s hint=it holds nobody up, and is pointed when it is back", self._place)
            except _NoSuchDatabase:
                raise PoolerFailed(self._not_offered) from None

    def _written_to(self, told: Target | None) -> list[str]:
        """The databases whose clients may be at the primary; who reads elsewhere need not wait."""
        names = [self._pool.application_database]
        if told is None or told.primary in told.readers:
            names += self._reading
        return names

    @property
    def _reading(self) -> list[str]:
        return [self._pool.read_only_database] if self._pool.read_only_database else []

    async def repoint(
        self, primary: Address | None, reign: int, founding: int = 0, readers: tuple[Address, ...] = ()
    ) -> None:
        """Point the pool at ``primary`` (None: at nobody), and who only reads at ``readers``. Twice does nothing.

        ``founding`` is the number of the cluster's founding, because reigns begin anew with each;
        a decision that is older than the one in the file is refused. 0: not known, not compared.
        Raises PoolerFailed; the file may then be written already, and it is safe to try again.
        """
        wanted = Target(founding, reign, primary, readers if self._reading else ())
        async with self._lock:
            kept = await asyncio.to_thread(self._read)
            self._refuse_older(wanted, kept)
            if wanted == kept == self._told:
                return
            before, self._told = self._told, None
            if wanted != kept:
                await asyncio.to_thread(self._write, wanted)
            await self._tell_repeatedly(wanted, before)
            self._told = wanted
            log.info("pool-pointed target=%s reign=%d", wanted.text or "none", reign)

    def _refuse_older(self, wanted: Target, kept: Target | None) -> None:
        if kept is None or not wanted.founding or not kept.founding:
            return
        if (kept.founding, kept.reign) > (wanted.founding, wanted.reign):
            raise PoolerFailed(
                f"{self._pool.databases_file}: is of reign {kept.reign} (founding {kept.founding}), and this order "
                f"of reign {wanted.reign} (founding {wanted.founding}) is older. It was left as it is.")

    # --- the file ---------------------------------------------------------------

    def _read(self) -> Target | None:
        """What the file says; None when there is none, or it is not ours yet."""
        path = self._pool.databases_file
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                first = file.readline(1024).strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PoolerFailed(f"{path}: cannot be read ({error.strerror}). Let this service's user do it.") from error
        found = _HEADER.fullmatch(first)
        if found is None:
            return None
        primary, readers = _addresses(found["target"]), _addresses(found["readers"] or "none")
        return Target(
            int(found["founding"]), int(found["reign"]), primary[0] if primary else None, tuple(readers))

    def _write(self, target: Target) -> None:
        reading = f" readers={target.readers_text}" if self._reading else ""
        text = (
            f"; qluster founding={target.founding} reign={target.reign} target={target.text or 'none'}{reading}\n"
            f"; Written by the node daemon; changes by hand do not last.\n"
            f"[databases]\n"
            f"{self._pool.application_database} = {_place([target.primary or NOBODY])}\n")
        for name in self._reading:
            text += f"{name} = {_place(target.readers or [NOBODY])} dbname={self._pool.application_database}\n"
        path = self._pool.databases_file
        try:
            _replace(path, text.encode())
        except OSError as error:
            raise PoolerFailed(
                f"{path}: cannot be written ({error.strerror}). Let this service's user write in its directory."
            ) from error

    # --- the console ------------------------------------------------------------

    async def _tell_repeatedly(self, target: Target, before: Target | None) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self._tell(target, before)
                return
            except _NoSuchDatabase:
                raise PoolerFailed(self._not_offered) from None
            except PoolerFailed:
                if attempt == ATTEMPTS:
                    raise
                await asyncio.sleep(ATTEMPT_PAUSE)

    @property
    def _not_offered(self) -> str:
        names = " and ".join([self._pool.application_database, *self._reading])
        return (
            f"the pool at {self._place} does not offer the database {names}. "
            f"Let its configuration include {self._pool.databases_file} (%include).")

    async def _tell(self, target: Target, before: Target | None) -> None:
        """Clients that are to wait are told so before the file is read, unless it is the file that brings them."""
        waiting, going, moved = self._parts(target, before)
        pauses = [f"PAUSE {name}" for name in waiting]
        # In this order: a connection that is made just after RESUME would be closed again by RECONNECT, and the
        # pool makes the next one only after its pause for failed logins.
        goes_on = [f"RECONNECT {name}" for name in moved] + [f"RESUME {name}" for name in going]
        try:
            for pause in pauses:
                await self._commands(pause, unanswered=PAUSE_SECONDS)
            await self._commands("RELOAD", *goes_on)
        except _NoSuchDatabase:
            await self._commands("RELOAD", *goes_on)
            for pause in pauses:
                await self._commands(pause, unanswered=PAUSE_SECONDS)

    def _parts(self, target: Target, before: Target | None) -> tuple[list[str], list[str], list[str]]:
        """The databases whose clients wait, whose clients go on, and of these whose connections lead elsewhere."""
        offers: list[tuple[str, object, object]] = [
            (self._pool.application_database, target.primary, before.primary if before else None)
        ]
        offers += [(name, target.readers, before.readers if before else ()) for name in self._reading]
        waiting = [name for name, now, _ in offers if not now]
        going = [name for name, now, _ in offers if now]
        return waiting, going, [name for name, now, was in offers if now and now != was]

    async def _commands(
        self, *texts: str, unanswered: float | None = None, limit: float = CONSOLE_SECONDS
    ) -> None:
        """Commands on one connection: clients wait meanwhile, and each connection costs a password exchange.

        ``unanswered``: so long without an answer is fine; else ``limit`` is the end of patience.
        """
        connection = await self._connect()
        try:
            for text in texts:
                await self._command(connection, text, unanswered, limit)
        finally:
            connection.terminate()

    async def _command(
        self, connection: asyncpg.Connection, text: str, unanswered: float | None, limit: float
    ) -> None:
        running = asyncio.ensure_future(connection.execute(text))
        try:
            done, _ = await asyncio.wait({running}, timeout=unanswered or limit)
            if done:
                running.result()
            elif unanswered is None:
                raise _Unanswered(f"the pool's console at {self._place} did not answer {text} within "
                                  f"{limit:g} seconds. Look at the pool's log.")
        except asyncpg.PostgresError as error:
            self._judge(text, error)
        except (asyncpg.InterfaceError, OSError) as error:
            if isinstance(error, PoolerFailed):
                raise
            raise PoolerFailed(f"the pool's console at {self._place} broke off {text} ({error}). "
                               f"Look at the pool's log.") from error
        finally:
            if not running.done():
                # Ended first: a cancelled query would make the driver send a cancel request of its own.
                connection.terminate()
                running.cancel()
                with contextlib.suppress(
                    asyncio.CancelledError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError
                ):
                    await running

    def _judge(self, text: str, error: asyncpg.PostgresError) -> None:
        message = str(error)
        if "not paused" in message or "already paused" in message:
            return
        if "no such database" in message:
            raise _NoSuchDatabase from error
        raise PoolerFailed(f"the pool's console at {self._place} refused {text} ({message}). "
                           f"Make {self._pool.admin_user} one of its admin_users.") from error

    async def _connect(self) -> asyncpg.Connection:
        pool = self._pool
        password = await asyncio.to_thread(_first_line, pool.admin_password_file)
        try:
            return await asyncio.wait_for(
                asyncpg.connect(host=pool.host, port=pool.port, user=pool.admin_user, password=password,
                                database="pgbouncer"),
                CONSOLE_SECONDS)
        except TimeoutError:
            reason, remedy = f"no answer within {CONSOLE_SECONDS:g} seconds", "Look at the pool's log."
        except (ConnectionRefusedError, FileNotFoundError) as error:
            raise _NotRunning(self._unusable(error.strerror or str(error), "Start the pool's service.")) from error
        except OSError as error:
            reason, remedy = error.strerror or str(error), "Start the pool's service."
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            reason, remedy = str(error), (
                f"Make {pool.admin_user} one of the pool's admin_users, with the password in "
                f"{pool.admin_password_file}.")
        raise PoolerFailed(self._unusable(reason, remedy))

    def _unusable(self, reason: str, remedy: str) -> str:
        return f"the pool's console at {self._place} cannot be used ({reason}). {remedy}"

    @property
    def _place(self) -> str:
        return place_text(self._pool.host, self._pool.port)


def _addresses(text: str) -> list[Address]:
    """Places as the file's first line has them; none for "none"."""
    places = [place.rpartition(":") for place in text.split(",") if place != "none"]
    return [(host.strip("[]"), int(port)) for host, _, port in places]


def _place(addresses: Sequence[Address]) -> str:
    """Host and port for the pool, which takes several hosts in turn, all with one port."""
    hosts, ports = [host for host, _ in addresses], {port for _, port in addresses}
    assert len(ports) == 1 and all(str(ip_address(host)) == host for host in hosts), addresses
    [port] = ports
    assert 0 < port < 65536, addresses
    return f"host={','.join(hosts)} port={port}"


def _first_line(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline(4096).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PoolerFailed(f"{path}: cannot be read ({error}). It must hold the pool's admin password.") from error


def _replace(path: str, content: bytes) -> None:
    """Replace a file whole; the pool may read it at any moment, as another user."""
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        with open(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
