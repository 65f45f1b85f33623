"""With what a daemon begins: what it saved, or as a new node where that cannot be trusted."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from qluster import opening
from qluster.edge.disk import Disk, DiskFull
from qluster.events import Entry, Identity, Saved, SaveEntries, SaveIdentity, SaveVote
from qluster.opening import open_state

ENTRIES = SaveEntries((Entry(1, 1, "noop", bytes(8)), Entry(2, 1, "command", b"x" * 300)))


def silent(reason: str) -> None:
    raise AssertionError(f"nobody was to be told: {reason}")


async def test_sound_state_is_what_was_saved(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path))
    uid = disk.load().uid
    disk.save([SaveIdentity(Identity(uid, 1, 3)), SaveVote(1, 2), ENTRIES])
    disk.close()
    saved = await open_state(Disk(str(tmp_path)), silent)
    assert (saved.uid, saved.term, tuple(saved.entries)) == (uid, 1, ENTRIES.entries)


async def test_damaged_state_is_put_away_and_the_node_is_a_new_one(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path))
    uid = disk.load().uid
    disk.save([SaveIdentity(Identity(uid, 1, 3)), SaveVote(1, 2), ENTRIES])
    disk.close()
    segment = tmp_path / "current/log/0000000000000001.log"
    content = bytearray(segment.read_bytes())
    content[300] ^= 1
    segment.write_bytes(content)
    saved = await open_state(Disk(str(tmp_path)), silent)
    assert saved.uid != uid and saved.identity is None and saved.invited and not saved.entries
    assert (tmp_path / "old.1/log/0000000000000001.log").read_bytes() == content
    assert "damaged at byte" in (tmp_path / "old.1/reason").read_text()


async def test_log_without_an_identity_is_nobodys(tmp_path: Path) -> None:
    """The founder died between the two. Under the next identity its entries could pass for the cluster's."""
    disk = Disk(str(tmp_path))
    uid = disk.load().uid
    disk.save([SaveVote(1, 1), ENTRIES])
    disk.close()
    saved = await open_state(Disk(str(tmp_path)), silent)
    assert saved.uid != uid and saved.term == 0 and not saved.entries
    assert (tmp_path / "old.1/reason").read_text().strip() == opening.NOBODYS


async def test_start_waits_for_space_instead_of_ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "FULL_RETRY", 0.01)

    class Full(Disk):
        refusals = 3

        def load(self) -> Saved:
            if self.refusals:
                self.refusals -= 1
                raise DiskFull(str(tmp_path), 4096)
            return super().load()

    told: list[str] = []
    saved = await open_state(Full(str(tmp_path)), told.append)
    assert saved.boot == 1 and len(told) == 3 and "no space left for 4096 bytes" in told[0]
