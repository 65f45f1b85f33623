"""The daemon's end of the line to its task runner."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from edge.runner_world import order
from msgspec.structs import replace
from qluster.config.structure import Tasks
from qluster.edge import clock
from qluster.edge.runner.place import socket_path
from qluster.edge.tasks import TaskHand
from qluster.tasks.frames import Frames, framed
from qluster.tasks.runner import Happening, Lease, Met, RunnerFound, RunnerLost, StartRun, decode_order, encode
from qluster.tasks.spec import Command

FOUND = RunnerFound((), 1)


class Runner:
    """The other end."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.taken = directory, list[object]()
        self.line: asyncio.StreamWriter | None = None

    async def start(self) -> asyncio.Server:
        return await asyncio.start_unix_server(self._serve, socket_path(str(self.directory)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.line, frames = writer, Frames()
        writer.write(framed(encode(FOUND)))
        while data := await reader.read(4096):
            self.taken += map(decode_order, frames.take(data))
        writer.close()


async def test_what_was_decided_before_the_node_heard_what_runs_is_not_sent(tmp_path: Path) -> None:
    heard: list[Happening] = []
    runner, hand = Runner(tmp_path), TaskHand(replace(Tasks(), dir=str(tmp_path)), "", heard.append)
    server = await runner.start()
    hand.start(lambda _: None)
    first, second = order(1, Command(("/bin/true",))), order(2, Command(("/bin/true",)))
    async with asyncio.timeout(20):
        await _until(lambda: heard == [replace(FOUND, line=1)])
        hand.perform([first])
        hand.perform([Met(1), second])
        await _until(lambda: runner.taken == [second])
        assert runner.line is not None
        runner.line.close()
        await _until(lambda: heard[-1] == replace(FOUND, line=2))
        assert isinstance(heard[-2], RunnerLost)
        hand.perform([first])  # decided before the node took its word that the line was lost
        hand.perform([Met(1), first])
        hand.perform([Met(2), second])
        await _until(lambda: len(runner.taken) == 2)
    assert runner.taken == [second, second] and isinstance(second, StartRun)
    await hand.close()
    server.close()


async def test_lease_is_told_by_the_clock_of_the_runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that has slept since it was booted: the daemon's clock counts that, the runner's does not."""
    monkeypatch.setattr(time, "clock_gettime", lambda which: time.monotonic() + 3600.0)
    heard: list[Happening] = []
    runner, hand = Runner(tmp_path), TaskHand(replace(Tasks(), dir=str(tmp_path)), "", heard.append)
    server = await runner.start()
    hand.start(lambda _: None)
    async with asyncio.timeout(20):
        await _until(lambda: heard == [replace(FOUND, line=1)])
        hand.perform([Met(1), Lease(clock.monotonic() + 10.0)])
        await _until(lambda: bool(runner.taken))
    [lease] = runner.taken
    assert isinstance(lease, Lease) and 0.0 < lease.until - time.monotonic() <= 10.0
    await hand.close()
    server.close()


async def _until(holds: object) -> None:
    while not holds():  # type: ignore[operator]
        await asyncio.sleep(0.01)
