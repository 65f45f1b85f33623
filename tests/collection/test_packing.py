"""The daemon's archive: the same bytes from the same source, and what is refused."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def packer() -> ModuleType:
    found = importlib.util.spec_from_file_location("build_release", ROOT / "packaging/build_release.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["build_release"] = module
    found.loader.exec_module(module)
    return module


PACKER = packer()


def checkout(folder: Path) -> Path:
    """A small source, with what a release is made of."""
    (folder / "node/qluster/cli").mkdir(parents=True)
    (folder / "node/qluster/__init__.py").write_text('__version__ = "0.3.0"\n')
    (folder / "node/qluster/__main__.py").write_text("def main():\n    print('qluster 0.3.0')\n")
    (folder / "node/qluster/cli/__init__.py").touch()
    (folder / "requirements").mkdir()
    (folder / "requirements/node.txt").write_text("\n")
    (folder / "packaging").mkdir()
    for name in ("launch.py", "end-database"):
        (folder / "packaging" / name).write_bytes((ROOT / "packaging" / name).read_bytes())
    return folder


def dependencies(folder: Path) -> Path:
    (folder / "site/wheel").mkdir(parents=True)
    (folder / "site/wheel/__init__.py").write_text("answer = 42\n")
    (folder / "site/wheel/fast.cpython-311.so").write_bytes(b"\x7fELF")
    return folder / "site"


def test_same_source_gives_same_bytes(tmp_path: Path) -> None:
    tree = dependencies(tmp_path)
    archives = []
    for name in ("one", "two"):
        made_from = PACKER.source(checkout(tmp_path / name))
        release = PACKER.release_for(made_from, "3.11", "x86_64")
        target = tmp_path / f"{name}.tar.gz"
        PACKER.write_archive(made_from, release, tree, target)
        archives.append(target.read_bytes())
    assert archives[0] == archives[1]


def test_archive_has_one_folder_and_a_description(tmp_path: Path) -> None:
    made_from = PACKER.source(checkout(tmp_path / "source"))
    release = PACKER.release_for(made_from, "3.12", "aarch64")
    PACKER.write_archive(made_from, release, dependencies(tmp_path), tmp_path / "archive.tar.gz")
    with tarfile.open(tmp_path / "archive.tar.gz") as archive:
        members = {member.name: member for member in archive}
        file = archive.extractfile(f"{release.name}/RELEASE")
        assert file is not None
        description = json.load(file)
    inside = {name.removeprefix(release.name + "/") for name in members}
    assert {"RELEASE", "bin/launch.py", "bin/end-database", "lib/python/qluster/__main__.py",
            "lib/cp312/wheel/__init__.py"} <= inside
    assert all(name.startswith(release.name + "/") for name in members)
    assert description["version"] == "0.3.0" and description["digest"] in release.name
    assert {member.mtime for member in members.values()} == {PACKER.MTIME}
    assert {(member.uid, member.gid) for member in members.values()} == {(0, 0)}


@pytest.mark.parametrize(
    ("name", "same"),
    [("node/qluster/__main__.py", False), ("requirements/node.txt", False), ("packaging/launch.py", False),
     ("node/qluster/__pycache__/x.pyc", True), ("node/tests.py", True)])
def test_digest_covers_what_goes_in_and_nothing_else(tmp_path: Path, name: str, same: bool) -> None:
    root = checkout(tmp_path / "source")
    before = PACKER.source(root).digest()
    path = root / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("# another\n")
    assert (PACKER.source(root).digest() == before) is same


def test_digest_is_one_for_all_pythons(tmp_path: Path) -> None:
    made_from = PACKER.source(checkout(tmp_path / "source"))
    names = {PACKER.release_for(made_from, python, "x86_64").name for python in ("3.11", "3.12", "3.13")}
    assert len(names) == 1


@pytest.mark.parametrize(
    ("python", "architecture", "said"),
    [("3.9", "x86_64", "cannot run the daemon"), ("3.1x", "x86_64", "cannot run the daemon"),
     ("3.11", "riscv64", "Use one of: x86_64, aarch64")])
def test_impossible_hosts_are_refused(tmp_path: Path, python: str, architecture: str, said: str) -> None:
    with pytest.raises(PACKER.BuildFailed, match=said):
        PACKER.release_for(PACKER.source(checkout(tmp_path)), python, architecture)


def test_part_of_a_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PACKER.BuildFailed, match="is missing: a release is packed from a whole checkout"):
        PACKER.source(tmp_path)


def test_archive_is_built_once_and_old_ones_are_forgotten(tmp_path: Path) -> None:
    made_from = PACKER.source(checkout(tmp_path / "source"))
    release = PACKER.release_for(made_from, "3.11", "x86_64")
    lock = hashlib.sha256(made_from.lock.read_bytes()).hexdigest()[: PACKER.DIGEST_SIZE]
    cache = tmp_path / "cache"
    (cache / f"site/{lock}-cp311-x86_64").mkdir(parents=True)
    (cache / "archives").mkdir()
    for number in range(PACKER.ARCHIVES_MAX + 3):
        old = cache / f"archives/qluster-0.0.{number}.tar.gz"
        old.touch()
        os.utime(old, (number, number))
    path, built = PACKER.build(release, made_from, cache)
    kept = {old.name for old in (cache / "archives").iterdir()}
    assert built and len(kept) == PACKER.ARCHIVES_MAX and path.name in kept and "qluster-0.0.0.tar.gz" not in kept
    assert PACKER.build(release, made_from, cache) == (path, False)


def test_describing_builds_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "packaging/build_release.py", "--describe", "--cache", str(tmp_path / "cache")],
        capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    assert said["release"] == f"{said['version']}-{said['digest']}" and not (tmp_path / "cache").exists()
