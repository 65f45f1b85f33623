"""The archive program, with real files."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from qluster.edge import archive

NAME = "000000010000000000000003"


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    (tmp_path / "wal").mkdir()
    path = tmp_path / NAME
    path.write_bytes(os.urandom(3_000_000))
    return path


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-S", archive.__file__, *arguments], capture_output=True, text=True, timeout=60
    )


def test_a_segment_is_copied_whole(segment: Path) -> None:
    wal = segment.parent / "wal"
    assert program(str(wal), str(segment), NAME).returncode == 0
    assert [path.name for path in wal.iterdir()] == [NAME]
    assert (wal / NAME).read_bytes() == segment.read_bytes()


def test_the_same_content_again_is_a_success(segment: Path) -> None:
    wal = segment.parent / "wal"
    for _ in range(2):
        assert program(str(wal), str(segment), NAME).returncode == 0


@pytest.mark.parametrize("other", [b"", b"something else"])
def test_other_content_is_never_overwritten(segment: Path, other: bytes) -> None:
    wal = segment.parent / "wal"
    (wal / NAME).write_bytes(other)
    end = program(str(wal), str(segment), NAME)
    assert end.returncode == 1 and "is there with other content" in end.stderr
    assert (wal / NAME).read_bytes() == other


def test_a_longer_file_of_the_same_beginning_is_other_content(segment: Path) -> None:
    wal = segment.parent / "wal"
    (wal / NAME).write_bytes(segment.read_bytes() + b"more")
    assert program(str(wal), str(segment), NAME).returncode == 1


def test_a_part_that_a_crash_left_does_no_harm(segment: Path) -> None:
    wal = segment.parent / "wal"
    (wal / f".{NAME}.{archive._writer()}.part").write_bytes(b"half")
    assert archive.archive(str(wal), str(segment), NAME) == ""
    assert [path.name for path in wal.iterdir()] == [NAME]


def test_a_missing_directory_is_named_with_the_remedy(segment: Path) -> None:
    end = program("/no/such/wal", str(segment), NAME)
    assert end.returncode == 1
    assert end.stderr == (
        "qluster archive: the archive directory /no/such/wal is not there: create it or mount it\n"
    )


def test_a_missing_segment_and_a_strange_name_are_failures(segment: Path) -> None:
    wal = str(segment.parent / "wal")
    assert "cannot be archived" in program(wal, str(segment) + "x", NAME).stderr
    assert "no name of a WAL file" in program(wal, str(segment), "../x").stderr
    assert "usage" in program(wal).stderr
    assert os.listdir(wal) == []


def test_without_links_the_file_is_renamed(segment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    wal = segment.parent / "wal"
    assert archive.archive(str(wal), str(segment), NAME) == ""
    assert (wal / NAME).read_bytes() == segment.read_bytes()
    (wal / NAME).write_bytes(b"other")
    assert "other content" in archive.archive(str(wal), str(segment), NAME)
