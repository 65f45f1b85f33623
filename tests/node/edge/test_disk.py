"""The durable log on real files: what was acknowledged is there again, whatever the crash."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from copy import deepcopy
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qluster.edge.disk import Disk, DiskFailed, DiskFull, LogDamaged, StateLocked, StateRefused, files, identity
from qluster.events import Entry, Identity, Save, Saved, SaveEntries, SaveIdentity, SaveSnapshot, SaveVote, Snapshot

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


# --- snapshots and segments ---------------------------------------------------


def test_snapshot_lets_old_segments_go(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path), segment_size=SMALL_SEGMENT)
    disk.load()
    disk.save([SaveVote(7, 3)])
    for index in range(1, 41):
        disk.save([entries(index, 1, term=7, size=100)])
    many = len(log_files(tmp_path))
    for kept in (10, 20, 38):
        disk.save([SaveSnapshot(Snapshot(kept, 7, b"members", b"state"), False)])
    for _ in range(6):
        # A save removes a few at most, so that the next one need not wait long.
        disk.save([SaveVote(7, 3)])
    disk.close()
    assert len(log_files(tmp_path)) < many / 4
    assert len(list((tmp_path / "current/snapshot").iterdir())) == 1
    saved = reloaded(tmp_path)
    assert (saved.term, saved.vote) == (7, 3)
    assert saved.snapshot == Snapshot(38, 7, b"members", b"state")
    assert [entry.index for entry in saved.entries] == [39, 40]


def test_replaced_suffix_does_not_come_back_when_segments_go(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path), segment_size=SMALL_SEGMENT)
    disk.load()
    disk.save([entries(1, 20, size=50)])
    disk.save([entries(21, 5, size=50)])
    disk.save([SaveVote(2, None), entries(15, 3, term=2, size=50)])
    disk.save([SaveSnapshot(Snapshot(16, 2, b"", b""), False)])
    disk.close()
    assert [(entry.index, entry.term) for entry in reloaded(tmp_path).entries] == [(17, 2)]


def test_snapshot_of_the_leader_replaces_the_whole_log(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path))
    disk.load()
    disk.save([entries(1, 9)])
    disk.save([SaveSnapshot(Snapshot(500, 4, b"members", b"state"), True)])
    disk.save([entries(501, 1, term=4)])
    disk.close()
    saved = reloaded(tmp_path)
    assert saved.snapshot is not None and saved.snapshot.index == 500
    assert [entry.index for entry in saved.entries] == [501]


def test_snapshot_without_its_record_does_not_count(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path))
    disk.load()
    disk.save([entries(1, 3)])
    stray = tmp_path / "current/snapshot/0000000000000002-0000000000000099.snapshot"
    stray.write_bytes(b"half")
    (tmp_path / "current/snapshot/x.snapshot.tmp").write_bytes(b"half")
    disk.close()
    saved = reloaded(tmp_path)
    assert saved.snapshot is None and len(saved.entries) == 3
    assert list((tmp_path / "current/snapshot").iterdir()) == []


def test_large_save_is_split_into_groups(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path))
    disk.load()
    disk.save([entries(1, 40, size=1_000_000)])
    disk.close()
    assert len(reloaded(tmp_path).entries) == 40


@pytest.mark.parametrize("wrong", [
    pytest.param([SaveVote(1, 1)], id="term goes back"),
    pytest.param([entries(9, 1)], id="gap"),
    pytest.param([entries(2, 1)], id="entry below the snapshot"),
    pytest.param([SaveSnapshot(Snapshot(9, 5, b"", b""), False)], id="snapshot after the log"),
])
def test_contradiction_is_refused_before_it_is_written(tmp_path: Path, wrong: list[Save]) -> None:
    disk = Disk(str(tmp_path))
    disk.load()
    disk.save([SaveVote(5, 1), entries(1, 5), SaveSnapshot(Snapshot(3, 1, b"", b""), False)])
    size = end_of_log(disk)
    with pytest.raises(AssertionError):
        disk.save(wrong)
    assert end_of_log(disk) == size
    disk.close()
    assert log_files(tmp_path)[0].stat().st_size == size


# --- setting aside ------------------------------------------------------------


def test_state_set_aside_begins_with_a_new_uid_and_keeps_add_node(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path))
    uid = disk.load().uid
    disk.save([SaveIdentity(Identity(uid, 1, 1)), entries(1, 1)])
    old = disk.set_aside("a later founding was met")
    saved = disk.load()
    disk.save([entries(1, 1)])
    disk.close()
    assert saved.uid != uid and saved.boot == 1 and saved.invited and saved.identity is None
    assert Path(old, "reason").read_text() == "a later founding was met\n"
    assert Path(old, "log").is_dir()


def test_state_set_aside_to_join_founds_nothing(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path))
    disk.load()
    (tmp_path / "add_node").unlink(missing_ok=True)
    disk.set_aside("joins founding 7 as a new node", joins=True)
    assert disk.load().invited
    disk.close()


def test_only_the_newest_states_set_aside_are_kept(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path))
    for _ in range(5):
        disk.load()
        disk.set_aside("test")
    disk.close()
    assert sorted(path.name for path in tmp_path.glob("old.*")) == ["old.3", "old.4", "old.5"]


def test_damaged_state_can_be_set_aside(tmp_path: Path) -> None:
    reloaded(tmp_path)
    (tmp_path / "current/node.json").write_bytes(b"")
    disk = Disk(str(tmp_path))
    with pytest.raises(LogDamaged, match="qluster set-aside"):
        disk.load()
    disk.set_aside("damaged")
    assert disk.load().boot == 1
    disk.close()


def test_nothing_to_set_aside_is_said(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path))
    with pytest.raises(StateRefused, match="holds no state"):
        disk.set_aside("test")
    disk.close()


# --- a disk that fails --------------------------------------------------------


def test_after_a_failure_the_disk_refuses_all_further_use(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path))
    disk.load()
    disk.save([entries(1, 1)])
    assert disk._log is not None
    os.close(disk._log._descriptor)
    with pytest.raises(DiskFailed, match="writing failed"):
        disk.save([entries(2, 1)])
    disk._log._descriptor = -1
    with pytest.raises(DiskFailed):
        disk.save([entries(2, 1)])
    with pytest.raises(DiskFailed):
        disk.load()
    disk.close()
    assert len(reloaded(tmp_path).entries) == 1


def test_failed_flush_is_a_failure_of_the_disk() -> None:
    reader, writer = os.pipe()
    try:
        with pytest.raises(DiskFailed, match="flushing failed"):
            files.flush_data(writer, "a pipe cannot be flushed")
    finally:
        os.close(reader)
        os.close(writer)


FULL_DISK = """
import resource, sys
from qluster.edge.disk import Disk, DiskFull
from qluster.events import Entry, SaveEntries, SaveSnapshot, Snapshot
disk = Disk(sys.argv[1])
disk.load()
disk.save([SaveEntries((Entry(1, 1, "command", b"first"),))])
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
large = b"x" * 9000
for save in (SaveEntries((Entry(2, 1, "command", large),)), SaveSnapshot(Snapshot(1, 1, b"", large), True)):
    try:
        disk.save([save])
    except DiskFull as error:
        print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
disk.save([SaveEntries((Entry(2, 1, "command", b"second"),))])
disk.close()
"""


def test_full_disk_loses_nothing_and_saving_goes_on_when_there_is_space(tmp_path: Path) -> None:
    # In a process of its own, because the limit on a file's size would hold for the whole test run.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], env=environment, timeout=60,
                         capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("no space left for") == 2
    saved = reloaded(tmp_path)
    assert [entry.payload for entry in saved.entries] == [b"first", b"second"]
    assert saved.snapshot is None


def test_full_disk_on_which_nothing_was_written_needs_no_cut() -> None:
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(DiskFull, match="no space left for 1 bytes"):
        files.write_at(full.fileno(), b"x", 0, "/dev/full")


def test_full_disk_that_cannot_be_cut_back_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    written = iter([1])
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda *arguments: next(written, None) or write(*arguments))
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(DiskFailed, match="cutting back failed"):
        files.write_at(full.fileno(), b"xy", 0, "/dev/full")
