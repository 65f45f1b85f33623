"""Emptying a directory: what goes, and what is refused before anything has gone."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ansible_collections.qhb.qluster.plugins.modules.qluster_empty_dir import Refusal, empty, rank

SYSTEM_ID = "7711372032594365646"


def database(path: Path) -> Path:
    (path / "base/5").mkdir(parents=True)
    (path / "global").mkdir()
    (path / "PG_VERSION").write_text("18\n")
    (path / "base/5/1259").write_bytes(b"\0" * 8192)
    path.chmod(0o700)
    return path


def test_database_directory_is_emptied_and_stays(tmp_path: Path) -> None:
    path = database(tmp_path / "data")
    found = empty(str(path), "database", False)
    assert found["entries"] == 3 and found["bytes"] > 8192
    assert list(path.iterdir()) == [] and path.stat().st_mode & 0o777 == 0o700
    assert empty(str(path), "database", False) == {"entries": 0, "bytes": 0}


def test_directory_that_is_not_there_counts_as_empty(tmp_path: Path) -> None:
    assert empty(str(tmp_path / "none"), "archive", False) == {"entries": 0, "bytes": 0}


def test_check_mode_counts_and_keeps(tmp_path: Path) -> None:
    path = database(tmp_path / "data")
    assert empty(str(path), "database", True)["entries"] == 3
    assert (path / "base/5/1259").exists()


def test_the_mark_of_a_database_goes_last() -> None:
    names = ["PG_VERSION", "base", "pg_wal", "global", "postgresql.conf"]
    assert sorted(names, key=rank)[-3:] == ["base", "global", "PG_VERSION"]


def test_unfinished_copy_is_a_database_too(tmp_path: Path) -> None:
    (tmp_path / "data/.qluster-new").mkdir(parents=True)
    assert empty(str(tmp_path / "data"), "database", False)["entries"] == 1


def test_link_inside_goes_and_what_it_points_at_stays(tmp_path: Path) -> None:
    path = database(tmp_path / "data")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/file").touch()
    (path / "pg_wal").symlink_to(tmp_path / "elsewhere")
    empty(str(path), "database", False)
    assert (tmp_path / "elsewhere/file").exists() and list(path.iterdir()) == []


@pytest.mark.parametrize(
    "path", ["/", "/etc", "/opt", "/var/lib", "/usr/local", "/home/somebody", "relative/data"])
def test_directories_of_the_system_are_refused(path: str) -> None:
    with pytest.raises(Refusal, match="never emptied"):
        empty(path, "database", True)


def test_link_to_a_directory_of_the_system_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to("/etc")
    with pytest.raises(Refusal, match="never emptied"):
        empty(str(tmp_path / "data"), "database", True)


def test_directory_with_something_else_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/thesis.odt").write_text("years of work")
    with pytest.raises(Refusal, match=r"does not look like a database directory \(it has thesis.odt\)"):
        empty(str(tmp_path / "data"), "database", False)
    assert (tmp_path / "data/thesis.odt").exists()


def test_running_database_is_refused(tmp_path: Path) -> None:
    path = database(tmp_path / "data")
    server = subprocess.Popen([sys.executable, "-c", "input()"], cwd=path, stdin=subprocess.PIPE)
    try:
        (path / "postmaster.pid").write_text(f"{server.pid}\n{path}\n")
        with pytest.raises(Refusal, match=f"its server runs as process {server.pid}"):
            empty(str(path), "database", False)
    finally:
        server.communicate(b"\n", timeout=10)
    assert empty(str(path), "database", False)["entries"] == 4


def test_number_of_a_dead_server_that_somebody_else_has_now_is_no_obstacle(tmp_path: Path) -> None:
    path = database(tmp_path / "data")
    (path / "postmaster.pid").write_text(f"{os.getpid()}\n")
    assert empty(str(path), "database", False)["entries"] == 4


@pytest.mark.parametrize(
    "name",
    ["000000010000000000000003", "00000002.history", "000000010000000000000003.00000028.backup",
     "000000010000000000000003.partial", "000000010000000000000003.gz", ".000000010000000000000004.db1-1a2b3c4d.part"])
def test_archive_has_these_names(tmp_path: Path, name: str) -> None:
    (tmp_path / "wal").mkdir()
    (tmp_path / "wal" / name).touch()
    assert empty(str(tmp_path / "wal"), "archive", False)["entries"] == 1


def test_archive_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "wal").mkdir()
    for name in ("000000010000000000000003", "backup.sql"):
        (tmp_path / "wal" / name).touch()
    with pytest.raises(Refusal, match=r"more than archived WAL \(backup.sql\)"):
        empty(str(tmp_path / "wal"), "archive", False)
    assert len(list((tmp_path / "wal").iterdir())) == 2


def test_archive_has_a_folder_for_each_database(tmp_path: Path) -> None:
    folder = tmp_path / "wal" / "7312345678901234567"
    folder.mkdir(parents=True)
    (folder / "000000010000000000000003").touch()
    (folder / "dump.sql").touch()
    with pytest.raises(Refusal, match=r"more than archived WAL \(7312345678901234567/dump.sql\)"):
        empty(str(tmp_path / "wal"), "archive", False)
    (folder / "dump.sql").unlink()
    assert empty(str(tmp_path / "wal"), "archive", False)["entries"] == 1
    assert not folder.exists()


def test_archive_that_several_hosts_empty_at_once_is_emptied(tmp_path: Path) -> None:
    """It is a network directory: each of the hosts is told to empty it."""
    path = tmp_path / "wal"
    path.mkdir()
    for number in range(2000):
        (path / f"0000000100000000{number:08X}").touch()
    with ThreadPoolExecutor(4) as hosts:
        found = list(hosts.map(lambda _: empty(str(path), "archive", False), range(4)))
    assert max(one["entries"] for one in found) == 2000
    assert list(path.iterdir()) == []


@pytest.mark.parametrize("gone", ["", SYSTEM_ID], ids=["all of it", "a folder"])
def test_what_another_host_removes_while_it_is_measured_counts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    path, listed = tmp_path / "wal", os.scandir
    (path / SYSTEM_ID).mkdir(parents=True)
    (path / SYSTEM_ID / "000000010000000000000001").write_bytes(b"1")

    def list_after_the_other(one: str) -> object:
        if one == str(path / gone):
            shutil.rmtree(one)
        return listed(one)

    monkeypatch.setattr(os, "scandir", list_after_the_other)
    assert empty(str(path), "archive", True)["entries"] == 1
