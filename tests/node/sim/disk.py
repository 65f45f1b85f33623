"""What a node saved, in memory. Mirrors ``edge/disk``.

Injects only what a sound disk does: a crash may come before a save, or after it and
before anything was sent. Torn and lying disks belong to the tests of the real one.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

from qluster.events import Entry, Save, Saved, SaveEntries, SaveIdentity, SaveSnapshot, SaveVote


class SimDisk:
    """The state directory of one host."""

    def __init__(self, uid: int) -> None:
        self._saved = Saved(uid, 0)
        self.invited = False

    def load(self) -> Saved:
        """As at a start: the boot counter grows."""
        self._saved.boot += 1
        return replace(self._saved, invited=self.invited, entries=list(self._saved.entries))

    def save(self, saves: list[Save]) -> None:
        """Make one group durable."""
        for one in saves:
            match one:
                case SaveIdentity(identity):
                    self._saved.identity, self.invited = identity, True
                case SaveVote(term, vote):
                    assert term >= self._saved.term, "S2: a term never decreases"
                    assert term > self._saved.term or self._saved.vote in (None, vote), "S3: one vote a term"
                    self._saved.term, self._saved.vote = term, vote
                case SaveEntries(entries):
                    kept = [entry for entry in self._saved.entries if entry.index < entries[0].index]
                    self._saved.entries = [*kept, *entries]
                case SaveSnapshot(snapshot, reset):
                    kept = [] if reset else [one for one in self._saved.entries if one.index > snapshot.index]
                    self._saved.snapshot, self._saved.entries = snapshot, kept

    def entry(self, index: int) -> Entry | None:
        """The entry at an index, when it is still in the log."""
        first = self._saved.entries[0].index if self._saved.entries else 0
        place = index - first
        return self._saved.entries[place] if 0 <= place < len(self._saved.entries) else None

    def set_aside(self, uid: int) -> None:
        """Put the state away; the file ``add_node`` stays."""
        self._saved = Saved(uid, 0)
