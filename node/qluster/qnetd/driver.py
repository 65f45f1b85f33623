"""Drives the arbiter's protocol: tells it what happens to connections and when, and performs what it wants.

It decides nothing, and must not know what a message means.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf

from qluster.edge import clock
from qluster.qnet.arbiter import Arbiter
from qluster.qnet.memories import Key, Memories
from qluster.qnet.memory import Kept
from qluster.qnet.output import BeginTls, Close, Effect, Happened, Keep, Send, Word
from qluster.qnet.settings import Settings
from qluster.qnetd.connection import Connection
from qluster.qnetd.tls import Pump

log = logging.getLogger("qluster.qnetd")

LINES_MAX = 200
"""Lines of one kind within ``LINES_SECONDS``: strangers that come and go must not fill a log."""
LINES_SECONDS = 60.0

SAVING_LOOK = 0.25
"""Seconds after which silence is looked at again while the disk is waited for: nobody is heard meanwhile."""

_LOUD = {Word.TURNED_AWAY, Word.DROPPED, Word.REFUSED}


@dataclass(frozen=True)
class Keeping:
    """Memories, and what makes durable what they keep: it is called in a thread. ``failed`` hears why it could not."""

    memories: Memories
    save: Callable[[Mapping[Key, Kept]], None]
    failed: Callable[[BaseException], None]


class Driver:
    """The arbiter with its connections."""

    def __init__(
        self, settings: Settings, context: ssl.SSLContext | None, handshake_timeout: float,
        keeping: Keeping | None = None,
    ) -> None:  # fmt: skip
        self.arbiter = Arbiter(settings, None if keeping is None else keeping.memories)
        self._keeping = keeping
        self._waiting: deque[Effect] = deque()
        self._spoken_to: list[Connection] = []
        self._flushes = False
        """Whether they are flushed when everything that has come is dealt with."""
        self._saving: asyncio.Future[None] | None = None
        self._unread: set[Connection] = set()
        """Who spoke while the disk is waited for is not read any further: what it gets waits as well."""
        self.context = context
        """For whom TLS begins from now on."""
        self._handshake_timeout = handshake_timeout
        self._connections: dict[int, Connection] = {}
        self._closing: dict[int, Connection] = {}
        """Those that were ended from here and are not over yet."""
        self._lines = Lines()
        self._number = 0
        self._performing = False
        self._timer: asyncio.TimerHandle | None = None
        self._armed = inf

    def connection(self) -> Connection:
        """For the next client."""
        return Connection(self, self._handshake_timeout)

    # what happens to connections

    def opened(self, connection: Connection, address: str) -> int:
        """A client connected; its number."""
        self._number += 1
        self._connections[self._number] = connection
        self.arbiter.connected(self._number, address, clock.monotonic())
        self._perform()
        return self._number

    def received(self, number: int, data: bytes) -> None:
        """Bytes of the protocol came."""
        self.arbiter.received(number, data, clock.monotonic())
        self._perform()
        if self._saving is not None and (connection := self._connections.get(number)) is not None:
            connection.read(False)
            self._unread.add(connection)

    def secured(self, number: int, peer: str | None) -> None:
        """TLS has begun."""
        self.arbiter.tls_started(number, peer)
        self._perform()

    def insecure(self, number: int, why: str) -> None:
        """TLS could not begin, or broke: the connection is good for nothing."""
        if number in self._connections:
            self._lines.say("tls-failed", {"address": self._address(number), "why": why}, loud=True)
            self.finished(number)

    def held_up(self, number: int, whether: bool) -> None:
        """What is sent waits, or does not any more."""
        (self.arbiter.blocked if whether else self.arbiter.unblocked)(number)
        self._perform()

    def finished(self, number: int) -> None:
        """The client says nothing more."""
        if (connection := self._connections.pop(number, None)) is not None:
            self.arbiter.closed(number, clock.monotonic())
            self._close(number, connection)
            self._perform()

    def ended(self, number: int) -> None:
        """The connection is over, whoever ended it."""
        self._closing.pop(number, None)
        if self._connections.pop(number, None) is not None:
            self.arbiter.closed(number, clock.monotonic())
            self._perform()

    # the end

    async def stop(self, seconds: float) -> None:
        """Disconnect everybody; who does not take it in time is cut off."""
        self.arbiter.stop()
        self._perform()
        self._forget_timer()
        end = clock.monotonic() + seconds
        while self._closing and clock.monotonic() < end:
            await asyncio.sleep(0.01)
        for connection in list(self._closing.values()):
            connection.abort()
        self._lines.sum_up()

    # inside

    def _perform(self) -> None:
        """Everything the arbiter wants, in its order; what that leads to comes after it."""
        if self._performing:
            return
        self._performing = True
        waiting = self._waiting
        try:
            waiting.extend(self.arbiter.take())
            while waiting and self._saving is None:
                effect = waiting[0]
                if type(effect) is Send:  # nearly all are
                    del waiting[0]
                    connection = self._connections.get(effect.connection)
                    if connection is not None and connection.send(effect.data):
                        self._spoken_to.append(connection)
                elif isinstance(effect, Keep):
                    self._keep()
                else:
                    del waiting[0]
                    self._do(effect)
                if not waiting:
                    waiting.extend(self.arbiter.take())
        finally:
            self._performing = False
        if self._spoken_to and not self._flushes:
            self._flushes = True
            asyncio.get_running_loop().call_soon(self._flush)
        if not self.arbiter.sleeps_until(self._armed) and (wake_at := self.arbiter.wake_at) < self._armed:
            self._arm(wake_at)

    def _flush(self) -> None:
        """What all that came at once made leaves together: one call of the kernel for each client. These calls are
        most of what a vote costs when many clusters change."""
        self._flushes = False
        spoken_to, self._spoken_to = self._spoken_to, []
        for connection in spoken_to:
            connection.flush()

    def _keep(self) -> None:
        """All that is to be kept goes to the disk at once; until it is there everything behind the first waits."""
        assert self._keeping is not None, "there are memories only where there is somewhere to keep them"
        keeps = {effect.key: effect.kept for effect in self._waiting if isinstance(effect, Keep)}
        others = [effect for effect in self._waiting if not isinstance(effect, Keep)]
        self._waiting.clear()
        self._waiting.extend(others)
        self._saving = asyncio.get_running_loop().run_in_executor(None, self._keeping.save, keeps)
        self._saving.add_done_callback(self._saved)

    def _saved(self, saving: asyncio.Future[None]) -> None:
        if saving.cancelled():
            return
        if (fault := saving.exception()) is not None:
            # Nothing of what waits may leave any more.
            assert self._keeping is not None
            self._keeping.failed(fault)
            return
        self._saving = None
        unread, self._unread = self._unread, set()
        for connection in unread:
            connection.read(True)
        self._perform()

    def _do(self, effect: Effect) -> None:
        match effect:
            case Happened(word, facts):
                self._lines.say(word, facts, loud=word in _LOUD)
            case Close(number):
                if (connection := self._connections.pop(number, None)) is not None:
                    self._close(number, connection)
            case BeginTls(number, rest):
                if (connection := self._connections.get(number)) is not None:
                    assert self.context is not None, "the arbiter refuses TLS where it is off"
                    connection.begin_tls(Pump(self.context), rest)

    def _close(self, number: int, connection: Connection) -> None:
        self._closing[number] = connection
        connection.close()

    def _address(self, number: int) -> str:
        return next((one.address for one in self.arbiter.clients if one.connection == number), "unknown")

    # time

    def _arm(self, at: float) -> None:
        self._forget_timer()
        self._armed = at
        # The loop's clock is the one of clock.monotonic.
        self._timer = asyncio.get_running_loop().call_at(at, self._due)

    def _due(self) -> None:
        """Something is to be done. After a pause of the host everybody seems silent, and may have spoken: the loop
        looks at all connections once more before that counts, two calls from now."""
        now = clock.monotonic()
        loop = asyncio.get_running_loop()
        self._timer = None
        loop.call_soon(loop.call_soon, self._tick, now)

    def _tick(self, now: float) -> None:
        self._armed = inf
        if self._saving is not None:
            self._arm(now + SAVING_LOOK)
            return
        self.arbiter.tick(now)
        self._perform()

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed = inf


class Lines:
    """Lines of the log, as many as a person can read."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._count: dict[str, int] = {}

    def say(self, word: str, facts: dict[str, str | int], loud: bool = False) -> None:
        """One line: a word and facts."""
        now = clock.monotonic()
        if now >= self._since.get(word, -inf) + LINES_SECONDS:
            self._sum_up(word)
            self._since[word], self._count[word] = now, 0
        self._count[word] += 1
        if self._count[word] <= LINES_MAX:
            log.log(logging.WARNING if loud else logging.INFO, "%s", line(word, facts))

    def sum_up(self) -> None:
        """How many were left out."""
        for word in list(self._count):
            self._sum_up(word)

    def _sum_up(self, word: str) -> None:
        left_out = self._count.pop(word, 0) - LINES_MAX
        if left_out > 0:
            log.warning("lines-left-out word=%s lines=%d", word, left_out)


def line(word: str, facts: dict[str, str | int]) -> str:
    """A line of the log. What a client made up cannot pretend to be another fact."""
    return " ".join([str(word), *(f"{name}={_shown(value)}" for name, value in facts.items())])


def _shown(value: str | int) -> str:
    text = str(value)
    plain = text and not any(sign in text for sign in ' "=')
    return text if plain else json.dumps(text, ensure_ascii=False)
