"""Connections between simulated clients and the production arbiter: they stall, end for one side only, are made anew.

Must not know who the clients are: an end is any value. A link that is cut holds back what is under way, as TCP does;
neither side hears of that before its own time-out. What arrives where nobody is any more is answered with a reset.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from qluster.qdevice.orders import Came, Ended, Happening, Opened
from qluster.qnet import output
from qluster.qnet.arbiter import Arbiter as Server
from qluster.qnet.settings import Settings

RETRY = 0.02
"""After so long what a cut link holds back is tried again."""


@dataclass(eq=False)
class Line:
    """A connection. What one side sent stands in a queue until it arrives; None is its end."""

    number: int
    end: object
    place: object
    attempt: int
    hear: Callable[[Happening], None]
    up: deque[bytes | None] = field(default_factory=deque)
    down: deque[bytes | None] = field(default_factory=deque)
    ended: bool = False
    """For the client."""
    server: Server | None = None
    """Who accepted it; None: not yet, or it is over there."""
    reset: bool = False


class Wires:
    """All connections to one arbiter, and whether it is there."""

    def __init__(
        self, at: Callable[[float, Callable[[], None]], None], now: Callable[[], float], delay: Callable[[], float],
        scale: float = 1.0, pause: float = RETRY,
    ) -> None:  # fmt: skip
        """``scale``: so much faster than the world's do the arbiter's seconds go."""
        self._at = at
        self._now = now
        self._delay = delay
        self._scale = scale
        self._pause = pause
        self.server: Server | None = Server(Settings())
        self.cut: set[object] = set()
        """Places that it does not reach, and that do not reach it."""
        self.stalled: Callable[[object], bool] = lambda place: False
        """Whether a host stands still: nothing arrives there."""
        self._lines: dict[int, Line] = {}
        self._numbers = 0
        self._wake_at = inf

    # --- the clients ------------------------------------------------------------

    def open(self, end: object, place: object, attempt: int, hear: Callable[[Happening], None]) -> None:
        """A client connects."""
        self._numbers += 1
        self._lines = {number: line for number, line in self._lines.items() if not _over(line)}
        line = self._lines[self._numbers] = Line(self._numbers, end, place, attempt, hear)
        self._at(self._now() + self._delay(), lambda: self._accept(line))

    def say(self, end: object, attempt: int, data: bytes) -> None:
        """It sends something."""
        for line in self._lines.values():
            if line.end is end and line.attempt == attempt and not line.ended:
                self._push(line, data)

    def close(self, end: object, attempt: int | None = None) -> None:
        """It ends this connection, or (None) is gone."""
        for line in self._lines.values():
            if line.end is end and attempt in (None, line.attempt) and not line.ended:
                line.ended = True
                self._push(line, None)

    def _accept(self, line: Line) -> None:
        if line.ended:
            return
        if line.place in self.cut:
            self._at(self._now() + self._pause, lambda: self._accept(line))
        elif self.server is None:
            line.hear(Ended(line.attempt, "connection refused"))
            line.ended = True
        else:
            line.server = self.server
            self.server.connected(line.number, f"192.0.2.1:{40000 + line.number % 20000}", self._now() * self._scale)
            self._perform()
            line.hear(Opened(line.attempt))

    # --- what is under way ------------------------------------------------------

    def _push(self, line: Line, data: bytes | None, *, up: bool = True) -> None:
        queue = line.up if up else line.down
        queue.append(data)
        if len(queue) == 1:
            self._at(self._now() + self._delay(), lambda: self._pump(line, queue))

    def _pump(self, line: Line, queue: deque[bytes | None]) -> None:
        """What is first in the queue arrives, where nothing is cut."""
        if line.place in self.cut or (queue is line.down and self.stalled(line.place)):
            self._at(self._now() + self._pause, lambda: self._pump(line, queue))
            return
        data = queue.popleft()
        if queue is line.up:
            self._arrive(line, data)
        elif not line.ended:
            line.ended = data is None
            line.hear(Ended(line.attempt, "the connection was reset") if data is None else Came(line.attempt, data))
        if queue:
            self._at(self._now() + self._delay() / 10, lambda: self._pump(line, queue))

    def _arrive(self, line: Line, data: bytes | None) -> None:
        server, now = line.server, self._now() * self._scale
        if server is None or server is not self.server:
            self._reset(line)
        elif data is None:
            line.server = None
            server.closed(line.number, now)
        else:
            server.received(line.number, data, now)
        self._perform()

    def _reset(self, line: Line) -> None:
        if not line.reset and not line.ended:
            line.reset = True
            self._push(line, None, up=False)

    # --- the arbiter ------------------------------------------------------------

    def _perform(self) -> None:
        server = self.server
        if server is None:
            return
        for effect in server.take():
            match effect:
                case output.Send(connection, data):
                    self._push(self._lines[connection], data, up=False)
                case output.Close(connection, _):
                    line = self._lines[connection]
                    line.server = None
                    self._push(line, None, up=False)
                case _:
                    pass
        at = max(server.wake_at / self._scale, self._now()) + 1e-5
        if at < self._wake_at:
            self._wake_at = at
            self._at(at, lambda: self._tick(at))

    def _tick(self, at: float) -> None:
        if self._wake_at != at:
            return
        self._wake_at = inf
        if self.server is not None:
            self.server.tick(self._now() * self._scale)
            self._perform()

    def crash(self) -> bool:
        """It is gone with all that it knew; whether it was there."""
        server, self.server, self._wake_at = self.server, None, inf
        for line in self._lines.values() if server is not None else ():
            if line.server is server:
                line.server = None
                self._reset(line)
        return server is not None

    def forget(self, place: object) -> None:
        """It takes the connections of a place that is cut off for dead; there nobody hears of that."""
        assert place in self.cut, f"{place} would hear of it"
        for line in self._lines.values():
            if line.place == place and line.server is not None:
                line.server.closed(line.number, self._now() * self._scale)
                line.server = None
        self._perform()

    def start(self) -> None:
        """It is there again, and remembers nothing."""
        if self.server is None:
            self.server = Server(Settings())


def _over(line: Line) -> bool:
    return line.ended and line.server is None and not line.up and not line.down
