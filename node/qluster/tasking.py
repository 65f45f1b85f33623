"""Joins what a node has to do with tasks: its own, those of all nodes while it leads, and what is asked about them.

Must not know how any of it is decided; here stands in which order it is asked.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from msgspec import Raw

from qluster import looking, taking
from qluster.clients import Outcome, TaskLooked, TaskRequested
from qluster.dispatching import Dispatching
from qluster.tasked import TasksStatus
from qluster.tasks.board import Board
from qluster.tasks.packed import Packed
from qluster.tasks.runner import Order
from qluster.working import Workload

if TYPE_CHECKING:
    from qluster.cluster import commands
    from qluster.node import Node


class Tasking:
    """One node's part in the tasks."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.dispatching = Dispatching(node)
        self.workload = Workload(node)
        self._board: Board | None = None
        self._packed = Packed(Board())
        self.stirred = True
        """Something came in that concerns tasks."""
        self._stepped_at = -inf
        self.due_at = inf
        """When something is due without an event."""

    def stir(self) -> None:
        """Something of tasks has changed: an entry of the log, what another node says of its own."""
        self.stirred = True

    def due(self, now: float) -> bool:
        """Whether there is something to do."""
        return self.stirred or self._stepped_at < now >= self.due_at

    def heard(self, what: object, now: float) -> None:
        """The task runner of this host says something."""
        self.stirred = True
        self.workload.heard(what, now)  # type: ignore[arg-type]

    def take(self) -> list[Order]:
        """What the task runner is to do."""
        return self.workload.take()

    def step(self, now: float) -> bool:
        """Do what is due; True when the log was told something."""
        self._read()
        self.stirred = False
        self.workload.step(now)
        told = self.dispatching.step(now)
        self._stepped_at, self.due_at = now, min(self.dispatching.wake_at, self.workload.wake_at)
        return told

    def packed(self) -> dict[int, Raw]:
        """The tasks that are not over, for a snapshot."""
        self._read()
        return self._packed.live()

    def _read(self) -> None:
        """Take in what has changed on the board."""
        board = self._node.state.tasks
        if board is not self._board:
            self._board, self._packed = board, Packed(board)
            board.touched.clear()
            self.workload.rebuild()
            self.dispatching.rebuild()
        elif board.touched:
            self._packed.note(board.touched)
            self.workload.changed(board.touched)
            self.dispatching.changed(board.touched)
            board.touched.clear()

    def status(self, now: float) -> TasksStatus:
        """What there is to see at a glance."""
        return looking.figures(self._node, now)

    def asked(self, request: TaskRequested, now: float) -> commands.Body | Outcome:
        """What a request becomes: what is said in the log, or its answer."""
        return taking.take(self._node, request.what, now)

    def looked(self, look: TaskLooked, now: float) -> Outcome:
        """What there is to see."""
        return looking.look(self._node, look.what, now)
