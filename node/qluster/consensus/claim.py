"""Decides whether one of two nodes may go on without the other, because that one's host was switched off.

Must not know how a host is fenced; it is told that it was.

A list with ``two_node`` has two voters, and each entry needs both. Alone, a node may **claim**: it counts the other's
vote and its copy as given, if and only if

- the other's host was switched off by a fencing that was ordered after the last contact, and it was not heard since:
  so the other neither leads nor confirms anything beside it (the two never claim side by side), and
- its own episode is unbroken: under this list an entry was committed that it got after it started. For that the other
  must have counted this node's answer. Whoever was switched off has started anew; until that happens again the other
  may have claimed, and have entries that this node lacks.

The first entry of a claim is a list in which the other rests, so the log says from then on that one node is enough, and
whoever has an entry of that office has this list before it. Hence a node that sees an entry committed after its start,
under the list of two, was not passed over by a claim.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from math import inf

from msgspec.structs import replace

from qluster.consensus.members import Members


class Claim:
    """What one participant knows of the other one of two."""

    def __init__(self, last_index: int) -> None:
        self._fresh_after = last_index
        """An entry behind this one that is committed was confirmed by this node since it started."""
        self._fenced = 0
        self._ordered_at = -inf

    def taken_over(self, index: int) -> None:
        """A snapshot took the place of the log up to here: what it covers was confirmed by nobody here."""
        self._fresh_after = max(self._fresh_after, index)

    def fenced(self, node: int, ordered_at: float) -> None:
        """The host of a node is off, by a fencing that was ordered then."""
        self._fenced, self._ordered_at = node, ordered_at

    def off(self, node: int, heard_at: float | None) -> bool:
        """Whether that host is known to be off: it was not heard since the fencing was ordered."""
        return node == self._fenced and (heard_at is None or heard_at <= self._ordered_at)

    def unbroken(self, members: Members, members_index: int, commit_index: int) -> bool:
        """Whether this list, at that index, is in force and nobody can have gone on without this node."""
        return members.two_node and commit_index > max(self._fresh_after, members_index)


def other_of(members: Members, node: int) -> int:
    """The other one of two voters; 0 where there are not two, or this node is none of them."""
    others = members.voters - {node}
    return next(iter(others)) if len(others) == 1 and node in members.voters else 0


def as_two(members: Members, *, wanted: bool) -> Members:
    """With the word that one of the two voters may go on without the other, where that is wanted and sound.

    They are two equal ones, both of whom confirm each entry; and one copy is as many as are asked for.
    """
    votes = [member.votes for member in members if member.voter]
    sound = votes == [1, 1] and not members.device and not members.tie and members.quorum_replication
    sound = sound and members.replication_factor < 2
    return replace(members, two_node=wanted and sound)
