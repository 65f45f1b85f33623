"""The short way for load balancers: the same answers, on a connection that never meets the HTTP server."""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpRequestParser
from aiohttp.streams import EMPTY_PAYLOAD
from api import sample_status as sample
from edge.rest_world import READ, Node, World, running
from msgspec.structs import replace
from qluster.edge.rest import front
from qluster.edge.rest import server as rest

QUESTION = b"GET /is-leader HTTP/1.1\r\nHost: node1:8080\r\n\r\n"
SLOW = b"GET /is-leader HTTP/1.1\r\nHost: node1:8080\r\nX-Long: \xc3\xa4\r\n\r\n"
"""The same, in a form that only the server proper reads."""


@asynccontextmanager
async def connected(world: World) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    trusting = ssl.create_default_context(cafile=world.ca_file)
    reader, writer = await asyncio.open_connection(*world.address, ssl=trusting)
    try:
        async with asyncio.timeout(20):
            yield reader, writer
    finally:
        writer.close()


async def answer(reader: asyncio.StreamReader, *, body: bool = True) -> tuple[int, dict[str, str], bytes]:
    """Code, headers and body of the next answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    length = int(headers["Content-Length"])
    return int(head[0].split()[1]), headers, await reader.readexactly(length) if body else b""


async def test_short_way_and_long_way_say_the_same(tmp_path: Path) -> None:
    async with running(tmp_path, Node(sample.healthy(2))) as world:
        async with connected(world) as (reader, writer):
            writer.write(QUESTION)
            short = await answer(reader)
            assert world.node.asked == []
        async with connected(world) as (reader, writer):
            writer.write(SLOW)
            long = await answer(reader)
            assert len(world.node.asked) == 1
    assert short[0] == long[0] == 417
    assert json.loads(short[2]) == json.loads(long[2])
    assert {name: text for name, text in short[1].items() if name != "Date"} == {
        name: text for name, text in long[1].items() if name != "Date"
    }
    assert re.fullmatch(r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT", short[1]["Date"])


async def test_what_has_changed_is_said_on_the_same_connection(tmp_path: Path) -> None:
    async with running(tmp_path) as world, connected(world) as (reader, writer):
        codes = []
        for health in (
            sample.health(), sample.health(may_write=False), sample.health(2), sample.leaderless().health,
            sample.unjoined().health, sample.health(),
        ):  # fmt: skip
            world.node.status = replace(world.node.status, health=health)
            writer.write(QUESTION)
            codes.append((await answer(reader))[0])
    assert codes == [200, 531, 417, 530, 412, 200]
    assert world.node.asked == []


async def test_head_has_the_length_and_no_body(tmp_path: Path) -> None:
    async with running(tmp_path) as world, connected(world) as (reader, writer):
        writer.write(QUESTION.replace(b"GET", b"HEAD") + b"")
        code, headers, _ = await answer(reader, body=False)
        writer.write(QUESTION)
        assert (code, int(headers["Content-Length"])) == (200, len((await answer(reader))[2]))


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"GET /map HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + READ.encode() + b"\r\n\r\n", 200),
        (b"GET /is-leader?max-lag=1 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /is-replica?max-lag=ten HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /is-leader HTTP/1.1\r\n\r\n", 400),
        (b"GET /is-leader HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET /is-leader HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", 400),
        (b"GET /is-leader HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 200),
        (b"GET /is-leader HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"GET /is%2Dleader HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"POST /is-leader HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET /is-leader HTTP/1.1\nHost: x\n\n", 400),
        (b"\x00", 400),
    ],
)
async def test_every_other_request_is_read_by_the_server_proper(tmp_path: Path, sent: bytes, code: int) -> None:
    """Also after questions on the same connection, and the connection stays with it where it stays open."""
    async with running(tmp_path) as world, connected(world) as (reader, writer):
        writer.write(QUESTION)
        assert (await answer(reader))[0] == 200
        writer.write(sent)
        found, headers, _ = await answer(reader)
        assert found == code, found
        if headers.get("Connection") != "close" and code != 400:
            writer.write(QUESTION)
            assert (await answer(reader))[0] == 200
            assert world.node.asked[-1].path == "/is-leader"


async def test_question_in_pieces_or_in_a_row_is_answered_in_order(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        async with connected(world) as (reader, writer):
            writer.write(QUESTION[:10])
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.write(QUESTION[10:])
            assert (await answer(reader))[0] == 200
        async with connected(world) as (reader, writer):
            writer.write(QUESTION + QUESTION.replace(b"is-leader", b"liveness") + QUESTION)
            answers = [json.loads((await answer(reader))[2]) for _ in range(3)]
    assert [sorted(each) for each in answers] == [
        ["node", "reign", "term"], ["stopping", "turned_ago"], ["node", "reign", "term"],
    ]  # fmt: skip


HEADS = (
    QUESTION,
    b"OPTIONS /primary HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HEAD /is-replica?max-lag=10MiB HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nAccept: */*\r\n\r\n",
)


def harmed(text: bytes) -> Iterator[bytes]:
    """Every flipped bit, every cut, every byte too many of those that mean something in a request."""
    for at in range(len(text)):
        yield text[:at]
        for bit in range(8):
            yield text[:at] + bytes([text[at] ^ (1 << bit)]) + text[at + 1 :]
        for more in b" \t\r\n:%#/?&=\0\xff;,":
            yield text[:at] + bytes([more]) + text[at:]
        yield text[:at] + b"\r\n" + text[at:]
        yield text[:at] + text[: at + 1]


async def test_nothing_is_read_here_that_the_server_proper_reads_otherwise() -> None:
    loop = asyncio.get_running_loop()
    read = 0
    for head in HEADS:
        for text in harmed(head):
            probe = front._read(text)
            if probe is None:
                continue
            read += 1
            parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16)
            [[message, payload]], upgraded, tail = parser.feed_data(text)
            assert (payload, upgraded, tail, message.chunked) == (EMPTY_PAYLOAD, False, b"", False), text
            assert (message.method, message.url.path) == (probe.request.method, probe.request.path), text
            assert tuple(message.url.query.items()) == probe.request.query and not message.should_close, text
    assert read > 300  # other names of headers, other hosts: the same question


async def test_memory_of_questions_is_bounded_and_forgets_none(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(front, "KNOWN_MAX", 3)
    async with running(tmp_path) as world, connected(world) as (reader, writer):
        for number in [*range(7), *range(7)]:
            writer.write(QUESTION.replace(b"\r\n\r\n", b"\r\nX-Number: %d\r\n\r\n" % number))
            assert (await answer(reader))[0] == 200
        assert len(world.server._answers._known) <= 3
    assert world.node.asked == []


async def test_fault_of_the_judge_is_a_500(tmp_path: Path, monkeypatch) -> None:
    async with running(tmp_path) as world, connected(world) as (reader, writer):
        world.node.status = None  # type: ignore[assignment]
        writer.write(QUESTION)
        assert (await answer(reader))[0] == 500


class Wire(asyncio.Transport):
    """A connection without a peer: what was done to it, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []

    def write(self, data: bytes) -> None:
        self.done.append(data.decode().split(" ")[1])

    def pause_reading(self) -> None:
        self.done.append("deaf")

    def resume_reading(self) -> None:
        self.done.append("hears")


def test_client_that_reads_no_answers_is_not_heard_further() -> None:
    """Answers wait in memory for whoever does not read: only so many, then its questions wait in the kernel."""
    wire, node = Wire(), Node()
    one = front.Front(front.Answers(node.judge, {}), asyncio.Protocol, set())
    one.connection_made(wire)
    one.data_received(QUESTION)
    one.pause_writing()
    one.resume_writing()
    one.data_received(QUESTION)
    assert wire.done == ["200", "deaf", "hears", "200"]


async def test_connection_that_asks_nothing_for_long_is_closed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(rest, "SWEEP_INTERVAL", 0.05)
    async with running(tmp_path) as world, connected(world) as (reader, writer):
        writer.write(QUESTION)
        assert (await answer(reader))[0] == 200
        monkeypatch.setattr(rest, "IDLE_SECONDS", 0.1)
        assert await reader.read() == b""


async def test_connections_of_balancers_count_and_end_with_the_server(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(rest, "CONNECTIONS_MAX", 2)
    async with running(tmp_path) as world, connected(world) as (reader, writer), connected(world) as (other, second):
        for asks, hears in ((writer, reader), (second, other)):
            asks.write(QUESTION)
            assert (await answer(hears))[0] == 200
        with contextlib.suppress(ConnectionError):
            async with connected(world) as (third, _):
                assert await third.read() == b""
        await world.server.stop()
        assert await reader.read() == await other.read() == b""
