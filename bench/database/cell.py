"""What is measured: each cell is one fault to clusters of one kind, and has a name to ask for it alone.

Must not know how anything is measured.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch

FAULTS = {
    "kill": "SIGKILL to the primary's postmaster; the daemons live",
    "host": "the cable of the primary's host is pulled, and everything on it gets SIGKILL",
    "cut": "the primary's host and the others hear nothing of each other; clients reach all of them",
    "mute": "the primary's host hears the others, and is heard by nobody but clients",
    "deaf": "the primary's host is heard, and hears nobody but clients",
    "hang": "SIGSTOP to the daemon beside the primary; the database lives",
    "full": "the disk of the primary's database is full",
    "switchover": "a planned change of primary, through the system's own interface",
}
"""Fault → what is done to the host that has the primary."""
REPLICATION = ("quorum", "off")
"""quorum: one of two replicas confirms a transaction before it is acknowledged; off: nobody does."""
SETTINGS = ("default", "fast", "equal", "pair")
"""Each system's own time-outs; the shortest that are reasonable; Patroni's shortest for both; the first again, with two
databases and a third host that only votes."""
SYSTEMS = ("qluster", "patroni")


@dataclass(frozen=True)
class Cell:
    """One fault, one kind of cluster."""

    fault: str
    replication: str
    setting: str

    @property
    def name(self) -> str:
        return f"{self.fault}-{self.replication}-{self.setting}"

    @property
    def databases(self) -> int:
        """How many hosts have one."""
        return 2 if self.setting == "pair" else 3

    @property
    def kind(self) -> tuple[str, str]:
        """Cells of one kind share a cluster."""
        return self.replication, self.setting


def all_cells() -> list[Cell]:
    """Every cell, in the order of running: what shares a cluster stands together.

    Who is content with asynchronous replication does not ask for the shortest time-outs: it has the default ones.
    """
    kinds = [("quorum", setting) for setting in ("fast", "default", "equal", "pair")] + [("off", "default")]
    return [Cell(fault, *kind) for kind in kinds for fault in FAULTS]


def contenders(cell: Cell) -> tuple[str, ...]:
    """Who takes part. Patroni's shortest time-outs are what the others are made equal to: it has these already."""
    return ("qluster",) if cell.setting == "equal" else SYSTEMS


def choose(patterns: list[str], cells: list[Cell]) -> list[Cell]:
    """The cells whose name fits one of the patterns (`kill-quorum-fast`, `*-off-*`)."""
    return [cell for cell in cells if any(fnmatch(cell.name, pattern) for pattern in patterns)]
