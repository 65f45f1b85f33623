"""Whether addresses, interface and ports of a configuration are to be had on this host.

It must not send anything.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address

from qluster.config import Config

_SIOCGIFFLAGS = 0x8913
_IFF_UP = 0x1


def findings(config: Config, starting: bool) -> Iterator[str]:
    """What does not fit."""
    yield from _interface(config.udp.socket.interface)
    if not _is_here(config.ip):
        yield (f"ip: {config.ip} is no address of this host. Use one of those that `ip address` shows, the one that "
               f"the other nodes reach.")
        return
    if not ip_address(config.ip).is_loopback and config.udp.socket.interface == "lo":
        yield (f"udp.socket.interface: lo reaches no other host, but ip {config.ip} is meant for others. "
               f"Use the interface that has this address.")
    if starting or not _daemon_runs(config.state_dir):
        yield from _ports(config)


def _interface(name: str) -> Iterator[str]:
    names = [other for _, other in socket.if_nameindex()]
    if name not in names:
        yield f"udp.socket.interface: {name} is not on this host. It has: {', '.join(names)}."
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        answer = fcntl.ioctl(asking.fileno(), _SIOCGIFFLAGS, struct.pack("16s24x", name.encode()))
    if not struct.unpack_from("H", answer, 16)[0] & _IFF_UP:
        yield f"udp.socket.interface: {name} is down. Bring it up: ip link set {name} up."


def _is_here(ip: str) -> bool:
    try:
        with socket.socket(_family(ip), socket.SOCK_DGRAM) as probe:
            probe.bind((ip, 0))
    except OSError as error:
        return error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    return True


def _family(ip: str) -> socket.AddressFamily:
    return socket.AF_INET if ip_address(ip).version == 4 else socket.AF_INET6


def _daemon_runs(state_dir: str) -> bool:
    """Whether the node that this configuration is for runs already, and so has its ports."""
    try:
        lock = os.open(os.path.join(state_dir, "lock"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def _ports(config: Config) -> Iterator[str]:
    yield from _port("api-port", config.ip, config.api_port, socket.SOCK_STREAM)
    yield from _port("udp.socket.group", config.ip, config.udp.port(config.ip), socket.SOCK_DGRAM)
    database = config.database
    # A database that a dead daemon left behind has its port; the daemon stops it when it starts.
    if database and not os.path.exists(os.path.join(database.data_dir, "postmaster.pid")):
        yield from _port("database.port", config.ip, database.port, socket.SOCK_STREAM)


def _port(key: str, ip: str, port: int, kind: socket.SocketKind) -> Iterator[str]:
    with socket.socket(_family(ip), kind) as probe:
        if kind is socket.SOCK_STREAM:
            # As a server does: connections of the last run that are still winding down are no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ip, port))
        except OSError as error:
            protocol = "TCP" if kind is socket.SOCK_STREAM else "UDP"
            if error.errno == errno.EADDRINUSE:
                yield (f"{key}: {protocol} port {port} of {ip} is in use by another program "
                       f"(`ss -lnp 'sport = :{port}'` names it). Stop it, or use another port.")
            elif error.errno == errno.EACCES:
                yield f"{key}: port {port} needs privileges that this user does not have. Use one above 1023."
