"""Links in a network that loses, repeats, delays and changes what it carries, in a time of its own."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from random import Random

from qluster.events import Address
from qluster.transport.link import Link, LinkSettings
from qluster.transport.seal import Key

KEYS = [Key(1, bytes(range(32)))]
TIME_MAX = 120.0
"""Simulated seconds; a world that is not at rest by then never will be."""


@dataclass(frozen=True)
class Faults:
    """Probabilities for each datagram and each receiver."""

    lost: float = 0.0
    repeated: float = 0.0
    changed: float = 0.0
    delay_max: float = 0.001
    """More than the pause between datagrams reorders them."""
    capacity: float = inf
    """Bytes per second that a receiver takes; what its buffer cannot hold meanwhile is lost."""


BUFFER_SIZE = 1048576


class Network:
    """Links that reach each other, and a heap of what is on its way."""

    def __init__(self, nodes: int, faults: Faults, seed: int, settings: LinkSettings | None = None) -> None:
        self.random = Random(seed)
        self.faults = faults
        self.now = 1000.0
        self.links: dict[Address, Link] = {}
        for uid in range(1, nodes + 1):
            self.links[(f"10.0.0.{uid}", 7400)] = Link(
                "one", uid, 1, KEYS, settings or LinkSettings(), Random(seed * 100 + uid), self.now
            )
        self.heard: dict[Address, Counter[tuple[int, bytes]]] = {one: Counter() for one in self.links}
        self.loses: Callable[[Address, Address, bytes], bool] = lambda source, target, datagram: False
        """Sender, receiver and datagram: whether it gets lost beside what gets lost by chance."""
        self._on_the_way: list[tuple[float, int, Address, Address, bytes]] = []
        self._sent = 0
        self._busy_until = dict.fromkeys(self.links, self.now)

    def run(self, until: float = inf) -> None:
        """Let time pass until nothing is left to happen, or a time has come."""
        while True:
            for address, link in self.links.items():
                for send in link.due(self.now):
                    targets = [send.to] if send.to else [one for one in self.links if self._hears(one, address)]
                    for target in targets:
                        self._carry(address, target, send.datagram)
            at = min([link.wake_at for link in self.links.values()] + [one[0] for one in self._on_the_way[:1]])
            if at == inf or at > until:
                self.now = max(self.now, min(until, self.now + 1 if at == inf else until))
                return
            assert at < 1000.0 + TIME_MAX, "the links never come to rest"
            self.now = max(self.now, at)
            while self._on_the_way and self._on_the_way[0][0] <= self.now:
                _, _, source, target, datagram = heapq.heappop(self._on_the_way)
                for received in self.links[target].receive(datagram, source, self.now):
                    assert received.source == source
                    self.heard[target][(received.uid, received.message)] += 1

    def _hears(self, target: Address, source: Address) -> bool:
        """A node hears its own multicast, unless it has trouble enough with that of others."""
        return target != source or self.faults.capacity == inf

    def _carry(self, source: Address, target: Address, datagram: bytes) -> None:
        random, faults = self.random, self.faults
        if target not in self.links or random.random() < faults.lost or self.loses(source, target, datagram):
            return
        if random.random() < faults.changed:
            at = random.randrange(len(datagram))
            datagram = datagram[:at] + bytes([datagram[at] ^ random.randrange(1, 256)]) + datagram[at + 1 :]
        for _ in range(1 + (random.random() < faults.repeated)):
            self._sent += 1
            backlog = max(0.0, self._busy_until[target] - self.now)
            if backlog * faults.capacity > BUFFER_SIZE:
                return
            self._busy_until[target] = self.now + backlog + len(datagram) / faults.capacity
            arrival = self._busy_until[target] + random.uniform(0.0001, faults.delay_max)
            heapq.heappush(self._on_the_way, (arrival, self._sent, source, target, datagram))

    def total(self, counter: str) -> int:
        return sum(link.counters[counter] for link in self.links.values())


def offer(network: Network, messages: int, size: int, pause: float = 0.0) -> set[tuple[int, bytes]]:
    """The first node sends so many messages of about this size to all."""
    speaker = next(iter(network.links.values()))
    sent = set()
    for number in range(messages):
        message = network.random.randbytes(network.random.randrange(8, size)) + b"%d" % number
        speaker.send(message, None, network.now)
        sent.add((1, message))
        if pause:
            network.run(network.now + pause)
    return sent


def speak(network: Network, messages: int, size: int, pause: float = 0.005) -> set[tuple[int, bytes]]:
    """Offer them, and wait until all is at rest."""
    sent = offer(network, messages, size, pause)
    network.run()
    return sent


def introduced(nodes: int, seed: int, faults: Faults, settings: LinkSettings | None = None) -> Network:
    """A network whose first message everybody heard: what was before the first one heard is nobody's loss."""
    network = Network(nodes, Faults(), seed, settings)
    speak(network, 1, 100)
    network.heard = {one: Counter() for one in network.links}
    network.faults = faults
    return network


def listeners(network: Network) -> list[Counter[tuple[int, bytes]]]:
    return list(network.heard.values())[1:]
