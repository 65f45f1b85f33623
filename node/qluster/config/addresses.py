"""The kinds of values that name hosts and groups: from text to value and back, with a message when it is wrong.

It knows nothing of single keys, nor of what is to be had on a host.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from .document import Scalar, Sequence, Value
from .kinds import scalar_text, shown
from .structure import Address

IpAddress = IPv4Address | IPv6Address

GROUPS_4 = "239.0.0.0 to 239.255.255.255"
GROUPS_6 = "ff15::1 to ff15:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
_PERMANENT = tuple(IPv6Network(f"ff0{scope:x}::/16") for scope in range(16))
"""Groups that are assigned for good, to somebody else."""
_ONE_HOST = IPv6Network("ff11::/16")
_RESERVED = IPv4Network("224.0.0.0/24")

PEERS_MAX = 32
"""More nodes than this are no cluster of databases; each message would go out that many times."""

PLACES_MAX = 16
"""All databases of another cluster and its pool: each is asked who is the primary."""


def read_address(text: str) -> IpAddress:
    """A numeric address. Raises ValueError with a message."""
    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError(f'"{shown(text)}" is no address such as 192.0.2.10 or 2001:db8::10. '
                         f"Names of hosts are not looked up.") from None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise ValueError(f'"{shown(text)}" names an interface. Leave out %{shown(address.scope_id)}.')
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        raise ValueError(f"{address} is an IPv4 address in IPv6's clothes. Write {address.ipv4_mapped}.")
    return address


def read_host(text: str) -> str:
    """An address that one host can have."""
    address = read_address(text)
    if address.is_multicast:
        raise ValueError(f"{address} is a multicast address. Use the address of a host.")
    if address.is_unspecified or address == IPv4Address("255.255.255.255"):
        raise ValueError(f"{address} is not the address of one host. Use the one that the other nodes reach.")
    if isinstance(address, IPv6Address) and address.is_link_local:
        raise ValueError(f"{address} means something on one interface only. Use an address of the network, such as "
                         f"one in fd00::/8.")
    return str(address)


def read_port(text: str) -> int:
    """A port. Raises ValueError with a message."""
    if not re.fullmatch(r"[1-9][0-9]{0,4}", text) or int(text) > 65535:
        raise ValueError(f'"{shown(text)}" is no port. Use 1 to 65535.')
    return int(text)


def read_place(text: str) -> tuple[str, int]:
    """Address and port as text and number; of IPv6 the address stands in brackets."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        raise ValueError(f'"{shown(text)}" has no port. Write address:port, such as 239.19.76.1:7400.')
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1], read_port(port)
    if ":" in host:
        raise ValueError(f'"{shown(text)}": write an IPv6 address in brackets, such as "[ff15::76]:7400".')
    return host, read_port(port)


def place_text(host: str, port: int) -> str:
    """Address and port as people and urls write them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def lists_peers(group: str) -> bool:
    """Whether the text of ``udp.socket.group`` is a list of nodes and no multicast group, nor nonsense."""
    try:
        hosts = [read_host(read_place(place)[0]) for place in group.split(",")]
    except ValueError:
        return False
    return 1 <= len(hosts) <= PEERS_MAX


@dataclass(frozen=True, slots=True)
class Host:
    """The address of one host."""

    label: str = "IPv4 or IPv6 address"

    def read(self, value: Value) -> str:
        return read_host(scalar_text(value, "an address"))

    def text(self, value: object) -> str:
        return "" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Places:
    """Databases elsewhere, as a list of address:port, or none."""

    label: str = "list of address:port, or empty"

    def read(self, value: Value) -> tuple[Address, ...]:
        if isinstance(value, Sequence):
            texts = [scalar_text(item, "address:port") for item in value.items]
        elif isinstance(value, Scalar) and not value.text.strip():
            texts = []
        else:
            text = scalar_text(value, "address:port, such as 198.51.100.11:5432, or a list of them")
            texts = [part.strip() for part in text.split(",")]
        if len(texts) > PLACES_MAX:
            raise ValueError(f"lists {len(texts)} databases, the limit is {PLACES_MAX}.")
        places = [self._place(text) for text in texts]
        for host, port in places:
            if places.count((host, port)) > 1:
                raise ValueError(f"lists {place_text(host, port)} twice. List every database once.")
        return tuple(sorted(places))

    @staticmethod
    def _place(text: str) -> Address:
        host, colon, _ = text.rpartition(":")
        if not colon or text.endswith("]"):
            raise ValueError(f'"{shown(text)}" has no port. Write address:port, such as 198.51.100.11:5432.')
        host, port = read_place(text)
        return read_host(host), port

    def text(self, value: object) -> str:
        # Sorted: all are asked which of them is the primary, so that their order means nothing.
        assert isinstance(value, tuple), value
        return ",".join(place_text(host, port) for host, port in sorted(value))


@dataclass(frozen=True, slots=True)
class Group:
    """A multicast group with port, or a list of unicast peers with ports."""

    label: str = "multicast address:port, or a list of address:port"

    def read(self, value: Value) -> tuple[Address, ...]:
        if isinstance(value, Sequence):
            return self._peers([scalar_text(item, "address:port") for item in value.items])
        text = scalar_text(value, "a multicast address with a port, such as 239.19.76.1:7400")
        if "," in text:
            return self._peers([part.strip() for part in text.split(",")])
        host, port = read_place(text)
        address = read_address(host)
        groups = GROUPS_4 if address.version == 4 else GROUPS_6
        if not address.is_multicast:
            raise ValueError(f"{address} is no multicast address. Use one of {groups}, or a list of all nodes' "
                             f"addresses where the network has no multicast.")
        if address in _RESERVED or any(address in network for network in _PERMANENT):
            raise ValueError(f"{address} belongs to the network's own protocols. Use one of {groups}.")
        if address in _ONE_HOST:
            raise ValueError(f"{address} never leaves its host. Use one of {groups}.")
        return ((str(address), port),)

    def _peers(self, texts: list[str]) -> tuple[Address, ...]:
        if not 1 <= len(texts) <= PEERS_MAX:
            raise ValueError(f"lists {len(texts)} addresses. List every node once, at most {PEERS_MAX}.")
        peers: list[Address] = []
        for text in texts:
            host, port = read_place(text)
            peers.append((read_host(host), port))
        hosts = [host for host, _ in peers]
        for host in hosts:
            if hosts.count(host) > 1:
                raise ValueError(f"lists {host} twice. List every node once.")
        if len({ip_address(host).version for host in hosts}) > 1:
            raise ValueError("lists IPv4 and IPv6 addresses. Use one of the two for all nodes.")
        return tuple(peers)

    def text(self, value: object) -> str:
        # Sorted, because the order of a list of peers means nothing and hosts may differ in it.
        assert isinstance(value, tuple), value
        return ",".join(place_text(host, port) for host, port in sorted(value))
