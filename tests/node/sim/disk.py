"""What a node saved, in memory. Mirrors ``edge/disk``.

Injects only what a sound disk does: a crash comes before a save, after it, or in the middle of it,
and then a beginning of what was to be saved is there. Lying disks belong to the tests of the real one.
What may never be overwritten is checked here, where it would happen.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

from qluster.events import (
    Entry,
    Identity,
    Refound,
    Save,
    Saved,
    SaveEntries,
    SaveIdentity,
    SaveRing,
    SaveSnapshot,
    SaveVote,
)


class SimDisk:
    """The state directory of one host."""

    def __init__(self, uid: int) -> None:
        self._saved = Saved(uid, 0)
        self.invited = False
        self.saves = 0

    @property
    def identity(self) -> Identity | None:
        """Who this host is, if it was saved."""
        return self._saved.identity

    @property
    def ring(self) -> int:
        """The highest number of a ring that is durable here."""
        return self._saved.ring

    @property
    def uid(self) -> int:
        """The number made when the directory was empty."""
        return self._saved.uid

    def load(self) -> Saved:
        """As at a start: the boot counter grows."""
        self._saved.boot += 1
        return replace(self._saved, invited=self.invited, entries=list(self._saved.entries))

    def save(self, saves: list[Save]) -> None:
        """Make one group durable."""
        self.saves += 1
        for one in saves:
            self._save(one)

    def _save(self, one: Save) -> None:
        saved = self._saved
        match one:
            case SaveIdentity(identity):
                saved.identity, self.invited = identity, True
            case SaveVote(term, vote):
                assert term >= saved.term, f"S2: term {saved.term} goes to {term}"
                assert term > saved.term or saved.vote in (None, vote), f"S3: two votes in term {term}"
                saved.term, saved.vote = term, vote
            case SaveEntries(entries):
                base = saved.snapshot.index if saved.snapshot else 0
                first = saved.entries[0].index if saved.entries else base + 1
                place = entries[0].index - first
                assert 0 <= place <= len(saved.entries), f"entry {entries[0].index} would leave a gap"
                del saved.entries[place:]
                saved.entries += entries
            case SaveRing(seq, expected):
                assert seq >= saved.ring, f"ring {saved.ring} goes to {seq}"
                saved.ring, saved.expected = seq, expected
            case SaveSnapshot(snapshot, reset):
                assert saved.snapshot is None or snapshot.index >= saved.snapshot.index, "a snapshot goes back"
                kept = [] if reset else [entry for entry in saved.entries if entry.index > snapshot.index]
                saved.snapshot, saved.entries = snapshot, kept

    def tear(self, saves: list[Save], portion: float) -> None:
        """The host dies in the middle of a save: a beginning of it is there."""
        pieces: list[Save] = []
        for one in saves:
            if isinstance(one, SaveEntries):
                pieces += [SaveEntries((entry,)) for entry in one.entries]
            else:
                pieces.append(one)
        self.save(pieces[: int(portion * (len(pieces) + 1))])

    def entry(self, index: int) -> Entry | None:
        """The entry at an index, when it is still in the log."""
        entries = self._saved.entries
        place = index - entries[0].index if entries else -1
        return entries[place] if 0 <= place < len(entries) else None

    def holds(self, index: int, term: int) -> bool:
        """Whether the entry (index, term) is durable here, by itself or in a snapshot."""
        snapshot, entry = self._saved.snapshot, self.entry(index)
        return (snapshot is not None and index <= snapshot.index) or (entry is not None and entry.term == term)

    @property
    def last(self) -> tuple[int, int]:
        """Term and index of the newest thing here."""
        if self._saved.entries:
            return self._saved.entries[-1].term, self._saved.entries[-1].index
        return (self._saved.snapshot.term, self._saved.snapshot.index) if self._saved.snapshot else (0, 0)

    @property
    def promises(self) -> tuple[int, int | None, int]:
        """Term, vote, and the newest index."""
        return self._saved.term, self._saved.vote, self.last[1]

    def set_aside(self, uid: int, *, joins: bool = False, refound: Refound | None = None) -> None:
        """Put the state away; the file ``add_node`` stays, or is there from now on."""
        before, self._saved = self._saved, Saved(uid, 0)
        self.invited |= joins
        if refound is not None:
            self._saved = Saved(
                before.uid, before.boot, identity=refound.identity, term=refound.term, snapshot=refound.snapshot,
                entries=list(refound.entries), ring=before.ring,
            )  # fmt: skip

    def lose(self, uid: int) -> None:
        """Everything is gone, ``add_node`` too."""
        self.set_aside(uid)
        self.invited = False
