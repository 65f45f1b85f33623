"""What a configuration is once it is understood: plain values, durations in seconds.

Nothing here reads text or decides whether a value is good; ``keys.py`` and ``rules.py`` do.
Python names are the keys of config.yaml with ``_`` for ``-``.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ipaddress import ip_address
from typing import Literal

from msgspec import Struct

Address = tuple[str, int]
Synchronous = Literal["off", "quorum", "all"]
"""For whom a transaction waits before the database acknowledges it."""


class UdpSocket(Struct, rename="kebab", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The socket that speaks to the other nodes."""

    group: tuple[Address, ...]
    """One multicast address with port, or the unicast addresses of all nodes."""
    interface: str
    pacing_rate: int
    loopback: bool
    send_buffer_size: int
    recv_buffer_size: int

    @property
    def multicast(self) -> Address | None:
        """The multicast group; None where the network has none and peers are listed."""
        first = self.group[0]
        return first if ip_address(first[0]).is_multicast else None

    @property
    def peers(self) -> tuple[Address, ...]:
        """The unicast addresses of all nodes; empty with multicast."""
        return () if self.multicast else self.group


class Udp(Struct, rename="kebab", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How messages travel between nodes."""

    socket: UdpSocket
    max_log_size: int
    send_buffer_capacity: int
    recv_buffer_capacity: int

    def port(self, ip: str) -> int:
        """The UDP port of the node with this address."""
        for host, port in self.socket.peers:
            if host == ip:
                return port
        return self.socket.group[0][1]


class Cluster(Struct, rename="kebab", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the nodes agree. All of it but the key file's place is the same on every node."""

    name: str
    founder: str | None
    key_file: str
    node_timeout: float
    heartbeat_interval: float
    pre_voting_timeout: float
    leader_voting_timeout: float
    quorum_replication: bool
    replication_factor: int
    replication_retry_interval: float
    autoremove_enabled: bool
    autoremove_minimum: int
    remove_interval: float
    auto_tie_breaker: str
    last_man_standing: bool
    last_man_standing_window: float
    allow_downscale: bool
    two_node: Literal["off", "fencing"]
    synchronous: Synchronous
    synchronous_strict: bool
    maximum_lag: int
    standby_of: tuple[Address, ...] = ()
    """Databases outside, one of which is followed; empty: this cluster has a primary of its own."""
    standby_slot: str = ""
    task_history: int = 100_000
    task_history_time: float = 30 * 86_400.0


class Quorum(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How votequorum counts; its keys are those of corosync.conf."""

    provider: Literal["none", "votequorum"] = "none"
    expected_votes: int = 0
    """0: those of all nodes that vote."""
    two_node: bool = False
    wait_for_all: Literal["auto", "true", "false"] = "auto"
    last_man_standing: bool = False
    last_man_standing_window: float = 10.0
    auto_tie_breaker: bool = False
    auto_tie_breaker_node: str = "lowest"
    allow_downscale: bool = False
    expected_votes_tracking: bool = False


class Api(Struct, rename="kebab", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files of the REST interface."""

    certificate_file: str
    key_file: str
    ca_file: str
    read_token_file: str
    operate_token_file: str
    deploy_token_file: str | None = None


class Database(Struct, rename="kebab", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The database of this host."""

    bin_dir: str
    library_dir: str
    """What LD_LIBRARY_PATH is for its programs; empty: left alone."""
    data_dir: str
    wal_archive_dir: str
    socket_dir: str
    port: int
    superuser: str
    password_file: str
    application_user: str
    application_password_file: str
    application_database: str
    client_networks: tuple[str, ...]
    programs: dict[str, str]
    """Program for each of ``PROGRAMS``, every one present."""
    parameters: dict[str, str]
    clone_rate: int = 0
    """Bytes per second at which this host copies another one's database; 0: as fast as it goes."""
    no_failover: bool = False
    no_sync: bool = False
    no_load_balance: bool = False
    clone_from: bool = False
    priority: int = 0
    replicate_from: str | None = None
    standby_user: str | None = None
    standby_password_file: str | None = None
    standby_ca_file: str | None = None
    locale: str | None = None
    """Of a database that is founded, as the three after it."""
    encoding: str = "UTF8"
    wal_segment_size: str = "16"
    """Megabytes."""
    data_checksums: bool = True
    task_roles: tuple[str, ...] = ()
    """No key: ``tasks.sql-roles`` of this host."""
    program_users: tuple[str, ...] = ()
    """No key: ``tasks.user`` and ``tasks.dask-user``, whose programs log in by themselves."""
    program_roles: tuple[str, ...] = ()
    """No key: ``tasks.program-roles``, as whom they do."""


class Backup(Struct, rename="kebab", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base backups of this cluster's database, and what it is founded from."""

    dir: str
    interval: float
    """Seconds between two backups; 0: none is taken by itself."""
    keep: int
    keep_for: float
    compression: int
    found_from: str | None
    """"newest" or a backup's label; None: the founder makes a new database."""
    found_target: str | None
    found_system_id: int | None
    found_dir: str | None
    found_archive_dir: str | None
    tool: Literal["plain", "pgbackrest"] = "plain"
    program: str = "/usr/bin/pgbackrest"
    stanza: str | None = None
    """None: one for each system id."""
    pgbackrest: dict[str, str] = {}
    """Options of pgBackRest."""
    pgbackrest_file: str | None = None
    full_interval: float = 604_800.0
    """Seconds between two full backups of pgBackRest; 0: all are full."""
    increment: Literal["incr", "diff"] = "incr"
    found_stanza: str | None = None

    @property
    def by_pgbackrest(self) -> bool:
        """Whether pgBackRest keeps backups and archive."""
        return self.tool == "pgbackrest"

    @property
    def from_replicas(self) -> bool:
        """Whether a replica can take a backup: pgBackRest needs to be told a way to the primary's host."""
        return not self.by_pgbackrest or any(name.startswith("pg2-host-") for name in self.pgbackrest)


class Pool(Struct, rename="kebab", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The connection pool of this host."""

    databases_file: str
    host: str
    port: int
    admin_user: str
    admin_password_file: str
    application_database: str
    read_only_database: str = ""
    """Name of the database for reading; empty: none is offered."""
    read_only_maximum_lag: int = 16 << 20
    read_only_fallback: bool = True


class Heuristics(Struct, rename="kebab", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Commands by which a node judges itself for the arbiter."""

    mode: Literal["off", "sync", "on"]
    timeout: float | None
    """None: what follows from the device's own times; the same for the two after it."""
    sync_timeout: float | None
    interval: float | None
    exec: dict[str, str]
    """Name → command line."""


class Device(Struct, rename="kebab", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The arbiter that this node asks."""

    model: Literal["net"]
    host: str
    port: int
    algorithm: Literal["ffsplit", "lms", "2nodelms", "test"]
    tie_breaker: str
    """`lowest`, `highest`, or the number of a node."""
    keep_active_partition_tie_breaker: bool
    tls: Literal["off", "on", "required"]
    ca_file: str
    certificate_file: str | None
    key_file: str | None
    timeout: float
    sync_timeout: float
    connect_timeout: float | None
    """None: one heartbeat."""
    watchdog_timeout: float | None
    """None: nothing resets this host for want of quorum."""
    heuristics: Heuristics | None = None


class FenceDevice(Struct, rename="kebab", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One agent, and what it is told."""

    agent: str
    """Name of the program, or its path."""
    parameters: dict[str, str] = {}
    secrets: dict[str, str] = {}
    """Parameter → file that holds its value."""
    time_limit: float = 30.0


class FencedHost(Struct, rename="kebab", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one host is fenced."""

    levels: tuple[tuple[FenceDevice, ...], ...]
    """Tried in this order; of one level all devices must succeed."""
    action: Literal["off", "reboot"] = "reboot"
    delay: float = 0.0
    """Seconds before the first shot at it."""


class Fencing(Struct, rename="kebab", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How this host fences the others."""

    hosts: dict[str, FencedHost]
    """By their address."""
    attempts: int = 2
    retry_pause: float = 1.0
    when_failed: Literal["lease", "wait"] = "lease"
    monitor_interval: float = 300.0


class Tasks(Struct, rename="kebab", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What tasks this host runs."""

    slots: int = 4
    resources: dict[str, str] = {}
    labels: dict[str, str] = {}
    dir: str | None = None
    output_total: int = 1024
    """MiB."""
    commands: tuple[str, ...] = ()
    user: str | None = None
    """As whom a program runs that names nobody; None: as the runner."""
    users: tuple[str, ...] = ()
    work_dir: str | None = None
    processes: int = 4096
    """Of each user of tasks, in all; 0: as many as there is room for."""
    sql_roles: tuple[str, ...] = ()
    program_roles: tuple[str, ...] = ()
    shell: bool = False
    dask_python: str | None = None
    """A Python that has Dask; None: no Dask cluster here."""
    dask_port: int = 8786
    dask_user: str | None = None
    """As whom scheduler, workers and scripts run; None: as their services."""
    dask_dir: str | None = None
    dask_certificate_file: str | None = None
    dask_key_file: str | None = None
    dask_ca_file: str | None = None

    @property
    def allowed_users(self) -> tuple[str, ...]:
        """Whom a task without a template may name."""
        return (*self.users, self.user) if self.user else self.users

    @property
    def amounts(self) -> dict[str, int]:
        """The resources as numbers."""
        return {name: int(amount) for name, amount in self.resources.items()}


class Config(Struct, rename="kebab", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole configuration, checked."""

    ip: str
    api_port: int
    udp: Udp
    cluster: Cluster
    quorum: Quorum = Quorum()
    hello_retry_interval: float
    role: Literal["node", "listener"]
    """``node`` (may vote and lead) or ``listener``."""
    votes: int
    state_dir: str
    api: Api
    database: Database | None = None
    pool: Pool | None = None
    backup: Backup | None = None
    device: Device | None = None
    fencing: Fencing | None = None
    tasks: Tasks | None = None
