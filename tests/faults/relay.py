"""A switch in user space between the hosts: it drops, delays, reorders and doubles what passes.

A program of its own, started with the names of the hosts' namespaces. Each gets an interface eth0 whose other end
is here. Commands come as lines of JSON on standard input; its end is the end of the relay.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ctypes
import fcntl
import heapq
import json
import os
import random
import selectors
import struct
import sys
import time

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
TAP_WITHOUT_HEADER = 0x0002 | 0x1000
FRAME_SIZE = 70_000
"""More than the largest frame that an interface hands over."""
WAITING_MAX = 20_000
"""Delayed frames; beyond it the new one is dropped, as a switch with a full queue does."""
SCALE = 1000


def tap(namespace: str) -> int:
    """Make eth0 inside a namespace; the end that we read and write."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if libc.setns(there, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {namespace}")
        made = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(made, TUNSETIFF, struct.pack("16sH22x", b"eth0", TAP_WITHOUT_HEADER))
        if libc.setns(home, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns back")
    finally:
        os.close(home)
        os.close(there)
    return made


class Relay:
    """Frames come in from one host and go out to others, now or later."""

    def __init__(self, namespaces: list[str]) -> None:
        self._ports = {number: tap(name) for number, name in enumerate(namespaces, 1)}
        self._links: dict[tuple[int, int], tuple[bool, int, float, float, int]] = {}
        self._learned: dict[bytes, int] = {}
        self._waiting: list[tuple[float, int, int, bytes]] = []
        self._order = 0
        self._counts = {"dropped": 0, "delayed": 0, "doubled": 0, "passed": 0}
        self._random = random.Random()
        self._selector = selectors.DefaultSelector()
        for number, port in self._ports.items():
            self._selector.register(port, selectors.EVENT_READ, number)
        self._selector.register(sys.stdin, selectors.EVENT_READ, 0)

    def run(self) -> None:
        """Until standard input ends."""
        while True:
            wait = max(0.0, self._waiting[0][0] - time.monotonic()) if self._waiting else None
            for key, _ in self._selector.select(wait):
                if key.data == 0:
                    line = sys.stdin.readline()
                    if not line:
                        return
                    self._command(json.loads(line))
                else:
                    self._drain(key.data)
            now = time.monotonic()
            while self._waiting and self._waiting[0][0] <= now:
                _, _, receiver, frame = heapq.heappop(self._waiting)
                self._deliver(receiver, frame)

    def _command(self, question: dict[str, object]) -> None:
        if question["ask"] == "links":
            links: dict[str, list[float]] = question["links"]  # type: ignore[assignment]
            self._links = {
                (int(pair.split("-")[0]), int(pair.split("-")[1])):
                    (bool(cut), int(loss), shortest, longest, int(twice))
                for pair, (cut, loss, shortest, longest, twice) in links.items()
            }  # fmt: skip
        print(json.dumps(self._counts), flush=True)

    def _drain(self, sender: int) -> None:
        for _ in range(64):
            try:
                frame = os.read(self._ports[sender], FRAME_SIZE)
            except OSError:
                # Nothing more, or the interface is down.
                return
            self._learned[frame[6:12]] = sender
            receiver = self._learned.get(frame[:6])
            for other in self._ports if receiver is None else (receiver,):
                if other != sender:
                    self._pass(sender, other, frame)

    def _pass(self, sender: int, receiver: int, frame: bytes) -> None:
        link = self._links.get((sender, receiver))
        if link is None:
            self._deliver(receiver, frame)
            return
        cut, loss, shortest, longest, twice = link
        if cut or self._random.randrange(SCALE) < loss:
            self._counts["dropped"] += 1
            return
        self._later(receiver, frame, shortest, longest)
        if self._random.randrange(SCALE) < twice:
            self._counts["doubled"] += 1
            self._later(receiver, frame, shortest, longest)

    def _later(self, receiver: int, frame: bytes, shortest: float, longest: float) -> None:
        if longest <= 0:
            self._deliver(receiver, frame)
        elif len(self._waiting) >= WAITING_MAX:
            self._counts["dropped"] += 1
        else:
            self._counts["delayed"] += 1
            self._order += 1
            due = time.monotonic() + self._random.uniform(shortest, longest)
            heapq.heappush(self._waiting, (due, self._order, receiver, frame))

    def _deliver(self, receiver: int, frame: bytes) -> None:
        try:
            os.write(self._ports[receiver], frame)
        except OSError:
            # The queue of the interface is full, or it is down.
            self._counts["dropped"] += 1
        else:
            self._counts["passed"] += 1


if __name__ == "__main__":
    relay = Relay(sys.argv[1:])
    print("ready", flush=True)
    relay.run()
