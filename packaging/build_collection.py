#!/usr/bin/env python3
"""Builds the collection's archive with the daemon inside: what `make collection` runs.

It must not know hosts: it packs the daemon for the Python minors that it is given.

An installed collection may use nothing but meta, plugins, roles and playbooks, so the daemon's archives
and a description of them (release.json) go into the files of the role node first.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import build_release

ROOT = build_release.ROOT
FILES = ROOT / "roles/node/files"
PYTHONS = ("3.11", "3.12", "3.13")
"""Those of the current systems: Debian 12 and 13, Ubuntu 24.04, Astra 1.8, RED OS 8, ALT p11, RHEL 9."""
BUILD_TIMEOUT = 120.0


def bundle(pythons: list[str], architectures: list[str], cache: Path) -> dict[str, object]:
    """Put one archive for each Python and architecture into the role, and describe them."""
    made_from = build_release.source()
    FILES.mkdir(exist_ok=True)
    for old in FILES.glob("*.tar.gz"):
        old.unlink()
    archives = {}
    name = ""
    for architecture in architectures:
        for python in pythons:
            release = build_release.release_for(made_from, python, architecture)
            path, _ = build_release.build(release, made_from, cache)
            shutil.copyfile(path, FILES / path.name)
            name = release.name
            digest = build_release.file_digest(path)
            archives[f"{python}-{architecture}"] = {"file": path.name, "sha256": digest}
    description: dict[str, object] = {"release": name, "archives": archives}
    (FILES / "release.json").write_text(json.dumps(description, indent=1, sort_keys=True) + "\n")
    return description


def build(output: Path) -> str:
    """Run Ansible's own builder; the path of the collection's archive."""
    program = Path(sys.executable).parent / "ansible-galaxy"
    command = [str(program), "collection", "build", "--force", "--output-path", str(output), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_TIMEOUT, check=False, cwd=ROOT)
    if done.returncode != 0:
        raise build_release.BuildFailed(f"ansible-galaxy collection build failed: {done.stderr.strip()[-800:]}")
    return done.stdout.strip().rpartition(" ")[2]


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build the collection with the daemon inside.")
    parser.add_argument("--python", action="append", help=f"Python minor; default: {', '.join(PYTHONS)}")
    parser.add_argument("--architecture", action="append", help="default: x86_64")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache/release")
    parser.add_argument("--output", type=Path, default=ROOT / ".cache/collection")
    given = parser.parse_args(words)
    try:
        description = bundle(given.python or list(PYTHONS), given.architecture or ["x86_64"], given.cache.resolve())
        path = build(given.output.resolve())
    except (build_release.BuildFailed, OSError) as error:
        print(f"build_collection: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"collection": path, **description}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
