"""What an operator does with a cluster on one machine, from the first command to the last."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from local.world import BIN, NODES, ROOT, Local, wait_for

VALUES = count(1)
RECOVERY_LIMIT = 60.0
"""Seconds for the pool to take writes again: a few on a quiet machine, many on a busy one."""


@pytest.fixture(scope="module")
def local() -> Iterator[Local]:
    """A cluster of its own, removed at the end whatever happened."""
    folder = Path(tempfile.mkdtemp(prefix="qluster-test-"))
    cluster = Local.make(folder)
    yield cluster
    if cluster.prefix.exists():
        cluster.make_target("destroy")
    shutil.rmtree(folder, ignore_errors=True)


def in_lab() -> bool:
    """Whether this machine can boot the lab's hosts, where the same is tried."""
    if os.environ.get("QLUSTER_FULL_TESTS"):
        return False
    words = [BIN / "python", ROOT / "lab/lab.py", "check"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def changed(output: str) -> dict[str, int]:
    """Changes by host, from the recap of a run."""
    return {host: int(number) for host, number in re.findall(r"^(\S+)\s*: ok=\d+\s+changed=(\d+)", output, re.M)}


def test_one_command_makes_a_cluster(local: Local) -> None:
    local.founding_output = output = local.make_target("deploy", verbosity=3)
    assert set(changed(output)) >= {"node1", "node2", "node3", "pool1"}
    for shown in ("127.0.3.4:6432", "https://127.0.3.1:8080", "/swagger"):
        assert shown in output, f"{shown} is not in the last lines:\n{output[-3000:]}"
    wait_for("all are whole", local.whole)
    local.sql("create table ledger (value bigint primary key)")
    assert local.writes(next(VALUES))


@pytest.mark.skipif(in_lab(), reason="the lab does it: QLUSTER_FULL_TESTS=1")
def test_second_run_changes_nothing(local: Local) -> None:
    assert set(changed(local.make_target("deploy")).values()) == {0}


def test_check_mode_changes_nothing_and_does_not_fail(local: Local) -> None:
    done = local.play("deploy.yml", "--check", "--diff")
    assert done.returncode == 0, done.stdout[-3000:]
    assert set(changed(done.stdout).values()) == {0}


def test_no_secret_is_printed(local: Local) -> None:
    """The first run made them all, and said all that it can."""
    secrets = [path for path in (local.prefix / "secrets").rglob("*") if path.is_file() and path.suffix != ".crt"]
    assert len(secrets) > 5
    for path in secrets:
        for line in path.read_text().splitlines():
            public = len(line) < 12 or line.startswith("-----")
            assert public or line not in local.founding_output, f"{path.name} was printed"


@pytest.mark.parametrize("struck", ["database", "daemon", "database and daemon"])
def test_writes_go_on_after_kill_9_of_the_primary(local: Local, struck: str) -> None:
    first = local.leading()
    before = [next(VALUES) for _ in range(20)]
    assert all(local.writes(value) for value in before)
    primary_position = wait_for("all rows on both replicas", lambda: _replicated(local, before))
    assert primary_position < RECOVERY_LIMIT
    pids = []
    if "daemon" in struck:
        pids.append(local.daemon(first))
    if "database" in struck:
        pids.append(local.postmaster(first))
    began = time.monotonic()
    postmaster = local.postmaster(first)
    local.kill(*pids)
    wait_for("the guard ends the database of a daemon that is gone", lambda: not Path(f"/proc/{postmaster}").exists())
    wait_for("a write through the pool", lambda: local.writes(next(VALUES)), RECOVERY_LIMIT)
    print(f"{struck}: the pool takes writes again after {time.monotonic() - began:.2f} s")
    kept = set(local.sql("select value from ledger"))
    assert kept >= set(before), f"acknowledged and replicated, and lost: {set(before) - kept}"
    verdict = local.judge({"leader": "known", "quorate": True}, timeout=30)
    assert not verdict["failed"], verdict
    wait_for("the killed node is a replica or primary again, by itself", local.whole, RECOVERY_LIMIT)
    verdict = local.judge({"leader": "known", "quorate": True, "voters": 3, "replicas_streaming": 2}, timeout=30)
    assert not verdict["failed"], verdict


def _replicated(local: Local, values: list[int]) -> bool:
    """Every database holds the rows: replicas are asked themselves."""
    for ip in NODES.values():
        try:
            held = set(local.sql("select value from ledger", host=ip, port=5432))
        except OSError:
            return False
        if not held >= set(values):
            return False
    return True


def test_operator_moves_the_primary_by_a_module_and_clients_of_the_pool_wait(local: Local) -> None:
    first = local.leading()
    second = next(name for name in NODES if name != first)
    number = {node["ip"]: node["node"] for node in local.get(NODES[first], "/map").json()["nodes"]}  # type: ignore[union-attr]
    wanted = number[NODES[second]]
    checked = local.module("qluster_switchover", {"node": wanted}, check=True)
    assert checked["changed"] and local.leader() == first
    done = local.module("qluster_switchover", {"node": wanted})
    assert done["changed"] and local.leader() == second, done
    assert local.writes(next(VALUES)), "the pool points at the new primary when the module says that it is done"
    print(f"nobody could write for {done['write_gap_ms']} ms: {done['phases_ms']}")
    assert not local.module("qluster_switchover", {"node": wanted})["changed"]
    wait_for("the former primary follows", local.whole, RECOVERY_LIMIT)
    assert local.sql("select count(*) > 0 from ledger", database="application_ro") == [True]


def test_tasks_of_templates_run_once_for_each_key(local: Local) -> None:
    wanted = {"template": "greet", "parameters": {"whom": "you"}, "key": "greeting", "wait": {"timeout": 60}}
    checked = local.module("qluster_task", wanted, check=True)
    assert checked["changed"] and len(checked["placements"][0]["nodes"]) == 1  # type: ignore[index]
    done = local.module("qluster_task", wanted)
    assert done["changed"] and done["state"] == "succeeded", done
    assert re.fullmatch(r"hello you from [1-4]", str(done["tail"]))
    again = local.module("qluster_task", wanted)
    assert not again["changed"] and again["task"] == done["task"]
    found = local.module("qluster_task_info", {"gather": ["summary", "templates", "schedules"]})
    assert [one["name"] for one in found["templates"]] == ["attend", "greet"]  # type: ignore[attr-defined]
    assert [one["name"] for one in found["schedules"]] == ["yearly"]  # type: ignore[attr-defined]
    assert [node["ready"] for node in found["summary"]["nodes"]] == [True] * 4  # type: ignore[index]


def task(local: Local, number: object) -> tuple[str, str]:
    """State of a task and address of its node, as some node knows them; "" where none answers."""
    for ip in NODES.values():
        answer = local.get(ip, f"/tasks/{number}")
        if answer is not None and answer.status_code == 200:
            nodes = {node["node"]: node["ip"] for node in local.get(ip, "/map").json()["nodes"]}  # type: ignore[union-attr]
            return answer.json()["state"], nodes.get(answer.json()["node"], "")
    return "", ""


def test_task_for_the_leader_is_where_the_leader_is(local: Local) -> None:
    """Through a failover, and a switchover after it; and never beside itself."""
    number = local.module("qluster_task", {"template": "attend"})["task"]

    def follows() -> bool:
        leader = local.leader()
        return leader is not None and task(local, number) == ("running", NODES[leader])

    wait_for("the task runs", follows)
    first = local.leading()
    local.kill(local.daemon(first))
    took = wait_for("the task runs where the leader is", lambda: local.leader() and follows())
    print(f"the task for the leader runs after {took:.2f} s, {task(local, number)}")
    wait_for("the killed node is a replica or primary again, by itself", local.whole, RECOVERY_LIMIT)
    before = task(local, number)[1]
    second = next(ip for ip in NODES.values() if ip != before)
    rows = local.get(second, "/map").json()["nodes"]  # type: ignore[union-attr]
    local.module("qluster_switchover", {"node": next(row["node"] for row in rows if row["ip"] == second)})
    took = wait_for("the task runs where the leader is now", lambda: task(local, number) == ("running", second))
    print(f"{took:.2f} s after the switchover it runs on the next node")
    assert local.module("qluster_task", {"task": number, "state": "cancelled", "wait": {"timeout": 30}})["changed"]
    wait_for("all are whole", local.whole, RECOVERY_LIMIT)


def test_status_says_what_is_missing_and_who_says_so(local: Local) -> None:
    verdict = local.judge({"voters": 5})
    assert verdict["failed"]
    assert "voters" in str(verdict["msg"])
    assert verdict["unmet"]


def test_reinit_refuses_without_the_name_of_the_cluster(local: Local) -> None:
    done = local.play("reinit.yml")
    assert done.returncode != 0
    assert "qluster_reinit_confirm" in done.stdout
    wait_for("all are whole", local.whole)


@pytest.mark.skipif(in_lab(), reason="the lab does it: QLUSTER_FULL_TESTS=1")
def test_reinit_begins_a_new_cluster(local: Local) -> None:
    before = local.get(NODES["node1"], "/map").json()["cluster"]  # type: ignore[union-attr]
    done = local.play("reinit.yml", "-e", "qluster_reinit_confirm=local")
    assert done.returncode == 0, done.stdout[-5000:]
    after = local.get(NODES["node1"], "/map").json()["cluster"]  # type: ignore[union-attr]
    assert after["cluster"] > before["cluster"]
    assert after["database_system_id"] != before["database_system_id"]
    wait_for("all are whole", local.whole)
    assert local.sql("select count(*) from pg_tables where tablename = 'ledger'") == [0]


def test_destroy_leaves_nothing(local: Local) -> None:
    local.make_target("destroy")
    assert not local.prefix.exists()
    assert local.processes() == []
