"""The durable log on real files: what was acknowledged is there again, whatever the crash."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import shutil
import tempfile
from copy import deepcopy
from pathlib import Path

import pytest
from edge.disk_world import SMALL_SEGMENT, Model, content, end_of_log, entries, histories, log_files, reloaded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qluster.edge.disk import Disk, LogDamaged, StateLocked, StateRefused, identity
from qluster.events import Identity, Save, Saved, SaveIdentity, SaveSnapshot, SaveVote, Snapshot

# --- start --------------------------------------------------------------------


def test_first_start_makes_a_uid_and_counts_boots(tmp_path: Path) -> None:
    first, second = reloaded(tmp_path / "state"), reloaded(tmp_path / "state")
    assert first.uid == second.uid != 0
    assert (first.boot, second.boot) == (1, 2)
    assert not first.invited and first.identity is None and content(first) == (0, None, None, [])


def test_what_it_makes_is_for_its_user_alone(tmp_path: Path) -> None:
    state = tmp_path / "state"
    reloaded(state)
    found = [state, *state.rglob("*")]
    assert {oct(path.stat().st_mode & 0o077) for path in found} == {"0o0"}


def test_identity_comes_with_the_file_add_node(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path))
    identity = Identity(disk.load().uid, 17, 3)
    disk.save([SaveIdentity(identity)])
    disk.close()
    again = reloaded(tmp_path)
    assert again.identity == identity and again.invited
    (tmp_path / "add_node").unlink()
    assert not reloaded(tmp_path).invited


def test_two_daemons_never_share_a_state_directory(tmp_path: Path) -> None:
    first = Disk(str(tmp_path))
    first.load()
    with pytest.raises(StateLocked, match=f"process {os.getpid()} uses this state directory"):
        Disk(str(tmp_path)).load()
    first.close()
    assert reloaded(tmp_path).boot == 2


def test_state_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    reloaded(tmp_path)
    from zlib import crc32

    body = b'{"format":%d,"uid":"00","boot":1}' % (identity.FORMAT + 1)
    (tmp_path / "current/node.json").write_bytes(b'{"node":%s,"crc32":%d}' % (body, crc32(body)))
    with pytest.raises(StateRefused, match=f"has format {identity.FORMAT + 1}, this program knows {identity.FORMAT}"):
        reloaded(tmp_path)


def test_state_of_another_cluster_is_refused(tmp_path: Path) -> None:
    first = Disk(str(tmp_path), "blue")
    uid = first.load().uid
    first.close()
    other = Disk(str(tmp_path), "green")
    with pytest.raises(StateRefused, match=r"of the cluster blue, but cluster\.name is green"):
        other.load()
    other.close()
    again = Disk(str(tmp_path), "blue")
    assert again.load().uid == uid
    again.close()


def test_interrupted_first_start_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "current.new/log").mkdir(parents=True)
    (tmp_path / "current.new/log/rest").write_bytes(b"x")
    assert reloaded(tmp_path).boot == 1
    assert not (tmp_path / "current.new").exists()


@pytest.mark.parametrize("text", [b"", b"{}", b"garbage", b'{"node":{"format":1},"crc32":5}'])
def test_unreadable_identity_is_damage(tmp_path: Path, text: bytes) -> None:
    reloaded(tmp_path)
    (tmp_path / "current/node.json").write_bytes(text)
    with pytest.raises(LogDamaged, match="identity"):
        reloaded(tmp_path)
    assert (tmp_path / "current/node.json").read_bytes() == text


# --- saves come back ----------------------------------------------------------


@given(histories())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_history_comes_back(history: list[list[Save]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        model, disk = Model(), Disk(directory, segment_size=SMALL_SEGMENT)
        disk.load()
        for group in history:
            disk.save(group)
            for save in group:
                model.take(save)
        disk.close()
        assert content(reloaded(Path(directory))) == content(model.saved)


@given(histories(), st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_crash_inside_a_save_keeps_all_that_was_acknowledged(history: list[list[Save]], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        model, disk = Model(), Disk(str(root / "a"), segment_size=SMALL_SEGMENT)
        disk.load()
        for group in history[:-1]:
            disk.save(group)
            for save in group:
                model.take(save)
        before = deepcopy(model.saved)
        shutil.copytree(root / "a", root / "b")
        os.truncate(log_files(root / "b")[-1], end_of_log(disk))
        disk.save(history[-1])
        for save in history[-1]:
            model.take(save)
        disk.close()
        crash(root / "b", root / "a", data)
        found = content(reloaded(root / "b"))
        assert found in (content(before), content(model.saved))


def crash(before: Path, after: Path, data: st.DataObject) -> None:
    """Bring ``before`` to a state on the way to ``after``: files added, the last segment written in part."""
    for snapshot in (after / "current/snapshot").iterdir():
        shutil.copy(snapshot, before / "current/snapshot")
    known = {path.name: path.stat().st_size for path in log_files(before)}
    room = data.draw(st.sampled_from([0, 1, 5000]), label="room")
    for segment in log_files(after):
        old_size, whole = known.get(segment.name, 0), segment.read_bytes()
        size = data.draw(st.integers(old_size, len(whole)), label=f"bytes of {segment.name}")
        if room:
            # In the middle of a file that is larger already a disk writes whole sectors or none.
            size = size if size == len(whole) else max(old_size, size // 512 * 512)
        written = bytearray(whole[:size])
        if data.draw(st.booleans(), label="a sector was not written"):
            sector = data.draw(st.integers(old_size // 512, max(old_size, size - 1) // 512))
            for place in range(max(old_size, sector * 512), min(size, sector * 512 + 512)):
                written[place] = 0
        (before / "current/log" / segment.name).write_bytes(written + bytes(room))
        if size < len(whole) or bytes(written) != whole:
            break


def test_log_cut_at_any_byte_gives_the_groups_before_it(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path / "a"))
    disk.load()
    sizes = [end_of_log(disk)]
    for first in (1, 2, 4):
        disk.save([SaveVote(first, 1), entries(first, 2)])
        sizes.append(end_of_log(disk))
    disk.close()
    whole = log_files(tmp_path / "a")[0].read_bytes()
    node = (tmp_path / "a/current/node.json").read_bytes()
    states = [0, 2, 3, 5]
    (tmp_path / "a/current/node.json").write_bytes(_without_clean_end(node))
    for cut in range(sizes[0], len(whole) + 1):
        log_files(tmp_path / "a")[0].write_bytes(whole[:cut])
        complete = sum(size <= cut for size in sizes) - 1
        saved = reloaded_after_crash(tmp_path / "a")
        assert len(saved.entries) == states[complete], cut


def _without_clean_end(text: bytes) -> bytes:
    """The file as it was before the clean end, which notes how long the log is."""
    from zlib import crc32

    import msgspec

    body = msgspec.json.decode(text)["node"] | {"sequence": 1}
    encoded = msgspec.json.encode(body)
    return b'{"node":%s,"crc32":%d}' % (encoded, crc32(encoded))


def reloaded_after_crash(path: Path) -> Saved:
    """Load, and leave no note of a clean end or of this start behind."""
    node = path / "current/node.json"
    before = node.read_bytes()
    try:
        return reloaded(path)
    finally:
        node.write_bytes(before)


def test_log_that_became_shorter_after_a_clean_end_is_damage(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path))
    disk.load()
    disk.save([entries(1, 1)])
    size = end_of_log(disk)
    disk.save([entries(2, 1)])
    disk.close()
    os.truncate(log_files(tmp_path)[0], size)
    with pytest.raises(LogDamaged, match="ends with group 2, but group 3 was durable"):
        reloaded(tmp_path)


# --- damage -------------------------------------------------------------------


def test_any_changed_byte_is_noticed_and_nothing_is_deleted(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path))
    disk.load()
    for first in (1, 2, 3):
        disk.save([SaveVote(first, 2), entries(first, 1)])
    disk.close()
    segment = log_files(tmp_path)[0]
    whole = segment.read_bytes()
    assert len(whole) < 512, "one sector, so that no change can look as if a sector was never written"
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 0x40
        segment.write_bytes(changed)
        with pytest.raises(LogDamaged) as caught:
            reloaded(tmp_path)
        assert caught.value.path == str(segment)
        assert segment.read_bytes() == changed


def test_damage_before_a_readable_group_names_both_places(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path))
    disk.load()
    begin = end_of_log(disk)
    disk.save([entries(1, 3, size=2000)])
    disk.save([entries(4, 1)])
    disk.close()
    segment = log_files(tmp_path)[0]
    content_before = bytearray(segment.read_bytes())
    content_before[1024:1536] = bytes(512)
    segment.write_bytes(content_before)
    with pytest.raises(LogDamaged, match=rf"damaged at byte {begin}: unreadable, while byte \d+ begins a readable"):
        reloaded(tmp_path)


def test_missing_segment_is_damage(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path), segment_size=SMALL_SEGMENT)
    disk.load()
    for index in range(1, 30):
        disk.save([entries(index, 1, size=100)])
    disk.close()
    names = log_files(tmp_path)
    assert len(names) > 4
    names[2].rename(tmp_path / "elsewhere")
    with pytest.raises(LogDamaged, match="a segment is missing between others"):
        reloaded(tmp_path)
    (tmp_path / "elsewhere").rename(names[2])
    names[0].unlink()
    with pytest.raises(LogDamaged, match="entry 1 is missing"):
        reloaded(tmp_path)


def test_log_of_another_node_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        reloaded(tmp_path / name)
    shutil.copy(log_files(tmp_path / "b")[0], log_files(tmp_path / "a")[0])
    with pytest.raises(LogDamaged, match="belongs to node"):
        reloaded(tmp_path / "a")


def test_snapshot_that_is_missing_or_changed_is_damage(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path))
    disk.load()
    disk.save([entries(1, 9), SaveSnapshot(Snapshot(5, 1, b"members", b"state"), False)])
    disk.close()
    (snapshot,) = (tmp_path / "current/snapshot").iterdir()
    whole = snapshot.read_bytes()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1
        snapshot.write_bytes(changed)
        with pytest.raises(LogDamaged):
            reloaded(tmp_path)
    snapshot.write_bytes(whole[:-1])
    with pytest.raises(LogDamaged, match="instead of"):
        reloaded(tmp_path)
    snapshot.unlink()
    with pytest.raises(LogDamaged, match="missing"):
        reloaded(tmp_path)
