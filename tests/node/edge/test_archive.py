"""The archive program, with real files."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from qluster.edge import archive, unarchive
from qluster.edge.postgres import reserving

NAME = "000000010000000000000003"
SYSTEM = "7312345678901234567"


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    (tmp_path / "wal" / SYSTEM).mkdir(parents=True)
    path = tmp_path / NAME
    path.write_bytes(os.urandom(3_000_000))
    return path


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-S", archive.__file__, *arguments], capture_output=True, text=True, timeout=60
    )


def test_a_segment_is_copied_whole(segment: Path) -> None:
    wal = segment.parent / "wal" / SYSTEM
    assert program(str(wal.parent), SYSTEM, str(segment), NAME).returncode == 0
    assert [path.name for path in wal.iterdir()] == [NAME]
    assert (wal / NAME).read_bytes() == segment.read_bytes()


def test_the_same_content_again_is_a_success(segment: Path) -> None:
    wal = segment.parent / "wal" / SYSTEM
    for _ in range(2):
        assert program(str(wal.parent), SYSTEM, str(segment), NAME).returncode == 0


@pytest.mark.parametrize("other", [b"", b"something else"])
def test_other_content_is_never_overwritten(segment: Path, other: bytes) -> None:
    wal = segment.parent / "wal" / SYSTEM
    (wal / NAME).write_bytes(other)
    end = program(str(wal.parent), SYSTEM, str(segment), NAME)
    assert end.returncode == 1 and "is there with other content" in end.stderr
    assert (wal / NAME).read_bytes() == other


def test_a_longer_file_of_the_same_beginning_is_other_content(segment: Path) -> None:
    wal = segment.parent / "wal" / SYSTEM
    (wal / NAME).write_bytes(segment.read_bytes() + b"more")
    assert program(str(wal.parent), SYSTEM, str(segment), NAME).returncode == 1


def test_a_part_that_a_crash_left_does_no_harm(segment: Path) -> None:
    wal = segment.parent / "wal" / SYSTEM
    (wal / f".{NAME}.{archive._writer()}.part").write_bytes(b"half")
    assert archive.archive(str(wal.parent), SYSTEM, str(segment), NAME) == ""
    assert [path.name for path in wal.iterdir()] == [NAME]


def test_a_missing_directory_is_named_with_the_remedy(segment: Path) -> None:
    end = program("/no/such/wal", SYSTEM, str(segment), NAME)
    assert end.returncode == 1
    assert end.stderr == (
        "qluster archive: the archive directory /no/such/wal is not there: create it or mount it\n"
    )


def test_a_missing_segment_and_a_strange_name_are_failures(segment: Path) -> None:
    wal = str(segment.parent / "wal")
    assert "cannot be archived" in program(wal, SYSTEM, str(segment) + "x", NAME).stderr
    assert "no name of a WAL file" in program(wal, SYSTEM, str(segment), "../x").stderr
    assert "usage" in program(wal).stderr
    assert "no system id" in program(wal, "../y", str(segment), NAME).stderr
    assert os.listdir(wal) == [SYSTEM]


def test_the_folder_of_a_database_is_made_in_an_archive_that_is_there(segment: Path) -> None:
    wal = segment.parent / "wal"
    assert program(str(wal), "42", str(segment), NAME).returncode == 0
    assert (wal / "42" / NAME).read_bytes() == segment.read_bytes()


@pytest.mark.parametrize(("name", "code"), [(NAME, 0), ("00000002.history", 1), ("../x", 200)])
def test_what_is_archived_comes_back_and_what_is_not_is_said(segment: Path, name: str, code: int) -> None:
    wal, target = segment.parent / "wal", segment.parent / "target"
    program(str(wal), SYSTEM, str(segment), NAME)
    end = subprocess.run([sys.executable, "-I", "-S", unarchive.__file__, str(wal / SYSTEM), name, str(target)],
                         capture_output=True, text=True, timeout=60)  # fmt: skip
    assert end.returncode == code
    assert target.exists() == (code == 0) and (code or target.read_bytes() == segment.read_bytes())


@pytest.mark.parametrize("directory", ["away", "wal"])
def test_an_archive_that_is_away_or_empty_does_not_look_like_the_end_of_the_wal(segment: Path, directory: str) -> None:
    place = segment.parent / directory / (SYSTEM if directory == "wal" else "")
    code, reason = unarchive.fetch(str(place), NAME, str(segment.parent / "target"))
    assert code > 125 and reason


def test_without_links_the_file_is_renamed(segment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    wal = segment.parent / "wal" / SYSTEM
    assert archive.archive(str(wal.parent), SYSTEM, str(segment), NAME) == ""
    assert (wal / NAME).read_bytes() == segment.read_bytes()
    (wal / NAME).write_bytes(b"other")
    assert "other content" in archive.archive(str(wal.parent), SYSTEM, str(segment), NAME)


def test_a_history_takes_the_place_of_its_reserved_number_and_not_the_reverse(segment: Path) -> None:
    wal, name = segment.parent / "wal" / SYSTEM, "0000000E.history"
    real, reserved = segment.with_name("real.history"), segment.with_name("reserved.history")
    real.write_bytes(b"13\t0/B467770\tno recovery target specified\n")
    reserved.write_bytes(reserving.TEXT)
    for path in (reserved, reserved, real, reserved, real):
        assert program(str(wal.parent), SYSTEM, str(path), name).returncode == 0
    assert (wal / name).read_bytes() == real.read_bytes()
    real.write_bytes(b"13\t0/B4677B0\tno recovery target specified\n")
    refused = program(str(wal.parent), SYSTEM, str(real), name)
    assert refused.returncode == 1 and "other content" in refused.stderr


def test_rests_of_a_timeline_that_several_servers_left_are_all_kept(segment: Path) -> None:
    wal, name = segment.parent / "wal" / SYSTEM, f"{NAME}.partial"
    other = segment.with_name("other")
    other.write_bytes(b"another end")
    for path in (segment, other, other):
        assert program(str(wal.parent), SYSTEM, str(path), name).returncode == 0
    kept = sorted(path for path in wal.iterdir() if not path.name.startswith("."))
    assert [path.read_bytes() for path in kept] == [segment.read_bytes(), b"another end"]
    assert kept[0].name == name and kept[1].name.startswith(f"{name}.")


def test_both_programs_know_the_same_mark() -> None:
    assert archive.RESERVED == reserving.MARK
