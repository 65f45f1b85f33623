"""Says which states a task has, and which of them may follow which: the one table of it.

Must not know what a task does, nor who moves it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from enum import IntEnum
from typing import Final


class State(IntEnum):
    """Where a task is in its life. The numbers stand in logs and snapshots: none is ever used for another state."""

    SUBMITTED = 1
    """Accepted; nothing stands against its start but its turn."""
    WAITING = 2
    """Something stands against its start, and the task says what: a time, another task, a group, no node that fits."""
    ASSIGNED = 3
    """A node has the claim to it and has not yet said that it began."""
    RUNNING = 4
    SUCCEEDED = 5
    FAILED = 6
    CANCELLED = 7
    EXPIRED = 8
    """It was not begun before its time was over."""
    LOST = 9
    """It may have run to its end or not: its node is gone, and it must not be run a second time."""


FINAL: Final = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED, State.LOST})
"""Nothing follows these."""

PENDING: Final = frozenset({State.SUBMITTED, State.WAITING})
"""No node has a claim."""

CLAIMED: Final = frozenset({State.ASSIGNED, State.RUNNING})
"""One node has the only claim."""

FOLLOWS: Final[dict[State, frozenset[State]]] = {
    State.SUBMITTED: frozenset(
        # To running: a task for each node runs as long as its parts do, and no node has a claim to the whole.
        {State.WAITING, State.ASSIGNED, State.RUNNING, State.FAILED, State.CANCELLED, State.EXPIRED}
    ),
    State.WAITING: frozenset(
        {State.SUBMITTED, State.ASSIGNED, State.RUNNING, State.FAILED, State.CANCELLED, State.EXPIRED}
    ),
    # Back to waiting: the claim ended without a last word, and another one may be given.
    State.ASSIGNED: frozenset(
        {State.RUNNING, State.WAITING, State.SUCCEEDED, State.FAILED, State.CANCELLED, State.LOST}
    ),
    State.RUNNING: frozenset({State.WAITING, State.SUCCEEDED, State.FAILED, State.CANCELLED, State.LOST}),
    **{state: frozenset() for state in FINAL},
}


def may(before: State, after: State) -> bool:
    """Whether ``after`` may follow ``before``."""
    return after in FOLLOWS[before]
