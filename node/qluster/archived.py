"""What there is to see of backups and archive, as plain values: a part of ``status.py``.

Nothing here decides anything.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from msgspec import Struct


class BackupEntry(Struct, frozen=True, kw_only=True):
    """One base backup."""

    label: str
    """When it was begun, in UTC."""
    node: str
    """Address of the node that took it."""
    timeline: int
    start: int
    """WAL position that a recovery begins with."""
    stop: int
    """WAL position from which on it is consistent: no target of a recovery lies before."""
    age: float
    """Seconds since it ended."""
    took: float
    size: int
    """Bytes that it takes."""
    usable: bool = True
    """False: a recovery to a point in time has left the past that it belongs to."""
    kind: str = "full"
    """``diff`` holds what has changed since the last full one, ``incr`` since the last one."""


class BackupsStatus(Struct, frozen=True, kw_only=True):
    """Backups and archive, as a database host last saw them."""

    looked_ago: float | None = None
    """Seconds since they were seen; None: not yet."""
    error: str = ""
    """Why they cannot be seen, "" when they can."""
    taking: bool = False
    """This node is taking a backup."""
    count: int = 0
    newest_age: float | None = None
    """Seconds since the newest backup ended; None: there is none."""
    backups: tuple[BackupEntry, ...] = ()
    """The newest hundred, oldest first."""
    broken: tuple[str, ...] = ()
    """What looks like a backup and is none."""
    failed_ago: float | None = None
    """Seconds since the last attempt when that failed; None: it did not."""
    failure: str = ""
    archive_complete: bool | None = None
    """Whether each backup can be recovered up to the newest archived WAL."""
    archive_faults: tuple[str, ...] = ()
    archive_newest: str = ""
    """Name of the newest archived segment."""
    archive_reaches: str = ""
    """The segment up to which a recovery from the newest backup comes."""
    archive_age: float | None = None
    """Seconds since the newest segment was archived."""
    waiting_files: int = 0
    """Finished WAL files of this host that are not archived yet."""
    waiting_bytes: int = 0
