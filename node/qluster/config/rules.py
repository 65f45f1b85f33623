"""Rules between several keys: each is one function from a Config to the faults it finds.

They must not look at the host; that is ``edge/hostcheck.py``.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_address

from . import device
from .addresses import place_text
from .document import Fault
from .keys import CLONE_RATE_MIN, SLOT_PREFIX
from .kinds import duration_text
from .pgbackrest import refusal, secrecy
from .structure import Config

Rule = Callable[[Config], Iterator[Fault]]


def _timers(config: Config) -> Iterator[Fault]:
    """Twice `heartbeat-interval` is shorter than `node-timeout`; `pre-voting-timeout` is not longer than it;
    `replication-retry-interval` is shorter than it; with
    `autoremove-enabled: true`, `remove-interval` is longer than it, and with `last-man-standing: true` its window is;
    only one of these two is true."""
    cluster = config.cluster
    timeout, heartbeat = cluster.node_timeout, cluster.heartbeat_interval
    if heartbeat * 2 >= timeout:
        yield Fault("cluster.node-timeout", (
            f"is {duration_text(timeout)}, and cluster.heartbeat-interval is {duration_text(heartbeat)}: "
            f"one lost heartbeat would call an election. Use at least {duration_text(heartbeat * 3)}, "
            f"or a shorter heartbeat-interval."))
    if cluster.pre_voting_timeout > timeout:
        yield Fault("cluster.pre-voting-timeout", (
            f"is {duration_text(cluster.pre_voting_timeout)}, longer than cluster.node-timeout "
            f"({duration_text(timeout)}). Use at most {duration_text(timeout)}."))
    if cluster.replication_retry_interval >= timeout:
        yield Fault("cluster.replication-retry-interval", (
            f"is {duration_text(cluster.replication_retry_interval)}, not shorter than cluster.node-timeout "
            f"({duration_text(timeout)}): a lost entry would be repeated only after the leader is given up. "
            f"Use at most {duration_text(timeout / 2)}."))
    if cluster.autoremove_enabled and cluster.remove_interval <= timeout:
        yield Fault("cluster.remove-interval", (
            f"is {duration_text(cluster.remove_interval)}, not longer than cluster.node-timeout "
            f"({duration_text(timeout)}): a node would be removed before it counts as silent. "
            f"Use at least {duration_text(timeout * 2)}."))
    window = cluster.last_man_standing_window
    if cluster.last_man_standing and window <= timeout:
        yield Fault("cluster.last-man-standing-window", (
            f"is {duration_text(window)}, not longer than cluster.node-timeout ({duration_text(timeout)}): a node "
            f"would not be counted before it counts as silent. Use at least {duration_text(timeout * 2)}."))
    if cluster.last_man_standing and cluster.autoremove_enabled:
        yield Fault("cluster.last-man-standing", (
            "is true, and cluster.autoremove-enabled as well: one would let silent nodes rest until they are back, the "
            "other would remove them. Choose one of them."))


def _copies(config: Config) -> Iterator[Fault]:
    """With `quorum-replication: false` a `replication-factor` is given, and no more copies are asked for than
    there are nodes."""
    cluster, peers = config.cluster, config.udp.socket.peers
    if not cluster.quorum_replication and cluster.replication_factor == 0:
        yield Fault("cluster.replication-factor", (
            "is 0 while cluster.quorum-replication is false: nothing says how many nodes must have an entry. "
            "Set quorum-replication: true, or the number of nodes."))
    if peers and cluster.replication_factor > len(peers):
        yield Fault("cluster.replication-factor", (
            f"is {cluster.replication_factor}, but udp.socket.group lists {len(peers)} nodes: nothing could "
            f"ever be confirmed. Use at most {len(peers)}."))


def _wire(config: Config) -> Iterator[Fault]:
    """`pacing-rate` lets an entry of `max-log-size` pass within one `heartbeat-interval`."""
    udp, heartbeat = config.udp, config.cluster.heartbeat_interval
    seconds = udp.max_log_size / udp.socket.pacing_rate
    if seconds >= heartbeat:
        yield Fault("udp.socket.pacing-rate", (
            f"is {udp.socket.pacing_rate} bytes per second: one entry of udp.max-log-size "
            f"({udp.max_log_size} bytes) would hold up heartbeats for {duration_text(seconds)}. "
            f"Use at least {int(udp.max_log_size / heartbeat) * 4}."))


def _addresses(config: Config) -> Iterator[Fault]:
    """A list in `udp.socket.group` contains `ip` and `founder`, all of one address family; a listener is not the
    founder."""
    peers, founder = [host for host, _ in config.udp.socket.peers], config.cluster.founder
    if peers and config.ip not in peers:
        yield Fault("udp.socket.group", f"does not list this node's ip {config.ip}. List every node.")
    if peers and founder and founder not in peers:
        yield Fault("cluster.founder", (
            f"{founder} is not in the list udp.socket.group. Name one of its nodes."))
    others = [("udp.socket.group", config.udp.socket.group[0][0]), *([("cluster.founder", founder)] if founder else [])]
    for key, other in others:
        if ip_address(other).version != ip_address(config.ip).version:
            yield Fault(key, (
                f"{other} is IPv{ip_address(other).version}, ip {config.ip} is IPv{ip_address(config.ip).version}: "
                f"the nodes speak one of the two with each other. Use the same for both."))
    if founder == config.ip and config.role != "node":
        yield Fault("cluster.founder", (
            f"{founder} is this host, but its role is {config.role}, and a {config.role} cannot lead. "
            f"Name a node."))


def _ports(config: Config) -> Iterator[Fault]:
    """No two of the ports of one address are the same."""
    database, pool = config.database, config.pool
    if database and database.port == config.api_port:
        yield Fault("database.port", (
            f"{database.port} is also api-port, and both listen on {config.ip}. Use another port for one."))
    if pool and pool.port == config.api_port and pool.host == config.ip:
        yield Fault("pool.port", f"{pool.port} is also api-port, on the same address. Use another port.")
    if pool and database and pool.port == database.port and pool.host == config.ip:
        yield Fault("pool.port", f"{pool.port} is also database.port, on the same address. Use another port.")


def _directories(config: Config) -> Iterator[Fault]:
    """State, database, WAL archive and backups lie apart from each other, and none is the root directory."""
    places = [("state-dir", config.state_dir)]
    if config.database:
        places.append(("database.data-dir", config.database.data_dir))
    if config.database and config.database.wal_archive_dir:
        places.append(("database.wal-archive-dir", config.database.wal_archive_dir))
    if config.backup:
        places.append(("backup.dir", config.backup.dir))
    for key, path in places:
        if path == "/":
            yield Fault(key, "is the root of the file system. Use a directory of its own.")
    for number, (key, path) in enumerate(places):
        for other_key, other in places[number + 1:]:
            if path == other or path.startswith(other + "/") or other.startswith(path + "/"):
                yield Fault(other_key, (
                    f"{other} and {key} {path} lie in one another, and the database directory is emptied "
                    f"when it is cloned. Use directories apart from each other."))


def _roles(config: Config) -> Iterator[Fault]:
    """Superuser and application are two roles, and neither begins with `pg_`."""
    database = config.database
    if database and database.superuser == database.application_user:
        yield Fault("database.application-user", (
            f"{database.application_user} is also database.superuser: the application would own the cluster. "
            f"Use another name."))
    if database and database.application_user.startswith("pg_"):
        yield Fault("database.application-user", (
            f"{database.application_user} begins with pg_, which the database keeps for itself. "
            f"Use another name."))
    if database and database.superuser.startswith("pg_"):
        yield Fault("database.superuser", (
            f"{database.superuser} begins with pg_, which the database keeps for itself. Use another name."))


def _pool(config: Config) -> Iterator[Fault]:
    """The pool offers its two databases under two names."""
    pool = config.pool
    if pool and pool.read_only_database == pool.application_database:
        yield Fault("pool.read-only-database", (
            f"{pool.read_only_database} is also pool.application-database: the pool could not tell who only reads. "
            f"Use another name, such as {pool.application_database}_ro."))


def _backups(config: Config) -> Iterator[Fault]:
    """A section `backup` stands beside a section `database` with a `wal-archive-dir`; a target, a system id or another
    place to found from goes with `found-from`."""
    backup, database = config.backup, config.database
    if backup is None:
        return
    if database is None:
        yield Fault("backup.dir", "is given, and there is no section database: this host has nothing to back up. "
                                  "Remove the section backup.")
    elif not database.wal_archive_dir and not backup.by_pgbackrest:
        yield Fault("database.wal-archive-dir", (
            "is empty, and there is a section backup: without archived WAL a backup brings back only its own moment. "
            "Name the archive's directory."))
    others = [("found-target", backup.found_target), ("found-system-id", backup.found_system_id),
              ("found-dir", backup.found_dir), ("found-archive-dir", backup.found_archive_dir),
              ("found-stanza", backup.found_stanza)]
    for key, value in others:
        if value is not None and backup.found_from is None:
            yield Fault(f"backup.{key}", (
                f"{value} is given, and found-from is not. Say found-from: newest, or remove it."))
    if (backup.found_dir is None) != (backup.found_archive_dir is None) and not backup.by_pgbackrest:
        yield Fault("backup.found-dir", "and found-archive-dir belong together: name both, or none of them.")


def _backup_tool(config: Config) -> Iterator[Fault]:
    """Options of pgBackRest stand where `backup.tool` is pgbackrest, without secrets and without what the daemon
    decides."""
    backup = config.backup
    if backup is None:
        return
    if backup.by_pgbackrest:
        for option, value in backup.pgbackrest.items():
            if reason := refusal(option) or secrecy(option):
                yield Fault("backup.pgbackrest", f"{option}{'' if secrecy(option) else f': {value}'} cannot be set "
                                                 f"here: {reason}.")
        if backup.found_archive_dir is not None:
            yield Fault("backup.found-archive-dir", f"{backup.found_archive_dir} is given, and pgBackRest's archive "
                                                    "lies in its repository. Remove it.")
        return
    others = [("stanza", backup.stanza), ("pgbackrest", backup.pgbackrest), ("found-stanza", backup.found_stanza),
              ("pgbackrest-file", backup.pgbackrest_file)]
    for key, given in others:
        if given:
            yield Fault(f"backup.{key}", "is given, and backup.tool is plain. Say tool: pgbackrest, or remove it.")


def _replicas(config: Config) -> Iterator[Fault]:
    """`clone-rate` is 0 or at least 32768; `replicate-from` is another host, of the address family of `ip`."""
    database = config.database
    if database is None:
        return
    if 0 < database.clone_rate < CLONE_RATE_MIN:
        yield Fault("database.clone-rate", (
            f"is {database.clone_rate} bytes per second: the database's program copies at no less than "
            f"{CLONE_RATE_MIN}. Use that, or 0 for no limit."))
    source = database.replicate_from
    if source == config.ip:
        yield Fault("database.replicate-from", f"{source} is this host. Name another node, or remove the key.")
    elif source and ip_address(source).version != ip_address(config.ip).version:
        yield Fault("database.replicate-from", (
            f"{source} is IPv{ip_address(source).version}, ip {config.ip} is IPv{ip_address(config.ip).version}. "
            f"Name a node by its key ip."))


def _standby(config: Config) -> Iterator[Fault]:
    """`standby-of` names databases of others, and nothing else is given to found from; `standby-slot` does not begin
    with `qluster_`; `standby-user` and `standby-password-file` are given together."""
    cluster, database, backup = config.cluster, config.database, config.backup
    if cluster.standby_slot.startswith(SLOT_PREFIX):
        yield Fault("cluster.standby-slot", (
            f"{cluster.standby_slot} begins with {SLOT_PREFIX}: a cluster of this kind drops such slots when they are "
            f"not those of its own nodes. Use another name, such as site_b."))
    if database is None:
        return
    if (config.ip, database.port) in cluster.standby_of:
        yield Fault("cluster.standby-of", (
            f"{place_text(config.ip, database.port)} is the database of this host. Name those of the other "
            f"installation."))
    if cluster.standby_of and backup is not None and backup.found_from is not None:
        yield Fault("backup.found-from", (
            f"{backup.found_from} is given, and cluster.standby-of as well: the cluster would be founded from both. "
            f"Remove one of them."))
    if (database.standby_user is None) != (database.standby_password_file is None):
        yield Fault("database.standby-user", (
            "and standby-password-file belong together: give both, or none of them."))


def _fencing(config: Config) -> Iterator[Fault]:
    """`fencing.hosts` names other hosts than this one, of the address family of `ip`."""
    for host in config.fencing.hosts if config.fencing else ():
        if host == config.ip:
            yield Fault("fencing.hosts", f"names {host}, which is this host: a node never fences itself. Remove it.")
        elif ip_address(host).version != ip_address(config.ip).version:
            yield Fault("fencing.hosts", (
                f"{host} is IPv{ip_address(host).version}, ip {config.ip} is IPv{ip_address(config.ip).version}. "
                f"Name a node by its key ip."))


def _quorum(config: Config) -> Iterator[Fault]:
    """`two_node` goes without `auto_tie_breaker`, and `auto_tie_breaker_node` not without it; a list of nodes there
    names each once. Beside a section `device` stand neither of these nor `last_man_standing` and `allow_downscale`."""
    quorum = config.quorum
    if quorum.two_node and quorum.auto_tie_breaker:
        yield Fault("quorum.two_node", "and auto_tie_breaker are both given: one lets either node go on, the other "
                                       "only the one it names. Remove one of them.")
    if config.device is not None and quorum.provider == "votequorum":
        for key in ("two_node", "last_man_standing", "auto_tie_breaker", "allow_downscale"):
            if getattr(quorum, key):
                yield Fault(f"quorum.{key}", f"and a section device are both given: each would decide without the "
                                             f"other. Remove {key}.")
    nodes = quorum.auto_tie_breaker_node.split()
    if len(set(nodes)) < len(nodes):
        yield Fault("quorum.auto_tie_breaker_node", f"{quorum.auto_tie_breaker_node} names a node twice. Name each "
                                                    "once.")
    if not quorum.auto_tie_breaker and quorum.auto_tie_breaker_node != "lowest":
        yield Fault("quorum.auto_tie_breaker_node", f"{quorum.auto_tie_breaker_node} is given, and auto_tie_breaker "
                                                    "is not. Say auto_tie_breaker: true, or remove it.")


def _tasks(config: Config) -> Iterator[Fault]:
    """`tasks.program-roles` goes with `tasks.user`, and names no superuser; nobody is root unless a task says so.

    Dask's user needs a certificate of its own: it can read neither the daemon's key nor its directory.
    """
    tasks = config.tasks
    if tasks is None:
        return
    for key, user in (("tasks.user", tasks.user), ("tasks.dask-user", tasks.dask_user)):
        if user == "root":
            yield Fault(key, "is root, who can read all secrets of this host. Name a user of its own.")
    proofs = {"tasks.dask-certificate-file": tasks.dask_certificate_file, "tasks.dask-key-file": tasks.dask_key_file,
              "tasks.dask-ca-file": tasks.dask_ca_file}  # fmt: skip
    lacking = [key for key, file in proofs.items() if not file]
    if lacking and (tasks.dask_user or len(lacking) < len(proofs)):
        yield Fault(lacking[0], "is not given: Dask has certificate, key and authority of its own or, without "
                                "tasks.dask-user, none of them. Name the file.")
    if tasks.dask_user and not tasks.dask_dir:
        yield Fault("tasks.dask-dir", f"is not given: {tasks.dask_user} must be able to pass through it, and not "
                                      f"through tasks.dir. Name a directory with `home` for that user.")
    if tasks.program_roles and not tasks.user:
        yield Fault("tasks.program-roles", "is given, and tasks.user is not: programs are the task runner's user then, "
                                           "who logs in as anybody. Name tasks.user, or remove it.")
    if config.database is not None and config.database.superuser in tasks.program_roles:
        yield Fault("tasks.program-roles", f"names {config.database.superuser}, the superuser, who can read the "
                                           f"database's files. Name roles that have what programs need.")


RULES: tuple[Rule, ...] = (
    _timers, _copies, _wire, _addresses, _ports, _directories, _roles, _pool, _backups,
    _backup_tool, _replicas, _standby, _quorum, *device.RULES, _fencing, _tasks,
)


def faults(config: Config) -> list[Fault]:
    """Everything that is wrong between keys."""
    return [fault for rule in RULES for fault in rule(config)]
