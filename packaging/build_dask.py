#!/usr/bin/env python3
"""Packs Dask with all that it needs as one archive per Python minor and architecture.

It must not know hosts or inventories: it is told a Python minor and an architecture.

What is inside, below one folder named after the environment: lib/python3.NN/site-packages, from requirements/dask.txt
with hashes. A host makes a virtual environment of it, without pip and without a network. Same lock, same bytes.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import build_release
from build_release import BuildFailed, Release, Source

LOCK = build_release.ROOT / "requirements/dask.txt"


def source(lock: Path = LOCK) -> Source:
    """What the archive is made from: the lock alone decides."""
    if not lock.exists():
        raise BuildFailed(f"{lock} is missing: Dask is packed from a whole checkout, for an installed collection too "
                          f"(dask_archives).")
    return Source(lock.parent, lock, lock, lock)


def environment_for(made_from: Source, python: str, architecture: str) -> Release:
    """The environment for a host, or BuildFailed where none can be made for it."""
    text = made_from.lock.read_text(encoding="utf-8")
    version = re.search(r"^distributed==(\S+)", text, re.MULTILINE)
    if version is None:
        raise BuildFailed(f"{made_from.lock} does not pin distributed: run make lock.")
    match = re.fullmatch(r"3\.(\d{1,2})", python)
    if match is None or int(match.group(1)) < build_release.PYTHON_MINOR_LEAST:
        raise BuildFailed(f"Python {python} has no Dask packed for it. Give a minor version from "
                          f"3.{build_release.PYTHON_MINOR_LEAST} on, such as 3.11.")
    if architecture not in build_release.ARCHITECTURES:
        raise BuildFailed(f"Architecture {architecture} is not packed. Use one of: "
                          f"{', '.join(build_release.ARCHITECTURES)}.")
    digest = build_release.file_digest(made_from.lock)[: build_release.DIGEST_SIZE]
    return Release(version.group(1), digest, python, architecture)


def folder_of(release: Release) -> str:
    """Name of the environment on a host."""
    return f"{release.name}-{release.tag}"


def members(release: Release, tree: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Every folder and file of the archive with its content, in a fixed order. Folders too: a umask may be 077."""
    inside = f"{folder_of(release)}/lib/python{release.python}/site-packages"
    parts = inside.split("/")
    folders = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    named = [(name, tree) for name in folders]
    named += [(f"{inside}/{path.relative_to(tree).as_posix()}", path) for path in sorted(tree.rglob("*"))]
    for name, path in named:
        if "__pycache__" in path.relative_to(tree).parts:
            continue
        member = tarfile.TarInfo(name)
        content = b"" if path.is_dir() else path.read_bytes()
        member.type = tarfile.DIRTYPE if path.is_dir() else tarfile.REGTYPE
        member.size, member.mtime = len(content), build_release.MTIME
        member.mode = 0o755 if path.is_dir() or ".so" in path.suffixes else 0o644
        yield member, content


def build(release: Release, made_from: Source, cache: Path) -> tuple[Path, bool]:
    """The archive's path, and whether it had to be made."""
    target = cache / "dask" / f"dask-{release.name}-{release.tag}-{release.architecture}.tar.gz"
    with build_release.locked(cache):
        if target.exists():
            return target, False
        target.parent.mkdir(parents=True, exist_ok=True)
        tree = build_release.site_tree(made_from, release, cache)
        build_release.pack(members(release, tree), target, level=9)
    return target, True


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Pack Dask for a Python minor and an architecture.")
    option = parser.add_argument
    option("--python", default=f"3.{sys.version_info.minor}", help="minor version of the hosts' Python")
    option("--architecture", default=os.uname().machine, help=", ".join(build_release.ARCHITECTURES))
    option("--cache", type=Path, default=build_release.ROOT / ".cache/release", help="folder for what is built")
    given = parser.parse_args(words)
    try:
        made_from = source()
        release = environment_for(made_from, given.python, given.architecture)
        path, built = build(release, made_from, given.cache.resolve())
    except (BuildFailed, OSError) as error:
        print(f"build_dask: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"environment": folder_of(release), "python": given.python, "architecture": given.architecture,
                      "path": str(path), "sha256": build_release.file_digest(path), "built": built}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
