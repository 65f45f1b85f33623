"""Decides nothing: reads and writes the cluster's sockets while the daemon runs, and keeps the group joined.

It must not know what a datagram says. A datagram that cannot be sent is counted and forgotten: networks lose
datagrams anyway, and the senders above repeat what matters. What makes the daemon useless from the start is
refused with :class:`NetworkUnusable`.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections import Counter
from collections.abc import Callable
from math import inf
from typing import Final

from qluster.config import UdpSocket
from qluster.edge.clock import monotonic
from qluster.events import Address, Send
from qluster.transport.link import DATAGRAM_SIZE_DEFAULT

from .family import family_of
from .offload import ANCILLARY_SIZE, COALESCED_MAX, NO_SEGMENTS, Ancillary, coalesce, cut, runs, send_cut, told
from .opening import Sockets, interface_index

log = logging.getLogger(__name__)

DRAIN_MAX: Final = 64
"""Datagrams after which reading pauses, so that timers run under a flood."""
INTERFACE_CHECK_INTERVAL: Final = 1.0
"""An interface that was deleted and made again has silently left the group; so long it may stay unnoticed."""
LOG_INTERVAL: Final = 60.0
"""Seconds between two lines of log about the same failure; it is counted each time."""
USUAL_MTU: Final = 1500
"""Of Ethernet. Larger frames are not guessed from the interface: a switch on the way may not carry them."""

Receiver = Callable[[bytes, Address], None]


class Multicast:
    """The sockets of one daemon. ``received`` is called with each datagram and its sender's address.

    ``drained`` is called when all that was there has been read.
    ``offload`` false leaves out what the kernel can do at once, for comparison.
    ``port`` is where it sends from, when that is not the group's.
    """

    def __init__(
        self,
        ip: str,
        wanted: UdpSocket,
        received: Receiver,
        *,
        drained: Callable[[], None] = lambda: None,
        offload: bool = True,
        port: int | None = None,
    ) -> None:
        self.counters: Counter[str] = Counter(socket_drops=0)
        self._ip = ip
        self._wanted = wanted
        self._received = received
        self._drained = drained
        self._family = family_of(ip)
        self._port = port
        self._others = [peer for peer in wanted.peers if peer[0] != ip]
        self._view = memoryview(bytearray(COALESCED_MAX))
        self._buffers = [self._view]
        self._sockets: Sockets | None = None
        self._group_target: tuple[object, ...] = ()
        self._drops: dict[int, int] = {}
        self._logged: dict[str, float] = {}
        self._segments = offload
        self._coalesce = offload
        self._gone = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._check: asyncio.TimerHandle | None = None

    @property
    def group_size(self) -> int:
        """Datagrams that one sending to all takes."""
        return 1 if self._wanted.multicast else max(1, len(self._others))

    @property
    def headers_size(self) -> int:
        """Bytes of IP and UDP around each datagram."""
        return self._family.headers_size

    @property
    def mtu(self) -> int:
        """Of the interface, when it was opened."""
        return self._opened.mtu

    @property
    def datagram_size(self) -> int:
        """The largest datagram to be sent through this interface."""
        return min(USUAL_MTU, self.mtu) - self._family.headers_size

    @property
    def recv_buffer_size(self) -> int:
        """What the kernel really gave."""
        return self._opened.recv_buffer_size

    @property
    def listening(self) -> socket.socket | None:
        """The socket that hears the group."""
        return self._opened.listening

    @property
    def _opened(self) -> Sockets:
        assert self._sockets is not None, "not open"
        return self._sockets

    def open(self) -> None:
        """Open, join and begin to read; in a running loop. Raises :class:`NetworkUnusable`."""
        assert self._sockets is None, "opened twice"
        self._sockets = sockets = Sockets(self._ip, self._wanted, self._port)
        assert self.datagram_size <= DATAGRAM_SIZE_DEFAULT, "the link is made for usual frames"
        self._aim()
        self._loop = asyncio.get_running_loop()
        for one in sockets.all:
            if self._coalesce and not coalesce(one):
                log.info("coalescing used=false reason=the kernel has none")
            self._loop.add_reader(one.fileno(), self._drain, one)
        self._check = self._loop.call_later(INTERFACE_CHECK_INTERVAL, self._check_interface)

    def send(self, sends: list[Send]) -> None:
        """Send each datagram; what the network does not take is counted."""
        if self._sockets is None or not sends:
            return
        if len(sends) == 1:
            self._send_run(sends[0].to, [sends[0].datagram])
            return
        for to, datagrams in runs(sends):
            self._send_run(to, datagrams)

    def rejoin(self) -> None:
        """Leave the group and join again, on the interface as it is now."""
        index = interface_index(self._wanted.interface)
        sockets = self._sockets
        if sockets is None or sockets.group is None or not index:
            return
        try:
            sockets.leave()
        except OSError as error:
            log.debug("leave error=%s", error)
        try:
            sockets.join(index)
        except OSError as error:
            self._failed("join", error, sockets.group)
            return
        self._aim()
        self.counters["rejoins"] += 1
        where = f"group={sockets.group[0]} interface={self._wanted.interface} index={index}"
        self._log_seldom("rejoined", f"rejoined {where}")

    def close(self) -> None:
        """Stop reading and let go of everything. Twice is as good as once."""
        if self._check is not None:
            self._check.cancel()
            self._check = None
        if self._sockets is None:
            return
        for one in self._sockets.all:
            if self._loop is not None:
                self._loop.remove_reader(one.fileno())
        self._sockets.close()
        self._sockets = None

    # --- out ---------------------------------------------------------------

    def _aim(self) -> None:
        """What goes to the group goes to its address on the interface as it is now."""
        group = self._opened.group
        self._group_target = self._opened.target(group) if group else ()

    def _send_run(self, to: Address | None, datagrams: list[bytes]) -> None:
        if to is not None:
            targets = [self._opened.target(to)]
        elif self._group_target:
            targets = [self._group_target]
        else:
            targets = [self._opened.target(peer) for peer in self._others]
        for target in targets:
            if len(datagrams) == 1 or not self._segments or not self._send_together(datagrams, target):
                self._send_singly(datagrams, target)

    def _send_singly(self, datagrams: list[bytes], target: tuple[object, ...]) -> None:
        send_to = self._opened.own.sendto
        for datagram in datagrams:
            try:
                send_to(datagram, target)
            except OSError as error:
                self._failed("send", error, target)

    def _send_together(self, datagrams: list[bytes], target: tuple[object, ...]) -> bool:
        """Let the kernel cut: several times faster. False when it did not, and nothing was sent."""
        try:
            send_cut(self._opened.own, datagrams, target)
        except OSError as error:
            if error.errno in NO_SEGMENTS:
                self._segments = False
                log.info("segmentation used=false reason=%s", error.strerror)
            return False
        return True

    # --- in ----------------------------------------------------------------

    def _drain(self, one: socket.socket) -> None:
        self._read_all(one)
        self._drained()

    def _read_all(self, one: socket.socket) -> None:
        read = 0
        while read < DRAIN_MAX and one.fileno() >= 0:
            try:
                size, ancillary, _flags, source = one.recvmsg_into(self._buffers, ANCILLARY_SIZE)
            except BlockingIOError:
                return
            except OSError as error:
                self._failed("receive", error, None)
                return
            datagrams = self._taken(one, size, ancillary)
            read += len(datagrams)
            # Of IPv6 the kernel also says flow and scope; a node is known by address and port.
            sender = source[:2]
            for datagram in datagrams:
                self._received(datagram, sender)

    def _taken(self, one: socket.socket, size: int, ancillary: Ancillary) -> list[bytes]:
        if not ancillary:
            return [bytes(self._view[:size])]
        segment, drops = told(ancillary)
        if drops is not None:
            self._drops[one.fileno()] = drops
            self.counters["socket_drops"] = sum(self._drops.values())
        return cut(self._view[:size], segment)

    # --- running -----------------------------------------------------------

    def _check_interface(self) -> None:
        index = interface_index(self._wanted.interface)
        if not index:
            self._gone = True
            self._log_seldom("interface", f"interface_gone name={self._wanted.interface}")
        elif self._gone or index != self._opened.index:
            self._gone = False
            self.rejoin()
        if self._loop is not None:
            self._check = self._loop.call_later(INTERFACE_CHECK_INTERVAL, self._check_interface)

    def _failed(self, action: str, error: OSError, target: tuple[object, ...] | None) -> None:
        name = errno.errorcode.get(error.errno or 0, "unknown")
        counter = f"{action}_failed_{name.lower()}"
        self.counters[counter] += 1
        self._log_seldom(counter, f"{action}_failed error={name} target={target} reason={error.strerror}")

    def _log_seldom(self, topic: str, line: str) -> None:
        now = monotonic()
        if now - self._logged.get(topic, -inf) >= LOG_INTERVAL:
            self._logged[topic] = now
            log.warning("%s", line)
