"""One client's connection: bytes of the network to the arbiter and back, in clear or with TLS.

It must not know what a message means. The arbiter decides when TLS begins and when a connection ends.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
from typing import Protocol

from qluster.qnetd.tls import PIECE, Pump, TlsFailed

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


class Connection(asyncio.Protocol):
    """One of the arbiter's connections."""

    def __init__(self, desk: Desk, handshake_timeout: float) -> None:
        self._desk = desk
        self._handshake_timeout = handshake_timeout
        self._transport: asyncio.Transport | None = None
        self._pump: Pump | None = None
        self._number = 0
        self._closing = False
        self._full = False
        self._held: list[bytes] = []
        """What is to be sent with the next flush."""
        self._timer: asyncio.TimerHandle | None = None

    # of the network

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        # The arbiter counts what waits: it is to know as soon as the kernel takes no more.
        transport.set_write_buffer_limits(high=0)
        host, port = (transport.get_extra_info("peername") or ("unknown", 0))[:2]
        self._number = self._desk.opened(self, f"{host}:{port}")

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        for start in range(0, len(data), PIECE):
            if self._closing:
                return
            piece = data[start : start + PIECE]
            if self._pump is None:
                self._desk.received(self._number, piece)
            else:
                self._hear(self._pump, piece)

    def pause_writing(self) -> None:
        """The kernel takes no more for now."""
        self._full = True
        if not self._closing:
            self._desk.held_up(self._number, True)

    def resume_writing(self) -> None:
        """It does."""
        self._full = False
        if not self._closing and not self._begins_tls:
            self._desk.held_up(self._number, False)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over, whoever ended it."""
        self._forget_timer()
        self._closing = True
        self._desk.ended(self._number)

    # of the arbiter

    def send(self, data: bytes) -> bool:
        """One message to the client, on its way after ``flush``. Whether it is the first since then."""
        self._held.append(data)
        return len(self._held) == 1

    def flush(self) -> None:
        """All messages leave together; while TLS begins they wait for it."""
        if not self._held or self._begins_tls or self._closing:
            return
        assert self._transport is not None
        data, self._held = b"".join(self._held), []
        if self._pump is None:
            self._transport.write(data)
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
        assert self._transport is not None
        self.flush()
        self._closing = True
        self._forget_timer()
        if self._pump is not None:
            self._pump.end()
            self._push(self._pump)
        self._transport.close()
        self._timer = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.abort)

    def read(self, whether: bool) -> None:
        """Read what comes, or leave it to the kernel for now."""
        if self._transport is not None and not self._closing:
            (self._transport.resume_reading if whether else self._transport.pause_reading)()

    def abort(self) -> None:
        """It ends now."""
        if self._transport is not None:
            self._transport.abort()

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
        if not self._full:
            self._desk.held_up(self._number, False)
        return True

    def _push(self, pump: Pump) -> None:
        assert self._transport is not None
        if data := pump.taken():
            self._transport.write(data)

    def _too_slow(self) -> None:
        self._timer = None
        self._desk.insecure(self._number, f"TLS has not begun after {self._handshake_timeout:g} s")

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
