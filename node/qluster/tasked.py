"""What there is to see of tasks in a few numbers, as plain values: a part of ``status.py``.

Nothing here decides anything.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from msgspec import Struct, field


class SlotsStatus(Struct, frozen=True, kw_only=True):
    """What a node offers to tasks, and what those that it has take of it."""

    node: int
    ip: str
    total: int
    used: int


class TasksStatus(Struct, frozen=True, kw_only=True):
    """Tasks on this host, and how many there are in the cluster by the log as far as it is known here."""

    enabled: bool = False
    """This host runs tasks: its config.yaml has the section tasks."""
    fault: str = ""
    """Why this host begins none all the same; "" when it does."""
    running: int = 0
    """Tasks that this host has, begun or about to begin."""
    states: dict[str, int] = field(default_factory=dict)
    """Tasks that are not over, by state; states without any are left out."""
    history: int = 0
    """Tasks that are over and still known."""
    slots: tuple[SlotsStatus, ...] = ()
    """Of each node that has said what it has for tasks; only the leader knows."""
