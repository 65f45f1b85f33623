"""Questions to a server by SQL, each with one deadline.

It must not know what the answers mean.

Every wait has its deadline outside of the driver, and a connection that missed one is thrown away
without a word: a cancel request to a server that hangs would hang too.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any

import asyncpg

from qluster.edge.postgres.failure import PostgresFailed
from qluster.events import Address

QUESTION_LIMIT = 2.0
"""Seconds for an answer over the Unix socket: everything that is asked is in memory."""
REMOTE_LIMIT = 3.0
"""Seconds to connect to another node, and for each answer of it."""

ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class Session:
    """One connection to this host's server, kept between questions."""

    def __init__(self, socket_dir: str, port: int, user: str) -> None:
        self._arguments: dict[str, Any] = {"host": socket_dir, "port": port, "user": user, "database": "postgres"}
        self._connection: Any = None
        self._turn = asyncio.Lock()

    async def rows(self, question: str, *values: object, limit: float = QUESTION_LIMIT) -> list[Any]:
        """Ask; raises :class:`PostgresFailed` when there is no good answer in time."""
        async with self._turn:
            used: Any = None
            try:
                async with asyncio.timeout(limit):
                    if self._connection is None or self._connection.is_closed():
                        self._connection = await _connect(**self._arguments)
                    used = self._connection
                    answer = await used.fetch(question, *values)
                    return list(answer)
            except TimeoutError:
                self.drop()
                raise PostgresFailed(f"the database did not answer within {limit:g} seconds") from None
            except ERRORS as error:
                self.drop()
                refused = sentence(error) if isinstance(error, asyncpg.PostgresError) else ""
                raise PostgresFailed(f"the database did not answer: {sentence(error)}", refused=refused) from error
            except asyncio.CancelledError:
                self.drop()
                raise
            except AttributeError as error:
                # Dropped between an answer and the driver's next step: it works on with what it no longer has.
                if used is None or self._connection is used:
                    raise
                raise PostgresFailed("the database did not answer: the connection was closed meanwhile") from error

    async def row(self, question: str, *values: object, limit: float = QUESTION_LIMIT) -> Any:
        """The only row of an answer."""
        rows = await self.rows(question, *values, limit=limit)
        assert len(rows) == 1, question
        return rows[0]

    def drop(self) -> None:
        """Throw the connection away."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


async def _connect(name: str = "qluster", **arguments: Any) -> Any:
    """Connect with the driver's own guards switched off that could wait longer than we do."""
    return await asyncpg.connect(
        **arguments,
        timeout=60,
        statement_cache_size=20,
        server_settings={"application_name": name, "search_path": "pg_catalog"},
    )


@contextlib.asynccontextmanager
async def remote(
    address: Address, user: str, password: str, *, name: str = "qluster", ca_file: str = ""
) -> AsyncIterator[Remote]:
    """A connection to another node's server; failures of it are passing ones."""
    where = f"{address[0]}:{address[1]}"
    connection: Any = None
    try:
        async with asyncio.timeout(REMOTE_LIMIT):
            more = {"ssl": ssl.create_default_context(cafile=ca_file)} if ca_file else {}
            connection = await _connect(
                name, host=address[0], port=address[1], user=user, password=password, database="postgres", **more
            )
        yield Remote(connection, where)
    except TimeoutError:
        raise PostgresFailed(
            f"the database at {where} did not answer within {REMOTE_LIMIT:g} seconds", passing=True
        ) from None
    except ERRORS as error:
        raise PostgresFailed(f"the database at {where}: {sentence(error)}", passing=True) from error
    finally:
        if connection is not None:
            connection.terminate()


class Remote:
    """Questions to another node's server."""

    def __init__(self, connection: Any, where: str) -> None:
        self._connection = connection
        self.where = where

    async def row(self, question: str, *values: object, limit: float = REMOTE_LIMIT) -> Any:
        """The only row of an answer."""
        async with asyncio.timeout(limit):
            return await self._connection.fetchrow(question, *values)


def sentence(error: BaseException) -> str:
    """One line, and never the statement."""
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
