"""Every key of config.yaml: its kind, default, limits and meaning, as one table.

It must not know how a text is read; rules between several keys are in ``rules.py``.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import get_args

from .addresses import Group, Host, Places
from .fencing import FencedHosts
from .key import Change, Key
from .kinds import Choice, Duration, Flag, Networks, Path, Table, Text, Whole
from .structure import Synchronous
from .tags import PRIORITY_MAX, VOTES_MAX
from .task_keys import TASK_KEYS

PROGRAMS = ("initdb", "pg_ctl", "postgres", "pg_basebackup", "pg_rewind", "pg_controldata")
"""The database programs that the daemon starts; another build may have them under other names."""

SECTIONS = (
    "udp", "udp.socket", "cluster", "quorum", "api", "database", "backup", "pool", "device", "device.heuristics",
    "fencing", "tasks",
)  # fmt: skip
OPTIONAL_SECTIONS = ("database", "backup", "pool", "device", "device.heuristics", "fencing", "tasks")

BUFFER_SIZE_MIN = 16 * 1024
"""A datagram of 1.5 kB is charged with 2.3 kB; fewer than seven of them make no useful buffer."""
BUFFER_SIZE_MAX = 1024**3
"""The kernel doubles the number that it is asked for, and the result must fit in 31 bits."""
LOG_SIZE_MIN = 1024
"""The membership of a full cluster, and each command of the daemon's own, fits in this."""
LOG_SIZE_MAX = 1024**2
"""An entry is held in memory on every node and repaired piece by piece; 1 MiB is about 750 pieces."""
SLOT_PREFIX = "qluster_"
"""So the slots of a cluster's own nodes are named."""
CLONE_RATE_MIN = 32 * 1024
CLONE_RATE_MAX = 1024**3
"""Between these pg_basebackup can limit its rate."""
CAPACITY_MIN = 32
"""A leader sends 32 batches ahead of what is confirmed; a shorter queue would only lose them."""
CAPACITY_MAX = 65536
"""Messages queued in the daemon; more would only be delay."""
PACING_RATE_MIN = 64 * 1024
"""Below 64 KiB/s one entry of the usual largest size takes longer than a second."""
PACING_RATE_MAX = 12_500_000_000
"""100 Gbit/s."""
MAXIMUM_LAG_MAX = 1 << 50
"""More than any disk holds: whoever is left takes over."""
NODES_MAX = 100
"""No cluster is larger: every entry goes to every node."""
EXPECTED_VOTES_MAX = 128_000
"""64 nodes of 1000 votes, and a device with as many as they."""
LAG_MAX = 2**50
"""A pebibyte: any lag at all."""
SOCKET_DIR_SIZE_MAX = 107 - len("/.s.PGSQL.65535")
"""A Unix socket's path has at most 107 bytes, and the database adds its file name."""

HISTORY_MAX = 100_000
"""So many tasks stand in the memory of each node, and in each snapshot."""

WAL_SEGMENT_SIZES = tuple(str(1 << power) for power in range(11))
"""Powers of two from 1 MB to 1 GB: what the database takes."""

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_NAME_RULE = "letters, digits, dots, dashes and underscores, beginning with a letter or digit"
_SQL_NAME = r"[a-z_][a-z0-9_]*"
_SQL_NAME_RULE = "lower-case letters, digits and underscores, not beginning with a digit"
_ETC = "/etc/qluster"


def _timer(path: str, default: str, least: str, most: str, meaning: str) -> Key:
    return Key(path, Duration(least, most), default, meaning, Change.LIVE)


_NODE = (
    Key("ip", Host(), None,
        "Address of this node: REST and database listen on it, and the other nodes reach it."),
    Key("api-port", Whole(1, 65535), "8080", "Port of the REST interface."),
    Key("role", Choice(("node", "listener")), "node",
        "`node` may vote and lead; `listener` only hears what happens, as a pool host does."),
    Key("votes", Whole(0, VOTES_MAX, "votes"), "1",
        "What this node counts for when a leader is elected and an entry is confirmed. With 0 it holds the log and may "
        "lead, and its word adds nothing."),
    Key("state-dir", Path(), "/qluster",
        "Directory of this node's log, its identity and the file `add_node`."),
    _timer("hello-retry-interval", "1s", "20ms", "10m",
           "Pause between the hellos of a node that wants to join."),
)

_UDP = (
    Key("udp.socket.group", Group(), None,
        "Multicast group and port of the cluster, such as 239.19.76.1:7400 or \"[ff15::76]:7400\". "
        "Where the network has no multicast: the list of all nodes' addresses with ports.", Change.CLUSTER),
    Key("udp.socket.interface",
        Text("interface name", r"[^\s/:]+", "the name that `ip link` shows, such as eth0", size_max=15), None,
        "Network interface of the multicast group."),
    Key("udp.socket.pacing-rate", Whole(PACING_RATE_MIN, PACING_RATE_MAX, "bytes per second"), "268435456",
        "What this node may put on the wire at most.", Change.LIVE),
    Key("udp.socket.loopback", Flag(), "false",
        "Whether this host hears its own multicast; needed where several nodes share a host."),
    Key("udp.socket.send-buffer-size", Whole(BUFFER_SIZE_MIN, BUFFER_SIZE_MAX, "bytes"), "1048576",
        "Send buffer that the kernel is asked for."),
    Key("udp.socket.recv-buffer-size", Whole(BUFFER_SIZE_MIN, BUFFER_SIZE_MAX, "bytes"), "1048576",
        "Receive buffer that the kernel is asked for; `net.core.rmem_max` limits it."),
    Key("udp.max-log-size", Whole(LOG_SIZE_MIN, LOG_SIZE_MAX, "bytes"), "64000",
        "Largest entry of the log.", Change.LIVE),
    Key("udp.send-buffer-capacity", Whole(CAPACITY_MIN, CAPACITY_MAX, "messages"), "256",
        "Messages that wait in the daemon to be sent, and that it keeps to repeat.", Change.LIVE),
    Key("udp.recv-buffer-capacity", Whole(CAPACITY_MIN, CAPACITY_MAX, "messages"), "256",
        "Messages of one sender that are put together from their pieces at a time.", Change.LIVE),
)

_CLUSTER = (
    Key("cluster.name", Text("cluster name", _NAME, _NAME_RULE), "qluster",
        "Name of the cluster. Nodes of another name are not heard.", Change.CLUSTER),
    Key("cluster.founder", Host(), None,
        "Address of the node that may found the cluster. Not given: this node never founds.",
        Change.CLUSTER, optional=True),
    Key("cluster.key-file", Path(), f"{_ETC}/cluster.key",
        "File with the cluster's keys, one `number:base64 of 32 bytes` a line; "
        "the first is the one to send with."),
    _timer("cluster.node-timeout", "30s", "50ms", "1h",
           "How long a node waits for the leader before it asks for pre-votes."),
    _timer("cluster.heartbeat-interval", "10s", "10ms", "20m", "Pause between two heartbeats of the leader."),
    _timer("cluster.pre-voting-timeout", "10s", "10ms", "1h", "Length of the pre-vote stage."),
    _timer("cluster.leader-voting-timeout", "10s", "10ms", "1h", "Longest round of votes for a leader."),
    Key("cluster.quorum-replication", Flag(), "true",
        "Whether an entry is confirmed only when a majority of the nodes has it.", Change.LIVE),
    Key("cluster.replication-factor", Whole(0, NODES_MAX, "nodes"), "0",
        "Nodes, the leader among them, that must have an entry before it is confirmed; "
        "0: the majority decides.",
        Change.LIVE),
    _timer("cluster.replication-retry-interval", "1s", "10ms", "10m",
           "Pause before an unanswered replication is repeated."),
    Key("cluster.autoremove-enabled", Flag(), "false",
        "Whether nodes that the majority cannot reach are removed from the cluster.", Change.LIVE),
    Key("cluster.autoremove-minimum", Whole(3, NODES_MAX, "nodes"), "3",
        "Smallest cluster in which nodes are removed automatically.", Change.LIVE),
    _timer("cluster.remove-interval", "1m", "100ms", "720h",
           "How long a node must be unreachable before it is removed."),
    Key("cluster.auto-tie-breaker",
        Text("tie-breaker", r"off|lowest|highest|[1-9][0-9]{0,17}( [1-9][0-9]{0,17})*",
             "`off`, `lowest`, `highest`, or numbers of nodes with one space between two", size_max=200), "off",
        "With which node half of the votes are enough: the voter with the lowest or highest number, or the first of "
        "these that votes. It has no effect while the number of all votes is odd.", Change.LIVE),
    Key("cluster.last-man-standing", Flag(), "false",
        "Whether nodes that the others cannot reach are not counted until they are back, so that fewer and fewer can "
        "go on.", Change.LIVE),
    _timer("cluster.last-man-standing-window", "1m", "100ms", "720h",
           "With `last-man-standing`: how long a node must be unreachable before it is not counted."),
    Key("cluster.allow-downscale", Flag(), "false",
        "Whether a node that is stopped in order is not counted until it is back.", Change.LIVE),
    Key("cluster.two-node", Choice(("off", "fencing")), "off",
        "Whether one of two nodes goes on alone: `fencing` once fence agents have switched off the other one's host. "
        "It has no effect where there are more voters, other votes, a tie-breaker, an arbiter with votes, or a "
        "`cluster.replication-factor` above 1.",
        Change.LIVE),
    Key("cluster.synchronous", Choice(get_args(Synchronous)), "off",
        "For whom a transaction waits before the database acknowledges it: nobody, so many replicas that with the "
        "primary they are a majority, or every replica that streams.", Change.LIVE),
    Key("cluster.synchronous-strict", Flag(), "false",
        "Whether transactions rather wait for ever than be acknowledged while no replica has them, when "
        "`synchronous` is not `off`.", Change.LIVE),
    Key("cluster.maximum-lag", Whole(0, MAXIMUM_LAG_MAX, "bytes"), "16777216",
        "With `synchronous: off`: how much WAL a replica may lack, by all that is known, and take over by itself.",
        Change.LIVE),
    Key("cluster.standby-of", Places(), "",
        "Databases of another installation, as address:port. While it is set, nothing can be written here: the "
        "cluster is founded with a copy of that installation's primary and follows it. Empty: the cluster has a "
        "primary of its own. Set at the founding; taking it away makes this cluster the primary one for good.",
        Change.LIVE),
    Key("cluster.standby-slot",
        Text("name of a replication slot", r"([a-z0-9_]+)?", "lower-case letters, digits and underscores"), "",
        "Replication slot that keeps WAL for this cluster at the databases of `standby-of`; it is made where it is "
        "missing. Empty: none.", Change.LIVE),
    Key("cluster.task-history", Whole(0, HISTORY_MAX, "tasks"), "100000",
        "Tasks that are over and still known; of more the ones that ended first are forgotten.", Change.LIVE),
    _timer("cluster.task-history-time", "720h", "1s", "87600h",
           "How long a task that is over is known, if it is among so many."),
)

_QUORUM = (
    Key("quorum.provider", Choice(("none", "votequorum")), "none",
        "`votequorum`: the nodes also count votes by the rules of corosync's votequorum, with the keys below, whose "
        "names are those of corosync.conf. It forbids, and never permits: the list of members decides who can be "
        "elected.", Change.LIVE),
    Key("quorum.expected_votes", Whole(0, EXPECTED_VOTES_MAX, "votes"), "0",
        "Votes that there are; 0: those of all nodes that vote.", Change.LIVE),
    Key("quorum.two_node", Flag(), "false",
        "One of two nodes is enough for votequorum to be quorate. It elects nobody: that takes both nodes, or an "
        "arbiter.", Change.LIVE),
    Key("quorum.wait_for_all", Choice(("auto", "true", "false")), "auto",
        "A node is not quorate after its start, nor after a loss of quorum, before it has seen all votes; until then "
        "it does not stand in an election. `auto`: as two_node.", Change.LIVE),
    Key("quorum.last_man_standing", Flag(), "false",
        "When nodes have been gone for last_man_standing_window, the nodes that are left are all that is expected.",
        Change.LIVE),
    _timer("quorum.last_man_standing_window", "10s", "100ms", "1h", "How long they must be gone for that."),
    Key("quorum.auto_tie_breaker", Flag(), "false",
        "One half of the votes is enough for votequorum where auto_tie_breaker_node is.", Change.LIVE),
    Key("quorum.auto_tie_breaker_node",
        Text("tie-breaker", r"lowest|highest|[1-9][0-9]{0,9}( [1-9][0-9]{0,9}){0,63}",
             "lowest, highest, or numbers of nodes with blanks between them", size_max=700), "lowest",
        "The half with the lowest or the highest number, or with the first node of a list.", Change.LIVE),
    Key("quorum.allow_downscale", Flag(), "false",
        "A node that is stopped in order is not expected any more.", Change.LIVE),
    Key("quorum.expected_votes_tracking", Flag(), "false",
        "The most votes that were ever expected are expected after a restart as well.", Change.LIVE),
)

_API = (
    Key("api.certificate-file", Path(), f"{_ETC}/api.crt",
        "Certificate of the REST interface (PEM), issued for this node's `ip`."),
    Key("api.key-file", Path(), f"{_ETC}/api.key", "Private key of that certificate (PEM)."),
    Key("api.ca-file", Path(), f"{_ETC}/ca.crt", "Certificate of the authority that all nodes trust (PEM)."),
    Key("api.read-token-file", Path(), f"{_ETC}/read.token",
        "File with the token that may read, on one line."),
    Key("api.operate-token-file", Path(), f"{_ETC}/operate.token",
        "File with the token that may read and change, on one line."),
    Key("api.deploy-token-file", Path(), None,
        "File with the token that may also write templates of tasks, and schedules of tasks without a template, on one "
        "line; or `sha256:` and its SHA-256, so that only who deploys has the token. Not given: nobody may.",
        optional=True),
)

_DATABASE = (
    Key("database.bin-dir", Path(), None, "Directory of the database's programs."),
    Key("database.library-dir", Path(empty=True), "",
        "What `LD_LIBRARY_PATH` is for these programs; empty: left alone."),
    Key("database.data-dir", Path(), "/opt/qhb-data", "Directory of the database."),
    Key("database.wal-archive-dir", Path(empty=True), "/opt/qhb-backup/wal",
        "Directory that the WAL is archived to, as a rule on the network; empty: it is not archived. Not used with "
        "`backup.tool: pgbackrest`, which archives into its repository."),
    Key("database.socket-dir",
        Path(size_max=SOCKET_DIR_SIZE_MAX, size_reason="A Unix socket's path cannot be longer."),
        "/run/qluster", "Directory of the database's Unix socket."),
    Key("database.port", Whole(1, 65535), "5432", "Port of the database."),
    Key("database.superuser", Text("role name", _SQL_NAME, _SQL_NAME_RULE), "qluster",
        "Superuser of the database; the daemon and the replicas use it."),
    Key("database.password-file", Path(), f"{_ETC}/database.password", "File with the superuser's password."),
    Key("database.application-user", Text("role name", _SQL_NAME, _SQL_NAME_RULE), "application",
        "Role that is made for the application."),
    Key("database.application-password-file", Path(), f"{_ETC}/application.password",
        "File with the application's password."),
    Key("database.application-database", Text("database name", _SQL_NAME, _SQL_NAME_RULE), "application",
        "Database that is made for the application."),
    Key("database.client-networks", Networks(), "",
        "Networks from which the application may connect, the pool's host among them."),
    Key("database.locale",
        Text("locale", r"[A-Za-z0-9][A-Za-z0-9_.@-]*", "a name that `locale -a` shows, such as ru_RU.UTF-8"),
        None, "Locale of a database that is founded; not given: C.UTF-8, which sorts alike on every host.",
        optional=True),
    Key("database.encoding", Text("encoding", r"[A-Z][A-Z0-9_]*", "a name of the database's, such as UTF8 or WIN1251"),
        "UTF8", "Encoding of a database that is founded."),
    Key("database.wal-segment-size", Choice(WAL_SEGMENT_SIZES), "16",
        "Size of a WAL file of a database that is founded, in MB."),
    Key("database.data-checksums", Flag(), "true",
        "Whether a database that is founded has checksums on its pages, which show damage by the disk."),
    Key("database.programs",
        Table("section: program → file name", r"[a-z_]+", "a program", r"[A-Za-z0-9_.+-]+",
              "a file name in `database.bin-dir`, without a path", names=PROGRAMS,
              defaults={name: name for name in PROGRAMS}), "",
        "Names of the programs, where a build has others."),
    Key("database.parameters",
        Table("section: parameter → value", r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?",
              "a parameter of the database", r"[^\x00-\x1f\x7f]{0,1024}", "one line of text"), "",
        "Further parameters of the database. Those that safety depends on are refused."),
    Key("database.clone-rate", Whole(0, CLONE_RATE_MAX, "bytes per second"), "0",
        "How fast this host copies another one's database at most; 0: as fast as it goes."),
    Key("database.no-failover", Flag(), "false",
        "The database here never becomes primary by itself, and no transaction waits for it. A primary stays one."),
    Key("database.no-sync", Flag(), "false", "No transaction waits for the database here."),
    Key("database.no-load-balance", Flag(), "false",
        "Readers are not to be sent to the database here: load balancers are told that it is no replica."),
    Key("database.clone-from", Flag(), "false",
        "Copies for other nodes are made from the database here, before other replicas."),
    Key("database.priority", Whole(0, PRIORITY_MAX), "0",
        "Of the databases that have equally much WAL when the primary is lost, the one with the largest number takes "
        "over."),
    Key("database.replicate-from", Host(), None,
        "Address of the node whose database the one here follows instead of the primary, while that one follows it. "
        "No transaction waits for it then.", optional=True),
    Key("database.standby-user", Text("role name", _SQL_NAME, _SQL_NAME_RULE), None,
        "Role with which the databases of `cluster.standby-of` are read; not given: `superuser`.", optional=True),
    Key("database.standby-password-file", Path(), None,
        "File with that role's password; not given: `password-file`.", optional=True),
    Key("database.standby-ca-file", Path(), None,
        "Certificate of the authority (PEM) that issued those databases' certificates: then connections to them are "
        "encrypted and each database must prove its address. Not given: encrypted where the database offers it, and "
        "not verified.", optional=True),
)

ALGORITHMS = ("ffsplit", "lms", "2nodelms", "test")
TLS_MODES = ("off", "on", "required")
HEURISTICS_MODES = ("off", "sync", "on")
COMMANDS_MAX = 32
"""Commands of the heuristics, as corosync has it."""

BACKUP_TOOLS = ("plain", "pgbackrest")
_STANZA = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_STANZA_RULE = "letters, digits, dots, dashes and underscores"

_BACKUP = (
    Key("backup.dir", Path(), "/opt/qhb-backup/base",
        "Directory of the base backups, as a rule on the network, the same on all nodes. Of pgBackRest: `repo1-path`."),
    Key("backup.interval", Duration("0s", "8760h"), "24h",
        "Pause between the beginnings of two base backups, which a replica takes by itself; 0s: none is taken by "
        "itself."),
    Key("backup.keep", Whole(1, 10_000, "backups"), "7", "So many of the newest backups are kept, however old."),
    Key("backup.keep-for", Duration("0s", "87600h"), "168h",
        "To each moment of this span the database can be recovered: what that needs is kept."),
    Key("backup.compression", Whole(0, 9), "1", "Level of gzip; 0: not compressed."),
    Key("backup.tool", Choice(BACKUP_TOOLS), "plain",
        "What keeps backups and archive: plain needs nothing but the database's own programs and shared directories; "
        "pgbackrest, a program of its own, makes incremental and encrypted ones, also in an object store."),
    Key("backup.program", Path(), "/usr/bin/pgbackrest", "The program of pgBackRest."),
    Key("backup.stanza", Text("stanza", _STANZA, _STANZA_RULE), None,
        "Name of the database in pgBackRest's repository; not given: qluster- and the system id, so that each founding "
        "has one of its own.", optional=True),
    Key("backup.pgbackrest",
        Table("section: option → value", r"[a-z][a-z0-9]*(-[a-z0-9]+)*", "an option as pgBackRest spells it",
              r"[^\x00-\x1f\x7f]{0,1024}", "one line of text"), "",
        "Options of pgBackRest, such as `repo1-type`. Secrets are refused, and what the daemon decides."),
    Key("backup.pgbackrest-file", Path(), None,
        "File with further options in pgBackRest's own form, for those that are secret.", optional=True),
    Key("backup.full-interval", Duration("0s", "87600h"), "168h",
        "Of pgBackRest: pause between the beginnings of two full backups; those between them hold what has changed. "
        "0s: all are full."),
    Key("backup.increment", Choice(("incr", "diff")), "incr",
        "Of pgBackRest: a backup between two full ones holds what has changed since the last one (incr), or since the "
        "last full one (diff)."),
    Key("backup.found-from",
        Text("backup", r"newest|[0-9]{8}T[0-9]{6}Z|[0-9]{8}-[0-9]{6}F(_[0-9]{8}-[0-9]{6}[DI])?",
             "newest, or the label of a backup such as 20260131T020000Z"), None,
        "Backup that the founder recovers its database from; not given: it makes a new one.", optional=True),
    Key("backup.found-target",
        Text("target of a recovery",
             r"time [0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})"
             r"|lsn [0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}|name \S.{0,62}",
             "time 2026-01-31T12:00:00Z (with its zone), lsn 0/3000060 or name NAME", size_max=80), None,
        "Where that recovery ends; not given: at the newest WAL of the archive.", optional=True),
    Key("backup.found-system-id", Whole(1, (1 << 64) - 1), None,
        "System id of the database to recover, where the directory has backups of several.", optional=True),
    Key("backup.found-dir", Path(), None,
        "Directory of those backups; not given: `backup.dir`.", optional=True),
    Key("backup.found-archive-dir", Path(), None,
        "Archive that goes with them; not given: `database.wal-archive-dir`.", optional=True),
    Key("backup.found-stanza", Text("stanza", _STANZA, _STANZA_RULE), None,
        "Of pgBackRest: the stanza of those backups; not given: `backup.stanza`.", optional=True),
)

_POOL = (
    Key("pool.databases-file", Path(), "/etc/pgbouncer/qluster-databases.ini",
        "File that the daemon writes with the pool's target; the pool's configuration includes it."),
    Key("pool.host", Text("address or socket directory", r"/\S*|[0-9.]+|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*",
                          "an address, or the directory of the pool's Unix socket", size_max=100),
        "127.0.0.1",
        "Address, or directory of the Unix socket, of the pool's admin console."),
    Key("pool.port", Whole(1, 65535), "6432", "Port of the pool."),
    Key("pool.admin-user", Text("role name", _SQL_NAME, _SQL_NAME_RULE), "qluster",
        "User of the pool's admin console."),
    Key("pool.admin-password-file", Path(), f"{_ETC}/pool.password", "File with that user's password."),
    Key("pool.application-database", Text("database name", _SQL_NAME, _SQL_NAME_RULE), "application",
        "Database that the pool offers."),
    Key("pool.read-only-database", Text("database name", rf"({_SQL_NAME})?", _SQL_NAME_RULE), "",
        "Name under which the pool offers the same database for reading, at the replicas; empty: it does not."),
    Key("pool.read-only-maximum-lag", Whole(0, LAG_MAX, "bytes"), "16777216",
        "WAL by which a replica may be behind the primary before nobody reads from it."),
    Key("pool.read-only-fallback", Flag(), "true",
        "Whether clients read from the primary while no replica keeps up; else they wait."),
)

_DEVICE = (
    Key("device.model", Choice(("net",)), "net",
        "What the device is: an arbiter that is asked over the network, by corosync's protocol."),
    Key("device.host", Host(), None, "Address of the arbiter: QLUSTER's own or a corosync-qnetd."),
    Key("device.port", Whole(1, 65535), "5403", "Port of the arbiter."),
    Key("device.algorithm", Choice(ALGORITHMS), "ffsplit",
        "How the arbiter decides, the same on all nodes: `ffsplit` gives its vote to one half and refuses the other "
        "first, `lms` to the last that are left, `2nodelms` the same for two nodes, `test` to everybody. What `test` "
        "says never counts."),
    Key("device.tie-breaker",
        Text("tie-breaker", r"lowest|highest|[1-9][0-9]{0,9}", "lowest, highest or the number of a node"), "lowest",
        "Which node's half wins when halves are equal, the same on all nodes."),
    Key("device.keep-active-partition-tie-breaker", Flag(), "true",
        "Whether in a tie the half that has the vote keeps it."),
    Key("device.tls", Choice(TLS_MODES), "on",
        "Whether the connection is encrypted: never, when the arbiter can, or always. Only `required` protects."),
    Key("device.ca-file", Path(), f"{_ETC}/device-ca.crt",
        "Certificate of the authority (PEM) that issued the arbiter's certificate, which is for the name "
        "`Qnetd Server`."),
    Key("device.certificate-file", Path(), None,
        "Certificate to show to the arbiter (PEM), issued for the cluster's name. Not given: none is shown.",
        optional=True),
    Key("device.key-file", Path(), None, "Private key of that certificate (PEM).", optional=True),
    Key("device.timeout", Duration("1250ms", "1h"), "10s",
        "How long the device's word holds: it is repeated after half of it, and the arbiter is asked for a sign of "
        "life after 0.8 of it, at least each second and at most each two minutes."),
    Key("device.sync-timeout", Duration("1500ms", "1h"), "30s",
        "How long a change of the membership waits for the arbiter's word."),
    Key("device.connect-timeout", Duration("1s", "2m"), None,
        "For connecting, TLS and the arbiter's greeting together; not given: 0.8 of `timeout`.", optional=True),
    Key("device.watchdog-timeout", Duration("1s", "24h"), None,
        "After how long without quorum a watchdog resets this host, where one does, such as that of SBD. It is only "
        "compared with `sync-timeout`. The watchdog of the service looks at nothing but whether the daemon runs, and "
        "is not meant.", optional=True),
    Key("device.heuristics.mode", Choice(HEURISTICS_MODES), "off",
        "When this node's own checks run: never; with each new membership and connection (`sync`); and besides at an "
        "interval (`on`). In a tie the arbiter prefers who passes."),
    Key("device.heuristics.timeout", Duration("1s", "2m"), None,
        "For the checks at the start, after connecting and at the interval; not given: half of `device.timeout`.",
        optional=True),
    Key("device.heuristics.sync-timeout", Duration("1s", "2m"), None,
        "For the checks while a membership changes; not given: half of `device.sync-timeout`.", optional=True),
    Key("device.heuristics.interval", Duration("1s", "1h"), None,
        "Pause between two checks with `mode: on`; not given: three times `device.timeout`.", optional=True),
    Key("device.heuristics.exec",
        Table("section: name → command line", r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", "a name for the command",
              r"[^\x00-\x1f\x7f]{1,1024}", "one line of text", count_max=COMMANDS_MAX), "",
        "The checks: command lines, without a shell. They run at the same time, and all must end with code 0."),
)

_FENCING = (
    Key("fencing.hosts", FencedHosts(), None,
        "How each of the other nodes' hosts is switched off or rebooted, by its address. `levels` are tried in their "
        "order; a level is one agent or a list of agents that must all succeed; an agent has `agent` (the program), "
        "`parameters`, `secrets` (parameter: file that holds it) and `time-limit` (30s). `action`: `reboot` or "
        "`off`; `delay`: a span before the first shot (0s)."),
    Key("fencing.attempts", Whole(1, 6), "2", "How often a new leader tries all levels before fencing has failed."),
    Key("fencing.retry-pause", Duration("100ms", "5m"), "1s", "Pause between two attempts."),
    Key("fencing.when-failed", Choice(("lease", "wait")), "lease",
        "What a new leader does when every attempt failed: it goes on, as it would without agents, since the lease of "
        "the former primary has ended (lease); or it waits until that node gives word or an operator confirms that it "
        "is off (wait)."),
    Key("fencing.monitor-interval", Duration("10s", "24h"), "5m",
        "Pause between two looks whether the agents reach their devices."),
)

KEYS: tuple[Key, ...] = (
    _NODE + _UDP + _CLUSTER + _QUORUM + _API + _DATABASE + _BACKUP + _POOL + _DEVICE + _FENCING + TASK_KEYS
)
BY_PATH: dict[str, Key] = {key.path: key for key in KEYS}
