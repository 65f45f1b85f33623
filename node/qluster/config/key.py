"""Says what a key of config.yaml is.

It must not know any of them.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .kinds import Kind


class Change(StrEnum):
    """Whether a value is one for the whole cluster, and how it is changed."""

    HOST = "host"
    """Belongs to one host: its config.yaml says it."""
    CLUSTER = "cluster"
    """The same on all nodes, and fixed while the cluster lives: config.yaml on all hosts says it."""
    LIVE = "live"
    """The same on all nodes, kept in the log; a change takes effect at once."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key: where it stands, what it may be, and what it means."""

    path: str
    kind: Kind
    default: str | None
    """Text of the default; None when the key must be given."""
    meaning: str
    change: Change = Change.HOST
    optional: bool = False
    """Without a default and not given, it is None."""
