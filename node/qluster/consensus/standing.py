"""What this node is told of its ring, and of the vote of an arbiter that keeps nothing: as it stands at this moment.

Must not know the arbiter's protocol, nor how rings are formed. It is news of one node: nobody hears it of another.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import inf

from qluster.consensus.members import EPISODE, FORMULA
from qluster.consensus.messages import NO_RING, Ring


@dataclass(frozen=True, slots=True)
class Standing:
    """The ring that this node is in, and what its own arbiter says of it over a connection that stands."""

    ring: Ring = NO_RING
    """It never comes again: who has left it is in a newer one, or in none."""
    members: frozenset[int] = frozenset()
    since: float = inf
    """When the arbiter acknowledged it; inf: it does not."""
    way: str = ""
    """As what its algorithm may be counted: "episode", "formula" or ""."""
    unbroken: bool = False
    """Since this node was last in sync it has not restarted, was not refused and did not lose its connection."""
    reason: str = "this node has no arbiter"
    """Why the vote does not count, "" when it may."""
    arbiter: int = 0
    """Which one it is: two nodes with the same number here ask the same one. 0: it is not known."""

    @property
    def acknowledged(self) -> bool:
        """Whether the arbiter acknowledges this ring."""
        return self.since < inf and self.ring != NO_RING

    @property
    def broken(self) -> bool:
        """Whether the vote would count by episode if this node were in sync."""
        return self.acknowledged and self.way == EPISODE and not self.unbroken

    def by_episode(self, present: Collection[int]) -> bool:
        """Whether the vote counts beside these, who have said what they are counted for in this ring."""
        stands = self.acknowledged and self.way == EPISODE and self.unbroken
        return stands and bool(self.members) and self.members.issubset(present)

    @property
    def by_formula(self) -> bool:
        """Whether the vote helps to elect."""
        return self.acknowledged and self.way in (EPISODE, FORMULA)


NOBODY_SAYS = Standing()
