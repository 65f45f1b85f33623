"""The texts that configure a server."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import shlex

import msgspec
import pytest
from msgspec.structs import replace
from qluster.config import PROGRAMS, Database
from qluster.database.orders import Outside, Terms
from qluster.database.settings import (
    DEFAULTS,
    RETRY,
    RETRY_FOLLOWING,
    SAFETY,
    access_rules,
    archive_command,
    connection_text,
    conninfo_in,
    identity_map,
    lets_clients_in,
    refused_parameters,
    server_settings,
    settings_text,
    upstream_of,
)
from qluster.database.ways import way_to

DATABASE = Database(
    bin_dir="/usr/lib/postgresql/15/bin",
    library_dir="",
    data_dir="/opt/qhb-data",
    wal_archive_dir="/opt/qhb-backup/wal",
    socket_dir="/run/qluster",
    port=5432,
    superuser="qluster",
    password_file="/etc/qluster/database.password",
    application_user="app",
    application_password_file="/etc/qluster/application.password",
    application_database="app",
    client_networks=("10.0.0.0/8", "192.0.2.7"),
    programs={name: name for name in PROGRAMS},
    parameters={},
)


def with_parameters(**parameters: str) -> Database:
    return replace(DATABASE, parameters=parameters)


@pytest.mark.parametrize("name", sorted(SAFETY))
def test_no_setting_of_safety_can_be_changed_by_hand(name: str) -> None:
    faults = refused_parameters({name.upper(): "x"})
    assert len(faults) == 1 and f"{name.upper()} cannot be set to 'x'" in faults[0]
    with pytest.raises(ValueError, match="cannot be set"):
        server_settings(with_parameters(**{name: "x"}), "10.0.0.1", Terms())


@pytest.mark.parametrize(
    ("name", "value"),
    [("synchronous_commit", "remote_write"), ("wal_level", "minimal"), ("work_mem", "1MB\nfsync = off"), ("a b", "1")],
)
def test_a_dangerous_value_is_refused(name: str, value: str) -> None:
    assert refused_parameters({name: value})


def test_every_default_can_be_changed() -> None:
    assert refused_parameters(dict.fromkeys(DEFAULTS, "1")) == []
    assert server_settings(with_parameters(WAL_KEEP_SIZE="2GB"), "10.0.0.1", Terms())["wal_keep_size"] == "2GB"
    assert server_settings(with_parameters(wal_level="logical"), "10.0.0.1", Terms())["wal_level"] == "logical"


def test_standby_and_primary_differ_in_the_upstream_only() -> None:
    primary = server_settings(DATABASE, "10.0.0.1", Terms())
    standby = server_settings(DATABASE, "10.0.0.1", Terms(), primary_conninfo="host=10.0.0.2")
    assert {key for key in primary if primary[key] != standby[key]} == {"primary_conninfo", RETRY}


def test_a_standby_looks_more_often_for_an_upstream_than_for_files_unless_told_otherwise() -> None:
    def interval(database: Database, conninfo: str) -> str:
        return server_settings(database, "10.0.0.1", Terms(), primary_conninfo=conninfo)[RETRY]

    assert interval(DATABASE, "host=10.0.0.2") == RETRY_FOLLOWING and interval(DATABASE, "") == DEFAULTS[RETRY]
    told = with_parameters(Wal_Retrieve_Retry_Interval="3s")
    assert interval(told, "host=10.0.0.2") == interval(told, "") == "3s"


def test_without_archive_directory_nothing_is_archived() -> None:
    assert server_settings(DATABASE, "10.0.0.1", Terms())["archive_mode"] == "off"
    assert server_settings(DATABASE, "10.0.0.1", Terms(), archive="x")["archive_mode"] == "on"


def test_a_standby_has_at_least_what_its_primary_had() -> None:
    least = [("max_connections", 300), ("max_wal_senders", 5), ("max_worker_processes", 8)]
    settings = server_settings(with_parameters(max_connections="100"), "10.0.0.1", Terms(), least=least)
    assert settings["max_connections"] == "300"
    assert settings["max_wal_senders"] == DEFAULTS["max_wal_senders"]
    assert "max_worker_processes" not in settings


def test_the_upstream_is_read_back_from_the_file() -> None:
    conninfo = connection_text(("10.0.0.2", 5433), "ql'u", "node2", "/var/my state\\x/pass")
    text = settings_text(server_settings(DATABASE, "10.0.0.1", Terms(), primary_conninfo=conninfo))
    assert conninfo_in(text) == conninfo
    assert upstream_of(conninfo) == "10.0.0.2:5433"
    assert "password" not in conninfo


def test_database_outside_is_reached_by_its_own_role_and_under_a_name_of_the_cluster() -> None:
    there = ("198.51.100.1", 5432)
    terms = Terms("node2", outside=Outside((there,), "beta", "site_b"))
    far = replace(
        DATABASE, standby_user="far", standby_password_file="/far", standby_ca_file="/ca.crt"
    )
    way = way_to(far, there, terms)
    assert (way.user, way.password_file, way.slot, way.outside) == ("far", "/far", "site_b", True)
    text = way.connection_text("/pass", "-clone")
    assert "application_name=beta.node2-clone" in text and "sslmode=verify-full sslrootcert=/ca.crt" in text
    near = way_to(far, ("10.0.0.2", 5432), terms)
    assert (near.user, near.name, near.slot, near.outside) == (DATABASE.superuser, "node2", "qluster_node2", False)
    assert "ssl" not in near.connection_text("/pass")
    assert way_to(DATABASE, there, terms).user == DATABASE.superuser
    assert way_to(DATABASE, there, Terms("node2")).name == "node2", "of a cluster that follows nobody"


@pytest.mark.parametrize(
    ("text", "upstream"),
    [
        ("", None),
        ("user=x", None),
        ("host=a", "a:5432"),
        ("host = 'a' port=1", "a:1"),
        ("passfile='/host=x' host=b port=2", "b:2"),
        ("host='' port=2", None),
    ],
)
def test_an_upstream_is_host_and_port(text: str, upstream: str | None) -> None:
    assert upstream_of(text) == upstream


def test_quotes_in_values_are_doubled() -> None:
    assert "x = 'it''s a \\\\ path'" in settings_text({"x": "it's a \\ path"})


def test_the_archive_command_keeps_words_with_spaces_together() -> None:
    command = archive_command(["/usr/bin/python3", "-I", "/a b/100%/archive.py", "/net/wal archive", "77"])
    as_the_server_does = command.replace("%%", "%").replace("%p", "pg_wal/0001").replace("%f", "0001")
    assert shlex.split(as_the_server_does) == [
        "/usr/bin/python3",
        "-I",
        "/a b/100%/archive.py",
        "/net/wal archive",
        "77",
        "pg_wal/0001",
        "0001",
    ]


def test_access_is_by_system_user_here_and_by_password_from_elsewhere() -> None:
    rules = access_rules(DATABASE, ["10.0.0.3", "10.0.0.2", "2001:db8::1"])
    lines = [line for line in rules.splitlines() if not line.startswith("#")]
    assert lines[0] == 'local all "qluster" peer map=qluster'
    assert 'host replication "qluster" 10.0.0.2/32 scram-sha-256' in lines
    assert 'host all "qluster" 2001:db8::1/128 scram-sha-256' in lines
    assert "host all all 192.0.2.7/32 scram-sha-256" in lines
    assert not [line for line in lines if "trust" in line or line.endswith("md5")]
    assert lets_clients_in(rules) and not lets_clients_in(access_rules(DATABASE, ["10.0.0.3"], admits=False))
    assert identity_map(DATABASE, "qhb").endswith('qluster "qhb" "qluster"\n')


def test_roles_of_tasks_are_those_of_the_runner_while_clients_are_let_in() -> None:
    database = msgspec.structs.replace(DATABASE, task_roles=("reporting", 'a"b', "/x"))
    lines = access_rules(database, []).splitlines()
    at = lines.index('local all "reporting" peer map=qluster-tasks')
    assert at < lines.index("local all all scram-sha-256")
    assert not [line for line in lines if 'a"b' in line or "/x" in line]
    assert "reporting" not in access_rules(database, [], admits=False)
    assert identity_map(database, "qhb").endswith('qluster-tasks "qhb" "reporting"\n')


def test_programs_of_tasks_are_roles_of_their_own_and_not_those_of_sql() -> None:
    database = msgspec.structs.replace(DATABASE, task_roles=("reporting", "both"), program_users=("qluster-task",),
                                       program_roles=("dumper", "both", 'a"b'))  # fmt: skip
    lines = access_rules(database, []).splitlines()
    for role in ("reporting", "both", "dumper"):
        assert lines.count(f'local all "{role}" peer map=qluster-tasks') == 1
    found = {tuple(line.split()[1:]) for line in identity_map(database, "qhb").splitlines() if "qluster-tasks" in line}
    assert found == {('"qhb"', '"reporting"'), ('"qhb"', '"both"'), ('"qluster-task"', '"dumper"'),
                     ('"qluster-task"', '"both"')}  # fmt: skip
