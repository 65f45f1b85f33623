"""Makes a plan of what a task says: words, environment, directory, limits.

It must not know whether the task may: that is ``tasks/policy.py``.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
import os
import pwd
import re
import subprocess
from collections.abc import Collection
from pathlib import Path

from qluster.config import Config, Database
from qluster.edge.dask import words as dask
from qluster.edge.runner import kin
from qluster.edge.runner.groups import Groups
from qluster.edge.runner.plan import Plan
from qluster.edge.runner.program import Unstartable
from qluster.edge.runner.record import Record
from qluster.edge.runner.rights import Users
from qluster.edge.runner.works import Works
from qluster.tasks.runner import StartRun
from qluster.tasks.spec import Command, Limits, Script, Sql

log = logging.getLogger("qluster.runner")

MARK = "QLUSTER_TASK_RUN"
"""Variable by which all processes of a run are known."""
SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CHECK_INTERVAL_SINCE = 14
"""Major version since which a server looks now and then whether its client is there."""
VERSION_LIMIT = 10.0
"""Seconds for a program to say its version."""


class Preparing:
    """What plans are made of on this host."""

    def __init__(self, config: Config, groups: Groups, works: Works, users: Users) -> None:
        """``users``: whom programs may become."""
        self._config = config
        self._database = config.database
        self._groups = groups
        self._works = works
        self._users = users
        self._options: str | None = None
        self._blind = kin.hidden_from_us()
        if self._blind and not groups.usable and (users is None or users):
            log.warning("runner-sees-nothing reason=/proc is mounted with hidepid, and there are no control groups "
                        "hint=tasks of other users are killed one generation after the other, and their limits of "
                        "memory and processes cannot be held; give the runner control groups, or mount /proc with gid= "
                        "a group of its user")  # fmt: skip

    def reread(self, config: Config) -> None:
        """Go on with another configuration."""
        self._config = config

    def plan(self, order: StartRun, record: Record, group: str, until: float) -> Plan:
        """The plan of a run; raises :class:`Unstartable`. It may ask a program for its version: call it in a thread."""
        more: dict[str, str] = {}
        own_work = str(self._works.path(record.path.name))
        match order.work:
            case Command() as work:
                argv, directory, user = self._command(work, own_work)
                own, given, stop = work.environment, "/dev/null", 15
            case Sql() as work:
                argv, more, given = self._sql(work, order, record)
                own, directory, user, stop = (), own_work, "", 2
            case Script() as work:
                argv, more, user = self._script(work, own_work)
                own, directory, given, stop = (), own_work, "/dev/null", 15
        mark = str(record.path)
        environment = {
            "PATH": SEARCH, "LANG": "C.UTF-8", "HOME": own_work, "TMPDIR": own_work,
            **more, **dict(own), **dict(order.environment), MARK: mark,
        }  # fmt: skip
        limits, held = order.limits, self._groups.controllers if group else frozenset()
        if user and self._blind:
            _hold(limits, held, group)
        return Plan(
            tuple(argv), tuple(environment.items()), directory, given, order.time_limit, order.tied, until, group,
            0 if "memory" in held else limits.memory, 0 if "pids" in held else limits.processes, user,
            own_work if user else "", self._crowd() if user else 0, stop, f"{MARK}={mark}",
        )  # fmt: skip

    def _command(self, work: Command, own_work: str) -> tuple[list[str], str, str]:
        if not work.argv:
            raise Unstartable("it names no program")
        argv = ["/bin/sh", "-c", work.argv[0]] if work.shell else list(work.argv)
        if not os.path.isabs(argv[0]):
            raise Unstartable(f"{argv[0]} is no absolute path: name the program with its whole path")
        tasks = self._config.tasks
        user = self._user(work.user or (tasks.user if tasks is not None else None) or "", own_work)
        return argv, work.directory or own_work, user

    def _user(self, wanted: str, own_work: str) -> str:
        """Whom it must become, and can get to where it works; "" where it is the runner's own user."""
        if not wanted or wanted == pwd.getpwuid(os.geteuid()).pw_name:
            return ""
        if self._users is not None and wanted not in self._users:
            named = ", ".join(self._users) or "none"
            raise Unstartable(
                f"as user {wanted} it cannot run here: the task runner may become {named}. Let its service name that "
                f"user (--users) and give it the capabilities for that (docs/tasks.md), or name another user"
            )
        try:
            pwd.getpwnam(wanted)
        except KeyError:
            raise Unstartable(f"its user {wanted} is not known on this host: create it, or name another") from None
        if not self._works.apart:
            _let_pass(Path(own_work))
        return wanted

    def _crowd(self) -> int:
        return self._config.tasks.processes if self._config.tasks is not None else 0

    def _script(self, work: Script, own_work: str) -> tuple[list[str], dict[str, str], str]:
        tasks = self._config.tasks
        if tasks is None or not tasks.dask_python:
            raise Unstartable("there is no Dask cluster here: bring it with the role dask (tasks.dask-python), or give "
                              "the task a target that has it")  # fmt: skip
        user = self._user(tasks.dask_user or "", own_work)
        # The directory becomes that user's; the file in it stays ours, and can be read by who gets to it.
        text = Path(own_work, "script.py")
        text.write_text(work.text, encoding="utf-8")
        text.chmod(0o644)
        directory = dask.directory_of(self._config, tasks)
        return dask.script(tasks, str(text), directory, work.arguments), dask.environment(self._config), user

    def _sql(self, work: Sql, order: StartRun, record: Record) -> tuple[list[str], dict[str, str], str]:
        database = self._database
        if database is None:
            raise Unstartable("this host has no database: give the task a target with the role leader or replica")
        given = record.path / "sql"
        # No arguments, which everybody on the host can read; on one line, so that errors name the lines of the text.
        sets = "".join(f"\\set {name} {_quoted(value)} " for name, value in work.variables)
        given.write_text((f"{sets}\\\\ " if sets else "") + work.text, encoding="utf-8")
        given.chmod(0o600)
        program = os.path.join(database.bin_dir, database.programs.get("psql", "psql"))
        trusted = bool(order.template)
        login = database.superuser if trusted or not work.role else work.role
        argv = [program, "-X", "-q", "--no-password", "-h", database.socket_dir, "-p", str(database.port)]
        argv += ["-U", login, "-d", work.database, "-v", "ON_ERROR_STOP=1", "-f", "-"]
        options = self._server_options(program, database)
        if trusted and work.role:
            options += f" -c role={_escaped(work.role)}"
        environment = {"PGAPPNAME": f"qluster-task-{order.task}-{order.fence}", "PGOPTIONS": options.strip(),
                       "PGCONNECT_TIMEOUT": "10", "PGCLIENTENCODING": "UTF8"}  # fmt: skip
        if database.library_dir:
            environment["LD_LIBRARY_PATH"] = database.library_dir
        return argv, environment, str(given)

    def _server_options(self, program: str, database: Database) -> str:
        """A server that looks for its client ends the statement of a task that was killed."""
        if self._options is None:
            self._options = ""
            if _major(program, database.library_dir) >= CHECK_INTERVAL_SINCE:
                self._options = "-c client_connection_check_interval=500"
        return self._options


def _hold(limits: Limits, held: Collection[str], group: str) -> None:
    """Raise :class:`Unstartable` where a limit, or its end, would take a look at what cannot be seen."""
    if not group and not kin.LISTED:
        raise Unstartable(
            "all that it begins could not be ended here: /proc hides the processes of other users (hidepid), the "
            "kernel does not list children (CONFIG_PROC_CHILDREN), and there are no control groups for it. Give the "
            "task runner control groups, or mount /proc with gid= a group of its user"
        )
    wanted = {"memory": ("memory", limits.memory), "processes": ("pids", limits.processes)}
    lacking = [name for name, (controller, limit) in wanted.items() if limit and controller not in held]
    if lacking:
        raise Unstartable(
            f"its limits of {' and '.join(lacking)} cannot be held here: /proc hides the processes of other users "
            f"(hidepid), and there are no control groups for it. Give the task runner control groups, mount /proc with "
            f"gid= a group of its user, or leave these limits out"
        )


def _let_pass(work: Path) -> None:
    """Those above can be passed, not read."""
    for place in list(work.parents)[:3]:
        os.chmod(place, 0o711)


def _quoted(value: str) -> str:
    """As an argument of a command of psql."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n").replace("\r", "\\r") + "'"


def _escaped(value: str) -> str:
    """As an option of a server: a backslash before what would end it."""
    return re.sub(r"([\\\s])", r"\\\1", value)


def _major(program: str, library_dir: str) -> int:
    environment = {"LD_LIBRARY_PATH": library_dir} if library_dir else {}
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=VERSION_LIMIT,
                              env=environment, check=False).stdout  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r"PostgreSQL\D*(\d+)", said)
    return int(found[1]) if found else 0


def real_path(work: object) -> str:
    """A program's path without links; "" where there is none."""
    return os.path.realpath(work.argv[0]) if isinstance(work, Command) and work.argv else ""


def leftover_mark(path: Path) -> str:
    """What is in the environment of the processes of a run."""
    return f"{MARK}={path}"
