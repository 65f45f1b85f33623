"""Decides who hears what this node sends to the group, and what is done for those who do not.

It must not know sockets or keys. What goes to one node carries an echo: the newest message of that node that
was heard through the group. From the echoes of the others a sender learns two things.

Who has not echoed a message a moment after it, though it is one that all have an answer to, may have missed it, and
cannot know when nothing follows: the sender announces the number once more, to those few alone or to all. Where
everybody answers, as voters answer their leader, nothing is announced at all.

Who goes on speaking and echoes nothing new is cut off from the group: a switch has forgotten its membership, or a
firewall drops multicast. It gets a copy of everything by unicast, until it echoes again.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Final

from qluster.events import Address
from qluster.transport.peer import Peer

ANNOUNCE_DELAY: Final = 0.030
"""Silence after a message until its number is announced, at least; twice as long as answers took lately."""
ANNOUNCE_DELAY_MAX: Final = 0.5
PATIENCE_KEPT: Final = 0.95
"""Of the patience that one slow answer taught, after each that was quick: a stall of a busy host passes."""
ANNOUNCE_AGAIN: Final = 4
"""The second announcement waits this many times longer; there is no third, consensus repeats what it needs."""
ANNOUNCES_MAX: Final = 2
ANNOUNCE_EACH_MAX: Final = 2
"""So many who may have missed it are told alone; when there are more, all are told at once."""
PEER_AGE_MAX: Final = 15.0
"""Seconds; who was silent longer is taken for gone and gets no announcement. Longer than a heartbeat-interval."""
CUT_OFF_MESSAGES: Final = 2
"""Messages without an echo: with heartbeats alone these are two of them."""
CUT_OFF_TIME: Final = 0.1
"""Seconds without a new echo: what only waits in a socket buffer is read sooner."""
COPIES_AGE_MAX: Final = 60.0
"""Seconds; who was silent longer gets no copies any more. Longer than any pause between its own messages."""


class Echoes:
    """What the others echo of this node's messages to the group."""

    def __init__(self, multicast: bool) -> None:
        self._multicast = multicast
        self._announced = 0
        self._ended_at = -inf
        self._patience = ANNOUNCE_DELAY
        self.newest = 0
        self.announce_at = inf
        """When to look for somebody to announce the newest message to."""
        self.copies_to: tuple[Address, ...] = ()
        """Who is cut off from the group."""

    def begun(self, number: int) -> None:
        """The first chunk of this message goes to the group."""
        self.newest = number
        self._announced = 0
        self._ended_at = -inf
        self.announce_at = inf

    def ended(self, now: float) -> None:
        """The last chunk of it went, and it is one that is answered."""
        self._ended_at = now
        self.announce_at = now + self._patience

    def echoed(self, peer: Peer, echo: int, now: float) -> bool:
        """A peer said by unicast what it has heard; True when it is cut off now, or no more."""
        if peer.echoed < echo <= self.newest:
            peer.echoed = echo
            peer.unechoed_since = inf
            if echo == self.newest and self._ended_at > -inf:
                patience = max(self._patience * PATIENCE_KEPT, 2 * (now - self._ended_at), ANNOUNCE_DELAY)
                self._patience = min(patience, ANNOUNCE_DELAY_MAX)
            return peer.copied and self._copy(peer, False)
        if peer.echoed >= self.newest:
            return False
        if peer.unechoed_since == inf:
            # What was sent before it was first heard is not held against it.
            peer.unechoed_since, peer.unechoed_from = now, peer.echoed or self.newest
        elif not peer.copied and self._cut_off(peer, now):
            return self._copy(peer, True)
        return False

    def asked(self, peer: Peer) -> None:
        """A peer asks for what it missed: once the newest was announced, it knows of that as well."""
        if self._announced:
            peer.told = self.newest

    def forget(self, peers: Iterable[Peer], now: float) -> bool:
        """Stop copying to who was silent for long; True when there was one."""
        gone = [peer for peer in peers if peer.copied and now - peer.heard_at > COPIES_AGE_MAX]
        return any([self._copy(peer, False) for peer in gone])

    def lost(self, peer: Peer) -> bool:
        """A peer is remembered no more; True when it got copies."""
        return peer.copied and self._copy(peer, False)

    def moved(self, peer: Peer, source: Address) -> None:
        """A peer speaks from another address now."""
        copied = self.lost(peer)
        peer.source = source
        if copied:
            self._copy(peer, True)

    def announce_to(self, peers: Iterable[Peer], now: float) -> list[Address | None]:
        """Whom to tell the number of the newest message now; None is the group."""
        self._announced += 1
        newest = self.newest
        there = [peer for peer in peers if now - peer.heard_at <= PEER_AGE_MAX]
        behind = [peer.source for peer in there if peer.echoed < newest and peer.told < newest]
        self.announce_at = inf
        # When nobody at all has an answer it was hardly lost at all of them, and once is enough.
        if behind and self._announced < ANNOUNCES_MAX and (len(behind) < len(there) or len(there) == 1):
            self.announce_at = now + self._patience * ANNOUNCE_AGAIN
        return [*behind] if len(behind) <= ANNOUNCE_EACH_MAX else [None]

    def _cut_off(self, peer: Peer, now: float) -> bool:
        return (
            self._multicast
            and self.newest - peer.unechoed_from >= CUT_OFF_MESSAGES
            and now - peer.unechoed_since >= CUT_OFF_TIME
        )

    def _copy(self, peer: Peer, wanted: bool) -> bool:
        peer.copied = wanted
        others = tuple(one for one in self.copies_to if one != peer.source)
        self.copies_to = (*others, peer.source) if wanted else others
        return True
