"""Remembers what the log last said of parameters, and with which of them a server last started here.

It must not know what is done with them. A daemon that starts learns only later what the log says, and its
server starts before. The note stands in the daemon's state directory: a copy or a rewind takes over every file
of another node, and what starts there need not start here.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from qluster.edge.postgres.record import write_durably

log = logging.getLogger(__name__)


class Proven(msgspec.Struct, frozen=True):
    """Parameters of operators, from file and log together, and the version of the latter."""

    version: int
    parameters: dict[str, str]


class Noted(msgspec.Struct, frozen=True):
    """The note. It is about the cluster with this database only: versions of another one are no older or newer."""

    system_id: int = 0
    version: int = 0
    values: dict[str, str] = {}
    """What the log said at this version."""
    proven: Proven | None = None


class NoteFile:
    """The note on disk: replaced as a whole, durable when :meth:`write` returns."""

    def __init__(self, state_dir: str) -> None:
        self._path = Path(state_dir) / "database-parameters.json"
        self._known: Noted | None = None

    def read(self) -> Noted:
        """The note, an empty one when there is none. A damaged one is worth no more: the log says it again."""
        if self._known is None:
            self._known = self._read()
        return self._known

    def _read(self) -> Noted:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Noted)
        except FileNotFoundError:
            return Noted()
        except (msgspec.MsgspecError, UnicodeDecodeError, OSError) as error:
            log.warning("database-parameters-illegible path=%s error=%s", self._path, error)
            return Noted()

    def write(self, noted: Noted) -> None:
        """Replace the note, when it says something else."""
        if self.read() != noted:
            write_durably(self._path, msgspec.json.encode(noted))
            self._known = noted
