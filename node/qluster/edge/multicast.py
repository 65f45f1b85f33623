"""Decides nothing: opens the sockets of the cluster's traffic, reads them, writes them.

It must not know what a datagram says. Two sockets: one bound to the group only receives; one bound to this
node's address sends everything, to the group too, and receives what is sent to this node alone, so its
address is the one that others see. Where ``udp.socket.group`` lists unicast peers there is only the second,
and what goes to all goes to each.

A datagram that cannot be sent is counted and forgotten: networks lose datagrams anyway, and the senders above
repeat what matters. What makes the daemon useless from the start is refused with :class:`NetworkUnusable`.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from fcntl import ioctl
from math import inf
from typing import Final

from qluster.config import UdpSocket
from qluster.edge.clock import monotonic
from qluster.events import Address, Send
from qluster.transport.link import DATAGRAM_SIZE_DEFAULT, DATAGRAM_SIZE_MIN

log = logging.getLogger(__name__)

DRAIN_MAX: Final = 64
"""Datagrams read in one go, so that timers run under a flood."""
INTERFACE_CHECK_INTERVAL: Final = 1.0
"""An interface that was deleted and made again has silently left the group; so long it may stay unnoticed."""
LOG_INTERVAL: Final = 60.0
"""Seconds between two lines of log about the same failure; it is counted each time."""
HEADERS_SIZE: Final = 28
"""IPv4 and UDP."""
SEGMENTS_MAX: Final = 44
"""Datagrams handed to the kernel in one call to be cut there: as many of 1472 bytes as it takes at once."""
SEGMENTS_SIZE_MAX: Final = 65000
"""Bytes in one such call; slightly below the largest datagram, at which receivers lose the benefit."""
HOPS: Final = 1
"""Multicast stays on its segment."""

# Linux constants that the socket module does not name.
_IP_MTU_DISCOVER: Final = 10
_IP_PMTUDISC_DO: Final = 2
_IP_MULTICAST_ALL: Final = 49
_SO_RXQ_OVFL: Final = 40
_SIOCGIFMTU: Final = 0x8921
_UDP_SEGMENT: Final = 103
_DROPS = struct.Struct("I")
_SEGMENT_SIZE = struct.Struct("@H")
_NO_SEGMENTS: Final = (errno.EINVAL, errno.EIO, errno.EOPNOTSUPP, errno.ENOPROTOOPT)
"""What kernels and drivers say that cannot cut."""
_ANCILLARY_SIZE: Final = socket.CMSG_SPACE(_DROPS.size)

Receiver = Callable[[bytes, Address], None]


class NetworkUnusable(OSError):
    """The daemon cannot speak to its cluster on this host; the message says why and what to change."""


class Multicast:
    """The sockets of one daemon. ``received`` is called with each datagram and its sender's address."""

    def __init__(self, ip: str, wanted: UdpSocket, received: Receiver) -> None:
        self.counters: Counter[str] = Counter(socket_drops=0)
        self.mtu = 0
        self._ip = ip
        self._wanted = wanted
        self._received = received
        self._group = wanted.multicast
        self._port = self._group[1] if self._group else _own_port(ip, wanted.peers)
        self._others = [peer for peer in wanted.peers if peer != (ip, self._port)]
        self._buffer = bytearray(65536)
        self._view = memoryview(self._buffer)
        self._sockets: list[socket.socket] = []
        self._group_socket: socket.socket | None = None
        self._index = 0
        self._drops: dict[int, int] = {}
        self._logged: dict[str, float] = {}
        self._segments = True
        self._gone = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._check: asyncio.TimerHandle | None = None

    @property
    def group_size(self) -> int:
        """Datagrams that one sending to all takes."""
        return 1 if self._group else max(1, len(self._others))

    @property
    def datagram_size(self) -> int:
        """The largest datagram to be sent through this interface.

        Larger frames than usual are not guessed from it: a switch on the way may not carry them.
        """
        return min(DATAGRAM_SIZE_DEFAULT, self.mtu - HEADERS_SIZE)

    @property
    def recv_buffer_size(self) -> int:
        """What the kernel really gave (it reports double, for its own accounting)."""
        return min(one.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2 for one in self._sockets)

    def open(self) -> None:
        """Open, join and begin to read; in a running loop. Raises :class:`NetworkUnusable`."""
        assert not self._sockets, "opened twice"
        self._index = self._interface_index()
        if not self._index:
            raise NetworkUnusable(
                f"udp.socket.interface: {self._wanted.interface} does not exist on this host. "
                f"It has: {', '.join(name for _, name in socket.if_nameindex())}."
            )
        try:
            self._open_sockets()
        except BaseException:
            self.close()
            raise
        self._loop = asyncio.get_running_loop()
        for one in self._sockets:
            self._loop.add_reader(one.fileno(), self._drain, one)
        self._check = self._loop.call_later(INTERFACE_CHECK_INTERVAL, self._check_interface)

    def send(self, sends: list[Send]) -> None:
        """Send each datagram; what the network does not take is counted."""
        if not self._sockets:
            return
        for to, datagrams in runs(sends):
            for target in self._targets(to):
                if len(datagrams) == 1 or not self._segments or not self._send_together(datagrams, target):
                    self._send_singly(datagrams, target)

    def rejoin(self) -> None:
        """Leave the group and join again, on the interface as it is now."""
        index = self._interface_index()
        if self._group is None or self._group_socket is None or not index:
            return
        try:
            self._group_socket.setsockopt(
                socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, self._membership(self._index)
            )
        except OSError as error:
            log.debug("leave error=%s", error)
        try:
            self._join(index)
        except OSError as error:
            self._failed("join", error, self._group)
            return
        self.counters["rejoins"] += 1
        where = f"group={self._group[0]} interface={self._wanted.interface} index={index}"
        self._log_seldom("rejoined", f"rejoined {where}")

    def close(self) -> None:
        """Stop reading and let go of everything. Twice is as good as once."""
        if self._check is not None:
            self._check.cancel()
            self._check = None
        for one in self._sockets:
            if self._loop is not None:
                self._loop.remove_reader(one.fileno())
            one.close()
        self._sockets = []
        self._group_socket = None

    # --- opening -----------------------------------------------------------

    def _open_sockets(self) -> None:
        own = self._socket(self._wanted.send_buffer_size)
        self.mtu = _mtu(own, self._wanted.interface)
        if self.mtu - HEADERS_SIZE < DATAGRAM_SIZE_MIN:
            raise NetworkUnusable(
                f"udp.socket.interface: {self._wanted.interface} has an MTU of {self.mtu} bytes. "
                f"At least {DATAGRAM_SIZE_MIN + HEADERS_SIZE} are needed."
            )
        own.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DO)
        self._bind(own, self._ip)
        if self._group is None:
            return
        own.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, HOPS)
        own.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, self._loopback())
        group = self._group_socket = self._socket(None)
        # Nodes on one host share group and port; each of them hears every datagram.
        group.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Without this the socket hears groups that other programs of the host joined.
        group.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        self._bind(group, self._group[0])
        try:
            self._join(self._index)
        except OSError as error:
            raise NetworkUnusable(
                f"udp.socket.group: cannot join {self._group[0]} on {self._wanted.interface}: "
                f"{error.strerror}. {_JOIN_REMEDIES.get(error.errno or 0, 'Check address and interface.')}"
            ) from None

    def _socket(self, send_buffer_size: int | None) -> socket.socket:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._sockets.append(one)
        one.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
        _set_buffer(one, socket.SO_RCVBUF, self._wanted.recv_buffer_size, "recv", "rmem_max")
        if send_buffer_size is not None:
            _set_buffer(one, socket.SO_SNDBUF, send_buffer_size, "send", "wmem_max")
        return one

    def _bind(self, one: socket.socket, host: str) -> None:
        try:
            one.bind((host, self._port))
        except OSError as error:
            where = f"{host}:{self._port}"
            if error.errno == errno.EADDRINUSE:
                message = (
                    f"udp.socket.group: another program on this host has UDP {where}. Stop it "
                    f"(`ss -ulpn 'sport = :{self._port}'` shows it), or use another port on all nodes."
                )
            elif error.errno == errno.EADDRNOTAVAIL:
                message = f"ip: {host} is no address of this host. Use one that `ip address` shows."
            elif error.errno == errno.EACCES:
                message = f"udp.socket.group: port {self._port} is reserved for root. Use one above 1023."
            else:
                message = f"udp.socket.group: cannot use UDP {where}: {error.strerror}."
            raise NetworkUnusable(message) from None

    def _loopback(self) -> int:
        if self._wanted.interface == "lo" and not self._wanted.loopback:
            log.info("loopback interface=lo used=true reason=nodes on lo hear each other by nothing else")
            return 1
        return int(self._wanted.loopback)

    def _join(self, index: int) -> None:
        assert self._group is not None and self._group_socket is not None
        sending = struct.pack("@4s4si", bytes(4), socket.inet_aton(self._ip), index)
        self._sockets[0].setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, sending)
        self._group_socket.setsockopt(
            socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, self._membership(index)
        )
        self._index = index

    def _membership(self, index: int) -> bytes:
        assert self._group is not None
        return struct.pack("@4s4si", socket.inet_aton(self._group[0]), bytes(4), index)

    # --- running -----------------------------------------------------------

    def _targets(self, to: Address | None) -> list[Address]:
        if to is not None:
            return [to]
        return self._others if self._group is None else [self._group]

    def _send_singly(self, datagrams: list[bytes], target: Address) -> None:
        send_to = self._sockets[0].sendto
        for datagram in datagrams:
            try:
                send_to(datagram, target)
            except OSError as error:
                self._failed("send", error, target)

    def _send_together(self, datagrams: list[bytes], target: Address) -> bool:
        """Let the kernel cut: several times faster. False when it did not, and nothing was sent."""
        size = [(socket.IPPROTO_UDP, _UDP_SEGMENT, _SEGMENT_SIZE.pack(len(datagrams[0])))]
        try:
            self._sockets[0].sendmsg(datagrams, size, 0, target)
        except OSError as error:
            if error.errno in _NO_SEGMENTS:
                self._segments = False
                log.info("segmentation used=false reason=%s", error.strerror)
            return False
        return True

    def _drain(self, one: socket.socket) -> None:
        for _ in range(DRAIN_MAX):
            if one.fileno() < 0:
                return
            try:
                size, ancillary, _flags, source = one.recvmsg_into([self._buffer], _ANCILLARY_SIZE)
            except BlockingIOError:
                return
            except OSError as error:
                self._failed("receive", error, None)
                return
            if ancillary:
                self._note_drops(one, ancillary)
            self._received(bytes(self._view[:size]), source)

    def _note_drops(self, one: socket.socket, ancillary: list[tuple[int, int, bytes]]) -> None:
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, _SO_RXQ_OVFL) and len(content) >= _DROPS.size:
                (self._drops[one.fileno()],) = _DROPS.unpack_from(content)
                self.counters["socket_drops"] = sum(self._drops.values())

    def _check_interface(self) -> None:
        index = self._interface_index()
        if not index:
            self._gone = True
            self._log_seldom("interface", f"interface_gone name={self._wanted.interface}")
        elif self._gone or index != self._index:
            self._gone = False
            self.rejoin()
        if self._loop is not None:
            self._check = self._loop.call_later(INTERFACE_CHECK_INTERVAL, self._check_interface)

    def _interface_index(self) -> int:
        try:
            return socket.if_nametoindex(self._wanted.interface)
        except OSError:
            return 0

    def _failed(self, action: str, error: OSError, target: Address | None) -> None:
        name = errno.errorcode.get(error.errno or 0, "unknown")
        counter = f"{action}_failed_{name.lower()}"
        self.counters[counter] += 1
        self._log_seldom(counter, f"{action}_failed error={name} target={target} reason={error.strerror}")

    def _log_seldom(self, topic: str, line: str) -> None:
        now = monotonic()
        if now - self._logged.get(topic, -inf) >= LOG_INTERVAL:
            self._logged[topic] = now
            log.warning("%s", line)


def runs(sends: Iterable[Send]) -> Iterator[tuple[Address | None, list[bytes]]]:
    """Datagrams that one call can send: in a row, to the same target, of one size but for a shorter last."""
    to: Address | None = None
    run: list[bytes] = []
    size = 0
    for one in sends:
        length = len(one.datagram)
        if run and (
            one.to != to
            or len(run[-1]) != size
            or length > size
            or len(run) == SEGMENTS_MAX
            or size * len(run) + length > SEGMENTS_SIZE_MAX
        ):
            yield to, run
            run = []
        if not run:
            to, size = one.to, length
        run.append(one.datagram)
    if run:
        yield to, run


_JOIN_REMEDIES: Final = {
    errno.ENOBUFS: "This host has joined as many groups as net.ipv4.igmp_max_memberships allows; raise it.",
    errno.EINVAL: "Use a multicast address, 239.0.0.0 to 239.255.255.255.",
    errno.ENODEV: "The interface carries no IPv4; give it an address.",
}


def _own_port(ip: str, peers: tuple[Address, ...]) -> int:
    for host, port in peers:
        if host == ip:
            return port
    raise NetworkUnusable(
        f"udp.socket.group: neither a multicast address nor a list with this node's ip {ip}. "
        f"Use one of 239.0.0.0 to 239.255.255.255, or list every node."
    )


def _mtu(one: socket.socket, interface: str) -> int:
    answer = ioctl(one.fileno(), _SIOCGIFMTU, struct.pack("16s16x", interface.encode()))
    return int(struct.unpack_from("i", answer, 16)[0])


def _set_buffer(one: socket.socket, option: int, size: int, name: str, limit: str) -> None:
    one.setsockopt(socket.SOL_SOCKET, option, size)
    granted = one.getsockopt(socket.SOL_SOCKET, option) // 2
    if granted < size:
        remedy = f"sysctl -w net.core.{limit}={size}"
        log.warning("buffer_small buffer=%s asked=%d granted=%d remedy='%s'", name, size, granted, remedy)
