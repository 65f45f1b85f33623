"""A snapshot over lines that break, from nodes that offer another one meanwhile."""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from edge.rest_world import IP, OPERATE, Node, World, running
from qluster.edge import client
from qluster.edge.client import ClientError

CONTENT = bytes(range(256)) * 8192
NEWER = CONTENT[::-1] * 2


@asynccontextmanager
async def breaking(world: World, limit: int) -> AsyncIterator[tuple[str, int]]:
    """A relay to the node that breaks each connection after so many bytes of the answer."""

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inward, outward = await asyncio.open_connection(*world.address)
        asking = asyncio.create_task(pass_on(reader, outward, 1 << 40))
        with contextlib.suppress(ConnectionError):
            await pass_on(inward, writer, limit)
        asking.cancel()
        for end in (writer, outward):
            end.transport.abort()

    server = await asyncio.start_server(relay, IP, 0)
    try:
        yield server.sockets[0].getsockname()
    finally:
        server.close()


async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter, limit: int) -> None:
    passed = 0
    while passed < limit and (piece := await source.read(min(65536, limit - passed))):
        passed += len(piece)
        sink.write(piece)
        await sink.drain()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ATTEMPT_PAUSE", 0.01)


async def test_snapshot_arrives_over_a_line_that_breaks_often(tmp_path: Path) -> None:
    async with running(tmp_path, Node(snapshot=CONTENT)) as world, breaking(world, 200_000) as address:
        assert await client.fetch_snapshot(address, OPERATE, world.ca_file) == CONTENT
        ranges = [request.headers.get("range") for request in world.node.asked]
    assert ranges[0] is None and len(ranges) > client.ATTEMPTS_MAX
    begins = [int(text.removeprefix("bytes=").removesuffix("-")) for text in ranges[1:] if text]
    assert begins == sorted(set(begins)), "each goes on where the one before it broke"


async def test_line_that_brings_nothing_is_given_up(tmp_path: Path) -> None:
    async with running(tmp_path, Node(snapshot=CONTENT)) as world, breaking(world, 4_000) as address:
        with pytest.raises(ClientError, match="5 attempts in a row brought nothing"):
            await client.fetch_snapshot(address, OPERATE, world.ca_file)
        assert len(world.node.asked) <= client.ATTEMPTS_MAX


@pytest.mark.parametrize("newer", [NEWER, CONTENT[:1000]], ids=["longer", "shorter"])
async def test_snapshot_that_changes_meanwhile_is_fetched_anew(tmp_path: Path, newer: bytes) -> None:
    node = Node(snapshot=CONTENT)
    provide = node.provide
    asked = 0

    async def changing(index: int) -> bytes | None:
        nonlocal asked
        asked += 1
        if asked == 3:
            node.snapshot = newer
        return await provide(index)

    node.provide = changing  # type: ignore[method-assign]
    async with running(tmp_path, node) as world, breaking(world, 700_000) as address:
        assert await client.fetch_snapshot(address, OPERATE, world.ca_file) == newer
