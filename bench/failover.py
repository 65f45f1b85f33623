"""The time from killing the leader to the next commit, as clients with open connections see it.

Every few milliseconds one write goes to each node that is left, whether or not earlier ones were
answered: what counts is the first that any of them acknowledges. Must not know the systems.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.wire import Endpoint

ASK_INTERVAL = 0.005
"""Seconds between two writes to one node: the resolution of the result."""
CONNECTIONS = 40
"""To each node: so many writes may wait for an answer at once."""
LIMIT = 30.0
"""Seconds; a cluster that takes longer has failed."""
REST = 0.05
"""Seconds between opening the connections and the kill."""


class NotBack(Exception):
    """No write was acknowledged in time after the leader died."""


@dataclass
class _Trial:
    over: asyncio.Event = field(default_factory=asyncio.Event)
    acknowledged: float = 0.0
    busy: set[asyncio.Task[None]] = field(default_factory=set)


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def measure(endpoints: list[Endpoint], authority: Path, kill: Callable[[], None]) -> float:
    """Open connections to the endpoints (the leader's is not among them), kill, write until a commit."""
    context = ssl.create_default_context(cafile=str(authority))
    pools: dict[Endpoint, list[Connection]] = {}
    for endpoint in endpoints:
        asked = [asyncio.open_connection(endpoint.ip, endpoint.port, ssl=context) for _ in range(CONNECTIONS)]
        pools[endpoint] = list(await asyncio.gather(*asked))
    try:
        await asyncio.sleep(REST)
        return await _trial(pools, kill)
    finally:
        for _, writer in [connection for pool in pools.values() for connection in pool]:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _trial(pools: dict[Endpoint, list[Connection]], kill: Callable[[], None]) -> float:
    trial = _Trial()
    kill()
    killed = time.monotonic()
    try:
        async with asyncio.timeout(LIMIT):
            while not trial.over.is_set():
                for endpoint, pool in pools.items():
                    if pool:
                        task = asyncio.create_task(_ask(endpoint, pool, trial))
                        trial.busy.add(task)
                        task.add_done_callback(trial.busy.discard)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(trial.over.wait(), ASK_INTERVAL)
    except TimeoutError:
        raise NotBack(f"no commit within {LIMIT:g} s after the leader was killed") from None
    finally:
        for task in list(trial.busy):
            task.cancel()
        await asyncio.gather(*trial.busy, return_exceptions=True)
    return trial.acknowledged - killed


async def _ask(endpoint: Endpoint, pool: list[Connection], trial: _Trial) -> None:
    """One write; the connection goes back when it was answered, whatever the answer."""
    reader, writer = pool.pop()
    try:
        writer.write(endpoint.request())
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").lower().split("\r\n")
        sizes = [int(line.split(":")[1]) for line in lines if line.startswith("content-length:")]
        await reader.readexactly(sizes[0] if sizes else 0)
    except (OSError, EOFError):
        writer.close()
        return
    if head.startswith(b"HTTP/1.1 200") and not trial.over.is_set():
        trial.acknowledged = time.monotonic()
        trial.over.set()
    pool.append((reader, writer))
