"""What there is to see of two nodes of which one may go on alone, as plain values: a part of ``status.py``.

Nothing here decides anything.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from msgspec import Struct


class ShotStatus(Struct, frozen=True, kw_only=True):
    """The last shot of this node at the other one's host, since its daemon started."""

    node: int
    ip: str
    success: bool
    """The agents say that the host is off."""
    said: str
    """What they said."""
    ago: float
    """Seconds since it ended."""


class TwoNodeStatus(Struct, frozen=True, kw_only=True):
    """Two nodes of which one goes on alone when the other one's host was switched off (cluster.two-node: fencing)."""

    in_force: bool
    """The list of members has two voters, and either may go on without the other once that one's host is off."""
    other: int | None
    """The other one of the two; null: the list has not two voters, or this node is none of them."""
    able: bool
    """This node could have the other one's host switched off and go on without it, if that one fell silent now."""
    claim: str
    """none; waits: the other one is silent, and a shot is due; fencing: its host is being switched off; fenced: it is
    off, and this node is about to go on; alone: this node went on without it; failed: no shot is left, somebody must
    act; barred: the other one is silent, and this node must not go on without it."""
    reason: str
    """What it waits for, what stands against it, and what to do; "" for nothing."""
    heard_ago: float | None
    """Seconds since the other one was heard; null: not since this daemon started."""
    shots: int
    """Shots at it in this silence, of ``attempts``."""
    attempts: int
    next_in: float | None
    """Seconds until the next shot; null: none is due."""
    last: ShotStatus | None
