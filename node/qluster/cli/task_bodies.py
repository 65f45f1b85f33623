"""Makes the bodies of requests about tasks from the words of the command line.

It must not ask anybody: whether a body makes sense is judged by who takes it on.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qluster.cli.task_words import BESIDE_A_FILE


class Wrong(ValueError):
    """The command line contradicts itself; the message says how."""


def described(chosen: argparse.Namespace) -> object:
    """The body of a submission."""
    if chosen.file is not None:
        return _file(chosen)
    works = {"command": chosen.argv or None, "shell": chosen.shell, "sql": chosen.sql, "template": chosen.template}
    found = _given(works)
    if len(found) != 1:
        raise Wrong("say what is to run: a program, --shell, --sql, --template or --file, and one of them only")
    target = {"role": chosen.role, "nodes": chosen.node or None, "where": chosen.where,
              "least_lag": chosen.least_lag or None, "each": chosen.each or None, "pack": chosen.pack or None,
              "fail": chosen.fail or None}  # fmt: skip
    retry = {"attempts": chosen.retry, "delay": _span(chosen.retry_delay), "factor": chosen.retry_factor}
    return found | _filling(chosen) | _given({
        "environment": _pairs("--env", chosen.env) or None, "directory": chosen.directory, "user": chosen.user,
        "database": chosen.database, "role": chosen.sql_role,
        "variables": _pairs("--variable", chosen.variable) or None, "target": _given(target) or None,
        "slots": chosen.slots, "resources": _numbers("--resource", chosen.resource) or None,
        "time_limit": _span(chosen.time_limit), "once": chosen.once or None, "overlap": chosen.overlap or None,
        "moved": chosen.moved, "retry": _given(retry) or None, "group": chosen.group,
        "group_limit": chosen.group_limit, "limits": _numbers("--limit", chosen.limit) or None,
        "key": chosen.key, "start": chosen.start, "expires": chosen.expires,
        "needs": [_need(word) for word in chosen.need] or None,
    })  # fmt: skip


def scheduled(chosen: argparse.Namespace) -> object:
    """The body of a schedule."""
    if chosen.file is not None:
        return _file(chosen)
    if chosen.cron is None or chosen.template is None:
        raise Wrong('say when and what: --cron "MINUTE HOUR DAY MONTH WEEKDAY" and --template NAME, or --file')
    rest = {"zone": chosen.zone, "missed": chosen.missed, "overlap": chosen.overlap or None,
            "enabled": False if chosen.disabled else None}  # fmt: skip
    return {"cron": chosen.cron, "task": {"template": chosen.template, **_filling(chosen)}, **_given(rest)}


def _filling(chosen: argparse.Namespace) -> dict[str, Any]:
    """What is said of any task, also of a template's."""
    return _given({"parameters": _pairs("--parameter", chosen.parameter) or None, "name": chosen.name,
                   "priority": chosen.priority})  # fmt: skip


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    """Only what is said is asked for: all else is as whoever takes it on has it."""
    return {name: value for name, value in fields.items() if value is not None}


def _file(chosen: argparse.Namespace) -> object:
    """What a file says, and nothing beside it: what would be left out in silence is refused."""
    beside = [name for name, value in vars(chosen).items()
              if name not in BESIDE_A_FILE and value is not None and value is not False and value != []]  # fmt: skip
    if beside:
        what = "a program" if beside[0] == "argv" else "--" + beside[0].replace("_", "-")
        raise Wrong(f"--file has all of it: {what} has no place beside it, write it into the file")
    try:
        text = sys.stdin.read() if chosen.file == "-" else Path(chosen.file).read_text(encoding="utf-8")
        return json.loads(text)
    except (OSError, ValueError) as error:
        raise Wrong(f"{chosen.file}: cannot be read as JSON ({error})") from None


def _pairs(option: str, words: Sequence[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    if any(not name or not equals for name, equals, _ in pairs):
        raise Wrong(f"{option} is written as NAME=VALUE")
    return {name: value for name, _, value in pairs}


def _numbers(option: str, words: Sequence[str]) -> dict[str, float | int]:
    found: dict[str, float | int] = {}
    for name, value in _pairs(option, words).items():
        try:
            found[name] = int(value) if value.isdecimal() else float(value)
        except ValueError:
            raise Wrong(f"{option} {name}={value}: a number is needed") from None
    return found


def _span(word: str | None) -> float | str | None:
    """A bare number is seconds, as for ``--patience`` and ``--seconds``."""
    return float(word) if word is not None and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,3})?", word) else word


def _need(word: str) -> object:
    number, colon, on = word.partition(":")
    if not number.isdecimal():
        raise Wrong(f"--need {word} is written as TASK or TASK:END, where END is success, failure or any")
    return {"task": int(number), "on": on} if colon else int(number)
