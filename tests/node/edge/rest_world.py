"""What tests of the HTTP edges need: certificates, tokens, a configuration, a running server."""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import trustme
from api import sample_status as sample
from qluster import clients
from qluster.api.routes import BYTES, Probe, Reply, Request, answer_probe, decide, reply
from qluster.config import Config, parse
from qluster.edge.rest import RestServer
from qluster.status import Status

IP = "127.0.0.1"
READ, OPERATE, DEPLOY = "read-0123456789", "operate-0123456789", "deploy-0123456789"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((IP, 0))
        return int(probe.getsockname()[1])


def issue(authority: trustme.CA, folder: Path) -> None:
    """A certificate for the test's address; an earlier one is replaced."""
    certificate = authority.issue_cert(IP)
    (folder / "api.crt").write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    (folder / "api.key").write_bytes(certificate.private_key_pem.bytes())


def configured(folder: Path, port: int) -> Config:
    text = f"""
ip: {IP}
api-port: {port}
udp: {{socket: {{group: "239.19.76.1:7400", interface: lo}}}}
api:
  certificate-file: {folder}/api.crt
  key-file: {folder}/api.key
  ca-file: {folder}/ca.crt
  read-token-file: {folder}/read.token
  operate-token-file: {folder}/operate.token
  deploy-token-file: {folder}/deploy.token
role: listener
"""
    return parse(text, "config.yaml")


@dataclass
class Node:
    """Stands where the daemon stands: asks the routes, and answers events at once."""

    status: Status = field(default_factory=sample.healthy)
    outcome: Callable[[clients.ClientRequest], clients.Outcome] = lambda event: clients.Done(43)
    asked: list[Request] = field(default_factory=list)
    told: list[clients.ClientRequest] = field(default_factory=list)
    gate: asyncio.Event | None = None
    snapshot: bytes | None = None

    async def handle(self, request: Request) -> Reply:
        self.asked.append(request)
        if self.gate is not None:
            await self.gate.wait()
        decided = decide(request, lambda: self.status, 1)
        if isinstance(decided, Reply):
            return decided if decided.file != "output" else Reply(200, b"said", {"Content-Type": BYTES})
        self.told.append(decided)
        return reply(request, self.outcome(decided), lambda: self.status)

    def judge(self, probe: Probe) -> Reply:
        return answer_probe(probe, self.status.health)

    async def provide(self, index: int) -> bytes | None:
        return self.snapshot


@dataclass
class World:
    config: Config
    authority: trustme.CA
    folder: Path
    node: Node
    server: RestServer

    @property
    def address(self) -> tuple[str, int]:
        return (self.config.ip, self.config.api_port)

    @property
    def ca_file(self) -> str:
        return str(self.folder / "ca.crt")


@asynccontextmanager
async def running(folder: Path, node: Node | None = None) -> AsyncIterator[World]:
    """A server on a free port, stopped at the end."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.crt")
    issue(authority, folder)
    (folder / "read.token").write_text(READ + "\n")
    (folder / "operate.token").write_text(OPERATE + "\n")
    (folder / "deploy.token").write_text(f"sha256:{sha256(DEPLOY.encode()).hexdigest()}\n")
    node = node or Node()
    config = configured(folder, free_port())
    server = RestServer(config, node.handle, node.provide, node.judge)
    await server.start()
    try:
        yield World(config, authority, folder, node, server)
    finally:
        await server.stop()
