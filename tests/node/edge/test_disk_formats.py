"""State directories of an older version are read and carried on; of a newer one they are refused and left alone."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import shutil
from pathlib import Path
from zlib import crc32

import msgspec
import pytest
from qluster.cli.state import lines
from qluster.edge.disk import Disk, LogDamaged, StateRefused, identity, records
from qluster.edge.disk.survey import survey
from qluster.events import Entry, Identity, Saved, SaveEntries, SaveRing, SaveVote, Snapshot
from qluster.opening import open_state

STATE_1 = Path(__file__).parents[2] / "golden/state_1"
"""Written by the last version that knew format 1 only."""
UID = 0xBF0E_66EA_C9BE_E392


@pytest.fixture
def state(tmp_path: Path) -> Path:
    shutil.copytree(STATE_1, tmp_path / "state")
    return tmp_path / "state"


def logs(state: Path) -> list[Path]:
    return sorted((state / "current/log").iterdir())


def format_of(state: Path) -> int:
    node = msgspec.json.decode((state / "current/node.json").read_bytes())["node"]
    return int(node["format"])


def versions(state: Path) -> list[int]:
    return [records.segment_version(path.read_bytes()) for path in logs(state)]


def loaded(state: Path) -> Saved:
    disk = Disk(str(state))
    try:
        return disk.load()
    finally:
        disk.close()


def test_state_of_format_1_is_read_as_it_was_saved(state: Path) -> None:
    saved = loaded(state)
    assert (saved.uid, saved.boot, saved.invited) == (UID, 2, True)
    assert saved.identity == Identity(UID, 1700000000, 3)
    assert (saved.term, saved.vote) == (4, None)
    assert saved.snapshot == Snapshot(2, 3, b"members", b"state")
    assert saved.entries == [Entry(3, 3, "command", b"second"), Entry(4, 4, "command", b"instead of zeros"),
                             Entry(5, 4, "command", b"last")]


def test_what_comes_after_format_1_stands_in_a_segment_of_the_newest(state: Path) -> None:
    before = [path.read_bytes() for path in logs(state)]
    disk = Disk(str(state))
    disk.load()
    assert versions(state) == [1, 1] and format_of(state) == identity.FORMAT, "older programs refuse what comes now"
    disk.save([SaveVote(5, 1), SaveEntries((Entry(6, 5, "command", bytes(2000)),))])
    disk.save([SaveEntries((Entry(7, 5, "command", b"newest"),))])
    disk.close()
    assert versions(state) == [1, 1, records.VERSION]
    assert [path.read_bytes() for path in logs(state)[:2]] == before
    saved = loaded(state)
    assert (saved.term, saved.vote) == (5, 1)
    assert [entry.index for entry in saved.entries] == [3, 4, 5, 6, 7]


def test_both_formats_are_shown(state: Path) -> None:
    only_old = "\n".join(lines(str(state), survey(str(state))))
    assert "segment          2, 302 bytes" in only_old and format_of(state) == 1, "showing changes nothing"
    disk = Disk(str(state))
    disk.load()
    disk.save([SaveEntries((Entry(6, 4, "command", b"new"),))])
    disk.close()
    both = survey(str(state))
    assert [number for number, _ in both.segments] == [1, 2, 3] and not both.damage and not both.notes
    assert [entry.index for entry in both.entries] == [3, 4, 5, 6]


def test_log_of_format_1_cut_at_any_byte_is_a_torn_tail(state: Path) -> None:
    last = logs(state)[-1]
    whole = last.read_bytes()
    ends = set()
    _forget_clean_end(state)
    for cut in range(len(whole)):
        last.write_bytes(whole[:cut])
        found = survey(str(state))
        assert not found.damage, cut
        ends.add(found.entries[-1].index if found.entries else 0)
    assert ends == {4}, "the last group had the entries 4 and 5; before it stood the zeros"


def test_changed_byte_in_format_1_is_damage(state: Path) -> None:
    for path in logs(state):
        whole = path.read_bytes()
        for place in range(len(whole)):
            changed = bytearray(whole)
            changed[place] ^= 1
            path.write_bytes(changed)
            assert survey(str(state)).damage, f"byte {place} of {path.name}"
        path.write_bytes(whole)


def _forget_clean_end(state: Path) -> None:
    """As if the daemon had been killed."""
    current = str(state / "current")
    identity.write(current, msgspec.structs.replace(identity.read(current), sequence=1))


async def test_segment_of_a_newer_version_is_refused_and_the_node_does_not_join_anew(state: Path) -> None:
    """Its identity could be from a disk that lost a rename; the log is sound, only not for this program."""
    newer = bytearray(records.segment_header(UID, 3))
    newer[8] = records.VERSION + 1
    newer[-4:] = crc32(newer[:-4]).to_bytes(4, "little")
    path = state / "current/log/0000000000000003.log"
    path.write_bytes(newer)
    wanted = rf"{path}: has format {records.VERSION + 1}, this program knows {records.VERSION}"

    for _ in range(2):
        disk = Disk(str(state))
        with pytest.raises(StateRefused, match=wanted):
            await open_state(disk, lambda reason: None)
        disk.close()
    with pytest.raises(StateRefused, match=wanted):
        survey(str(state))
    assert path.read_bytes() == newer and not list(state.glob("old.*"))


def test_torn_begin_of_a_new_segment_after_format_1_is_taken_away(state: Path) -> None:
    """The upgrade was cut short by a power cut while it began its first segment."""
    path = state / "current/log/0000000000000003.log"
    path.write_bytes(records.segment_header(UID, 3)[:20])
    assert loaded(state).entries[-1].index == 5
    assert not path.exists()


@pytest.mark.parametrize("which", [0, 2], ids=["oldest", "newest"])
def test_lost_first_sector_of_a_segment_is_damage_where_groups_follow(state: Path, which: int) -> None:
    """Which format it has cannot be read any more; its groups can."""
    disk = Disk(str(state))
    disk.load()
    for index in (6, 7, 8):
        disk.save([SaveEntries((Entry(index, 4, "command", b"x" * 600),))])
    disk.close()
    path = logs(state)[which]
    harmed = bytes(512) + path.read_bytes()[512:]
    path.write_bytes(harmed)
    with pytest.raises(LogDamaged):
        loaded(state)
    assert path.read_bytes() == harmed


def test_lost_first_sector_of_a_last_segment_of_format_1_is_damage_where_groups_follow(state: Path) -> None:
    first, second = logs(state)
    second.unlink()
    harmed = bytes(512) + first.read_bytes()[512:]
    first.write_bytes(harmed)
    with pytest.raises(LogDamaged):
        loaded(state)
    assert first.read_bytes() == harmed


def test_number_of_a_ring_is_kept_beside_what_an_older_version_knows(state: Path) -> None:
    disk = Disk(str(state))
    assert (disk.load().ring, disk.load().expected) == (0, 0)
    disk.save([SaveRing(7, 3), SaveVote(9, 1), SaveRing(8, 4)])
    disk.close()
    saved = loaded(state)
    assert (saved.ring, saved.expected, saved.term) == (8, 4, 9)


@pytest.mark.parametrize("harm", [b"", b"{}", b'{"ring":{"seq":9,"expected":0},"crc32":1}', b"\xff\xfe"])
def test_number_of_a_ring_that_is_not_what_was_written_is_no_number(state: Path, harm: bytes) -> None:
    (state / "current/ring.json").write_bytes(harm)
    with pytest.raises(LogDamaged, match="ring"):
        loaded(state)
