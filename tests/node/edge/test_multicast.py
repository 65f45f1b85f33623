"""Real sockets on loopback addresses: who hears whom, what is refused, what is survived."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest
import pytest_asyncio
from edge.linked_world import WAIT_MAX, Peer, udp_socket, until
from hypothesis import given
from hypothesis import strategies as st
from qluster.config import UdpSocket
from qluster.edge.clock import monotonic
from qluster.edge.multicast import SEGMENTS_MAX, SEGMENTS_SIZE_MAX, Multicast, NetworkUnusable, runs
from qluster.edge.multicast.offload import coalesce, cut, told
from qluster.events import Address, Send
from qluster.transport.pacing import BURST_SMALL, FRAME_SIZE

GROUP = "239.19.77.3"
HOSTS = ("127.0.77.1", "127.0.77.2", "127.0.77.3")
TARGETS: list[Address | None] = [None, (HOSTS[0], 7400), (HOSTS[1], 7400)]


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind((HOSTS[0], 0))
        return int(one.getsockname()[1])


class Host:
    """One node's sockets and what they heard."""

    def __init__(self, ip: str, wanted: UdpSocket) -> None:
        self.heard: list[tuple[bytes, Address]] = []
        self.multicast = Multicast(ip, wanted, lambda datagram, source: self.heard.append((datagram, source)))


def large(peer: Peer) -> list[bytes]:
    return [message for message in peer.messages if len(message) > 1000]


@pytest.fixture
def port() -> int:
    return free_port()


@pytest_asyncio.fixture
async def hosts(port: int) -> AsyncIterator[list[Host]]:
    made = [Host(ip, udp_socket((GROUP, port))) for ip in HOSTS]
    for host in made:
        host.multicast.open()
    yield made
    for host in made:
        host.multicast.close()


async def test_all_hear_what_goes_to_the_group(hosts: list[Host], port: int) -> None:
    for number, host in enumerate(hosts):
        host.multicast.send([Send(b"from %d" % number, None)])
    await until(lambda: all(len(host.heard) == 3 for host in hosts))
    expected = {(b"from %d" % number, (ip, port)) for number, ip in enumerate(HOSTS)}
    for host in hosts:
        assert set(host.heard) == expected


async def test_only_the_addressee_hears_unicast(hosts: list[Host], port: int) -> None:
    hosts[0].multicast.send([Send(b"for two", (HOSTS[1], port)), Send(b"for all", None)])
    await until(lambda: len(hosts[1].heard) == 2 and len(hosts[2].heard) == 1)
    assert (b"for two", (HOSTS[0], port)) in hosts[1].heard
    assert hosts[2].heard == [(b"for all", (HOSTS[0], port))]


async def test_more_datagrams_than_one_drain_arrive_in_order(hosts: list[Host]) -> None:
    hosts[0].multicast.send([Send(b"%d" % number, None) for number in range(70)])
    await until(lambda: len(hosts[1].heard) == 70)
    assert [datagram for datagram, _ in hosts[1].heard] == [b"%d" % number for number in range(70)]


async def test_drops_of_a_full_socket_buffer_are_counted(port: int) -> None:
    sender, receiver = (Host(ip, udp_socket((GROUP, port), buffer_size=16384)) for ip in HOSTS[:2])
    receiver.multicast.open()
    sender.multicast.open()
    try:
        # Nothing is read between these sends: the loop does not turn. Each is larger than the one before, so
        # that the kernel puts no two together: it counts a row of them as one.
        sender.multicast.send([Send(bytes(1200 + number), None) for number in range(200)])
        await until(lambda: bool(receiver.heard))
        sender.multicast.send([Send(b"last", None)])
        await until(lambda: receiver.heard[-1][0] == b"last")
        assert receiver.multicast.counters["socket_drops"] == 201 - len(receiver.heard) > 0
    finally:
        sender.multicast.close()
        receiver.multicast.close()


@pytest.mark.parametrize("offload", [True, False], ids=["offload", "plain"])
async def test_row_of_datagrams_arrives_as_it_was_sent(port: int, offload: bool) -> None:
    heard: list[bytes] = []
    sender, receiver = (
        Multicast(ip, udp_socket((GROUP, port), buffer_size=262144), listen, offload=offload)
        for ip, listen in zip(HOSTS, (ignore, lambda datagram, source: heard.append(datagram)), strict=False)
    )
    sender.open()
    receiver.open()
    try:
        row = [bytes([number]) * 1400 for number in range(60)] + [b"short", b"after it", bytes(1400)]
        sender.send([Send(datagram, None) for datagram in row])
        await until(lambda: len(heard) == len(row))
        assert heard == row
    finally:
        sender.close()
        receiver.close()


def ignore(datagram: bytes, source: Address) -> None:
    """Whoever only sends."""


@given(st.binary(max_size=300), st.integers(0, 400))
def test_buffer_is_cut_into_datagrams_of_one_size_but_the_last(content: bytes, size: int) -> None:
    datagrams = cut(memoryview(content), size)
    assert b"".join(datagrams) == content
    assert all(len(one) == size for one in datagrams[:-1])
    assert len(datagrams) == 1 or 0 < len(datagrams[-1]) <= size


def test_socket_that_cannot_coalesce_is_left_as_it_is() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as local:
        assert not coalesce(local)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        assert coalesce(one)


def test_kernel_without_coalescing_says_nothing_of_sizes() -> None:
    drops = (socket.SOL_SOCKET, 40, (7).to_bytes(4, sys.byteorder))
    assert told([drops]) == (0, 7)
    assert told([(socket.IPPROTO_UDP, 104, (1472).to_bytes(4, sys.byteorder, signed=True))]) == (1472, None)
    assert told([]) == (0, None)


async def test_failed_sends_are_counted_and_the_rest_is_sent(hosts: list[Host], port: int) -> None:
    hosts[0].multicast.send([
        Send(bytes(65508), (HOSTS[1], port)),
        Send(b"nowhere", ("255.255.255.255", port)),
        Send(b"after", (HOSTS[1], port)),
    ])
    await until(lambda: bool(hosts[1].heard))
    assert hosts[1].heard == [(b"after", (HOSTS[0], port))]
    assert hosts[0].multicast.counters["send_failed_emsgsize"] == 1
    assert sum(count for name, count in hosts[0].multicast.counters.items() if name.startswith("send_")) == 2


async def test_listed_peers_hear_all_without_multicast(port: int) -> None:
    peers = [(ip, port) for ip in HOSTS]
    hosts = [Host(ip, udp_socket(*peers)) for ip in HOSTS]
    try:
        for host in hosts:
            host.multicast.open()
        assert hosts[0].multicast.group_size == 2
        hosts[0].multicast.send([Send(b"all", None)])
        await until(lambda: all(host.heard for host in hosts[1:]))
        assert [host.heard for host in hosts] == [[], [(b"all", peers[0])], [(b"all", peers[0])]]
    finally:
        for host in hosts:
            host.multicast.close()


@given(st.lists(st.builds(Send, st.integers(0, 3).map(lambda size: bytes(size * 900)), st.sampled_from(TARGETS))))
def test_runs_hold_every_datagram_in_order_and_fit_one_call(sends: list[Send]) -> None:
    found = list(runs(sends))
    assert [Send(datagram, to) for to, datagrams in found for datagram in datagrams] == sends
    for _, datagrams in found:
        sizes = [len(datagram) for datagram in datagrams]
        assert all(size == sizes[0] for size in sizes[:-1])
        assert sizes[-1] <= sizes[0]
        assert len(sizes) <= SEGMENTS_MAX
        assert sum(sizes) <= SEGMENTS_SIZE_MAX


def test_chunks_of_a_large_message_take_two_calls() -> None:
    sends = [Send(bytes(1472), None)] * 45 + [Send(bytes(700), None)]
    assert [len(datagrams) for _, datagrams in runs(sends)] == [44, 2]


async def test_large_messages_of_three_nodes_arrive_through_real_sockets(port: int) -> None:
    """Links and sockets together, with two megabytes from each node at full speed."""
    wanted = udp_socket((GROUP, port), buffer_size=1048576)
    nodes = [Peer(ip, number, wanted) for number, ip in enumerate(HOSTS, 1)]
    try:
        messages = [Random(number).randbytes(64_000) for number in range(33)]
        for number, message in enumerate(messages):
            nodes[number % 3].say(message)
            await asyncio.sleep(0)
        async with asyncio.timeout(WAIT_MAX):
            while any(len(large(node)) < 22 for node in nodes):
                for node in nodes:
                    node.say(b"what was last is noticed to be lost by what comes next")
                await asyncio.sleep(0.02)
        for number, node in enumerate(nodes):
            others = (message for position, message in enumerate(messages) if position % 3 != number)
            assert sorted(large(node)) == sorted(others)
            assert node.link.counters["dropped_forged"] == node.link.counters["dropped_malformed"] == 0
    finally:
        for node in nodes:
            node.close()


@pytest.mark.parametrize("rate", [1_000_000, 5_000_000], ids=["1 MB/s", "5 MB/s"])
async def test_pacing_is_held_on_the_wire(port: int, rate: int) -> None:
    """Never faster than asked; much slower only where this machine is very busy."""
    wanted = udp_socket((GROUP, port), buffer_size=1048576)
    nodes = [Peer(ip, number, wanted, rate=rate) for number, ip in enumerate(HOSTS[:2], 1)]
    try:
        nodes[0].say(b"first")
        began, before = monotonic(), nodes[0].link.counters["datagrams_sent"]
        while monotonic() < began + 0.5:
            while nodes[0].link.queued < 4:
                nodes[0].say(bytes(64_000))
            await asyncio.sleep(0.002)
        took = monotonic() - began
        sent = nodes[0].link.counters["datagrams_sent"] - before
        await until(lambda: nodes[1].link.counters["datagrams_received"] >= sent)
        wire = sent * (1472 + FRAME_SIZE)
        assert 0.4 * rate <= wire / took <= 1.05 * rate + BURST_SMALL / took
    finally:
        for node in nodes:
            node.close()


async def test_rejoining_keeps_the_group(hosts: list[Host]) -> None:
    hosts[1].multicast.rejoin()
    hosts[0].multicast.send([Send(b"still here", None)])
    await until(lambda: bool(hosts[1].heard))
    assert hosts[1].multicast.counters["rejoins"] == 1


async def test_after_closing_nothing_is_heard_or_sent(hosts: list[Host], port: int) -> None:
    hosts[2].multicast.close()
    hosts[2].multicast.close()
    hosts[2].multicast.send([Send(b"too late", None)])
    hosts[0].multicast.send([Send(b"hello", None)])
    await until(lambda: bool(hosts[1].heard))
    assert hosts[2].heard == []
    assert hosts[1].heard == [(b"hello", (HOSTS[0], port))]
    again = Host(HOSTS[2], udp_socket((GROUP, port)))
    again.multicast.open()
    again.multicast.close()


async def test_usual_frames_are_not_exceeded_on_a_wide_interface(hosts: list[Host]) -> None:
    assert hosts[0].multicast.mtu > 1500
    assert hosts[0].multicast.datagram_size == 1472
    assert hosts[0].multicast.recv_buffer_size == 65536


@pytest.mark.parametrize(
    ("ip", "group", "interface", "said"),
    [
        pytest.param(HOSTS[0], (GROUP, 7400), "nosuch0", r"interface: nosuch0 does not exist.*has: .*lo",
                     id="interface"),
        pytest.param("192.0.2.77", (GROUP, 7400), "lo", r"^ip: 192\.0\.2\.77 is no address of this host",
                     id="address"),
        pytest.param(HOSTS[0], ("10.1.2.3", 7400), "lo", r"neither a multicast address nor", id="group"),
    ],
)  # fmt: skip
async def test_unusable_settings_are_refused(ip: str, group: Address, interface: str, said: str) -> None:
    with pytest.raises(NetworkUnusable, match=said):
        Host(ip, udp_socket(group, interface=interface)).multicast.open()


async def test_second_daemon_on_the_same_address_is_refused(hosts: list[Host], port: int) -> None:
    second = Host(HOSTS[0], udp_socket((GROUP, port)))
    with pytest.raises(NetworkUnusable, match=rf"another program on this host has UDP {HOSTS[0]}:{port}"):
        second.multicast.open()
    hosts[1].multicast.send([Send(b"unharmed", None)])
    await until(lambda: bool(hosts[0].heard))


async def test_small_buffers_are_reported(
    hosts: list[Host], port: int, caplog: pytest.LogCaptureFixture
) -> None:
    limit = int(Path("/proc/sys/net/core/rmem_max").read_text())
    host = Host("127.0.77.4", udp_socket((GROUP, port), buffer_size=limit + 4096))
    host.multicast.open()
    try:
        assert f"net.core.rmem_max={limit + 4096}" in caplog.text
        assert host.multicast.recv_buffer_size <= limit
    finally:
        host.multicast.close()


RECREATED = """
import asyncio, subprocess, sys
from qluster.config import UdpSocket
from qluster.edge.multicast import Multicast
from qluster.events import Send

def ip(*words):
    subprocess.run(["ip", *words], check=True)

def make():
    ip("link", "add", "wire0", "type", "veth", "peer", "name", "wire1")
    ip("address", "add", "10.9.8.7/24", "dev", "wire0")
    ip("link", "set", "wire0", "up")
    ip("link", "set", "wire1", "up")

async def heard_one(multicast, heard):
    async with asyncio.timeout(5):
        while not heard:
            multicast.send([Send(b"x", None)])
            await asyncio.sleep(0.02)
    heard.clear()

async def main():
    heard = []
    wanted = UdpSocket(group=(("239.19.77.9", 7407),), interface="wire0", pacing_rate=10**6, loopback=True,
                       send_buffer_size=65536, recv_buffer_size=65536)
    multicast = Multicast("10.9.8.7", wanted, lambda datagram, source: heard.append(datagram))
    multicast.open()
    await heard_one(multicast, heard)
    ip("link", "delete", "wire0")
    multicast.send([Send(b"lost", None)])
    make()
    await heard_one(multicast, heard)
    assert multicast.counters["rejoins"] >= 1, multicast.counters
    assert any(name.startswith("send_failed") for name in multicast.counters), multicast.counters
    before = multicast.counters["send_failed_emsgsize"]
    multicast.send([Send(bytes(1600), None), Send(bytes(1600), None), Send(b"fits", None)])
    assert multicast.counters["send_failed_emsgsize"] == before + 2, multicast.counters
    async with asyncio.timeout(5):
        while b"fits" not in heard:
            await asyncio.sleep(0.02)
    multicast.close()

make()
asyncio.run(main())
"""


def test_interface_made_anew_is_joined_again() -> None:
    """The kernel drops the membership without a word when an interface is deleted."""
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("needs ip and unshare")
    alone = ["unshare", "--map-root-user", "--net"]
    make = ["ip", "link", "add", "wire0", "type", "veth", "peer", "name", "wire1"]
    trial = subprocess.run([*alone, *make], capture_output=True, timeout=20)
    if trial.returncode:
        pytest.skip(f"no network namespace with an interface: {trial.stderr.decode().strip()}")
    ended = subprocess.run(
        [*alone, sys.executable, "-c", RECREATED],
        env={"PYTHONPATH": "node", "PATH": "/usr/sbin:/sbin:/usr/bin:/bin"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        timeout=60,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
