"""The daemon's memories: nobody is answered before it is durable, and what was answered is there after a crash."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import resource
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

from edge.qnetd_world import Client, running
from msgspec.structs import replace
from qluster.qnet.memories import FOUNDINGS_MAX, NAME_MAX, Key, Memories
from qluster.qnet.memory import Kept
from qluster.qnet.messages import HEADER, EchoReply, EchoRequest, Init, Preinit, decode, encode
from qluster.qnet.names import (
    SUPPORTED_MESSAGES,
    DecisionAlgorithm,
    MessageType,
    OwnMessage,
    Refusal,
    Stage,
    TlsSupported,
)
from qluster.qnet.own import OWN_KINDS, MemoryAnswer, MemoryAsk, MemoryOpen, MemoryOpened, decode_any
from qluster.qnet.settings import Settings
from qluster.qnetd.driver import Driver, Keeping
from qnet.recorded import frames
from qnet.shorthand import LOWEST, ring

INIT = Init(
    seq=2, supported_messages=(*SUPPORTED_MESSAGES, *OWN_KINDS), supported_options=(), node_id=1,
    decision_algorithm=DecisionAlgorithm.FFSPLIT, heartbeat_interval=60_000, tie_breaker=LOWEST, ring_id=ring("1.4"),
)  # fmt: skip


class Remembered(Client):
    """A node that uses the memory."""

    def open(self) -> MemoryOpened:
        self.preinit()
        self.say(INIT)
        self.hear()
        self.say(MemoryOpen(seq=3, founding=5))
        opened = self.hear_own()
        assert isinstance(opened, MemoryOpened)
        return opened

    def ask(self, term: int, candidate: int) -> MemoryAnswer:
        self.say(MemoryAsk(seq=4, stage=Stage.VOTE, term=term, candidate=candidate, last_term=1, index=1))
        answer = self.hear_own()
        assert isinstance(answer, MemoryAnswer)
        return answer

    def hear_own(self) -> object:
        head = self._take(HEADER.size)
        kind, size = HEADER.unpack(head)
        return decode_any(kind, self._take(size))


def test_vote_is_not_forgotten_by_a_kill(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    with running(tmp_path, **{"memory-dir": str(kept)}) as arbiter:
        client = Remembered(arbiter)
        uid = client.open().uid
        assert client.ask(3, 1).granted
        arbiter.child.kill()
    with running(tmp_path, **{"memory-dir": str(kept)}) as arbiter:
        arbiter.logged("remembers memories=1")
        client = Remembered(arbiter)
        opened = client.open()
        assert (opened.uid, opened.term) == (uid, 3)
        assert client.ask(3, 2).refusal is Refusal.VOTED
        assert client.ask(4, 2).granted


def test_without_a_directory_none_are_offered(tmp_path: Path) -> None:
    with running(tmp_path) as arbiter:
        client = Client(arbiter)
        client.preinit()
        client.say(INIT)
        assert client.hear().supported_messages == SUPPORTED_MESSAGES  # type: ignore[attr-defined]


def test_arbiter_that_cannot_keep_ends_and_answers_nobody(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    with running(tmp_path, **{"memory-dir": str(kept)}) as arbiter:
        # With so many memories in use the file is longer than the log, and from here on no file may be longer.
        client = Remembered(arbiter, cluster="x" * NAME_MAX)
        client.open()
        for founding in range(6, 5 + FOUNDINGS_MAX):
            client.say(MemoryOpen(seq=3, founding=founding))
            client.hear_own()
            client.ask(3, 1)
        written = len((kept / "memories").read_bytes().rstrip(b"\0"))
        assert written > 2 * len(arbiter.log())
        resource.prlimit(arbiter.child.pid, resource.RLIMIT_FSIZE, (written,) * 2)
        client.say(MemoryAsk(seq=4, stage=Stage.VOTE, term=4, candidate=1, last_term=1, index=1))
        assert client.stream.recv(1) == b""
        assert arbiter.child.wait(20) == 1
        arbiter.logged("ERROR", "memory-dir:", "File too large")


async def test_nobody_is_answered_before_it_is_durable() -> None:
    released, asked = threading.Event(), threading.Event()
    saved: list[dict[Key, Kept]] = []

    def save(changes: Mapping[Key, Kept]) -> None:
        asked.set()
        assert released.wait(20)
        saved.append(dict(changes))

    settings = Settings(tls=TlsSupported.UNSUPPORTED)
    driver = Driver(settings, None, 1.0, Keeping(Memories({}, Random(1), 0.0), save, lambda fault: None))
    listening = socket.create_server(("127.0.0.1", 0))
    driver.listen(listening, 1)
    reader, writer = await asyncio.open_connection(*listening.getsockname())

    async def hear() -> object:
        kind, size = HEADER.unpack(await asyncio.wait_for(reader.readexactly(HEADER.size), 20))
        body = await reader.readexactly(size)
        return decode_any(kind, body) if kind in OWN_KINDS else decode(kind, body)

    try:
        writer.write(encode(Preinit(seq=1, cluster_name=b"qlab")) + encode(INIT))
        writer.write(encode(MemoryOpen(seq=3, founding=5)))
        for _ in range(3):
            await hear()
        # What was only opened is missed by nobody, and is not kept.
        vote = MemoryAsk(seq=4, stage=Stage.VOTE, term=3, candidate=1, last_term=1, index=1)
        writer.write(encode(vote) + encode(EchoRequest(seq=1)))
        await asyncio.to_thread(asked.wait, 20)
        writer.write(encode(EchoRequest(seq=2)))
        # The loop turns while the disk is waited for, and everything that came has been looked at.
        for _ in range(20):
            await asyncio.sleep(0)
        assert not reader._buffer and not saved  # type: ignore[attr-defined]
        released.set()
        assert isinstance(await hear(), MemoryAnswer)
        assert [await hear(), await hear()] == [EchoReply(seq=1), EchoReply(seq=2)]
        assert list(saved[0]) == [(b"qlab", 5)]
    finally:
        released.set()
        writer.close()
        await driver.stop(5)


class Many:
    """A driver with clients in this loop, which turns only where something is awaited."""

    def __init__(self, clients: int, save: Callable[[Mapping[Key, Kept]], None], heartbeat: int = 60_000) -> None:
        settings = Settings(tls=TlsSupported.UNSUPPORTED, heartbeat_min=100)
        self.driver = Driver(settings, None, 1.0, Keeping(Memories({}, Random(1), 0.0), save, lambda fault: None))
        listening = socket.create_server(("127.0.0.1", 0))
        self.driver.listen(listening, clients)
        self.clients = [socket.create_connection(listening.getsockname()) for _ in range(clients)]
        for number, one in enumerate(self.clients):
            joining = replace(INIT, heartbeat_interval=heartbeat)
            one.sendall(encode(Preinit(seq=1, cluster_name=b"c%d" % number)) + encode(joining))
            one.sendall(encode(MemoryOpen(seq=3, founding=5)))

    async def hears(self, kind: OwnMessage) -> None:
        """Until everybody got one of these."""
        for one in self.clients:
            one.setblocking(False)
            heard = b""
            async with asyncio.timeout(20):
                while all(frame.kind != kind for frame in frames(heard, {*MessageType, *OwnMessage})):
                    heard += await asyncio.get_running_loop().sock_recv(one, 65536)

    async def stop(self) -> None:
        for one in self.clients:
            one.close()
        await self.driver.stop(5)


async def test_all_that_comes_at_once_is_one_flush() -> None:
    saved: list[dict[Key, Kept]] = []
    many = Many(5, lambda changes: saved.append(dict(changes)))
    await many.hears(OwnMessage.MEMORY_OPENED)
    saved.clear()
    for one in many.clients:
        one.sendall(encode(MemoryAsk(seq=4, stage=Stage.VOTE, term=3, candidate=1, last_term=1, index=1)))
    await many.hears(OwnMessage.MEMORY_ANSWER)
    assert [sorted(changes) for changes in saved] == [[(b"c%d" % number, 5) for number in range(5)]]
    await many.stop()


async def test_who_spoke_while_the_disk_was_waited_for_is_not_silent() -> None:
    released, asked = threading.Event(), threading.Event()

    def save(changes: Mapping[Key, Kept]) -> None:
        asked.set()
        assert released.wait(20)

    many = Many(1, save, heartbeat=400)
    await many.hears(OwnMessage.MEMORY_OPENED)
    [client] = many.clients
    client.sendall(encode(MemoryAsk(seq=4, stage=Stage.VOTE, term=3, candidate=1, last_term=1, index=1)))
    await asyncio.to_thread(asked.wait, 20)
    for _ in range(10):
        client.sendall(encode(EchoRequest(seq=1)))
        await asyncio.sleep(0.1)
    released.set()
    await many.hears(OwnMessage.MEMORY_ANSWER)
    assert [one.cluster_name for one in many.driver.arbiter.clients] == [b"c0"]
    await many.stop()
