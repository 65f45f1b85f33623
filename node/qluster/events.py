"""Every event that a node can be told, and everything it can order.

This file must not know who performs an order or where an event comes from.

A node is a function: one event goes in, with the time; :class:`Effects` come out.
What is to be saved is made durable in the background, in the order of being ordered, and
:class:`SaveEnded` comes back. Whatever depends on it the node keeps to itself until then: all
other effects may be performed at once, in the order of the fields of :class:`Effects`.
Times are seconds of the monotonic clock as float.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from math import inf

from qluster.clients import ClientRequest, Outcome

Address = tuple[str, int]
"""Host (numeric) and port."""


# --- what is saved -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is. Written once, when it founds a cluster or is welcomed into one."""

    uid: int
    """64 random bits, made when the state directory was empty; sender of every datagram."""
    cluster: int
    """Number of the founding: a later founding has a larger one."""
    node: int
    """The node's number in the cluster, from 1."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the log. ``kind`` is one of ``noop``, ``members``, ``command``."""

    index: int
    term: int
    kind: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The applied state up to ``index``; ``members`` is the membership in force there."""

    index: int
    term: int
    members: bytes
    state: bytes


@dataclass(frozen=True, slots=True)
class SaveIdentity:
    """Write the identity and, with it, the file ``add_node``."""

    identity: Identity


@dataclass(frozen=True, slots=True)
class SaveVote:
    """Term and the candidate voted for in it (None: nobody yet)."""

    term: int
    vote: int | None


@dataclass(frozen=True, slots=True)
class SaveEntries:
    """Append; entries at or after the first index given are replaced. Never empty."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class SaveSnapshot:
    """Keep this snapshot and drop log entries up to its index.

    With ``reset`` the whole log is dropped: the snapshot came from the leader.
    """

    snapshot: Snapshot
    reset: bool


@dataclass(frozen=True, slots=True)
class SaveRing:
    """The highest seq of a ring that was agreed to here, and the most votes that were ever expected."""

    seq: int
    expected: int


Save = SaveIdentity | SaveVote | SaveEntries | SaveSnapshot | SaveRing


@dataclass(slots=True)
class Saved:
    """What a node finds of itself when it starts.

    ``boot`` counts starts; it was made durable before this object was handed out.
    ``invited`` says whether the file ``add_node`` was there.
    """

    uid: int
    boot: int
    invited: bool = False
    identity: Identity | None = None
    term: int = 0
    vote: int | None = None
    snapshot: Snapshot | None = None
    entries: list[Entry] = field(default_factory=list)
    ring: int = 0
    expected: int = 0


# --- what is ordered beside saving -------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """One sealed datagram; ``to`` None means the multicast group."""

    datagram: bytes
    to: Address | None


@dataclass(frozen=True, slots=True)
class Job:
    """Long work for one of the hands; its end comes back as :class:`JobEnded`.

    ``order`` says what is to be done: one of the order classes of ``database/plan.py``,
    or :class:`FetchSnapshot`, :class:`Repoint`, :class:`Fence`, :class:`CheckFence`, :class:`PowerOn`,
    :class:`CancelJob`.
    """

    number: int
    order: object


@dataclass(frozen=True, slots=True)
class FetchSnapshot:
    """Fetch the snapshot with at least this index from the REST port of a node."""

    address: Address
    index: int


@dataclass(frozen=True, slots=True)
class Repoint:
    """Point the pool on this host at the primary (None: at nobody, clients wait)."""

    primary: Address | None
    reign: int
    founding: int
    """Reigns are counted anew in each founding."""
    replicas: tuple[Address, ...] = ()
    """Whom clients may read from, where the pool offers a database for that."""


@dataclass(frozen=True, slots=True)
class HoldPool:
    """Let what is open at the pool on this host end, and nothing new begin; ends well once nothing is open."""

    number: int
    """Of the switchover for which it is."""
    patience: float


@dataclass(frozen=True, slots=True)
class Fence:
    """Have the host with this address switched off, as this host's file says; ends with AgentsEnded."""

    node: int
    ip: str


@dataclass(frozen=True, slots=True)
class CheckFence:
    """Ask the agents of the host with this address whether they reach their devices; ends with AgentsEnded."""

    ip: str


@dataclass(frozen=True, slots=True)
class PowerOn:
    """Have a host that was switched off by the agents of this level switched on again; ends with AgentsEnded."""

    ip: str
    level: int


@dataclass(frozen=True, slots=True)
class AgentsEnded:
    """What came of the fence agents of one host."""

    success: bool
    said: str
    """In one line, and without secrets."""
    level: int = 0
    """Which of them succeeded, from 0."""


@dataclass(frozen=True, slots=True)
class CancelJob:
    """Stop the job with this number. It still ends with :class:`JobEnded`."""

    number: int


@dataclass(frozen=True, slots=True)
class Refound:
    """What a state directory holds in the place of what it held: all of it, or what was there before.

    The uid stays and the starts are counted on. Without ``identity`` this node joins the cluster that it names by
    its uid; with it, it goes on from this log.
    """

    identity: Identity | None = None
    term: int = 0
    snapshot: Snapshot | None = None
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class Leave:
    """End the daemon: this node cannot go on. ``message`` is what the operator reads.

    With ``rejoin`` the daemon sets its state aside and begins again as a new node,
    which founds a cluster at once when ``founding`` is its number;
    with ``clean`` it was asked to stop and has. ``refound`` is what the state that it begins with holds.
    """

    message: str
    rejoin: bool = False
    clean: bool = False
    founding: int = 0
    refound: Refound | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of a client's request, as one of the outcome classes below."""

    ticket: int
    outcome: Outcome


class Asked(IntEnum):
    """What a candidate asks of the device: whether it would get its vote, the vote, the vote as its leader wants it."""

    PRE_VOTE = 1
    VOTE = 2
    VOTE_BY_TRANSFER = 3


@dataclass(frozen=True, slots=True)
class AskDevice:
    """Ask the memory that the link here has open for its vote; :class:`DeviceAnswered` comes back, or nothing."""

    stage: Asked
    term: int
    candidate: int
    last_term: int
    last_index: int


@dataclass(frozen=True, slots=True)
class ShowDevice:
    """Show that memory who leads, and an entry of the leader's term; :class:`DeviceShown` comes back, or nothing."""

    term: int
    leader: int
    index: int
    """0: no entry."""
    round: int
    promise: int
    """Milliseconds for which it is to vote for nobody else."""


DeviceQuestion = AskDevice | ShowDevice


@dataclass(slots=True)
class Effects:
    """What the node wants done, in the order in which it must be done."""

    save: list[Save] = field(default_factory=list)
    number: int = 0
    """Number of these saves, 0 when there are none: :class:`SaveEnded` has it."""
    send: list[Send] = field(default_factory=list)
    start: list[Job] = field(default_factory=list)
    answer: list[Answer] = field(default_factory=list)
    memory: list[DeviceQuestion] = field(default_factory=list)
    """For the memory that the link here has open; lost where there is none. Each may be asked again. ``device`` has
    them already as what is to be said to the arbiter."""
    leave: Leave | None = None
    wake_at: float = inf
    """When the node wants :class:`TimePassed` at the latest."""
    untied: bool = False
    """The database here outlives the daemon: a pause, of which the next start will know."""
    alive_until: float = inf
    """Until when this node's database may accept writes without hearing more (law 7).

    ``inf``: no limit, because the database here is no primary; ``-inf``: it may not go on at all.
    """
    tasks: list[object] = field(default_factory=list)
    """What the task runner of this host is to do, of ``tasks.runner.Order``."""
    device: list[object] = field(default_factory=list)
    """What the hands of the arbiter's client are to do, of ``qdevice.orders.Order``. Begun after all of the above: a
    confirmation that leaves may let the arbiter acknowledge others."""


# --- what happens ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TimePassed:
    """The time of ``wake_at`` has come, or nothing else happened for a while."""


@dataclass(frozen=True, slots=True)
class SaveEnded:
    """All saves up to this number are durable."""

    number: int


@dataclass(frozen=True, slots=True)
class SpaceChanged:
    """Space for the log has become short (``reason`` says so in one sentence), or is there again ("")."""

    reason: str


@dataclass(frozen=True, slots=True)
class WallClockRead:
    """What the wall clock says, in seconds since 1970: it went on otherwise than the monotonic one did."""

    wall: float


@dataclass(frozen=True, slots=True)
class DatagramReceived:
    """A datagram came in, still sealed."""

    datagram: bytes
    source: Address


@dataclass(frozen=True, slots=True)
class FactsRead:
    """The hand looked at the database; ``facts`` is a ``database.facts.Facts``."""

    facts: object


@dataclass(frozen=True, slots=True)
class JobEnded:
    """A job ended: ``error`` is None when it succeeded, else one sentence."""

    number: int
    result: object = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceHeard:
    """Something happened to the connection to the arbiter, or a check ended: one of ``qdevice.orders.Happening``."""

    what: object


@dataclass(frozen=True, slots=True)
class TasksHeard:
    """The task runner of this host says something: one of ``tasks.runner.Happening``."""

    what: object


@dataclass(frozen=True, slots=True)
class DeviceOpened:
    """The link of this node to an arbiter has a memory open, that of this founding."""

    uid: int
    """Drawn when that memory was made: one that was lost comes back with another."""


@dataclass(frozen=True, slots=True)
class DeviceClosed:
    """It has none any more: the connection ended, or the arbiter said no."""


@dataclass(frozen=True, slots=True)
class DeviceAnswered:
    """What the memory says to an :class:`AskDevice` of this node."""

    uid: int
    stage: Asked
    term: int
    """The newest that it has seen."""
    asked: int
    """The term that it was asked for."""
    granted: bool
    behind: bool = False
    """It refuses since it has seen an entry behind the last one of this node."""


@dataclass(frozen=True, slots=True)
class DeviceShown:
    """What the memory says to a :class:`ShowDevice` of this node."""

    uid: int
    term: int
    """The newest that it has seen."""
    index: int
    """Up to here it has seen entries of the leader's term; 0: none."""
    round: int
    kept: bool
    """It has kept what it was shown, and promises what it was asked to."""


DeviceWord = DeviceOpened | DeviceClosed | DeviceAnswered | DeviceShown


@dataclass(frozen=True, slots=True)
class StopRequested:
    """The service is asked to stop: hand over, say goodbye, stop the database."""


Event = (
    TimePassed
    | SaveEnded
    | SpaceChanged
    | WallClockRead
    | DatagramReceived
    | FactsRead
    | JobEnded
    | DeviceHeard
    | TasksHeard
    | DeviceWord
    | StopRequested
    | ClientRequest
)
