"""Links in a network that loses, repeats, delays and changes what it carries, in a time of its own."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass
from math import inf
from random import Random

import pytest
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
        if target not in self.links or random.random() < faults.lost:
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


FAULTS = {
    "clean": Faults(),
    "reordered": Faults(delay_max=0.020),
    "repeated": Faults(repeated=0.3),
    "lossy": Faults(lost=0.05),
    "changed": Faults(changed=0.05),
    "everything": Faults(lost=0.1, repeated=0.1, changed=0.03, delay_max=0.008),
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("size", [400, 64_000], ids=["small", "large"])
@pytest.mark.parametrize("seed", range(3))
def test_every_message_arrives_once_at_everyone(faults: Faults, size: int, seed: int) -> None:
    network = introduced(4, seed, faults)
    sent = speak(network, 60 if size == 400 else 15, size)
    # With nothing sent afterwards the loss of the last small message cannot be noticed.
    network.faults = Faults()
    sent |= speak(network, 1, 400)
    for heard in listeners(network):
        assert set(heard) == sent
        assert max(heard.values()) == 1
    assert network.total("messages_given_up") == network.total("messages_evicted") == 0


@pytest.mark.parametrize("seed", range(3))
def test_half_of_all_lost_is_still_never_wrong(seed: int) -> None:
    """Not everything arrives then, but nothing twice, nothing mutilated, and the links come to rest."""
    network = introduced(4, seed, Faults(lost=0.5))
    sent = speak(network, 30, 64_000)
    for heard in listeners(network):
        assert set(heard) <= sent
        assert max(heard.values()) == 1
        assert len(heard) >= 10


def test_network_that_only_reorders_causes_hardly_any_repairs() -> None:
    network = Network(4, Faults(delay_max=0.002), 1)
    speak(network, 20, 64_000)
    repairs = network.total("repairs_unicast") + network.total("repairs_multicast")
    assert repairs < network.total("datagrams_sent") * 0.02


def test_repair_costs_about_what_was_lost() -> None:
    """Losses at each of five receivers: each chunk sent again must be one that somebody missed."""
    network = Network(6, Faults(lost=0.02), 1)
    speak(network, 20, 64_000)
    first = network.total("datagrams_sent") - network.total("requests_sent")
    repairs = network.total("repairs_unicast") + network.total("repairs_multicast")
    first -= repairs
    assert 0.02 * 5 * 0.5 * first <= repairs <= 0.02 * 5 * 1.5 * first


@pytest.mark.parametrize("seed", range(2))
def test_sender_slows_down_for_receivers_that_cannot_keep_up(seed: int) -> None:
    """Without that the repairs would fill the receiver's buffer again, for ever."""
    network = introduced(3, seed, Faults(capacity=30e6), LinkSettings(pacing_rate=100_000_000))
    sender = next(iter(network.links.values()))
    sent, rates = set(), []
    while len(sent) < 400:
        sent |= offer(network, 1, 64_000)
        while sender.queued > 10:
            network.run(network.now + 0.001)
        rates.append(sender.rate)
    network.run()
    sent |= speak(network, 1, 400)
    assert all(set(heard) == sent for heard in listeners(network))
    repairs = network.total("repairs_unicast") + network.total("repairs_multicast")
    assert 0 < repairs < 0.7 * (network.total("datagrams_sent") - repairs)
    assert min(rates) < 50e6
    network.now += 5.0
    sent |= speak(network, 1, 400)
    assert sender.rate == 100e6


def test_losses_of_a_bad_network_do_not_slow_the_sender_down() -> None:
    network = introduced(3, 1, Faults(lost=0.02))
    speak(network, 40, 64_000, pause=0.001)
    assert next(iter(network.links.values())).rate == LinkSettings().pacing_rate


def test_slow_network_is_not_asked_for_what_is_still_to_be_sent() -> None:
    network = Network(3, Faults(), 1, LinkSettings(pacing_rate=64 * 1024))
    sent = speak(network, 3, 64_000)
    assert all(set(heard) == sent for heard in listeners(network))
    assert network.total("requests_sent") == network.total("repairs_unicast") == 0


def test_node_that_joins_late_does_not_ask_for_the_past() -> None:
    network = Network(3, Faults(), 1)
    late, link = list(network.links.items())[2]
    del network.links[late]
    speak(network, 50, 400)
    network.links[late] = link
    sent = speak(network, 1, 400)
    assert set(network.heard[late]) == sent
    assert link.counters["requests_sent"] == 0


def test_receiver_that_was_cut_off_gives_up_what_is_too_old() -> None:
    network = Network(2, Faults(), 1)
    listener = list(network.links.values())[1]
    speak(network, 5, 400)
    network.faults = Faults(lost=1.0)
    speak(network, 200, 400)
    network.run(network.now + 5.0)
    network.now += 5.0
    network.faults = Faults()
    speak(network, 2, 400)
    assert listener.counters["messages_missed"] == 200 - 64
    assert listener.counters["messages_given_up"] == 64
    assert listener.counters["messages_received"] == 7
    assert listener.wake_at == inf


def test_same_seed_same_run() -> None:
    runs = []
    for _ in range(2):
        network = Network(4, FAULTS["everything"], 7)
        speak(network, 10, 20_000)
        runs.append((network.now, [link.counters for link in network.links.values()]))
    assert runs[0] == runs[1]
