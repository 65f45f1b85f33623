"""What the kernel of a host shows of its addresses and of the sockets that listen there.

It must not know which address or port is meant for what.

This is a private part of qhb.qluster and may change in any release.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import array
import fcntl
import glob
import ipaddress
import os
import socket
import struct

SIOCGIFCONF = 0x8912
INTERFACE_SIZE = 40
"""Size of one ifreq on 64-bit Linux."""
LISTENING = "0A"
"""State of a listening socket in /proc/net/tcp."""
MAPPED = "0000000000000000FFFF0000"
"""Before an IPv4 address that a socket of IPv6 listens on, as /proc/net/tcp6 writes it."""


def read_text(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def host_address(text):
    """An address of one host as an object, None when it is none; daemons refuse the same."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    wrong = address.is_multicast or address.is_unspecified
    if address.version == 6:
        wrong = wrong or address.is_link_local or address.ipv4_mapped is not None
    return None if wrong else address


def interfaces():
    """Name → addresses of each interface, as the kernel lists them."""
    found = interfaces_of_4()
    for line in read_text("/proc/net/if_inet6").splitlines():
        words = line.split()
        address = ipaddress.IPv6Address(bytes.fromhex(words[0]))
        if not address.is_link_local:
            found.setdefault(words[5], []).append(str(address))
    return found


def interfaces_of_4():
    """Name → IPv4 addresses of each interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        room = array.array("B", b"\0" * INTERFACE_SIZE * 512)
        address, _length = room.buffer_info()
        request = struct.pack("iL", len(room), address)
        used = struct.unpack("iL", fcntl.ioctl(asker.fileno(), SIOCGIFCONF, request))[0]
    content = room.tobytes()
    found = {}
    for start in range(0, used, INTERFACE_SIZE):
        name = content[start : start + 16].split(b"\0", 1)[0].decode().partition(":")[0]
        found.setdefault(name, []).append(socket.inet_ntoa(content[start + 20 : start + 24]))
    return found


def is_here(address):
    """Whether a socket can be bound to the address."""
    if address is None:
        return False
    try:
        with socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as trial:
            trial.bind((str(address), 0))
    except OSError:
        return False
    return True


def interface_of(address, known):
    for name, addresses in known.items():
        if str(address) in addresses:
            return name
    if address is not None and address.is_loopback:
        return "lo"
    return ""


def kernel_writing(address):
    """An address as /proc/net/tcp and tcp6 write it: in words of four bytes, each turned round."""
    packed = address.packed
    return "".join(packed[start : start + 4][::-1].hex().upper() for start in range(0, len(packed), 4))


def listeners(address, tcp, tcp6, ports):
    """Port → inode of the socket that listens on it, for this address or all of them.

    A socket that listens on all addresses of IPv6 has those of IPv4 too, as a rule; not the other way round.
    """
    mine = {"0" * 32}
    lines = tcp6.splitlines()
    if address is not None:
        mine.add(kernel_writing(address))
    if address is None or address.version == 4:
        mine.add("0" * 8)
        mine |= {MAPPED + each for each in mine if len(each) == 8}
        lines += tcp.splitlines()
    found = {}
    for line in lines:
        if ":" not in line.partition(":")[2]:
            continue
        words = line.split()
        place, port = words[1].split(":")
        if words[3] == LISTENING and int(port, 16) in ports and place in mine:
            found[int(port, 16)] = words[9]
    return found


def users_of(inodes):
    """Inode → command line of the process that has the socket, where it may be seen."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found = {}
    for descriptor in glob.iglob("/proc/[0-9]*/fd/*") if wanted else ():
        try:
            inode = wanted.get(os.readlink(descriptor))
        except OSError:
            continue
        if inode is not None:
            words = read_text(os.path.join("/proc", descriptor.split("/")[2], "cmdline"))
            found.setdefault(inode, words.replace("\0", " ").strip())
    return found


def ports_in_use(address, ports):
    inodes = listeners(address, read_text("/proc/net/tcp"), read_text("/proc/net/tcp6"), set(ports))
    commands = users_of(set(inodes.values()))
    return {str(port): commands.get(inode, "") for port, inode in inodes.items()}
