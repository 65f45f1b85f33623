"""A cluster whose backups pgBackRest keeps, deployed and recovered by the playbooks."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from collection.playing import NODES, Stage, copy_checkout
from collection.test_playbooks import deploy, sql

DEBIAN = "/usr/lib/postgresql/15/bin"
"""The packaged pgBackRest knows no newer database."""
PGBACKREST = "/usr/bin/pgbackrest"
pytestmark = [
    pytest.mark.skipif(not os.environ.get("QLUSTER_FULL_TESTS"), reason="two minutes: QLUSTER_FULL_TESTS=1"),
    pytest.mark.skipif(not (os.path.exists(PGBACKREST) and os.path.exists(DEBIAN)),
                       reason=f"no pgBackRest with a database that it knows: {PGBACKREST} and {DEBIAN}"),
]  # fmt: skip


@pytest.fixture
def stage() -> Iterator[Stage]:
    folder = Path(tempfile.mkdtemp(prefix="qluster-rest-"))
    try:
        copy_checkout(folder / "checkout")
        made = Stage(folder)
        (folder / "secret.conf").write_text("[global]\nrepo1-cipher-type=aes-256-cbc\nrepo1-cipher-pass=open sesame\n")
        made.write({
            "database_program_dirs": [DEBIAN], "database_backup_tool": "pgbackrest",
            "database_backup_options": {"process-max": 2}, "database_backup_interval": "0s",
            "database_backup_options_src": str(folder / "secret.conf"),
        })  # fmt: skip
        yield made
        made.play("playbooks/destroy.yml", "-e", "qluster_destroy_confirm=local", checkout=folder / "checkout")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_cluster_with_pgbackrest_comes_back_as_it_was_at_a_point_in_time(stage: Stage) -> None:
    checkout = stage.folder / "checkout"
    deploy(stage)
    assert set(deploy(stage).changed.values()) == {0}, "a second run changes nothing"
    [secret] = stage.prefix.glob("node1/etc/qluster/pgbackrest.conf")
    assert secret.stat().st_mode & 0o077 == 0 and not (stage.prefix / "wal").exists()
    sql(stage, "create table kept (value int primary key)")
    played = stage.play("playbooks/backup.yml", checkout=checkout)
    assert played.code == 0 and "every file is as it was written" in played.text(), played.output[-6000:]
    assert "open sesame" not in played.output
    sql(stage, "insert into kept values (1)")
    [moment] = sql(stage, "select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || 'Z'")
    sql(stage, "insert into kept values (2)")
    played = stage.play("playbooks/restore.yml", "-e", f"qluster_restore_target='time {moment}'",
                        "-e", "qluster_restore_confirm=local", checkout=checkout)  # fmt: skip
    assert played.code == 0, played.output[-6000:]
    assert sql(stage, "select value from kept") == [1]
    answer = stage.ask(NODES["node1"], "GET", "/map").json()["cluster"]
    assert answer["reign"]["timeline"] > 1
