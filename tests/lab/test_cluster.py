"""A cluster on bare hosts with systemd, from the first playbook to the last.

The tests of this file are one story, told in its order: each begins where the one before it ended.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator

import pytest
from lab_cluster import ADDRESSES, CLIENT, HOSTS, Cluster, changes, packed
from lab_world import LabAtWork

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1200)]

RECOVERY_TIMEOUT = 120.0


class Writer:
    """A client that writes without a pause, whatever happens to the cluster."""

    def __init__(self, cluster: Cluster, dsn: str, first: int) -> None:
        words = ["exec", "--", sys.executable, str(CLIENT), "write", dsn, str(first)]
        self._process = cluster.lab.spawn(*words)
        self.acknowledged: dict[int, float] = {}

    def read_until(self, after: float) -> None:
        """Follow it until a row is acknowledged that was written after that moment."""
        for moment in self._moments():
            if moment > after:
                return
        raise AssertionError(f"the writer ended: {self._process.stderr and self._process.stderr.read()}")

    def stop(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        for _ in self._moments():
            pass
        self._process.wait(timeout=60)
        self._process.stdout.close()

    def _moments(self) -> Iterator[float]:
        assert self._process.stdout
        for line in self._process.stdout:
            number, moment = line.split()
            self.acknowledged[int(number)] = float(moment)
            yield float(moment)


@pytest.fixture(scope="module")
def cluster(lab: LabAtWork) -> Cluster:
    """Bare hosts, and the daemon's archive packed."""
    packed(lab)
    return Cluster(lab)


def test_check_mode_on_bare_hosts_changes_nothing(cluster: Cluster) -> None:
    done = cluster.play("deploy.yml", "--check", "--diff")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    for host in HOSTS:
        assert cluster.lab.on(host, "ls -d /opt/qluster /etc/qluster /opt/qhb-data 2>/dev/null || true") == ""
        assert cluster.lab.on(host, "command -v psql pgbouncer || true") == ""


def test_deploy_makes_a_cluster_of_bare_hosts(cluster: Cluster) -> None:
    output = cluster.deploy()
    assert set(changes(output)) >= set(HOSTS)
    assert cluster.leader() in ADDRESSES
    cluster.rows("create table ledger (number bigint primary key)")
    assert cluster.rows("insert into ledger values (0) returning number") == [0]


def test_daemon_runs_as_an_enabled_unit_of_its_own_user(cluster: Cluster) -> None:
    for host in HOSTS:
        shown = cluster.lab.on(host, "systemctl show -p ActiveState,UnitFileState,User,NRestarts qluster")
        assert set(shown.split()) == {"ActiveState=active", "UnitFileState=enabled", "User=qhb", "NRestarts=0"}
    assert cluster.lab.on("pool1", "systemctl is-active qcp") == "active"
    assert cluster.lab.on("db1", "systemctl is-system-running") == "running"


def test_arbiter_serves_the_cluster_as_a_unit_of_its_own_user(cluster: Cluster) -> None:
    shown = cluster.lab.on("arbiter1", "systemctl show -p ActiveState,UnitFileState,User,NRestarts qluster-qnetd")
    assert set(shown.split()) == {"ActiveState=active", "UnitFileState=enabled", "User=qluster-qnetd", "NRestarts=0"}
    assert cluster.lab.on("arbiter1", "stat -c '%a %U' /var/lib/qluster-qnetd") == "700 qluster-qnetd"
    said = json.loads(cluster.lab.on("arbiter1", "qluster-qnetd-tool --json"))
    served = [(one["name"], len(one["nodes"])) for one in said["clusters"]]
    assert len(served) == 1 and served[0][1] == 3 and all(node["tls"] for node in said["clusters"][0]["nodes"])


def test_second_run_changes_nothing(cluster: Cluster) -> None:
    assert set(changes(cluster.deploy()).values()) == {0}


@pytest.mark.skipif(not os.environ.get("QLUSTER_FULL_TESTS"), reason="the cluster stage does it: QLUSTER_FULL_TESTS=1")
def test_check_mode_on_a_cluster_finds_nothing_to_change(cluster: Cluster) -> None:
    done = cluster.play("deploy.yml", "--check", "--diff")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    assert set(changes(done.stdout).values()) == {0}


def test_writes_go_on_when_the_primary_loses_its_power(cluster: Cluster) -> None:
    struck = cluster.leader()
    assert struck
    writer = Writer(cluster, cluster.pool, first=cluster.fresh())
    try:
        writer.read_until(time.monotonic() + 2)
        kept = set(writer.acknowledged)
        for host in ADDRESSES:
            cluster.lab.wait_until(lambda host=host: cluster.holds(host, kept), f"{host} has {len(kept)} rows")
        cluster.lab.say("kill", struck)
        moment = time.monotonic()
        writer.read_until(moment)
        writer.read_until(max(writer.acknowledged.values()) + 1)
    finally:
        writer.stop()
    later = [when for when in writer.acknowledged.values() if when > moment]
    pause = min(later) - max(when for when in writer.acknowledged.values() if when <= moment)
    print(f"no write was acknowledged for {pause:.2f} s")
    found = set(cluster.rows("select number from ledger"))
    assert kept <= found, f"replicated, and lost: {sorted(kept - found)}"
    after = {number for number, when in writer.acknowledged.items() if when > moment}
    assert after <= found, f"acknowledged by the new primary, and lost: {sorted(after - found)}"
    assert cluster.leader() not in ("", struck)

    cluster.lab.say("start", struck)
    cluster.lab.wait_until(
        lambda: cluster.holds(struck, found), f"{struck} is a replica again by itself", RECOVERY_TIMEOUT
    )
    done = cluster.play("playbooks/verify.yml")
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.parametrize(("strike", "undo"), [("cut", "heal"), ("pause", "resume")])
def test_struck_primary_acknowledges_nothing_once_another_does(cluster: Cluster, strike: str, undo: str) -> None:
    struck = cluster.leader()
    others = [host for host in ADDRESSES if host != struck]
    # These clients reach the old primary all the time (the controller's cable is never cut): a frozen one
    # wakes up with their writes in its hands.
    loyal = [Writer(cluster, cluster.database(struck), first=cluster.fresh()) for _ in range(3)]
    writer = Writer(cluster, cluster.pool, first=cluster.fresh())
    try:
        for client in (*loyal, writer):
            client.read_until(time.monotonic())
        cluster.lab.say(strike, struck)
        moment = time.monotonic()
        # leader() fails at any moment at which two say that they lead.
        cluster.lab.wait_until(lambda: cluster.leader() in others, "the majority has a leader", RECOVERY_TIMEOUT)
        writer.read_until(moment)
        writer.read_until(max(writer.acknowledged.values()) + 2)
        cluster.lab.say(undo, struck)
        later = {number for number, when in writer.acknowledged.items() if when > moment}
        cluster.lab.wait_until(
            lambda: cluster.holds(struck, later), f"{struck} follows the new primary", RECOVERY_TIMEOUT
        )
    finally:
        cluster.lab.say(undo, struck)
        for client in (*loyal, writer):
            client.stop()
    last = max(when for client in loyal for when in client.acknowledged.values())
    first = min(writer.acknowledged[number] for number in later)
    print(f"{strike}: {first - last:.2f} s between the old primary's last acknowledged write and the new one's first")
    assert last < first, "two databases acknowledged writes at once"
    found = set(cluster.rows("select number from ledger"))
    lost = {number for number, when in writer.acknowledged.items() if when > moment} - found
    assert not lost, f"acknowledged by the new primary, and lost: {sorted(lost)}"
    done = cluster.play("playbooks/verify.yml")
    assert done.returncode == 0, done.stdout[-4000:]


def test_database_goes_on_in_a_pause_while_its_daemon_is_stopped_killed_and_started(cluster: Cluster) -> None:
    first = cluster.leader()
    postmaster = "head -1 /opt/qhb-data/postmaster.pid"
    server = cluster.lab.on(first, postmaster)
    qluster = "su -s /bin/sh qhb -c '/usr/local/bin/qluster {}'"
    cluster.lab.on(first, qluster.format("pause --reason lab"))
    signs = [f"test -e /qluster/paused && {postmaster}" for _ in ADDRESSES]
    writer = Writer(cluster, cluster.database(first), first=cluster.fresh())
    try:
        for host, sign in zip(ADDRESSES, signs, strict=True):
            cluster.lab.wait_until(
                lambda host=host, sign=sign: cluster.lab.order("ssh", host, sign).returncode == 0, f"{host} is paused"
            )
        cluster.lab.on(first, "systemctl stop qluster")
        writer.read_until(time.monotonic())
        assert cluster.lab.on(first, postmaster) == server
        cluster.lab.on(first, "systemctl start qluster")
        cluster.lab.wait_until(lambda: cluster.leader() == first, "its daemon is back and leads again")
        cluster.lab.on(first, "systemctl kill -s KILL --kill-whom=main qluster")
        writer.read_until(time.monotonic())
        cluster.lab.wait_until(lambda: cluster.leader() == first, "its daemon is back and leads again")
        assert cluster.lab.on(first, postmaster) == server
        cluster.lab.on(first, qluster.format("resume"))
        writer.read_until(time.monotonic() + 3)
    finally:
        writer.stop()
    assert cluster.lab.on(first, postmaster) == server, "the resume interrupts nobody"
    done = cluster.play("playbooks/verify.yml")
    assert done.returncode == 0, done.stdout[-4000:]


def test_reinit_refuses_without_the_name_of_the_cluster(cluster: Cluster) -> None:
    done = cluster.play("reinit.yml")
    assert done.returncode != 0
    assert "qluster_reinit_confirm" in done.stdout
    assert cluster.rows("select count(*) from ledger") != [0]


def test_reinit_begins_a_new_cluster(cluster: Cluster) -> None:
    done = cluster.play("reinit.yml", "-e", "qluster_reinit_confirm=lab")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    assert cluster.rows("select count(*) from pg_tables where tablename = 'ledger'") == [0]
    assert cluster.leader() in ADDRESSES


def test_destroy_leaves_the_hosts_bare(cluster: Cluster) -> None:
    done = cluster.play("qhb.qluster.destroy", "-e", "qluster_destroy_confirm=lab")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    for host in HOSTS:
        # /opt/qhb-backup itself is the lab's network directory, mounted before any playbook came.
        places = "/opt/qluster /etc/qluster /qluster /opt/qhb-data /opt/qhb-backup/* /usr/local/bin/qluster"
        left = cluster.lab.on(host, f"ls -d {places} /etc/systemd/system/q* 2>/dev/null || true")
        assert left == ""
        assert cluster.lab.on(host, "getent passwd qhb || true") == ""
        assert cluster.lab.on(host, "systemctl is-system-running") == "running"
