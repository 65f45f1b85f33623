"""Whether a server that has not ended stands still: nobody is let in, or nothing is written.

It must not know what is made of it. Only what is certain counts: a server that is merely slow to answer is busy.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from qluster.database.facts import Facts

NOTICED = 2.0
"""Seconds after which it is said: a debugger that takes a picture, a disk that is busy, are over by then."""
HANGS = 4.0
"""Seconds of silence, two questions that nobody answered, after which a server is not asked to stop in order."""


def standing(facts: Facts) -> float:
    """For how many seconds it has certainly stood still; 0 for a server that works, and for one that is only silent."""
    return max(facts.halted_for, facts.stalled)


def hangs(facts: Facts) -> bool:
    """Whether it would not stop in order, or not soon."""
    return facts.silent >= HANGS or standing(facts) >= NOTICED


def sentence(facts: Facts) -> str:
    """What stands still, for people; "" when nothing does."""
    if facts.halted_for >= NOTICED:
        return "the postmaster is stopped, by a signal or a debugger: nobody new is let in"
    if facts.stalled >= NOTICED:
        return "the disk does not take WAL: transactions wait for it"
    return ""
