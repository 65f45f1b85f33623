"""Decides what a leader shows to its device, an arbiter that remembers, and what the answers are worth.

Must not know the arbiter's protocol, nor how its vote is asked for (``election.py``).

The device keeps where the leader's log ends and not the log, and promises to vote for nobody else, as a voter does.
It is shown each round of heartbeats. An entry it is shown only when the voters that answer cannot commit without it:
it refuses every candidate that lacks what it was shown, and while others have the entry nobody needs that.
What is shown is durable here and of the leader's own term: whoever has that entry has this leader's log up to it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable, Collection
from math import ceil, inf

from qluster.consensus.electorate import device_key
from qluster.consensus.lease import Rounds
from qluster.consensus.members import FORMULA, MEMORY, Members
from qluster.consensus.participant import Participant
from qluster.consensus.settings import DEVICE_PROMISE_MAX
from qluster.consensus.standing import Standing
from qluster.events import DeviceShown, ShowDevice


class Witness:
    """The device of one office. ``match``: up to where a voter has the log; ``granted``: who elected this leader, and
    so was there a moment ago."""

    def __init__(
        self, me: Participant, rounds: Rounds, match: Callable[[int], int], granted: Collection[int], now: float
    ) -> None:
        self._me = me
        self._rounds = rounds
        self._match_of = match
        self._granted = frozenset(granted)
        self._began_at = now
        self._match: dict[int, int] = {}
        """By key: up to where a memory has seen entries of this term."""
        self._round = 0
        """The newest that was shown."""
        self._shown_at = -inf
        self._owed = False
        """What was shown last is not answered."""
        self._binds = True
        """It promised for as long as it was asked to."""
        self._commit = me.commit_index
        self._moved_at = now
        """When something was last committed, or nothing waited for it."""
        self._lagging = False
        """The voters answer and do not save: their disks are full, or hang."""

    def match(self, key: int) -> int:
        """Up to where it has seen entries of this term; 0: none."""
        return self._match.get(key, 0)

    @property
    def wake_at(self) -> float:
        """When :meth:`step` is needed at the latest, but for a new round, entry or answer."""
        if not self._me.device_counts:
            return inf
        if self._owed:
            return self._shown_at + self._pause
        fresh = self._rounds.newest.number > self._round
        return self._shown_at + self._me.settings.heartbeat_interval if fresh else inf

    @property
    def _pause(self) -> float:
        """Until what is not answered is shown again. A connection loses nothing while it stands, so that is for who
        does not answer at all. Whoever is heard and hears nothing would go on asking for promises, and have the others
        wait for these after it has left its office."""
        return self._me.settings.node_timeout

    def step(self, now: float) -> None:
        """Show what is due; one at a time."""
        me = self._me
        if me.commit_index != self._commit or me.commit_index == me.journal.last_index:
            self._commit, self._moved_at = me.commit_index, now
        if not me.device_counts or not self._rounds.newest.number:
            return
        if self._lagging:
            self._lagging = me.configuration.committed(self._match_of) < me.commit_index
        elif now >= self._moved_at + me.settings.node_timeout / 2:
            self._lagging = True
        needed = self._needed(now)
        index = self._index() if needed else 0
        if self._due(needed, index, now):
            newest = self._rounds.newest
            self._round, self._shown_at, self._owed = newest.number, now, True
            self._binds = self._binds and newest.promise <= DEVICE_PROMISE_MAX
            promise = ceil(newest.promise * 1000)
            me.ask_device(ShowDevice(me.term, me.node, index, newest.number, promise), now)

    def _due(self, needed: bool, index: int, now: float) -> bool:
        if self._owed:
            return now >= self._shown_at + self._pause
        fresh = self._rounds.newest.number > self._round
        if needed:
            return fresh or index > self.match(self._me.device)
        return fresh and now >= self._shown_at + self._me.settings.heartbeat_interval

    def _index(self) -> int:
        """The newest entry of this term that is durable here; 0: none."""
        me = self._me
        return me.saved_index if me.journal.term_at(me.saved_index) == me.term else 0

    def _needed(self, now: float) -> bool:
        """Whether the voters that answer cannot do without it."""
        me = self._me
        if self._lagging:
            return True
        answering = {voter for voter in me.configuration.voters if voter == me.node or self._answers(voter, now)}
        return not (me.configuration.commits(answering) and me.configuration.keeps(answering))

    def _answers(self, voter: int, now: float) -> bool:
        settings = self._me.settings
        retry = settings.replication_retry_interval
        if voter in self._granted and now < self._began_at + retry:
            return True
        return self._rounds.answered(voter).opened_at > now - settings.heartbeat_interval - 2 * retry

    # --- answers --------------------------------------------------------------

    def opened(self) -> None:
        """The link is new: nothing that was shown before will be answered."""
        self._owed, self._shown_at = False, -inf

    def shown(self, answer: DeviceShown) -> None:
        """It has seen a round, and an entry; what it refused binds nobody."""
        me, key = self._me, device_key(answer.uid)
        if answer.round >= self._round:
            self._owed = False
        if not answer.kept or answer.term != me.term:
            return
        self._rounds.answer(key, answer.round, lasting=self._binds)
        if answer.index <= me.saved_index:
            self._match[key] = max(self.match(key), answer.index)


def _fault_by(members: Members, standing: Standing) -> str:
    way = members.way
    if members.device_uid not in (0, standing.arbiter) and standing.arbiter:
        return (
            f"the list counts the arbiter {members.device_uid:016x}, and this node asks {standing.arbiter:016x}: name "
            "the same host and port, in the same words, on all nodes"
        )
    if standing.reason:
        return standing.reason
    counts = standing.by_formula if way == FORMULA else standing.by_episode(standing.members)
    return "" if counts else (
        f"the list counts it by {way}, and by the algorithm that this node asks for it may count by "
        f"{standing.way or 'no way'}: set the same algorithm on all nodes"
    )


def fault_of_device(me: Participant, now: float) -> str:
    """Why the device of the list does not count for this node now, "" when it does or when there is none."""
    members = me.membership.latest
    if not members.way:
        return ""
    if not members.device:
        return "it has no votes: those of the nodes cannot be halved"
    if members.way != MEMORY:
        return _fault_by(members, me.standing)
    if not me.device:
        return "this node has no connection to an arbiter that remembers this cluster"
    if me.device != device_key(members.device_uid):
        return (
            f"this node's arbiter has the memory {me.device - device_key(0):016x}, and the list says "
            f"{members.device_uid:016x}: it counts when a leader has put it there"
        )
    if me.behind and me.leader is None:
        return (
            "it has seen an entry that this node lacks, and will not vote for it: the node that has it must come back, "
            "or an operator forces the quorum"
        )
    if me.device not in me.alive(now):
        return f"it has not answered for {now - me.device_owes_since:.0f}s"
    return ""
