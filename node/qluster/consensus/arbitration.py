"""Decides what the vote of an arbiter of ffsplit is worth (way 2 of D6), and when this node is in sync with the others.

Must not know the arbiter's protocol: :class:`Standing` says what this node's own client hears.

The vote counts beside all nodes of the ring that it was given for, and only for what each of them has said *in that
ring*: a vote in an election, a confirmation, an answer to a round. Rings never come again, so from the moment that one
of them is in another ring nothing more is decided by this one, whatever its leader still takes for true.

An arbiter of ffsplit acknowledges nobody before everybody outside has confirmed his refusal. So whoever was in sync
with the others, and has held his connection unrefused since, knows that nobody outside of his ring has decided
anything. In sync is, since the ring was acknowledged,
- a follower: it asked the leader, in this ring, and has the log that this one had then; who answers when a quorum
  that is in this ring as well has confirmed that it still leads;
- a leader: that quorum has confirmed it, and all of the ring have its log.
What was said before, or by who is in another ring, may have been true before this node was refused.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import dataclass
from math import inf

from qluster.consensus.electorate import by_episode
from qluster.consensus.lease import NEVER, Round, Rounds
from qluster.consensus.messages import NO_RING, Ring, SyncQuery, SyncReply
from qluster.consensus.participant import FOLLOWER, Participant


@dataclass(frozen=True, slots=True)
class Ask:
    """Somebody wants to know whether he is in sync: what the leader had then, and the round that must be answered."""

    number: int
    ring: Ring
    last: tuple[int, int]
    round: int


class Ringed:
    """What the others have said to this leader in its ring."""

    def __init__(self, me: Participant, rounds: Rounds) -> None:
        self._me = me
        self._rounds = rounds
        self._ring = me.standing.ring
        self._answered: dict[int, Round] = {}
        self._match: dict[int, int] = {}
        self._asks: dict[int, Ask] = {}
        self._own: tuple[Ask, float] | None = None
        """What must be answered so that this leader is in sync, and since when that is so."""

    def counts(self, key: int) -> bool:
        """Whether the vote of the device with this key counts for this leader, beside whatever all of the ring have
        said."""
        return key in self._me.devices(self._me.standing.members)

    def match(self, key: int) -> int:
        """Up to where all of the ring have this leader's log; 0 where the vote does not count."""
        return self._reached() if self.counts(key) else 0

    def rounds(self, key: int) -> list[Round]:
        """What each of the ring has answered; that nobody has where the vote does not count."""
        return [self._round(node) for node in self._me.standing.members] if self.counts(key) else [NEVER]

    def _reached(self) -> int:
        me = self._me
        return min(me.saved_index if node == me.node else self._match.get(node, 0) for node in me.standing.members)

    def _round(self, node: int) -> Round:
        return self._rounds.answered(node) if node == self._me.node else self._answered.get(node, NEVER)

    def answered(self, node: int, ring: Ring, number: int, match: int) -> None:
        """A node answered, in this ring of its own."""
        if ring == NO_RING or ring != self._ring:
            return
        one = self._rounds.answered(node)
        if one.number == number:
            self._answered[node] = one
        self._match[node] = max(self._match.get(node, 0), match)

    def stand(self) -> None:
        """What this node is told has changed."""
        if self._me.standing.ring != self._ring:
            self._ring = self._me.standing.ring
            self._answered, self._match, self._asks, self._own = {}, {}, {}, None
        self._rounds.forget()

    def query(self, message: SyncQuery) -> None:
        """A node of this ring asks: what it is told must be true at a moment after that."""
        me, before = self._me, self._asks.get(message.node)
        if message.ring != self._ring or self._ring == NO_RING or message.node not in me.standing.members:
            return
        if before is None or before.number != message.number:
            self._asks[message.node] = self._ask(message.number)

    def _ask(self, number: int) -> Ask:
        last = self._me.journal.last_index, self._me.journal.last_term
        return Ask(number, self._ring, last, self._rounds.newest.number + 1)

    def step(self, now: float) -> None:
        """Answer who asked, and see whether this leader itself is in sync."""
        me = self._me
        self._look(now)
        if not self._asks and self._own is None:
            return
        confirmed = me.configuration.contacted(self._number)
        for node, ask in list(self._asks.items()):
            if confirmed >= ask.round:
                me.send(node, SyncReply(me.cluster, me.node, me.term, ask.number, ask.ring, *ask.last))
                del self._asks[node]
        if self._own is not None and confirmed >= self._own[0].round and self._reached() >= self._own[0].last[0]:
            me.in_sync(self._ring, self._own[1])
            self._own = None

    def _look(self, now: float) -> None:
        standing = self._me.standing
        if not standing.broken or not self._me.episodes:
            self._own = None
        elif self._own is None or self._own[1] < standing.since:
            self._own = self._ask(0), now

    def _number(self, node: int) -> float:
        """The newest round that a node answered in this ring; of a device with a memory nothing is known of rings."""
        if by_episode(node):
            return min(one.number for one in self.rounds(node))
        return self._round(node).number


class Syncing:
    """The follower's side: ask until the leader answers."""

    def __init__(self, me: Participant) -> None:
        self._me = me
        self._number = 0
        self._asked: tuple[Ring, float] | None = None
        """What is asked about, and since when."""
        self._proof: tuple[int, tuple[int, int]] | None = None
        """Term and end of the log that the leader had: to have it is to be in sync."""
        self._ask_at = -inf

    @property
    def _wanted(self) -> bool:
        me = self._me
        follows = me.role == FOLLOWER and me.leader is not None
        return follows and me.standing.broken and bool(me.episodes)

    @property
    def wake_at(self) -> float:
        """When :meth:`tick` is needed at the latest."""
        return self._ask_at if self._wanted and self._proof is None else inf

    def tick(self, now: float) -> None:
        """Ask, again and again: a question and an answer may get lost."""
        me, standing = self._me, self._me.standing
        if not self._wanted:
            self._asked = self._proof = None
            return
        if self._asked is None or self._asked[0] != standing.ring or self._asked[1] < standing.since:
            self._number, self._asked, self._proof, self._ask_at = self._number + 1, (standing.ring, now), None, now
        if self._proof is None and now >= self._ask_at:
            me.send(me.leader, SyncQuery(me.cluster, me.node, me.term, self._number, standing.ring))
            self._ask_at = now + me.settings.replication_retry_interval

    def reply(self, message: SyncReply) -> None:
        """The leader says what log it had, and that it led at a time after it was asked."""
        me = self._me
        known = message.term == me.term and message.node == me.leader and message.number == self._number
        if known and self._asked is not None and self._asked[0] == message.ring == me.standing.ring:
            self._proof = message.term, (message.last_index, message.last_term)

    def step(self) -> None:
        """See whether this node has by now what the leader had."""
        me = self._me
        if self._proof is None or self._asked is None:
            return
        term, (index, last_term) = self._proof
        if term != me.term or not self._wanted:
            self._asked = self._proof = None
        elif index <= me.saved_index and (me.journal.term_at(index) == last_term or index <= me.commit_index):
            me.in_sync(*self._asked)
            self._asked = self._proof = None
