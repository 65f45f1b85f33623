"""What the arbiter remembers of one consensus: a witness that votes by Raft's own rules and holds no log.

Must not know connections, bytes or disks. The caller keeps ``kept`` durably whenever it has changed, before the answer
leaves: what was voted and what was shown bind after a crash as well.

A vote counts like that of a log holder because of three rules (Ongaro's dissertation, sections 3.4 and 3.6, for a
voter whose log is known by its end alone). It is given at most once a term. It is given to no candidate whose log ends
before what a leader has shown here. What a leader shows is an entry of its own term: whoever has that entry, or one
behind it of the same term, has the leader's whole log up to there. A leader that counts the answer for its lease is
promised that nobody else is voted for meanwhile; after a restart the memory keeps to the longest promise that may not
be over: one that is longer than those of now is forgotten when it has ended.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from math import ceil, inf

import msgspec

from qluster.qnet.names import Refusal, Stage

PROMISE_MAX = 600_000
"""Milliseconds of the longest promise: a restart of the arbiter must not keep a cluster waiting for ever."""


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """What must outlive a crash."""

    uid: int
    """Drawn when the memory was made: one that lost what it knew is another one."""
    term: int = 0
    vote: int = 0
    """For whom it voted in that term; 0: for nobody yet."""
    last_term: int = 0
    index: int = 0
    """The newest entry that a leader has shown."""
    promise: int = 0
    """Milliseconds of the longest promise that was given and may not be over."""

    @property
    def used(self) -> bool:
        """Anybody was voted for, or showed himself: until then nothing is lost with it but its uid."""
        return bool(self.term or self.index or self.promise)


GONE = Kept(0)
"""In the place of a memory that was forgotten."""


class Memory:
    """One witness. Times are seconds of one clock that never goes back.

    ``found_at``: when what was kept was read after a start; None for a new one.
    """

    def __init__(self, kept: Kept, found_at: float | None) -> None:
        self.kept = kept
        self._promised_to = 0
        self._promised_until = -inf if found_at is None else found_at + kept.promise / 1000

    def ask(
        self, stage: Stage, term: int, candidate: int, last: tuple[int, int], now: float
    ) -> tuple[bool, Refusal]:
        """Whether this candidate gets the vote, and why not. ``last``: term and index of its last entry."""
        refusal = self._refusal(stage, term, candidate, last, now)
        if stage is Stage.PRE_VOTE:
            return refusal is Refusal.NONE, refusal
        if term > self.kept.term and refusal in (Refusal.NONE, Refusal.OLD_LOG):
            self._keep(term=term, vote=0)
        if refusal is Refusal.NONE:
            self._keep(vote=candidate)
        return refusal is Refusal.NONE, refusal

    def show(self, term: int, leader: int, index: int, promise: int, now: float) -> Refusal:
        """A leader showed itself and its log, up to an entry of its own term (0: none of it)."""
        kept = self.kept
        if term < kept.term:
            return Refusal.OLD_TERM
        promise = min(promise, PROMISE_MAX)
        shown = max((kept.last_term, kept.index), (term, index)) if index else (kept.last_term, kept.index)
        # It may lead without this vote; the term's one vote is not given to somebody else afterwards.
        vote = (kept.vote if term == kept.term else 0) or leader
        # Who starts anew counts from its start: no promise that stands may be longer than what is kept.
        standing = ceil(max(0.0, self._promised_until - now) * 1000)
        longest = promise if promise >= standing else max(kept.promise, promise)
        self._keep(term=term, vote=vote, last_term=shown[0], index=shown[1], promise=longest)
        self._promised_to = leader
        self._promised_until = max(self._promised_until, now + promise / 1000)
        return Refusal.NONE

    def _refusal(self, stage: Stage, term: int, candidate: int, last: tuple[int, int], now: float) -> Refusal:
        kept = self.kept
        promised = now < self._promised_until and self._promised_to != candidate
        if promised and stage is not Stage.VOTE_BY_TRANSFER:
            return Refusal.PROMISED
        if term < kept.term or (term == kept.term and stage is Stage.PRE_VOTE):
            return Refusal.OLD_TERM
        if term == kept.term and kept.vote not in (0, candidate):
            return Refusal.VOTED
        return Refusal.OLD_LOG if last < (kept.last_term, kept.index) else Refusal.NONE

    def _keep(self, **changes: int) -> None:
        self.kept = msgspec.structs.replace(self.kept, **changes)
