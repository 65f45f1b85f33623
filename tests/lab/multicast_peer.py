"""Sends to, or counts from, one multicast group; a host's Python is given all of it as one word."""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import select
import socket
import sys
import time

GROUP, PORT = "239.19.76.1", 7400


def receive(address: str, marker: bytes) -> None:
    """Count until the sender's last word, or until standard input ends: the sender has, and its word did not come."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("", PORT))
        membership = socket.inet_aton(GROUP) + socket.inet_aton(address)
        peer.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        print("ready", flush=True)
        count = 0
        while peer in select.select([peer, sys.stdin], [], [])[0] and (word := peer.recv(100)) != b"end":
            count += word == marker
        print(count, flush=True)


def send(address: str, marker: bytes, count: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
        for _ in range(count):
            peer.sendto(marker, (GROUP, PORT))
            time.sleep(0.002)
        for _ in range(20):  # the last word must come through a lossy cable
            peer.sendto(b"end", (GROUP, PORT))


if sys.argv[1] == "receive":
    receive(sys.argv[2], sys.argv[3].encode())
else:
    send(sys.argv[2], sys.argv[3].encode(), int(sys.argv[4]))
