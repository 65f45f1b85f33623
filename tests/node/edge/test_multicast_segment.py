"""Real sockets of several hosts on one segment: both address families, hosts cut off from the group, floods."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from random import Random

import pytest
import pytest_asyncio
from edge.linked_world import Peer, udp_socket, until
from edge.segment_world import Segment
from qluster.config import UdpSocket
from qluster.edge.multicast import Multicast, NetworkUnusable
from qluster.events import Address

GROUPS = {4: ("239.19.77.41", 7441), 6: ("ff15::77:41", 7441)}


def wanted(*group: Address) -> UdpSocket:
    return udp_socket(*group, interface="eth0", buffer_size=1048576)


@pytest.fixture(scope="module")
def segment() -> Iterator[Segment]:
    made = Segment(3)
    yield made
    made.close()


Made = Callable[..., list[Peer]]


@pytest_asyncio.fixture
async def made(segment: Segment) -> AsyncIterator[Made]:
    nodes: list[Peer] = []

    def make(version: int, *, peers: bool = False) -> list[Peer]:
        listed = tuple((segment.ip(number, version), GROUPS[version][1]) for number in (1, 2, 3))
        sockets = wanted(*listed) if peers else wanted(GROUPS[version])
        for number in (1, 2, 3):
            ip, there = segment.ip(number, version), segment.entered(number)
            nodes.append(Peer(ip, number, sockets, answers=True, there=there))
        return nodes

    yield make
    for node in nodes:
        node.close()
    for number in (1, 2, 3):
        segment.heal(number)


def test_sizes_leave_room_for_the_headers(segment: Segment) -> None:
    assert {version: Multicast(segment.ip(1, version), wanted(GROUPS[version]), print).headers_size
            for version in (4, 6)} == {4: 28, 6: 48}  # fmt: skip


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("peers", [False, True], ids=["group", "peers"])
async def test_all_hear_all_messages_of_both_families(made: Made, version: int, peers: bool) -> None:
    nodes = made(version, peers=peers)
    assert nodes[0].multicast.datagram_size == {4: 1472, 6: 1452}[version]
    messages = [Random(number).randbytes(64_000) for number in range(5)] + [b"small"]
    for message in messages:
        nodes[0].say(message)
    await until(lambda: all(sorted(node.messages) == sorted(messages) for node in nodes[1:]))
    assert nodes[1].sources == {(nodes[0].ip, GROUPS[version][1])}
    await until(lambda: len(nodes[0].messages) == 2 * len(messages))


@pytest.mark.parametrize("version", [4, 6])
async def test_node_cut_off_from_the_group_is_served_by_unicast_until_it_hears_again(
    segment: Segment, made: Made, version: int
) -> None:
    nodes = made(version)
    group, deaf = GROUPS[version][0], nodes[2]
    nodes[0].say(b"hello")
    await until(lambda: len(nodes[0].messages) == 2)
    segment.drop(3, f"{'ip' if version == 4 else 'ip6'} daddr {group}")
    for number in range(8):
        nodes[0].say(b"beat %d" % number)
        await until(lambda number=number: deaf.messages[-1] == b"beat %d" % number)
        await asyncio.sleep(0.05)
    assert nodes[0].link.counters["unicast_peers"] == 1
    assert deaf.multicast.counters["rejoins"] == 0
    segment.heal(3)
    nodes[0].say(b"healed")
    await until(lambda: nodes[0].link.counters["unicast_peers"] == 0)
    copies = nodes[0].link.counters["unicast_copies"]
    nodes[0].say(b"through the group")
    await until(lambda: deaf.messages[-1] == b"through the group")
    assert nodes[0].link.counters["unicast_copies"] == copies
    assert deaf.messages == [b"hello", *(b"beat %d" % number for number in range(8)), b"healed", b"through the group"]


async def test_node_whose_multicast_reaches_nobody_gets_through_by_unicast(segment: Segment, made: Made) -> None:
    """One way only: it hears the others, they do not hear it."""
    nodes = made(4)
    nodes[0].say(b"who is there")
    nodes[1].say(b"here too")
    await until(lambda: len(nodes[2].messages) >= 2)
    for number in (1, 2):
        segment.drop(number, f"ip saddr {nodes[2].ip} ip daddr {GROUPS[4][0]}")
    for number in range(6):
        nodes[2].say(b"vote for me %d" % number)
        await until(lambda number=number: all(b"vote for me %d" % number in node.messages for node in nodes[:2]))
    await until(lambda: nodes[2].link.counters["unicast_peers"] == 2)


async def test_ipv6_address_that_is_not_here_is_refused(segment: Segment) -> None:
    with segment.entered(1), pytest.raises(NetworkUnusable, match=r"^ip: fd66::99 is no address of this host"):
        Multicast("fd66::99", wanted(GROUPS[6]), print).open()


async def test_families_are_not_mixed(segment: Segment) -> None:
    with segment.entered(1), pytest.raises(NetworkUnusable, match=r"ff15::77:41 is IPv6, ip 10.66.7.1 is IPv4"):
        Multicast("10.66.7.1", wanted(GROUPS[6]), print).open()
