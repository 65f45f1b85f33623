"""Decides in which ring this node is: a membership with a number of its own, agreed upon by its members, no leader.

Must not know the log, sockets, or what a ring is used for. It is told what others say and what is durable; it says what
to save, what to tell, and of which ring this node is a member from now on.

A ring is (lowest member, seq). Only that member makes it, once, with a seq above every one that it or any of the
members has seen; and it has made that seq durable before anybody hears of it. So no two rings have one number, over
restarts too. Each member makes the seq durable before it agrees, and agrees to no lower one afterwards: on each it
grows.

1. Every node says at regular times, and when something changes, whom it hears and with whom it would be
   (``circle.py``).
2. When all whom the lowest would have say the same, it proposes the ring to them.
3. Who still says the same saves the seq, agrees, and says so.
4. When all have agreed the ring is in force with the lowest, and with each other as soon as it hears of one with whom
   it is in force.

A node that is not heard for ``patience`` is gone, one that says that it stops is gone at once.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import inf

from qluster.ring.circle import Nodes, Sight, circle
from qluster.ring.messages import SEQ_MAX, Beat, Message, Proposal
from qluster.votes.information import NO_RING, Ring

BEATS = 4
"""Beats within ``patience``: so many in a row are lost only where nothing works."""
INTERVAL_MAX = 5.0
"""Seconds between two beats at most: 64 nodes of a patient cluster say 13 a second between them."""
GAP = 0.02
"""Seconds between two beats at least, however much changes."""
CALM = 8
"""A new ring is proposed when nothing changed for this part of ``patience``: who starts together comes together."""


@dataclass(frozen=True, slots=True)
class Output:
    """What is to be done, in this order."""

    save: int | None = None
    """The highest seq agreed to: durable before anything of ``tell`` is said; :meth:`Rings.saved` is called then."""
    tell: tuple[Message, ...] = ()
    """To all nodes."""
    ring: tuple[Ring, Nodes] | None = None
    """This node is a member of it from now on; its seq is durable here."""


@dataclass(slots=True)
class _Heard:
    beat: Beat
    sight: Sight
    until: float


class Rings:
    """One node's part. ``seq`` is what an earlier life saved, ``boot`` counts the lives."""

    def __init__(self, cluster: int, node: int, boot: int, *, seq: int, patience: float, now: float) -> None:
        self.cluster, self.node, self.boot = cluster, node, boot
        self.patience = patience
        self.ring, self.members = NO_RING, frozenset[int]()
        self._eligible: Nodes = frozenset({node})
        self._seq = seq
        """The highest that was ever seen."""
        self._ordered = self._durable = seq
        """The highest that was ordered to be saved, and that is."""
        self._accepted, self._accepted_members = Ring(0, seq), frozenset[int]()
        self._made: Ring | None = None
        """The ring that this node has proposed, until it is in force or another takes its place."""
        self._heard: dict[int, _Heard] = {}
        self._stamps: dict[int, tuple[int, int]] = {}
        self._wants: Nodes = frozenset({node})
        self._news = False
        """Something came in since it last chose with whom it would be."""
        self._started = self._changed_at = now
        self._beats = 0
        self._beat_at, self._beaten_at = now, -inf
        self._propose_at = now
        self._left = False
        self._out: list[Message] = []
        self._save: int | None = None
        self._deliver: tuple[Ring, Nodes] | None = None

    # What happens

    def allow(self, nodes: Collection[int], now: float) -> None:
        """These may be in a ring: nobody else is listened to."""
        eligible = frozenset(nodes) | {self.node}
        if eligible != self._eligible:
            self._eligible = eligible
            self._heard = {node: heard for node, heard in self._heard.items() if node in eligible}
            self._stamps = {node: stamp for node, stamp in self._stamps.items() if node in eligible}
            self._look(now)

    def receive(self, message: Beat | Proposal, now: float) -> bool:
        """Another node said something. Whether that is news."""
        if message.node == self.node or message.node not in self._eligible or self._left:
            return False
        if isinstance(message, Proposal):
            self._consider(message, now)
            return True
        return self._take(message, now)

    def saved(self, seq: int, now: float) -> None:
        """The seq is durable up to here."""
        self._durable = max(self._durable, seq)
        self._lead(now)

    def tick(self, now: float) -> None:
        """Time passed."""
        if self._left:
            return
        gone = [node for node, heard in self._heard.items() if now >= heard.until]
        for node in gone:
            del self._heard[node]
        if gone:
            self._look(now)
        if now >= self._beat_at:
            self._choose(now)
            self._beat(now)
        self._lead(now)
        if now >= self._beat_at:
            self._beat(now)

    def leave(self, now: float) -> None:
        """This node stops: the others need not wait until they miss it."""
        if not self._left:
            self._left = True
            self._beat(now)
            self._beat_at = self._propose_at = inf

    def take(self) -> Output:
        """What is to be done since this was last asked."""
        output = Output(self._save, tuple(self._out), self._deliver)
        self._save, self._out, self._deliver = None, [], None
        return output

    # What there is to see

    @property
    def heard(self) -> Nodes:
        """Whom this node hears, itself among them."""
        return frozenset(self._heard) | {self.node}

    @property
    def wants(self) -> Nodes:
        """With whom it would be in a ring."""
        return self._wants

    @property
    def wake_at(self) -> float:
        """When `tick` next has something to do."""
        if self._left:
            return inf
        gone = min((heard.until for heard in self._heard.values()), default=inf)
        return min(self._beat_at, gone, self._propose_at)

    # Who is there

    def _take(self, beat: Beat, now: float) -> bool:
        stamp = beat.boot, beat.number
        if stamp <= self._stamps.get(beat.node, (-1, -1)):
            return False
        self._stamps[beat.node] = stamp
        self._seq = max(self._seq, beat.seq, beat.ring[1], beat.accepted[1])
        before = self._heard.get(beat.node)
        if beat.leaves:
            self._heard.pop(beat.node, None)
            self._look(now)
            return True
        sight = self._sight(beat)
        self._heard[beat.node] = _Heard(beat, sight, now + self.patience)
        if before is not None and before.sight == sight and _standing(before.beat) == _standing(beat):
            return False
        if Ring(*beat.ring) == self._accepted != self.ring:
            self._enter(now)
        self._look(now)
        self._lead(now)
        return True

    def _sight(self, beat: Beat) -> Sight:
        if beat.hears:
            return Sight(frozenset(beat.hears), frozenset(beat.wants))
        # Of a ring that this node is not in, it is not a member, and the sender wants no others.
        known = {self._accepted: self._accepted_members, self.ring: self.members}
        members = known.get(Ring(*beat.ring), frozenset({beat.node}))
        return Sight(members, members)

    def _look(self, now: float) -> None:
        """Somebody came, went, or thinks otherwise."""
        self._news = True
        self._beat_soon(now)

    def _choose(self, now: float) -> None:
        """With whom would this node be? Asked when it is said, not for each of 64 beats that come together."""
        if not self._news:
            return
        self._news = False
        wants = circle(self.node, self.heard, {node: heard.sight for node, heard in self._heard.items()})
        if wants != self._wants:
            self._wants, self._changed_at = wants, now

    def _beat_soon(self, now: float) -> None:
        """Something that others want to know has changed."""
        self._beat_at = min(self._beat_at, max(now, self._beaten_at + min(GAP, self.patience / BEATS / 2)))

    def _beat(self, now: float) -> None:
        hears, settled = self.heard, self.members
        # Who is not in that ring, or not yet, does not know its members.
        plain = hears == self._wants == settled and all(
            Ring(*heard.beat.ring) == self.ring for heard in self._heard.values()
        )
        self._beats += 1
        self._out.append(Beat(
            self.cluster, self.node, self.boot, self._beats, self._seq, self.ring, self._accepted,
            () if plain else _ordered(hears), () if plain else _ordered(self._wants), self._left,
        ))
        self._beaten_at, self._beat_at = now, now + min(self.patience / BEATS, INTERVAL_MAX)

    # How a ring comes about

    def _lead(self, now: float) -> None:
        """What the lowest node of those that would be together has to do."""
        if self._left or min(self._wants) != self.node:
            self._made, self._propose_at = None, inf
            return
        if not self._wants <= self.heard:
            self._propose_at = inf  # somebody has gone, and this node has not yet chosen anew
            return
        others = [self._heard[node].beat for node in self._wants if node != self.node]
        if any(self._heard[beat.node].sight.wants != self._wants for beat in others) or self._whole(others):
            self._propose_at = inf
            return
        made = self._made
        if made is not None and self._accepted_members == self._wants and not _refused(made, others):
            if self._durable >= made.seq and all(Ring(*beat.accepted) == made for beat in others):
                self._enter(now)
            elif now >= self._propose_at or self._propose_at == inf:
                # inf: somebody was gone, or wanted otherwise, for a moment, and may not have agreed for that.
                self._say_proposal(now)
            return
        may_at = self._may_propose_at()
        if now >= may_at:
            self._make(others, now)
        else:
            self._propose_at = may_at

    def _whole(self, others: Iterable[Beat]) -> bool:
        """Whether the ring in force is the one that is wanted, and all the others are in it or about to be."""
        return self.ring != NO_RING and self.members == self._wants and all(
            self.ring in (Ring(*beat.ring), Ring(*beat.accepted)) for beat in others
        )

    def _may_propose_at(self) -> float:
        """Who has just started waits for the others, unless some of them are in a ring already."""
        calm_at = self._changed_at + self.patience / CALM
        fresh = self.ring == NO_RING and all(
            Ring(*self._heard[node].beat.ring) == NO_RING for node in self._wants if node != self.node
        )
        if self._eligible == {self.node}:
            return self._changed_at
        return max(calm_at, self._started + self.patience) if fresh and self._wants != self._eligible else calm_at

    def _make(self, others: Iterable[Beat], now: float) -> None:
        """A ring that nobody ever heard of."""
        seq = max([self._seq, *(max(beat.seq, beat.accepted[1]) for beat in others)]) + 1
        if seq > SEQ_MAX:
            return
        self._made = Ring(self.node, seq)
        self._agree(self._made, self._wants)
        self._say_proposal(now)

    def _say_proposal(self, now: float) -> None:
        assert self._made is not None
        self._propose_at = now + max(GAP, self.patience / CALM)
        if len(self._wants) > 1:
            self._out.append(Proposal(self.cluster, self.node, self._made, _ordered(self._wants)))

    def _consider(self, proposal: Proposal, now: float) -> None:
        """Agree, if this node would be with the same ones, and it never agreed to a ring of that number or above."""
        ring, members = Ring(*proposal.ring), frozenset(proposal.members)
        if members == self._wants and ring.seq > self._ordered:
            self._made = None
            self._agree(ring, members)
            self._beat_soon(now)

    def _agree(self, ring: Ring, members: Nodes) -> None:
        assert self.node in members and ring.node == min(members) and ring.seq > self._ordered, f"agrees to {ring}"
        self._accepted, self._accepted_members = ring, members
        self._seq = max(self._seq, ring.seq)
        self._ordered = self._save = ring.seq

    def _enter(self, now: float) -> None:
        """All members have agreed to the ring that this node agreed to last."""
        assert self._accepted.seq > self.ring.seq, f"ring {self._accepted} after {self.ring}"
        self.ring, self.members, self._made = self._accepted, self._accepted_members, None
        self._deliver = self.ring, self.members
        self._propose_at = inf
        self._beat_soon(now)


def _standing(beat: Beat) -> tuple[object, ...]:
    """What makes a beat news: all but when it was said."""
    return beat.boot, beat.ring, beat.accepted


def _refused(made: Ring, others: Iterable[Beat]) -> bool:
    """Whether one of them has agreed to a ring of that number or above meanwhile, or forgot that it agreed to this."""
    return any(beat.accepted[1] >= made.seq and Ring(*beat.accepted) != made for beat in others)


def _ordered(nodes: Nodes) -> tuple[int, ...]:
    return tuple(sorted(nodes))
