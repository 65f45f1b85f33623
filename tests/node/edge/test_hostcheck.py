"""What of a configuration does not fit a host, on real files, sockets and certificates."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import datetime
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from msgspec.structs import replace
from qluster.config import Config, parse
from qluster.edge.disk import Disk
from qluster.edge.hostcheck import findings

IP = "127.0.0.1"
SECRETS = ("cluster.key", "read.token", "operate.token", "database.password", "application.password", "pool.password")


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((IP, 0))
        return int(probe.getsockname()[1])


@dataclass
class Host:
    """A host on which everything fits, until a test spoils it."""

    root: Path
    authority: trustme.CA
    config: Config

    def finding(self, *, starting: bool = False) -> str:
        """The only finding."""
        (found,) = findings(self.config, starting=starting)
        return found

    def all(self, *, starting: bool = False) -> list[str]:
        return findings(self.config, starting=starting)


def issue(host_authority: trustme.CA, root: Path, *names: str, **more: object) -> None:
    certificate = host_authority.issue_cert(*names, **more)  # type: ignore[arg-type]
    certificate.private_key_pem.write_to_path(str(root / "api.key"))
    (root / "api.crt").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    (root / "api.key").chmod(0o600)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    for place in ("bin", "archive", "pool"):
        (tmp_path / place).mkdir()
    for name in ("initdb", "pg_ctl", "postgres", "pg_basebackup", "pg_rewind", "pg_controldata"):
        (tmp_path / "bin" / name).write_text("#!/bin/sh\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "cluster.key").write_text(f"1:{base64.b64encode(bytes(range(32))).decode()}\n")
    for number, name in enumerate(SECRETS[1:]):
        (tmp_path / name).write_text(f"{number}-a-long-enough-secret\n")
    for name in SECRETS:
        (tmp_path / name).chmod(0o600)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    issue(authority, tmp_path, IP)
    return Host(tmp_path, authority, parse(_text(tmp_path), "config.yaml"))


def _text(root: Path) -> str:
    return f"""
ip: {IP}
api-port: {free_port()}
state-dir: {root}/state
udp: {{socket: {{group: "239.19.76.1:{free_port(socket.SOCK_DGRAM)}", interface: lo}}}}
cluster: {{key-file: {root}/cluster.key}}
api: {{certificate-file: {root}/api.crt, key-file: {root}/api.key, ca-file: {root}/ca.crt,
      read-token-file: {root}/read.token, operate-token-file: {root}/operate.token}}
database: {{bin-dir: {root}/bin, data-dir: {root}/data, wal-archive-dir: {root}/archive, socket-dir: {root}/run,
           port: {free_port()}, password-file: {root}/database.password,
           application-password-file: {root}/application.password}}
pool: {{databases-file: {root}/pool/databases.ini, admin-password-file: {root}/pool.password}}
"""


def test_host_on_which_everything_fits(host: Host) -> None:
    assert host.all() == []
    root_only = [line for line in host.all(starting=True) if "refuses to run as root" not in line]
    assert root_only == []


def test_looking_changes_nothing(host: Host) -> None:
    before = sorted(host.root.rglob("*"))
    host.all(starting=True)
    assert sorted(host.root.rglob("*")) == before


# --- network ----------------------------------------------------------------------


def test_interface_that_does_not_exist_is_named_with_those_that_do(host: Host) -> None:
    udp = host.config.udp
    host.config = replace(host.config, udp=replace(udp, socket=replace(udp.socket, interface="nosuch0")))
    assert host.finding().startswith("udp.socket.interface: nosuch0 is not on this host. It has: lo")


def test_address_of_another_host_is_named(host: Host) -> None:
    issue(host.authority, host.root, "192.0.2.77")
    host.config = replace(host.config, ip="192.0.2.77")
    assert host.finding().startswith("ip: 192.0.2.77 is no address of this host.")


@pytest.mark.parametrize(("kind", "key"), [
    (socket.SOCK_STREAM, "api-port"), (socket.SOCK_DGRAM, "udp.socket.group"), (socket.SOCK_STREAM, "database.port")])
def test_port_in_use_is_named(host: Host, kind: socket.SocketKind, key: str) -> None:
    assert host.config.database is not None
    port = {"api-port": host.config.api_port, "udp.socket.group": host.config.udp.port(IP),
            "database.port": host.config.database.port}[key]
    with socket.socket(socket.AF_INET, kind) as occupant:
        occupant.bind((IP, port))
        if kind is socket.SOCK_STREAM:
            occupant.listen()
        assert f"{key}: " in host.finding() and f"port {port} of {IP} is in use by another program" in host.finding()


def test_ports_of_the_running_node_itself_are_no_fault(host: Host) -> None:
    disk = Disk(host.config.state_dir)
    disk.load()
    with socket.socket() as own:
        own.bind((IP, host.config.api_port))
        own.listen()
        assert host.all() == []
        disk.close()
        assert "is in use" in host.finding()


# --- secrets ----------------------------------------------------------------------


@pytest.mark.parametrize("name", [*SECRETS, "api.key"])
def test_secret_that_is_missing_open_or_empty_is_named(host: Host, name: str) -> None:
    path = host.root / name
    path.chmod(0o644)
    assert f"{path} is open to every user of this host (mode 0644). Close it: chmod o-rwx {path}" in host.finding()
    path.chmod(0o640)
    assert host.all() == []
    path.write_text("\n")
    assert f"{path} is empty." in host.finding()
    path.unlink()
    assert f"{path} does not exist. Put it there" in host.finding()


def test_secrets_are_never_shown(host: Host) -> None:
    for name in (*SECRETS, "api.key"):
        path = host.root / name
        path.write_text("hush-hush\nhush-hush\n" + path.read_text())
        path.chmod(0o666)
    found = " ".join(host.all())
    assert "is open to every user" in found and "hush" not in found


@pytest.mark.parametrize(("name", "text", "says"), [
    ("cluster.key", "1:short", "cluster.key-file: "),
    ("cluster.key", "\xff", "is no text"),
    ("read.token", "short", "must hold one word of at least 16 ASCII letters"),
    ("operate.token", "two words that are long enough", "must hold one word of at least 16 ASCII letters"),
    ("database.password", "one\ntwo", "has 2 lines. Write exactly one."),
])
def test_secret_of_a_wrong_form_is_named(host: Host, name: str, text: str, says: str) -> None:
    (host.root / name).write_text(text, encoding="latin-1")
    assert says in host.finding() and str(host.root / name) in host.finding()


def test_one_token_for_both_is_refused(host: Host) -> None:
    (host.root / "operate.token").write_text((host.root / "read.token").read_text())
    assert "every reader could operate" in host.finding()


# --- certificates -----------------------------------------------------------------


def test_certificate_of_another_node_is_named(host: Host) -> None:
    issue(host.authority, host.root, "192.0.2.5", "db5.example")
    assert host.finding() == (
        f"api.certificate-file: {host.root}/api.crt is issued for 192.0.2.5, not for ip {IP}. Issue it for this node.")


def test_certificate_without_addresses_is_named(host: Host) -> None:
    issue(host.authority, host.root, "db1.example")
    assert "is issued for no address, not for ip" in host.finding()


def test_certificate_of_another_authority_is_named(host: Host) -> None:
    issue(trustme.CA(), host.root, IP)
    assert f"was not issued by the authority in {host.root}/ca.crt" in host.finding()


def test_certificate_through_an_intermediate_is_fine(host: Host) -> None:
    issue(host.authority.create_child_ca(), host.root, IP)
    assert host.all() == []


def test_expired_certificate_is_told_and_keeps_no_node_from_starting(host: Host) -> None:
    issue(host.authority, host.root, IP, not_after=datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC))
    assert "expired on 2020-01-02 00:00 UTC. Renew it." in host.finding()
    assert not [line for line in host.all(starting=True) if "expired" in line]


def test_key_of_another_certificate_is_named(host: Host) -> None:
    before = (host.root / "api.crt").read_bytes()
    issue(host.authority, host.root, IP)
    (host.root / "api.crt").write_bytes(before)
    assert "does not belong to the certificate" in host.finding()


@pytest.mark.parametrize(("name", "says"), [
    ("api.crt", "is no certificate in PEM form"), ("ca.crt", "is no certificate in PEM form"),
    ("api.key", "is no private key in PEM form")])
def test_file_that_is_something_else_is_named(host: Host, name: str, says: str) -> None:
    (host.root / name).write_text("something else")
    assert says in host.finding() and str(host.root / name) in host.finding()


# --- directories and programs --------------------------------------------------------


def test_missing_program_is_named(host: Host) -> None:
    (host.root / "bin/pg_rewind").unlink()
    assert "has no program pg_rewind that can be run" in host.finding()


def test_missing_directory_of_programs_is_named(host: Host) -> None:
    (host.root / "bin").rename(host.root / "elsewhere")
    assert host.finding().startswith(f"database.bin-dir: {host.root}/bin does not exist.")


def test_data_directory_of_somebody_else_is_refused_and_left_alone(host: Host) -> None:
    if os.geteuid() != 0:
        pytest.skip("giving a directory to somebody else needs root")
    data = host.root / "data"
    data.mkdir()
    os.chown(data, 12345, 12345)
    found = [line for line in host.all(starting=True) if line.startswith("database.data-dir")]
    assert found == [f"database.data-dir: {data} belongs to user number 12345, and this service runs as root. Nothing "
                     f"was changed. Use another directory, or give it over if it is meant for this cluster: "
                     f"chown -R root {data}"]
    assert data.stat().st_uid == 12345


def test_file_where_a_directory_belongs_is_named(host: Host) -> None:
    (host.root / "state").write_text("")
    assert host.finding() == (
        f"state-dir: {host.root}/state is no directory. Move it away, or use another path.")


def test_archive_that_is_away_keeps_no_node_from_starting(host: Host) -> None:
    (host.root / "archive").rmdir()
    assert "wal-archive-dir" in host.finding()
    assert not [line for line in host.all(starting=True) if "wal-archive-dir" in line]


def test_pgbackrest_that_is_not_there_is_named_and_keeps_no_node_from_starting(host: Host) -> None:
    (host.root / "archive").rmdir()
    (host.root / "more.conf").write_text("[global]\nrepo1-retention-full=3\n")
    section = "tool: pgbackrest, program: ROOT/no, dir: ROOT/repo, pgbackrest-file: ROOT/more.conf"
    host.config = parse(_text(host.root) + f"backup: {{{section.replace('ROOT', str(host.root))}}}\n", "c")
    assert not [line for line in host.all(starting=True) if line.startswith("backup")]
    program, file, place = (line for line in host.all() if line.startswith(("backup", "database.wal")))
    assert program.startswith(f"backup.program: {host.root}/no does not exist")
    assert "line 2: repo1-retention-full cannot be set: backup.keep" in file
    assert place.startswith(f"backup.dir: {host.root}/repo does not exist")


def test_directory_of_the_pool_that_is_missing_is_named_at_the_start(host: Host) -> None:
    (host.root / "pool").rmdir()
    assert [line for line in host.all(starting=True) if line.startswith("pool.databases-file")]


def test_root_does_not_run_a_database(host: Host) -> None:
    found = [line for line in host.all(starting=True) if line.startswith("database: ")]
    assert bool(found) == (os.geteuid() == 0)


def test_parameter_that_the_cluster_relies_on_is_refused_before_the_start(host: Host) -> None:
    database = host.config.database
    host.config = replace(host.config, database=replace(database, parameters={"wal_level": "minimal"}))
    assert host.finding().startswith("database.parameters.wal_level is 'minimal': use one of")
