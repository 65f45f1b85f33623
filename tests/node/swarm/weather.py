"""What can happen to the hosts of a run and how often, what happened, and a member for its first list."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from qluster.consensus.members import Member


@dataclass(slots=True)
class Weather:
    """How bad the network and the disks are. Probabilities are per message, per output, per save."""

    loss: float = 0.0
    duplication: float = 0.0
    delay_max: float = 0.01
    late: float = 0.0
    late_max: float = 30.0
    crash: float = 0.0
    """At a seam: before a save, inside it, after it and before what waits for it is sent."""
    slow_save: float = 0.0
    save_seconds: float = 5.0


@dataclass(slots=True)
class Counts:
    """What a run was."""

    stepped: float = 0.0
    skipped: float = 0.0
    jumps: int = 0
    events: int = 0
    elections: int = 0
    crashes: int = 0
    changes: int = 0
    faults: Counter[str] = field(default_factory=Counter)


def member(node: int, voter: bool = True, role: str = "node") -> Member:
    """A member of the simulated cluster."""
    return Member(node, 1000 + node, f"10.0.0.{node % 250 + 1}", 8080, 7400, 5432, voter, role)
