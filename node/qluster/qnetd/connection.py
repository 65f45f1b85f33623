"""One client's connection: bytes of the network to the arbiter and back, in clear or with TLS.

It must not know what a message means. The arbiter decides when TLS begins and when a connection ends.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import logging
import socket
from typing import Protocol

from qluster.qnetd.sockets import READ, WRITE, Sockets
from qluster.qnetd.tls import PIECE, Pump, TlsFailed

log = logging.getLogger("qluster.qnetd")

LINGER_SECONDS = 5.0
"""So long a connection that ends may take to bring its last words; who does not read them loses them."""


class Desk(Protocol):
    """Whom a connection tells what happens to it."""

    def opened(self, connection: Connection, address: str) -> int:
        """It is there; its number."""

    def received(self, number: int, data: bytes) -> None:
        """These bytes of the protocol came."""

    def secured(self, number: int, peer: str | None) -> None:
        """TLS has begun."""

    def insecure(self, number: int, why: str) -> None:
        """TLS could not begin, or broke."""

    def held_up(self, number: int, whether: bool) -> None:
        """What is sent to it waits, or does not any more."""

    def finished(self, number: int) -> None:
        """The client says nothing more."""

    def ended(self, number: int) -> None:
        """It is over."""


class Connection:
    """One of the arbiter's connections."""

    def __init__(
        self, desk: Desk, sockets: Sockets, taken: socket.socket, address: str, handshake_timeout: float
    ) -> None:
        self._desk = desk
        self._sockets = sockets
        self._socket = taken
        self._handshake_timeout = handshake_timeout
        self._pump: Pump | None = None
        self._closing = self._over = False
        self._held: list[bytes] = []
        """What is to be sent with the next flush."""
        self._unsent = b""
        """What the kernel did not take yet."""
        self._timer: asyncio.TimerHandle | None = None
        sockets.watch(taken.fileno(), self, READ)
        self._number = desk.opened(self, address)

    # of the network

    def readable(self) -> None:
        """Bytes came, or the end."""
        if self._closing:
            self.abort()  # nothing is read any more: it is broken
            return
        try:
            data = self._socket.recv(PIECE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.abort()
            return
        if not data:
            self._desk.finished(self._number)
        elif self._pump is None:
            self._desk.received(self._number, data)
        else:
            self._hear(self._pump, data)

    def writable(self) -> None:
        """The kernel takes something again."""
        unsent, self._unsent = self._unsent, b""
        self._write(unsent)
        if self._unsent or self._over:
            return
        if self._closing:
            self.abort()
            return
        self._sockets.watch(self._socket.fileno(), self, READ)
        if not self._begins_tls:
            self._desk.held_up(self._number, False)

    def broken(self, fault: Exception) -> None:
        """An error of ours: this connection alone ends."""
        log.error("unexpected connection-ended", exc_info=fault)
        self.abort()

    # of the arbiter

    def send(self, data: bytes) -> bool:
        """One message to the client, on its way after ``flush``. Whether it is the first since then."""
        self._held.append(data)
        return len(self._held) == 1

    def flush(self) -> None:
        """All messages leave together; while TLS begins they wait for it."""
        held = self._held
        if not held or self._begins_tls or self._closing:
            return
        data = held[0] if len(held) == 1 else b"".join(held)
        held.clear()
        if self._pump is None:
            self._write(data)
            return
        try:
            self._pump.write(data)
        except TlsFailed as failed:
            self._desk.insecure(self._number, str(failed))
        self._push(self._pump)

    def begin_tls(self, pump: Pump, rest: bytes) -> None:
        """What comes from here on is TLS, and ``rest`` is the first of it."""
        self.flush()
        self._pump = pump
        self._desk.held_up(self._number, True)
        self._timer = asyncio.get_running_loop().call_later(self._handshake_timeout, self._too_slow)
        if rest:
            self._hear(pump, rest)

    def close(self) -> None:
        """The connection ends when the client has what was sent, or soon."""
        if self._closing:
            return
        self.flush()
        if self._over:
            return
        self._closing = True
        self._forget_timer()
        if self._pump is not None:
            self._pump.end()
            self._push(self._pump)
        if not self._unsent:
            self.abort()
            return
        self._sockets.watch(self._socket.fileno(), self, WRITE)
        self._timer = asyncio.get_running_loop().call_later(LINGER_SECONDS, self.abort)

    def abort(self) -> None:
        """It ends now."""
        if self._over:
            return
        self._over = self._closing = True
        self._unsent = b""
        self._forget_timer()
        self._sockets.forget(self._socket.fileno())
        self._socket.close()
        self._desk.ended(self._number)

    def _write(self, data: bytes) -> None:
        if self._over or not data:
            return
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.abort()
            return
        if sent < len(data):
            self._unsent = data[sent:]
            self._sockets.watch(self._socket.fileno(), self, WRITE if self._closing else READ | WRITE)
            if not self._closing:
                # The arbiter counts what waits: it is to know as soon as the kernel takes no more.
                self._desk.held_up(self._number, True)

    # of TLS

    @property
    def _begins_tls(self) -> bool:
        return self._pump is not None and not self._pump.established

    def _hear(self, pump: Pump, data: bytes) -> None:
        pump.feed(data)
        try:
            if self._begins_tls and not self._shake_hands(pump):
                return
            for piece in pump.pieces():
                self._desk.received(self._number, piece)
                if self._closing:
                    return
        except TlsFailed as failed:
            self._push(pump)
            self._desk.insecure(self._number, str(failed))
            return
        finally:
            self._push(pump)
        if pump.over:
            self._desk.finished(self._number)

    def _shake_hands(self, pump: Pump) -> bool:
        if not pump.handshake():
            return False
        self._forget_timer()
        self._desk.secured(self._number, pump.peer)
        self.flush()
        if not self._unsent:
            self._desk.held_up(self._number, False)
        return True

    def _push(self, pump: Pump) -> None:
        if data := pump.taken():
            self._write(data)

    def _too_slow(self) -> None:
        self._timer = None
        self._desk.insecure(self._number, f"TLS has not begun after {self._handshake_timeout:g} s")

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
