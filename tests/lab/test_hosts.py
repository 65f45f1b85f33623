"""Hosts of a real lab: bare, reachable, on one network, each with a life of its own."""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from lab_world import LabAtWork

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

ADDRESSES = {"db1": "10.77.0.11", "db2": "10.77.0.12", "db3": "10.77.0.13"}
PEER = Path(__file__).with_name("multicast_peer.py").read_text()
SENT = 200
ANSIBLE = Path(sys.executable).with_name("ansible")


def heard(lab: LabAtWork, sender: str) -> dict[str, int]:
    """How many of SENT datagrams to the group each other database host heard."""
    receivers = {}
    for host in ADDRESSES.keys() - {sender}:
        process = lab.spawn("ssh", host, f"python3 -c {shlex.quote(PEER)} receive {ADDRESSES[host]} {sender}")
        assert process.stdout
        assert process.stdout.readline().strip() == "ready"
        receivers[host] = process
    lab.on(sender, f"python3 -c {shlex.quote(PEER)} send {ADDRESSES[sender]} {sender} {SENT}")
    return {host: int(process.communicate(timeout=60)[0]) for host, process in receivers.items()}


def answers(lab: LabAtWork, host: str) -> bool:
    """Whether a new connection to the host comes about within seconds."""
    config = f"/run/{lab.name}/ssh/config"
    connect = ["timeout", "6", "ssh", "-F", config, "-o", "ControlPath=none", host, "true"]
    return lab.order("exec", "--", *connect).returncode == 0


def test_all_hosts_run_and_answer_ansible(whole_lab: LabAtWork) -> None:
    assert set(whole_lab.status().values()) == {"on"}
    said = whole_lab.say(
        "exec", "--", str(ANSIBLE), "-i", str(whole_lab.inventory), "all", "-m", "ansible.builtin.ping"
    )
    assert said.count("SUCCESS") == 5
    # Connections that Ansible keeps open end with the lab: their sockets lie in its own folder.
    assert any(path.is_socket() for path in (Path("/run") / whole_lab.name / "ssh").iterdir())


def test_hosts_are_bare(whole_lab: LabAtWork) -> None:
    for host in whole_lab.status():
        assert whole_lab.on(host, "systemctl is-system-running") == "running"
        found = whole_lab.on(host, "command -v psql postgres pgbouncer pip gcc || true")
        assert found == ""
        assert whole_lab.on(host, "cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true") == ""


def test_hosts_do_not_share_identities(whole_lab: LabAtWork) -> None:
    for command in ("cat /etc/machine-id", "cat /etc/ssh/ssh_host_ed25519_key.pub", "hostname"):
        assert len({whole_lab.on(host, command) for host in whole_lab.status()}) == 5


def test_hosts_cannot_reach_what_is_outside(whole_lab: LabAtWork) -> None:
    reach = "import socket; socket.create_connection(('192.0.2.1', 80), 3)"
    said = whole_lab.on("db1", f'python3 -c "{reach}" 2>&1 | tail -1')
    assert "unreachable" in said


def test_interfaces_of_a_host_are_its_own(whole_lab: LabAtWork) -> None:
    assert whole_lab.on("db2", "ls /sys/class/net").split() == ["eth0", "lo"]
    whole_lab.on("db2", "ip addr add 10.77.0.99/24 dev eth0 && ip addr del 10.77.0.99/24 dev eth0")


def test_database_hosts_share_the_network_directory(whole_lab: LabAtWork) -> None:
    whole_lab.on("db1", "echo shared > /opt/qhb-backup/file")
    whole_lab.say("kill", "db1")
    assert whole_lab.on("db2", "cat /opt/qhb-backup/file && rm /opt/qhb-backup/file") == "shared"
    assert whole_lab.on("pool1", "ls /opt") == ""


def test_second_up_boots_nothing(whole_lab: LabAtWork) -> None:
    uptime = whole_lab.on("db1", "systemctl show -P UserspaceTimestampMonotonic")
    done = whole_lab.order("up")
    assert "0 of 5 hosts booted" in done.stderr
    assert whole_lab.on("db1", "systemctl show -P UserspaceTimestampMonotonic") == uptime


def test_packages_install_without_any_source(whole_lab: LabAtWork) -> None:
    variables = (whole_lab.inventory / "group_vars/all/lab.yml").read_text()
    config = Path("/run") / whole_lab.name / "ssh/config"
    # The distribution's own cluster would start with the package.
    place = "/etc/postgresql-common"
    whole_lab.on("arbiter1", f"mkdir {place} && echo create_main_cluster=false > {place}/createcluster.conf")
    for part in ("database", "pooler"):
        folder = re.search(f"^{part}_package_files: (.*)$", variables, re.M)
        assert folder
        send = f"tar -C {folder[1]} -c . | ssh -F {config} arbiter1 'mkdir /root/{part} && tar -C /root/{part} -x'"
        whole_lab.say("exec", "--", "sh", "-c", send)
        whole_lab.on("arbiter1", f"DEBIAN_FRONTEND=noninteractive apt-get install -y /root/{part}/*.deb")
    assert "PostgreSQL" in whole_lab.on("arbiter1", "/usr/lib/postgresql/*/bin/postgres --version")
    assert "PgBouncer" in whole_lab.on("arbiter1", "pgbouncer --version")


def test_multicast_reaches_every_host_once(whole_lab: LabAtWork) -> None:
    assert heard(whole_lab, "db1") == {"db2": SENT, "db3": SENT}


def test_one_way_cut_is_deaf_on_one_side_only(whole_lab: LabAtWork) -> None:
    whole_lab.say("cut", "db1", "db2", "--way", "out")
    assert "db1 -> db2: 100 % lost" in whole_lab.say("status")
    assert heard(whole_lab, "db1") == {"db2": 0, "db3": SENT}
    assert heard(whole_lab, "db2") == {"db1": SENT, "db3": SENT}
    whole_lab.say("heal")
    assert heard(whole_lab, "db1") == {"db2": SENT, "db3": SENT}


def test_cut_host_hears_nobody_and_still_answers_the_controller(whole_lab: LabAtWork) -> None:
    whole_lab.say("cut", "db1")
    assert heard(whole_lab, "db2") == {"db1": 0, "db3": SENT}
    assert whole_lab.on("db1", "hostname") == "db1"
    whole_lab.say("cut", "db1", "--controller")
    assert not answers(whole_lab, "db1")
    whole_lab.say("heal", "db1")
    assert answers(whole_lab, "db1")


def test_lossy_cable_loses_some_and_not_all(whole_lab: LabAtWork) -> None:
    whole_lab.say("cut", "db1", "db2", "--way", "out", "--percent", "30")
    counts = heard(whole_lab, "db1")
    assert counts["db3"] == SENT
    # Of 200 with 30 % lost, 140 arrive on average; outside of 90..190 is less likely than 1 in 10^12.
    assert 90 < counts["db2"] < 190


def test_pulled_cable_takes_the_carrier(whole_lab: LabAtWork) -> None:
    whole_lab.say("unplug", "db1")
    assert "unplugged" in whole_lab.say("status")
    assert not answers(whole_lab, "db1")
    whole_lab.say("heal")
    assert whole_lab.on("db1", "cat /sys/class/net/eth0/carrier") == "1"


def test_paused_host_goes_on_where_it_was(whole_lab: LabAtWork) -> None:
    pid = whole_lab.on("db2", "systemd-run --quiet --unit=waits sleep 1000; systemctl show -P MainPID waits")
    whole_lab.say("pause", "db2")
    assert whole_lab.status()["db2"] == "paused"
    assert "paused" in whole_lab.order("start", "db2").stderr
    whole_lab.say("resume", "db2")
    assert whole_lab.on("db2", "systemctl show -P MainPID waits") == pid


def test_killed_host_comes_back_with_its_disk(whole_lab: LabAtWork) -> None:
    whole_lab.on("db3", "echo kept > /root/file && sync")
    others = {host: whole_lab.on(host, "systemctl show -P UserspaceTimestampMonotonic") for host in ("db1", "db2")}
    whole_lab.say("kill", "db3")
    assert whole_lab.status()["db3"] == "off"
    whole_lab.say("start", "db3")
    assert whole_lab.on("db3", "cat /root/file") == "kept"
    for host, since in others.items():
        assert whole_lab.on(host, "systemctl show -P UserspaceTimestampMonotonic") == since, "nobody else fell"


def test_paused_host_can_be_killed(whole_lab: LabAtWork) -> None:
    whole_lab.say("pause", "db3")
    whole_lab.say("kill", "db3")
    assert whole_lab.status()["db3"] == "off"


def test_bare_start_gives_a_new_disk(whole_lab: LabAtWork) -> None:
    whole_lab.on("db2", "echo old > /root/file")
    assert "kill db2" in whole_lab.order("start", "db2", "--bare").stderr
    whole_lab.say("stop", "db2")
    whole_lab.say("start", "db2", "--bare")
    assert whole_lab.on("db2", "ls /root") == ""


def test_down_from_inside_is_refused(whole_lab: LabAtWork) -> None:
    done = whole_lab.order("exec", "--", sys.executable, "lab/lab.py", "down")
    assert done.returncode == 1
    assert "inside the lab" in done.stderr
    assert set(whole_lab.status().values()) == {"on"}


def test_exit_code_of_the_command_is_the_exit_code_of_exec(whole_lab: LabAtWork) -> None:
    assert whole_lab.order("exec", "--", "sh", "-c", "exit 7").returncode == 7
    assert whole_lab.order("ssh", "db1", "exit 9").returncode == 9
