"""Whether this node can have missed what others did with the arbiter's vote (D6, way 2).

Must not know elections or the log: it is told when the node was in sync, and it is told what broke that.

An arbiter of ffsplit acknowledges nobody before everybody outside has confirmed his refusal. So whoever held a
connection all the time since he had everything, and was not refused, knows that nobody else was acknowledged since.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from enum import StrEnum

import msgspec

from qluster.qnet.tlv import RingId


class Break(StrEnum):
    """What ended an episode. The word begins a sentence that says what must come next."""

    RESTART = "it has restarted"
    REFUSED = "the arbiter has refused it"
    LOST = "it has lost its connection to the arbiter"


class Held(msgspec.Struct, frozen=True, gc=False):
    """The arbiter acknowledged this membership, and the connection that brought the word stands; since when."""

    ring: RingId
    since: float


class Episode(msgspec.Struct, frozen=True, gc=False):
    """Broken by ``broken``; None: unbroken. Each start of the daemon begins with a new one, which is broken."""

    broken: Break | None = Break.RESTART

    def refused(self) -> Episode:
        """A refusal came, for whatever ring: confirming it lets the arbiter acknowledge somebody else."""
        return Episode(Break.REFUSED)

    def lost(self) -> Episode:
        """The connection ended: a refusal could not have come."""
        return Episode(Break.LOST)

    def in_sync(self, ring: RingId, asked_at: float, held: Held | None) -> Episode:
        """This node has all that the other side has: it follows a leader in office and has its whole log, or leads
        and every node of the membership has its own.

        Mends only what is certain to be news of *now*: the proof is of the membership that is acknowledged, and
        answers what this node asked (at ``asked_at``) after that was. A word of a leader that was still under way
        when this node was refused proves nothing of what the others did meanwhile; nor does anything prove what is
        to come while there is no connection over which a refusal would be heard.
        """
        fresh = held is not None and ring == held.ring and asked_at >= held.since
        return Episode(None) if fresh else self

    @property
    def unbroken(self) -> bool:
        """Whether a vote may count for this node's leadership."""
        return self.broken is None

    @property
    def reason(self) -> str:
        """Why not; "" when it may."""
        if self.broken is None:
            return ""
        return f"{self.broken} since it last was in sync with the other side"
