"""Decides what a node does with what a leader sends: take over entries, ask for what is missing.

Must not know how a leader chooses what to send.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Sequence
from math import inf

from qluster.consensus.messages import (
    Append,
    AppendRefusal,
    AppendReply,
    LeaderQuery,
    Message,
    SnapshotOffer,
)
from qluster.consensus.output import Fetch
from qluster.consensus.participant import FOLLOWER, LEADER, LISTENER, Participant
from qluster.consensus.settings import (
    ENTRY_OVERHEAD_BYTES,
    INFLIGHT_MESSAGES_MAX,
    SHORT_BYTES_MAX,
    SHORT_MESSAGE_BYTES_MAX,
    UNSAVED_BYTES_MAX,
    UNSAVED_ENTRIES_MAX,
)
from qluster.events import Entry

QUERY_PATIENCE = 1.25
"""Heartbeat intervals without a word after which a follower asks whether the leader is there."""

REFUSALS_PER_RETRY = 4
"""A gap that stays is reported so often per replication-retry-interval: the leader repairs at the first."""


class Following:
    """The side of a participant that listens to a leader."""

    def __init__(self, me: Participant) -> None:
        self._me = me
        self._refused: tuple[int, int] = (0, 0)
        self._refused_at = -inf
        self._fetch_again_at = -inf
        self._short_bytes = 0
        """New entries taken on since the disk is full."""
        self._early: dict[int, Append] = {}
        """Appends of the current leader behind a gap, by the index before them."""
        self.query_at = me.now
        """When to ask for the leader. At the start at once: it may be there and nobody waits ten seconds."""

    @property
    def wake_at(self) -> float:
        """When :meth:`tick` is needed at the latest."""
        return self.query_at if self._me.role in (FOLLOWER, LISTENER) else inf

    # --- the leader is there --------------------------------------------------

    def hear_leader(self, message: Message, promise: float, now: float) -> None:
        """This message comes from the leader of the current term."""
        me = self._me
        assert me.role != LEADER, f"nodes {me.node} and {message.node} both lead in term {message.term} (S1)"
        assert me.leader in (None, message.node), f"{me.leader} and {message.node} lead in {message.term} (S1)"
        if me.leader is None:
            me.leader = message.node
            me.say("follows", leader=message.node, term=me.term)
        me.role = me.resting_role
        me.promise(message.node, now + max(promise, me.settings.node_timeout))
        self.query_at = now + QUERY_PATIENCE * me.settings.heartbeat_interval

    def tick(self, now: float) -> None:
        """Ask a leader that is late; ask everybody where none is known."""
        me = self._me
        if me.role not in (FOLLOWER, LISTENER) or now < self.query_at:
            return
        retry = me.settings.replication_retry_interval
        me.send(me.leader, LeaderQuery(me.cluster, me.node, me.term))
        self.query_at = now + (retry if me.leader is not None else max(retry, me.settings.heartbeat_interval))

    # --- entries --------------------------------------------------------------

    def append(self, message: Append, now: float) -> None:
        """Take over the entries if they fit, and say up to where the logs are now known to be equal (S7)."""
        me = self._me
        me.leader_commit = message.commit
        if not me.short:
            self._short_bytes = 0
        if not self._fits(message):
            self._keep_early(message)
            self._refuse(message, now)
            return
        if not self._takes_on(message):
            self._stand_still(message, now)
            return
        verified, number = self._take_over(message), message.round
        while (early := self._early.pop(verified, None)) is not None and self._fits(early) and self._takes_on(early):
            verified, number = self._take_over(early), max(number, early.round)
        if number or message.records:
            # A heartbeat is answered with what is durable now: the leader's lease must not wait for this disk.
            match = verified if message.records else min(verified, me.saved_index)
            self._confirm(message, number, match, now)

    def _fits(self, message: Append) -> bool:
        """Whether this log has the entry that the message goes on from. What a snapshot covers always fits (B11)."""
        journal = self._me.journal
        behind_base = message.prev_index < journal.base_index
        return message.term == self._me.term and (
            behind_base or journal.term_at(message.prev_index) == message.prev_term
        )

    def _takes_on(self, message: Append) -> bool:
        """Whether all entries of the message are here already, or the disk has room and time for new ones."""
        me, journal, entries = self._me, self._me.journal, message.entries
        if not entries or message.last_index <= journal.base_index:
            return True
        if journal.term_at(message.last_index) == entries[-1].term:
            return True  # logs that have the last one are equal before it
        unsaved = journal.last_index - max(me.saved_index, journal.base_index)
        unsaved_bytes = journal.size_between(me.saved_index, journal.last_index)
        if unsaved >= UNSAVED_ENTRIES_MAX or unsaved_bytes >= UNSAVED_BYTES_MAX:
            return False
        return not me.short or self._fits_the_reserve(entries)

    def _fits_the_reserve(self, entries: Sequence[Entry]) -> bool:
        """Whether entries are so small that a new leader may need them, and all such are few."""
        size = sum(len(entry.payload) + ENTRY_OVERHEAD_BYTES for entry in entries)
        if size > SHORT_MESSAGE_BYTES_MAX or self._short_bytes + size > SHORT_BYTES_MAX:
            return False
        self._short_bytes += size
        return True

    def _stand_still(self, message: Append, now: float) -> None:
        """The disk is full or hangs: confirm what it has of the log before the message: this node lives."""
        me = self._me
        me.commit_to(max(me.commit_index, min(message.commit, message.prev_index)))
        match = min(message.prev_index, me.saved_index)
        self._confirm(message, message.round, match, now)

    def _confirm(self, message: Append, number: int, match: int, now: float) -> None:
        me = self._me
        silent, ring = self._silent(now), me.standing.ring
        me.send(message.node, AppendReply(me.cluster, me.node, me.term, number, match, silent, ring))

    def _take_over(self, message: Append) -> int:
        me = self._me
        me.merge(message.entries)
        me.commit_to(max(me.commit_index, min(message.commit, message.last_index)))
        return message.last_index

    def _keep_early(self, message: Append) -> None:
        """Messages overtake each other: what lies behind a gap is wanted as soon as the gap is filled."""
        me = self._me
        if not message.records or message.prev_index <= me.journal.last_index:
            return
        self._early[message.prev_index] = message
        for prev_index, early in list(self._early.items()):
            if early.term != me.term or prev_index <= me.journal.last_index:
                del self._early[prev_index]
        if len(self._early) > INFLIGHT_MESSAGES_MAX:
            del self._early[max(self._early)]

    def _refuse(self, message: Append, now: float) -> None:
        me = self._me
        known = me.journal.term_at(message.prev_index)
        if known is None:
            conflict_index = me.journal.last_index + 1
        else:
            assert message.prev_index > me.commit_index, f"entry {message.prev_index} is committed here"
            conflict_index = max(me.journal.first_index_of(known), me.commit_index + 1)
        refused = (conflict_index, known or 0)
        pause = me.settings.replication_retry_interval / REFUSALS_PER_RETRY
        heartbeat = message.round and not message.records
        if refused == self._refused and now < self._refused_at + pause and not heartbeat:
            return
        self._refused, self._refused_at = refused, now
        me.send(message.node, self._refusal(message, *refused))

    def _refusal(self, message: Append, conflict_index: int, conflict_term: int) -> AppendRefusal:
        me = self._me
        return AppendRefusal(
            me.cluster, me.node, me.term, message.round, message.prev_index, conflict_index, conflict_term,
            me.standing.ring,
        )

    def refuse_old_term(self, message: Message) -> None:
        """A leader of an older term does not know yet that it is none: tell it the term."""
        me = self._me
        me.send(message.node, AppendRefusal(me.cluster, me.node, me.term, 0, 0, me.journal.last_index + 1, 0))

    def _silent(self, now: float) -> tuple[int, ...]:
        """Members that this node has not heard for node-timeout, so that the leader does not judge alone."""
        me = self._me
        if now < me.started_at + me.settings.node_timeout:
            return ()
        return tuple(
            member.node
            for member in me.membership.latest
            if member.node not in (me.node, me.leader)
            and me.heard.get(member.node, -inf) < now - me.settings.node_timeout
        )

    # --- snapshots ------------------------------------------------------------

    def snapshot_offer(self, message: SnapshotOffer, now: float) -> None:
        """What is needed next is only in the leader's snapshot: have it fetched, once at a time."""
        me = self._me
        if me.short:
            return
        if message.index <= me.commit_index:
            me.send(message.node, AppendReply(me.cluster, me.node, me.term, 0, me.commit_index))
        elif now >= self._fetch_again_at:
            me.say("fetches", snapshot=message.index, leader=message.node)
            me.output.fetch = Fetch(message.node, message.index)
            self._fetch_again_at = now + me.settings.node_timeout

    def fetch_ended(self) -> None:
        """The snapshot came, or could not be fetched: another may be asked for."""
        self._fetch_again_at = -inf
