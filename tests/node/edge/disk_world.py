"""What tests of the durable log share: saves, what comes back of them, and random histories with their model."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st
from qluster.edge.disk import Disk
from qluster.events import Entry, Save, Saved, SaveEntries, SaveSnapshot, SaveVote, Snapshot

SMALL_SEGMENT = 400
"""So that a handful of saves begins new segments."""


def entries(first: int, count: int, term: int = 1, size: int = 5) -> SaveEntries:
    return SaveEntries(tuple(
        Entry(index, term, "command", bytes([1 + index % 255]) * size) for index in range(first, first + count)
    ))


def reloaded(path: Path, segment_size: int = SMALL_SEGMENT) -> Saved:
    disk = Disk(str(path), segment_size=segment_size)
    try:
        return disk.load()
    finally:
        disk.close()


def log_files(path: Path) -> list[Path]:
    return sorted((path / "current" / "log").iterdir())


def end_of_log(disk: Disk) -> int:
    """What is written of the newest segment; behind it there may be room."""
    assert disk._log is not None
    return disk._log.end


def content(saved: Saved) -> tuple[object, ...]:
    return saved.term, saved.vote, saved.snapshot, saved.entries


class Model:
    """What the saves amount to, by the words of events.py and nothing else."""

    def __init__(self) -> None:
        self.saved = Saved(uid=0, boot=0)

    def take(self, save: Save) -> None:
        saved = self.saved
        if isinstance(save, SaveVote):
            saved.term, saved.vote = save.term, save.vote
        elif isinstance(save, SaveEntries):
            first = save.entries[0].index
            saved.entries = [entry for entry in saved.entries if entry.index < first] + list(save.entries)
        elif isinstance(save, SaveSnapshot):
            saved.snapshot = save.snapshot
            kept = [] if save.reset else saved.entries
            saved.entries = [entry for entry in kept if entry.index > save.snapshot.index]

    @property
    def bounds(self) -> tuple[int, int]:
        kept = self.saved.snapshot.index if self.saved.snapshot else 0
        return kept, kept + len(self.saved.entries)


@st.composite
def histories(draw: st.DrawFn) -> list[list[Save]]:
    """Groups of saves such as a node makes them: terms grow, entries follow, snapshots move on."""
    model = Model()
    groups: list[list[Save]] = []
    for _ in range(draw(st.integers(1, 12))):
        group: list[Save] = []
        for _ in range(draw(st.integers(1, 3))):
            save = draw(one_save(model))
            model.take(save)
            group.append(save)
        groups.append(group)
    return groups


def one_save(model: Model) -> st.SearchStrategy[Save]:
    kept, last = model.bounds
    term = model.saved.term
    payload = st.binary(max_size=60) | st.just(bytes(700))
    votes = st.builds(SaveVote, st.integers(term, term + 2), st.none() | st.integers(1, 5))
    appends = st.tuples(st.integers(kept + 1, last + 1), st.lists(payload, min_size=1, max_size=4)).map(
        lambda drawn: SaveEntries(tuple(
            Entry(drawn[0] + number, max(term, 1), "command", text) for number, text in enumerate(drawn[1])
        )))
    snapshots = st.tuples(st.integers(kept, last), payload).map(
        lambda drawn: SaveSnapshot(Snapshot(drawn[0], max(term, 1), b"members", drawn[1]), reset=False))
    resets = st.tuples(st.integers(last, last + 50), payload).map(
        lambda drawn: SaveSnapshot(Snapshot(drawn[0], max(term, 1), b"members", drawn[1]), reset=True))
    return st.one_of(votes, appends, appends, snapshots, resets)
