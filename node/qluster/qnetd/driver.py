"""Drives the arbiter's protocol: tells it what happens to connections and when, and performs what it wants.

It decides nothing, and must not know what a message means.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import json
import logging
import socket
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
from qluster.qnetd.saving import Saver
from qluster.qnetd.sockets import Listener, Sockets
from qluster.qnetd.tls import Pump

log = logging.getLogger("qluster.qnetd")

LINES_MAX = 200
"""Lines of one kind within ``LINES_SECONDS``: strangers that come and go must not fill a log."""
LINES_SECONDS = 60.0

LOOKS_MAX = 4
"""Looks at the sockets before the loop is turned: who changes its membership speaks again at once, and all the rest of
the loop costs as much as a vote."""

SAVING_LOOK = 0.25
"""Seconds after which silence is looked at again while the disk is waited for: nobody is heard meanwhile."""

_LOUD = {Word.TURNED_AWAY, Word.DROPPED, Word.REFUSED}


@dataclass(frozen=True)
class Keeping:
    """Memories, and what makes durable what they keep, called in a thread or not. ``failed`` hears why it could not."""

    memories: Memories
    save: Callable[[Mapping[Key, Kept]], None]
    failed: Callable[[BaseException], None]


class Driver:
    """The arbiter with its connections. Made within the loop that is to turn it."""

    def __init__(
        self, settings: Settings, context: ssl.SSLContext | None, handshake_timeout: float,
        keeping: Keeping | None = None,
    ) -> None:  # fmt: skip
        self.arbiter = Arbiter(settings, None if keeping is None else keeping.memories)
        self._keeping = keeping
        self._saver = None if keeping is None else Saver(keeping.save, self._saved, keeping.failed)
        self._waiting: deque[Effect] = deque()
        self._spoken_to: list[Connection] = []
        self._saving = False
        """Nobody is listened to meanwhile: what they would get waits as well, and the kernel keeps what they say."""
        self.context = context
        """For whom TLS begins from now on."""
        self._handshake_timeout = handshake_timeout
        self._sockets = Sockets()
        self._listeners: list[Listener] = []
        self._connections: dict[int, Connection] = {}
        self._closing: dict[int, Connection] = {}
        """Those that were ended from here and are not over yet."""
        self._lines = Lines()
        self._number = 0
        self._busy = False
        """Whether what the arbiter wants is performed later in this turn."""
        self._timer: asyncio.TimerHandle | None = None
        self._armed = inf

    def listen(self, listening: socket.socket, backlog: int) -> None:
        """Serve whoever connects to this socket."""
        self._listeners.append(Listener(self._sockets, listening, backlog, self._arrived))
        self._heed(True)

    # what happens to connections

    def opened(self, connection: Connection, address: str) -> int:
        """A client connected; its number."""
        self._number += 1
        self._connections[self._number] = connection
        self.arbiter.connected(self._number, address, clock.monotonic())
        return self._number

    def received(self, number: int, data: bytes) -> None:
        """Bytes of the protocol came."""
        self.arbiter.received(number, data, clock.monotonic())

    def secured(self, number: int, peer: str | None) -> None:
        """TLS has begun."""
        self.arbiter.tls_started(number, peer)

    def insecure(self, number: int, why: str) -> None:
        """TLS could not begin, or broke: the connection is good for nothing."""
        if number in self._connections:
            self._lines.say("tls-failed", {"address": self._address(number), "why": why}, loud=True)
            self.finished(number)

    def held_up(self, number: int, whether: bool) -> None:
        """What is sent waits, or does not any more."""
        (self.arbiter.blocked if whether else self.arbiter.unblocked)(number)

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

    def forget(self, label: str) -> int:
        """Forget the memories of a cluster, durably before long; how many there were, -1 while it is connected."""
        found = self.arbiter.forget(label)
        self._perform()
        return found

    # the end

    async def stop(self, seconds: float) -> None:
        """Disconnect everybody; who does not take it in time is cut off."""
        for listener in self._listeners:
            listener.close()
        self.arbiter.stop()
        self._perform()
        self._forget_timer()
        end = clock.monotonic() + seconds
        while (self._closing or self._busy_saving) and clock.monotonic() < end:
            await asyncio.sleep(0.01)
        for connection in list(self._closing.values()):
            connection.abort()
        self._heed(False)
        self._sockets.close()
        if self._saver is not None:
            self._saver.close()
        self._lines.sum_up()

    @property
    def _busy_saving(self) -> bool:
        return self._saver is not None and self._saver.busy

    # inside

    def _arrived(self, taken: socket.socket, address: str) -> None:
        Connection(self, self._sockets, taken, address, self._handshake_timeout)

    def _heed(self, whether: bool) -> None:
        """Look at the sockets as soon as something comes, or leave it to the kernel."""
        loop = asyncio.get_running_loop()
        if whether:
            loop.add_reader(self._sockets, self._turn)
        else:
            loop.remove_reader(self._sockets)

    def _turn(self) -> None:
        """All that has come is dealt with, and what it makes is done at once: one flush of the disk for all memories,
        one call of the kernel for each client. These calls are most of what a vote costs when many clusters change."""
        for _ in range(LOOKS_MAX):
            self._busy = True
            try:
                found = self._sockets.look()
            finally:
                self._busy = False
            self._perform()
            if not found or self._saving:
                return

    def _perform(self) -> None:
        """Everything the arbiter wants, in its order; what that leads to comes after it."""
        if self._busy:
            return
        self._busy = True
        try:
            while self._carry_out():
                spoken_to, self._spoken_to = self._spoken_to, []
                for connection in spoken_to:
                    try:
                        connection.flush()
                    except Exception as fault:  # noqa: BLE001 - an error of ours ends one connection, not all
                        connection.broken(fault)
        finally:
            self._busy = False
        if not self.arbiter.sleeps_until(self._armed) and (wake_at := self.arbiter.wake_at) < self._armed:
            self._arm(wake_at)

    def _carry_out(self) -> bool:
        """The same, but for the flushes that end it: whether there are any."""
        waiting = self._waiting
        waiting.extend(self.arbiter.take())
        while waiting and not self._saving:
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
        return bool(self._spoken_to)

    def _keep(self) -> None:
        """All that is to be kept goes to the disk at once; until it is there everything behind the first waits."""
        assert self._saver is not None, "there are memories only where there is somewhere to keep them"
        keeps = {effect.key: effect.kept for effect in self._waiting if isinstance(effect, Keep)}
        others = [effect for effect in self._waiting if not isinstance(effect, Keep)]
        self._waiting.clear()
        self._waiting.extend(others)
        if not self._saver.save(keeps):
            self._saving = True
            self._heed(False)

    def _saved(self) -> None:
        self._saving = False
        self._heed(True)
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
                    try:
                        connection.begin_tls(Pump(self.context), rest)
                    except Exception as fault:  # noqa: BLE001 - the same
                        connection.broken(fault)

    def _close(self, number: int, connection: Connection) -> None:
        self._closing[number] = connection
        connection.close()

    def _address(self, number: int) -> str:
        return next((one.address for one in self.arbiter.clients if one.connection == number), "unknown")

    # time

    def _arm(self, at: float) -> None:
        self._forget_timer()
        self._armed = at
        # The loop's clock is the one that stands still while the host sleeps.
        self._timer = asyncio.get_running_loop().call_at(clock.awake_at(at), self._due)

    def _due(self) -> None:
        """Something is to be done. After a pause of the host everybody seems silent, and may have spoken: all sockets
        are looked at once more before that counts."""
        now = clock.monotonic()
        self._timer = None
        try:
            if not self._saving:
                self._turn()
        finally:
            self._armed = inf
        if self._saving:
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
