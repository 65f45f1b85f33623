"""One simulated node: what is durable, the participant while it runs, a clock, a disk that may be slow or lie.

Must not know other nodes, nor when anything of this happens.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from consensus.memory import Memory, copied
from qluster.consensus.messages import AnyMessage
from qluster.consensus.qraft import QRaft
from qluster.events import Entry, Identity, Save, Saved
from qluster.holding import Holding
from swarm.quiet import GRAIN, grid_after, on_grid
from swarm.registers import Registers

CLUSTER = 77


class Chance(Random):
    """What a participant draws; while nothing disturbs the cluster the same draw again and again."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.still: float | None = None

    def uniform(self, a: float, b: float) -> float:
        """On the grid of times."""
        part = self.still if self.still is not None else self.random()
        return on_grid(a + (b - a) * part)


@dataclass(slots=True)
class Host(Memory):
    """One host. Its number changes when its state is lost: then it is a new node."""

    node: int
    saved: Saved
    chance: Chance
    role: str = "node"
    qraft: QRaft | None = None
    registers: Registers = field(default_factory=Registers)
    applied: int = 0
    commit: int = 0
    promised: tuple[int, int | None] = (0, None)
    """Term and vote as they were last ordered to be saved."""
    wake: float = -1.0
    """When the timer in the queue is due; -1 when there is none."""
    spins: int = 0
    hung_until: float = -1.0
    rate: float = 1.0
    since: float = 0.0
    local: float = 0.0
    holding: Holding = field(default_factory=Holding)
    saving: list[tuple[int, list[Save]]] = field(default_factory=list)
    """Groups of saves that are on their way to the disk."""
    busy: bool = False
    """A group of saves is under way, and takes its time."""
    real: Saved | None = None
    """What will be there after a crash of a disk that lies."""
    lied: bool = False
    """Its disk said that something is durable, and lost it."""
    stay_down: bool = False
    joining: bool = False
    """It waits to be admitted, and takes no part before."""
    delay: float = GRAIN
    """How long what is sent to it takes while nothing disturbs the cluster."""

    # --- clock ---------------------------------------------------------------------------

    def clock(self, now: float) -> float:
        """What its clock says."""
        return self.local + (now - self.since) * self.rate

    def world_time(self, local: float) -> float:
        """When its clock will say so."""
        if local <= self.local:
            return self.since
        if self.rate == 1.0:
            return grid_after(self.since + (local - self.local))
        return grid_after(self.since + (local - self.local) / self.rate) + GRAIN

    def run_at(self, rate: float, now: float) -> None:
        """From now on its clock runs so fast. Back on the grid it goes forward a little, never back."""
        self.local, self.since = on_grid(self.clock(now)) + GRAIN, now
        self.rate = rate

    def lease_left(self, now: float) -> float:
        """Seconds of its lease, in the world's time."""
        if self.qraft is None:
            return -1.0
        return (self.qraft.lease_until - self.clock(now)) / self.rate

    # --- what is durable --------------------------------------------------------------------

    def read_anew(self) -> None:
        """As the disk does at a start: of a log beside a snapshot that replaced it nothing is kept."""
        saved, snapshot = self.saved, self.saved.snapshot
        if snapshot is None or not saved.entries or saved.entries[0].index > snapshot.index:
            return
        beside = self.entry(snapshot.index)
        goes_on = beside is not None and beside.term == snapshot.term
        saved.entries = [one for one in saved.entries if goes_on and one.index > snapshot.index]

    def begin_to_lie(self) -> None:
        """From here on the disk says that it has what it has not."""
        self.real = copied(self.saved)

    def lose_power(self) -> bool:
        """What the disk only said that it had is gone; True when that was anything."""
        real, self.real = self.real, None
        if real is None:
            return False
        lost = (real.term, real.vote, len(real.entries)) != (self.saved.term, self.saved.vote, len(self.saved.entries))
        self.saved = real
        self.lied = self.lied or lost
        return lost


def blank(node: int, entries: list[Entry]) -> Saved:
    """The state directory of a node that just got its number."""
    return Saved(1000 + node, 1, True, Identity(1000 + node, CLUSTER, node), 1 if entries else 0, None, None, entries)


Sending = tuple[int | None, AnyMessage]
