"""Everything that the orders share: one host's directory, server, session, programs and notes.

It must not know the orders.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from qluster.config import Backup, Database
from qluster.database.facts import Standing
from qluster.database.orders import Terms
from qluster.database.settings import (
    access_rules,
    conninfo_in,
    held_back,
    identity_map,
    operator_parameters,
    server_settings,
    settings_text,
    upstream_of,
)
from qluster.database.slots import slot_name
from qluster.database.wal import Control
from qluster.database.ways import way_to
from qluster.edge.postgres.archiving import Archiving
from qluster.edge.postgres.directory import DataDirectory, control_file
from qluster.edge.postgres.failure import PostgresFailed
from qluster.edge.postgres.noted import Noted, NoteFile, Proven
from qluster.edge.postgres.programs import Programs, system_user
from qluster.edge.postgres.record import Phase, Record, RecordFile, write_durably
from qluster.edge.postgres.server import Server
from qluster.edge.postgres.session import Session
from qluster.events import Address

log = logging.getLogger(__name__)

CRASH_WINDOW = 300.0
"""Seconds for which a crash counts: a server that lives longer is not in a loop."""
CRASHES_KEPT = 100


class Site:
    """One host's database and what is known of it beyond one order."""

    def __init__(
        self,
        database: Database,
        ip: str,
        state_dir: str,
        started: Callable[[int], None],
        exited: Callable[[int], None],
        backup: Backup | None = None,
    ) -> None:
        self.database = database
        self.backup = backup
        self.ip = ip
        self.state_dir = Path(state_dir)
        self.programs = Programs(database)
        self.archiving = Archiving(database, backup, state_dir)
        self.directory = DataDirectory(database.data_dir)
        self.server = Server(self.programs, database.data_dir, started, self._ended)
        self.session = Session(database.socket_dir, database.port, database.superuser)
        self.pass_file = str(self.state_dir / "database.pgpass")
        self.standing: Standing = ""
        self.terms: Terms | None = None
        self.recovered: int | None = None
        """Where the WAL of the primary that runs here ended when it was first seen."""
        self.position_final = False
        """A detached standby has read all WAL that lies here; holds until something starts or follows."""
        self.least: tuple[tuple[str, int], ...] = ()
        """Settings that the server here, started as a standby, must at least have."""
        self.version = 0
        """Version of the parameters that were last written down."""
        self.parameters: dict[str, str] = {}
        """What operators set, by file and log, as it was last written down."""
        self.started = 0
        """Index of the last log entry about restarts that was known when the server was started."""
        self.refused = (0, "")
        """Version of the parameters with which the server did not start, and why; "" when it does."""
        self.receiver_seen = (0, 0.0)
        """Process id of the WAL receiver, and since when it is seen streaming."""
        self.segment_size = 16 << 20
        """Of WAL, as the control file last said."""
        self.copying: tuple[int | None, int | None] = (None, None)
        """Bytes of the copy that have come, and that will have come; None: none is being made, or not known."""
        self.slotless = False
        """The upstream could not give this node a slot: it streams without one."""
        self.let_go = False
        """A pause: the server outlives the daemon, and one that somebody else starts is taken for ours."""
        self.served = False
        """The server that runs has answered once: when it falls silent, it hangs."""
        self.awaited = False
        """An order waits for the server's first answer: then its end is that order's failure, no crash."""
        self._crashes: deque[float] = deque(maxlen=CRASHES_KEPT)
        self._exited = exited
        self._records = RecordFile(state_dir)
        self._note = NoteFile(state_dir)
        self._record: Record | None = None
        self._control: tuple[int, Control] | None = None

    def _ended(self, code: int) -> None:
        self.session.drop()
        self.position_final = False
        self.recovered = None
        if code != 0 and not self.awaited and not self.server.stopping:
            self._crashes.append(time.monotonic())
        self.served = False
        self._exited(code)

    def adopt_stray(self) -> bool:
        """Take a server that runs here and is not ours for ours; False when there is none."""
        pid = self.server.leftover() if self.server.pid is None else None
        if pid is not None:
            self.server.adopt(pid)
        return self.server.pid is not None

    @property
    def crashes(self) -> int:
        """Crashes within the last minutes."""
        begin = time.monotonic() - CRASH_WINDOW
        return sum(at > begin for at in self._crashes)

    def forget_crashes(self) -> None:
        """The directory has another content: what made the old one crash does not count against it."""
        self._crashes.clear()

    # --- notes ---

    @property
    def record(self) -> Record:
        """What is remembered of the directory."""
        if self._record is None:
            self._record = self._records.read()
        return self._record

    def remember(self, record: Record) -> None:
        """Replace what is remembered; durable."""
        if self._record != record:
            self._records.write(record)
            self._record = record

    def note_reign(self, system_id: int, reign: int) -> None:
        """From now on this directory is a primary's: durable before it can write anything."""
        self.remember(Record(system_id=system_id, last_reign=reign))

    def note_phase(self, phase: Phase) -> None:
        """The directory is being changed, or is whole again."""
        self.remember(msgspec.structs.replace(self.record, phase=phase))

    # --- control data ---

    async def control(self, path: Path | None = None) -> Control:
        """Control data of a directory; read again only when the file has changed."""
        path = path or self.directory.path
        file = control_file(path)
        if file is None:
            raise PostgresFailed(f"{path} holds no database")
        stamp = file.stat().st_mtime_ns
        if path == self.directory.path and self._control is not None and self._control[0] == stamp:
            return self._control[1]
        control = await self.programs.control(path)
        if path == self.directory.path:
            self._control = (stamp, control)
            self.segment_size = control.segment_size
        return control

    # --- configuration ---

    @property
    def proven(self) -> Proven | None:
        """What operators set when a server last started here."""
        return self._note.read().proven

    async def newest(self, terms: Terms) -> Terms:
        """These terms with the newest parameters: what the log said before this daemon's start may be newer.

        What is newer than the note is noted.
        """
        system_id = (await self.control()).system_id
        noted = self._note.read()
        if noted.system_id != system_id:
            noted = Noted(system_id, proven=noted.proven)
        if terms.version >= noted.version:
            values = dict(terms.parameters)
            self._note.write(msgspec.structs.replace(noted, version=terms.version, values=values))
            return terms
        return replace(terms, version=noted.version, parameters=tuple(sorted(noted.values.items())))

    def note_started(self) -> None:
        """A server has started with the parameters in force."""
        proven = Proven(self.version, self.parameters)
        self._note.write(msgspec.structs.replace(self._note.read(), proven=proven))
        self.refused = (0, "")

    @property
    def held(self) -> tuple[str, ...]:
        """Parameters that the server here has larger than it is told."""
        return held_back(self.parameters, self.least)

    async def configure(
        self, terms: Terms, upstream: Address | None, parameters: Mapping[str, str] | None = None
    ) -> None:
        """Write all configuration for these terms and this upstream; the next start or reload uses it.

        ``parameters`` are there in the place of what file and log say.
        """
        self.configure_secrets()
        newest = await self.newest(terms)
        settings = await self.settings(newest, upstream, parameters)
        self.directory.configure(
            settings_text(settings),
            access_rules(self.database, terms.members, admits=terms.admits),
            identity_map(self.database, system_user()),
        )
        if self.refused[0] != newest.version:
            self.refused = (0, "")
        self.terms = terms
        self.version, self.parameters = newest.version, operator_parameters(self.database, newest)

    async def settings(
        self, terms: Terms, upstream: Address | None, parameters: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """All settings of ours, as :meth:`configure` writes them."""
        conninfo, slot = "", slot_name(terms.name)
        if upstream is not None:
            way = way_to(self.database, upstream, terms)
            conninfo, slot = way.connection_text(self.pass_file), way.slot
            # For the server's own worker that copies logical slots; who streams has no use for it.
            conninfo += " dbname=postgres"
            if not way.outside and self._is_strange(upstream, terms):
                # Until it is told whom to follow instead: never under a name for which may be waited there.
                conninfo, slot = conninfo_in(self.directory.configured()), ""
        try:
            return server_settings(
                self.database,
                self.ip,
                terms,
                archive=await self.archive_command(self.directory.path),
                primary_conninfo=conninfo,
                primary_slot="" if self.slotless else slot,
                least=self.least,
                sync_file_systems=await self.programs.syncs_file_systems(),
                parameters=parameters,
            )
        except ValueError as error:
            raise PostgresFailed(str(error)) from None

    def _is_strange(self, upstream: Address, terms: Terms) -> bool:
        """It is followed as one outside, and the terms do not know it (any more)."""
        before = conninfo_in(self.directory.configured())
        known = not terms.members or upstream[0] in terms.members
        return not known and upstream_of(before) == f"{upstream[0]}:{upstream[1]}"

    async def archive_command(self, path: Path) -> str:
        """The command that archives the WAL of the database in a directory; "" when it is not archived."""
        return self.archiving.command((await self.control(path)).system_id) if self.archiving.on else ""

    @property
    def upstream(self) -> str | None:
        """"host:port" as configured."""
        return upstream_of(conninfo_in(self.directory.configured()))

    @property
    def password(self) -> str:
        """The superuser's password."""
        return secret(self.database.password_file)

    def configure_secrets(self) -> None:
        """Keep the password where libpq looks for it; never on a command line, never in a setting."""
        lines = [_pass_line(self.database.superuser, self.password)]
        if self.database.standby_user not in (None, self.database.superuser):
            assert self.database.standby_user is not None and self.database.standby_password_file is not None
            lines.append(_pass_line(self.database.standby_user, secret(self.database.standby_password_file)))
        content, path = "".join(lines).encode(), Path(self.pass_file)
        if not path.exists() or path.read_bytes() != content:
            write_durably(path, content)

    def prepare_socket_dir(self) -> None:
        """The server does not make the directory of its socket."""
        try:
            os.makedirs(self.database.socket_dir, mode=0o755, exist_ok=True)
        except OSError as error:
            raise PostgresFailed(
                f"database.socket-dir {self.database.socket_dir} cannot be made: {error.strerror or error}"
            ) from error


def _pass_line(user: str, password: str) -> str:
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    return f"*:*:*:{user}:{escaped}\n"


def secret(path: str) -> str:
    """The first line of a password file."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.readline().rstrip("\r\n")
    except OSError as error:
        raise PostgresFailed(f"password file {path} cannot be read: {error.strerror or error}") from error
    if not text or "\0" in text:
        raise PostgresFailed(f"password file {path} has no password on its first line")
    return text
