"""Words for a quorum that was forced, as they are shown.

Must not know anything else of the program.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from msgspec import Struct


class LostNode(Struct, frozen=True, kw_only=True):
    """A node that was given up."""

    node: int
    ip: str


class ForcedStatus(Struct, frozen=True, kw_only=True):
    """A founding that went on by force from the one before it."""

    founding: int
    former: int
    """The founding that lost its majority: its nodes join this one when they are back."""
    node: int
    """Whose log it went on from."""
    index: int
    """Where that log ended."""
    term: int
    counted_on: tuple[int, ...]
    given_up: tuple[LostNode, ...]
    fenced: tuple[int, ...]
    """Those of them whose hosts agents switched off; an operator saw the others off."""
    at: float
    """Seconds since 1970."""
    by: str = ""
    """Who asked for it, by his own word; "" when he did not say."""
    outside: tuple[LostNode, ...] = ()
    """Those given up who are no members yet: whoever starts one of them sees it join, with a new number."""
    awaited: tuple[int, ...] = ()
    """Those counted on who are back and do not vote yet, or not back."""
