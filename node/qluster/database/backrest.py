"""What pgBackRest says of its repository, as our own values; and what it complains of, in one sentence.

It must not know how it is run.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Literal

import msgspec
from msgspec import Struct, field

from qluster.database import archive
from qluster.database.archive import Completeness
from qluster.database.backups import Backup, Failure, Shelf
from qluster.database.wal import position_of

NODE, SEGMENT_SIZE = "qluster-node", "qluster-segment-size"
"""What we write beside a backup."""
OLDEST = (2, 45)
"""The oldest release that this was tried with."""
SEGMENT_SIZE_USUAL = 16 * 1024 * 1024
SAID_MAX = 900
"""Characters of a complaint that are passed on."""
_NO_STANZA = (1, 3)
"""Codes of the state of a stanza that is not there."""
_SEGMENT = re.compile(r"([0-9A-F]{24})-[0-9a-f]{40}(\.[a-z0-9]+)?")
_HISTORY = re.compile(r"([0-9A-F]{8}\.history)")
_VERIFIED = re.compile(r"(?:backup: (?P<label>\S+), status: (?P<status>[^,]+)|archiveId: (?P<archive>\S+)), "
                       r"total [A-Za-z ]+: (?P<total>\d+), total valid [A-Za-z]+: (?P<valid>\d+)")  # fmt: skip


class _Database(Struct, frozen=True):
    id: int
    system_id: int = field(name="system-id")
    version: str = ""


class _In(Struct, frozen=True):
    id: int


class _Span(Struct, frozen=True):
    start: str | None = None
    stop: str | None = None


class _Times(Struct, frozen=True):
    start: float
    stop: float


class _Delta(Struct, frozen=True):
    delta: int


class _Sizes(Struct, frozen=True):
    repository: _Delta


class _Backup(Struct, frozen=True):
    label: str
    kind: str = field(name="type")
    database: _In
    timestamp: _Times
    info: _Sizes
    archive: _Span = _Span()
    lsn: _Span = _Span()
    error: bool | None = None
    prior: str | None = None
    reference: list[str] | None = None
    annotation: dict[str, str] = {}


class _Archive(Struct, frozen=True):
    id: str
    database: _In


class _Status(Struct, frozen=True):
    code: int
    message: str = ""


class Stanza(Struct, frozen=True):
    """One database in the repository, as ``info`` tells it."""

    name: str
    status: _Status
    db: list[_Database] = []
    backup: list[_Backup] = []
    archive: list[_Archive] = []

    @property
    def there(self) -> bool:
        """Whether it has been made."""
        return self.status.code not in _NO_STANZA

    @property
    def current(self) -> int | None:
        """System id of the database that archives into it."""
        return max(self.db, key=lambda each: each.id).system_id if self.db else None

    def archives(self, system_id: int) -> list[str]:
        """Folders of the archive that belong to a database."""
        ids = self._ids(system_id)
        return [each.id for each in self.archive if each.database.id in ids]

    def shelf(self, system_id: int, failure: Failure | None = None) -> Shelf:
        """The backups of a database, oldest first."""
        found: list[Backup] = []
        broken: list[str] = []
        versions = {each.id: each.version for each in self.db}
        ids = self._ids(system_id)
        for each in self.backup:
            if each.database.id not in ids:
                continue
            try:
                found.append(_converted(each, system_id, versions[each.database.id]))
            except ValueError as error:
                broken.append(f"{each.label} is no whole backup: {error}")
            if each.error:
                broken.append(f"{each.label} holds pages whose checksum is wrong: the database was damaged by then")
        found.sort(key=lambda backup: backup.ended)
        if failure is not None and found and found[-1].ended > failure.at:
            failure = None
        return Shelf(backups=tuple(found), failure=failure, broken=tuple(broken))

    @property
    def full(self) -> int:
        """How many full backups there are, of whichever database."""
        return sum(each.kind == "full" for each in self.backup)

    def known(self) -> set[int]:
        """System ids of the databases that have backups here."""
        used = {each.database.id for each in self.backup}
        return {each.system_id for each in self.db if each.id in used}

    def _ids(self, system_id: int) -> set[int]:
        return {each.id for each in self.db if each.system_id == system_id}


def _converted(backup: _Backup, system_id: int, version: str) -> Backup:
    if not (backup.lsn.start and backup.lsn.stop and backup.archive.start):
        raise ValueError("nothing says which WAL it needs; it was taken of a database that did not run")
    size = backup.annotation.get(SEGMENT_SIZE, "")
    return Backup(
        label=backup.label, system_id=system_id, timeline=int(backup.archive.start[:8], 16),
        start=position_of(backup.lsn.start), stop=position_of(backup.lsn.stop), began=backup.timestamp.start,
        ended=backup.timestamp.stop, size=backup.info.repository.delta, node=backup.annotation.get(NODE, ""),
        version=version, segment_size=int(size) if size.isdecimal() else SEGMENT_SIZE_USUAL,
        kind=_kind(backup.kind), needs=tuple(sorted({*(backup.reference or ()), *filter(None, [backup.prior])})),
    )  # fmt: skip


def _kind(word: str) -> Literal["full", "diff", "incr"]:
    if word == "full":
        return "full"
    return "diff" if word == "diff" else "incr"


def stanzas_of(text: str) -> list[Stanza]:
    """What ``info --output=json`` says; raises :class:`ValueError`."""
    try:
        return msgspec.json.decode(text.encode(), type=list[Stanza])
    except msgspec.MsgspecError as error:
        raise ValueError(f"its answer is not understood ({error})") from None


class _Entry(Struct, frozen=True):
    kind: str = field(name="type")
    time: float = 0


class Listing(Struct, frozen=True, kw_only=True):
    """The names of an archive's folder."""

    times: dict[str, float]
    """Name of a WAL file → when it was written."""
    twice: tuple[str, ...]
    """Segments of which there are two, with different content."""

    @property
    def newest_history(self) -> str:
        """Name of the history file with the largest number; "" when there is none."""
        return max((name for name in self.times if name.endswith(".history")), default="")


def listing_of(text: str) -> Listing:
    """What ``repo-ls --output=json --recurse`` says of an archive's folder; raises :class:`ValueError`."""
    try:
        entries = msgspec.json.decode(text.encode(), type=dict[str, _Entry])
    except msgspec.MsgspecError as error:
        raise ValueError(f"its answer is not understood ({error})") from None
    times: dict[str, float] = {}
    twice: list[str] = []
    for path, entry in entries.items():
        name = path.rpartition("/")[2]
        match = _SEGMENT.fullmatch(name) or _HISTORY.fullmatch(name)
        if entry.kind != "file" or match is None:
            continue
        if match[1] in times and _SEGMENT.fullmatch(name):
            twice.append(match[1])
        times[match[1]] = entry.time
    return Listing(times=times, twice=tuple(sorted(twice)))


def completeness(listing: Listing, newest_history: str, shelf: Shelf, segment_size: int) -> Completeness:
    """Whether the archive has what the backups need; its files are compressed, so their sizes say nothing."""
    files = dict.fromkeys(listing.times, segment_size)
    # Only the newest is read: it holds the whole way. Of the others it counts that they are there.
    histories = {name: "1\tan older one" for name in files if name.endswith(".history")}
    if listing.newest_history:
        histories[listing.newest_history] = newest_history
    found = archive.examine(files, histories, shelf.backups, segment_size)
    unread = (*found.unread, *(f"{name} (it is there twice, with different content)" for name in listing.twice))
    return msgspec.structs.replace(found, unread=unread, written=listing.times.get(found.newest, 0.0))


def verified(text: str, label: str) -> list[str]:
    """What ``verify --output=text --verbose`` found wrong with a backup, or with the WAL."""
    faults: list[str] = []
    seen = False
    lines = [*text.splitlines(), ""]
    for line, told in pairwise(lines):
        match = _VERIFIED.search(line)
        if match is None or match["label"] not in (None, label):
            continue
        seen = seen or match["label"] == label
        whole = match["total"] == match["valid"] and match["status"] in (None, "valid")
        if not whole:
            what = f"archive {match['archive']}" if match["archive"] else f"it is {match['status']}"
            faults.append(f"{what}: {int(match['total']) - int(match['valid'])} of {match['total']} files are not as "
                          f"they were written ({told.strip()})")  # fmt: skip
    return faults if seen else [*faults, "pgBackRest did not look at it"]


def version_of(text: str) -> tuple[int, int]:
    """The release that a program says it is; (0, 0): none."""
    match = re.search(r"pgBackRest (\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def complaint(said: str) -> str:
    """What it complained of: from the first error on, in one line; why a server could not be reached stands before."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    first = next((index for index, line in enumerate(lines) if line.startswith("ERROR")), 0)
    reasons = [line for line in lines[:first] if line.startswith("WARN: unable to check")]
    return "; ".join([*reasons, *lines[first:]])[:SAID_MAX]


def misunderstood(said: str) -> str:
    """Which option it passed over; "" when none. It only warns of that."""
    match = re.search(r"WARN: (configuration file contains [^\n]*)", said)
    return match[1] if match else ""


REMEDIES: Mapping[int, str] = {
    28: "the stanza belongs to another database: name another one in backup.stanza, or, after an upgrade of this "
        "database to a new major version, run: qluster backup --upgrade-stanza",
    44: "the stanza belongs to another database: name another one in backup.stanza, or, after an upgrade of this "
        "database to a new major version, run: qluster backup --upgrade-stanza",
    51: "the stanza belongs to another database: name another one in backup.stanza, or, after an upgrade of this "
        "database to a new major version, run: qluster backup --upgrade-stanza",
    82: "the WAL of the backup does not reach the archive: see the archive's error in the status and the server's log",
}
"""What to do about an exit code."""


def sentence(code: int, said: str) -> str:
    """A complaint with what to do about it."""
    text = complaint(said) or f"exit code {code} and not a word"
    return f"{text}. {REMEDIES[code]}" if code in REMEDIES else text


def in_order_of_removal(gone: Iterable[Backup]) -> list[Backup]:
    """Those that need others go before them."""
    return sorted(gone, key=lambda backup: backup.ended, reverse=True)
