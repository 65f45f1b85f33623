"""How many of how many: majorities, commit, election and contact quorums.

Must not know who the nodes are or what they vote on. Numbers in, numbers out.

With ``n`` voters that hold the log, ``C`` copies that make an entry committed and ``E`` votes
that elect, no committed entry can be lost as long as

    C + E > n    every election meets every commit,
    2 E > n      every two elections meet.

``replication-factor`` may ask for a C below the majority; then E grows to n - C + 1.
It may ask for a C above the majority; then E stays a majority. Decision D4.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterable


def majority(n: int) -> int:
    """More than half of ``n``."""
    assert n >= 1, "a quorum of nobody"
    return n // 2 + 1


def commit_quorum(n: int, quorum_replication: bool, replication_factor: int) -> int:
    """Copies, the leader's included, that make an entry committed.

    A cluster that is smaller than ``replication_factor`` (while it is being built) needs all nodes.
    """
    assert replication_factor >= 0, "copies are counted from 0"
    if replication_factor == 0:
        return majority(n)
    floor = majority(n) if quorum_replication else 1
    return min(n, max(floor, replication_factor))


def election_quorum(n: int, commit: int) -> int:
    """Votes that elect where ``commit`` copies commit."""
    assert 1 <= commit <= n, f"{commit} copies among {n} nodes"
    return max(majority(n), n - commit + 1)


def contact_quorum(n: int, commit: int) -> int:
    """Nodes, the leader included, that must answer a leader so that it may go on.

    So many that nobody else can be elected without one of them, and not more than a majority
    unless that is needed: a leader that waits for a further copy still leads.
    """
    return max(n - election_quorum(n, commit) + 1, min(commit, majority(n)))


def reached(values: Iterable[float], quorum: int) -> float:
    """The highest value that at least ``quorum`` of the given ones have reached."""
    ordered = sorted(values, reverse=True)
    assert 1 <= quorum <= len(ordered), f"{quorum} of {len(ordered)} values"
    return ordered[quorum - 1]
