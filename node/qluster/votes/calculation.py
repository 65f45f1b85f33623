"""The formulas: how many votes are needed, and when half of them will do.

Must not know nodes or time. Numbers in, numbers out.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


def quorum_of(highest_expected: int, total: int) -> int:
    """Votes needed where so many are expected at most, and so many are here: more than half of either."""
    return max((highest_expected + 2) // 2, (total + 2) // 2)


def next_quorum(
    highest_expected: int, total: int, *, before: int, may_fall: bool, two_node: bool, voters: int
) -> int:
    """Votes needed now. Without a reason to fall, it never falls; with `two_node` one of two voters is enough."""
    if two_node and voters <= 2:
        return 1
    wanted = quorum_of(highest_expected, total)
    return wanted if may_fall else max(before, wanted)


def is_half(total: int, expected: int, lost: int, quorum: int) -> bool:
    """Whether these are the votes of one half, and the ``lost`` members cannot have quorum without it."""
    return total == expected // 2 and lost < quorum
