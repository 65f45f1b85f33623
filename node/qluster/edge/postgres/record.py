"""What must be remembered of the data directory but cannot stand in it.

A copy or a rewind takes over every file of another node, so the note that this directory was a
primary, or that a change of it was interrupted, stands in the daemon's state directory.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from pathlib import Path
from typing import Literal
from zlib import crc32

import msgspec

from qluster.edge.postgres.failure import PostgresFailed

Phase = Literal["", "rewind", "swap-out", "swap-in"]
"""What of the directory is half done: see ``directory.py`` for the swap."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The note. It is about the database with this system id only."""

    system_id: int | None = None
    fresh: bool = False
    last_reign: int = 0
    phase: Phase = ""
    owed: tuple[int, int] | None = None
    """Timeline and position of the primary when the directory was last replaced: what was there before may have
    confirmed so much, and what is there now may have been copied from one that was behind."""


class _Checked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The note as it lies on the disk: a reign that changed by itself would choose the wrong primary."""

    record: msgspec.Raw
    crc32: int


class _Unchecked(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The note of a version that wrote no checksum."""


class RecordFile:
    """The note on disk: replaced as a whole, durable when :meth:`write` returns."""

    def __init__(self, state_dir: str) -> None:
        self._path = Path(state_dir) / "database.json"

    def read(self) -> Record:
        """The note, an empty one when there is none."""
        try:
            return _decoded(self._path.read_bytes())
        except FileNotFoundError:
            return Record()
        except (msgspec.DecodeError, ValueError) as error:
            raise PostgresFailed(
                f"{self._path} is damaged ({error}): this node no longer knows what its data directory "
                "went through; empty the data directory, remove the file, and it is copied anew"
            ) from None

    def write(self, record: Record) -> None:
        """Replace the note."""
        body = msgspec.json.encode(record)
        write_durably(self._path, msgspec.json.encode(_Checked(msgspec.Raw(body), crc32(body))))


def _decoded(text: bytes) -> Record:
    """The note in a file. Raises ValueError, of which all errors of the decoder are."""
    try:
        checked = msgspec.json.decode(text, type=_Checked)
    except msgspec.ValidationError:
        found = msgspec.json.decode(text, type=_Unchecked)
        if not msgspec.json.decode(text, type=dict):
            raise ValueError("it says nothing") from None
        return Record(**{name: getattr(found, name) for name in Record.__struct_fields__})
    body = bytes(checked.record)
    if crc32(body) != checked.crc32:
        raise ValueError("its checksum is wrong")
    return msgspec.json.decode(body, type=Record)


def write_durably(path: Path, content: bytes, mode: int = 0o600) -> None:
    """A file is replaced as a whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
