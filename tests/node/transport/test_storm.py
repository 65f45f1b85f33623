"""Eight receivers that all miss the same: their requests do not storm, and the repair is sent once."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from random import Random

import pytest
from qluster.events import Address
from qluster.transport.envelope import Header, parse_header
from qluster.transport.fragments import TRIES_MAX
from transport.lossy_world import Faults, Network, introduced, listeners, speak

RECEIVERS = 8


def chunk_of(datagram: bytes) -> Header:
    header = parse_header(datagram)
    assert isinstance(header, Header)
    return header


def missing(network: Network, chunks: range, times: int) -> None:
    """The first so many sendings of these chunks reach nobody, whether to all or to one."""
    sender = next(iter(network.links))
    left = dict.fromkeys(chunks, times)
    seen: set[bytes] = set()

    def loses(source: Address, target: Address, datagram: bytes) -> bool:
        header = chunk_of(datagram)
        if source != sender or header.flags & ~0x01 or header.chunk not in left or header.chunks < 2:
            return False
        if datagram not in seen and left[header.chunk]:
            left[header.chunk] -= 1
            seen.add(datagram)
        return datagram in seen

    network.loses = loses


@pytest.mark.parametrize("seed", range(5))
def test_same_loss_at_all_is_repaired_to_all_once(seed: int) -> None:
    network = introduced(1 + RECEIVERS, seed, Faults())
    missing(network, range(5, 15), 1)
    sent = speak(network, 1, 64_000)
    assert all(set(heard) == sent for heard in listeners(network))
    assert network.total("requests_sent") <= RECEIVERS
    assert network.total("repairs_multicast") <= 10
    assert network.total("repairs_unicast") <= 10, "the first who asks alone gets it at once"


@pytest.mark.parametrize("seed", range(5))
def test_lost_repair_is_asked_for_again_and_no_more_often_than_that(seed: int) -> None:
    network = introduced(1 + RECEIVERS, seed, Faults())
    missing(network, range(5, 15), 3)
    sent = speak(network, 1, 64_000)
    assert all(set(heard) == sent for heard in listeners(network))
    assert network.total("requests_sent") <= 3 * RECEIVERS
    assert network.total("repairs_multicast") + network.total("repairs_unicast") <= 6 * 10


@pytest.mark.parametrize("seed", range(5))
def test_requests_end_when_no_repair_ever_comes(seed: int) -> None:
    network = introduced(1 + RECEIVERS, seed, Faults())
    missing(network, range(5, 15), 10**9)
    speak(network, 1, 64_000)
    assert network.total("requests_sent") <= RECEIVERS * TRIES_MAX
    assert network.total("messages_given_up") == RECEIVERS


@pytest.mark.parametrize("seed", range(5))
def test_burst_lost_at_all_is_asked_for_in_few_requests(seed: int) -> None:
    """Forty messages at once: what is missing of one sender goes into common requests."""
    network = introduced(1 + RECEIVERS, seed, Faults())
    random, sender = Random(seed), next(iter(network.links))
    network.loses = lambda source, target, datagram: source == sender and random.random() < 0.9
    for number in range(40):
        network.links[sender].send(b"%d" % number, None, network.now)
    network.run(network.now + 0.001)
    network.loses = lambda source, target, datagram: False
    network.links[sender].send(b"end", None, network.now)
    network.run()
    assert all(len(heard) == 41 for heard in listeners(network))
    assert network.total("requests_sent") <= 4 * RECEIVERS
    repairs = network.total("repairs_multicast") + network.total("repairs_unicast")
    assert repairs <= 2.5 * 40, f"{repairs} sendings for 40 messages that {RECEIVERS} nodes missed"
