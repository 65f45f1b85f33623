"""Decides whether this host runs what it is told to, by its own configuration alone.

Must not know the cluster: whatever the log says, a host runs what its own operators allow. A task of a template is
allowed because templates are written with the deploying token; that the work is what the template makes of it was
checked where the task was accepted.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qluster.tasks.spec import Command, Script, Sql, Work

STEERING = frozenset((
    "PATH", "IFS", "ENV", "PS4", "SHELLOPTS", "CDPATH", "GLOBIGNORE", "FPATH", "ZDOTDIR", "NULLCMD", "READNULLCMD",
    "TMPPREFIX", "GCONV_PATH", "LOCPATH", "NLSPATH", "TERMCAP", "TERMPATH", "LOCALDOMAIN", "RES_OPTIONS", "HOSTALIASES",
    "GLIBC_TUNABLES", "_JAVA_OPTIONS", "PHPRC", "TCLLIBPATH", "PAGER", "EDITOR", "VISUAL",
))  # fmt: skip
"""Variables by which a program runs other code than its own: what sudo removes as well, and more of the kind."""
STEERING_BEGINS = (
    "BASH", "PYTHON", "PERL", "RUBY", "NODE_", "JAVA_", "JDK_", "LUA_", "PHP_", "GIT_", "OPENSSL_", "TERMINFO", "LD_",
    "MALLOC_", "_RLD", "R_",
)  # fmt: skip
"""So all these begin."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Section ``tasks`` of the configuration."""

    commands: Sequence[str] = ()
    users: Sequence[str] = ()
    sql_roles: Sequence[str] = ()
    shell: bool = False


def refusal(work: Work, template: str, rules: Rules, real: str) -> str:
    """Why this host does not run it, and what to do; "" when it does. ``real`` is the program's path without links."""
    if template:
        return ""
    match work:
        case Command():
            return _against_command(work, rules, real)
        case Sql():
            return _against_sql(work, rules)
        case Script():
            return "a script without a template: store it as a template, with the deploying token"


def _against_command(work: Command, rules: Rules, real: str) -> str:
    if work.user and work.user not in rules.users:
        return (f"user {work.user} is not in tasks.users of this host ({_some(rules.users)}): add it there, or store "
                f"the task as a template")  # fmt: skip
    if work.shell:
        if rules.shell:
            return ""
        return "tasks.shell of this host is false: name a program and its arguments, or store the task as a template"
    path = work.argv[0]
    if not _listed(path, rules.commands):
        return (f"{path} is not in tasks.commands of this host ({_some(rules.commands)}): add it there, or store the "
                f"task as a template")  # fmt: skip
    if path in rules.commands or _listed(real, rules.commands):
        return _against_environment(work, rules)
    return (f"{path} leads to {real}, which is not in tasks.commands of this host ({_some(rules.commands)}): add that, "
            f"or store the task as a template")  # fmt: skip


def _against_environment(work: Command, rules: Rules) -> str:
    """A program that may be run is not yet whatever a variable makes of it: BASH_ENV alone makes a script a shell."""
    steering = [name for name, _ in work.environment if name in STEERING or name.startswith(STEERING_BEGINS)]
    if not steering or rules.shell:
        return ""
    return (f"{steering[0]} in its environment may have {work.argv[0]} run other code, and tasks.shell of this host is "
            f"false: leave it out, or store the task as a template")  # fmt: skip


def _against_sql(work: Sql, rules: Rules) -> str:
    if not work.role or work.role not in rules.sql_roles:
        named = f"role {work.role}" if work.role else "SQL without a role"
        return (f"{named} is not in tasks.sql-roles of this host ({_some(rules.sql_roles)}): add it there, or store "
                f"the task as a template")  # fmt: skip
    if any("\\" in text for text in (work.text, *(value for _, value in work.variables))):
        # psql takes what follows for a command of its own, and some of those run programs as the runner's user.
        return "it has a backslash, which begins commands of psql: leave it out, or store the task as a template"
    return ""


def _listed(path: str, commands: Sequence[str]) -> bool:
    if not path.startswith("/") or "/../" in path or path.endswith("/.."):
        return False
    return any(path == one or (one.endswith("/") and path.startswith(one)) for one in commands)


def _some(names: Sequence[str]) -> str:
    if not names:
        return "it is empty"
    shown = ", ".join(names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
