"""The folder of one cluster: addresses, certificates and keys that all systems share.

Must not know which system uses it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import trustme

READ_TOKEN, OPERATE_TOKEN = "read-token-of-the-benchmark", "operate-token-of-the-benchmark"


@dataclass(frozen=True)
class Timers:
    """How long silence lasts until there is an election: the same for all systems."""

    heartbeat: float
    timeout: float


CALM = Timers(0.1, 1.0)
"""etcd's own defaults; nothing of throughput depends on them."""
QUICK = Timers(0.01, 0.1)
"""For the time from the leader's death to the next commit."""
SEED = Timers(10.0, 30.0)
"""The product's own defaults, for the idle cluster."""


def own_net() -> str:
    """Loopback addresses of this process's own: two benchmarks at once do not meet."""
    number = os.getpid()
    return f"127.{100 + number // 250 % 100}.{number % 250}"


@dataclass(frozen=True)
class Site:
    """Where a cluster lives: ``nodes`` hosts with an address each, and what comes before a node's command."""

    folder: Path
    nodes: int
    timers: Timers
    net: str = field(default_factory=own_net)
    interface: str = "lo"
    entering: str = ""
    """Name of the network namespaces, without the node's number; "" for this host's own network."""

    def make(self) -> None:
        """Write what the servers read."""
        shutil.rmtree(self.folder, ignore_errors=True)
        authority = trustme.CA()
        # Outgoing connections over loopback come from its first address, and etcd compares it with the certificate.
        certificate = authority.issue_cert(*(self.ip(number) for number in self.numbers), "127.0.0.1", "localhost")
        for number in self.numbers:
            self.place(number).mkdir(parents=True)
        authority.cert_pem.write_to_path(str(self.folder / "ca.crt"))
        certificate.private_key_pem.write_to_path(str(self.folder / "server.key"))
        (self.folder / "server.key").chmod(0o600)
        certificate.cert_chain_pems[0].write_to_path(str(self.folder / "server.crt"))
        self._secret("cluster.key", "1:" + base64.b64encode(bytes(range(32))).decode())
        self._secret("read.token", READ_TOKEN)
        self._secret("operate.token", OPERATE_TOKEN)

    def _secret(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text + "\n")
        path.chmod(0o600)

    @property
    def numbers(self) -> range:
        """The nodes' numbers."""
        return range(1, self.nodes + 1)

    def ip(self, number: int) -> str:
        """Address of a node."""
        return f"{self.net}.{number}"

    def place(self, number: int) -> Path:
        """Folder of a node."""
        return self.folder / f"node{number}"

    def prefix(self, number: int) -> list[str]:
        """What comes before a command that runs on a node's host."""
        return ["ip", "netns", "exec", f"{self.entering}{number}"] if self.entering else []

    def remove(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.folder, ignore_errors=True)
