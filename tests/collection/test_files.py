"""Putting files in place: what changes, in which order, and what is refused."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.qhb.qluster.plugins.modules.qluster_files import Files, Refusal
from collection.module_double import Asked

DIRECTORY = {"mode": "0755", "owner": None, "group": None, "force": True}
FILE = {"mode": "0644", "owner": None, "group": None, "content": None, "src": None, "encoded": None,
        "secret": False, "force": True, "restart": False, "restart_ignore": "", "validate": []}
REFUSES = ["/bin/sh", "-c", "echo \"$1: line 3 is wrong\"; exit 2", "sh", "%s"]


def put(marker: str = "", check_mode: bool = False, **wanted: Any) -> tuple[Files, bool]:
    """Perform; the account, and whether a restart is pending."""
    asked = Asked(
        check_mode=check_mode, owner="", group="", marker=marker,
        directories=[{**DIRECTORY, **item} for item in wanted.get("directories", [])],
        files=[{**FILE, **item} for item in wanted.get("files", [])],
        links=wanted.get("links", []), absent=wanted.get("absent", []))
    files = Files(asked)
    return files, files.perform()


def test_file_appears_with_content_and_mode_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "etc/one"
    wanted = {"directories": [{"path": str(path.parent), "mode": "0750"}],
              "files": [{"path": str(path), "content": "1\n", "mode": "0640"}]}
    first, _ = put(**wanted)
    assert first.paths == [str(path.parent), str(path)] and path.read_text() == "1\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640 and stat.S_IMODE(path.parent.stat().st_mode) == 0o750
    assert put(**wanted)[0].paths == []


def test_directory_that_another_host_makes_at_the_same_moment_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a share, or with several hosts on one machine."""
    shared, looked = tmp_path / "base", os.path.isdir

    def look_before_the_other(path: str) -> bool:
        there = looked(path)
        if path == str(shared) and not there:
            shared.mkdir(mode=0o755)
        return there

    monkeypatch.setattr(os.path, "isdir", look_before_the_other)
    put(directories=[{"path": str(shared), "mode": "0750"}])
    assert shared.is_dir() and stat.S_IMODE(shared.stat().st_mode) == 0o750


@pytest.mark.parametrize("check_mode", [False, True])
def test_file_where_a_directory_is_to_be_is_left_alone(tmp_path: Path, check_mode: bool) -> None:
    path = tmp_path / "one"
    path.write_text("mine\n")
    with pytest.raises(Refusal, match=f"{path} is a file: it is to be a directory. Move the file away."):
        put(check_mode=check_mode, directories=[{"path": str(path)}])
    assert path.read_text() == "mine\n"


def test_what_another_host_removes_at_the_same_moment_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared, looked = tmp_path / "releases", os.path.isdir
    shared.mkdir()

    def look_after_the_other(path: str) -> bool:
        if path == str(shared):
            shared.rmdir()
        return looked(path)

    monkeypatch.setattr(os.path, "isdir", look_after_the_other)
    put(absent=[str(shared)])
    assert not shared.exists()


def test_wrong_mode_alone_is_set_right(tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.write_text("1\n")
    path.chmod(0o666)
    files, _ = put(files=[{"path": str(path), "content": "1\n", "mode": "0600"}])
    assert files.paths == [str(path)] and stat.S_IMODE(path.stat().st_mode) == 0o600


def test_file_that_may_stay_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.write_text("another program wrote this\n")
    path.chmod(0o600)
    assert put(files=[{"path": str(path), "content": "1\n", "force": False}])[0].paths == []
    assert path.read_text() == "another program wrote this\n"


def test_wrong_file_is_refused_before_any_file_is_replaced(tmp_path: Path) -> None:
    good, wrong, marker = tmp_path / "good", tmp_path / "wrong", tmp_path / "restart-pending"
    good.write_text("old\n")
    with pytest.raises(Refusal, match=r"wrong would be wrong, and nothing was put in place:\n.*wrong: line 3"):
        put(str(marker), files=[{"path": str(good), "content": "new\n", "restart": True},
                                {"path": str(wrong), "content": "new\n", "validate": REFUSES}])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good"] and good.read_text() == "old\n"


def test_restart_stays_pending_until_somebody_has_done_it(tmp_path: Path) -> None:
    path, marker = tmp_path / "config.yaml", tmp_path / "restart-pending"
    wanted = {"files": [{"path": str(path), "content": "new\n", "restart": True}]}
    assert put(str(marker), **wanted)[1] and marker.exists()
    again, pending = put(str(marker), **wanted)
    assert again.paths == [] and pending
    put(absent=[str(marker)])
    assert not put(str(marker), **wanted)[1]


def test_marker_says_what_for_also_after_several_runs(tmp_path: Path) -> None:
    """Who runs two services restarts the one that needs it."""
    marker = tmp_path / "restart-pending"
    first, second = ({"path": str(tmp_path / name), "content": "1\n", "restart": True} for name in ("one", "two"))
    assert put(str(marker), files=[first])[1] == [first["path"]]
    assert put(str(marker), files=[first, second])[1] == [first["path"], second["path"]]
    assert put(str(marker), files=[first, second])[1] == [first["path"], second["path"]]
    marker.write_text("")
    assert put(str(marker), files=[first, second])[1] == [str(marker)], "one of an older version is a marker too"


def test_lines_that_take_effect_at_once_need_no_restart(tmp_path: Path) -> None:
    path, marker = tmp_path / "config.yaml", tmp_path / "restart-pending"
    path.write_text("port: 1\ntimeout: 1s\n")
    wanted = {"path": str(path), "content": "port: 1\ntimeout: 2s\n",
              "restart": True, "restart_ignore": r"^\s*timeout:"}
    files, pending = put(str(marker), files=[wanted])
    assert files.paths == [str(path)] and not pending and not marker.exists()
    assert put(str(marker), files=[{**wanted, "content": "port: 2\ntimeout: 3s\n"}])[1]


def test_check_mode_changes_nothing_and_says_the_same(tmp_path: Path) -> None:
    wanted: dict[str, Any] = {
        "directories": [{"path": str(tmp_path / "new")}],
        "files": [{"path": str(tmp_path / "new/one"), "content": "1\n", "restart": True}],
        "links": [{"path": str(tmp_path / "link"), "to": "/nowhere"}]}
    said, pending = put(str(tmp_path / "mark"), check_mode=True, **wanted)
    assert list(tmp_path.iterdir()) == [] and pending
    assert put(str(tmp_path / "mark"), **wanted)[0].paths == said.paths


def test_check_mode_bears_content_that_is_not_made_yet(tmp_path: Path) -> None:
    file = {"path": str(tmp_path / "key"), "src": "/not/there/yet", "secret": True}
    assert put(check_mode=True, files=[file])[0].paths == [str(tmp_path / "key")]
    with pytest.raises(Refusal, match="neither content nor src"):
        put(files=[file])


def test_difference_shows_text_but_no_secret(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("old\n")
    files, _ = put(files=[{"path": str(tmp_path / "plain"), "content": "new\n"},
                          {"path": str(tmp_path / "key"), "content": "hidden\n", "secret": True}])
    plain, secret = files.differences
    assert (plain["before"], plain["after"]) == ("old\n", "new\n")
    assert secret["after"] == "(not shown)\n" and "hidden" not in repr(files.differences)


def test_link_is_switched_at_once_and_never_replaces_a_file(tmp_path: Path) -> None:
    link = tmp_path / "current"
    put(links=[{"path": str(link), "to": "one"}])
    put(links=[{"path": str(link), "to": "two"}])
    assert link.readlink() == Path("two")
    link.unlink()
    link.write_text("mine")
    with pytest.raises(Refusal, match="is no link"):
        put(links=[{"path": str(link), "to": "two"}])


@pytest.mark.parametrize("path", ["/", "/etc", "/usr/local/bin", "relative/path"])
def test_what_belongs_to_the_system_is_never_removed(path: str) -> None:
    with pytest.raises(Refusal, match="never removed"):
        Files(Asked(check_mode=True, absent=[path])).remove(str(Path(path)) if path.startswith("/") else ".")


def test_absent_removes_folders_with_everything_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "gone/deep").mkdir(parents=True)
    (tmp_path / "gone/deep/file").touch()
    (tmp_path / "stays").touch()
    files, _ = put(absent=[str(tmp_path / "gone"), str(tmp_path / "never-there")])
    assert files.paths == [str(tmp_path / "gone")] and [path.name for path in tmp_path.iterdir()] == ["stays"]
