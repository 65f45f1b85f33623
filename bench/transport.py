"""What one datagram costs: sealed, sent to the group, received and opened, through real sockets.

Two nodes in one process speak over loopback and over a pair of interfaces between two network namespaces (as root).
Compared are one call for each datagram, rows that the kernel cuts when it sends (GSO), rows that it
also hands over together (GRO), and asyncio's own datagram protocol. Last comes how well the pacing holds its rate.
``make bench-transport`` runs it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import ctypes
import json
import os
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from math import inf
from random import Random
from statistics import median
from time import monotonic, thread_time

from qluster.config import UdpSocket
from qluster.edge.multicast import Multicast
from qluster.events import Address, Send
from qluster.transport.link import Link, LinkSettings
from qluster.transport.seal import Key

GROUP: Address = ("239.19.77.40", 7440)
KEYS = [Key(1, bytes(range(32)))]
BUFFER_SIZE = 1048576
RATE = 268435456
ROUND_WAIT_MAX = 0.2
"""Seconds after which what has not come in a round counts as lost."""
ROUNDS = 5
PACED_SECONDS = 1.0
INDEX = "774"
"""Of the interfaces in both namespaces: the sockets look it up by name wherever the process is just then."""


@dataclass(frozen=True)
class Path:
    """How two nodes reach each other."""

    name: str
    interface: str
    ips: tuple[str, str]
    enter: tuple[Callable[[], None], Callable[[], None]]


@dataclass(frozen=True)
class Load:
    name: str
    message_size: int
    messages: int
    """In one round: as many as fit a socket buffer."""


LOADS = (Load("300 B", 300, 256), Load("64,000 B", 64000, 6))


@dataclass(frozen=True)
class Figure:
    """One line of the table; times in microseconds of CPU for each datagram."""

    path: str
    load: str
    way: str
    datagrams_a_second: int
    send_us: float
    receive_us: float
    lost_percent: float


def stay() -> None:
    """Both nodes are in this namespace already."""


# --- where --------------------------------------------------------------------------


@contextmanager
def wire() -> Iterator[Path]:
    """Two namespaces with a pair of interfaces; gone with the process that holds the second."""
    libc = ctypes.CDLL(None, use_errno=True)
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    holder = subprocess.Popen(["unshare", "--net", "sleep", "3600"])
    try:
        place = f"/proc/{holder.pid}/ns/net"
        while os.readlink(place) == os.readlink("/proc/self/ns/net"):
            assert holder.poll() is None, "no network namespace to be had: run it as root"
        there = os.open(place, os.O_RDONLY)

        def enter(namespace: int) -> Callable[[], None]:
            return lambda: _checked(libc.setns(namespace, 0x40000000))

        subprocess.run(["ip", "link", "add", "qbench0", "index", INDEX, "type", "veth",
                        "peer", "name", "qbench0", "index", INDEX, "netns", str(holder.pid)], check=True)  # fmt: skip
        ips = ("10.77.40.1", "10.77.40.2")
        for prefix, ip in (([], ips[0]), (["nsenter", "--net=" + place], ips[1])):
            subprocess.run([*prefix, "ip", "address", "add", f"{ip}/24", "dev", "qbench0"], check=True)
            subprocess.run([*prefix, "ip", "link", "set", "qbench0", "up"], check=True)
        yield Path("veth", "qbench0", ips, (enter(here), enter(there)))
        _checked(libc.setns(here, 0x40000000))
        os.close(there)
    finally:
        holder.terminate()
        holder.wait()
        os.close(here)


def _checked(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), "cannot enter a network namespace")


# --- one pair of nodes -----------------------------------------------------------------


class End:
    """A node's sockets and its link."""

    def __init__(
        self, uid: int, path: Path, *, offload: bool, rate: int = RATE, listening: bool = False
    ) -> None:
        wanted = UdpSocket(group=(GROUP,), interface=path.interface, pacing_rate=rate, loopback=False,
                           send_buffer_size=BUFFER_SIZE, recv_buffer_size=BUFFER_SIZE)  # fmt: skip
        path.enter[uid - 1]()
        self.multicast = Multicast(path.ips[uid - 1], wanted, self._received, offload=offload)
        self.multicast.open()
        path.enter[0]()
        settings = LinkSettings(pacing_rate=rate, recv_buffer_size=self.multicast.recv_buffer_size)
        self.link = Link("bench", uid, 1, KEYS, settings, Random(uid), monotonic())
        self._listening = listening
        self._timer: asyncio.TimerHandle | None = None

    def step(self) -> None:
        """Send what may go, and come back when more may."""
        now = monotonic()
        self.multicast.send(self.link.due(now))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.link.wake_at < inf:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, self.link.wake_at - now), self.step)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.multicast.close()

    def _received(self, datagram: bytes, source: Address) -> None:
        self.link.receive(datagram, source, monotonic())
        if self._listening:
            self.step()


class AsyncioEnd(asyncio.DatagramProtocol):
    """The same link behind asyncio's own protocol: one datagram for each turn of the loop."""

    def __init__(self, end: End) -> None:
        self._link = end.link

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._link.receive(data, addr, monotonic())


async def measured(path: Path, load: Load, way: str) -> Figure:
    sender = End(1, path, offload=way != "one call each" and way != "asyncio")
    receiver = End(2, path, offload=way == "GSO + GRO")
    loop, transport = asyncio.get_running_loop(), None
    if way == "asyncio":
        sock = receiver.multicast.listening
        assert sock is not None
        loop.remove_reader(sock.fileno())
        copy = sock.dup()
        transport, _ = await loop.create_datagram_endpoint(lambda: AsyncioEnd(receiver), sock=copy)
    sending = receiving = 0.0
    began = monotonic()
    sent, message = 0, Random(1).randbytes(load.message_size)
    while monotonic() - began < 0.6:
        before = thread_time()
        for _ in range(load.messages):
            sender.link.send(message, None, monotonic())
        sent += _flush(sender)
        sending += thread_time() - before
        before, limit = thread_time(), monotonic() + ROUND_WAIT_MAX
        while receiver.link.counters["datagrams_received"] < sent and monotonic() < limit:
            await asyncio.sleep(0)
        receiving += thread_time() - before
    took = monotonic() - began
    heard = receiver.link.counters["datagrams_received"]
    if transport is not None:
        transport.close()
    sender.multicast.close()
    receiver.multicast.close()
    return Figure(path.name, load.name, way, int(heard / took), sending / sent * 1e6, receiving / max(heard, 1) * 1e6,
                  100 * (1 - heard / sent))  # fmt: skip


def _flush(sender: End) -> int:
    """Send all that waits; pacing is given a time that is far enough. The datagrams sent."""
    count, now = 0, monotonic()
    while sender.link.queued:
        sends: list[Send] = sender.link.due(now)
        sender.multicast.send(sends)
        count += len(sends)
        now = max(now, sender.link.wake_at)
    return count


# --- pacing --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Paced:
    """How well a rate was held. Sent again is the share of datagrams that a receiver had lost."""

    path: str
    asked_megabytes: float
    reached_megabytes: float
    again_percent: float
    delivered_megabytes: float
    cpu_percent: float


def paced(path: Path, rate: int) -> Paced:
    """Send for a second as fast as pacing lets; what leaves, and what arrives in a process of its own."""
    (ready, make_ready), (counted, count) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        asyncio.run(_listen(path, rate, make_ready, count))
        os._exit(0)
    os.read(ready, 1)
    sent, again, on_the_wire, took, used = asyncio.run(_speak(path, rate))
    messages = int.from_bytes(os.read(counted, 8), "big")
    os.waitpid(child, 0)
    for pipe in (ready, make_ready, counted, count):
        os.close(pipe)
    return Paced(path.name, rate / 1e6, on_the_wire / took / 1e6, 100 * again / sent, messages * 64000 / took / 1e6,
                 100 * used / took)  # fmt: skip


async def _speak(path: Path, rate: int) -> tuple[int, int, int, float, float]:
    """Datagrams, those sent again, bytes, seconds, and seconds of CPU."""
    sender, message = End(1, path, offload=True, rate=rate, listening=True), Random(2).randbytes(64000)
    sender.link.send(b"hello", None, monotonic())
    sender.step()
    await asyncio.sleep(ROUND_WAIT_MAX)
    before = dict(sender.link.counters)
    began, cpu = monotonic(), thread_time()
    while monotonic() < began + PACED_SECONDS:
        while sender.link.queued < QUEUED:
            sender.link.send(message, None, monotonic())
        sender.step()
        wait = sender.link.wake_at - monotonic() if sender.link.queued else 0.0
        await asyncio.sleep(max(0.0, wait))
    took, used = monotonic() - began, thread_time() - cpu
    counted = {name: count - before[name] for name, count in sender.link.counters.items()}
    sender.step()
    await asyncio.sleep(ROUND_WAIT_MAX)
    sender.close()
    # Pacing counts frames as they are on the wire: 66 bytes beside each datagram.
    again = counted["repairs_unicast"] + counted["repairs_multicast"]
    return counted["datagrams_sent"], again, counted["bytes_sent"] + 66 * counted["datagrams_sent"], took, used


async def _listen(path: Path, rate: int, ready: int, count: int) -> None:
    """Take what comes until nothing more does; asks for what is missing, as nodes do."""
    receiver = End(2, path, offload=True, rate=rate, listening=True)
    os.write(ready, b".")
    heard, counters = -1, receiver.link.counters
    while counters["datagrams_received"] > heard or heard < LISTEN_MIN:
        heard = counters["datagrams_received"]
        await asyncio.sleep(2 * ROUND_WAIT_MAX)
    receiver.close()
    os.write(count, counters["messages_received"].to_bytes(8, "big"))


# --- all ------------------------------------------------------------------------------------

WAYS = ("asyncio", "one call each", "GSO", "GSO + GRO")
QUEUED = 8
LISTEN_MIN = 10
"""Datagrams before which nothing has begun."""
RATES = (5_000_000, 50_000_000, 200_000_000)


def typical(figures: list[Figure]) -> Figure:
    """The median of each figure."""
    first = figures[0]
    return Figure(first.path, first.load, first.way,
                  *(median(getattr(one, name) for one in figures)
                    for name in ("datagrams_a_second", "send_us", "receive_us", "lost_percent")))  # fmt: skip


async def compared(path: Path, rounds: int) -> list[Figure]:
    """Every way with every load; the ways take turns, so that a busy machine is unfair to none."""
    lines = []
    for load in LOADS:
        taken: dict[str, list[Figure]] = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way in WAYS:
                taken[way].append(await measured(path, load, way))
        lines += [typical(taken[way]) for way in WAYS]
    return lines


def main() -> int:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", metavar="FILE", help="write the figures there as well")
    parser.add_argument("--realtime", action="store_true",
                        help="run before all else on this machine (as root), when it is not calm")
    chosen = parser.parse_args()
    if chosen.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))  # the receiving process inherits it
    lo = Path("loopback", "lo", ("127.0.77.41", "127.0.77.42"), (stay, stay))
    with wire() if os.geteuid() == 0 else nullcontext() as veth:
        paths = [lo, *([veth] if veth else [])]
        figures = [line for path in paths for line in asyncio.run(compared(path, chosen.rounds))]
        rates = [paced(path, rate) for path in paths for rate in RATES]
    print(f"{'path':9} {'message':9} {'way':14} {'datagrams/s':>12} {'send µs':>8} {'receive µs':>11} {'lost %':>7}")
    for one in figures:
        print(f"{one.path:9} {one.load:9} {one.way:14} {one.datagrams_a_second:12,} {one.send_us:8.2f} "
              f"{one.receive_us:11.2f} {one.lost_percent:7.2f}")  # fmt: skip
    print(f"\n{'path':9} {'asked MB/s':>11} {'reached MB/s':>13} {'sent again %':>13} {'delivered MB/s':>15} "
          f"{'CPU %':>6}")  # fmt: skip
    for rate in rates:
        print(f"{rate.path:9} {rate.asked_megabytes:11.0f} {rate.reached_megabytes:13.1f} {rate.again_percent:13.2f} "
              f"{rate.delivered_megabytes:15.1f} {rate.cpu_percent:6.0f}")  # fmt: skip
    if chosen.json:
        with open(chosen.json, "w", encoding="utf-8") as file:
            json.dump({"datagrams": [asdict(one) for one in figures], "pacing": [asdict(one) for one in rates]}, file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
