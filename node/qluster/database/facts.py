"""What the hand saw of this host's database, as plain values.

It must not know what is wanted of the database, nor how the facts were read.
Positions are bytes of WAL; a timeline is PostgreSQL's number.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qluster.database.orders import Terms

Directory = Literal["absent", "empty", "initialised", "unfinished", "foreign"]
"""``unfinished``: our own work was interrupted half-way; ``foreign``: files that are no database."""

Server = Literal["stopped", "starting", "running", "stopping"]

Receiver = Literal["streaming", "waiting", "none"]
"""``waiting``: there is an upstream, and nothing comes from it; ``none``: no upstream, or no standby."""

Standing = Literal["", "fits", "diverged", "outrun"]
"""How the directory stood to its upstream when last compared.

``diverged``: it has WAL that the upstream does not have; ``outrun``: the upstream has removed WAL it needs.
"""


@dataclass(frozen=True, slots=True)
class Replica:
    """One standby that streams from this server; ``position`` is what it has flushed."""

    name: str
    state: str
    position: int | None


@dataclass(frozen=True, slots=True)
class Slot:
    """One replication slot of this server."""

    name: str
    active: bool = False
    position: int | None = None
    """From where on it keeps WAL; None: it keeps none."""
    status: str = ""
    """As the server calls it: reserved, extended, unreserved, lost; "" while it keeps none."""
    physical: bool = True

    @property
    def lost(self) -> bool:
        """WAL that it should have kept is gone: it is of no use any more."""
        return self.status == "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One look at the database."""

    directory: Directory = "absent"
    system_id: int | None = None
    server: Server = "stopped"
    in_recovery: bool | None = None
    """None when no server answered."""
    standby: bool = False
    """The directory is marked as a standby's (``standby.signal``): a start would not make it primary."""
    fresh: bool = False
    """Initialised here, and never yet served as primary."""
    last_reign: int = 0
    """Reign in which this directory last served as primary and since when it was not rewound; 0: none."""
    owed: tuple[int, int] | None = None
    """Timeline and position that the primary had when this directory was last replaced: so much may have been
    confirmed by what was here before, whatever the copy has. None: it never was, or it has served since."""
    control_state: str = ""
    """"Database cluster state" of pg_controldata; "" when not read."""
    timeline: int | None = None
    position: int | None = None
    """Flushed on a primary; the larger of received and replayed on a standby. When stopped: control data.

    None while a standby without upstream still reads WAL that lies here: the end is not known before.
    """
    replayed: int | None = None
    upstream: str | None = None
    """"host:port" as configured, None when detached."""
    receiver: Receiver = "none"
    ahead: int | None = None
    """Where the WAL of whom it follows ended, by its last word; None: it has said nothing since the server started."""
    unstreamed: float = 0.0
    """Seconds for which a running standby with an upstream has not been streaming."""
    silent: float = 0.0
    """Seconds since a server that had answered gave its last answer."""
    standing: Standing = ""
    crashes: int = 0
    """How often a server that had answered ended by itself within the last minutes."""
    stray: bool = False
    """A server runs here that somebody else started, with settings of his own: nobody knows what it is."""
    replicas: tuple[Replica, ...] = ()
    recovered: int | None = None
    """Where the WAL of a primary ended at the first look after its start; None: not a primary, or not yet known."""
    slots: tuple[Slot, ...] | None = None
    """None: not known."""
    barred: str = ""
    """Why a standby could not be promoted at once: its replay is paused or delayed; "" when it could."""
    senders: int = 0
    """Sessions that send WAL from here: to replicas, and for copies."""
    copied: int | None = None
    """Bytes that have come of the copy that is being made; None while none is made."""
    copy_size: int | None = None
    redo: int | None = None
    """Where recovery here would begin: what is older is not needed for this directory. None: not known."""
    terms: Terms | None = None
    """What the running server was last told; None when unknown."""
    closed: bool = False
    """The terms are not known, for another daemon told them; but they let no clients in."""
    archive_error: str = ""
    """Why finished WAL does not reach the archive (it piles up on the disk meanwhile); "" when it does."""
    archive_waiting: int | None = None
    """Bytes of finished WAL that are not archived yet; None: not known, as on a standby."""
    room: int | None = None
    """Bytes that are free on the disk of the data directory, or of ``pg_wal`` where it has less; None: not known."""
    room_total: int | None = None
    """How large that disk is."""
    segment_size: int = 16 << 20
    """Bytes of one file of WAL, as last read."""
    pending: tuple[tuple[str, str], ...] = ()
    """Parameters that only a restart brings into force, each with the value that is in force until then."""
    held: tuple[str, ...] = ()
    """Those of them that a restart of this standby does not change: it needs them as large as its primary's."""
    starved: bool = False
    """Replay stands still: the primary has a parameter larger than this standby. A restart gives it as much."""
    started: int = 0
    """Index of the last log entry about restarts that was known when the running server was started."""
    proven: int = 0
    """Version of the parameters with which a server last started here."""
    refused: str = ""
    """Why the server runs with parameters of before: with those of :attr:`refused_version` it did not start."""
    refused_version: int = 0
    version: str = ""
    paused: bool = False
    """A standby that was told to replay no further (``pg_wal_replay_pause``)."""
    halted: bool = False
    """Somebody stopped the postmaster (SIGSTOP, a debugger): who is connected goes on, nobody new is let in."""
    halted_for: float = 0.0
    """Seconds for which it has been seen so without a break."""
    stalled: float = 0.0
    """Seconds for which somebody has waited for the disk to take WAL, and it took none."""
    error: str = ""
    """Why no more is known, or what the last look stumbled over; "" when well."""
    took: float = 0.0
    """Seconds that have passed since the position was read: the rest of the look may have waited for the server."""
