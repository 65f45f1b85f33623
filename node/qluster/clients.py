"""Everything that a client can ask a node for, and everything it can be answered.

Must not know how a request came (REST, command line), nor what the words and codes of an answer are (``api/``).
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

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
class FenceRequested:
    """Have a node's host fenced, or (``confirm``) take an operator's word that it is off. ``ip`` is the proof that it
    is meant: the address of that host."""

    ticket: int
    key: str
    node: int
    ip: str
    confirm: bool


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


@dataclass(frozen=True, slots=True)
class ForceQuorumRequested:
    """Go on without the majority of the cluster, whose name the operator writes; ``check``: only say what would be.

    ``nodes`` are counted on (None: all that are heard); the hosts at the addresses ``confirmed`` are off.
    """

    ticket: int
    key: str
    name: str
    nodes: tuple[int, ...] | None
    confirmed: tuple[str, ...]
    check: bool
    by: str = ""
    """Who asks, for the history."""


@dataclass(frozen=True, slots=True)
class TaskRequested:
    """Change something of tasks; ``what`` is one of ``tasks/asking.py``'s changes."""

    ticket: int
    key: str
    what: Any


@dataclass(frozen=True, slots=True)
class TaskLooked:
    """Look at tasks, at the given consistency; ``what`` is one of ``tasks/asking.py``'s looks."""

    ticket: int
    what: Any
    consistency: str


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
    | FenceRequested
    | ForceQuorumRequested
    | TaskRequested
    | TaskLooked
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
