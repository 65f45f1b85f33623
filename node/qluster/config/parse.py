"""From the text of config.yaml to a Config, or to all that is wrong with it at once.

It must not open files: the text and the name to show come as arguments.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import msgspec
from msgspec.structs import replace

from . import rules
from .document import ConfigErrors, Fault
from .keys import KEYS, OPTIONAL_SECTIONS, SECTIONS
from .schema import Schema, default
from .structure import Config

__all__ = ["SCHEMA", "build", "default", "parse"]

SCHEMA = Schema(KEYS, SECTIONS, OPTIONAL_SECTIONS)


def parse(text: str, name: str) -> Config:
    """The configuration in ``text``; ``name`` is the file's name for messages.

    Raises ConfigErrors with every fault.
    """
    read = SCHEMA.read(text, name)
    config = build(read.values, read.sections)
    between = [Fault(fault.key, fault.message, read.lines.get(fault.key, 0)) for fault in rules.faults(config)]
    if between:
        raise ConfigErrors(name, between)
    return config


def build(values: dict[str, object], sections: dict[str, int]) -> Config:
    """The Config of values by path; optional sections only where they were given."""
    config = msgspec.convert(SCHEMA.tree(values, sections), Config)
    if config.database is None or config.tasks is None:
        return config
    # Whom its server lets in is the database's matter, whatever for.
    tasks = config.tasks
    return replace(config, database=replace(
        config.database, task_roles=tasks.sql_roles,
        program_users=tuple(dict.fromkeys(user for user in (tasks.user, tasks.dask_user) if user)),
        program_roles=tasks.program_roles if tasks.user else ()))
