"""What a node knows of fencing another one, as plain values: a part of ``status.py``.

Nothing here decides anything.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from msgspec import Struct


class FencedStatus(Struct, frozen=True, kw_only=True):
    """The last fencing of a node, as the log has it."""

    ago: float
    """Seconds since it was ordered, by the clocks of who ordered it and of this node."""
    by: int | None
    """Whose agents ran; None: an operator said that the host was off."""
    reign: int
    """The reign that was to end."""
    shots: int
    """How often it was fenced for that reign."""
    success: bool | None
    """None: the outcome is not known, or not yet."""
    said: str
    """What the agents said."""
    asked: bool
    """An operator asked for it."""


class FencingStatus(Struct, frozen=True, kw_only=True):
    """How a node can be fenced by the one that is asked ("": it cannot), and when it was last fenced by any."""

    action: str = ""
    agents: tuple[str, ...] = ()
    """By level, joined by + where all must succeed."""
    checked_ago: float | None = None
    """Seconds since these agents were last asked whether they reach their devices (``well``); None: not yet."""
    well: bool | None = None
    said: str = ""
    last: FencedStatus | None = None
    left_off: str = ""
    """Its host was fenced from the node that is asked, was to be switched on again, and that failed: what the agents
    said. "" where that is not so, or the node was heard since."""
