"""The playbooks on a real cluster of this machine: how much they do, in which order, and after interruptions."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from ansible_collections.qhb.qluster.plugins.module_utils._cluster_key import content_of, fresh
from collection.playing import BIN, NODES, POOL, Played, Stage, copy_checkout

FIRST_RUNS_MAX = 25
SECOND_RUNS_MAX = 12
"""Modules run on a host; over SSH each costs about a second."""

FULL = pytest.mark.skipif(
    not os.environ.get("QLUSTER_FULL_TESTS"), reason="takes minutes; QLUSTER_FULL_TESTS=1 runs it")


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """A cluster of its own; the source is a copy, so that nobody changes it meanwhile."""
    folder = Path(tempfile.mkdtemp(prefix="qluster-plays-"))
    try:
        copy_checkout(folder / "checkout")
        made = Stage(folder)
        yield made
        made.play("playbooks/destroy.yml", "-e", "qluster_destroy_confirm=local", checkout=folder / "checkout")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def deploy(stage: Stage, *words: str) -> Played:
    played = stage.play("deploy.yml", *words, checkout=stage.folder / "checkout")
    assert played.code == 0, played.output[-6000:]
    return played


def restarted(played: Played) -> list[str]:
    """Hosts whose daemon was restarted, in order."""
    found = []
    for task in played.output.split("\nTASK ")[1:]:
        if "Run the daemon under a supervisor" in task.partition("\n")[0]:
            found += re.findall(r"^changed: \[(\w+)\]", task, re.M)
    return found


def primary(played: Played) -> str:
    match = re.search(r"primary 127\.77\.\d+\.(\d)", played.output)
    assert match is not None, played.output[-3000:]
    return f"node{match.group(1)}"


def test_first_deploy_is_within_its_budget(stage: Stage) -> None:
    played = deploy(stage)
    print("modules run on each host by the first deploy:", played.runs)
    assert {host: runs for host, runs in played.runs.items() if runs > FIRST_RUNS_MAX and host != "localhost"} == {}


class Writer(threading.Thread):
    """A client that writes to the leader without a pause, and never tries anything twice."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage
        self.over = threading.Event()
        self.acknowledged = 0
        self.refused: list[str] = []

    def run(self) -> None:
        leader = next(ip for ip in NODES.values() if self.stage.ask(ip, "GET", "/is-leader").status_code == 200)
        while not self.over.wait(0.02):
            try:
                answer = self.stage.ask(leader, "PUT", "/kv/rotation", str(self.acknowledged).encode())
            except OSError as error:
                self.refused.append(str(error))
                continue
            if answer.status_code < 300:
                self.acknowledged += 1
            else:
                self.refused.append(answer.text)


def keys_of(stage: Stage) -> dict[str, tuple[int, int, int]]:
    """Which keys each node has, and that none has heard what it could not open."""
    found = {}
    for name, ip in {**NODES, **POOL}.items():
        counters = stage.ask(ip, "GET", "/status").json()["own"]["counters"]
        assert counters["dropped_unknown_key"] == counters["dropped_forged"] == 0, name
        found[name] = tuple(counters[word] for word in ("key_sending", "key_newest", "keys_known"))
    return found


@FULL
def test_key_is_changed_without_an_interruption(stage: Stage) -> None:
    before = stage.ask(NODES["node1"], "GET", "/status").json()["cluster"]
    assert set(keys_of(stage).values()) == {(1, 1, 1)}
    writer = Writer(stage)
    writer.start()
    try:
        played = stage.play("playbooks/rotate_key.yml", checkout=stage.folder / "checkout")
    finally:
        writer.over.set()
        writer.join()
    assert played.code == 0, played.output[-6000:]
    after = stage.ask(NODES["node1"], "GET", "/status").json()["cluster"]
    assert set(keys_of(stage).values()) == {(2, 2, 1)}
    assert [after[word] for word in ("term", "leader")] == [before[word] for word in ("term", "leader")]
    assert writer.refused == [] and writer.acknowledged > 100


def test_second_deploy_changes_nothing_within_its_budget(stage: Stage) -> None:
    played = deploy(stage)
    print("modules run on each host by the second deploy:", played.runs)
    assert set(played.changed.values()) == {0}
    assert {host: runs for host, runs in played.runs.items() if runs > SECOND_RUNS_MAX and host != "localhost"} == {}


@FULL
def test_interrupted_change_of_the_key_is_gone_on_with(stage: Stage) -> None:
    """Interrupted before the hosts knew the new key, then before some had dropped the old one."""
    file = stage.prefix / "secrets/cluster.key"
    alone = file.read_text()
    file.write_text(alone + content_of([fresh(3)]).decode())
    played = stage.play("playbooks/rotate_key.yml", checkout=stage.folder / "checkout")
    assert "The change to key 3 goes on where it stopped." in played.text(), played.output[-6000:]
    assert played.code == 0 and set(keys_of(stage).values()) == {(3, 3, 1)}

    behind = stage.prefix / "node3/etc/qluster/cluster.key"
    behind.write_text(file.read_text() + alone)
    os.kill(stage.daemon("node3"), signal.SIGHUP)
    stage.wait(lambda: keys_of(stage)["node3"] == (3, 3, 2))
    again = stage.play("playbooks/rotate_key.yml", checkout=stage.folder / "checkout")
    assert "The old key is dropped on all hosts, where the run before stopped." in again.text(), again.output[-6000:]
    assert again.code == 0 and set(keys_of(stage).values()) == {(3, 3, 1)}


@FULL
def test_setting_that_takes_effect_at_once_restarts_nobody(stage: Stage) -> None:
    played = deploy(stage, "-e", "node_cluster_remove_interval=2m")
    assert restarted(played) == [] and played.changed["localhost"] == 1 and played.changed["node1"] == 1


def test_change_that_needs_a_restart_goes_host_by_host_and_the_leader_last(stage: Stage) -> None:
    leader = primary(stage.play("playbooks/verify.yml", checkout=stage.folder / "checkout"))
    played = deploy(stage, "-e", "node_udp_max_log_size=60000", "-e", '{"database_parameters": {"work_mem": "8MB"}}')
    order = restarted(played)
    assert sorted(order) == ["node1", "node2", "node3", "pool1"] and order[-1] == leader, order
    assert "The cluster local is whole" in played.output
    parameters = stage.ask(NODES["node1"], "GET", "/db-config").json()["parameters"]
    assert parameters["work_mem"] | {"index": 0} == {"value": "8MB", "source": "cluster log", "file": "8MB", "index": 0}


@FULL
def test_configuration_that_the_daemon_refuses_never_reaches_a_host(stage: Stage) -> None:
    words = ["-e", "node_udp_max_log_size=60000", "-e", '{"database_parameters": {"work_mem": "8MB"}}']
    before = {path: path.read_text() for path in stage.prefix.glob("*/etc/qluster/config.yaml")}
    played = stage.play("deploy.yml", *words, "-e", "database_superuser=The-Boss",
                        checkout=stage.folder / "checkout")
    assert played.code == 2 and "nothing was put in place" in played.text(), played.output[-3000:]
    assert "database.superuser" in played.output
    assert {path: path.read_text() for path in before} == before and restarted(played) == []
    assert not list(stage.prefix.glob("*/etc/qluster/restart-pending"))
    wrong = '{"database_parameters": {"work_mem": "plenty"}}'
    played = stage.play("deploy.yml", *words, "-e", wrong, checkout=stage.folder / "checkout")
    assert played.code == 2 and 'invalid value for parameter "work_mem"' in played.text(), played.output[-3000:]
    assert {path: path.read_text() for path in before} == before and restarted(played) == []
    assert set(deploy(stage, *words).changed.values()) == {0}


def sql(stage: Stage, statement: str) -> list[object]:
    """Run a statement as the application on the primary; the first column of its rows."""
    async def work() -> list[object]:
        leader = next(ip for ip in NODES.values() if stage.ask(ip, "GET", "/is-leader").status_code == 200)
        password = (stage.prefix / "secrets/application.password").read_text().strip()
        connection = await asyncpg.connect(host=leader, port=5432, user="application", password=password,
                                           database="application", timeout=10)  # fmt: skip
        try:
            return [row[0] for row in await asyncio.wait_for(connection.fetch(statement), 10)]
        finally:
            connection.terminate()

    return asyncio.run(work())


def test_cluster_comes_back_as_it_was_at_a_point_in_time(stage: Stage) -> None:
    """One backup by the playbook, two writes, and a recovery to the time between them."""
    def play(playbook: str, *words: str) -> Played:
        return stage.play(f"playbooks/{playbook}.yml", *words, checkout=stage.folder / "checkout")

    sql(stage, "create table kept (value int primary key)")
    played = play("backup")
    assert played.code == 0, played.output[-6000:]
    assert "every file is as it was written" in played.text()
    sql(stage, "insert into kept values (1)")
    [moment] = sql(stage, "select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || 'Z'")
    sql(stage, "insert into kept values (2)")
    before = stage.ask(NODES["node1"], "GET", "/map").json()["cluster"]
    played = play("restore", "-e", "qluster_restore_target='time 2020-01-01T00:00:00Z'")
    assert played.code != 0 and "lies before the oldest backup" in played.text()
    played = play("restore", "-e", f"qluster_restore_target='time {moment}'")
    assert played.code != 0 and "qluster_restore_confirm=local" in played.text()
    assert sql(stage, "select value from kept") == [1, 2], "nothing was confirmed, nothing is done"
    played = play("restore", "-e", f"qluster_restore_target='time {moment}'", "-e", "qluster_restore_confirm=local")
    assert played.code == 0, played.output[-6000:]
    assert sql(stage, "select value from kept") == [1]
    after = stage.ask(NODES["node1"], "GET", "/map").json()["cluster"]
    assert after["cluster"] > before["cluster"] and after["reign"]["timeline"] > before["reign"]["timeline"]
    assert after["database_system_id"] == before["database_system_id"]


@FULL
def test_reinit_that_was_killed_half_way_can_be_run_again(stage: Stage) -> None:
    """Killed when the databases are empty and nothing runs: nobody can be asked who led."""
    command = [BIN / "ansible-playbook", "-i", stage.inventory, "-e", f"@{stage.folder}/variables.json",
               "-e", "qluster_reinit_confirm=local", "-e", "qluster_reinit_leader=node2", "reinit.yml"]
    environment = {**os.environ, "QLUSTER_LOCAL_PREFIX": str(stage.prefix), "ANSIBLE_NOCOLOR": "1",
                   "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=stage.folder / "checkout", env=environment, stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if "Remove add_node" in line:
                break
        os.killpg(running.pid, signal.SIGKILL)
    checked = stage.play("deploy.yml", "--check", checkout=stage.folder / "checkout")
    assert checked.code == 0 and "Wait until the cluster is whole" not in checked.output, checked.output[-6000:]
    again = stage.play("reinit.yml", "-e", "qluster_reinit_confirm=local", checkout=stage.folder / "checkout")
    assert again.code == 0, again.output[-6000:]
    assert primary(again) == "node2" and "The cluster local is whole" in again.output


@FULL
def test_upgrade_and_the_way_back(stage: Stage) -> None:
    source = stage.folder / "checkout/node/qluster/__init__.py"
    source.write_text(re.sub(r'__version__ = ".*"', '__version__ = "0.9.9"', source.read_text()))
    upgraded = deploy(stage)
    assert len(restarted(upgraded)) == 4
    command = stage.prefix / "node1/usr/local/bin/qluster"
    version = lambda: subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout  # noqa: E731
    # An older release that knows less than the configuration says: nobody is switched.
    older = next(found for found in (stage.prefix / "opt/qluster/releases").glob("*/bin/qluster")
                 if "0.9.9" not in str(found))  # fmt: skip
    whole = older.read_bytes()
    older.write_text("#!/bin/sh\necho 'config.yaml: tasks: is not known' >&2\nexit 78\n")
    refused = stage.play("playbooks/rollback.yml", checkout=stage.folder / "checkout")
    assert refused.code == 2 and "config.yaml: tasks: is not known" in refused.text(), refused.output[-6000:]
    assert "0.9.9" in version() and not restarted(refused)
    older.write_bytes(whole)
    back = stage.play("playbooks/rollback.yml", checkout=stage.folder / "checkout")
    assert back.code == 0, back.output[-6000:]
    assert "0.9.9" not in version()
