"""Decides nothing: makes the sockets of one daemon, or says why they cannot be had.

It must not know what is sent or received. Two sockets: one bound to the group only receives; one bound to this
node's address sends everything, to the group too, and receives what is sent to this node alone, so its
address is the one that others see. Where ``udp.socket.group`` lists unicast peers there is only the second,
and what goes to all goes to each.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import logging
import socket
import struct
from fcntl import ioctl
from typing import Final

from qluster.config import UdpSocket
from qluster.config.addresses import place_text
from qluster.events import Address
from qluster.transport.link import DATAGRAM_SIZE_MIN

from .family import HOPS, family_of
from .offload import count_drops

log = logging.getLogger(__name__)

_SIOCGIFMTU: Final = 0x8921


class NetworkUnusable(OSError):
    """The daemon cannot speak to its cluster on this host; the message says why and what to change."""


class Sockets:
    """The sockets of one node, opened. Raises :class:`NetworkUnusable` and leaves nothing open then."""

    def __init__(self, ip: str, wanted: UdpSocket, port: int | None = None) -> None:
        self.family = family_of(ip)
        self.group = wanted.multicast
        group_port = self.group[1] if self.group else _own_port(ip, wanted.peers)
        self.port = group_port if port is None else port
        """Where this node sends from; another than the group's only for who asks beside a running daemon."""
        self.index = interface_index(wanted.interface)
        self.all: list[socket.socket] = []
        self._ip = ip
        self._wanted = wanted
        if not self.index:
            raise NetworkUnusable(
                f"udp.socket.interface: {wanted.interface} does not exist on this host. "
                f"It has: {', '.join(name for _, name in socket.if_nameindex())}."
            )
        if self.group and family_of(self.group[0]) is not self.family:
            raise NetworkUnusable(
                f"udp.socket.group: {self.group[0]} is {family_of(self.group[0]).name}, ip {ip} is "
                f"{self.family.name}. Use one family for both."
            )
        try:
            self.own = self._open_own()
            self.listening = self._open_group(*self.group) if self.group else None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for one in self.all:
            one.close()
        self.all = []

    @property
    def recv_buffer_size(self) -> int:
        """What the kernel really gave (it reports double, for its own accounting)."""
        return min(one.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2 for one in self.all)

    def target(self, to: Address) -> tuple[object, ...]:
        return self.family.target(to, self.index)

    def join(self, index: int) -> None:
        """Send and receive multicast on the interface with this index."""
        assert self.group is not None and self.listening is not None
        family = self.family
        self.own.setsockopt(family.level, family.multicast_interface, family.sending(self._ip, index))
        self.listening.setsockopt(family.level, family.join, family.membership(self.group[0], index))
        self.index = index

    def leave(self) -> None:
        """Receive no more multicast."""
        assert self.group is not None and self.listening is not None
        family = self.family
        self.listening.setsockopt(family.level, family.leave, family.membership(self.group[0], self.index))

    # --- one socket after the other ---------------------------------------------

    def _open_own(self) -> socket.socket:
        wanted, family = self._wanted, self.family
        own = self._socket(wanted.send_buffer_size)
        self.mtu = _mtu(own, wanted.interface)
        if self.mtu - family.headers_size < DATAGRAM_SIZE_MIN:
            raise NetworkUnusable(
                f"udp.socket.interface: {wanted.interface} has an MTU of {self.mtu} bytes. "
                f"At least {DATAGRAM_SIZE_MIN + family.headers_size} are needed."
            )
        family.never_fragment(own)
        self._bind(own, self._ip, self.port)
        if self.group is not None:
            own.setsockopt(family.level, family.hops, HOPS)
            own.setsockopt(family.level, family.loop, self._loopback())
        return own

    def _open_group(self, host: str, port: int) -> socket.socket:
        self.listening = listening = self._socket(None)
        # Nodes on one host share group and port; each of them hears every datagram.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Without this the socket hears groups that other programs of the host joined.
        listening.setsockopt(self.family.level, self.family.multicast_all, 0)
        self._bind(listening, host, port)
        try:
            self.join(self.index)
        except OSError as error:
            remedy = _JOIN_REMEDIES.get(error.errno or 0, "Check address and interface.")
            raise NetworkUnusable(
                f"udp.socket.group: cannot join {host} on {self._wanted.interface}: {error.strerror}. "
                f"{remedy.format(family=self.family)}"
            ) from None
        return listening

    def _socket(self, send_buffer_size: int | None) -> socket.socket:
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        try:
            one = socket.socket(self.family.number, kind)
        except OSError as error:
            raise NetworkUnusable(
                f"ip: this host speaks no {self.family.name} ({error.strerror}). Switch it on, or use an "
                f"address of the other family on all nodes."
            ) from None
        self.all.append(one)
        if self.family.number == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        count_drops(one)
        _set_buffer(one, socket.SO_RCVBUF, self._wanted.recv_buffer_size, "recv", "rmem_max")
        if send_buffer_size is not None:
            _set_buffer(one, socket.SO_SNDBUF, send_buffer_size, "send", "wmem_max")
        return one

    def _bind(self, one: socket.socket, host: str, port: int) -> None:
        try:
            one.bind(self.family.target((host, port), self.index))
        except OSError as error:
            where = place_text(host, port)
            if error.errno == errno.EADDRINUSE:
                message = (
                    f"udp.socket.group: another program on this host has UDP {where}. Stop it "
                    f"(`ss -ulpn 'sport = :{port}'` shows it), or use another port on all nodes."
                )
            elif error.errno == errno.EADDRNOTAVAIL:
                message = f"ip: {host} is no address of this host. Use one that `ip address` shows."
            elif error.errno == errno.EACCES:
                message = f"udp.socket.group: port {port} is reserved for root. Use one above 1023."
            else:
                message = f"udp.socket.group: cannot use UDP {where}: {error.strerror}."
            raise NetworkUnusable(message) from error

    def _loopback(self) -> int:
        if self._wanted.interface == "lo" and not self._wanted.loopback:
            log.info("loopback interface=lo used=true reason=nodes on lo hear each other by nothing else")
            return 1
        return int(self._wanted.loopback)


_JOIN_REMEDIES: Final = {
    errno.ENOBUFS: "This host has joined as many groups as net.ipv4.igmp_max_memberships allows; raise it.",
    errno.EINVAL: "Use a multicast address, {family.groups}.",
    errno.ENODEV: "The interface carries no {family.name}; give it an address.",
    errno.EADDRNOTAVAIL: "The interface carries no {family.name}; give it an address.",
}


def interface_index(name: str) -> int:
    """The number of an interface; 0 when it is not there."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def _own_port(ip: str, peers: tuple[Address, ...]) -> int:
    for host, port in peers:
        if host == ip:
            return port
    raise NetworkUnusable(
        f"udp.socket.group: neither a multicast address nor a list with this node's ip {ip}. "
        f"Use one of {family_of(ip).groups}, or list every node."
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
