"""What a node knows of itself and its cluster, as plain values; ``node.py`` fills, ``api/views.py`` shows it.

Times are seconds (durations or ages; dates only where an operator gave one); positions and sizes are bytes.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from msgspec import Struct, field

from qluster.archived import BackupsStatus
from qluster.consulted import DeviceStatus, VotingDevice
from qluster.fenced import FencingStatus
from qluster.forced import ForcedStatus
from qluster.paired import TwoNodeStatus
from qluster.tasked import TasksStatus
from qluster.voted import VotesStatus


class SlotStatus(Struct, frozen=True, kw_only=True):
    """A replication slot of a database: for whom WAL is kept."""

    name: str
    active: bool
    """Somebody streams by it."""
    status: str
    """As the database calls it: reserved, extended, unreserved, lost; "" while it keeps nothing."""
    held_bytes: int
    """WAL from its position to the newest of this database."""


class DatabaseStatus(Struct, frozen=True, kw_only=True):
    """The database on one node, as that node last reported it."""

    role: str = "none"
    """primary, replica, detached (a standby without upstream), stopped, absent, none (host has no database)."""
    state: str = ""
    """What the daemon does with it: idle, initialising, cloning, rewinding, promoting, starting, stopping, failed,
    paused (left alone)."""
    system_id: int | None = None
    timeline: int | None = None
    position: int | None = None
    """WAL position in bytes: written on a primary, received and flushed on a replica."""
    replayed: int | None = None
    streaming: bool = False
    upstream: str | None = None
    ahead: int | None = None
    """Where the WAL of whom it follows ended, by its last word; None: it has said nothing yet."""
    pending_restart: bool = False
    pending: dict[str, str] = field(default_factory=dict)
    """Parameters that wait for a restart, with the value in force until then."""
    held: tuple[str, ...] = ()
    """Those of them that wait for the primary's restart as well: a replica needs them as large as the primary has."""
    settings_version: int = 0
    """Version of the parameters that the running server was last told; 0: none."""
    started: int = 0
    """Log index up to which the daemon knew of restarts when it started the server."""
    proven: int = 0
    """Version of the parameters with which a server last started here."""
    refused: str = ""
    """Why the server runs with parameters of before, "" when it does not."""
    refused_version: int = 0
    """Version of the parameters with which it did not start."""
    overridden: tuple[str, ...] = ()
    """Parameters to which this node's config.yaml gives another value than the cluster's log."""
    version: str = ""
    error: str = ""
    """Last failure as a sentence, "" when well."""
    archive_error: str = ""
    """Why WAL is not archived, "" when it is: the database runs, but its disk fills."""
    left_behind: tuple[int, int] | None = None
    """To follow the reign of this number, so many bytes of its own WAL were given up here."""
    slots: tuple[SlotStatus, ...] = ()
    """Its replication slots, those that keep the most WAL first."""
    slot_error: str = ""
    """Why the slots of the other nodes are not as they should be, "" when they are."""
    barred: str = ""
    """Why a replica could not take over at once although it is well: its replay is paused or delayed; "" when not."""
    senders: int = 0
    """How many read WAL from it: replicas and copies."""
    copied_bytes: int | None = None
    """Of the copy that is being made here, what has come; None while none is made."""
    copy_bytes: int | None = None
    """How large that copy will be, as its source estimates."""
    withheld: str = ""
    """What the daemon would do with it if the cluster were not paused; "" for nothing."""
    room_bytes: int | None = None
    """Bytes that are free on its disk, for data or for WAL where that has less; None: not known."""
    room_error: str = ""
    """That little or no room is left there; "" when there is enough."""
    archive_waiting_bytes: int | None = None
    """Finished WAL of the primary that is not archived yet; None: not known."""
    owed: tuple[int, int] | None = None
    """It was copied or rewound: timeline and position that it must have reached before its word proves anything."""


class TagsStatus(Struct, frozen=True, kw_only=True):
    """What the operator of a node says of its database."""

    no_failover: bool = False
    """It never becomes primary by itself, and no transaction waits for it."""
    no_sync: bool = False
    """No transaction waits for it."""
    no_load_balance: bool = False
    """Readers are not to be sent to it."""
    clone_from: bool = False
    """Copies are made from it before other replicas."""
    priority: int = 0
    """Of those with equally much WAL the largest takes over."""
    replicate_from: str = ""
    """Address of the node that it follows instead of the primary; "" follows the primary."""


class PoolStatus(Struct, frozen=True, kw_only=True):
    """The pool on one host: whom it points at, and since which reign."""

    target: str | None = None
    reign: int = 0
    error: str = ""
    held: int = 0
    """The switchover for which clients wait here, nothing of theirs being open; 0: they do not."""
    replicas: tuple[str, ...] = ()
    """Whom the database for reading points at; empty where none is offered."""


class NodeStatus(Struct, frozen=True, kw_only=True):
    """One member as this node sees it."""

    node: int
    ip: str
    api_port: int
    db_port: int | None
    role: str
    """node (votes) or listener."""
    leader: bool
    alive: bool
    """Heard from within node-timeout, or this node itself."""
    heard_ago: float | None
    """Seconds since it was last heard; None when never."""
    down: bool
    """Marked down by an operator or by its database's trouble."""
    match_index: int | None
    """Log index it is known to hold; only the leader knows it."""
    version: str = ""
    settings_digest: str = ""
    database: DatabaseStatus | None = None
    pool: PoolStatus | None = None
    tags: TagsStatus = TagsStatus()
    votes: int = 0
    """What it counts for; 0 as well while it does not vote."""
    fencing: FencingStatus = FencingStatus()


class ReignStatus(Struct, frozen=True, kw_only=True):
    """Who the primary is, by decision of the log."""

    number: int
    node: int
    term: int
    timeline: int
    position: int
    lost_bytes: int = 0
    """WAL known to have been left behind by this change of primary."""
    bound_bytes: int | None = None
    """So much at most can have been left behind that was acknowledged; None: nobody could tell."""
    accepted: bool = False
    """An operator accepted that something is lost."""
    left_bytes: int | None = None
    """What the former primary gave up when it came back; None: it did not yet, or was copied anew."""
    standby: bool = False
    """It has no primary: its node follows an installation outside."""


class GuaranteeStatus(Struct, frozen=True, kw_only=True):
    """For whom a transaction waits before it is acknowledged."""

    standbys: tuple[int, ...]
    """Nodes of which :attr:`needed` confirm; empty: only the primary has it."""
    needed: int
    settled: bool
    """False while it takes the place of another one, which a new primary must satisfy as well."""


class PlanStatus(Struct, frozen=True, kw_only=True):
    """A switchover that is scheduled."""

    node: int | None
    """None: whoever is fittest then."""
    at: float
    """Seconds since 1970: an operator's date."""
    force: bool
    patience: float


class EndedStatus(Struct, frozen=True, kw_only=True):
    """How the last switchover ended."""

    node: int | None
    reign: int
    """The reign that came of it; 0: it did not begin."""
    at: float
    """Seconds since 1970, by the clock of who carried it out."""
    reason: str
    """Why it came to nothing, "" when ``node`` took over."""


class SwitchoverStatus(Struct, frozen=True, kw_only=True):
    """Planned changes of leader, as the log has them."""

    planned: PlanStatus | None = None
    under_way: int | None = None
    """The node that is just about to take over; clients of the pools wait."""
    last: EndedStatus | None = None


class PauseStatus(Struct, frozen=True, kw_only=True):
    """A pause, or what is left of one."""

    active: bool
    """Databases are left alone; false after the resume, as long as :attr:`node` is waited for."""
    reason: str
    """The operator's words."""
    node: int | None
    """Whose database may take writes without a lease: nobody takes over from it."""
    since: int
    """Log index of the last pause or resume."""


class StandbyStatus(Struct, frozen=True, kw_only=True):
    """The installation outside that is followed while nothing is written here."""

    of: str
    """Its databases, as configured."""
    node: int | None
    """The node that follows it; None: nobody does yet."""
    upstream: str | None = None
    """The database outside that this node follows."""
    streaming: bool = False
    lag_bytes: int | None = None
    """WAL that this one had by its last word, and that is not replayed here; None: not known."""
    error: str = ""
    """Why it is not followed, "" when it is."""


class ClusterStatus(Struct, frozen=True, kw_only=True):
    """The cluster as this node sees it."""

    name: str
    cluster: int | None
    """Number of the founding; None when this node has not joined."""
    term: int
    leader: int | None
    quorate: bool
    """This node hears an electing quorum."""
    can_commit: bool
    voters: int
    quorum: int
    """Votes needed to elect, of :attr:`votes`."""
    commit_index: int
    applied_index: int
    last_index: int
    snapshot_index: int
    reign: ReignStatus | None
    guarantee: GuaranteeStatus | None
    """None: the primary waits for nobody, and a failover may lose what it acknowledged last."""
    database_system_id: int | None
    database_version: int = 0
    """Version of the parameters that the log wants of all databases."""
    database_restart: RestartStatus | None = None
    """The restart of all databases that is under way, or was last."""
    switchover: SwitchoverStatus = SwitchoverStatus()
    pause: PauseStatus | None = None
    """None: nothing is paused, and nothing waits for the end of a pause."""
    standby: StandbyStatus | None = None
    """None: the cluster has a primary of its own."""
    votes: int = 0
    """Votes of all voters and of the device by the list in force: expected votes."""
    tie_breaker: int | None = None
    """The node with whom half of the votes are enough; None: with none."""
    resting: tuple[int, ...] = ()
    """Nodes that will vote, and are not counted until they keep up."""
    remarks: tuple[str, ...] = ()
    """What is easily overlooked in how the votes are distributed."""
    device: VotingDevice | None = None
    """None: the list of members names none."""
    forced: tuple[ForcedStatus, ...] = ()
    """How often an operator forced a quorum, and how this founding came from the ones before it; the newest last."""
    forcing: str = ""
    """What this node is doing to force a quorum, or why it did not come to that, or that it gives in to one."""
    two_node: TwoNodeStatus | None = None
    """How far one of two is with going on alone; None: cluster.two-node is off."""


class OwnStatus(Struct, frozen=True, kw_only=True):
    """This node."""

    node: int | None
    ip: str
    api_port: int
    version: str
    consensus_role: str
    """joining, listener, follower, pre-candidate, candidate, leader."""
    may_write: bool
    """True on exactly the node that a client may write to."""
    lease_left: float | None
    """Seconds the lease still holds; None when not leading."""
    uptime: float
    stopping: bool
    message: str
    """Why it is not further along, "" when all is well."""
    counters: dict[str, int] = field(default_factory=dict)
    """Datagrams sent, received, dropped by reason; NACKs; snapshots; elections."""
    device: DeviceStatus | None = None
    """The arbiter that this node asks; None: none is configured."""


class ParameterStatus(Struct, frozen=True, kw_only=True):
    """A parameter of all databases as it is wanted."""

    value: str
    source: str
    """Who says so: cluster log (POST /db-config), config.yaml, or daemon (its own default)."""
    file: str | None = None
    """What this node's config.yaml says, None for nothing; the cluster's log goes before it."""
    index: int = 0
    """Log index of the last change; 0 when the log never changed it, or long ago."""


class ChangeStatus(Struct, frozen=True, kw_only=True):
    """A change of parameters in the log; None stands for what config.yaml says."""

    index: int
    at: int | None
    """Seconds since 1970 by the leader's clock."""
    by: str
    reason: str
    """Why the cluster itself took values back, "" for a change by an operator."""
    changes: dict[str, str | None]
    before: dict[str, str | None]


class RestartStatus(Struct, frozen=True, kw_only=True):
    """The restart of all databases one after the other that is under way, or was last."""

    begun: int
    """Log index with which it began."""
    state: str
    """running, done or failed."""
    reason: str
    """Why it did not get to its end."""
    waits_for: str
    """Why it does not go on just now; only the leader knows."""
    only: str
    primary: str
    limit: float
    at: int | None
    by: str
    node: int | None
    """Whose turn it is."""
    turns: tuple[int, ...]
    """Whose turn it has been, in this order."""


class DatabaseSettingsStatus(Struct, frozen=True, kw_only=True):
    """The parameters of all databases as they are wanted, and how they came about."""

    version: int
    """Log index of the last change; 0: the log says nothing."""
    parameters: dict[str, ParameterStatus]
    history: list[ChangeStatus]
    restart: RestartStatus | None


class DatabaseHealth(Struct, frozen=True, kw_only=True):
    """What a reader of the database on this host must know of it. Ages are seconds; None: never, or not known."""

    role: str
    """As in :class:`DatabaseStatus`."""
    doing: str
    """Its state there."""
    answers: bool
    """It answered the last look."""
    answered_ago: float | None
    halted: bool = False
    """It takes in nobody new: its postmaster is stopped."""
    genuine: bool = True
    """Its history is that of the cluster, as far as was compared."""
    paused: bool = False
    """It was told to replay no further."""
    balanced: bool = True
    """Readers may be sent to it: ``database.no-load-balance`` is not set."""
    streamed_ago: float | None = None
    """Since it last was seen to stream from the primary."""
    lag_bytes: int | None = None
    lag_seconds: float | None = None
    """It has all that the primary had so long ago."""
    lag_known_ago: float | None = None
    """Since the primary last said how far it is: what it wrote meanwhile is not counted."""


class Health(Struct, frozen=True, kw_only=True):
    """What load balancers ask for, cheap enough to be looked up for each of their requests."""

    node: int | None = None
    joined: bool = False
    message: str = ""
    """Why it has not joined."""
    stopping: bool = False
    uptime: float = 0.0
    turned_ago: float = 0.0
    """Seconds since the node last settled what had come in."""
    term: int = 0
    reign: int = 0
    """Number of the reign in force; 0: none."""
    leader: int | None = None
    leader_at: tuple[str, int, int | None] | None = None
    """Its address, port of its REST interface, and port of its database."""
    may_write: bool = False
    standby: bool = False
    """Nothing is written in this cluster: an installation outside is followed."""
    leads_standby: bool = False
    """This node does that, for all others."""
    down: bool = False
    covered: bool = False
    """The primary waits for this node: each guarantee in the log names it."""
    patience: float = 0.0
    """node-timeout: seconds for which nothing is made of a standby that does not stream."""
    database: DatabaseHealth | None = None
    """None: this host has none."""


class Status(Struct, frozen=True, kw_only=True):
    """Everything at once."""

    own: OwnStatus
    cluster: ClusterStatus
    nodes: list[NodeStatus]
    settings: dict[str, str]
    """Replicated settings, key as in config.yaml → text."""
    db_config: dict[str, str]
    """Parameters of the database that operators set, in the cluster's log or in this node's config.yaml."""
    database_settings: DatabaseSettingsStatus | None = None
    backups: BackupsStatus | None = None
    """None: this host keeps none."""
    health: Health = Health()
    votes: VotesStatus | None = None
    """The votes by votequorum's rules."""
    tasks: TasksStatus = TasksStatus()
