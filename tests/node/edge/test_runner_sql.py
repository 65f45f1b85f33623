"""SQL as a task, in a real database."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from edge.daemon_world import wait_for
from edge.postgres_world import programs
from edge.runner_world import Host, host, order
from qluster.database.settings import access_rules, identity_map
from qluster.edge.postgres.programs import system_user
from qluster.tasks.bodies import Verdict
from qluster.tasks.runner import StopRun
from qluster.tasks.spec import Sql

pytestmark = pytest.mark.unprivileged
PORT = "5439"


@contextmanager
def server(tmp_path: Path) -> Iterator[Host]:
    """A runner beside a server that lets in whom the daemon's rules do."""
    found = programs()
    if found is None or not os.path.exists(f"{found[0]}/psql"):
        pytest.skip("no PostgreSQL with psql")
    where, library = found
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", **({"LD_LIBRARY_PATH": library} if library else {})}
    data = tmp_path / "data"
    run = lambda *words: subprocess.run(words, check=True, env=environment, capture_output=True)  # noqa: E731
    run(f"{where}/initdb", "-D", str(data), "-U", "qluster", "-A", "trust", "-N")
    database = {"bin-dir": where, "library-dir": library, "data-dir": str(data), "socket-dir": str(tmp_path),
                "port": int(PORT), "wal-archive-dir": ""}  # fmt: skip
    (data / "postgresql.auto.conf").write_text(f"listen_addresses = ''\nunix_socket_directories = '{tmp_path}'\n"
                                               f"port = {PORT}\nfsync = off\n")  # fmt: skip
    with host(tmp_path, database=database, sql_roles=["reporting"]) as runner:
        parsed = runner.parsed().database
        assert parsed is not None
        (data / "pg_hba.conf").write_text(access_rules(parsed, []))
        (data / "pg_ident.conf").write_text(identity_map(parsed, system_user()))
        run(f"{where}/pg_ctl", "-D", str(data), "-w", "-l", str(tmp_path / "server.log"), "start")
        try:
            yield runner
        finally:
            run(f"{where}/pg_ctl", "-D", str(data), "-m", "immediate", "stop")


def _run(one: Host, task: int, sql: Sql, template: str = "any") -> tuple[Verdict, str, str]:
    line = one.ready()
    line.say(order(task, sql, template=template))
    ended = line.ended(task)
    return ended.verdict, ended.result.tail, one.said(task)


def test_sql_runs_with_variables_as_its_role_and_is_stopped(tmp_path: Path) -> None:
    with server(tmp_path) as one:
        _try_words(one)
        _try_roles(one)
        _try_refusals(one)
        _try_stops(one)
        _try_no_server(one, tmp_path)


def _try_words(one: Host) -> None:
    # As a template: whatever it says, in the role that it names.
    verdict, said, _ = _run(one, 1, Sql("create role reporting login;\ncreate role anna;"))
    assert verdict is Verdict.DONE, said
    variables = (("x", "it's\n\\a 'test'"), ("t", "Two Words"))
    verdict, said, output = _run(
        one, 2, Sql("select :'x' as \"value\", current_user, current_setting('application_name') as :\"t\" \\gx",
                    role="anna", variables=variables))  # fmt: skip
    assert verdict is Verdict.DONE, said
    assert "it's" in output and "\\a 'test'" in output and "anna" in output
    assert "qluster-task-2-1" in output and "Two Words" in output

    # What fails says so, with the line of the text, and what follows is not done.
    verdict, said, output = _run(one, 3, Sql("select 1;\nselect nonsense;\nselect 3;", variables=variables))
    assert verdict is Verdict.FAILED
    assert "2: ERROR" in said and "nonsense" in said


def _try_roles(one: Host) -> None:
    # Without a template: the role for certain, which is not to be left.
    verdict, said, output = _run(one, 4, Sql("select session_user, current_user", role="reporting"), template="")
    assert verdict is Verdict.DONE and output.count("reporting") == 2, said
    verdict, said, _ = _run(one, 5, Sql("reset role; set role qluster;", role="reporting"), template="")
    assert verdict is Verdict.FAILED and "permission denied" in said
    line = one.ready()
    line.say(order(6, Sql("\\! id", role="reporting")))
    assert line.ended(6).verdict is Verdict.REFUSED


def _try_refusals(one: Host) -> None:
    """What the server has against it stands in the last words."""
    rows = [
        (Sql("select * from pg_authid", role="reporting"), "", "permission denied for table pg_authid"),
        (Sql("select 1", role="nobody_knows"), "any", 'role "nobody_knows" does not exist'),
        (Sql("select 1", database="nowhere"), "any", 'database "nowhere" does not exist'),
        (Sql("select 1/0"), "any", "division by zero"), (Sql("\\i /no/such/file"), "any", "No such file or directory"),
        (Sql("selec"), "any", "syntax error at or near"),
    ]  # fmt: skip
    for task, (sql, template, words) in enumerate(rows, 20):
        line = one.ready()
        line.say(order(task, sql, template=template))
        ended = line.ended(task)
        assert ended.verdict is Verdict.FAILED and ended.reason in ("exit code 2", "exit code 3"), ended
        assert words in ended.result.tail, ended
    # One that takes longer than its limit is cancelled in the server.
    line = one.ready()
    line.say(order(30, Sql("select pg_sleep(1000)"), template="any", time_limit=1.5))
    ended = line.ended(30)
    assert (ended.verdict, ended.reason) == (Verdict.TIMED_OUT, "time limit of 1.5 s passed")
    assert "canceling statement due to user request" in ended.result.tail


def _try_no_server(one: Host, tmp_path: Path) -> None:
    (tmp_path / f".s.PGSQL.{PORT}").unlink()
    verdict, said, _ = _run(one, 40, Sql("select 1"))
    assert verdict is Verdict.FAILED and "Is the server running locally" in said


def _try_stops(one: Host) -> None:
    # Stopped: the server does not go on with it.
    line = one.ready()
    line.say(order(7, Sql("select pg_sleep(1000)"), template="any"))
    line.began(7)
    probe = Sql("select count(*) from pg_stat_activity where query like '%(1000)%' and pid <> pg_backend_pid()")
    numbers = iter(range(100, 1000))
    asleep = lambda count: f" {count}\n" in _run(one, next(numbers), probe)[2]  # noqa: E731
    wait_for("the statement runs", lambda: asleep(1))
    line = one.ready()
    line.say(StopRun(7, 1, Verdict.CANCELLED, "enough", 5.0))
    ended = line.ended(7)
    assert ended.verdict is Verdict.CANCELLED and "canceling statement" in ended.result.tail
    # Killed without a word: the server misses its client.
    line.say(order(8, Sql("select pg_sleep(1000)"), template="any"))
    line.began(8)
    wait_for("the statement runs", lambda: asleep(1))
    line = one.ready()
    line.say(StopRun(8, 1, Verdict.CANCELLED, "enough", 0.0))
    line.ended(8)
    wait_for("the statement is over", lambda: asleep(0))
