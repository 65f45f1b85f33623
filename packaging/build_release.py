#!/usr/bin/env python3
"""Packs the daemon as one archive per Python minor and architecture.

It must not know hosts or inventories: it is told a Python minor and an architecture.

What is inside, below one folder named after the release:

    RELEASE                 version, digest, Python minor, architecture (JSON)
    bin/launch.py           puts the two folders below first in sys.path and calls main
    bin/end-database        ends a database whose daemon is gone (the unit's last belt)
    lib/cp3NN/              the dependencies, from requirements/node.txt with hashes
    lib/python/qluster/     the daemon

The digest covers everything that goes in, not what comes out: the daemon's files, the lock of its
dependencies, the launcher and this format's number. Same digest, same bytes: names are sorted, times
and owners fixed. So an archive is built once, kept in the cache, and built again only when its digest
changes. The digest leaves out the Python minor, so that hosts with different ones have one release.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import fcntl
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FORMAT = "1"
"""Number of the archive's layout; a change of it makes every digest new."""
DIGEST_SIZE = 12
"""Hexadecimal digits of a digest in names: 48 bits tell every build of a project apart."""
MTIME = 946684800
"""2000-01-01: an age that no file system and no zip format refuses."""
ARCHIVES_MAX = 12
"""Archives in the cache: three Pythons on two architectures, of the present and the former source."""
INSTALL_TIMEOUT = 600.0
"""Seconds for fetching about 20 MB of wheels, over a slow line."""
ARCHITECTURES = {"x86_64": "x86_64-manylinux_2_28", "aarch64": "aarch64-manylinux_2_28"}
PYTHON_MINOR_LEAST = 11


class BuildFailed(Exception):
    """The archive cannot be made; the text says what is wrong and what to do."""


@dataclass(frozen=True)
class Source:
    """Everything that goes into a release."""

    package: Path
    lock: Path
    launcher: Path
    belt: Path

    def files(self) -> Iterator[tuple[str, Path]]:
        """Name in the digest and path of each file, sorted by name."""
        yield "bin/end-database", self.belt
        yield "bin/launch.py", self.launcher
        for path in sorted(self.package.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
                yield f"lib/python/qluster/{path.relative_to(self.package).as_posix()}", path
        yield "requirements", self.lock

    def version(self) -> str:
        text = (self.package / "__init__.py").read_text(encoding="utf-8")
        match = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
        if match is None:
            raise BuildFailed(f"{self.package}/__init__.py has no __version__ = \"…\" line.")
        return match.group(1)

    def digest(self) -> str:
        total = hashlib.sha256(FORMAT.encode())
        for name, path in self.files():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            total.update(f"{name} {content}\n".encode())
        return total.hexdigest()[:DIGEST_SIZE]


@dataclass(frozen=True)
class Release:
    """One archive to be: what it is called and what it is for."""

    version: str
    digest: str
    python: str
    """Minor version as 3.11."""
    architecture: str

    @property
    def name(self) -> str:
        return f"{self.version}-{self.digest}"

    @property
    def tag(self) -> str:
        return "cp" + self.python.replace(".", "")

    @property
    def archive_name(self) -> str:
        return f"qluster-{self.name}-{self.tag}-{self.architecture}.tar.gz"


def source(root: Path = ROOT) -> Source:
    """The source of a checkout."""
    found = Source(root / "node/qluster", root / "requirements/node.txt",
                   root / "packaging/launch.py", root / "packaging/end-database")
    for path in (found.package, found.lock, found.launcher, found.belt):
        if not path.exists():
            raise BuildFailed(f"{path} is missing: a release is packed from a whole checkout. "
                              f"An installed collection brings its archives in roles/node/files.")
    return found


def release_for(made_from: Source, python: str, architecture: str) -> Release:
    """The release for a host, or BuildFailed where none can be made for it."""
    match = re.fullmatch(r"3\.(\d{1,2})", python)
    if match is None or int(match.group(1)) < PYTHON_MINOR_LEAST:
        raise BuildFailed(f"Python {python} cannot run the daemon. "
                          f"Give a minor version from 3.{PYTHON_MINOR_LEAST} on, such as 3.11.")
    if architecture not in ARCHITECTURES:
        raise BuildFailed(f"Architecture {architecture} is not packed. "
                          f"Use one of: {', '.join(ARCHITECTURES)}.")
    return Release(made_from.version(), made_from.digest(), python, architecture)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One builder at a time in a cache folder; hosts of one run ask for the same archive at once."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def uv_program() -> list[str]:
    """How uv is called: beside this Python, by its module, or from the path."""
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise BuildFailed("The program uv is missing: it fetches what the daemon needs. "
                          "Install it with: pip install -r requirements/controller.txt")
    return [found]


def site_tree(made_from: Source, release: Release, cache: Path) -> Path:
    """The folder with the dependencies for one Python minor; fetched when the lock has changed."""
    lock_digest = hashlib.sha256(made_from.lock.read_bytes()).hexdigest()[:DIGEST_SIZE]
    tree = cache / "site" / f"{lock_digest}-{release.tag}-{release.architecture}"
    if tree.is_dir():
        return tree
    tree.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=tree.parent, prefix=".new-") as new:
        target = Path(new) / "tree"
        command = [*uv_program(), "--quiet", "pip", "install", "--target", str(target),
                   "--python-version", release.python,
                   "--python-platform", ARCHITECTURES[release.architecture],
                   "--only-binary", ":all:", "--require-hashes", "--no-deps", "--link-mode", "copy",
                   "--python", sys.executable, "-r", str(made_from.lock)]
        run_installer(command, release)
        for leftover in (target / "bin", target / ".lock"):
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink(missing_ok=True)
        target.rename(tree)
    return tree


def run_installer(command: list[str], release: Release) -> None:
    """Run uv, and say in its own words what went wrong."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise BuildFailed(f"The dependencies for Python {release.python} were not there after "
                          f"{INSTALL_TIMEOUT:.0f} s. Does this machine reach the package index?") from None
    if done.returncode != 0:
        words = " ".join(done.stderr.split())[-800:]
        raise BuildFailed(f"The dependencies for Python {release.python} on {release.architecture} "
                          f"cannot be had: {words}")


def members(made_from: Source, release: Release, tree: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Every file of the archive with its content, in a fixed order."""
    for name, content, mode in _files(made_from, release, tree):
        member = tarfile.TarInfo(f"{release.name}/{name}")
        member.size, member.mode, member.mtime = len(content), mode, MTIME
        yield member, content


def _files(made_from: Source, release: Release, tree: Path) -> Iterator[tuple[str, bytes, int]]:
    """Name, content and mode of each."""
    description = {"name": "qluster", "version": release.version, "digest": release.digest,
                   "python": release.python, "architecture": release.architecture, "format": int(FORMAT)}
    yield "RELEASE", (json.dumps(description, sort_keys=True) + "\n").encode(), 0o644
    for name, path in made_from.files():
        if name != "requirements":
            yield name, path.read_bytes(), 0o755 if name == "bin/end-database" else 0o644
    for path in sorted(tree.rglob("*")):
        if not path.is_file() or "__pycache__" in path.parts:
            continue
        mode = 0o755 if path.stat().st_mode & 0o100 or ".so" in path.suffixes else 0o644
        yield f"lib/{release.tag}/{path.relative_to(tree).as_posix()}", path.read_bytes(), mode


def write_archive(made_from: Source, release: Release, tree: Path, target: Path) -> None:
    """Write the release's archive."""
    pack(members(made_from, release, tree), target)


def pack(entries: Iterable[tuple[tarfile.TarInfo, bytes]], target: Path, level: int = 6) -> None:
    """Write the archive beside its place, then move it there. ``level``: how hard gzip tries."""
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".new-", delete=False) as new:
        try:
            with gzip.GzipFile(filename="", mode="wb", fileobj=new, compresslevel=level, mtime=MTIME) as packed, \
                    tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
                for member, content in entries:
                    archive.addfile(member, io.BytesIO(content))
            new.flush()
            os.fchmod(new.fileno(), 0o644)
        except BaseException:
            os.unlink(new.name)
            raise
    os.replace(new.name, target)


def build(release: Release, made_from: Source, cache: Path) -> tuple[Path, bool]:
    """The archive's path, and whether it had to be made."""
    target = cache / "archives" / release.archive_name
    with locked(cache):
        if target.exists():
            return target, False
        target.parent.mkdir(parents=True, exist_ok=True)
        write_archive(made_from, release, site_tree(made_from, release, cache), target)
        forget_old(target.parent)
    return target, True


def forget_old(folder: Path) -> None:
    """Keep the newest archives: a hard day's work would fill the disk with one for each edit."""
    archives = sorted(folder.glob("*.tar.gz"), key=lambda path: path.stat().st_mtime)
    for path in archives[:-ARCHIVES_MAX]:
        path.unlink(missing_ok=True)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Pack the daemon for a Python minor and an architecture.")
    option = parser.add_argument
    option("--python", default=f"3.{sys.version_info.minor}", help="minor version of the hosts' Python")
    option("--architecture", default=os.uname().machine, help=", ".join(ARCHITECTURES))
    option("--cache", type=Path, default=ROOT / ".cache/release", help="folder for what is built")
    option("--describe", action="store_true", help="only say what the release is called; build nothing")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    given = arguments(words)
    try:
        made_from = source()
        release = release_for(made_from, given.python, given.architecture)
        answer: dict[str, object] = {
            "release": release.name, "version": release.version, "digest": release.digest,
            "python": release.python, "architecture": release.architecture}
        if not given.describe:
            path, built = build(release, made_from, given.cache.resolve())
            answer |= {"path": str(path), "sha256": file_digest(path), "built": built}
    except (BuildFailed, OSError) as error:
        print(f"build_release: {error}", file=sys.stderr)
        return 1
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
