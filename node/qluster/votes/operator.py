"""What an operator may set while the cluster runs, and what is refused.

Must not know who the nodes are.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from qluster.votes.calculation import next_quorum
from qluster.votes.options import EXPECTED_MAX, VOTES_MAX


def _quorum(expected: int, total: int, two_node: bool) -> int:
    return next_quorum(expected, total, before=0, may_fall=True, two_node=two_node, voters=2)


def fault_of_expected(votes: int, total: int, quorate: bool, two_node: bool) -> str:
    """Why so many votes cannot be expected, "" when they can."""
    if not 1 <= votes <= EXPECTED_MAX:
        return f"{votes} votes cannot be expected. Use 1 to {EXPECTED_MAX}."
    if votes < total:
        return f"{votes} expected votes are fewer than the {total} that are here. Use at least {total}."
    needed = _quorum(votes, total, two_node)
    if quorate and needed > total:
        return (f"with {votes} expected votes {needed} are needed, and {total} are here: the cluster would lose its "
                f"quorum. Use at most {2 * total - 1}.")
    return ""


def fault_of_votes(node: int, votes: int, highest_expected: int, total: int, two_node: bool) -> str:
    """Why a node cannot have so many votes, "" when it can. ``total`` is what would then be here."""
    if not 0 <= votes <= VOTES_MAX:
        return f"node {node} cannot have {votes} votes. Use 0 to {VOTES_MAX}."
    needed = _quorum(highest_expected, total, two_node)
    if needed > total:
        return (f"with {votes} votes for node {node} there are {total} here and {needed} are needed: the cluster would "
                "lose its quorum. Lower the expected votes first.")
    if needed < total // 2:
        return (f"with {votes} votes for node {node} there are {total} here, and {needed} would be a quorum, less than "
                "half. Raise the expected votes first.")
    return ""
