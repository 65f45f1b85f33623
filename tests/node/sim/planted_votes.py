"""Faults planted into how votes are counted (see planted.py): each is a rule of docs/votes.md, weakened.

All of them let a single node decide what stands in the log: that is what corosync's votequorum does, and what makes
two halves of a cluster that both go on.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any
from unittest.mock import patch

from qluster import quorum
from qluster.consensus.electorate import Electorate
from qluster.consensus.members import Members
from qluster.consensus.membership import NOBODY, Configuration, Membership
from qluster.consensus.participant import Participant
from qluster.consensus.qraft import QRaft
from qluster.consensus.silence import Silence
from qluster.entering import Entering

from sim.electing import VOTES_FROM
from sim.planted import PLANTS, plant

__all__ = ["PLANTS", "SEEDS"]

SEEDS: dict[str, range] = {}
"""Where to look for these: the seeds of the kind of cluster that each concerns."""

LOST_SECONDS = 2.5
"""The window of the simulated clusters."""

HASTY_SECONDS = 1.2
"""Less than node-timeout: a leader that waited for the whole window would have stepped down before."""


def _plant(sentence: str, kind: int) -> Callable[[Callable[[], Iterator[None]]], Any]:
    SEEDS[sentence] = range(VOTES_FROM + kind, VOTES_FROM + kind + 400, 4)
    return plant(sentence)


@lru_cache(maxsize=4096)
def _electorate(votes: tuple[tuple[int, int], ...], tie: int = 0) -> Electorate:
    weights = quorum.weights(dict(votes), tie)
    return Electorate(tuple(sorted(weights.items())), quorum.quorums(len(weights), sum(weights.values()), True, 0))


@lru_cache(maxsize=4096)
def _configuration(*electorates: Electorate) -> Configuration:
    """One object for the same electorates: what was reached is remembered by it."""
    return Configuration(electorates)


Opinion = Callable[[Participant, Electorate], Electorate]


@contextmanager
def _each_by_itself(opinion: Opinion) -> Iterator[None]:
    """Every node counts as it thinks right."""

    def configuration(self: Participant) -> Configuration:
        sound = self.membership.configuration(self.commit_index)
        return _configuration(*(opinion(self, one) for one in sound.electorates))

    with patch.object(Participant, "configuration", property(configuration)):
        yield


def _alive(me: Participant) -> frozenset[int]:
    limit = me.now - me.settings.node_timeout
    return frozenset({me.node} | {node for node, at in me.heard.items() if at > limit})


@_plant("votes-without-log: a node counts the votes of its own file before the log has them", 0)
def _votes_without_log() -> Iterator[None]:
    sound = Entering.begin

    def begin(self: Entering, saved: Any, now: float) -> None:
        sound(self, saved, now)
        assert self._node.qraft is not None
        self._node.qraft._me.own_votes = self._node.config.votes  # type: ignore[attr-defined]

    def opinion(me: Participant, one: Electorate) -> Electorate:
        votes = dict(one.weights)
        if me.node in votes:
            votes[me.node] = getattr(me, "own_votes", votes[me.node])
        return _electorate(tuple(sorted(votes.items()))) if any(votes.values()) else one

    with patch.object(Entering, "begin", begin), _each_by_itself(opinion):
        yield


@_plant("unweighted-commit: votes elect, and a majority of the nodes commits", 0)
def _unweighted_commit() -> Iterator[None]:
    sound = Electorate.of

    def of(members: Members) -> Electorate:
        one = sound(members)
        return replace(one, needs=replace(one.needs, commit=0, copies=quorum.majority(len(one.voters))))

    with patch.object(Electorate, "of", of):
        yield


@_plant("expected-lowered-alone: a node without quorum expects no more votes than it hears", 0)
def _expected_lowered_alone() -> Iterator[None]:
    def opinion(me: Participant, one: Electorate) -> Electorate:
        alive = _alive(me)
        heard = tuple((node, weight) for node, weight in one.weights if node in alive)
        return one if one.elects(alive) or not any(weight for _, weight in heard) else _electorate(heard)

    with _each_by_itself(opinion):
        yield


@_plant("shrink-in-memory: who is lost is not counted, and only those know it who saw it", 2)
def _shrink_in_memory() -> Iterator[None]:
    def look(me: Participant) -> None:
        voters = me.membership.latest.voters
        seen = _alive(me) & voters
        if seen != getattr(me, "seen", None):
            me.seen, me.seen_since = seen, me.now  # type: ignore[attr-defined]
        kept = (getattr(me, "kept", voters) & voters) | seen | (voters - getattr(me, "known", voters))
        me.known = voters  # type: ignore[attr-defined]
        quorate = 2 * len(seen & kept) > len(kept)
        late = me.now >= me.seen_since + LOST_SECONDS  # type: ignore[attr-defined]
        me.kept = seen if quorate and late else kept  # type: ignore[attr-defined]

    def tick(self: QRaft, now: float) -> None:
        self._me.now = now
        look(self._me)
        sound(self, now)

    def opinion(me: Participant, one: Electorate) -> Electorate:
        kept = getattr(me, "kept", one.voters)
        return _electorate(tuple((node, weight) for node, weight in one.weights if node in kept) or one.weights)

    sound = QRaft.tick
    with ExitStack() as stack:
        stack.enter_context(patch.object(QRaft, "tick", tick))
        stack.enter_context(patch.object(Silence, "_last_standing", lambda self, changed_at, now: None))
        stack.enter_context(_each_by_itself(opinion))
        yield


@_plant("shrink-by-new-rule: a list in which voters rest is committed by those alone who are left", 2)
def _shrink_by_new_rule() -> Iterator[None]:
    sound = Membership.configuration

    def configuration(self: Membership, commit_index: int) -> Configuration:
        if self.index > commit_index and self.previous is not NOBODY and self.latest.voters < self.previous.voters:
            return _configuration(Electorate.of(self.latest))
        return sound(self, commit_index)

    def lost(self: Silence, changed_at: float, now: float) -> Members | None:
        me, latest = self._me, self._me.membership.latest
        limit = now - HASTY_SECONDS
        gone = {node for node in latest.voters - {me.node} if max(me.heard.get(node, 0.0), self._began_at) <= limit}
        return latest.rested(gone) if gone else None

    with patch.object(Membership, "configuration", configuration), patch.object(Silence, "_last_standing", lost):
        yield


@_plant("tie-by-partition: the tie-breaker is the lowest node of the last part that had a majority", 1)
def _tie_by_partition() -> Iterator[None]:
    sound = QRaft.tick

    def tick(self: QRaft, now: float) -> None:
        me = self._me
        me.now = now
        seen = _alive(me) & me.membership.latest.voters
        if 2 * len(seen) > len(me.membership.latest.voters):
            me.low = min(seen)  # type: ignore[attr-defined]
        sound(self, now)

    def opinion(me: Participant, one: Electorate) -> Electorate:
        votes = tuple((node, 1) for node in sorted(one.voters))
        return _electorate(votes, getattr(me, "low", min(one.voters)))

    with patch.object(QRaft, "tick", tick), _each_by_itself(opinion):
        yield
