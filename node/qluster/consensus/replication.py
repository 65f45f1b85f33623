"""Decides what a leader sends to whom: new entries once to all, what somebody missed to that one alone.

Must not know elections, nor why an entry is proposed.

Sending to all is optimistic: ``cast_index`` is how far it went, whoever heard it. A node that missed
something refuses the next message and says from where; it is then repaired by unicast until it has
confirmed ``cast_index``, and from there on lives on what is sent to all again.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import inf

from qluster.consensus.lease import Rounds
from qluster.consensus.messages import Append, AppendRefusal, AppendReply, SnapshotOffer, records_of
from qluster.consensus.participant import Participant
from qluster.consensus.progress import Batch, Progress
from qluster.consensus.settings import INFLIGHT_BYTES_MAX, INFLIGHT_MESSAGES_MAX
from qluster.events import Entry


class Replication:
    """One leader's sending."""

    def __init__(self, me: Participant, rounds: Rounds) -> None:
        self._me = me
        self._rounds = rounds
        self._peers: dict[int, Progress] = {}
        self.cast_index = me.journal.last_index
        """Last index that was sent to all."""
        self._cast_commit = -1
        self.notice_at = inf
        """When all must be told what is committed, unless entries tell them before."""
        self.urgent_index = 0
        """Somebody else waits to apply the entry up to here: that it is committed is told without waiting."""
        self._cast_at = -inf
        self._pulse_at = -inf
        """When all were last sent a word that they answer without waiting for their disks."""
        self._under_way: deque[Batch] = deque()

    # --- the others -----------------------------------------------------------

    @property
    def peers(self) -> Iterable[Progress]:
        """Everybody this leader sends to."""
        return self._peers.values()

    def peer(self, node: int) -> Progress | None:
        """One of them."""
        return self._peers.get(node)

    def follow_membership(self, nodes: Iterable[int]) -> None:
        """These are the others now."""
        nodes = set(nodes)
        for node in nodes - self._peers.keys():
            self._peers[node] = Progress(node)
        for node in self._peers.keys() - nodes:
            del self._peers[node]

    def match(self, node: int) -> int:
        """Up to where this node's durable log is known to equal the leader's."""
        if node == self._me.node:
            return self._me.saved_index
        peer = self._peers.get(node)
        return peer.match if peer else 0

    # --- to all ---------------------------------------------------------------

    @property
    def heartbeat_at(self) -> float:
        """When all must be told again that the leader is there.

        Entries say so too, but are answered when they are durable there: where a quorum answers nothing any more,
        the lease must not end because of its disks (S18).
        """
        answered_at = self._rounds.contact_at(self._me.configuration)
        return min(self._cast_at, max(self._pulse_at, answered_at)) + self._me.settings.heartbeat_interval

    def cast(self, now: float) -> None:
        """New entries, a new commit index, a heartbeat: whatever is due, once to all."""
        me = self._me
        while self._under_way and self._under_way[0].last_index <= me.commit_index:
            self._under_way.popleft()
        self.cast_index = max(self.cast_index, me.journal.base_index)
        sent = False
        while self.cast_index < me.journal.last_index and _has_room(self._under_way):
            entries = me.journal.batch(self.cast_index, me.journal.last_index, me.settings.max_log_size)
            self._under_way.append(self._batch(self.cast_index, entries))
            self._cast_append(self._open_round(now), entries, now)
            self.cast_index += len(entries)
            sent = True
        due = now >= self.heartbeat_at
        if sent and not due:
            return
        if self._rounds.read_needs_round or due:
            self._pulse_at = now
            self._cast_append(self._open_round(now), [], now)
        elif me.commit_index > self._cast_commit:
            urgent = self._cast_commit < self.urgent_index <= me.commit_index
            self.notice_at = now if urgent else min(self.notice_at, now + me.settings.commit_notice)
            if now >= self.notice_at:
                self._cast_append(0, [], now)

    def _cast_append(self, round_number: int, entries: list[Entry], now: float) -> None:
        for peer in self._peers.values():
            if not self._owes(peer):
                peer.owes_since = now
        self._send(None, round_number, self.cast_index, entries)
        self._cast_commit = self._me.commit_index
        self.notice_at = inf
        if round_number:
            self._cast_at = now

    def _open_round(self, now: float) -> int:
        return self._rounds.open(now, self._me.settings.node_timeout)

    def _batch(self, prev_index: int, entries: list[Entry]) -> Batch:
        last_index = prev_index + len(entries)
        return Batch(prev_index, last_index, self._me.journal.size_between(prev_index, last_index))

    def _send(self, to: int | None, round_number: int, prev_index: int, entries: list[Entry]) -> None:
        me = self._me
        prev_term = me.journal.term_at(prev_index)
        assert prev_term is not None, f"entry {prev_index} is no longer in the journal"
        me.send(
            to,
            Append(
                me.cluster,
                me.node,
                me.term,
                round_number,
                me.settings.node_timeout,
                prev_index,
                prev_term,
                me.commit_index,
                records_of(entries),
            ),
        )

    # --- to one ---------------------------------------------------------------

    def confirm(self, message: AppendReply, now: float) -> None:
        """A node confirmed what it was sent."""
        peer = self._peers.get(message.node)
        if peer is None or message.match > self._me.journal.last_index:
            return
        if message.match > peer.match or not peer.verified:
            peer.confirmed_round = self._rounds.newest.number
        peer.confirm(message.match, now)
        peer.silent = message.silent
        if peer.repairing:
            self._go_on(peer, now)

    def refuse(self, message: AppendRefusal, now: float) -> None:
        """A node lacks something: repair it, unless that is already under way (B19, B21)."""
        peer = self._peers.get(message.node)
        if peer is None:
            return
        if peer.verified and message.prev_index <= peer.match:
            if message.round <= peer.confirmed_round:
                return  # written before it confirmed that
            self._me.say("lost-entries", node=peer.node, confirmed=peer.match, refused=message.prev_index)
            peer.forget()
        busy = peer.repairing and now < peer.moved_at + self._me.settings.replication_retry_interval
        if busy and all(batch.prev_index != message.prev_index for batch in peer.under_way):
            return
        peer.restart(min(self._following(message), message.prev_index))
        self._go_on(peer, now)

    def _following(self, message: AppendRefusal) -> int:
        """Where the logs can begin to differ: skips a whole term at once."""
        if message.conflict_term:
            own = self._me.journal.last_index_of(message.conflict_term)
            if own is not None:
                return own + 1
        return message.conflict_index

    def _go_on(self, peer: Progress, now: float) -> None:
        me = self._me
        if peer.verified and peer.match >= self.cast_index:
            peer.end_repair()
            return
        if peer.next <= me.journal.base_index:
            self._offer_snapshot(peer, now)
            return
        while peer.next <= self.cast_index and self._may_send(peer):
            prev_index = peer.next - 1
            entries = me.journal.batch(prev_index, self.cast_index, me.settings.max_log_size)
            self._send(peer.node, self._open_round(now), prev_index, entries)
            peer.under_way.append(self._batch(prev_index, entries))
            peer.next += len(entries)
            peer.moved_at = now

    def _may_send(self, peer: Progress) -> bool:
        """A node whose log is not known gets one message and must answer it first."""
        return len(peer.under_way) < (peer.window if peer.verified else 1) and _has_room(peer.under_way)

    def _offer_snapshot(self, peer: Progress, now: float) -> None:
        me = self._me
        if now < peer.offered_at + me.settings.replication_retry_interval or me.snapshot is None:
            return
        peer.offered_at = now
        peer.offered_index = peer.offered_index or me.snapshot.index
        me.say("offers", snapshot=me.snapshot.index, node=peer.node)
        me.send(peer.node, SnapshotOffer(me.cluster, me.node, me.term, me.snapshot.index))

    def wanted(self, now: float) -> int | None:
        """After which index somebody who is there will want entries that a snapshot covers; None: nobody."""
        present = [peer for peer in self._peers.values() if self._present(peer, now)]
        wanted = [peer.offered_index for peer in present if peer.offered_index]
        wanted += [peer.match for peer in present if peer.verified and not peer.offered_index]
        return min(wanted, default=None)

    def probe(self, node: int, now: float) -> None:
        """Ask one node alone; what it lacks shows in its answer."""
        peer = self._peers.get(node)
        if peer is None:
            return
        peer.probed_at = now
        prev_index = peer.match if peer.verified else self.cast_index
        self._send(node, self._open_round(now), max(prev_index, self._me.journal.base_index), [])

    # --- again ----------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Repeat what was not answered."""
        for peer in self._peers.values():
            if now < self._retry_at(peer):
                continue
            if peer.verified and peer.match < self.cast_index and self._present(peer, now):
                peer.restart(peer.match + 1)
                self._go_on(peer, now)
                peer.probed_at = now
            else:
                self.probe(peer.node, now)

    @property
    def retry_at(self) -> float:
        """When :meth:`tick` is needed at the latest."""
        return min(map(self._retry_at, self._peers.values()), default=inf)

    def _retry_at(self, peer: Progress) -> float:
        """A node that owes nothing is not asked; one that is gone only as often as all are."""
        if not self._owes(peer):
            return inf
        settings = self._me.settings
        pause = settings.replication_retry_interval
        if not self._present(peer, self._me.now):
            pause = max(pause, settings.heartbeat_interval)
        return max(peer.owes_since, peer.moved_at, peer.probed_at) + pause

    def _owes(self, peer: Progress) -> bool:
        """Whether an answer is due: to entries, or to the last round."""
        behind = peer.match < self.cast_index
        return behind or self._rounds.answered(peer.node).opened_at < self._cast_at

    def _present(self, peer: Progress, now: float) -> bool:
        return self._me.heard.get(peer.node, -inf) > now - self._me.settings.node_timeout


def _has_room(under_way: deque[Batch]) -> bool:
    return (
        len(under_way) < INFLIGHT_MESSAGES_MAX
        and sum(batch.size for batch in under_way) < INFLIGHT_BYTES_MAX
    )
