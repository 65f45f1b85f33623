"""Decides whether a set of nodes elects, commits, or keeps a leader in office: the voters of one list of members.

Must not know logs, terms or messages. All counting of the consensus goes through this value: how many votes a
node has, the tie-breaker and the rule of commit stand in the list, so they change through the log like the members.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import cached_property

from qluster import quorum
from qluster.consensus.members import EPISODE, FORMULA, MEMORY, NODE_MAX, Members
from qluster.quorum import Quorums

FORMULA_KEY = -1
"""Under which number a device that counts by formula stands there: any arbiter at all."""


def episode_key(uid: int) -> int:
    """Under which number a device stands there that counts by episode; by uid, which says what arbiter it is.

    It holds only among those who ask one and the same: another one refuses nobody whom the first acknowledges. With
    uid 0, as versions wrote it that did not tell them apart, it is whichever a node asks.
    """
    return -2 - uid


def by_episode(key: int) -> bool:
    """Whether this is the number of such a device."""
    return key < FORMULA_KEY


def device_key(uid: int) -> int:
    """Under which number a memory stands among those who voted, answered or have an entry.

    No node has such a number, and another memory has another: one that has lost what it knew is nobody's voter.
    """
    return NODE_MAX + 1 + uid


@dataclass(frozen=True)
class Electorate:
    """The voters of one list, what each weighs, and how much it takes.

    A device weighs like a voter and is no node: what counts nodes (copies above all) does not count it. By formula it
    weighs in elections only.
    """

    weights: tuple[tuple[int, int], ...]
    """Voter and weight."""
    needs: Quorums
    device: tuple[int, int] | None = None
    """Key and weight of the device; None where none has votes."""
    slots: tuple[tuple[int, int], ...] = ()
    """Voter and slot, where a device counts by formula."""

    @classmethod
    def of(cls, members: Members) -> Electorate:
        """The electorate of this list, which must have voters."""
        weights = quorum.weights({member.node: member.votes for member in members if member.voter}, members.tie)
        uid = members.device_uid
        keys = {MEMORY: device_key(uid), EPISODE: episode_key(uid), FORMULA: FORMULA_KEY}
        device = (keys[members.way], members.device) if members.way and members.device else None
        total, rule = sum(weights.values()), (members.quorum_replication, members.replication_factor)
        needs = quorum.quorums(len(weights), total + (device[1] if device else 0), *rule)
        if device is not None and members.way == FORMULA:
            needs = quorum.by_formula(len(weights), total, device[1], *rule)
            slots = tuple(sorted((member.node, member.slot) for member in members if member.voter))
            return cls(tuple(sorted(weights.items())), needs, device, slots)
        if device is not None:
            # It keeps where an entry stands and not the entry: somebody must have it.
            needs = replace(needs, copies=max(1, needs.copies))
        elif all(weight == 1 for weight in weights.values()):
            needs = needs.plain
        return cls(tuple(sorted(weights.items())), needs, device)

    @cached_property
    def voters(self) -> frozenset[int]:
        """Their numbers."""
        return frozenset(voter for voter, _ in self.weights)

    @cached_property
    def everybody(self) -> frozenset[int]:
        """The voters, and the device."""
        return frozenset(self._weight)

    @cached_property
    def _weight(self) -> dict[int, int]:
        return dict((*self.weights, self.device) if self.device else self.weights)

    @cached_property
    def _held_by(self) -> dict[int, int]:
        """What weighs in a commit and in a contact."""
        return dict(self.weights) if self.slots else self._weight

    @cached_property
    def plain(self) -> bool:
        """Every voter weighs 1 and there is nobody else: weights and voters are one number."""
        return self.device is None and all(weight == 1 for _, weight in self.weights)

    def weight(self, nodes: Collection[int]) -> int:
        """What these weigh together, the device if it is among them; who does not vote weighs nothing (S4)."""
        return sum(self._weight[voter] for voter in self.everybody.intersection(nodes))

    def elects(self, granted: Collection[int]) -> bool:
        """Whether these votes elect."""
        return self._have(granted, self.weight(granted), self.needs.election, self.needs.electors)

    def may_elect(self, refused: Collection[int]) -> bool:
        """Whether the others could still elect."""
        return self.elects(self.everybody.difference(refused))

    def commits(self, holders: Collection[int]) -> bool:
        """Whether an entry on these nodes is committed."""
        return self._have(holders, self._holds(holders), self.needs.commit, self.needs.copies)

    def keeps(self, nodes: Collection[int]) -> bool:
        """Whether a leader that hears these goes on."""
        needs, count = self.needs, len(self.voters.intersection(nodes))
        return self._holds(nodes) >= needs.contact or 0 < needs.contacts <= count

    def _holds(self, nodes: Collection[int]) -> int:
        return sum(self._held_by[one] for one in self._held_by.keys() & set(nodes))

    def _have(self, nodes: Collection[int], weighs: int, weight: int, count: int) -> bool:
        return weighs >= weight and len(self.voters.intersection(nodes)) >= count

    def committed(self, match: Callable[[int], float]) -> float:
        """The highest index that a commit quorum holds."""
        needs = self.needs
        if not needs.commit:
            return quorum.reached(map(match, self.voters), needs.copies)
        by_weight = self._reached(match, needs.commit)
        return min(by_weight, quorum.reached(map(match, self.voters), needs.copies)) if needs.copies else by_weight

    def contacted(self, value: Callable[[int], float]) -> float:
        """The highest value (a time, a round) that a contact quorum has reached."""
        needs = self.needs
        by_weight = self._reached(value, needs.contact)
        return max(by_weight, quorum.reached(map(value, self.voters), needs.contacts)) if needs.contacts else by_weight

    def _reached(self, value: Callable[[int], float], weight: int) -> float:
        if self.plain:
            return quorum.reached(map(value, self.voters), weight)
        return quorum.reached_by_weight([(value(voter), weighs) for voter, weighs in self._held_by.items()], weight)
