"""Decides when the log is cut: a snapshot of the state takes the place of the entries that made it.

Must not know what the state is. A large one is made over several settlings: each packs a piece, and entries that are
applied meanwhile are none of it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Raw

from qluster.cluster.freezing import Freezing
from qluster.consensus.qraft import QRaft

if TYPE_CHECKING:
    from qluster.node import Node

COMPACT_ENTRIES = 1000
"""Entries applied since the last snapshot before the next one is taken: so many stand in memory as well. With twice
as many the cluster commits no more a second."""

COMPACT_BYTES = 16 << 20
"""Or their bytes: large entries fill memory and disk long before there are many."""

COMPACT_RATIO = 1
"""And their bytes are at least so many times those of the state: else a large state would be written all the time."""


def full(qraft: QRaft, applied: int) -> bool:
    """Whether a snapshot is due; ``applied`` is the index of the last entry in the state."""
    entries, size = applied - qraft.snapshot_index, qraft.applied_bytes
    if entries < COMPACT_ENTRIES and (size < COMPACT_BYTES or not entries):
        return False
    return size >= COMPACT_RATIO * len(qraft.snapshot.state if qraft.snapshot else b"")


class Compacting:
    """One node's snapshots."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._freezing: Freezing | None = None
        self._of: object = None
        """The state that it is of: one that was fetched takes its place."""

    @property
    def busy(self) -> bool:
        """One is in the making."""
        return self._freezing is not None

    def due(self, qraft: QRaft) -> bool:
        """One is to be begun."""
        node = self._node
        if self._freezing is not None:
            return False
        return full(qraft, node.state.applied) or node.applying.to_be_kept > qraft.snapshot_index

    def begin(self, live: Mapping[int, Raw]) -> None:
        """Make one of the state as it is now; ``live`` are the tasks that are not over, packed."""
        self._of = self._node.state
        self._freezing = Freezing(self._node.state, live)

    def step(self, qraft: QRaft) -> bool:
        """Make one piece more; True when the log was cut."""
        freezing, node = self._freezing, self._node
        if freezing is None:
            return False
        if self._of is not node.state or freezing.index <= qraft.snapshot_index:
            self._freezing = self._of = None
            return False
        state = freezing.step()
        if state is None:
            return False
        self._freezing = self._of = None
        qraft.compact(freezing.index, state)
        node.counters["snapshots"] += 1
        return True
