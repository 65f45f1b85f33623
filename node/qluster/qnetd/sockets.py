"""All clients' sockets in one look at the kernel: who has something to read, who can be written to, who is new.

It must not know what is read or written. asyncio's own transports do the same with three calls of Python and an object
or two for each message; an arbiter whose clusters all change at once does little else.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
import logging
import select
import socket
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger("qluster.qnetd")

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
ACCEPTS_MAX = 64
"""New clients that are taken in one look; those who are there must not wait for all that come back after a break."""
ACCEPT_PAUSE = 1.0
"""Seconds without new clients after the host had no descriptor or no memory for one."""


class Watched(Protocol):
    """One socket."""

    def readable(self) -> None:
        """There is something to read, or the connection is over."""

    def writable(self) -> None:
        """The kernel takes something again."""

    def broken(self, fault: Exception) -> None:
        """What it did raised this, which is an error of ours: it is to end, and nobody else is to notice."""


class Sockets:
    """Those that are looked at."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, Watched] = {}

    def fileno(self) -> int:
        """Readable as soon as ``look`` finds something."""
        return self._epoll.fileno()

    def watch(self, descriptor: int, watched: Watched, events: int) -> None:
        """Look at it for these events from now on."""
        if descriptor in self._watched:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.register(descriptor, events)
        self._watched[descriptor] = watched

    def forget(self, descriptor: int) -> None:
        """Not any more; to be called before it is closed."""
        if self._watched.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def look(self) -> bool:
        """Deal with everything that has come, once for each socket; whether there was anything. Waits for nothing."""
        if self._epoll.closed:
            return False
        found = self._epoll.poll(0, len(self._watched) + 1)
        for descriptor, events in found:
            watched = self._watched.get(descriptor)
            if watched is None:
                continue
            try:
                if events & WRITE:
                    watched.writable()
                if events & ~WRITE:
                    watched.readable()
            except Exception as fault:  # noqa: BLE001 - an error of ours ends one connection, not all
                watched.broken(fault)
        return bool(found)

    def close(self) -> None:
        """Look at nothing any more."""
        self._epoll.close()


class Listener:
    """Where new clients come in. ``arrived`` gets each one's socket and address."""

    def __init__(
        self, sockets: Sockets, listening: socket.socket, backlog: int, arrived: Callable[[socket.socket, str], None]
    ) -> None:
        self._sockets, self._socket, self._arrived = sockets, listening, arrived
        self._pause: asyncio.TimerHandle | None = None
        listening.setblocking(False)
        listening.listen(backlog)
        self._begin()

    def _begin(self) -> None:
        self._pause = None
        self._sockets.watch(self._socket.fileno(), self, READ)

    def readable(self) -> None:
        """Take those who wait."""
        for _ in range(ACCEPTS_MAX):
            try:
                made, address = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:
                continue  # gone before it was taken
            except OSError as error:
                self._rest(error)
                return
            made.setblocking(False)
            with contextlib.suppress(OSError):
                # Otherwise the second of two small messages waits for the client to confirm the first: 40 ms.
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._arrived(made, f"{address[0]}:{address[1]}")

    def writable(self) -> None:
        """Never asked for."""

    def broken(self, fault: Exception) -> None:
        """Go on with the next."""
        log.error("unexpected client-not-taken", exc_info=fault)

    def close(self) -> None:
        """Take nobody any more."""
        if self._pause is not None:
            self._pause.cancel()
        self._sockets.forget(self._socket.fileno())
        self._socket.close()

    def _rest(self, error: OSError) -> None:
        """Who waits keeps its place in the kernel; to try again at once would fail again, for ever."""
        log.error("clients-not-taken why=%s seconds=%g", error.strerror, ACCEPT_PAUSE)
        self._sockets.forget(self._socket.fileno())
        self._pause = asyncio.get_running_loop().call_later(ACCEPT_PAUSE, self._begin)
