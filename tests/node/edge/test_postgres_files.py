"""The data directory and the note of it as files; crashes between any two steps of a swap."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from qluster.edge.postgres import directory as directory_module
from qluster.edge.postgres import record as record_module
from qluster.edge.postgres.directory import ASIDE, STAGING, DataDirectory
from qluster.edge.postgres.failure import PostgresFailed
from qluster.edge.postgres.record import Record, RecordFile
from qluster.edge.postgres.replacing import finish_interrupted, take_place


class Crash(BaseException):
    """The host lost its power."""


class Files:
    """What of a site a swap needs."""

    def __init__(self, root: Path) -> None:
        self.directory = DataDirectory(str(root / "data"))
        self._file = RecordFile(str(root))
        self.record = self._file.read()

    def remember(self, record: Record) -> None:
        self._file.write(record)
        self.record = record


def database(path: Path, word: str) -> None:
    """Looks like a database."""
    (path / "global").mkdir(parents=True)
    (path / "global" / "pg_control").write_text(word)
    for name in ("PG_VERSION", "base", "pg_wal"):
        (path / name).write_text(word)


def words(path: Path) -> set[str]:
    return {file.read_text() for file in path.rglob("*") if file.is_file()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path


@pytest.mark.parametrize("old", [True, False], ids=["over a database", "into an empty directory"])
async def test_a_swap_is_whole_after_a_crash_at_any_step(
    root: Path, old: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashes = 0
    for step in range(100):
        place = root / str(step)
        (place / "data").mkdir(parents=True)
        files = Files(place)
        if old:
            database(files.directory.path, "old")
            files.remember(Record(system_id=1, last_reign=3))
        database(files.directory.staging, "new")
        with monkeypatch.context() as patches:
            _crash_at(step, patches)
            try:
                await take_place(files, Record(system_id=1))  # type: ignore[arg-type]
            except Crash:
                crashes += 1
        # Nothing is lost before the note says so: either the old or the new can still be made whole.
        again = Files(place)
        await finish_interrupted(again)  # type: ignore[arg-type]
        found = words(again.directory.path)
        assert found in ({"old"}, {"new"}, set()), step
        assert found == {"new"} or crashes == step + 1
        if found == {"new"}:
            assert again.record == Record(system_id=1)
        elif old:
            assert again.record == Record(system_id=1, last_reign=3) and found == {"old"}
        if crashes == step:
            break
    assert crashes > 8 and found == {"new"}
    assert not list(files.directory.path.glob(".qluster*"))


async def test_a_swap_that_is_cancelled_is_finished_before_the_next_order(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Files(root)
    database(files.directory.path, "old")
    database(files.directory.staging, "new")
    begun, go_on = threading.Event(), threading.Event()
    move_in = files.directory.move_in

    def slow() -> None:
        begun.set()
        assert go_on.wait(10)
        move_in()

    monkeypatch.setattr(files.directory, "move_in", slow)
    work = asyncio.create_task(take_place(files, Record(system_id=1)))  # type: ignore[arg-type]
    assert await asyncio.to_thread(begun.wait, 10)
    for _ in range(3):
        work.cancel()
        await asyncio.sleep(0)
    assert not work.done(), "the staging folder is still being emptied"
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert words(files.directory.path) == {"new"}


def _crash_at(step: int, patches: pytest.MonkeyPatch) -> None:
    """Lose power before the change with this number: renames, replacements, removals."""
    left = [step]

    def counted(do: Callable[..., object]) -> Callable[..., object]:
        def change(*arguments: object, **more: object) -> object:
            if left[0] == 0:
                raise Crash
            left[0] -= 1
            return do(*arguments, **more)

        return change

    patches.setattr(os, "rename", counted(os.rename))
    patches.setattr(os, "replace", counted(os.replace))
    patches.setattr(os, "rmdir", counted(os.rmdir))
    patches.setattr(directory_module.shutil, "rmtree", counted(directory_module.shutil.rmtree))


async def test_an_interrupted_copy_leaves_what_was_there(root: Path) -> None:
    files = Files(root)
    database(files.directory.path, "old")
    (files.directory.staging / "base").mkdir(parents=True)
    assert files.directory.state("") == ("initialised", "")
    await finish_interrupted(files)  # type: ignore[arg-type]
    assert words(files.directory.path) == {"old"} and not files.directory.staging.exists()


async def test_without_the_note_an_interrupted_swap_is_left_to_people(root: Path) -> None:
    files = Files(root)
    database(files.directory.aside, "old")
    database(files.directory.staging, "new")
    await finish_interrupted(files)  # type: ignore[arg-type]
    state, word = files.directory.state("")
    assert state == "foreign" and "the note of it is lost" in word
    assert words(files.directory.path) == {"old", "new"}


def test_what_was_there_is_kept_beside_when_there_is_room(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = DataDirectory(str(root / "data"))
    for word in ("first", "second"):
        database(directory.aside, word)
        assert directory.clear_aside() == str(root / "data.diverged")
        assert words(root / "data.diverged") == {word}
    database(directory.aside, "third")
    monkeypatch.setattr(DataDirectory, "_room_for", lambda *_: False)
    assert directory.clear_aside() == "" and words(root / "data.diverged") == {"second"}


def test_states_of_a_directory(root: Path) -> None:
    directory = DataDirectory(str(root / "data"))
    assert directory.state("") == ("empty", "")
    (root / "data" / STAGING).mkdir()
    assert directory.state("") == ("empty", "")
    (root / "data" / "lost+found").mkdir()
    state, word = directory.state("")
    assert state == "foreign" and "holds lost+found" in word
    (root / "data" / "lost+found").rmdir()
    database(root / "data", "x")
    assert directory.state("") == ("initialised", "")
    assert directory.state("rewind") == ("unfinished", "")
    assert DataDirectory(str(root / "none")).state("")[0] == "absent"
    assert ASIDE != STAGING


def test_a_copy_without_control_file_is_no_database(root: Path) -> None:
    (root / "data" / "PG_VERSION").write_text("18")
    assert DataDirectory(str(root / "data")).state("")[0] == "foreign"


def test_altered_settings_of_safety_are_withdrawn_and_others_stay(root: Path) -> None:
    directory = DataDirectory(str(root / "data"))
    file = root / "data" / "postgresql.auto.conf"
    file.write_text("# no edit\nwork_mem = '5MB'\nfsync = 'off'\n  Primary_ConnInfo = 'host=x'\n")
    assert directory.withdraw_altered() == ["fsync", "primary_conninfo"]
    assert file.read_text() == "# no edit\nwork_mem = '5MB'\n"
    assert directory.withdraw_altered() == []


def test_waiting_segments_are_those_marked_ready(root: Path) -> None:
    status = root / "data" / "pg_wal" / "archive_status"
    status.mkdir(parents=True)
    for name in ("000000010000000000000002.ready", "000000010000000000000001.done", "00000002.history.ready"):
        (status / name).touch()
    names = [path.name for path in DataDirectory(str(root / "data")).waiting_segments()]
    assert names == ["000000010000000000000002", "00000002.history"]


def test_the_note_survives_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    file = RecordFile(str(tmp_path))
    assert file.read() == Record()
    file.write(Record(system_id=2**63 + 5, last_reign=7, phase="rewind"))
    assert RecordFile(str(tmp_path)).read() == Record(system_id=2**63 + 5, last_reign=7, phase="rewind")
    assert os.stat(tmp_path / "database.json").st_mode & 0o777 == 0o600
    (tmp_path / "database.json").write_text('{"phase": "unheard of"}')
    with pytest.raises(PostgresFailed, match=r"database\.json is damaged"):
        file.read()


def test_a_failed_write_leaves_the_old_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = RecordFile(str(tmp_path))
    file.write(Record(last_reign=1))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(record_module.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        file.write(Record(last_reign=2))
    assert file.read() == Record(last_reign=1)
    assert [path.name for path in tmp_path.iterdir()] == ["database.json"]
