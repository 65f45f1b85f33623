"""Decides how many of the tasks that are over leave the history, and when that is looked at.

Must not know how the log is told of it. What the operator sets is a wish: a task is known for at least so long, or as
one of at least so many, and for some seconds more; that no more are kept than memory is meant for, the board sees to
by itself with each entry.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from math import inf

from qluster.tasks.board import Board
from qluster.tasks.task import unpack

FORGOTTEN_MAX = 512
"""Tasks that leave with one entry: each node looks into each of them for its key, some 5 ms."""

INTERVAL = 5.0
"""Seconds between two looks: nobody counts on a task to be forgotten at once."""

PAUSE = 0.25
"""Seconds before the next entry where one was not enough: what was 100,000 tasks too many is gone within a minute."""


class Forgetting:
    """Of one leader, since it began at ``now``."""

    def __init__(self, now: float) -> None:
        self._looked_at = now
        self._more = False
        self._oldest, self._ended = 0, 0.0
        """The task that ended first, as long as it is known, and its end."""

    def due_at(self, board: Board, keep: int, span: float, monotonic_of: Callable[[float], float]) -> float:
        """When the history is to be looked at; ``keep`` tasks stay in it, and of these whose end is within ``span``
        seconds. ``monotonic_of`` makes a date a time of the node's clock."""
        if not board.history:
            return inf
        due = -inf if len(board.history) > keep else monotonic_of(self._first_end(board) + span)
        return max(due, self._looked_at + (PAUSE if self._more else INTERVAL))

    def _first_end(self, board: Board) -> float:
        if self._oldest != board.ends[0]:
            self._oldest = board.ends[0]
            self._ended = unpack(board.history[self._oldest]).changed_at
        return self._ended

    def count(self, board: Board, keep: int, span: float, now: float, wall: float) -> int:
        """How many of the oldest leave now."""
        self._looked_at = now
        over, found = len(board.history) - keep, 0
        for number in islice(board.ends, FORGOTTEN_MAX):
            if found >= over and unpack(board.history[number]).changed_at + span > wall:
                break
            found += 1
        self._more = found == FORGOTTEN_MAX
        return found
