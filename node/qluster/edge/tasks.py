"""Tells the task runner of this host what to do, and the node what it says.

It must not know why. The runner is a process of its own, started by the service manager; while it is not there,
orders are dropped: what it has to do is decided anew when it says which runs it knows.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

import msgspec
from msgspec.structs import replace

from qluster.config.structure import Tasks
from qluster.edge import clock
from qluster.edge.runner.place import socket_path, tasks_dir
from qluster.tasks.frames import Frames, Overlong, framed
from qluster.tasks.runner import Happening, Lease, Met, RunnerFound, RunnerLost, decode_happening, encode

log = logging.getLogger(__name__)

RETRY, RETRY_MAX = 0.1, 2.0
"""Seconds between two tries to reach the runner: the first, and the longest."""
UNSENT_MAX = 16 << 20
"""Bytes of orders that wait for a runner that takes none."""


class TaskHand:
    """The line to the runner."""

    def __init__(self, tasks: Tasks | None, state_dir: str, tell: Callable[[Happening], None]) -> None:
        """Without the section there is never anything to do."""
        self._directory = tasks_dir(tasks.dir, state_dir) if tasks is not None else ""
        self._tell = tell
        self._line: asyncio.StreamWriter | None = None
        self._number = self._met = 0
        """Of this line, and of the last of which the node has heard what runs at its other end."""
        self._keeping: asyncio.Task[None] | None = None
        self._said = ""

    def start(self, broke: Callable[[asyncio.Task[None]], None]) -> None:
        """Reach it, and again whenever it is lost; ``broke`` is called when that ends."""
        if self._directory:
            self._keeping = asyncio.create_task(self._keep())
            self._keeping.add_done_callback(broke)

    def again(self) -> None:
        """The node is another one, which does not know what the runner has said: it says it again."""
        if self._line is not None:
            self._line.transport.abort()

    def perform(self, orders: Sequence[object]) -> None:
        """Send these, in their order; each is an ``Order``. What was decided before the node had heard what runs at the
        other end is dropped."""
        line = self._line
        if line is None or line.is_closing():
            return
        for order in orders:
            if isinstance(order, Met):
                self._met = order.line
            elif self._met == self._number:
                if isinstance(order, Lease):  # the runner's clock stands still while the host sleeps
                    order = Lease(clock.awake_at(order.until))
                line.write(framed(encode(order)))  # type: ignore[arg-type]
        if line.transport.get_write_buffer_size() > UNSENT_MAX:
            log.error("task-runner-deaf hint=it takes no orders; it is told anew")
            line.transport.abort()

    async def close(self) -> None:
        """End; its runs go on."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    async def _keep(self) -> None:
        path, delay = "", RETRY
        while True:
            try:
                path = path or socket_path(self._directory)
                reader, writer = await asyncio.open_unix_connection(path)
            except OSError as error:
                self._lost(f"the task runner of this host cannot be reached: {error.strerror or error}")
                await asyncio.sleep(delay)
                delay = min(delay * 2, RETRY_MAX)
                continue
            delay = RETRY
            self._line, self._number = writer, self._number + 1
            reason = "the task runner of this host is gone"
            try:
                await self._listen(reader)
            except (OSError, Overlong, msgspec.MsgspecError) as fault:
                reason = f"the task runner of this host is lost: {fault}"
            finally:
                self._line = None
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
            self._lost(reason)
            await asyncio.sleep(RETRY)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        frames = Frames()
        while data := await reader.read(1 << 16):
            for text in frames.take(data):
                self._said = ""
                said = decode_happening(text)
                self._tell(replace(said, line=self._number) if isinstance(said, RunnerFound) else said)

    def _lost(self, reason: str) -> None:
        if reason != self._said:
            self._said = reason
            log.warning("task-runner-lost %s", reason)
            self._tell(RunnerLost(reason))
