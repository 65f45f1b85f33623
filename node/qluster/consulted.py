"""What there is to see of the arbiter that a node asks, as plain values.

Must not know how it is asked. It belongs to ``status.py`` and is apart from it for its length only.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from msgspec import Struct


class DeviceStatus(Struct, frozen=True, kw_only=True):
    """The arbiter as this node sees it."""

    model: str
    host: str
    port: int
    algorithm: str
    way: str
    """How its vote may count: by memory, by episode, by formula, or not at all (empty)."""
    state: str
    """How far the connection is, in a few words."""
    connected: bool
    """The arbiter knows this node and its membership."""
    tls: bool
    error: str
    """Why the last connection ended, empty while one is of use."""
    ring: str | None
    """The membership that it is asked about; null: this node is in none yet."""
    answer: str | None
    """What it says of this membership: ack, nack, ask_later or wait_for_reply; null: nothing."""
    vote: str | None
    """Its last yes or no, ack or nack."""
    vote_ring: str | None
    """The membership that this was for."""
    vote_ago: float | None
    """Seconds since."""
    heuristics: str
    """Result of the last checks: pass, fail, or undefined."""
    heuristics_error: str
    episode: str
    """What broke the episode, empty while it is unbroken."""
    counts: bool
    reason: str
    """Why its vote does not count, empty where it does."""


class VotingDevice(Struct, frozen=True, kw_only=True):
    """The device that the list of members counts, or would count."""

    votes: int
    way: str
    uid: str
    """Which memory it is, or by episode which arbiter, sixteen hexadecimal digits."""
    counts: bool
    """Its word to this node counts now."""
    reason: str
    """Why it does not, "" when it does."""
