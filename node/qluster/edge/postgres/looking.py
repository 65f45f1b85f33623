"""Reads the facts of this host's database, quickly and without ever failing.

It must not know what the facts are good for.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import Any

from qluster.database.facts import Facts, Receiver, Replica, Slot
from qluster.database.orders import Terms
from qluster.database.room import full, shortage
from qluster.database.settings import upstream_of
from qluster.database.wal import history_name, history_of, position_of, timeline_at
from qluster.edge.postgres.failure import PostgresFailed
from qluster.edge.postgres.site import Site

log = logging.getLogger(__name__)

LOOK_LIMIT = 4.0
"""Seconds for a whole look, whatever the server does."""

RECEIVER_PROBATION = 0.4
"""Seconds after which a receiver that heard nothing yet was not refused either (it takes a round trip)."""

WAITING_FOR_WAL = ("RecoveryRetrieveRetryInterval", "RecoveryWalStream", "RecoveryWalAll")
"""What recovery waits for when it has read everything that lies here."""

# The newest timeline of the WAL files tells where a standby is whose receiver has ended: the control
# file learns of a new timeline only at the next restart point. A receiver fetches a timeline's history before
# its WAL: a file without one was left by a promotion that was taken back.
STATE = """
SELECT r.in_recovery,
       c.system_identifier AS system_id,
       current_setting('server_version') AS version,
       current_setting('primary_conninfo') AS conninfo,
       current_setting('synchronous_standby_names') AS names,
       CASE WHEN r.in_recovery THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_flush_lsn() END::text AS flushed,
       CASE WHEN r.in_recovery THEN pg_last_wal_replay_lsn() END::text AS replayed,
       CASE WHEN NOT r.in_recovery THEN substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END AS own_timeline,
       CASE WHEN r.in_recovery THEN
           (SELECT max(substr(f.name, 1, 8)) FROM pg_ls_waldir() f JOIN pg_ls_waldir() h
                ON h.name = substr(f.name, 1, 8) || '.history' WHERE f.name ~ '^[0-9A-F]{24}$') END AS wal_timeline,
       greatest(k.timeline_id, (SELECT min_recovery_end_timeline FROM pg_control_recovery())) AS control_timeline,
       k.redo_lsn::text AS redo,
       CASE WHEN r.in_recovery THEN pg_is_wal_replay_paused() ELSE false END AS paused,
       CASE WHEN r.in_recovery THEN nullif(current_setting('recovery_min_apply_delay'), '0') END AS delay,
       (SELECT count(*) FROM pg_stat_replication)::int AS senders,
       w.status AS receiver,
       w.latest_end_lsn::text AS ahead,
       w.pid AS receiver_pid,
       w.sender_host || ':' || w.sender_port AS sender,
       w.last_msg_send_time <> w.last_msg_receipt_time AS receiver_heard,
       (SELECT max(wait_event) FROM pg_stat_activity WHERE backend_type = 'startup') AS recovery_waits,
       EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'IO'
                AND lower(wait_event) IN ('walwrite', 'walsync', 'walinitwrite', 'walinitsync')) AS wal_waits,
       ARRAY(SELECT ARRAY[s.name, current_setting(s.name)] FROM pg_settings s WHERE s.pending_restart
                AND (s.sourcefile IS NOT NULL OR s.name IN (SELECT name FROM pg_file_settings WHERE error IS NOT NULL))
              ORDER BY s.name LIMIT 64) AS pending
  FROM (SELECT pg_is_in_recovery() AS in_recovery) r
 CROSS JOIN pg_control_system() c
 CROSS JOIN pg_control_checkpoint() k
  LEFT JOIN pg_stat_wal_receiver w ON true
"""

LARGEST = "SELECT name, setting::bigint AS value FROM pg_settings WHERE name = ANY($1)"
PAUSED = "RecoveryPause"
"""What recovery waits for when the primary has a parameter larger than this standby."""

REPLICAS = """
SELECT application_name AS name, state, flush_lsn::text AS flushed
  FROM pg_stat_replication ORDER BY application_name, pid LIMIT 100
"""

SLOTS = """
SELECT slot_name AS name, active, restart_lsn::text AS position, coalesce(wal_status, '') AS status,
       slot_type = 'physical' AS physical
  FROM pg_replication_slots WHERE NOT temporary ORDER BY slot_name LIMIT 200
"""

ARCHIVE = """
SELECT CASE WHEN last_failed_time > coalesce(last_archived_time, '-infinity') THEN last_failed_wal END AS file,
       failed_count AS failures,
       (SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready')
           * pg_size_bytes(current_setting('wal_segment_size')) AS waiting
  FROM pg_stat_archiver
"""


class Look:
    """Takes looks, and remembers between them what a single one cannot know."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._streamed_at = self._answered_at = self._moved_at = self._flushed_at = time.monotonic()
        self._flushed: str | None = None
        self._last = Facts(directory="foreign")
        self._archive_failing = ""
        self._short = 0
        self._ahead: int | None = None

    async def facts(self) -> Facts:
        """What is there now. Whether a server runs is true even when the rest cannot be read."""
        try:
            async with asyncio.timeout(LOOK_LIMIT):
                self._last = await self._facts()
        except TimeoutError:
            self._last = self._blind(f"a look at the database took over {LOOK_LIMIT:g} seconds")
        except (PostgresFailed, OSError) as failure:
            self._last = self._blind(str(failure))
        except Exception as fault:  # noqa: BLE001 - a daemon that looks no more does nothing for its database
            self._last = self._blind(self._broke(fault))
        copied, size = self._site.copying
        room, total = self._site.directory.room()
        self._last = replace(self._last, room=room, room_total=total, segment_size=self._site.segment_size)
        self._say_room()
        return self._last if copied is None else replace(self._last, copied=copied, copy_size=size)

    def _broke(self, fault: Exception) -> str:
        """A fault of this program, once in the log for as long as it stays the same."""
        sentence = f"a look at the database broke: {type(fault).__name__}: {fault}"
        if sentence != self._last.error:
            log.error("database-look-broke", exc_info=fault)
        return sentence

    def _say_room(self) -> None:
        """In the log when that begins, gets worse and ends; the status has the figures all the time."""
        short = shortage(self._last)
        level = 2 if full(self._last) else 1 if short else 0
        if level > self._short:
            log.log(logging.ERROR if level > 1 else logging.WARNING, "database-disk-short %s", short)
        elif level < self._short and not level:
            log.info("database-disk-well free=%d", self._last.room or 0)
        self._short = level

    def _blind(self, error: str) -> Facts:
        last = self._last
        if last.system_id is None and self._site.directory.state(self._site.record.phase)[0] == "initialised":
            last = replace(last, directory="initialised")  # a database, of which nothing is known yet
        return replace(
            last, server=self._server(), in_recovery=None, position=None, silent=self._silence(), error=error
        )

    async def _facts(self) -> Facts:
        site = self._site
        record = site.record
        directory, error = site.directory.state(record.phase)
        if directory != "initialised":
            return Facts(directory=directory, server=self._server(), error=error)
        if site.server.pid is None and not (site.let_go and site.adopt_stray()):
            return await self._stopped()
        if site.server.status not in ("ready", "stopping"):
            return await self._silent("")
        began = time.monotonic()
        try:
            state = await site.session.row(STATE)
            replicas = [] if state["in_recovery"] else await site.session.rows(REPLICAS)
            slots = await site.session.rows(SLOTS)
            archive = [] if state["in_recovery"] else await site.session.rows(ARCHIVE)
        except PostgresFailed as failure:
            return await self._silent(str(failure))
        site.served = True
        facts = replace(
            self._running(state, replicas, slots, self._archive_error(archive)),
            archive_waiting=archive[0]["waiting"] if archive else None,
            took=time.monotonic() - began,
        )
        return replace(facts, starved=await self._starved()) if state["recovery_waits"] == PAUSED else facts

    async def _starved(self) -> bool:
        """Whether replay stands still because the primary has a parameter larger; a person may have paused it too."""
        least = dict((await self._site.control()).least)
        rows = await self._site.session.rows(LARGEST, list(least))
        return any(row["value"] < least[row["name"]] for row in rows)

    def _archive_error(self, rows: list[Any]) -> str:
        """A sentence while the archive command fails, said in the log when that begins and ends."""
        file = (rows[0]["file"] if rows else None) or ""
        if bool(file) != bool(self._archive_failing):
            if file:
                log.error("archive-failing file=%s hint=finished WAL piles up, see the server's log", file)
            else:
                log.info("archive-well")
        self._archive_failing = file
        if not file:
            return ""
        waiting = f"{rows[0]['waiting'] >> 20} MiB of WAL wait on this disk"
        return f"{file} is not archived after {rows[0]['failures']} failures, {waiting}: see the server's log"

    def _server(self) -> Any:
        if self._site.server.pid is None:
            return "stopped"
        return "stopping" if self._site.server.stopping else "starting"

    async def _stopped(self) -> Facts:
        """From the control file."""
        self._streamed_at = self._answered_at = time.monotonic()
        site = self._site
        control = await site.control()
        return Facts(
            directory="initialised",
            system_id=control.system_id,
            control_state=control.state,
            timeline=control.timeline,
            position=control.position,
            stray=site.server.leftover() is not None,
            **self._remembered(control.system_id),
        )

    async def _silent(self, error: str) -> Facts:
        """A server that does not answer: it starts, it stops, or it is sick."""
        control = await self._site.control()
        return Facts(
            directory="initialised",
            system_id=control.system_id,
            server=self._server(),
            control_state=control.state,
            unstreamed=self._unstreamed(streaming=False),
            silent=self._silence(),
            error=error,
            **self._halted(),
            **self._remembered(control.system_id),
        )

    def _remembered(self, system_id: int, names: str | None = None) -> dict[str, Any]:
        site = self._site
        record = site.record
        mine = record.system_id == system_id
        return {
            "standby": site.directory.standby,
            "fresh": mine and record.fresh,
            "last_reign": record.last_reign if mine else 0,
            "owed": record.owed if mine else None,
            "upstream": site.upstream if site.directory.standby else None,
            "standing": site.standing,
            "crashes": site.crashes,
            "terms": self._terms(names),
            "closed": site.server.pid is not None and site.terms is None and site.directory.closed(),
            **({"stray": True} if site.server.foreign else {}),
            "started": site.started if site.server.pid is not None else 0,
            "proven": site.proven.version if site.proven is not None else 0,
            "refused": site.refused[1],
            "refused_version": site.refused[0],
        }

    def _terms(self, names: str | None = None) -> Terms | None:
        """What the server was told; with what ALTER SYSTEM has changed of safety it obeys none of ours.

        ``names``: for whom a primary really waits. Where that is somebody else, it has not read what it was told.
        It is to be told again then.
        """
        site = self._site
        if site.server.pid is None or site.terms is None:
            return None
        if site.directory.altered():
            return replace(site.terms, standbys=("altered",))
        unread = names is not None and names != site.terms.synchronous
        return replace(site.terms, standbys=("unread",)) if unread else site.terms

    def _running(self, state: Any, replicas: list[Any], slots: list[Any], archive_error: str) -> Facts:
        site = self._site
        self._answered_at = time.monotonic()
        receiver = receiver_of(site, state)
        position, final = position_in(state)
        held, least = site.held, {name: str(value) for name, value in site.least}
        if state["in_recovery"] and receiver == "none":
            site.position_final = site.position_final or final
            position = position if site.position_final else None
        if not state["in_recovery"] and site.recovered is None:
            site.recovered = position
        facts = {
            **self._remembered(state["system_id"], None if state["in_recovery"] else state["names"]),
            "upstream": upstream_of(state["conninfo"]) if state["in_recovery"] else None,
        }
        return Facts(
            directory="initialised",
            system_id=state["system_id"],
            server="stopping" if site.server.stopping else "running",
            in_recovery=state["in_recovery"],
            timeline=timeline_in(site, state),
            position=position,
            replayed=_position(state["replayed"]),
            receiver=receiver,
            ahead=self._ahead_of(state),
            recovered=site.recovered,
            unstreamed=self._unstreamed(streaming=receiver != "waiting"),
            replicas=tuple(
                Replica(row["name"], row["state"] or "", _position(row["flushed"])) for row in replicas
            ),
            slots=tuple(
                Slot(row["name"], row["active"], _position(row["position"]), row["status"], row["physical"])
                for row in slots
            ),
            redo=_position(state["redo"]),
            barred=barred_in(state),
            senders=state["senders"],
            archive_error=archive_error,
            pending=tuple(({name: least[name] for name in held} | dict(state["pending"])).items()),
            held=held,
            version=state["version"],
            paused=state["paused"],
            stalled=self._stall(state),
            **self._halted(),
            **facts,
        )

    def _halted(self) -> dict[str, Any]:
        now, halted = time.monotonic(), self._site.server.halted
        self._moved_at = self._moved_at if halted else now
        return {"halted": halted, "halted_for": now - self._moved_at}

    def _stall(self, state: Any) -> float:
        """Seconds since WAL last came to the disk while somebody waits for that; a wait that ends in between is none.

        What sleeps in the kernel for a disk that hangs says so nowhere else: questions are answered from memory.
        """
        now, flushed = time.monotonic(), state["flushed"]
        if not state["wal_waits"] or flushed != self._flushed:
            self._flushed, self._flushed_at = flushed, now
        return now - self._flushed_at

    def _ahead_of(self, state: Any) -> int | None:
        """What whom it follows said last of its own end, also after the stream has broken."""
        if not state["in_recovery"]:
            self._ahead = None
        elif state["ahead"] is not None:
            self._ahead = _position(state["ahead"])
        return self._ahead

    def _silence(self) -> float:
        """Seconds since a server that had answered last did; one that still starts is not silent."""
        if self._site.server.pid is None or not self._site.served:
            self._answered_at = time.monotonic()
        return time.monotonic() - self._answered_at

    def _unstreamed(self, *, streaming: bool) -> float:
        now = time.monotonic()
        if streaming or self._site.upstream is None:
            self._streamed_at = now
        return now - self._streamed_at


def receiver_of(site: Site, state: Any) -> Receiver:
    """What the receiver does.

    The server calls it streaming from its first moment, also when the upstream is about to refuse it
    and it will end at once. It streams when something was heard (both of its times differ then), or
    when it has lived a while: a quiet upstream says nothing for seconds.
    """
    pid = state["receiver_pid"]
    if pid is None or state["receiver"] != "streaming":
        site.receiver_seen = (0, 0.0)
    elif site.receiver_seen[0] != pid:
        site.receiver_seen = (pid, time.monotonic())
    if not state["in_recovery"]:
        return "none"
    source = upstream_of(state["conninfo"])
    if site.receiver_seen[0]:
        if state["sender"] != source:
            return "waiting"
        proven = state["receiver_heard"] or time.monotonic() - site.receiver_seen[1] > RECEIVER_PROBATION
        return "streaming" if proven else "waiting"
    return "waiting" if pid is not None or source else "none"


def position_in(state: Any) -> tuple[int | None, bool]:
    """How far the WAL here reaches, and whether that is certain to be its end (when nothing is received)."""
    flushed, replayed = _position(state["flushed"]), _position(state["replayed"])
    if not state["in_recovery"]:
        return flushed, False
    received = flushed if flushed is not None else -1
    reached = replayed if replayed is not None else -1
    if max(received, reached) < 0:
        return None, False
    return max(received, reached), received > reached or state["recovery_waits"] in WAITING_FOR_WAL


def barred_in(state: Any) -> str:
    """Why a standby could not be promoted at once; "" when it could."""
    if state["paused"]:
        return "its replay is paused: see pg_wal_replay_resume()"
    return f"its replay is delayed by recovery_min_apply_delay, {state['delay']}" if state["delay"] else ""


def timeline_in(site: Site, state: Any) -> int:
    """The timeline of the newest WAL here.

    A standby begins a file of a new timeline at the segment's beginning, before the place where that timeline does: a
    crash in between leaves one that has come less far than its newest file's name says.
    """
    if not state["in_recovery"]:
        return int(state["own_timeline"], 16)
    newest = max(int(state["control_timeline"]), int(state["wal_timeline"] or "0", 16))
    position = position_in(state)[0]
    if position is None:
        return newest
    try:
        text = (site.directory.path / "pg_wal" / history_name(newest)).read_text(encoding="utf-8", errors="replace")
        return timeline_at(position, newest, history_of(text))
    except (FileNotFoundError, ValueError):
        return newest


def _position(text: str | None) -> int | None:
    return None if text is None else position_of(text)
