"""Hosts for the nodes of a cluster: network namespaces on a bridge, whose cables count the bytes.

A client that runs on a node's host reaches it by loopback, so the cable carries what nodes say to each
other and nothing else. Needs root. Must not know the systems.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import array
import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess
from pathlib import Path

SIOCETHTOOL = 0x8946
ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_STXCSUM = 0x1F, 0x24, 0x17
NET = "10.88.0"
COMMAND_SECONDS = 20


def obstacle() -> str:
    """Why there can be no namespaces here, "" when there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "ip is not installed (package iproute2)"
    probe = f"qb{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, timeout=COMMAND_SECONDS)
    if made.returncode != 0:
        return f"ip netns add: {made.stderr.strip()}"
    _run("ip", "netns", "del", probe)
    return ""


class Hosts:
    """So many hosts on a bridge of their own; the bridge stands in a namespace too."""

    interface = "eth0"
    net = NET

    def __init__(self, count: int) -> None:
        self.entering = f"qb{os.getpid()}-"
        self._count = count
        self._made: list[str] = []

    def make(self) -> None:
        """Make them; to be undone with :meth:`remove`, also after a failure."""
        middle = f"{self.entering}0"
        self._add(middle)
        _run("ip", "-n", middle, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        _run("ip", "-n", middle, "link", "set", "br0", "up")
        for number in range(1, self._count + 1):
            name = f"{self.entering}{number}"
            self._add(name)
            _run("ip", "-n", middle, "link", "add", f"port{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
            _run("ip", "-n", middle, "link", "set", f"port{number}", "master", "br0", "up")
            _run("ip", "-n", name, "link", "set", "lo", "up")
            _run("ip", "-n", name, "address", "add", f"{NET}.{number}/24", "dev", "eth0")
            _run("ip", "-n", name, "link", "set", "eth0", "up")
            _run("ip", "-n", name, "route", "add", "default", "dev", "eth0")
            self._within(name, _whole_packets)

    def _add(self, name: str) -> None:
        _run("ip", "netns", "add", name)
        self._made.append(name)

    def sent(self, number: int) -> int:
        """Bytes that a host has sent, with Ethernet headers."""
        counter = "/sys/class/net/eth0/statistics/tx_bytes"
        return int(_run("ip", "netns", "exec", f"{self.entering}{number}", "cat", counter))

    def remove(self) -> None:
        """Remove every trace."""
        for name in reversed(self._made):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=COMMAND_SECONDS, check=False)
        self._made.clear()

    @staticmethod
    def _within(name: str, action: object) -> None:
        """Do something in a namespace, in a child of this process."""
        child = os.fork()
        if child == 0:
            code = 1
            try:
                place = os.open(Path("/run/netns") / name, os.O_RDONLY)
                if ctypes.CDLL(None, use_errno=True).setns(place, 0) == 0:
                    action()  # type: ignore[operator]
                    code = 0
            finally:
                os._exit(code)
        if os.waitpid(child, 0)[1] != 0:
            raise RuntimeError(f"cannot set up the network of {name}")


def _whole_packets() -> None:
    """No segmentation by the device: a large buffer would count as one packet with one header."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for command in (ETHTOOL_STSO, ETHTOOL_SGSO):
            order = array.array("B", struct.pack("II", command, 0))
            address, _ = order.buffer_info()
            fcntl.ioctl(control, SIOCETHTOOL, struct.pack("16sP", b"eth0", address))


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
