"""The keys of the section ``tasks``: what this host runs, for whom, and as whom.

It must not know what a task is.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from .key import Key
from .kinds import Flag, Items, Path, Table, Text, Whole

TASK_KEYS = (
    Key("tasks.slots", Whole(0, 1000), "4",
        "How many tasks run here at once, each taking one slot unless it says more."),
    Key("tasks.resources",
        Table("section: resource → amount", r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", "a name for the resource",
              r"[0-9]{1,9}", "a whole number"), "",
        "What else tasks may ask for, and how much of it is here: names of the operator's choice."),
    Key("tasks.labels",
        Table("section: label → value", r"[A-Za-z0-9][A-Za-z0-9_./-]{0,62}", "a name for the label",
              r"[A-Za-z0-9_./:-]{0,128}", "letters, digits, and . _ / : -"), "",
        "What tasks may ask of a node: `disk: ssd`, `zone: a`. `node` and `ip` are there by themselves."),
    Key("tasks.dir", Path(), None,
        "Where output and working directories of tasks are; not given: `tasks` in `state-dir`.", optional=True),
    Key("tasks.output-total", Whole(1, 10_000_000), "1024",
        "MiB of output of tasks that are over that are kept here; the oldest goes."),
    Key("tasks.commands",
        Items("list of absolute paths", r"/[^\x00-\x1f\x7f]{0,1023}", "an absolute path; a directory ends with /"), "",
        "Programs that a task may run here without a template: files, or with a `/` at the end whatever is in that "
        "directory. Empty: none."),
    Key("tasks.user", Text("user", r"[a-z_][a-z0-9_-]{0,31}[$]?", "a user's name", size_max=32), None,
        "User as whom a task's program runs that names none; not given: the task runner's own, who can read what the "
        "daemon can. SQL always runs as the task runner's, scripts as `tasks.dask-user`.", optional=True),
    Key("tasks.users", Items("list of users", r"[a-z_][a-z0-9_-]{0,31}[$]?", "a user's name"), "",
        "Further users that a task without a template may name here. The service of the task runner must name them "
        "too (`--users`)."),
    Key("tasks.work-dir", Path(), None,
        "Where the working directories of tasks are, each its user's own; not given: `work` beside a run's output, "
        "where a task of another user must be able to pass through all directories above.", optional=True),
    Key("tasks.processes", Whole(0, 4_194_304), "4096",
        "Processes and threads that `tasks.user`, or another user whom a task names, may have on this host, in all "
        "tasks together (the kernel's limit of processes for a user); 0: no limit but the host's."),
    Key("tasks.sql-roles", Items("list of database roles", r"[^\x00-\x1f\x7f]{1,63}", "a role's name"), "",
        "Roles as whom a task may run SQL without a template; the runner's user logs in as them here, without a "
        "password. Empty: none."),
    Key("tasks.program-roles", Items("list of database roles", r"[^\x00-\x1f\x7f]{1,63}", "a role's name"), "",
        "Roles as whom `tasks.user` and `tasks.dask-user` log in to this host's database without a password, by its "
        "socket: for programs such as pg_dump. Not the superuser's, who reads the database's files. Empty: none."),
    Key("tasks.shell", Flag(), "false", "Whether a task without a template may have its command read by a shell."),
    Key("tasks.dask-python", Path(), None,
        "A Python that has Dask: this host takes part in the Dask cluster (`qluster dask`). Not given: it does not.",
        optional=True),
    Key("tasks.dask-port", Whole(1024, 65_000), "8786", "Port of Dask's scheduler; Dask uses 164 more from there on."),
    Key("tasks.dask-user", Text("user", r"[a-z_][a-z0-9_-]{0,31}[$]?", "a user's name", size_max=32), None,
        "User as whom scheduler, workers and scripts run; not given: that of the services, who can read what the "
        "daemon can. The services of Dask and of the task runner must name it too (`--users`).", optional=True),
    Key("tasks.dask-dir", Path(), None,
        "Where `qluster dask` tells scripts the scheduler's address; Dask's own files are in `home` there, which must "
        "be `tasks.dask-user`'s. Not given: `dask` in `tasks.dir`.", optional=True),
    Key("tasks.dask-certificate-file", Path(), None,
        "By which Dask's programs prove who they are, readable for `tasks.dask-user`; not given: "
        "`api.certificate-file`.", optional=True),
    Key("tasks.dask-key-file", Path(), None,
        "The key of that certificate; not given: `api.key-file`.", optional=True),
    Key("tasks.dask-ca-file", Path(), None,
        "Whose certificates Dask's programs believe: who has one may run programs as `tasks.dask-user` on every host "
        "with Dask. Not given: `api.ca-file`.", optional=True),
)
