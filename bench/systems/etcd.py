"""etcd as Debian packages it: three or more members, TLS between them and to clients, every write flushed.

Must not know what is measured.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import re
import ssl
import urllib.request

from bench import wire
from bench.load import Order
from bench.processes import Server, wait_for
from bench.programs import Program
from bench.site import Site

CLIENT_PORT, PLAIN_PORT, PEER_PORT = 2379, 2377, 2380
QUOTA_BYTES = 8 * 1024**3
"""The database may grow to this: a run with large values passes the default of 2 GiB."""
KEY = b"bench"


class Etcd:
    """A cluster of etcd."""

    name = "etcd"

    def __init__(self, site: Site, program: Program) -> None:
        self.site = site
        self._program = program
        self.servers: dict[int, Server] = {}

    def start(self) -> None:
        """Start all members and wait until each knows the leader."""
        self.site.make()
        for number in self.site.numbers:
            self.servers[number] = self.launch(number)
        wait_for("etcd has a leader", self._led, list(self.servers.values()))

    def launch(self, number: int) -> Server:
        """Start one member."""
        return Server(self._words(number), self.site.place(number) / "log", self._program.environment)

    def _words(self, number: int) -> list[str]:
        site, ip, timers = self.site, self.site.ip(number), self.site.timers
        peers = ",".join(f"n{other}=https://{site.ip(other)}:{PEER_PORT}" for other in site.numbers)
        return [
            *site.prefix(number), self._program.path, "--name", f"n{number}",
            "--data-dir", str(site.place(number) / "data"),
            "--listen-client-urls", f"https://{ip}:{CLIENT_PORT},http://{ip}:{PLAIN_PORT}",
            "--advertise-client-urls", f"https://{ip}:{CLIENT_PORT}",
            "--listen-peer-urls", f"https://{ip}:{PEER_PORT}",
            "--initial-advertise-peer-urls", f"https://{ip}:{PEER_PORT}",
            "--initial-cluster", peers, "--initial-cluster-token", "bench",
            "--cert-file", str(site.folder / "server.crt"), "--key-file", str(site.folder / "server.key"),
            "--peer-cert-file", str(site.folder / "server.crt"), "--peer-key-file", str(site.folder / "server.key"),
            "--peer-trusted-ca-file", str(site.folder / "ca.crt"), "--peer-client-cert-auth",
            "--heartbeat-interval", str(round(timers.heartbeat * 1000)),
            "--election-timeout", str(round(timers.timeout * 1000)),
            "--quota-backend-bytes", str(QUOTA_BYTES), "--log-level", "warn",
        ]  # fmt: skip

    def _metrics(self, number: int) -> str:
        context = ssl.create_default_context(cafile=str(self.site.folder / "ca.crt"))
        try:
            url = f"https://{self.site.ip(number)}:{CLIENT_PORT}/metrics"
            with urllib.request.urlopen(url, timeout=2, context=context) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    def _led(self) -> bool:
        return all(_metric(self._metrics(number), "etcd_server_has_leader") == 1 for number in self.site.numbers)

    def leader(self) -> int:
        """The member that leads."""
        for number, server in self.servers.items():
            if server.alive and _metric(self._metrics(number), "etcd_server_is_leader") == 1:
                return number
        return 0

    def commits(self) -> int:
        """Raft entries committed so far, as the leader says."""
        return int(_metric(self._metrics(self.leader()), "etcd_server_proposals_committed_total"))

    def http(self, size: int) -> Order:
        """A write through the HTTP gateway."""
        body = wire.json_put(base64.b64encode(KEY).decode(), base64.b64encode(wire.value(size)).decode())
        return Order(f"https://{self.site.ip(self.leader())}:{CLIENT_PORT}/v3/kv/put", body)

    def grpc(self, size: int) -> Order:
        """A write through gRPC without TLS, etcd's shortest way."""
        headers = {"content-type": "application/grpc", "te": "trailers"}
        url = f"http://{self.site.ip(self.leader())}:{PLAIN_PORT}/etcdserverpb.KV/Put"
        return Order(url, wire.grpc_put(KEY, wire.value(size)), headers, grpc=True)

    def writes(self) -> list[wire.Endpoint]:
        """Where a client that looks for the new leader sends its writes: every member takes them."""
        body = wire.json_put(base64.b64encode(KEY).decode(), base64.b64encode(wire.value(256)).decode())
        return [
            wire.Endpoint(number, self.site.ip(number), CLIENT_PORT, "POST", "/v3/kv/put", (), body)
            for number in self.site.numbers
        ]

    def stop(self) -> None:
        """End all members and remove their data."""
        for server in self.servers.values():
            server.end()
        self.site.remove()


def _metric(text: str, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", text, re.M)
    return float(found[1]) if found else -1.0
