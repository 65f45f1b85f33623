"""Reads a base backup that ``pg_basebackup`` wrote as tar files: checks each file against its manifest, and unpacks it.

It must not know which backup it is, nor what it is read for.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

import msgspec

from qluster.database.wal import position_of

MANIFEST = "backup_manifest"
TABLESPACES = "tablespace_map"
CHUNK = 1 << 20
FAULTS_MOST = 10
"""Faults that are told; a backup with more is not read on."""
READ_ERRORS = (OSError, EOFError, tarfile.TarError, zlib.error)


class BackupUnusable(Exception):
    """The backup cannot be read or unpacked; the text says why."""


class _Range(msgspec.Struct, frozen=True):
    """A stretch of WAL."""

    timeline: int = msgspec.field(name="Timeline")
    start: str = msgspec.field(name="Start-LSN")
    end: str = msgspec.field(name="End-LSN")


class _File(msgspec.Struct, frozen=True):
    """One file as it was read."""

    size: int = msgspec.field(name="Size")
    path: str | None = msgspec.field(name="Path", default=None)
    encoded: str | None = msgspec.field(name="Encoded-Path", default=None)
    checksum: str = msgspec.field(name="Checksum", default="")
    algorithm: str = msgspec.field(name="Checksum-Algorithm", default="")


class Manifest(msgspec.Struct, frozen=True):
    """What the backup must hold, written by the server."""

    files: list[_File] = msgspec.field(name="Files")
    ranges: list[_Range] = msgspec.field(name="WAL-Ranges")

    @property
    def timeline(self) -> int:
        """The timeline on which the backup ended."""
        return self.ranges[-1].timeline

    @property
    def start(self) -> int:
        """Recovery begins here."""
        return min(position_of(each.start) for each in self.ranges)

    @property
    def stop(self) -> int:
        """It is consistent here."""
        return max(position_of(each.end) for each in self.ranges)


def read_manifest(directory: Path) -> Manifest:
    """The manifest, itself checked; raises :class:`BackupUnusable`."""
    path = directory / MANIFEST
    try:
        text = path.read_bytes()
        stated = msgspec.json.decode(text)["Manifest-Checksum"]
        manifest = msgspec.json.decode(text, type=Manifest)
        head = text[: text.rindex(b'"Manifest-Checksum"')]
    except (OSError, ValueError, KeyError, TypeError, msgspec.MsgspecError) as error:
        raise BackupUnusable(f"{path} cannot be read: {error}") from None
    if hashlib.sha256(head).hexdigest() != stated:
        raise BackupUnusable(f"{path} was changed: its checksum is wrong")
    if not manifest.ranges:
        raise BackupUnusable(f"{path} names no WAL")
    return manifest


def check(directory: Path) -> list[str]:
    """Read every file of a backup; what is wrong."""
    faults: list[str] = []
    try:
        manifest = read_manifest(directory)
        for fault in _walk(directory, manifest, _swallow):
            faults.append(fault)
            if len(faults) >= FAULTS_MOST:
                break
    except (BackupUnusable, *READ_ERRORS) as error:
        faults.append(str(error) or type(error).__name__)
    return faults


def unpack(directory: Path, target: Path) -> None:
    """Unpack into an empty directory; raises :class:`BackupUnusable` at the first fault."""
    manifest = read_manifest(directory)
    places = {"": target, "pg_wal": target / "pg_wal"}
    target.mkdir(mode=0o700, exist_ok=True)
    size, free = sum(file.size for file in manifest.files), shutil.disk_usage(target).free
    if size > free:
        raise BackupUnusable(f"it unpacks to {size:,} bytes, and the file system of {target} has {free:,} left: "
                             "make room there")

    def write(prefix: str, member: tarfile.TarInfo, content: IO[bytes] | None) -> Iterator[bytes]:
        if prefix not in places:
            places[prefix] = _tablespace(target, prefix)
        return _written(places[prefix], prefix, member, content)

    try:
        for fault in _walk(directory, manifest, write):
            raise BackupUnusable(fault)
    except READ_ERRORS as error:
        said = str(error) or type(error).__name__
        raise BackupUnusable(f"{directory} cannot be unpacked into {target}: {said}") from error


Visitor = Callable[[str, tarfile.TarInfo, Any], Iterator[bytes]]


def _walk(directory: Path, manifest: Manifest, visit: Visitor) -> Iterator[str]:
    """Hand each file's content through the visitor, and compare; a sentence for each fault."""
    expected = {file.path if file.path is not None else _decoded(file.encoded): file for file in manifest.files}
    seen: set[str] = set()
    for archive in _archives(directory):
        prefix = _prefix(archive.name)
        # The stream of WAL is gzip in several pieces, which tarfile's own reader of gzip does not know.
        with _opened(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                name = _safe(prefix, member.name)
                content = tar.extractfile(member) if member.isfile() else None
                digest = hashlib.sha256()
                size = 0
                for chunk in visit(prefix, member, content):
                    digest.update(chunk)
                    size += len(chunk)
                if not member.isfile() or prefix == "pg_wal":
                    continue
                seen.add(name)
                file = expected.get(name)
                if file is None:
                    yield f"{name} is in {archive.name}, and not in its manifest"
                elif size != file.size:
                    yield f"{name} has {size} bytes, its manifest says {file.size}"
                elif file.algorithm == "SHA256" and digest.hexdigest() != file.checksum:
                    yield f"{name} was changed: its checksum is wrong"
    for name in sorted(set(expected) - seen):
        yield f"{name} is missing"


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.name.endswith(".gz") else path.open("rb")


def _archives(directory: Path) -> list[Path]:
    """The data directory first: it says where the tablespaces go."""
    found = [path for path in directory.iterdir() if path.name.endswith((".tar", ".tar.gz"))]
    if not any(_prefix(path.name) == "" for path in found):
        raise BackupUnusable(f"{directory} has no base.tar")
    return sorted(found, key=lambda path: (_prefix(path.name) != "", path.name))


def _prefix(name: str) -> str:
    """Where the content of a tar file stands in the data directory."""
    stem = name.removesuffix(".gz").removesuffix(".tar")
    if stem in ("base", "pg_wal"):
        return "" if stem == "base" else stem
    return f"pg_tblspc/{stem}"


def _safe(prefix: str, name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise BackupUnusable(f"{name!r} leads out of the data directory")
    return str(PurePosixPath(prefix) / path)


def _decoded(encoded: str | None) -> str:
    return bytes.fromhex(encoded or "").decode("utf-8", "surrogateescape")


def _swallow(prefix: str, member: tarfile.TarInfo, content: IO[bytes] | None) -> Iterator[bytes]:
    while content is not None and (chunk := content.read(CHUNK)):
        yield chunk


def _written(target: Path, prefix: str, member: tarfile.TarInfo, content: IO[bytes] | None) -> Iterator[bytes]:
    path = target / member.name
    if member.isdir():
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    elif content is not None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            while chunk := content.read(CHUNK):
                file.write(chunk)
                yield chunk
    elif not (prefix == "" and member.issym() and member.name.removeprefix("./").startswith("pg_tblspc/")):
        # The links of tablespaces are made by the server, from the map that the backup brings.
        raise BackupUnusable(f"{member.name} is neither a file nor a directory")


def _tablespace(target: Path, prefix: str) -> Path:
    """Where a tablespace goes: the same path as it had, which must be empty."""
    number = prefix.rpartition("/")[2]
    lines = (target / TABLESPACES).read_text(encoding="utf-8").splitlines() if (target / TABLESPACES).exists() else []
    paths = [Path(path) for line in lines for oid, _, path in [line.partition(" ")] if oid == number]
    if not paths:
        raise BackupUnusable(f"nothing says where tablespace {number} belongs")
    path = paths[0]
    if path.exists() and any(path.iterdir()):
        raise BackupUnusable(f"tablespace {number} belongs to {path}, which is not empty: empty it")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path
