"""Numbers of timelines that belong to other reigns: kept from being taken by a promotion here.

It must not know who began them, nor why.

A server that is promoted takes the first number for which it finds no history file. Two that are promoted from the
same timeline, because the second could not follow the first, would take the same one: then nobody can tell their
WAL apart, a rewind sees nothing to do, a standby of one goes on with the WAL of the other, and their files meet in
the archive. So a promotion is told its number by the log, and finds a history file for each one before it that is
not known here: a comment, which no server takes for a way from anywhere. Such files stay, since servers and
restores look for the newest timeline one number after the other.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from pathlib import Path

from qluster.database.wal import history_name
from qluster.edge.postgres.record import sync_directory, write_durably

MARK = b"# reserved by qluster"
"""How such a file begins; ``edge/archive.py`` knows it too."""
TEXT = MARK + b": this number was for a promotion of which nothing is known here\n"
_HISTORY = re.compile(r"([0-9A-F]{8})\.history")
_SEGMENT = re.compile(r"([0-9A-F]{8})[0-9A-F]{16}(\.partial)?")


def reserve(data: Path, known: int, number: int) -> None:
    """See that a promotion takes at least this number; ``known``: the timeline that the server has reached."""
    for between in range(known + 1, number):
        path = data / "pg_wal" / history_name(between)
        if not path.exists():
            write_durably(path, TEXT)


def withdraw(data: Path) -> None:
    """Before a start: above the newest timeline nothing is reserved, or the server would try to go there."""
    found = _histories(data)
    newest = max((number for number, path in found.items() if not _reserved(path)), default=0)
    idle = [path for number, path in found.items() if number > newest]
    for path in idle:
        path.unlink(missing_ok=True)
    if idle:
        sync_directory(data / "pg_wal")


def forget_timelines(data: Path, kept: set[int]) -> None:
    """After a rewind: WAL of other timelines than the upstream's, which pg_rewind leaves in part from version 17 on.

    It would pass for the newest that is here, and its number for a timeline that this database is on. The upstream's
    are ``kept``, and those whose history came with the rewind: the upstream may have gone on meanwhile.
    """
    kept = kept | {number for number, path in _histories(data).items() if not _reserved(path)}
    found = ((_SEGMENT.fullmatch(path.name), path) for path in (data / "pg_wal").iterdir())
    idle = [path for match, path in found if match and int(match[1], 16) not in kept]
    for path in idle:
        path.unlink(missing_ok=True)
    if idle:
        sync_directory(data / "pg_wal")


def have_archived(data: Path) -> None:
    """A restore from the archive must find all numbers up to the newest."""
    status = data / "pg_wal" / "archive_status"
    for path in _histories(data).values():
        done = (status / f"{path.name}.done").exists()
        if not done and _reserved(path):
            (status / f"{path.name}.ready").touch(mode=0o600)


def _histories(data: Path) -> dict[int, Path]:
    found = ((_HISTORY.fullmatch(path.name), path) for path in (data / "pg_wal").glob("*.history"))
    return {int(match[1], 16): path for match, path in found if match}


def _reserved(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(len(MARK)) == MARK
