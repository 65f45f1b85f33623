"""Decides whether a set of nodes elects, commits, or keeps a leader in office: the voters of one list of members.

Must not know logs, terms or messages. All counting of the consensus goes through this value: how many votes a
node has, the tie-breaker and the rule of commit stand in the list, so they change through the log like the members.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property

from qluster import quorum
from qluster.consensus.members import Members
from qluster.quorum import Quorums


@dataclass(frozen=True)
class Electorate:
    """The voters of one list, what each weighs, and how much it takes."""

    weights: tuple[tuple[int, int], ...]
    """Voter and weight."""
    needs: Quorums

    @classmethod
    def of(cls, members: Members) -> Electorate:
        """The electorate of this list, which must have voters."""
        weights = quorum.weights({member.node: member.votes for member in members if member.voter}, members.tie)
        needs = quorum.quorums(
            len(weights), sum(weights.values()), members.quorum_replication, members.replication_factor
        )
        plain = all(weight == 1 for weight in weights.values())
        return cls(tuple(sorted(weights.items())), needs.plain if plain else needs)

    @cached_property
    def voters(self) -> frozenset[int]:
        """Their numbers."""
        return frozenset(voter for voter, _ in self.weights)

    @cached_property
    def _weight(self) -> dict[int, int]:
        return dict(self.weights)

    @cached_property
    def plain(self) -> bool:
        """Every voter weighs 1: weights and voters are one number."""
        return all(weight == 1 for _, weight in self.weights)

    def weight(self, nodes: Collection[int]) -> int:
        """What these weigh together; who does not vote weighs nothing (S4)."""
        return sum(self._weight[voter] for voter in self.voters.intersection(nodes))

    def elects(self, granted: Collection[int]) -> bool:
        """Whether these votes elect."""
        return self._have(granted, self.needs.election, self.needs.electors)

    def commits(self, holders: Collection[int]) -> bool:
        """Whether an entry on these nodes is committed."""
        return self._have(holders, self.needs.commit, self.needs.copies)

    def keeps(self, nodes: Collection[int]) -> bool:
        """Whether a leader that hears these goes on."""
        needs, count = self.needs, len(self.voters.intersection(nodes))
        return self.weight(nodes) >= needs.contact or 0 < needs.contacts <= count

    def _have(self, nodes: Collection[int], weight: int, count: int) -> bool:
        return self.weight(nodes) >= weight and len(self.voters.intersection(nodes)) >= count

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
        return quorum.reached_by_weight([(value(voter), weighs) for voter, weighs in self.weights], weight)
