"""One TCP connection to the arbiter, in the clear or, from a moment on, with TLS.

It must not know what its bytes mean, nor how long anything may take: the client closes it when it takes too long.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from qluster.config import Device
from qluster.config.addresses import place_text
from qluster.qdevice.orders import Came, Ended, Happening, Opened, Secured

from .tls import SERVER_NAME, TlsUnusable, context, fault_of_handshake

UNSENT_MAX = 1024 * 1024
"""Bytes that wait for an arbiter that takes none: all that a client says in hours."""
HANDSHAKE_MAX = 120.0
"""Seconds of a TLS handshake, beyond any time limit of the client."""


class Connection(asyncio.Protocol):
    """Tells ``Opened``, ``Secured``, ``Came`` and at last ``Ended``, unless it was closed from here."""

    def __init__(self, device: Device, attempt: int, tell: Callable[[Happening], None]) -> None:
        self.attempt = attempt
        self._device = device
        self._tell = tell
        self._transport: asyncio.Transport | None = None
        self._over = False
        self.opening: asyncio.Task[None] | None = None
        """Connecting: it must not go on for minutes when nobody waits for it any more."""

    async def open(self) -> None:
        """Connect."""
        device, loop = self._device, asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self, device.host, device.port)
        except OSError as error:
            place = place_text(device.host, device.port)
            self._end(f"cannot connect to {place}: {error.strerror or error}")
            return
        if self._over:
            self.close()
        else:
            self._tell(Opened(self.attempt))

    async def secure(self) -> None:
        """Begin TLS behind everything that was said so far."""
        transport, loop = self._transport, asyncio.get_running_loop()
        if transport is None or self._over:
            return
        try:
            with_tls = await asyncio.to_thread(context, self._device)
            secured = await loop.start_tls(
                transport, self, with_tls, server_hostname=SERVER_NAME, ssl_handshake_timeout=HANDSHAKE_MAX
            )
        except TlsUnusable as fault:
            self._fail(str(fault), lasting=True)
            return
        except (OSError, ssl.CertificateError) as error:
            reason, lasting = fault_of_handshake(error, self._device)
            self._fail(reason, lasting=lasting)
            return
        assert secured is not None
        self._transport = secured
        if self._over:
            secured.abort()
        else:
            self._tell(Secured(self.attempt))

    def say(self, data: bytes) -> None:
        """Send bytes."""
        transport = self._transport
        if transport is None or self._over or transport.is_closing():
            return
        transport.write(data)
        if transport.get_write_buffer_size() > UNSENT_MAX:
            self._fail("the arbiter does not take what it is sent")

    def close(self) -> None:
        """End it; nobody is told."""
        self._over = True
        if self.opening is not None and self._transport is None:
            self.opening.cancel()
        transport = self._transport
        if transport is not None:
            # What a dead arbiter does not take must not keep the socket.
            transport.abort() if transport.get_write_buffer_size() else transport.close()

    # the transport's

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if not self._over:
            self._tell(Came(self.attempt, data))

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None:
            self._end("closed by the arbiter")
        elif isinstance(exc, ssl.SSLError):
            self._end(f"closed by the arbiter (TLS: {exc.reason or exc})")
        else:
            self._end(f"the connection was lost: {exc}")

    def _fail(self, reason: str, *, lasting: bool = False) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._end(reason, lasting=lasting)

    def _end(self, reason: str, *, lasting: bool = False) -> None:
        if not self._over:
            self._over = True
            self._tell(Ended(self.attempt, reason, lasting))
