"""How many of how many: majorities, and the quorums of an election, a commit and a leader's contact.

Must not know who the voters are or what they vote on. Weights and counts in, answers out.

A voter has a weight (its votes, see :func:`weights`) and is one node; elections count weights, copies
count nodes. With V the sum of the weights and n the number of the voters, no committed entry can be lost as
long as every two electing sets meet, every committing set meets every electing set, and every set whose
answers keep a leader in office meets every electing set. Decision D4; by brute force in
``tests/node/test_electorate.py``.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


def majority(n: int) -> int:
    """More than half of ``n``."""
    assert n >= 1, "a quorum of nobody"
    return n // 2 + 1


def weights(votes: Mapping[int, int], tie: int = 0) -> dict[int, int]:
    """What each voter weighs: its votes; with a tie-breaker twice its votes, and one more for that voter.

    So "half of the votes, with the tie-breaker" is a majority of the weights, which then have an odd sum, and
    where the votes have an odd sum already the tie-breaker changes nothing.
    """
    if tie not in votes:
        return dict(votes)
    return {voter: 2 * count + (voter == tie) for voter, count in votes.items()}


@dataclass(frozen=True, slots=True)
class Quorums:
    """What it takes. Each field is a threshold; 0 asks for nothing."""

    election: int
    """Weight that elects ..."""
    electors: int
    """... and so many voters as well."""
    commit: int
    """Weight that an entry must be on to be committed ..."""
    copies: int
    """... and so many voters as well."""
    contact: int
    """Weight that must answer a leader so that it may go on ..."""
    contacts: int
    """... or so many voters, whatever they weigh; 0: their number does not help."""

    @property
    def plain(self) -> Quorums:
        """The same where every voter weighs 1, by one number each."""
        contact = min(self.contact, self.contacts) if self.contacts else self.contact
        return Quorums(max(self.election, self.electors), 0, max(self.commit, self.copies), 0, contact, 0)


def quorums(n: int, total: int, quorum_replication: bool, replication_factor: int) -> Quorums:
    """The quorums of ``n`` voters that weigh ``total``.

    ``replication-factor`` asks for copies, whatever their holders weigh; a cluster that is smaller than it (while it
    is being built) needs all. Without ``quorum-replication`` it alone commits: then an election needs so many
    voters besides that it meets all such copies, and a leader goes on while so many answer that they do.
    """
    assert replication_factor >= 0, "copies are counted from 0"
    half = majority(total)
    copies = min(n, replication_factor)
    if quorum_replication or not copies:
        return Quorums(half, 0, half, copies, half, 0)
    return Quorums(half, n - copies + 1, 0, copies, half, copies)


def by_formula(n: int, total: int, device: int, quorum_replication: bool, replication_factor: int) -> Quorums:
    """The same beside a device that helps to elect and holds no copy, promises nothing and may help anybody.

    With it a set that weighs so much less elects, so every such set is to meet what is committed and who keeps a
    leader in office. Two sets that it helps need not meet: no two nodes may count it in one term.
    """
    plain = quorums(n, total, quorum_replication, replication_factor)
    election = majority(total + device)
    assert election > device, f"{device} votes of the device elect alone"
    rest = total - (election - device) + 1
    commit = max(plain.commit, rest) if plain.commit else 0
    return Quorums(election, plain.electors, commit, plain.copies, rest, plain.contacts)


def reached(values: Iterable[float], quorum: int) -> float:
    """The highest value that at least ``quorum`` of the given ones have reached."""
    ordered = sorted(values, reverse=True)
    assert 1 <= quorum <= len(ordered), f"{quorum} of {len(ordered)} values"
    return ordered[quorum - 1]


def reached_by_weight(values: Iterable[tuple[float, int]], quorum: int) -> float:
    """The highest value that ``quorum`` of the weight has reached; values with their weights are given."""
    left = quorum
    for value, weight in sorted(values, reverse=True):
        left -= weight
        if left <= 0:
            return value
    raise AssertionError(f"{quorum} is more than all weigh")
