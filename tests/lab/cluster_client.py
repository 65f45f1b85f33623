"""A client of the cluster in a lab: a process on the lab's network, which the tests are not on.

cluster_client.py leaders CA TOKEN ADDRESS...   the addresses that say they lead, as JSON
cluster_client.py rows DSN STATEMENT            the first column of each row, as JSON
cluster_client.py write DSN FIRST               inserts numbers until its standard input ends;
                                                a line "NUMBER SECONDS" for each acknowledged one
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import json
import sys
import time

import asyncpg
import requests

CONNECT_TIMEOUT = 5.0  # seconds
ANSWER_TIMEOUT = 5.0
RETRY_INTERVAL = 0.05
REST_PORT = 8080
# What a client sees of a server that goes away; the last one when it goes in the middle of an answer.
LOST = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


def leaders(authority: str, token: str, addresses: list[str]) -> list[str]:
    """Those that answer 200 on /is-leader."""
    found = []
    for address in addresses:
        try:
            answer = requests.get(
                f"https://{address}:{REST_PORT}/is-leader",
                verify=authority,
                headers={"Authorization": f"Bearer {token}"},
                timeout=2,
            )
        except requests.RequestException:
            continue  # no answer is an answer: it does not lead
        if answer.status_code == 200:
            found.append(address)
    return found


async def connect(dsn: str) -> asyncpg.Connection:
    # The pool hands out one server connection after another: no prepared statement may be kept.
    return await asyncio.wait_for(asyncpg.connect(dsn, statement_cache_size=0), CONNECT_TIMEOUT)


async def rows(dsn: str, statement: str) -> list[object]:
    connection = await connect(dsn)
    try:
        return [row[0] for row in await asyncio.wait_for(connection.fetch(statement), ANSWER_TIMEOUT)]
    finally:
        connection.terminate()


async def write(dsn: str, first: int) -> None:
    """Insert one number after another; one without an answer is never tried again."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
    connection: asyncpg.Connection | None = None
    number = first
    while not ended.is_set():
        try:
            if connection is None:
                connection = await connect(dsn)
            # Without arguments it is one message, as simple as a client can be.
            insert = connection.execute(f"insert into ledger values ({number})")
            await asyncio.wait_for(insert, ANSWER_TIMEOUT)
            print(number, f"{time.monotonic():.3f}", flush=True)
        except LOST:
            if connection is not None:
                connection.terminate()
            connection = None
            await asyncio.sleep(RETRY_INTERVAL)
        number += 1
    if connection is not None:
        connection.terminate()


def main(order: str, *words: str) -> None:
    if order == "leaders":
        print(json.dumps(leaders(words[0], words[1], list(words[2:]))))
    elif order == "rows":
        print(json.dumps(asyncio.run(rows(*words))))
    else:
        asyncio.run(write(words[0], int(words[1])))


if __name__ == "__main__":
    main(*sys.argv[1:])
