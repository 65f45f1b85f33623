"""Decides when the log is cut: a snapshot of the state takes the place of the entries that made it.

Must not know what the state is.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from qluster.consensus.qraft import QRaft

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
