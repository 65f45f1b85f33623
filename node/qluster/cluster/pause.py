"""Decides what a pause is in the replicated state, and who may reign in it and after it.

Must not know how a database is left alone, nor how a node proves that a lease binds it again.

In a pause the primary runs without a lease: people pause to work on the network, and a node that is cut off must
not end its database then. It may be cut off still when the others hear the resume, and take writes all the while.
So the node of the reign stays **loose** beyond the pause, and nobody else may reign until the log says that it is
bound again (it has applied the resume, durably), or an operator abandons it by its number. It follows that a
restart, a snapshot or an election changes nothing: who may reign is a matter of the log alone.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from qluster.cluster.commands import Bound, Paused, Reign, Resumed


class Pause(Struct, frozen=True, array_like=True):
    """The pause in force, and what the last one left behind."""

    active: bool = False
    reason: str = ""
    """The operator's words."""
    loose: int = 0
    """Node whose database may take writes without a lease; 0: none."""
    since: int = 0
    """Index of the entry since which this is so: of the last pause or resume."""

    def after(self, body: Paused | Resumed | Bound, index: int, reign: Reign | None) -> Pause:
        """What a committed command makes of it."""
        match body:
            case Paused(reason):
                return Pause(True, reason, reign.node if reign is not None else 0, index)
            case Resumed(abandoned):
                loose = 0 if abandoned and abandoned == self.loose else self.loose
                return Pause(False, "", loose, index)
            case Bound(node, since) if not self.active and (node, since) == (self.loose, self.since):
                return replace(self, loose=0)
        return self

    def allows(self, node: int) -> bool:
        """Whether this node may begin a reign: nobody does beside a primary that no lease ends."""
        return self.loose in (0, node)

    def of(self, node: int) -> bool:
        """Whether there is a pause, in which the primary is this node's."""
        return self.active and self.loose == node
