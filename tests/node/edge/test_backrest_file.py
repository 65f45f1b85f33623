"""The file and the marks that pgBackRest's two halves share; no database is needed for them."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

from database.test_settings import DATABASE
from qluster.config import Backup
from qluster.edge import archive, backrest
from qluster.edge.postgres import backrest as running


def test_both_halves_know_the_same_marks() -> None:
    assert backrest.RESERVED == archive.RESERVED and backrest.SEEN == running.SEEN


def test_its_file_is_written_on_a_host_that_lost_everything(tmp_path: Path) -> None:
    """A recovery begins where not even the state directory is there."""
    values = dict.fromkeys(("found_from", "found_target", "found_system_id", "found_dir", "found_archive_dir"))
    settings = Backup(dir="/backup", interval=0.0, keep=1, keep_for=0.0, compression=0, tool="pgbackrest", **values)
    rest = running.BackRest(settings, DATABASE, str(tmp_path / "no" / "state"), 42)
    rest.prepare()
    assert rest.stanza == "qluster-42" and rest.file.stat().st_mode & 0o777 == 0o600
    before = rest.file.stat().st_mtime_ns
    rest.prepare()
    assert rest.file.stat().st_mtime_ns == before and "repo1-path=/backup" in rest.file.read_text()
    assert rest.directory == "/backup"
