"""Decides which settings are in force on this node: those of its file, with what the log says.

Must not know who changes them, nor what is done with them.

A value that this version cannot take is passed over, and the node says so: it was good for the leader that took
it, and a node that ended because of it could never start again. No promise rests on it: how long a follower keeps
to a leader is in each of the leader's messages.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from qluster.config import Config, ConfigErrors, changeable, shared, with_changes


def in_force(file: Config, values: dict[str, str]) -> tuple[Config, str]:
    """The configuration with the log's values, and why some of them are passed over ("" when none is)."""
    mine, allowed = shared(file), set(changeable())
    changes = {key: value for key, value in values.items() if key in allowed and mine.get(key) != value}
    try:
        return with_changes(file, changes), ""
    except ConfigErrors as errors:
        config, fault = file, str(errors)
    for key, value in sorted(changes.items()):
        try:
            config = with_changes(config, {key: value})
        except ConfigErrors:
            continue
    return config, f"a newer version is needed for settings of the cluster: {' '.join(fault.split())}"
