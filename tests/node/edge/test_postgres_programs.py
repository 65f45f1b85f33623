"""The environment of the database's programs."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import msgspec
import pytest
from qluster.config import PROGRAMS, Database
from qluster.edge.postgres.programs import Programs

DATABASE = msgspec.convert(
    {
        "bin-dir": "/opt/qhb/bin", "library-dir": "/opt/qhb/lib", "data-dir": "/d", "wal-archive-dir": "/w",
        "socket-dir": "/s", "port": 5432, "superuser": "q", "password-file": "/p", "application-user": "a",
        "application-password-file": "/q", "application-database": "a", "client-networks": [],
        "programs": {name: name for name in PROGRAMS}, "parameters": {},
    },
    Database,
)


def test_server_gets_nothing_of_the_daemons_but_the_unit_s_word_on_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFY_SOCKET", "PGHOST", "PYTHONPATH", "PG_OOM_ADJUST_FILE", "PG_OOM_ADJUST_VALUE"):
        monkeypatch.setenv(name, name.lower())
    environment = Programs(DATABASE).environment()
    assert set(environment) == {
        "PATH", "LC_ALL", "LANG", "TZ", "HOME", "LD_LIBRARY_PATH", "PG_OOM_ADJUST_FILE", "PG_OOM_ADJUST_VALUE"}
    assert environment["LD_LIBRARY_PATH"] == "/opt/qhb/lib"


def test_without_a_unit_there_is_no_such_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PG_OOM_ADJUST_FILE", raising=False)
    assert "PG_OOM_ADJUST_FILE" not in Programs(DATABASE).environment()
