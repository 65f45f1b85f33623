"""What the hand can be told to do with this host's database.

It must not know why. Each order says all that the hand needs; the paths and the
passwords it has from the configuration.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import dataclass, field

from qluster.events import Address


@dataclass(frozen=True, slots=True)
class Outside:
    """An installation outside the cluster, one of whose databases is followed: nothing here is a primary."""

    addresses: tuple[Address, ...]
    name: str = ""
    """The name of this cluster, under which it is seen there: never one that is waited for there."""
    slot: str = ""
    """The slot that keeps WAL for this cluster there; "" for none."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the cluster asks of any server that is started here."""

    name: str = ""
    """The name under which this node replicates: ``node3``."""
    members: tuple[str, ...] = ()
    """Addresses of the nodes that may replicate from here."""
    standbys: tuple[str, ...] = ()
    """Names of the standbys for which a transaction waits."""
    needed: int = 0
    """How many of them must have confirmed it; 0 waits for nobody."""
    admits: bool = True
    """Clients may connect. A primary that was started again has others see nothing that it may yet lose (I10)."""
    version: int = 0
    """Index of the log entry that last changed the parameters of all databases; 0: none has."""
    parameters: tuple[tuple[str, str], ...] = ()
    """What the log says of parameters; it goes before config.yaml."""
    restart: int = field(default=0, compare=False)
    """Index of the last log entry that asked for a restart: a server that is started with it has had that one."""
    others: tuple[str, ...] = ()
    """Names under which the other nodes replicate: for each of them a slot is kept here."""
    outside: Outside | None = None
    """Whom the node that leads follows; then whoever is followed here is in recovery itself."""

    @property
    def synchronous(self) -> str:
        """Value of synchronous_standby_names; "" waits for nobody."""
        return f"ANY {self.needed} ({', '.join(self.standbys)})" if self.needed else ""


@dataclass(frozen=True, slots=True)
class Initialise:
    """Make a new database in an empty directory. The result is its system id. Nothing is started."""

    terms: Terms = Terms()


@dataclass(frozen=True, slots=True)
class StartStandby:
    """Start as standby of ``upstream``; None: detached, with no upstream at all."""

    upstream: Address | None
    terms: Terms = Terms()


@dataclass(frozen=True, slots=True)
class StartPrimary:
    """Start as primary on the timeline it has, in this reign."""

    reign: int
    terms: Terms = Terms()


@dataclass(frozen=True, slots=True)
class Promote:
    """Make a running, detached standby the primary of this reign, on a timeline of its own.

    ``timeline`` is its number, at least: left to itself a server takes the next one that it does not know of, and
    so does another that is promoted because nobody could follow the first.
    """

    reign: int
    terms: Terms = Terms()
    timeline: int = 0


@dataclass(frozen=True, slots=True)
class Follow:
    """Point a standby at another upstream by a reload, after comparing histories."""

    upstream: Address
    terms: Terms = Terms()
    via: Address | None = None
    """A replica of the upstream to stream from in its place; None: the upstream itself."""


@dataclass(frozen=True, slots=True)
class Detach:
    """Cut a standby from its upstream; done when no receiver is left, so that its position is final."""

    terms: Terms = Terms()


@dataclass(frozen=True, slots=True)
class Adjust:
    """Reload a running server with these terms; a primary also notes that it serves this reign."""

    terms: Terms
    reign: int = 0


@dataclass(frozen=True, slots=True)
class Rewind:
    """Stop, and take back what the upstream does not have."""

    upstream: Address
    system_id: int
    terms: Terms = Terms()


@dataclass(frozen=True, slots=True)
class Clone:
    """Copy the upstream; what was here before is given up only when the copy is whole."""

    upstream: Address
    system_id: int | None
    terms: Terms = Terms()
    source: Address | None = None
    """A replica that is copied in the upstream's place, as long as it is a good one; None: the upstream."""


@dataclass(frozen=True, slots=True)
class FollowOutside:
    """Point a standby at the primary outside by a reload, after comparing histories; the terms name the addresses."""

    terms: Terms


@dataclass(frozen=True, slots=True)
class RewindOutside:
    """Stop, and take back what the primary outside does not have."""

    system_id: int
    terms: Terms


@dataclass(frozen=True, slots=True)
class CloneOutside:
    """Copy the primary outside. Without a system id it is taken from there: this is the founding."""

    system_id: int | None
    terms: Terms


@dataclass(frozen=True, slots=True)
class KeepSlots:
    """Drop, make and move replication slots of the running server, in this order."""

    drop: tuple[str, ...] = ()
    make: tuple[str, ...] = ()
    """They keep WAL from now on."""
    make_open: tuple[str, ...] = ()
    """They keep WAL only from their first use on."""
    advance: tuple[tuple[str, int], ...] = ()
    """Slot and the position from which on it keeps WAL."""


@dataclass(frozen=True, slots=True)
class Restart:
    """Stop a running server cleanly and start it as what it was; not stopped when its settings cannot be started."""

    upstream: Address | None
    """Whom a standby follows; None on a primary."""
    reign: int = 0
    """The reign that a primary serves; 0 on a standby."""
    terms: Terms = Terms()


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """Hold changes of parameters (None: back to config.yaml's) against the server here; changes nothing.

    The result is a :class:`Checked`.
    """

    changes: tuple[tuple[str, str | None], ...]
    terms: Terms = Terms()
    """With the parameters in force."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What the server said: what is wrong with which parameter ("" for what concerns all), which need a restart."""

    faults: tuple[tuple[str, str], ...] = ()
    restart: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StopFast:
    """Stop cleanly, with a shutdown checkpoint."""


@dataclass(frozen=True, slots=True)
class StopImmediate:
    """Stop at once, without a checkpoint."""

    force: bool = False
    """It stands still and would not hear: it is killed."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Write what is in memory to the disk while clients go on. Waits for no other order, and none for it."""


@dataclass(frozen=True, slots=True)
class Look:
    """Look at the database again after so many seconds, instead of when it is time."""

    seconds: float


Order = (
    Initialise
    | StartStandby
    | StartPrimary
    | Promote
    | Follow
    | Detach
    | Adjust
    | KeepSlots
    | Rewind
    | Clone
    | FollowOutside
    | RewindOutside
    | CloneOutside
    | Restart
    | StopFast
    | StopImmediate
    | Checkpoint
)
