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
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

SIOCETHTOOL = 0x8946
ETHTOOL_STSO, ETHTOOL_SGSO = 0x1F, 0x24
NET = "10.88.0"
BRIDGE = "br0"
OWN = 254
"""Last number of the address that the benchmark itself has on the bridge."""
COMMAND_SECONDS = 20

Result = TypeVar("Result")


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
    run("ip", "netns", "del", probe)
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
        run("ip", "-n", middle, "link", "add", BRIDGE, "type", "bridge", "mcast_snooping", "0")
        run("ip", "-n", middle, "address", "add", f"{NET}.{OWN}/24", "dev", BRIDGE)
        run("ip", "-n", middle, "link", "set", BRIDGE, "up")
        for number in range(1, self._count + 1):
            name = f"{self.entering}{number}"
            self._add(name)
            run("ip", "-n", middle, "link", "add", f"port{number}", "type", "veth",
                 "peer", "name", "eth0", "netns", name)
            run("ip", "-n", middle, "link", "set", f"port{number}", "master", BRIDGE, "up")
            run("ip", "-n", name, "link", "set", "lo", "up")
            run("ip", "-n", name, "address", "add", f"{NET}.{number}/24", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "eth0", "up")
            run("ip", "-n", name, "route", "add", "default", "dev", "eth0")
            self._within(number, _whole_packets)

    def _add(self, name: str) -> None:
        run("ip", "netns", "add", name)
        self._made.append(name)

    def sent(self, number: int) -> int:
        """Bytes that a host has sent, with Ethernet headers."""
        counter = "/sys/class/net/eth0/statistics/tx_bytes"
        return int(run("ip", "netns", "exec", f"{self.entering}{number}", "cat", counter))

    def remove(self) -> None:
        """Remove every trace."""
        for name in reversed(self._made):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=COMMAND_SECONDS, check=False)
        self._made.clear()

    def from_within(self, action: Callable[[], Result]) -> Result:
        """Do something in a thread that stands on the bridge; so do the programs that it starts."""
        return self._within(0, action)

    def _within(self, number: int, action: Callable[[], Result]) -> Result:
        results: list[Result] = []
        faults: list[BaseException] = []

        def work() -> None:
            try:
                enter(f"{self.entering}{number}")
                results.append(action())
            except BaseException as fault:  # noqa: BLE001 - it is raised again where the thread was started
                faults.append(fault)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if faults:
            raise faults[0]
        return results[0]


def enter(space: str | int) -> None:
    """Bring the calling thread, and no other, into a namespace: one of a name, or that of a descriptor."""
    place = os.open(Path("/run/netns") / space, os.O_RDONLY) if isinstance(space, str) else os.dup(space)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(place, 0) != 0:
            raise OSError(ctypes.get_errno(), f"setns {space}")
    finally:
        os.close(place)


def _whole_packets() -> None:
    """No segmentation by the device: a large buffer would count as one packet with one header."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for command in (ETHTOOL_STSO, ETHTOOL_SGSO):
            order = array.array("B", struct.pack("II", command, 0))
            address, _ = order.buffer_info()
            fcntl.ioctl(control, SIOCETHTOOL, struct.pack("16sP", b"eth0", address))


def run(*words: str) -> str:
    """A command that must succeed; what it said."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
