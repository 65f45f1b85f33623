"""The settings that a database server here must have, and the texts of its configuration files.

It must not know the host: paths, the system user and the archive program are arguments.

All settings of ours stand in one file of our own, ``qluster.conf``, which is replaced as a whole and
included at the end of ``postgresql.conf``. A standby and a primary have the same settings but for
``primary_conninfo``, so that a promotion needs no restart.

There is no ``restore_command`` while a server runs here. Recovery reads the archive before it asks the
upstream, and a primary that was cut off may have archived segments of its old timeline beyond the
place where the new one begins: a standby that reads those has diverged for good. The archive is for
pg_rewind (which reads the node's own past) and for people.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network

from qluster.config import Database
from qluster.database.orders import Terms
from qluster.events import Address

FILE_NAME = "qluster.conf"

RETRY = "wal_retrieve_retry_interval"
RETRY_FOLLOWING = "100ms"
"""Where there is an upstream: a primary that was started again admits its clients when the standbys are back, so
they look often. A standby without upstream looks for files only, and logs each look."""

DEFAULTS: Mapping[str, str] = {
    "max_wal_senders": "16",
    # One for each node of the largest cluster, and some for others.
    "max_replication_slots": "80",
    # What a replica may miss whose slot is gone.
    "wal_keep_size": "1GB",
    # A slot of a replica that went away must not fill a disk.
    "max_slot_wal_keep_size": "8GB",
    # Half of what a client waits for, so that a dead link is seen by both of its ends.
    "wal_sender_timeout": "10s",
    "wal_receiver_timeout": "10s",
    "wal_receiver_status_interval": "1s",
    RETRY: "500ms",
    # What a quiet database has written is in the archive after so long: what the loss of all hosts may cost.
    "archive_timeout": "300s",
    "hot_standby_feedback": "on",
    # Compiled queries need memory that is writable and executable; the unit forbids it.
    "jit": "off",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "4",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_checkpoints": "on",
    "log_lock_waits": "on",
    "logging_collector": "off",
}
"""What an operator may change by ``database.parameters``."""

STANDBY_DEFAULTS: Mapping[str, str] = {
    "max_connections": "100",
    "max_worker_processes": "8",
    "max_wal_senders": "10",
    "max_prepared_transactions": "0",
    "max_locks_per_transaction": "64",
}
"""The server's own defaults of what a standby must have as large as its primary."""

SAFETY: Mapping[str, str] = {
    "listen_addresses": "the node's address is config key ip",
    "port": "use config key database.port",
    "unix_socket_directories": "use config key database.socket-dir",
    "data_directory": "use config key database.data-dir",
    "config_file": "the daemon writes it",
    "hba_file": "the daemon writes pg_hba.conf; use config key database.client-networks",
    "ident_file": "the daemon writes pg_ident.conf",
    "external_pid_file": "the daemon finds the server by its own file",
    "primary_conninfo": "the log decides which node is followed",
    "primary_slot_name": "the daemon decides it",
    "restore_command": "a standby could read WAL of a primary that was cut off",
    "recovery_end_command": "the daemon decides when recovery ends",
    "archive_cleanup_command": "the archive belongs to all nodes",
    "recovery_min_apply_delay": "a delayed replica cannot be promoted at once",
    "recovery_target": "a replica follows to the end",
    "recovery_target_action": "a replica follows to the end",
    "recovery_target_inclusive": "a replica follows to the end",
    "recovery_target_lsn": "a replica follows to the end",
    "recovery_target_name": "a replica follows to the end",
    "recovery_target_time": "a replica follows to the end",
    "recovery_target_timeline": "a replica follows the primary to its timeline",
    "recovery_target_xid": "a replica follows to the end",
    "promote_trigger_file": "only the log makes a primary",
    "synchronous_standby_names": "the cluster decides it",
    "hot_standby": "the daemon asks replicas for their position",
    "fsync": "without it an acknowledged transaction can be lost",
    "full_page_writes": "without it a crash can damage the database",
    "wal_log_hints": "pg_rewind needs it",
    "data_sync_retry": "a failed fsync must end the server",
    "ignore_invalid_pages": "it hides damage",
    "ignore_checksum_failure": "it hides damage",
    "zero_damaged_pages": "it destroys data",
    "restart_after_crash": "the daemon decides whether a server may come back as primary",
    "archive_mode": "use config key database.wal-archive-dir",
    "archive_command": "use config key database.wal-archive-dir",
    "archive_library": "use config key database.wal-archive-dir",
    "allow_alter_system": "the daemon takes back what it must not be changed to",
    "lc_messages": "the daemon and its users read English messages of the server",
}
"""What an operator may not change, and what to do instead or why."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    # remote_write acknowledges what no standby has made durable.
    "synchronous_commit": ("on", "remote_apply", "local", "off"),
    # minimal leaves nothing to replicate.
    "wal_level": ("replica", "logical"),
}
"""What remains of these parameters' values."""

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?")


def refused_parameters(parameters: Mapping[str, str]) -> list[str]:
    """A sentence for each parameter that must not be set by hand."""
    faults = ((name, refusal(name, value)) for name, value in parameters.items())
    return [f"database.parameters.{name}{fault}" for name, fault in faults if fault]


def refusal(name: str, value: str) -> str:
    """What is wrong with setting a parameter so by hand, to be read after its name; "" when nothing is."""
    plain = name.lower()
    if _PLAIN.fullmatch(name) is None or "\n" in value or "\0" in value:
        return f": {value!r} is no name and value of one line"
    if plain in SAFETY:
        return f" cannot be set to {value!r}: {SAFETY[plain]}"
    if plain in CHOICES and value not in CHOICES[plain]:
        return f" is {value!r}: use one of {', '.join(CHOICES[plain])}"
    return ""


def operator_parameters(database: Database, terms: Terms) -> dict[str, str]:
    """What operators set: config.yaml, and before it the log of the cluster.

    What this version refuses of the log is passed over: another version's leader took it.
    """
    found = {name.lower(): value for name, value in database.parameters.items()}
    return found | {name: value for name, value in terms.parameters if not refusal(name, value)}


def held_back(parameters: Mapping[str, str], least: Sequence[tuple[str, int]]) -> tuple[str, ...]:
    """Parameters that a standby has larger than it is told, because the primary had them so."""
    return tuple(name for name, value in least if _lower(parameters.get(name, _own_default(name)), value))


def _own_default(name: str) -> str:
    return DEFAULTS.get(name, STANDBY_DEFAULTS[name])


def _lower(value: str, least: int) -> bool:
    return value.isdecimal() and int(value) < least


def server_settings(
    database: Database,
    ip: str,
    terms: Terms,
    *,
    archive: str = "",
    primary_conninfo: str = "",
    primary_slot: str = "",
    least: Sequence[tuple[str, int]] = (),
    sync_file_systems: bool = False,
    parameters: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """All settings of ours; ``archive`` is the archive command, "" for no archive.

    ``least``: what a standby must at least have, because the primary had it: it would not start with less.
    ``sync_file_systems``: the server knows syncfs, and this system reports its errors.
    ``parameters``: what operators set, when it is not what file and log say.
    """
    faults = refused_parameters(database.parameters)
    if faults:
        raise ValueError("; ".join(faults))
    settings = dict(DEFAULTS)
    if primary_conninfo:
        settings[RETRY] = RETRY_FOLLOWING
    if sync_file_systems:
        settings["recovery_init_sync_method"] = "syncfs"
    parameters = operator_parameters(database, terms) if parameters is None else parameters
    settings.update(parameters)
    held = held_back(parameters, least)
    settings.update({name: str(value) for name, value in least if name in held})
    settings.update(
        {
            "listen_addresses": ip,
            "port": str(database.port),
            "unix_socket_directories": database.socket_dir,
            "wal_level": settings.get("wal_level", "replica"),
            "hot_standby": "on",
            "fsync": "on",
            "full_page_writes": "on",
            "wal_log_hints": "on",
            "restart_after_crash": "off",
            "password_encryption": "scram-sha-256",
            "lc_messages": "C",
            "archive_mode": "on" if archive else "off",
            "archive_command": archive,
            "restore_command": "",
            "recovery_target_timeline": "latest",
            "synchronous_standby_names": terms.synchronous,
            "primary_conninfo": primary_conninfo,
            "primary_slot_name": primary_slot if primary_conninfo else "",
        }
    )
    return settings


def settings_text(settings: Mapping[str, str]) -> str:
    """The text of ``qluster.conf``."""
    lines = ["# Written by the qluster daemon at every change; what is edited here is lost."]
    lines += [f"{name} = {_quoted(value)}" for name, value in sorted(settings.items())]
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    """A value as in postgresql.conf: quotes doubled, backslashes too."""
    assert "\n" not in value and "\0" not in value, "a setting is one line"
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def connection_text(
    upstream: Address, user: str, name: str, pass_file: str, more: Mapping[str, str] | None = None
) -> str:
    """``primary_conninfo``: the password stands in a file, so that no view shows it. ``more``: fields beside those."""
    fields = {
        "host": upstream[0],
        "port": str(upstream[1]),
        "user": user,
        "application_name": name,
        "passfile": pass_file,
        "connect_timeout": "5",
        "keepalives_idle": "5",
        "keepalives_interval": "2",
        "keepalives_count": "3",
        **(more or {}),
    }
    return conninfo_text(fields)


def conninfo_text(fields: Mapping[str, str]) -> str:
    """Fields of a connection as libpq reads them."""
    return " ".join(f"{key}={_conninfo_quoted(value)}" for key, value in fields.items() if value)


def _conninfo_quoted(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_./:-]+", value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


_CONNINFO = re.compile(r"(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|[^\s']+)")


def upstream_of(primary_conninfo: str) -> str | None:
    """"host:port" of a ``primary_conninfo``; None when it names no host."""
    fields = {key: value.strip("'") for key, value in _CONNINFO.findall(primary_conninfo)}
    if not fields.get("host"):
        return None
    return f"{fields['host']}:{fields.get('port', '5432')}"


def conninfo_in(text: str) -> str:
    """The ``primary_conninfo`` that a ``qluster.conf`` sets; "" when none."""
    match = re.search(r"^primary_conninfo = '(.*)'$", text, re.MULTILINE)
    return match[1].replace("''", "'").replace("\\\\", "\\") if match else ""


def archive_command(words: Sequence[str]) -> str:
    """``archive_command`` for a program that takes the file's path and its name after these words."""
    return f'{_shell_text(words)} "%p" "%f"'


def restore_command(words: Sequence[str]) -> str:
    """``restore_command`` for a program that takes a file's name and where to put it after these words."""
    return f'{_shell_text(words)} "%f" "%p"'


def _shell_text(words: Sequence[str]) -> str:
    return " ".join(shlex.quote(word.replace("%", "%%")) for word in words)


TASK_MAP = "qluster-tasks"
"""Name of the map by which the task runner, and the programs that it runs, are the roles that they may have."""
_CLIENTS = "local all all scram-sha-256"
"""The rule that is there only where clients are let in."""


def lets_clients_in(rules: str) -> bool:
    """Whether :func:`access_rules` wrote these for a server that admits clients."""
    return _CLIENTS in rules.splitlines()


def access_rules(database: Database, members: Sequence[str], *, admits: bool = True) -> str:
    """The text of ``pg_hba.conf``: peers of this host by their system user, everybody else by SCRAM.

    Without ``admits`` nobody but the cluster itself gets in.
    """
    user = f'"{database.superuser}"'
    lines = [
        "# Written by the qluster daemon at every start; what is edited here is lost.",
        "# Clients: config key database.client-networks. Members of the cluster are added by themselves.",
        f"local all {user} peer map=qluster",
        f"local replication {user} peer map=qluster",
    ]
    if admits:
        roles = dict.fromkeys((*_plain(database.task_roles), *_plain(database.program_roles)))
        lines += [f'local all "{role}" peer map={TASK_MAP}' for role in roles]
        lines.append(_CLIENTS)
    for network in sorted({_network(member) for member in members}):
        lines.append(f"host all {user} {network} scram-sha-256")
        lines.append(f"host replication {user} {network} scram-sha-256")
    for network in database.client_networks if admits else ():
        lines.append(f"host all all {_network(network)} scram-sha-256")
        lines.append(f"host replication {user} {_network(network)} scram-sha-256")
    return "\n".join(lines) + "\n"


def _network(text: str) -> str:
    if "/" in text:
        return str(ip_network(text, strict=False))
    address = ip_address(text)
    return f"{address}/{address.max_prefixlen}"


def _plain(roles: Sequence[str]) -> list[str]:
    """Without those whose names would be something else in these files."""
    return [role for role in roles if '"' not in role and not role.startswith("/")]


def identity_map(database: Database, system_user: str) -> str:
    """The text of ``pg_ident.conf``: the daemon's own system user, and no other, is the superuser.

    It is the roles of tasks' SQL too: they log in as themselves, for whoever logs in as a superuser and only sets his
    role can set it back. Programs of tasks are another system user, with roles of its own.
    """
    programs = [(user, role) for user in database.program_users for role in _plain(database.program_roles)]
    lines = [
        "# Written by the qluster daemon at every start; what is edited here is lost.",
        f'qluster "{system_user}" "{database.superuser}"',
        *(f'{TASK_MAP} "{system_user}" "{role}"' for role in _plain(database.task_roles)),
        *(f'{TASK_MAP} "{user}" "{role}"' for user, role in programs),
    ]
    return "\n".join(lines) + "\n"
