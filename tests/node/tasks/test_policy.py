"""What a host runs, by its own rules alone."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster.tasks.policy import Rules, refusal
from qluster.tasks.spec import Command, Script, Sql, Work

SOME = Rules(commands=("/usr/bin/vacuumdb", "/opt/jobs/"), users=("batch",), sql_roles=("reporting",))
SHELL = Rules(shell=True)


def command(path: str, **more: object) -> Command:
    """A program."""
    return Command((path,), **more)  # type: ignore[arg-type]


ROWS: list[tuple[str, Work, str, Rules, str, str]] = [
    ("listed", command("/usr/bin/vacuumdb"), "", SOME, "", ""),
    ("listed, and a link", command("/usr/bin/vacuumdb"), "", SOME, "/usr/share/wrapper", ""),
    ("in a listed directory", command("/opt/jobs/nightly/run"), "", SOME, "", ""),
    ("a link out of a directory", command("/opt/jobs/run"), "", SOME, "/bin/sh", "/opt/jobs/run leads to /bin/sh"),
    ("a link within it", command("/opt/jobs/run"), "", SOME, "/opt/jobs/v2/run", ""),
    ("a way out by two dots", command("/opt/jobs/../../bin/sh"), "", SOME, "/bin/sh", "not in tasks.commands"),
    ("the directory's name alone", command("/opt/jobsx"), "", SOME, "", "not in tasks.commands"),
    ("nothing listed", command("/bin/true"), "", Rules(), "", "(it is empty): add it there, or store the task as a"),
    ("a template needs no list", command("/bin/true"), "nightly", Rules(), "", ""),
    ("no absolute path", command("vacuumdb"), "", SOME, "/usr/bin/vacuumdb", "not in tasks.commands"),
    ("a variable", command("/usr/bin/vacuumdb", environment=(("PGAPPNAME", "x"),)), "", SOME, "", ""),
    ("one that makes it another program", command("/opt/jobs/x", environment=(("A", ""), ("BASH_ENV", "/tmp/x"))), "",
     SOME, "", "BASH_ENV in its environment may have /opt/jobs/x run other code"),
    ("where it is searched", command("/opt/jobs/x", environment=(("PATH", "/tmp"),)), "", SOME, "", "PATH in its env"),
    ("the same in a template", command("/opt/jobs/x", environment=(("PATH", "/tmp"),)), "nightly", SOME, "", ""),
    ("the same with a shell", command("/opt/x", environment=(("PS4", "$(id)"),)), "", Rules(("/opt/x",), shell=True),
     "", ""),
    ("another user", command("/usr/bin/vacuumdb", user="batch"), "", SOME, "", ""),
    ("a user not listed", command("/usr/bin/vacuumdb", user="root"), "", SOME, "", "user root is not in tasks.users"),
    ("a shell", command("rm -rf /", shell=True), "", SOME, "", "tasks.shell of this host is false"),
    ("a shell that may be", command("ls | wc", shell=True), "", SHELL, "", ""),
    ("a role", Sql("select 1", role="reporting"), "", SOME, "", ""),
    ("a role not listed", Sql("select 1", role="qhb"), "", SOME, "", "role qhb is not in tasks.sql-roles"),
    ("no role", Sql("select 1"), "", SOME, "", "SQL without a role is not in tasks.sql-roles"),
    ("a command of psql", Sql("\\! id", role="reporting"), "", SOME, "", "backslash"),
    ("one in a variable", Sql("select :x", role="reporting", variables=(("x", "\\! id"),)), "", SOME, "", "backslash"),
    ("one in a template", Sql("\\timing on"), "nightly", SOME, "", ""),
    ("a script", Script("pass"), "", SOME, "", "store it as a template"),
]


@pytest.mark.parametrize(("work", "template", "rules", "real", "words"), [row[1:] for row in ROWS],
                         ids=[row[0] for row in ROWS])  # fmt: skip
def test_a_host_runs_what_its_rules_have(work: Work, template: str, rules: Rules, real: str, words: str) -> None:
    path = real or (work.argv[0] if isinstance(work, Command) else "")
    said = refusal(work, template, rules, path)
    assert words in said
    assert bool(said) == bool(words)
