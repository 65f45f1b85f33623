"""Installing a release on a host, switching to it, going back, and keeping the last ones."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.qhb.qluster.plugins.modules.qluster_release import Refusal, perform
from collection.module_double import Asked

ROOT = Path(__file__).resolve().parents[2]
TAG = f"cp3{sys.version_info.minor}"
MAIN = "import sys\ndef main():\n    print('qluster', '{version}', sys.argv[0], *sys.argv[1:])\n"


def pack(folder: Path, version: str, digest: str = "abcdef123456", **more: bytes) -> Path:
    """An archive as the packer makes it, with a daemon that says its version."""
    name = f"{version}-{digest}"
    files = {
        "RELEASE": b"{}", "bin/launch.py": (ROOT / "packaging/launch.py").read_bytes(),
        "lib/python/qluster/__init__.py": b"", "lib/python/qluster/__main__.py": MAIN.format(version=version).encode(),
        f"lib/{TAG}/wheel.py": b"", **more}
    path = folder / f"{name}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for inside, content in files.items():
            member = tarfile.TarInfo(inside if inside.startswith("/") else f"{name}/{inside}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


class Host:
    """A host's folders, and the module's steps on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.directory = folder / "opt/qluster"
        self.command = folder / "usr/local/bin/qluster"

    def run(self, state: str, release: str, check_mode: bool = False, **more: Any) -> dict[str, Any]:
        options = {"directory": str(self.directory), "state": state, "release": release, "archive": None,
                   "sha256": None, "python": sys.executable, "remove_archive": False,
                   "link": str(self.command), "keep": 3, "marker": ""}
        result: dict[str, Any] = perform(Asked(check_mode=check_mode, **{**options, **more}))
        return result

    def install(self, version: str, **more: Any) -> dict[str, Any]:
        archive = pack(self.folder, version)
        return self.run("present", f"{version}-abcdef123456", archive=str(archive), **more)

    def use(self, version: str, **more: Any) -> dict[str, Any]:
        return self.run("current", f"{version}-abcdef123456", **more)

    def says(self) -> str:
        done = subprocess.run([self.command, "--version"], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def releases(self) -> list[str]:
        return sorted(path.name.partition("-")[0] for path in (self.directory / "releases").iterdir())


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_installed_release_is_not_in_use_until_it_is_switched_to(host: Host) -> None:
    assert host.install("0.1.0")["changed"] and not host.command.exists()
    assert not host.install("0.1.0")["changed"]
    switched = host.use("0.1.0")
    assert switched["changed"] and switched["before"] == ""
    assert host.says() == f"qluster 0.1.0 {host.command} --version"
    assert not host.use("0.1.0")["changed"]


def test_code_is_compiled_and_readable_for_the_daemons_user(host: Host) -> None:
    old = os.umask(0o077)
    try:
        host.install("0.1.0")
    finally:
        os.umask(old)
    folder = host.directory / "releases/0.1.0-abcdef123456"
    assert list(folder.glob("lib/python/qluster/__pycache__/__main__.*.pyc"))
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in [folder, *folder.rglob("*")])


def test_launcher_is_not_led_astray_by_the_callers_environment(host: Host, tmp_path: Path) -> None:
    host.install("0.1.0")
    host.use("0.1.0")
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil/qluster.py").write_text("raise SystemExit('led astray')\n")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / "evil"), "PYTHONSTARTUP": "/nowhere"}
    done = subprocess.run([host.command, "a b"], capture_output=True, text=True, env=environment,
                          cwd=tmp_path / "evil", check=True)
    assert done.stdout.endswith("a b\n")


def test_way_back_is_a_switch(host: Host) -> None:
    for version in ("0.1.0", "0.2.0"):
        host.install(version)
        host.use(version)
    back = host.run("current", "previous")
    assert back["release"] == "0.1.0-abcdef123456" and back["before"] == "0.2.0-abcdef123456"
    assert host.says().startswith("qluster 0.1.0")


def test_last_three_are_kept_and_never_the_one_in_use_lost(host: Host) -> None:
    for number, version in enumerate(("0.1.0", "0.2.0", "0.3.0", "0.4.0")):
        host.install(version)
        os.utime(host.directory / f"releases/{version}-abcdef123456", (number, number))
    removed = host.use("0.1.0")["removed"]
    assert removed == ["0.2.0-abcdef123456"] and host.releases() == ["0.1.0", "0.3.0", "0.4.0"]


def test_switch_leaves_a_mark_for_the_restart(host: Host, tmp_path: Path) -> None:
    host.install("0.1.0")
    host.use("0.1.0", marker=str(tmp_path / "restart-pending"))
    assert (tmp_path / "restart-pending").exists()
    (tmp_path / "restart-pending").unlink()
    host.use("0.1.0", marker=str(tmp_path / "restart-pending"))
    assert not (tmp_path / "restart-pending").exists()


def test_check_mode_changes_nothing(host: Host) -> None:
    assert host.run("present", "0.1.0-abcdef123456", check_mode=True)["changed"]
    assert host.use("0.1.0", check_mode=True)["changed"]
    assert not host.directory.exists() and not host.command.exists()


def test_archive_is_removed_when_it_is_asked_for(host: Host) -> None:
    host.install("0.1.0", remove_archive=True)
    assert list(host.folder.glob("*.tar.gz")) == []


def test_damaged_archive_is_refused_and_leaves_nothing(host: Host) -> None:
    with pytest.raises(Refusal, match="damaged on its way"):
        host.install("0.1.0", sha256=hashlib.sha256(b"another").hexdigest())
    assert host.releases() == []


@pytest.mark.parametrize(
    ("more", "said"),
    [({"/etc/evil": b"x"}, "is no archive of"), ({"../../evil": b"x"}, "is no archive of"),
     ({"lib/python/qluster/__main__.py": b"raise SystemExit('broken')"}, "broken"),
     ({"lib/python/qluster/__main__.py": MAIN.format(version="9.9").encode()}, "not what its name says")],
    ids=["absolute path", "path upwards", "does not start", "another version"])
def test_wrong_archive_is_refused_and_leaves_nothing(host: Host, more: dict[str, bytes], said: str) -> None:
    archive = pack(host.folder, "0.1.0", **more)
    with pytest.raises(Refusal, match=said):
        host.run("present", "0.1.0-abcdef123456", archive=str(archive))
    assert host.releases() == [] and not Path("/etc/evil").exists()


def test_unknown_release_is_refused_with_those_there_are(host: Host) -> None:
    host.install("0.1.0")
    with pytest.raises(Refusal, match=r"0\.9\.0-abcdef123456 is not installed .* there are: 0\.1\.0-abcdef123456"):
        host.use("0.9.0")
    with pytest.raises(Refusal, match="names no release"):
        host.run("current", "../../etc")
    host.use("0.1.0")
    with pytest.raises(Refusal, match="nothing to go back to"):
        host.run("current", "previous")


def test_file_in_the_commands_place_is_not_overwritten(host: Host) -> None:
    host.command.parent.mkdir(parents=True)
    host.command.write_text("mine")
    host.install("0.1.0")
    with pytest.raises(Refusal, match="is no link"):
        host.use("0.1.0")
    assert host.command.read_text() == "mine"
