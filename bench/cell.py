"""What is measured: each cell is one question to several systems, and has a name to ask for it alone.

Must not know how anything is measured.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch

SIZES = (256, 4096, 61_440)
CLIENTS = (1, 8, 64, 256)
NODES = (3, 5, 7)


@dataclass(frozen=True)
class Cell:
    """``kind`` is one of the kinds below; what does not concern it is 0."""

    kind: str
    clients: int = 0
    size: int = 0
    nodes: int = 3

    @property
    def name(self) -> str:
        words: list[object] = [self.kind]
        if self.kind == "bytes":
            words.append(self.nodes)
        if self.clients:
            words += [self.clients, self.size]
        return "-".join(str(word) for word in words)


KINDS = {
    "disk": "the disk's own rate of append and flush",
    "http": "writes through HTTP with TLS, from so many clients",
    "entry": "writes without HTTP: from within the leader; for etcd by gRPC without TLS",
    "bytes": "bytes from the leader to its peers for each commit, with so many nodes",
    "failover": "from killing the leader to the next commit",
    "idle": "memory and CPU of a cluster that does nothing",
    "million": "memory after a million commits",
}


def all_cells() -> list[Cell]:
    """Every cell, in the order of running."""
    loads = [Cell(kind, clients, size) for kind in ("http", "entry") for size in SIZES for clients in CLIENTS]
    sent = [Cell("bytes", clients, 256, nodes) for clients in (1, 64) for nodes in NODES]
    return [Cell("disk"), *loads, *sent, Cell("failover"), Cell("idle"), Cell("million")]


def quick_cells() -> list[Cell]:
    """A form that shows within three minutes whether all parts work; its figures are worth nothing."""
    return [
        Cell("disk"), Cell("http", 8, 256), Cell("entry", 8, 256), Cell("entry", 64, 61_440),
        Cell("bytes", 8, 256, 3), Cell("failover"), Cell("idle"), Cell("million"),
    ]  # fmt: skip


def choose(patterns: list[str], cells: list[Cell]) -> list[Cell]:
    """The cells whose name fits one of the patterns (`http-64-256`, `http-*`, `bytes-7-*`)."""
    return [cell for cell in cells if any(fnmatch(cell.name, pattern) for pattern in patterns)]
