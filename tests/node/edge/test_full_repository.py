"""A repository whose disk is full: no half backup counts, it is said why, and the next one clears up."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge.daemon_world import wait_for
from edge.fault_world import Hosts, obstacle
from edge.test_backed_up_cluster import CHANGES, PGBACKREST_LONG, archived, command, missing

SIZE = "200m"
SPARE = 1 << 20
"""Bytes that are left: a third of the smallest backup."""


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    if reason := obstacle():
        pytest.skip(reason)
    made = Hosts(hosts=1)
    try:
        yield made
    finally:
        subprocess.run(["umount", "--lazy", str(made.root / "base")], check=False, capture_output=True)
        made.end()


def small_disk(path: Path) -> None:
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=777", "tmpfs", str(path)],
                             capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")


def fill(path: Path) -> Path:
    filler = path / "filler"
    with filler.open("wb") as file:
        room = os.statvfs(path)
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - SPARE)
    return filler


def left(path: Path) -> list[str]:
    """Names of what a backup began, or ended."""
    return [each.name for each in path.glob("*/*") if each.is_dir()]


@pytest.mark.parametrize("tool", ["plain", PGBACKREST_LONG])
def test_a_backup_that_finds_no_room_is_none_and_says_so(hosts: Hosts, tool: str) -> None:
    if reason := missing(tool):
        pytest.skip(reason)
    base = hosts.root / "base"
    small_disk(base)
    hosts.prepare(1, backup__dir=str(base), backup__interval="0s", **CHANGES[tool])
    hosts.start(1)
    wait_for("a primary", lambda: hosts.own(1).get("may_write"), 60)
    assert archived(hosts, 1)
    filler = fill(base)
    code, said, wrong = command(hosts, 1, "backup")
    assert code == 1 and "the backup failed" in wrong and "No space left on device" in wrong, said
    code, said, _ = command(hosts, 1, "backups", "--json")
    seen = json.loads(said)["shelf"]
    assert code == 0 and seen["backups"] == [] and "No space left on device" in seen["failure"]["error"]
    assert hosts.own(1)["may_write"]
    code, _, wrong = command(hosts, 1, "restore", "--confirm", "trial")
    assert code == 1 and "backups of 0 databases" in wrong
    filler.unlink()
    code, said, wrong = command(hosts, 1, "backup", "--json")
    assert code == 0, wrong
    label = json.loads(said)["taken"]["label"]
    if tool == "plain":
        assert left(base) == [label]
    assert archived(hosts, 1)
    code, said, _ = command(hosts, 1, "backups", "--check", "all")
    assert code == 0 and "failed" not in said and said.count("every file is as it was written") == 1
