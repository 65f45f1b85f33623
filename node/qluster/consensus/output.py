"""What a participant of QRaft wants done after what it was told, in the order of doing.

Must not know who does it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import dataclass, field

from qluster.consensus.messages import AnyMessage
from qluster.events import DeviceQuestion, Entry, Save, Snapshot


@dataclass(frozen=True, slots=True)
class Fetch:
    """Fetch from ``node`` a snapshot with at least this index, then call ``install``."""

    node: int
    index: int


@dataclass(slots=True)
class Output:
    """``save`` is durable before anything else here happens."""

    save: list[Save] = field(default_factory=list)
    send: list[tuple[int | None, AnyMessage]] = field(default_factory=list)
    """Destination node (None: all) and message."""
    device: list[DeviceQuestion] = field(default_factory=list)
    """For the memory that this node's link has open."""
    committed: list[Entry] = field(default_factory=list)
    """Every index once, in order; after ``restored`` where both are given."""
    synced: list[tuple[tuple[int, int], float]] = field(default_factory=list)
    """Ring, and when the question was asked whose answer shows that this node has in it all that the others have."""
    reads: list[tuple[int, bool]] = field(default_factory=list)
    """Ticket, and whether what was committed when it was asked for may now be read here."""
    fetch: Fetch | None = None
    restored: Snapshot | None = None
    """Replaces the applied state."""
    log: list[str] = field(default_factory=list)
    """Lines for people: a fixed word, then key=value."""

    @property
    def empty(self) -> bool:
        """Whether nothing is wanted."""
        asked = self.send or self.device or self.fetch or self.synced
        return not (self.save or asked or self.committed or self.reads or self.restored or self.log)
