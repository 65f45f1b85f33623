"""Makes what runs have written durable: all that waits at once in one go.

It must not know what was written. A crowd of runs that begins together would otherwise flush the disk several times
for each, one after the other, and keep the node's own log waiting, which is on the same disk as a rule: a leader that
cannot save steps down. The first flush of a crowd takes most of what the others wrote along.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import os
from pathlib import Path


class Flushing:
    """One disk."""

    def __init__(self) -> None:
        self._waiting: list[tuple[tuple[Path, ...], asyncio.Future[None]]] = []
        self._work: asyncio.Task[None] | None = None

    async def flush(self, *paths: Path) -> None:
        """Come back when these files and directories are durable; raises OSError where one of them is not."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((paths, done))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._go_on())
        await done

    async def _go_on(self) -> None:
        while self._waiting:
            crowd, self._waiting = self._waiting, []
            faults = await asyncio.to_thread(_flush, dict.fromkeys(path for paths, _ in crowd for path in paths))
            for paths, done in crowd:
                fault = next((faults[path] for path in paths if path in faults), None)
                if done.done():
                    continue  # who waited was cancelled
                if fault is not None:
                    done.set_exception(fault)
                else:
                    done.set_result(None)


def sync(path: Path) -> None:
    """Make one file or directory durable; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush(paths: dict[Path, None]) -> dict[Path, OSError]:
    """Each once; what went wrong with which."""
    faults = {}
    for path in paths:
        try:
            sync(path)
        except OSError as error:
            faults[path] = error
    return faults
