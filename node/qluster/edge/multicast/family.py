"""Decides nothing: what IPv4 and IPv6 call the same thing.

It must not know which sockets there are or why. Some options have no name in the socket module.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from qluster.events import Address

HOPS: Final = 1
"""Multicast stays on its segment."""

_DISCOVER: Final = 2
"""IP_PMTUDISC_DO and its namesake: never fragment, say EMSGSIZE instead."""


@dataclass(frozen=True, slots=True)
class Family:
    """The numbers of one address family."""

    name: str
    number: socket.AddressFamily
    level: int
    headers_size: int
    """Of IP and UDP together."""
    mtu_discover: int
    hops: int
    loop: int
    multicast_all: int
    multicast_interface: int
    join: int
    leave: int
    groups: str
    """Addresses to recommend for a group, as a person reads them."""

    def target(self, to: Address, index: int) -> tuple[object, ...]:
        """An address as the socket wants it; ``index`` is the interface for an address that needs one."""
        if self.number == socket.AF_INET:
            return to
        return (*to, 0, index if _scoped(to[0]) else 0)

    def membership(self, group: str, index: int) -> bytes:
        """A group on an interface, for joining and leaving."""
        if self.number == socket.AF_INET:
            return struct.pack("@4s4si", socket.inet_aton(group), bytes(4), index)
        return struct.pack("@16si", socket.inet_pton(socket.AF_INET6, group), index)

    def sending(self, ip: str, index: int) -> bytes:
        """The interface, and for IPv4 the address, that multicast leaves by."""
        if self.number == socket.AF_INET:
            return struct.pack("@4s4si", bytes(4), socket.inet_aton(ip), index)
        return struct.pack("@i", index)

    def never_fragment(self, one: socket.socket) -> None:
        one.setsockopt(self.level, self.mtu_discover, _DISCOVER)


@lru_cache(maxsize=64)
def _scoped(host: str) -> bool:
    """An IPv6 address that means something on one interface only."""
    address = ip_address(host)
    return address.is_multicast or address.is_link_local


IPV4: Final = Family(
    name="IPv4", number=socket.AF_INET, level=socket.IPPROTO_IP, headers_size=28, mtu_discover=10,
    hops=socket.IP_MULTICAST_TTL, loop=socket.IP_MULTICAST_LOOP, multicast_all=49,
    multicast_interface=socket.IP_MULTICAST_IF, join=socket.IP_ADD_MEMBERSHIP,
    leave=socket.IP_DROP_MEMBERSHIP, groups="239.0.0.0 to 239.255.255.255",
)  # fmt: skip
IPV6: Final = Family(
    name="IPv6", number=socket.AF_INET6, level=socket.IPPROTO_IPV6, headers_size=48, mtu_discover=23,
    hops=socket.IPV6_MULTICAST_HOPS, loop=socket.IPV6_MULTICAST_LOOP, multicast_all=29,
    multicast_interface=socket.IPV6_MULTICAST_IF, join=socket.IPV6_JOIN_GROUP,
    leave=socket.IPV6_LEAVE_GROUP, groups="ff15::1 to ff15:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
)  # fmt: skip


def family_of(ip: str) -> Family:
    """The family of a numeric address."""
    return IPV4 if ip_address(ip).version == 4 else IPV6
