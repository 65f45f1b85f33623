"""Faults planted into how the votes of an arbiter are counted that remembers nothing: each must be found.

The first part is of the way by episode, the second of the way by formula. A plant's text begins with its way.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Collection, Iterator
from unittest.mock import patch

from planting import Plants
from qluster import quorum
from qluster.consensus.arbitration import Ringed
from qluster.consensus.election import Election
from qluster.consensus.electorate import by_episode
from qluster.consensus.following import Following
from qluster.consensus.lease import NEVER, Round
from qluster.consensus.members import EPISODE
from qluster.consensus.messages import Append
from qluster.consensus.participant import Participant
from qluster.consensus.standing import Standing
from qluster.qdevice.episode import Episode

PLANTS = Plants()
plant, method = PLANTS.plant, PLANTS.method


def _own(self: Participant) -> bool:
    return bool(self.episodes) and self.standing.acknowledged


@plant("episode: that an episode broke is forgotten")
def _unbroken() -> Iterator[None]:
    with patch.object(Episode, "unbroken", property(lambda self: True)):
        yield


@plant("episode: it is not asked of a leader in office")
def _in_office() -> Iterator[None]:
    with patch.object(Ringed, "counts", lambda self, key: _own(self._me)):
        yield


method(
    "episode: the device is counted as a log holder", Ringed, "match",
    lambda self, key: self._me.saved_index if self.counts(key) else 0,
)
method(
    "episode: commit without a node of the membership", Ringed, "_reached",
    lambda self: sorted(
        self._me.saved_index if node == self._me.node else self._match.get(node, 0)
        for node in self._me.standing.members
    )[:2][-1],
)


@plant("episode: device-in-lease: it renews the lease in place of a node of the membership")
def _lease() -> Iterator[None]:
    def rounds(self: Ringed, key: int) -> list[Round]:
        return [self._round(self._me.node)] if self.counts(key) else [NEVER]

    with patch.object(Ringed, "rounds", rounds):
        yield


@plant("episode: late-sync: whatever a leader once said shows that a node is in sync")
def _late() -> Iterator[None]:
    sound = Following.append

    def append(self: Following, message: Append, now: float) -> None:
        sound(self, message, now)
        me = self._me
        if message.last_index <= me.saved_index and me.standing.broken:
            me.in_sync(me.standing.ring, now)

    with patch.object(Following, "append", append):
        yield


@plant("episode: sync-without-arbiter: an episode mends while nothing is acknowledged")
def _without_arbiter() -> Iterator[None]:
    broken = property(lambda self: self.way == EPISODE and not self.unbroken)
    with (
        patch.object(Episode, "in_sync", lambda self, ring, asked_at, held: Episode(None)),
        patch.object(Standing, "broken", broken),
    ):
        yield


@plant("episode: device-by-follower: the vote that another node has is counted")
def _by_follower() -> Iterator[None]:
    others: dict[int, Participant] = {}
    sound, begin = Participant.devices, Participant.__init__

    def started(self: Participant, node: int, *more: object) -> None:
        begin(self, node, *more)  # type: ignore[arg-type]
        others[node] = self

    def devices(self: Participant, present: Collection[int]) -> set[int]:
        found = sound(self, present)
        if self.episodes and any(
            others[node].standing.acknowledged and others[node].standing.unbroken for node in present
        ):
            found |= self.episodes
        return found

    with patch.object(Participant, "__init__", started), patch.object(Participant, "devices", devices):
        yield


@plant("episode: another-arbiter: whichever a node asks counts, whatever the list says")
def _another() -> Iterator[None]:
    def episodes(self: Participant) -> frozenset[int]:
        return frozenset(filter(by_episode, self.configuration.devices))

    with patch.object(Participant, "episodes", property(episodes)):
        yield


method(
    "episode: half-open: elected without a node of the membership", Election, "_devices",
    lambda self: self._me.devices(self._me.standing.members),
)


@plant("formula: same-term-twice: two that the device helps stand in one term")
def _same_term() -> Iterator[None]:
    with (
        patch.object(Election, "_next_term", lambda self: self._me.term + 1),
        patch.object(Election, "_devices", lambda self: self._me.devices(())),
    ):
        yield


@plant("formula: it weighs in commits as in elections")
def _plain() -> Iterator[None]:
    def by_formula(n: int, total: int, device: int, *rule: object) -> quorum.Quorums:
        return quorum.quorums(n, total, *rule)  # type: ignore[arg-type]

    with patch.object(quorum, "by_formula", by_formula):
        yield
