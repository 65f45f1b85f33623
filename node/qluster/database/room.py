"""Whether the disk of a database has room: for its next WAL, and for long.

It must not know how room is measured, nor who makes some.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from qluster.database.facts import Facts

SEGMENTS_LEAST = 2
"""Segments of WAL that must fit: a server that cannot make the next one ends, and needs one to start again."""
GENEROUS = 4
"""So many times that must be free where a primary goes because its own disk is full: it is not to go on from there."""
LOW_SHARE = 20
"""Little is left when it is less than this part of the disk ..."""
LOW_MOST = 8 << 30
"""... and less than these bytes: as much as a replica that is away may keep on it by default."""


def needed(facts: Facts) -> int:
    """Bytes that must be free for the server to go on."""
    return SEGMENTS_LEAST * facts.segment_size


def full(facts: Facts) -> bool:
    """Whether the server is about to end for want of room, or could not start."""
    return facts.room is not None and facts.room < needed(facts)


def shortage(facts: Facts) -> str:
    """What is wrong with the room, for people; "" when there is enough."""
    if facts.room is None or facts.room_total is None:
        return ""
    left = f"{facts.room >> 20} of {facts.room_total >> 20} MiB are left on the disk of the database"
    if full(facts):
        return f"{left}: writes fail or soon will; make room there, what can then goes on by itself"
    if facts.room < min(facts.room_total // LOW_SHARE, LOW_MOST):
        return f"only {left}"
    return ""
