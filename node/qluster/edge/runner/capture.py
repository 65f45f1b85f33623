"""Takes what a program says, as fast as it says it, and keeps as much as it may.

It must not know what was said. What is not kept is read and counted all the same: a program must not stand still
because nobody keeps its words.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

PIPE_SIZE = 1 << 20
"""Bytes that a program may be ahead of us; what the kernel lets every user have."""
CHUNK = 1 << 18
"""Bytes read at a time: others have their turn in between."""
TAIL = 2048
"""Bytes of the end that are kept in memory: as many characters as are shown, in any script."""
RESERVE = 1 << 16
"""Bytes of what may be kept that standard output leaves to standard error, which says why; of a small limit the
eighth part."""


class Budget:
    """Bytes that may be kept of both outputs."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.reserve = min(RESERVE, size // 8)


class Capture:
    """One output of one run."""

    def __init__(self, budget: Budget, reserve: int, fault: Callable[[OSError], None]) -> None:
        self.size = 0
        """Bytes that came."""
        self.tail = b""
        self._budget = budget
        self._reserve = reserve
        self._fault = fault
        self._file = -1
        self._reading, self.writing = os.pipe2(os.O_CLOEXEC)
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._reading, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        os.set_blocking(self._reading, False)
        self.done = asyncio.get_running_loop().create_future()

    def handed_over(self) -> None:
        """The attendant has its end of the pipe: ours is closed, so that the last word is seen."""
        os.close(self.writing)
        self.writing = -1

    def begin(self, path: Path) -> None:
        """Keep it there."""
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        asyncio.get_running_loop().add_reader(self._reading, self._come)

    def close(self) -> None:
        """Take no more."""
        if self._reading < 0:
            return
        asyncio.get_running_loop().remove_reader(self._reading)
        for descriptor in (self._reading, self._file, self.writing):
            if descriptor >= 0:
                os.close(descriptor)
        self._reading = self.writing = -1
        if not self.done.done():
            self.done.set_result(None)

    def _come(self) -> None:
        try:
            data = os.read(self._reading, CHUNK)
        except BlockingIOError:
            return
        if not data:
            self.close()
            return
        self.size += len(data)
        self.tail = (self.tail + data)[-TAIL:] if len(data) < TAIL else data[-TAIL:]
        room = max(0, self._budget.left - self._reserve)
        if room:
            self._keep(data[:room])

    def _keep(self, data: bytes) -> None:
        try:
            kept = os.write(self._file, data)
        except OSError as error:
            # What comes later is dropped too: output with a hole in it says what was never said.
            self._reserve = self._budget.left
            self._fault(error)
            return
        self._budget.left -= kept
