"""A whole cluster that backs itself up, is lost with all its hosts, and comes back from what it kept elsewhere."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
from edge.daemon_world import NODE, wait_for
from edge.fault_world import DB_PORT, Hosts, Ledger, obstacle
from edge.postgres_world import DEBIAN, PGBACKREST

NUMBERS = (1, 2, 3)


CHANGES: dict[str, dict[str, object]] = {
    "plain": {},
    "pgbackrest": {"backup__tool": "pgbackrest", "database__bin_dir": DEBIAN, "database__library_dir": ""},
}
"""What the configuration says of each tool; the packaged pgBackRest knows no newer database than that one."""


def missing(tool: str) -> str:
    """Why this tool cannot be tried, "" when it can."""
    there = os.path.exists(PGBACKREST) and os.path.exists(DEBIAN)
    return "" if tool == "plain" or there else f"no pgBackRest with a database that it knows: {PGBACKREST} and {DEBIAN}"


FULL = pytest.mark.skipif(
    not os.environ.get("QLUSTER_FULL_TESTS"), reason="minutes; its parts are tested without it: QLUSTER_FULL_TESTS=1"
)
PGBACKREST_LONG = pytest.param("pgbackrest", marks=FULL)


@pytest.fixture(params=[pytest.param("plain", marks=FULL), PGBACKREST_LONG])
def hosts(request: pytest.FixtureRequest) -> Iterator[Hosts]:
    if reason := obstacle() or missing(request.param):
        pytest.skip(reason)
    made = Hosts()
    try:
        (made.root / "base").mkdir()
        for number in NUMBERS:
            made.prepare(number, cluster__synchronous="quorum", backup__dir=str(made.root / "base"),
                         **CHANGES[request.param])  # fmt: skip
            made.start(number)
        wait_for("a whole cluster", made.whole, 90)
        yield made
    finally:
        made.end()


def command(hosts: Hosts, number: int, *words: str) -> tuple[int, str, str]:
    """Run our program on a host, as the daemon's user."""
    done = subprocess.run(
        ["ip", "netns", "exec", hosts.namespace(number),
         "nsenter", f"--user=/proc/{hosts._nobody.pid}/ns/user", "--preserve-credentials",
         sys.executable, "-m", "qluster", "--config", str(hosts.place(number) / "config.yaml"), *words],
        env={**os.environ, "PYTHONPATH": str(NODE)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def backups(hosts: Hosts, number: int) -> dict[str, Any]:
    """What a host says of the backups."""
    found: Any = hosts.map(number).get("backups") or {}
    return dict(found)


def in_archive(hosts: Hosts, name: str) -> bool:
    """Whether a WAL file is in the archive, whichever tool keeps it."""
    kept = (hosts.root / "base").glob(f"archive/*/*/*/{name}-*")
    return any((hosts.root / "wal").glob(f"*/{name}")) or any(path.suffix != ".tmp" for path in kept)


def archived(hosts: Hosts, primary: int) -> bool:
    """Everything written until now is in the archive."""
    async def switch() -> str:
        connection = await asyncpg.connect(host=hosts.ip(primary), port=DB_PORT, user="qluster",
                                           password="superuser-of-the-test", database="postgres")  # fmt: skip
        try:
            await connection.fetch("SELECT pg_create_restore_point('all of it')")
            return str(await connection.fetchval("SELECT pg_walfile_name(pg_switch_wal())"))
        finally:
            connection.terminate()

    name = asyncio.run(switch())
    wait_for("the last segment in the archive", lambda: in_archive(hosts, name), 60)
    return True


def lose(hosts: Hosts, number: int) -> None:
    """The host's processes die, and its disk is empty."""
    hosts.kill(hosts.daemons[number].pid)
    hosts.daemons[number].wait()
    wait_for("the end of the database", lambda: hosts.postmaster(number) is None, 30)
    shutil.rmtree(hosts.data(number))
    shutil.rmtree(hosts.place(number) / "state")


def test_a_cluster_that_lost_all_hosts_comes_back_with_everything_acknowledged(hosts: Hosts) -> None:
    [primary] = hosts.writable()
    rested = (hosts.root / "base" / "archive").exists()
    replicas = [number for number in NUMBERS if number != primary]
    takers = [primary] if rested else replicas
    wait_for("the first backup, by the schedule", lambda: backups(hosts, primary).get("count"), 120)
    seen = backups(hosts, primary)
    assert seen["backups"][0]["node"] in map(hosts.ip, takers) and seen["error"] == "" and not seen["failure"]
    with Ledger(hosts) as ledger:
        for _ in range(40):
            ledger.wait_for_rows(primary)
        code, said, _ = command(hosts, replicas[0] if rested else primary, "backup", "--if-chosen")
        assert code == 0 and "takes it" in said
        codes = [command(hosts, number, "backup", "--if-chosen", "--json") for number in takers]
        taken = [json.loads(said)["taken"] for _, said, _ in codes]
        assert sum(one is not None for one in taken) == 1, codes
        ledger.wait_for_rows(primary)
    system_id = hosts.map(primary)["cluster"]["database_system_id"]  # type: ignore[index]
    archived(hosts, primary)
    code, said, _ = command(hosts, primary, "backups", "--check", "all")
    assert code == 0 and said.count("every file is as it was written") == 2
    code, _, said = command(hosts, primary, "restore", "--confirm", "trial")
    assert code == 1 and "uses this state directory" in said, "it runs: nothing may be restored under it"

    for number in NUMBERS:
        lose(hosts, number)
    for words, refusal in (
        (["--target", "time 2020-01-01T00:00:00Z"], "lies before the oldest backup"),
        (["--confirm", "another"], "the cluster is trial, and another was confirmed"),
        (["--backup", "20200101T000000Z"], "there is no backup 20200101T000000Z: there are "),
        (["--target", "yesterday"], "is no target"),
    ):
        code, _, said = command(hosts, 1, "restore", *words)
        assert code == 1 and refusal in said
    code, said, _ = command(hosts, 1, "restore")
    assert code == 0 and "Nothing was done" in said and not hosts.data(1).exists()
    code, said, wrong = command(hosts, 1, "restore", "--confirm", "trial", "--json")
    assert code == 0, wrong
    assert json.loads(said)["system_id"] == str(system_id)
    for number in NUMBERS:
        hosts.start(number)
    wait_for("the whole cluster again", hosts.whole, 120)
    [successor] = hosts.writable()
    assert len(ledger.acknowledged) > 40 and ledger.missing(successor) == []
    found = hosts.map(successor)
    assert found["cluster"]["database_system_id"] == system_id  # type: ignore[index]
    assert found["cluster"]["reign"]["number"] == 1 and found["cluster"]["reign"]["timeline"] > 1  # type: ignore[index]
