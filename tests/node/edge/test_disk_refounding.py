"""A state that takes the place of another: whole, with the same uid, and none other after any crash."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from pathlib import Path

import pytest
from edge.disk_world import entries
from qluster.edge.disk import Disk, refounding
from qluster.events import Entry, Identity, Refound, Saved, SaveIdentity, SaveRing, SaveVote, Snapshot


class Crash(Exception):
    """The power fails."""


def member(path: Path) -> Disk:
    """A node of founding 7 with a term, a ring and a log."""
    disk = Disk(str(path), "main")
    uid = disk.load().uid
    disk.save([SaveIdentity(Identity(uid, 7, 2)), SaveVote(4, 2), entries(1, 5, term=4), SaveRing(12, 5)])
    return disk


def successor(uid: int) -> Refound:
    return Refound(
        Identity(uid, 9, 2), 5, Snapshot(5, 4, b"members", b"state"), (Entry(6, 5, "command", b"forced"),))


def start(path: Path) -> Saved:
    disk = Disk(str(path), "main")
    try:
        return disk.load()
    finally:
        disk.close()


def test_state_goes_on_in_another_founding_with_its_uid_and_its_starts_counted_on(tmp_path: Path) -> None:
    disk = member(tmp_path)
    before = start_of(disk)
    old = disk.set_aside("quorum is forced", refound=successor(before.number))
    saved = disk.load()
    disk.close()
    assert (saved.uid, saved.boot) == (before.number, before.boot + 1)
    assert saved.identity == Identity(saved.uid, 9, 2) and saved.invited
    assert (saved.term, saved.vote, saved.snapshot) == (5, None, Snapshot(5, 4, b"members", b"state"))
    assert saved.entries == [Entry(6, 5, "command", b"forced")]
    assert (saved.ring, saved.expected) == (12, 0), "no ring has a number twice; nobody is expected to vote any more"
    assert (Path(old) / "reason").read_text() == "quorum is forced\n"
    again = start(tmp_path)
    assert again.entries == saved.entries and again.boot == saved.boot + 1


def start_of(disk: Disk) -> refounding.NodeFile:
    assert disk._node is not None
    return disk._node


def test_node_that_gives_in_keeps_its_uid_and_nothing_else(tmp_path: Path) -> None:
    disk = member(tmp_path)
    uid = start_of(disk).number
    disk.set_aside("joins founding 9", joins=True, refound=Refound())
    disk.close()
    saved = start(tmp_path)
    assert (saved.uid, saved.identity, saved.term, saved.snapshot, saved.entries) == (uid, None, 0, None, [])
    assert saved.invited and saved.ring == 12


@pytest.mark.parametrize("done", [0, 1], ids=["before the former state has gone", "after it"])
def test_crash_leaves_the_one_state_or_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: int) -> None:
    disk = member(tmp_path)
    uid, renames = start_of(disk).number, 0
    rename = os.rename

    def fails(source: str, target: str) -> None:
        nonlocal renames
        if not source.endswith(("current", "current.next")):
            rename(source, target)
            return
        if renames == done:
            raise Crash
        renames += 1
        rename(source, target)

    monkeypatch.setattr(os, "rename", fails)
    with pytest.raises(Crash):
        disk.set_aside("quorum is forced", refound=successor(uid))
    monkeypatch.undo()
    disk.close()
    saved = start(tmp_path)
    assert saved.identity is not None and saved.identity.cluster == (9 if done else 7)
    assert saved.term == (5 if done else 4)
    assert not (tmp_path / "current.next").exists()


def test_uid_of_another_host_is_never_taken(tmp_path: Path) -> None:
    disk = member(tmp_path)
    with pytest.raises(AssertionError, match="the uid stays that of the host"):
        disk.set_aside("quorum is forced", refound=successor(1))
    disk.close()
    saved = start(tmp_path)
    assert saved.identity is not None and saved.identity.cluster == 7
