"""Reads what a run said, while it runs or later.

It must not know who asks. Everything here may wait for the disk: call it in a thread.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

Stream = Literal["stdout", "stderr"]

PIECE_MAX = 1 << 20
"""Bytes of one reading."""


class NoOutput(Exception):
    """There is none of that run here; the message says what is."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of one stream."""

    data: bytes
    size: int
    """Bytes of the stream that are kept so far."""
    over: bool
    """Nothing more will come."""
    fence: int
    """Of which attempt it is."""


def read(directory: str, task: int, fence: int | None, stream: Stream, offset: int, limit: int) -> Piece:
    """Up to ``limit`` bytes from ``offset`` on, of the attempt ``fence`` (None: the last one here).

    ``directory`` is that of the tasks (``tasks.dir``). Raises :class:`NoOutput`.
    """
    if fence is None:
        fence = latest(directory, task)
    place = os.path.join(directory, "runs", f"{task}-{fence}")
    # Asked before the reading: what was written meanwhile is read by who asks again.
    over = os.path.exists(os.path.join(place, "ended"))
    try:
        with open(os.path.join(place, stream), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, offset))
            return Piece(file.read(max(0, min(limit, PIECE_MAX))), size, over, fence)
    except FileNotFoundError:
        raise NoOutput(f"this node has no output of task {task} with the fencing number {fence}: it ran elsewhere, "
                       f"or its output had to make room for newer (tasks.output-total)") from None  # fmt: skip


def latest(directory: str, task: int) -> int:
    """The fencing number of the last attempt that was made here; raises :class:`NoOutput`."""
    prefix = f"{task}-"
    try:
        names = os.listdir(os.path.join(directory, "runs"))
    except FileNotFoundError:
        names = []
    fences = [int(fence) for name in names if name.startswith(prefix) and (fence := name[len(prefix) :]).isdecimal()]
    if not fences:
        raise NoOutput(f"this node has no output of task {task}: it did not run here, or its output had to make room "
                       f"for newer (tasks.output-total)")  # fmt: skip
    return max(fences)
