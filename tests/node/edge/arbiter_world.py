"""Arbiters on loopback with real sockets and TLS: our protocol served by a few lines, and clients with hands."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from random import Random

from edge.qnetd_world import Authority
from qluster.config import Device, parse
from qluster.edge.clock import monotonic
from qluster.edge.device import DeviceHand
from qluster.qdevice.client import Client
from qluster.qdevice.orders import Happening
from qluster.qdevice.settings import settings_of
from qluster.qnet import output
from qluster.qnet.arbiter import Arbiter
from qluster.qnet.names import NodeState
from qluster.qnet.settings import Settings
from qluster.qnet.tlv import RingId

PATIENCE = 20.0
NODE = "ip: 192.0.2.11\nudp: {socket: {group: 239.19.76.1:7400, interface: eth0}}\n"


async def wait_for(what: str, holds: Callable[[], object]) -> None:
    end = monotonic() + PATIENCE
    while not holds():
        assert monotonic() < end, f"not within {PATIENCE:g} s: {what}"
        await asyncio.sleep(0.01)


def authority_in(folder: Path) -> Authority:
    """One of its own, with its files there."""
    folder.mkdir()
    return Authority(folder)


class Served:
    """Our arbiter behind a port."""

    def __init__(self, settings: Settings | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.arbiter = Arbiter(settings or Settings())
        self.tls = tls
        self.connections: dict[int, Peer] = {}
        self.port = 0
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Peer(self), host, port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for peer in list(self.connections.values()):
            assert peer.transport is not None
            peer.transport.abort()
        await wait_for("the arbiter's connections are gone", lambda: not self.connections)
        if self._timer is not None:
            self._timer.cancel()

    def perform(self) -> None:
        for effect in self.arbiter.take():
            match effect:
                case output.Send(connection, data):
                    self.connections[connection].send(data)
                case output.BeginTls(connection, rest):
                    self.connections[connection].begin_tls(rest)
                case output.Close(connection, _):
                    transport = self.connections[connection].transport
                    assert transport is not None
                    transport.close()
        if self._timer is not None:
            self._timer.cancel()
        if self.arbiter.wake_at < float("inf"):
            self._timer = asyncio.get_running_loop().call_at(self.arbiter.wake_at, self._tick)

    def _tick(self) -> None:
        self.arbiter.tick(monotonic())
        self.perform()


class Peer(asyncio.Protocol):
    def __init__(self, served: Served) -> None:
        self.served = served
        self.number = 0
        self.transport: asyncio.Transport | None = None
        self.tls: ssl.SSLObject | None = None
        self.inward, self.outward = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.shaken = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.number = max(self.served.connections, default=0) + 1
        self.served.connections[self.number] = self
        host, port = transport.get_extra_info("peername")[:2]
        self.served.arbiter.connected(self.number, f"{host}:{port}", monotonic())
        self.served.perform()

    def connection_lost(self, exc: Exception | None) -> None:
        self.served.arbiter.closed(self.number, monotonic())
        self.served.perform()
        del self.served.connections[self.number]

    def data_received(self, data: bytes) -> None:
        if self.tls is None:
            self.served.arbiter.received(self.number, data, monotonic())
            self.served.perform()
        else:
            self.inward.write(data)
            self._pump()

    def send(self, data: bytes) -> None:
        assert self.transport is not None
        if self.tls is None:
            self.transport.write(data)
        else:
            self.tls.write(data)
            self.transport.write(self.outward.read())

    def begin_tls(self, rest: bytes) -> None:
        assert self.served.tls is not None
        self.tls = self.served.tls.wrap_bio(self.inward, self.outward, server_side=True)
        self.inward.write(rest)
        self._pump()

    def _pump(self) -> None:
        assert self.tls is not None and self.transport is not None
        try:
            if not self.shaken:
                self.tls.do_handshake()
                self.shaken = True
                subject = dict(part[0] for part in (self.tls.getpeercert() or {}).get("subject", ()))
                self.served.arbiter.tls_started(self.number, subject.get("commonName"))
            while True:
                data = self.tls.read(65536)
                if not data:
                    break
                self.served.arbiter.received(self.number, data, monotonic())
                self.served.perform()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self.transport.write(self.outward.read())
            self.transport.close()
            return
        self.transport.write(self.outward.read())


def server_tls(authority: Authority, name: str = "Qnetd Server", days: int = 1) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(*authority.issue(name, days=days))
    made.load_verify_locations(authority.file)
    made.verify_mode = ssl.CERT_REQUIRED
    return made


def device(host: str, port: int, **keys: object) -> Device:
    """A section ``device`` with short times; keys with ``_`` for ``-``."""
    section = {"host": f'"{host}"', "port": port, "timeout": "1250ms", "sync-timeout": "10s", "tls": "off"}
    section |= {name.replace("_", "-"): value for name, value in keys.items()}
    lines = "".join(f"  {name}: {value}\n" for name, value in section.items())
    found = parse(f"{NODE}device:\n{lines}", "test").device
    assert found is not None
    return found


class Seat:
    """A client with its hands, driven as a node drives it."""

    def __init__(self, section: Device, node: int, cluster: str = "qlab") -> None:
        self.client = Client(settings_of(section, cluster, node), Random(node))
        self.hand = DeviceHand(section, self.tell)
        self._timer: asyncio.TimerHandle | None = None
        self.client.configured((1, 2), None, monotonic())

    def tell(self, what: Happening) -> None:
        self.client.handle(what, monotonic())
        self.settle()

    def ring(self, ring: RingId, *members: int) -> None:
        self.client.membership(ring, members, monotonic())
        self.settle()
        states = [(node, NodeState.MEMBER if node in members else NodeState.DEAD) for node in (1, 2)]
        self.client.quorum(len(members) == 2, states, monotonic())
        self.settle()

    def settle(self) -> None:
        self.hand.perform(self.client.take())
        if self._timer is not None:
            self._timer.cancel()
        if self.client.wake_at < float("inf"):
            self._timer = asyncio.get_running_loop().call_at(self.client.wake_at, self._tick)

    def _tick(self) -> None:
        self.client.tick(monotonic())
        self.settle()

    async def close(self) -> None:
        self.client.stop(monotonic())
        self.settle()
        await self.hand.close()

    @property
    def acknowledged(self) -> bool:
        return self.client.held is not None

    @property
    def fault(self) -> str:
        return self.client.fault.reason if self.client.fault is not None else ""
