"""The configuration file of pgBackRest, from our own, the operator's file and what the daemon knows.

It must not know the host: paths and the text of the operator's file are arguments.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from qluster.config import Backup, Database
from qluster.config.pgbackrest import refusal

Options = list[tuple[str, str]]
FOREVER = "9999999"
"""Days for which pgBackRest itself keeps a backup: we tell it which ones go."""
_SECTION = re.compile(r"\[([^\[\]]+)\]")
_FILE_TYPES = ("posix", "cifs")


def stanza_name(settings: Backup, system_id: int) -> str:
    """Name of a database in the repository."""
    return settings.stanza or f"qluster-{system_id}"


def operator_sections(text: str, stanzas: Sequence[str]) -> dict[str, Options]:
    """The operator's file, checked; raises :class:`ValueError` with what is wrong."""
    found: dict[str, Options] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        plain = line.strip()
        if not plain or plain.startswith("#"):
            continue
        if match := _SECTION.fullmatch(plain):
            section = match[1]
            if section.partition(":")[0] not in ("global", *stanzas):
                raise ValueError(f"line {number} begins a section [{section}]: use [global], [global:COMMAND], "
                                 f"[{stanzas[0]}] or [{stanzas[0]}:COMMAND]")  # fmt: skip
            continue
        option, equals, value = plain.partition("=")
        option = option.strip()
        # Never with its value: this text may reach a log.
        if not equals or not section:
            raise ValueError(f"line {number} is no option=value below a [section]")
        if reason := refusal(option) or ("write it into backup.pgbackrest" if option.startswith("pg") else ""):
            raise ValueError(f"line {number}: {option} cannot be set: {reason}")
        found.setdefault(section, []).append((option, value.strip()))
    return found


def conf_text(
    settings: Backup, database: Database, *, stanza: str, folder: str, operator: Mapping[str, Options],
    repository: str = "",
) -> str:  # fmt: skip
    """The file; ``folder`` is a place of the daemon's own, ``repository`` another directory to read from."""
    shared_by_all = operator.get("global", [])
    given = dict(shared_by_all) | settings.pgbackrest
    # Several values of one option, such as exclude, stand in the operator's file only.
    several = [(name, value) for name, value in shared_by_all if _repeated(name, shared_by_all)]
    shared = {
        **_defaults(settings, given, folder),
        **{name: value for name, value in given.items() if not name.startswith("pg") and name not in dict(several)},
        **({"repo1-path": repository} if repository else {}),
        **_decided(folder),
    }
    lines = ["# Written by the qluster daemon; what is edited here is lost."]
    lines += _section("global", [*shared.items(), *several])
    lines += _section(stanza, [*server_options(database, 1, database.data_dir), *operator.get(stanza, [])])
    for name, options in operator.items():
        if name.partition(":")[0] in ("global", stanza) and ":" in name:
            lines += _section(name, options)
    return "\n".join(lines) + "\n"


def _decided(folder: str) -> dict[str, str]:
    """What an operator cannot say otherwise."""
    return {
        "lock-path": f"{folder}/lock",
        "log-level-console": "off",
        "log-level-stderr": "warn",
        "log-timestamp": "n",
        "expire-auto": "n",
        "repo1-retention-full-type": "time",
        "repo1-retention-full": FOREVER,
    }


def server_options(database: Database, number: int, data: str) -> Options:
    """Where a server of the cluster is, as it is seen on its own host."""
    return [
        (f"pg{number}-path", data),
        (f"pg{number}-socket-path", database.socket_dir),
        (f"pg{number}-port", str(database.port)),
        (f"pg{number}-user", database.superuser),
        (f"pg{number}-database", "postgres"),
    ]


def way_to_primary(settings: Backup) -> Options:
    """Options of the way to another host's database; none: there is no way."""
    return [(name, value) for name, value in sorted(settings.pgbackrest.items()) if name.startswith("pg2-host-")]


def repository_dir(text: str) -> str:
    """The directory that a repository in a file system lies in, as a file says; "" for another kind."""
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    kind = found.get("repo1-type", found.get("repo-type", "posix"))
    return found.get("repo1-path", found.get("repo-path", "")) if kind in _FILE_TYPES else ""


def _defaults(settings: Backup, given: Mapping[str, str], folder: str) -> dict[str, str]:
    """What an operator may say otherwise."""
    found = {"spool-path": f"{folder}/spool", "log-level-file": "off", "start-fast": "y"}
    if not any(name.startswith("compress") for name in given):
        level = settings.compression
        found |= {"compress-type": "gz", "compress-level": str(level)} if level else {"compress-type": "none"}
    if "repo1-path" not in given and "repo-path" not in given:
        found["repo1-path"] = settings.dir
    return found


def _repeated(name: str, options: Sequence[tuple[str, str]]) -> bool:
    return sum(other == name for other, _ in options) > 1


def _section(name: str, options: Sequence[tuple[str, str]]) -> list[str]:
    return ["", f"[{name}]", *(f"{option}={value}" for option, value in options)]
