"""Base backups as plain values: which one a recovery begins with, which may go, whether one is due.

It must not know where backups lie or how one is taken. Times are seconds since 1970, as the hosts' clocks
had them; positions are bytes of WAL.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from msgspec import Struct

from qluster.database.wal import position_text

RETRY_AFTER = 600.0
"""Seconds after a backup that failed until the schedule tries again: a full disk is not made emptier by trying."""
PRIMARY_PATIENCE = 1.5
"""After so many intervals without a backup the primary takes it itself, when no replica streams."""


class NoBackup(Exception):
    """No backup serves; the text says why and names what there is."""


class Backup(Struct, frozen=True, kw_only=True):
    """A backup that is whole."""

    label: str
    system_id: int
    timeline: int
    start: int
    """Recovery reads WAL from here on."""
    stop: int
    """It is consistent from here on: no target may lie before."""
    began: float
    ended: float
    size: int
    """Bytes that it takes where it lies."""
    node: str
    """Address of the node that took it."""
    version: str = ""
    segment_size: int = 16 * 1024 * 1024
    kind: Literal["full", "diff", "incr"] = "full"
    """``diff`` holds what has changed since the last full one, ``incr`` since the last one."""
    needs: tuple[str, ...] = ()
    """Labels of the backups without which this one is of no use."""


class Failure(Struct, frozen=True, kw_only=True):
    """The last attempt, when it failed."""

    at: float
    node: str
    error: str


class Shelf(Struct, frozen=True, kw_only=True):
    """What a repository holds of one database, oldest backup first."""

    backups: tuple[Backup, ...] = ()
    failure: Failure | None = None
    """None when the last attempt was a success."""
    broken: tuple[str, ...] = ()
    """What looks like a backup and is none; a sentence each. Never counted, never removed."""

    @property
    def newest(self) -> Backup | None:
        """The newest backup."""
        return self.backups[-1] if self.backups else None


class Target(Struct, frozen=True, kw_only=True):
    """Where a recovery ends."""

    kind: Literal["newest", "time", "lsn", "name"] = "newest"
    text: str = ""
    """As the database is told it."""
    value: float = 0
    """The same as a number: seconds since 1970, or a position."""

    @property
    def words(self) -> str:
        """For people."""
        return "the newest of the archive" if self.kind == "newest" else f"{self.kind} {self.text}"


def choose(shelf: Shelf, target: Target, label: str = "") -> Backup:
    """The backup that a recovery to ``target`` begins with; raises :class:`NoBackup`."""
    backups = shelf.backups
    if not backups:
        raise NoBackup("there is no backup of this database" + _broken(shelf))
    if label:
        backups = tuple(backup for backup in backups if backup.label == label)
        if not backups:
            raise NoBackup(f"there is no backup {label}: there are {', '.join(each.label for each in shelf.backups)}")
    fitting = [backup for backup in backups if _before(backup, target)]
    if not fitting:
        oldest = backups[0]
        which = "that backup" if label else "the oldest backup"
        raise NoBackup(
            f"{target.words} lies before {which}, {oldest.label}, which is consistent from "
            f"{position_text(oldest.stop)} on (label and times are in UTC): choose a later target"
        )
    return fitting[-1]


def _before(backup: Backup, target: Target) -> bool:
    """Whether the target lies where this backup is consistent. Of a name nobody knows where it lies."""
    if target.kind == "time":
        return backup.ended <= target.value
    return target.kind != "lsn" or backup.stop <= target.value


def _broken(shelf: Shelf) -> str:
    return f" ({'; '.join(shelf.broken)})" if shelf.broken else ""


def expired(
    backups: Sequence[Backup], keep: int, keep_for: float, now: float, aside: Collection[str] = ()
) -> list[Backup]:
    """Backups that are kept neither for their number nor for their age, oldest first.

    The newest backup before the span is kept too: without it the beginning of the span cannot be recovered.
    ``aside`` names backups of a past that a recovery to a point in time has left: they do not count for the number,
    and go by their age once there are enough others.
    """
    assert keep >= 1, "the last good backup is never removed"
    ordered = sorted(backups, key=lambda backup: backup.ended)
    good = [backup for backup in ordered if backup.label not in aside]
    since = now - keep_for
    kept = {backup.label for backup in good[-keep:]}
    kept |= {backup.label for backup in ordered if backup.ended >= since}
    if keep_for:
        kept |= {backup.label for backup in [backup for backup in good if backup.ended < since][-1:]}
    if len(good) < keep:
        kept |= set(aside)
    for backup in reversed(ordered):  # what one needs is older than it
        kept |= set(backup.needs) if backup.label in kept else set()
    return [backup for backup in ordered if backup.label not in kept]


def kind_due(
    shelf: Shelf, full_interval: float, increment: Literal["incr", "diff"], now: float, aside: Collection[str] = ()
) -> Literal["full", "diff", "incr"]:
    """What the next backup holds; a full one also when the last full one belongs to a past that was left."""
    full = [backup.began for backup in shelf.backups if backup.kind == "full" and backup.label not in aside]
    return increment if full and 0 <= now - full[-1] < full_interval else "full"


def due(shelf: Shelf, interval: float, now: float, *, primary: bool = False) -> bool:
    """Whether the schedule wants a backup now; ``primary``: of the primary, because no replica can take it."""
    if interval <= 0:
        return False
    failure, newest = shelf.failure, shelf.newest
    # A clock that was put back must not stop the schedule for longer than it was put back.
    if failure is not None and 0 <= now - failure.at < RETRY_AFTER:
        return False
    if newest is None:
        return True
    return not 0 <= now - newest.began < interval * (PRIMARY_PATIENCE if primary else 1.0)
