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
from math import inf
from typing import Any

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


Save = SaveIdentity | SaveVote | SaveEntries | SaveSnapshot


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
    or :class:`FetchSnapshot`, :class:`Repoint`, :class:`CancelJob`.
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
class CancelJob:
    """Stop the job with this number. It still ends with :class:`JobEnded`."""

    number: int


@dataclass(frozen=True, slots=True)
class Leave:
    """End the daemon: this node cannot go on. ``message`` is what the operator reads.

    With ``rejoin`` the daemon sets its state aside and begins again as a new node,
    which founds a cluster at once when ``founding`` is its number;
    with ``clean`` it was asked to stop and has.
    """

    message: str
    rejoin: bool = False
    clean: bool = False
    founding: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of a client's request, as one of the outcome classes below."""

    ticket: int
    outcome: Outcome


@dataclass(slots=True)
class Effects:
    """What the node wants done, in the order in which it must be done."""

    save: list[Save] = field(default_factory=list)
    number: int = 0
    """Number of these saves, 0 when there are none: :class:`SaveEnded` has it."""
    send: list[Send] = field(default_factory=list)
    start: list[Job] = field(default_factory=list)
    answer: list[Answer] = field(default_factory=list)
    leave: Leave | None = None
    wake_at: float = inf
    """When the node wants :class:`TimePassed` at the latest."""
    untied: bool = False
    """The database here outlives the daemon: a pause, of which the next start will know."""
    alive_until: float = inf
    """Until when this node's database may accept writes without hearing more (law 7).

    ``inf``: no limit, because the database here is no primary; ``-inf``: it may not go on at all.
    """


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
class StopRequested:
    """The service is asked to stop: hand over, say goodbye, stop the database."""


# Requests of clients. ``ticket`` comes back in the :class:`Answer`;
# ``key`` is the idempotency key ("" for none).


@dataclass(frozen=True, slots=True)
class ReadRequested:
    """Answer when this node may read at the given consistency: leader, lease or local."""

    ticket: int
    consistency: str


@dataclass(frozen=True, slots=True)
class SettingsChangeRequested:
    """Change replicated settings: configuration key (as in config.yaml) → text value."""

    ticket: int
    key: str
    changes: dict[str, str]


@dataclass(frozen=True, slots=True)
class LeaderChangeRequested:
    """Hand leadership, and with it the primary, to ``node`` (None: to the best), at ``at`` (None: now).

    What is not said is None, so that the request keeps its fingerprint from version to version.
    """

    ticket: int
    key: str
    node: int | None
    at: float | None = None
    """Seconds since 1970."""
    force: bool | None = None
    patience: float | None = None
    """Seconds that open transactions get at the pools."""


@dataclass(frozen=True, slots=True)
class PlanDropRequested:
    """Cancel the switchover that is scheduled."""

    ticket: int
    key: str


@dataclass(frozen=True, slots=True)
class FailoverShown:
    """Say who would take over now, why not the others, and what could be lost."""

    ticket: int


@dataclass(frozen=True, slots=True)
class FailoverRequested:
    """Let the best database that is left take over from ``reign``, whatever it may lack."""

    ticket: int
    key: str
    reign: int


@dataclass(frozen=True, slots=True)
class PauseRequested:
    """Leave all databases alone until :class:`ResumeRequested`; ``reason`` is shown everywhere meanwhile."""

    ticket: int
    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class ResumeRequested:
    """End the pause. ``abandon``: node whose primary is waited for no longer, although it may take writes."""

    ticket: int
    key: str
    abandon: int | None


@dataclass(frozen=True, slots=True)
class NodeAddRequested:
    """Expect a node at this address; ``role`` is what it may become: node or listener."""

    ticket: int
    key: str
    ip: str
    role: str


@dataclass(frozen=True, slots=True)
class NodePromoteRequested:
    """Make a listener a full node; ports are changed where given."""

    ticket: int
    key: str
    node: int
    db_port: int | None
    api_port: int | None


@dataclass(frozen=True, slots=True)
class NodeRemoveRequested:
    """Remove a node from the cluster for good."""

    ticket: int
    key: str
    node: int


@dataclass(frozen=True, slots=True)
class NodeDownRequested:
    """Mark a node's database as unfit (``down``) or well again."""

    ticket: int
    key: str
    node: int
    down: bool


@dataclass(frozen=True, slots=True)
class ValueReadRequested:
    """Read the value of a key at the given consistency: leader, lease or local."""

    ticket: int
    name: str
    consistency: str


@dataclass(frozen=True, slots=True)
class ValuesListRequested:
    """List the keys that begin with ``prefix`` and come after ``after``."""

    ticket: int
    prefix: str
    after: str
    consistency: str


@dataclass(frozen=True, slots=True)
class ValueWriteRequested:
    """Write a key's value (None: remove the key), if the index of its last change is ``cas`` (None: anyhow).

    A key that does not exist has index 0.
    """

    ticket: int
    key: str
    name: str
    value: bytes | None
    cas: int | None


@dataclass(frozen=True, slots=True)
class DatabaseChangeRequested:
    """Change parameters of all databases (None: back to config.yaml's), if their version is ``cas`` (None: anyhow).

    ``restart`` is a ``RestartPlan`` of ``cluster/database_settings.py``: restart the servers as well.
    """

    ticket: int
    key: str
    changes: dict[str, str | None]
    cas: int | None
    by: str
    restart: Any | None


@dataclass(frozen=True, slots=True)
class DatabaseRestartRequested:
    """Restart the servers one after the other, by a ``RestartPlan`` of ``cluster/database_settings.py``."""

    ticket: int
    key: str
    plan: Any
    by: str


@dataclass(frozen=True, slots=True)
class RestartCancelRequested:
    """Restart no further server."""

    ticket: int
    key: str
    by: str


ClientRequest = (
    ReadRequested
    | ValueReadRequested
    | ValuesListRequested
    | ValueWriteRequested
    | SettingsChangeRequested
    | LeaderChangeRequested
    | PlanDropRequested
    | FailoverShown
    | FailoverRequested
    | PauseRequested
    | ResumeRequested
    | NodeAddRequested
    | NodePromoteRequested
    | NodeRemoveRequested
    | NodeDownRequested
    | DatabaseChangeRequested
    | DatabaseRestartRequested
    | RestartCancelRequested
)

Event = (
    TimePassed
    | SaveEnded
    | SpaceChanged
    | WallClockRead
    | DatagramReceived
    | FactsRead
    | JobEnded
    | StopRequested
    | ClientRequest
)


# --- outcomes of requests ----------------------------------------------------


@dataclass(frozen=True, slots=True)
class Done:
    """It happened. ``index`` is the log index (0 when none); ``detail`` goes to the client."""

    index: int = 0
    detail: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ValueFound:
    """A key has this value since the entry at ``index``."""

    value: bytes
    index: int


@dataclass(frozen=True, slots=True)
class NotJoined:
    """This node belongs to no cluster yet (412)."""


@dataclass(frozen=True, slots=True)
class NotLeader:
    """Another node leads (417)."""

    leader: int


@dataclass(frozen=True, slots=True)
class NoLeader:
    """Nobody is known to lead (530)."""


@dataclass(frozen=True, slots=True)
class Superseded:
    """Leadership was lost before the commit; it did not and will not happen (410)."""


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """Not confirmed in time; the outcome is unknown (420)."""


@dataclass(frozen=True, slots=True)
class Busy:
    """The daemon cannot answer now: starting, stopping, overloaded (531)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The request cannot be granted as things are; ``word`` is the error word of the answer."""

    field: str
    reason: str
    word: str = "refused"
    faults: tuple[tuple[str, str], ...] = ()
    """Field and fault of each, where there may be several."""


Outcome = Done | ValueFound | NotJoined | NotLeader | NoLeader | Superseded | Unconfirmed | Busy | Refused
