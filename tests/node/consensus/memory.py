"""What one host has durably, as the disk keeps it: for every world of participants that is without a disk.

Must not know when anything is saved, nor which saves a crash interrupts.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from qluster.events import Entry, Save, Saved, SaveEntries, SaveIdentity, SaveSnapshot, SaveVote


class Memory:
    """A host that has ``saved``."""

    __slots__ = ()
    saved: Saved

    def entry(self, index: int) -> Entry | None:
        """The durable entry at an index."""
        entries = self.saved.entries
        place = index - entries[0].index if entries else -1
        return entries[place] if 0 <= place < len(entries) else None

    def term_at(self, index: int) -> int | None:
        """Term of the durable entry at an index, None where it is compacted or missing."""
        snapshot = self.saved.snapshot
        if snapshot is not None and index == snapshot.index:
            return snapshot.term
        entry = self.entry(index)
        return entry.term if entry else None

    def holds(self, index: int, term: int) -> bool:
        """Whether the entry is durable here, by itself or in a snapshot."""
        snapshot, entry = self.saved.snapshot, self.entry(index)
        return (snapshot is not None and index <= snapshot.index) or (entry is not None and entry.term == term)

    @property
    def last_index(self) -> int:
        """The newest durable index."""
        if self.saved.entries:
            return self.saved.entries[-1].index
        return self.saved.snapshot.index if self.saved.snapshot else 0

    def save(self, save: Save) -> None:
        """Make it durable, as edge/disk does."""
        keep(self.saved, save)


def keep(saved: Saved, save: Save) -> None:
    """What is on the disk after this save."""
    match save:
        case SaveIdentity(identity):
            saved.identity = identity
        case SaveVote(term, vote):
            saved.term, saved.vote = term, vote
        case SaveEntries(entries):
            place = entries[0].index - saved.entries[0].index if saved.entries else 0
            assert place <= len(saved.entries), f"entry {entries[0].index} would leave a gap"
            if place < 0:
                saved.entries = list(entries)
            else:
                del saved.entries[place:]
                saved.entries += entries
        case SaveSnapshot(snapshot, reset):
            saved.snapshot = snapshot
            saved.entries = [] if reset else [one for one in saved.entries if one.index > snapshot.index]


def copied(saved: Saved) -> Saved:
    """As it is read at a start."""
    return Saved(
        saved.uid, saved.boot, True, saved.identity, saved.term, saved.vote, saved.snapshot, list(saved.entries)
    )
