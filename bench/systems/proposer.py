"""A node of the product that loads its own cluster: entries are handed to the daemon's loop, without HTTP.

`python -m bench.systems.proposer --config FILE`; orders by standard input. It is the daemon's own class
with its own sockets and disk; a write goes the way of a REST write from the event on to the answer.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import replace

from qluster.cli.logs import begin_log
from qluster.cli.main import read_config
from qluster.clients import Done, ValueWriteRequested
from qluster.daemon import Daemon
from qluster.edge.hostcheck import findings
from qluster.events import Answer

from bench import inside, wire
from bench.figures import from_latencies
from bench.load import Outcome

KEPT = 1000
"""Latencies of a task that is ended by its number."""
FIRST_TICKET = 1 << 40
"""Tickets of REST requests count from 1: these never meet them."""


class Loop:
    """So many writes under way; each that ends begins the next."""

    def __init__(self, daemon: Daemon, task: inside.Task) -> None:
        self._daemon, self._task = daemon, task
        self._value = wire.value(task.size)
        self._loop = asyncio.get_running_loop()
        self._ticket = FIRST_TICKET
        began = time.monotonic()
        self._counts_from = began + task.warm
        self._ends = self._counts_from + task.seconds
        self._latencies: list[float] = []
        self._done = 0
        self._refused: dict[str, int] = {}
        self._open = task.clients
        self._over = self._loop.create_future()

    async def run(self) -> Outcome:
        """Until the time is over, or the number reached, and every write is answered."""
        for _ in range(self._task.clients):
            self._next()
        await self._over
        if not self._latencies:
            raise RuntimeError(f"no write succeeded: {self._refused}")
        if self._done < self._task.count:
            raise RuntimeError(f"{self._done} of {self._task.count} writes succeeded, then: {self._refused}")
        seconds = self._task.seconds if not self._task.count else time.monotonic() - self._counts_from
        figures = from_latencies(self._latencies, seconds, sum(self._refused.values()))
        if self._task.count:
            figures = replace(figures, rate=self._done / seconds)
        return Outcome(figures, self._done)

    def _counts(self, now: float) -> bool:
        """A million latencies would be most of what the process has grown by: some are enough."""
        if self._task.count:
            return self._done % max(1, self._task.count // KEPT) == 0
        return self._counts_from <= now <= self._ends

    def _over_at(self, now: float) -> bool:
        """A number is never reached where writes are refused: on a busy machine a leader may have stepped down."""
        if self._task.count:
            return self._done >= self._task.count or bool(self._refused)
        return now >= self._ends

    def _next(self) -> None:
        self._ticket += 1
        ticket, asked = self._ticket, time.monotonic()
        waiting: asyncio.Future[Answer | None] = self._loop.create_future()
        waiting.add_done_callback(lambda future: self._ended(ticket, asked, future.result()))
        self._daemon._tickets[ticket] = waiting
        key = f"bench/{ticket % self._task.keys}"
        self._daemon._turns.put(ValueWriteRequested(ticket, "", key, self._value, None))

    def _ended(self, ticket: int, asked: float, answer: Answer | None) -> None:
        now = time.monotonic()
        self._daemon._tickets.pop(ticket, None)
        outcome = answer.outcome if answer is not None else None
        if isinstance(outcome, Done):
            self._done += 1
            if self._counts(now):
                self._latencies.append(now - asked)
        else:
            word = type(outcome).__name__
            self._refused[word] = self._refused.get(word, 0) + 1
        over = self._over_at(now)
        if not over:
            self._next()
            return
        self._open -= 1
        if not self._open and not self._over.done():
            self._over.set_result(None)


async def serve(daemon: Daemon) -> None:
    """Take orders until standard input ends."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while said := await reader.readline():
        try:
            answer = inside.outcome_line(await Loop(daemon, inside.Task(**json.loads(said)["task"])).run())
        except RuntimeError as error:
            answer = inside.line({"error": str(error)})
        sys.stdout.buffer.write(answer)
        sys.stdout.buffer.flush()


async def run(file: str) -> int:
    """The daemon, and beside it whoever takes the orders."""
    config = read_config(file)
    # As the program begins: what it loads and looks at stays with the process, and its memory is measured.
    found = findings(config, starting=True)
    if found:
        raise SystemExit("\n".join(found))
    daemon = Daemon(config)
    serving = asyncio.create_task(serve(daemon))
    try:
        return await daemon.run()
    finally:
        serving.cancel()


if __name__ == "__main__":
    begin_log()
    sys.exit(asyncio.run(run(sys.argv[sys.argv.index("--config") + 1])))
