"""What the arbiter's memories keep is there after a crash at any moment, and damage is told from a crash."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from pathlib import Path

import pytest
from qluster.qnet.memory import GONE, Kept
from qluster.qnetd import keeping
from qluster.qnetd.keeping import NAME, Keeper, KeepingFailed

ONE, TWO = (b"one\xff", 1), (b"two", 2**63)


def loaded(folder: Path) -> dict[tuple[bytes, int], Kept]:
    keeper = Keeper(str(folder))
    try:
        return keeper.load()
    finally:
        keeper.close()


@pytest.fixture
def written(tmp_path: Path) -> bytes:
    """Three batches behind each other, as a daemon leaves them that was killed."""
    keeper = Keeper(str(tmp_path))
    assert keeper.load() == {}
    keeper.save({ONE: Kept(7, term=1, vote=2)})
    keeper.save({ONE: Kept(7, term=2, vote=3), TWO: Kept(8, promise=5000)})
    keeper.save({TWO: Kept(8, term=9, last_term=8, index=2**40, promise=6000)})
    keeper.close()
    return content(tmp_path)


def content(folder: Path) -> bytes:
    """What is in the file, without the room behind it."""
    return (folder / NAME).read_bytes().rstrip(b"\0")


def test_newest_of_each_is_found(written: bytes, tmp_path: Path) -> None:
    assert loaded(tmp_path) == {
        ONE: Kept(7, term=2, vote=3),
        TWO: Kept(8, term=9, last_term=8, index=2**40, promise=6000),
    }
    assert len(content(tmp_path)) < len(written)
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


def test_what_was_forgotten_is_not_found_again(written: bytes, tmp_path: Path) -> None:
    keeper = Keeper(str(tmp_path))
    keeper.load()
    keeper.save({ONE: GONE})
    keeper.close()
    assert set(loaded(tmp_path)) == {TWO} == set(loaded(tmp_path)), "nor after it was written anew"


def test_crash_at_any_byte_loses_only_what_was_not_whole(written: bytes, tmp_path: Path) -> None:
    starts = [at for at in range(len(written)) if written.startswith(keeping.BEGIN, at)]
    assert len(starts) == 4
    states = [{}, {}, {ONE: Kept(7, term=1, vote=2)}, {ONE: Kept(7, term=2, vote=3), TWO: Kept(8, promise=5000)}]
    for size in range(starts[0], len(written)):
        (tmp_path / NAME).write_bytes(written[:size])
        assert loaded(tmp_path) == states[sum(end <= size for end in starts[1:])], size
        # A page that was never written reads as zeros.
        (tmp_path / NAME).write_bytes(written[:size] + bytes(len(written) - size))
        same = size + len(written[size:]) - len(written[size:].lstrip(b"\0"))
        assert same == len(written) or loaded(tmp_path) == states[sum(end <= same for end in starts[1:])], size


def test_damage_before_a_whole_batch_is_refused_and_nothing_changed(written: bytes, tmp_path: Path) -> None:
    starts = [at for at in range(len(written)) if written.startswith(keeping.BEGIN, at)]
    for at in range(starts[1], starts[3], 5):
        damaged = written[:at] + bytes([written[at] ^ 1]) + written[at + 1 :]
        (tmp_path / NAME).write_bytes(damaged)
        with pytest.raises(KeepingFailed, match="is damaged at byte"):
            loaded(tmp_path)
        assert (tmp_path / NAME).read_bytes() == damaged


def test_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"qluster memories 2\n")
    with pytest.raises(KeepingFailed, match="is not what this version keeps"):
        loaded(tmp_path)


def test_two_daemons_do_not_share_one(tmp_path: Path) -> None:
    first = Keeper(str(tmp_path))
    first.load()
    with pytest.raises(KeepingFailed, match="another arbiter uses"):
        loaded(tmp_path)
    first.close()
    assert loaded(tmp_path) == {}


def test_file_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "SIZE_MAX", 2000)
    keeper = Keeper(str(tmp_path))
    keeper.load()
    for term in range(1, 300):
        keeper.save({ONE: Kept(7, term=term), (b"old", term % 3): Kept(1, term=term)})
        assert len(content(tmp_path)) < 2500
        assert (tmp_path / NAME).stat().st_size < 2500 + keeping.ROOM
    keeper.close()
    assert loaded(tmp_path)[ONE] == Kept(7, term=299)


def test_room_is_set_aside_again_when_it_is_used_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "ROOM", 200)
    keeper, sizes = Keeper(str(tmp_path)), set()
    keeper.load()
    for term in range(1, 50):
        keeper.save({ONE: Kept(7, term=term)})
        sizes.add((tmp_path / NAME).stat().st_size)
    keeper.close()
    assert 5 < len(sizes) < 25, "not with each batch"
    assert loaded(tmp_path)[ONE] == Kept(7, term=49)


def test_without_space_for_room_it_is_written_as_far_as_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_file: int, _begin: int, _size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    keeper = Keeper(str(tmp_path))
    keeper.load()
    for term in range(1, 5):
        keeper.save({ONE: Kept(7, term=term, promise=1)})
        assert (tmp_path / NAME).stat().st_size == len(content(tmp_path))
    keeper.close()
    assert loaded(tmp_path)[ONE] == Kept(7, term=4, promise=1)


def test_disk_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = Keeper(str(tmp_path))
    keeper.load()

    def full(_file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(KeepingFailed, match=r"cannot be used \(No space left on device\)"):
        keeper.save({ONE: Kept(7)})
    keeper.close()


def test_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(KeepingFailed, match="No such file or directory"):
        loaded(tmp_path / "none")
